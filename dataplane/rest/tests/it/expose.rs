//! The expose manifest on a real cell: what visitors can do before, with and after it.

use std::time::{Duration, Instant};

use rest::expose::{self, ExposeError, Outcome};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use store::cells::{Login, Slot};

use crate::harness::{World, refused};

const ANN: &str = "00000000-0000-4000-8000-00000000000a";
const BEN: &str = "00000000-0000-4000-8000-00000000000b";

async fn apply(world: &World, slot: &Slot, manifest: Value) -> Result<Outcome, ExposeError> {
    expose::apply(&world.cells, slot, &manifest).await
}

/// Types of the mistakes with their paths, each once.
fn mistakes(refused: Result<Outcome, ExposeError>) -> Vec<String> {
    match refused {
        Err(ExposeError::Invalid(issues)) => {
            let told = issues.errors.iter().map(|issue| format!("{} {}", json!(issue.kind), issue.path));
            told.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
        }
        other => panic!("not refused as invalid: {other:?}"),
    }
}

/// One visitor of a project.
struct Visitor(PgConnection);

impl Visitor {
    async fn come(world: &World, slot: &Slot, role: &str, user: Option<&str>) -> Self {
        let mut conn = world.connect_as(slot, Login::Api, &slot.schema()).await.unwrap();
        let claims = match user {
            Some(user) => json!({ "role": role, "sub": user }),
            None => json!({ "role": role }),
        };
        let become_it = format!(
            "set role {role}; set search_path = {}; set request.jwt.claims = '{claims}'",
            slot.schema()
        );
        sqlx::raw_sql(AssertSqlSafe(become_it)).execute(&mut conn).await.unwrap();
        Self(conn)
    }

    /// `None` when it works, or the SQLSTATE.
    async fn refused(&mut self, sql: &str) -> Option<String> {
        refused(&mut self.0, sql).await
    }

    async fn count(&mut self, sql: &str) -> i64 {
        let text = format!("select count(*) from ({sql}) x");
        sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(&mut self.0).await.unwrap().get::<i64, _>(0)
    }

    async fn leave(self) {
        self.0.close().await.unwrap();
    }
}

const TABLES: &str = "
  create table notes (id serial primary key, owner uuid, body text);
  create table tags (id serial primary key, owner text default 'x', body text);
  create table posts (id serial primary key, body text);
  create table wall (id bigint generated always as identity primary key, body text);
  create table teams (id serial primary key, team uuid, body text);
  create table dark (id serial primary key, body text);
  create function add(a int, b int) returns int language sql as $$ select a + b $$;
  insert into notes (owner, body) values ('00000000-0000-4000-8000-00000000000b', 'of ben');
  insert into posts (body) values ('one');
  insert into dark (body) values ('secret');";

fn manifest() -> Value {
    json!({
        "$schema": "https://run402.com/schemas/manifest.v1.json", "version": "1",
        "tables": [
            {"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
             "force_owner_on_insert": true},
            {"name": "tags", "expose": true, "policy": "user_owns_rows", "owner_column": "owner"},
            {"name": "posts", "expose": true, "policy": "public_read_authenticated_write"},
            {"name": "wall", "expose": true, "policy": "public_read_write_UNRESTRICTED",
             "i_understand_this_is_unrestricted": true},
            {"name": "teams", "expose": true, "policy": "custom", "custom_sql":
             "create policy own_team on teams for all to authenticated using (team = auth.uid());"},
        ],
        "views": [{"name": "bodies", "base": "notes", "select": ["id", "body"],
                   "filter": "body is not null -- all"}],
        "rpcs": [{"name": "add", "signature": "(a int, b int)", "grant_to": ["authenticated"]}],
    })
}

