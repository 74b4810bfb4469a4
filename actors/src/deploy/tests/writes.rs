//! Which rows a deploy writes, found by looking, and ways to break each of them.
//!
//! A trigger on every table tells what is written and how: the table, the operation, and what sets this write
//! apart (a status, a topic, the columns that change). So a step or a table that is added to the machine is a new
//! write here, without anybody listing it.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// Not of a deploy: ownership has tests of its own, and the relay and its rows come after the deploy's commit.
const OTHERS: [&str; 2] = ["claims", "nodes"];
const OTHER_WRITES: [&str; 2] = ["outbox delete", "outbox update"];
/// The lock at which a write stalls.
const LOCK: i32 = 402;

/// How a writer dies at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// The statement is refused.
    Refused,
    /// The connection is cut in the middle of the statement.
    Cut,
    /// All statements are taken, and the commit is refused.
    CommitRefused,
    /// The connection is cut during the commit, so that the writer cannot know.
    CommitCut,
    /// The statement hangs, and whoever waits for it goes away.
    Stalled,
}

impl Death {
    pub const ALL: [Self; 5] =
        [Self::Refused, Self::Cut, Self::CommitRefused, Self::CommitCut, Self::Stalled];

    fn text(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::CommitRefused => "commit refused",
            Self::CommitCut => "commit cut",
            Self::Stalled => "stalled",
        }
    }
}

/// A watched database. A superuser's connection of its own.
pub(super) struct Watched {
    conn: PgConnection,
}

const SQL: &str = "
create schema fault;
create table fault.seen (n bigint generated always as identity, key text not null);
create table fault.broken (key text not null, death text not null);
create table fault.doomed (death text not null);

-- What sets a write apart from others of its table.
create function fault.key(place text, verb text, was jsonb, now jsonb) returns text
language sql immutable as $$
  select concat_ws(' ', place, verb,
    case when verb = 'insert' then nullif(concat_ws(' ', now->>'status', now->>'topic', now->'event'->>'type',
      now->'event'->>'phase', now->'event'->>'status'), '') end,
    case when verb = 'update' then coalesce((select string_agg(k, ',' order by k)
      from jsonb_object_keys(now) k where was->k is distinct from now->k), 'nothing') end,
    case when verb = 'update' and was->>'status' is distinct from now->>'status'
      then concat(was->>'status', '>', now->>'status') end)
$$;

create function fault.write(key text) returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare death text;
begin
  insert into fault.seen (key) values (write.key);
  select b.death into death from fault.broken b where b.key = write.key;
  case death
    when 'refused' then raise exception 'fault';
    when 'cut' then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5);
    when 'stalled' then perform pg_advisory_xact_lock_shared(LOCK);
    when 'commit refused', 'commit cut' then insert into fault.doomed values (death);
    else null;
  end case;
end $$;

create function fault.on_row() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare place text := case tg_table_schema when 'public' then tg_table_name
  else concat(tg_table_schema, '.', tg_table_name) end;
begin
  perform fault.write(fault.key(place, lower(tg_op), to_jsonb(old), to_jsonb(new)));
  if tg_op = 'DELETE' then return old; end if;
  return new;
end $$;

create function fault.on_ddl() returns event_trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  perform fault.write('ddl ' || tg_tag);
end $$;

create function fault.on_commit() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  if new.death = 'commit refused' then raise exception 'fault'; end if;
  perform pg_terminate_backend(pg_backend_pid());
  perform pg_sleep(5);
  return null;
end $$;
create constraint trigger doomed after insert on fault.doomed deferrable initially deferred
  for each row execute function fault.on_commit();
";

impl Watched {
    /// Watches every table of these schemas, and the statements that change them where `ddl`.
    pub async fn start(url: &str, schemas: &[&str], ddl: bool) -> Self {
        let mut conn = PgConnection::connect(url).await.unwrap();
        let sql = SQL.replace("LOCK", &LOCK.to_string());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        let tables = sqlx::query(
            "select format('%I.%I', schemaname, tablename) from pg_tables
             where schemaname = any($1) and tablename <> all($2)",
        );
        let tables = tables.bind(schemas).bind(&OTHERS[..]).fetch_all(&mut conn).await.unwrap();
        assert!(!tables.is_empty());
        for table in &tables {
            let table: String = table.get(0);
            // The name comes first of all triggers.
            let sql = format!(
                "create trigger \"!fault\" before insert or update or delete on {table}
                   for each row execute function fault.on_row()"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        }
        if ddl {
            let sql = "create event trigger fault on ddl_command_end execute function fault.on_ddl()";
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
        Self { conn }
    }

    /// Each write since the last look, once, in order.
    pub async fn seen(&mut self) -> Vec<String> {
        let rows = sqlx::query("delete from fault.seen returning n, key").fetch_all(&mut self.conn).await;
        let mut rows: Vec<(i64, String)> = rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        rows.sort();
        let mut keys: Vec<String> = Vec::new();
        for (_, key) in rows {
            let other = OTHER_WRITES.iter().any(|prefix| key.starts_with(prefix));
            if !other && !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// From now on that write dies.
    pub async fn break_at(&mut self, key: &str, death: Death) {
        if death == Death::Stalled {
            self.run(format!("select pg_advisory_lock({LOCK})")).await;
        }
        let sql = "insert into fault.broken (key, death) values ($1, $2)";
        sqlx::query(sql).bind(key).bind(death.text()).execute(&mut self.conn).await.unwrap();
    }

    /// Nothing dies any more; what stalled goes on.
    pub async fn mend(&mut self) {
        self.run("delete from fault.broken; select pg_advisory_unlock_all()".to_owned()).await;
    }

    /// Whether a write stalls now.
    pub async fn stalls(&mut self) -> bool {
        let sql = format!(
            "select exists (select from pg_locks where locktype = 'advisory' and objid = {LOCK} and not granted)"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut self.conn).await.unwrap().get(0)
    }

    /// What every watched table that a deploy writes holds, as one text.
    pub async fn facts(&mut self, keys: &[String]) -> String {
        let mut facts = String::new();
        let mut tables: Vec<&str> = keys.iter().filter_map(|key| key.split(' ').next()).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables.into_iter().filter(|table| !matches!(*table, "ddl" | "outbox")) {
            let sql =
                format!("select coalesce(string_agg(t::text, E'\n' order by t::text), '') from {table} t");
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut self.conn).await.unwrap();
            facts.push_str(&format!("{table}\n{}\n", row.get::<String, _>(0)));
        }
        facts
    }

    async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.conn).await.unwrap();
    }
}
