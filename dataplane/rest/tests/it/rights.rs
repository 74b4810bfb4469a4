//! G01, G04, G05, G10: who may do what to the platform's own objects in a project's database, as Postgres' catalogue
//! tells it. Made from the catalogue, so that an object that is added later is asked about too.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use store::cells::Login;

use crate::harness::World;

/// Kind, object, right, and who holds it; of every object that is neither the tenant's nor Postgres' own. Roles by
/// membership count for nothing: they are taken by `SET ROLE`, and asked about by themselves.
const RIGHTS: &str = "
with roles (role, name) as (select r, replace(r, 'SLOT', 'slot') from unnest(array[
    'anon', 'authenticated', 'project_admin', 'service_role', 'SLOT_api', 'SLOT_staff', 'SLOT_auth', 'SLOT_admin']) r),
  spaces as (select oid, nspname from pg_namespace
    where nspname !~ '^pg_' and nspname not in ('information_schema', 'SLOT')),
  relations as (select c.oid, s.nspname || '.' || c.relname as name, c.relkind from pg_class c
    join spaces s on s.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')),
  held (kind, object, held, name) as (
    select 'table', t.name, p, r.name from relations t, roles r,
      unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
      where t.relkind <> 'S' and has_table_privilege(r.role, t.oid, p)
    union all
    select 'column', t.name || '.' || a.attname, p, r.name from relations t
      join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped, roles r,
      unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
      where t.relkind <> 'S' and has_column_privilege(r.role, t.oid, a.attnum, p)
        and not has_table_privilege(r.role, t.oid, p)
    union all
    select 'sequence', t.name, p, r.name from relations t, roles r, unnest(array['SELECT', 'USAGE', 'UPDATE']) p
      where t.relkind = 'S' and has_sequence_privilege(r.role, t.oid, p)
    union all
    select 'function', s.nspname || '.' || f.proname, 'EXECUTE', r.name from pg_proc f
      join spaces s on s.oid = f.pronamespace, roles r
      where s.nspname <> 'extensions' and has_function_privilege(r.role, f.oid, 'EXECUTE')
    union all
    select 'definer', s.nspname || '.' || f.proname, 'RUNS AS', pg_get_userbyid(f.proowner) from pg_proc f
      join spaces s on s.oid = f.pronamespace where f.prosecdef
    union all
    select 'schema', s.nspname, p, r.name from spaces s, roles r, unnest(array['CREATE', 'USAGE']) p
      where has_schema_privilege(r.role, s.oid, p)
    union all
    select 'database', d.datname, p, r.name from pg_database d, roles r,
      unnest(array['CREATE', 'CONNECT', 'TEMPORARY']) p
      where has_database_privilege(r.role, d.oid, p) and d.datname <> 'SLOT'
    union all
    select 'large object', 'any', 'SELECT', r.name from pg_largeobject_metadata l, roles r
      where has_largeobject_privilege(r.role, l.oid, 'SELECT'))
select kind || ' ' || object || ' ' || held || ': ' || string_agg(distinct name, ' ' order by name) from held
group by kind, object, held order by 1";

/// What may be held, and by whom. A line that is added there is a decision.
const HELD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rights.txt");

// Goal: no role holds a right on our objects, another database or a large object that nobody gave it on purpose.
// Method: every object of the catalogue, every right, every role and login; compared with the list.
#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_holds_no_right_that_nobody_gave() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.provision().await;
    world
        .sql(&slot, "create table mine (id serial primary key); create view v as select 1 as one")
        .await
        .unwrap();
    let options: PgConnectOptions = world.cell_url.parse().unwrap();
    let mut conn = PgConnection::connect_with(&options.database(&slot.schema())).await.unwrap();
    let sql = RIGHTS.replace("SLOT", &slot.schema());
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let found = found.join("\n").replace(&slot.schema(), "slot");
    let held = std::fs::read_to_string(HELD).unwrap();
    assert_eq!(found.trim(), held.trim(), "found:\n{found}");
    assert_eq!(Login::ALL.len(), 4, "a login that the matrix does not ask about");
    conn.close().await.unwrap();
    world.stop().await;
}