// Goal: contract 01 sections 7.2 to 7.6. Method: the table of 7.5 as visitors meet it, before, with and after
// the manifest; the same manifest again states nothing.
#[tokio::test(flavor = "multi_thread")]
async fn expose_policies_let_in_whom_they_say() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.sql(&slot, TABLES).await.unwrap();
    let before = expose::read(&world.cells, &slot).await.unwrap();
    assert!(before.introspected && before.manifest.tables.is_empty(), "{before:?}");
    let mut anon = Visitor::come(&world, &slot, "anon", None).await;
    let mut ann = Visitor::come(&world, &slot, "authenticated", Some(ANN)).await;
    assert_eq!(anon.count("select * from dark").await, 0, "dark: empty, not refused");
    assert_eq!(ann.refused("insert into posts (body) values ('x')").await.as_deref(), Some("42501"));
    assert_eq!(anon.refused("select add(1, 2)").await.as_deref(), Some("42501"));

    let done = apply(&world, &slot, manifest()).await.unwrap();
    assert_eq!(
        json!(done.applied()),
        json!({"tables": ["notes", "posts", "tags", "teams", "wall"],
        "views": ["bodies"], "rpcs": ["add"]})
    );
    assert_eq!(json!(done.dropped), json!({"tables": [], "views": [], "rpcs": []}));
    assert_eq!(done.warnings.len(), 1, "the owner column that is text: {:?}", done.warnings);
    assert_eq!(done.unrestricted(), ["wall"]);
    visitors(&mut anon, &mut ann).await;

    let again = apply(&world, &slot, manifest()).await.unwrap();
    assert_eq!(again.statements, 0, "{:?}", again.changed);
    let shown = expose::read(&world.cells, &slot).await.unwrap();
    assert!(!shown.introspected);
    assert_eq!(json!(shown.manifest)["tables"][0], manifest()["tables"][0]);
    let posted_back = apply(&world, &slot, json!(shown.manifest)).await.unwrap();
    assert_eq!(posted_back.statements, 0, "what was read back is the same manifest");

    // What an owner undid by hand stands again: row security at once, the rest with the next application.
    world
        .sql(&slot, "alter table notes disable row level security, no force row level security")
        .await
        .unwrap();
    assert_eq!(ann.count("select * from notes where body = 'of ben'").await, 0);
    world.sql(&slot, "alter policy r402_owner on notes using (true)").await.unwrap();
    assert_eq!(ann.count("select * from notes where body = 'of ben'").await, 1);
    let repaired = apply(&world, &slot, manifest()).await.unwrap();
    assert_eq!(json!(repaired.changed)["tables"], json!(["notes"]));
    assert_eq!(ann.count("select * from notes where body = 'of ben'").await, 0);

    removed(&world, &slot, &mut anon, &mut ann).await;
    anon.leave().await;
    ann.leave().await;
    world.stop().await;
}

async fn visitors(anon: &mut Visitor, ann: &mut Visitor) {
    // user_owns_rows
    assert_eq!(anon.refused("select * from notes").await.as_deref(), Some("42501"));
    assert_eq!(ann.refused("insert into notes (body) values ('of ann')").await, None, "her id is filled in");
    assert_eq!(ann.count(&format!("select * from notes where owner = '{ANN}'")).await, 1);
    let forged = format!("insert into notes (owner, body) values ('{BEN}', 'forged')");
    assert_eq!(ann.refused(&forged).await.as_deref(), Some("42501"));
    assert_eq!(ann.refused(&format!("update notes set owner = '{BEN}'")).await.as_deref(), Some("42501"));
    assert_eq!(ann.count("select * from notes").await, 1, "only her own");
    assert_eq!(ann.refused(&format!("insert into tags (owner) values ('{ANN}')")).await, None);
    assert_eq!(ann.refused("insert into tags (body) values ('no owner')").await.as_deref(), Some("42501"));
    // public_read_authenticated_write
    assert_eq!(anon.count("select * from posts").await, 1);
    assert_eq!(anon.refused("insert into posts (body) values ('x')").await.as_deref(), Some("42501"));
    assert_eq!(ann.refused("insert into posts (body) values ('two')").await, None);
    assert_eq!(ann.refused("update posts set body = 'three' where body = 'one'").await, None);
    assert_eq!(anon.count("select * from posts where body = 'three'").await, 1);
    // UNRESTRICTED
    assert_eq!(anon.refused("insert into wall (body) values ('x')").await, None);
    assert_eq!(anon.refused("delete from wall").await, None);
    // custom
    assert_eq!(ann.refused(&format!("insert into teams (team) values ('{ANN}')")).await, None);
    assert_eq!(
        ann.refused(&format!("insert into teams (team) values ('{BEN}')")).await.as_deref(),
        Some("42501")
    );
    assert_eq!(anon.count("select * from teams").await, 0);
    // View and function.
    assert_eq!(ann.count("select body from bodies").await, 1, "no more than the table shows her");
    assert_eq!(anon.refused("select * from bodies").await.as_deref(), Some("42501"));
    assert_eq!(ann.refused("select add(1, 2)").await, None);
    assert_eq!(anon.refused("select add(1, 2)").await.as_deref(), Some("42501"));
    assert_eq!(anon.count("select * from dark").await, 0);
}

async fn removed(world: &World, slot: &Slot, anon: &mut Visitor, ann: &mut Visitor) {
    world
        .sql(slot, "create policy by_hand on posts for select to anon using (body = 'three')")
        .await
        .unwrap();
    let fewer =
        json!({"version": "1", "tables": [{"name": "dark", "expose": false}, manifest()["tables"][1]]});
    let done = apply(world, slot, fewer.clone()).await.unwrap();
    assert_eq!(
        json!(done.dropped),
        json!({"tables": ["notes", "posts", "teams", "wall"], "views": ["bodies"],
        "rpcs": ["add"]})
    );
    for sql in [
        "select * from notes",
        "select * from posts",
        "delete from wall",
        "select * from teams",
        "select * from dark",
        "select add(1, 2)",
    ] {
        assert_eq!(ann.refused(sql).await.as_deref(), Some("42501"), "{sql}");
        assert_eq!(anon.refused(sql).await.as_deref(), Some("42501"), "{sql}");
    }
    assert_eq!(ann.refused("select * from bodies").await.as_deref(), Some("42P01"));
    let left = world.rows(slot, "select polname from pg_policy order by 1").await;
    assert_eq!(left, json!([{"polname": "by_hand"}, {"polname": "r402_owner"}]), "hand-made ones stay");
    assert_eq!(apply(world, slot, fewer).await.unwrap().statements, 0);
    assert_eq!(apply(world, slot, manifest()).await.unwrap().changed.tables.len(), 4);
    assert_eq!(ann.count("select * from notes").await, 1);
}

// G: tenant identifiers with quotes, names like ours, a policy on another's table; G03, G11. Method: hostile
// manifests; each is refused whole and leaves nothing, or means exactly what it names.
#[tokio::test(flavor = "multi_thread")]
async fn expose_takes_hostile_manifests_by_their_names() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let odd = r#""we""ird'; drop table kept; --""#;
    world
        .sql(
            &slot,
            &format!(
                "create table kept (id uuid, r402_owner uuid); create table other (id uuid);
            create table {odd} (\"o\"\"w'n\" uuid, \"sel ect\" text); create view mine as select 1 as one"
            ),
        )
        .await
        .unwrap();
    let name = "we\"ird'; drop table kept; --";
    let quoted = json!({"version": "1",
        "tables": [{"name": name, "expose": true, "policy": "user_owns_rows", "owner_column": "o\"w'n",
                    "force_owner_on_insert": true}],
        "views": [{"name": "v\"'; drop table kept; --", "base": name, "select": ["sel ect"]}]});
    apply(&world, &slot, quoted.clone()).await.unwrap();
    assert_eq!(apply(&world, &slot, quoted).await.unwrap().statements, 0);
    let mut ann = Visitor::come(&world, &slot, "authenticated", Some(ANN)).await;
    assert_eq!(ann.refused(&format!("insert into {odd} (\"sel ect\") values ('a')")).await, None);
    assert_eq!(ann.count(&format!("select * from {odd} where \"o\"\"w'n\" = '{ANN}'")).await, 1);
    ann.leave().await;

    let custom = |sql: &str| {
        json!({"version": "1", "tables": [
        {"name": "kept", "expose": true, "policy": "custom", "custom_sql": sql}]})
    };
    for sql in [
        "create policy p on other using (true)",
        "create policy r402_owner on kept using (true)",
        "create policy p on kept using (true); grant all on other to anon",
        "create policy p on kept using (true); commit; drop table other",
        "drop policy p on auth.users",
        "create policy U&\"p\" on kept using (true)",
        "-- nothing",
    ] {
        assert_eq!(
            mistakes(apply(&world, &slot, custom(sql)).await),
            ["\"schema-shape\" tables[0].custom_sql"],
            "{sql}"
        );
    }
    // What only the server can judge: refused with its words, and nothing stays.
    for sql in [
        "create policy p on kept using (true); create policy q on kept using (nobody = 1)",
        "create policy p on kept using (true) commit",
        "create policy p on kept to postgres using (pg_sleep())",
    ] {
        assert_eq!(
            mistakes(apply(&world, &slot, custom(sql)).await),
            ["\"schema-shape\" tables[0].custom_sql"],
            "{sql}"
        );
    }
    let view = |name: &str, filter: &str| {
        json!({"version": "1", "views": [
        {"name": name, "base": "kept", "select": ["id"], "filter": filter}]})
    };
    for filter in ["true) union select (1", "true; drop table other", "'", "nobody = 1"] {
        assert_eq!(mistakes(apply(&world, &slot, view("v", filter)).await).len(), 1, "{filter}");
    }
    assert_eq!(mistakes(apply(&world, &slot, view("mine", "true")).await), ["\"schema-shape\" views[0]"]);
    assert_eq!(
        mistakes(apply(&world, &slot, view("other", "true")).await),
        ["\"schema-shape\" views[0].name"]
    );
    let left =
        world.rows(&slot, "select count(*)::int as n from pg_policy where polname in ('p', 'q')").await;
    assert_eq!(left, json!([{"n": 0}]));
    let kept =
        world.rows(&slot, "select count(*)::int as n from pg_class where relname in ('kept', 'other')").await;
    assert_eq!(kept, json!([{"n": 2}]));

    // A memory that the tenant wrote itself is believed where the schema agrees, and nowhere else.
    world
        .sql(
            &slot,
            "update internal.project_manifest set applied = '{\"rpcs\": [\"x(); drop table kept\"],
        \"views\": {\"kept\": \"\", \"x\\\"; drop\": \"\"}, \"tables\": {\"kept\": {\"policies\": {}}}}'",
        )
        .await
        .unwrap();
    apply(&world, &slot, json!({"version": "1"})).await.unwrap();
    world
        .sql(
            &slot,
            "update internal.project_manifest set applied = '7'; delete from internal.project_manifest",
        )
        .await
        .unwrap();
    apply(&world, &slot, json!({"version": "1"})).await.unwrap();
    world.stop().await;
}

// Goal: many at once end in one of the manifests; DDL beside it costs nothing but time. Method: 12 rounds of
// two manifests and of tables that come and go.
#[tokio::test(flavor = "multi_thread")]
async fn expose_stands_in_line_and_beside_ddl() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.sql(&slot, "create table a (id int, owner uuid); create table b (id int)").await.unwrap();
    let one = json!({"version": "1", "tables": [
        {"name": "a", "expose": true, "policy": "user_owns_rows", "owner_column": "owner"}]});
    let two = json!({"version": "1", "tables": [
        {"name": "b", "expose": true, "policy": "public_read_authenticated_write"}]});
    let applies = async {
        for _ in 0..12 {
            let (x, y) = tokio::join!(apply(&world, &slot, one.clone()), apply(&world, &slot, two.clone()));
            for done in [x, y] {
                assert!(matches!(done, Ok(_) | Err(ExposeError::Raced)), "{done:?}");
            }
        }
    };
    let ddl = async {
        for round in 0..12 {
            let text = format!(
                "create table t{round} (id int); alter table a add c{round} int;
                alter table a disable row level security; create index on b (id); drop table t{round}"
            );
            // It may lose a race too: it is the tenant's own transaction.
            let _ = world.sql(&slot, &text).await;
        }
    };
    tokio::join!(applies, ddl);
    apply(&world, &slot, one).await.unwrap();
    let left = world
        .rows(
            &slot,
            "select relname, relrowsecurity as rls, polname from pg_policy p
        join pg_class c on c.oid = p.polrelid",
        )
        .await;
    assert_eq!(left, json!([{"relname": "a", "rls": true, "polname": "r402_owner"}]));
    world.stop().await;
}

// Goal: a slot of each older version gets what it needs on first use. Method: take that away, and say so.
#[tokio::test(flavor = "multi_thread")]
async fn expose_upgrades_an_older_slot_on_first_use() {
    let world = World::start().await;
    let mut control = PgConnection::connect(&world.control_url).await.unwrap();
    // What a slot of each version lacks, taken away.
    let without_3 = "drop schema internal cascade; drop function r402.force_owner();";
    let without_2 = "drop event trigger r402_count_change; drop function r402.count_change();
        drop table r402.schema_version;";
    for (version, lacks) in [(1, format!("{without_2}{without_3}")), (2, without_3.to_owned())] {
        let (_, slot) = world.provision().await;
        let mut inside = superuser(&world, &slot).await;
        sqlx::raw_sql(AssertSqlSafe(lacks)).execute(&mut inside).await.unwrap();
        inside.close().await.unwrap();
        sqlx::query("update slots set template_version = $2 where number = $1")
            .bind(slot.number)
            .bind(version)
            .execute(&mut control)
            .await
            .unwrap();
        let lacking = apply(&world, &slot, json!({"version": "1"})).await;
        assert!(matches!(lacking, Err(ExposeError::Raced)), "{version}: {lacking:?}");
        world.sql(&slot, TABLES).await.unwrap();
        upgraded_once(&world, &slot).await;
        apply(&world, &slot, manifest()).await.unwrap();
        let row = sqlx::query("select template_version from slots where number = $1").bind(slot.number);
        let now: i32 = row.fetch_one(&mut control).await.unwrap().get(0);
        assert_eq!(now, store::cells::TEMPLATE_VERSION);
    }
    control.close().await.unwrap();
    world.stop().await;
}

/// By two nodes at once, beside a tenant who is changing the schema and does not commit. Afterwards changes are
/// counted.
async fn upgraded_once(world: &World, slot: &Slot) {
    let mut busy = world.connect_as(slot, Login::Admin, &slot.schema()).await.unwrap();
    let changing = format!("begin; create table {}.half_made (id int)", slot.schema());
    sqlx::raw_sql(AssertSqlSafe(changing)).execute(&mut busy).await.unwrap();
    let (a, b) = tokio::join!(
        world.cells.slot_upgrade(&world.store, slot),
        world.cells.slot_upgrade(&world.store, slot)
    );
    a.unwrap();
    b.unwrap();
    sqlx::raw_sql("rollback").execute(&mut busy).await.unwrap();
    busy.close().await.unwrap();
    let count = || world.rows(slot, "select version::int as n from r402.schema_version");
    let before = count().await[0]["n"].as_i64().unwrap();
    world.sql(slot, "create table counted (id int)").await.unwrap();
    assert!(count().await[0]["n"].as_i64().unwrap() > before);
}

async fn superuser(world: &World, slot: &Slot) -> PgConnection {
    let options: sqlx::postgres::PgConnectOptions = world.cell_url.parse().unwrap();
    PgConnection::connect_with(&options.database(&slot.schema())).await.unwrap()
}

// Goal: 1,000 tables in seconds. Method: four policies in turn, applied, again, and taken back.
#[tokio::test(flavor = "multi_thread")]
async fn expose_applies_a_thousand_tables_in_seconds() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    for part in 0..4 {
        let tables: Vec<String> = (0..250)
            .map(|n| format!("create table t{} (id serial primary key, owner uuid)", part * 250 + n))
            .collect();
        world.sql(&slot, &tables.join(";")).await.unwrap();
    }
    let tables: Vec<Value> = (0..1000)
        .map(|n| match n % 3 {
            0 => json!({"name": format!("t{n}"), "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
                "force_owner_on_insert": true}),
            1 => json!({"name": format!("t{n}"), "expose": true, "policy": "public_read_authenticated_write"}),
            _ => json!({"name": format!("t{n}"), "expose": true, "policy": "custom",
                "custom_sql": format!("create policy p on t{n} using (owner = auth.uid())")}),
        })
        .collect();
    let body = json!({"version": "1", "tables": tables});
    let timed = async |body: Value| {
        let begun = Instant::now();
        let done = apply(&world, &slot, body).await.unwrap();
        (done, begun.elapsed())
    };
    let (first, first_took) = timed(body.clone()).await;
    let (again, again_took) = timed(body).await;
    let (gone, gone_took) = timed(json!({"version": "1"})).await;
    println!(
        "1,000 tables: applied in {first_took:.2?} ({} statements), again in {again_took:.2?}, \
         taken back in {gone_took:.2?}",
        first.statements
    );
    assert_eq!((first.changed.tables.len(), again.statements, gone.dropped.tables.len()), (1000, 0, 1000));
    assert!(first_took < Duration::from_secs(20), "{first_took:?}");
    assert!(again_took < Duration::from_secs(5), "{again_took:?}");
    world.stop().await;
}
