//! G01, G04, G05, G09, G10: what hostile SQL can reach.

use store::cells::{Login, slot_of};

use crate::harness::{World, refused};

const DENIED: &str = "42501";

// Goal: a project's logins stay in their database. Method: connect and run everything that would leave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_cannot_leave_its_project() {
    let world = World::start().await;
    let (_, mine) = world.provision().await;
    let (other_project, other) = world.provision().await;
    assert_eq!(slot_of(&world.store, other_project).await.unwrap(), Some(other.clone()));

    let template = format!("r402_tpl_v{}", store::cells::TEMPLATE_VERSION);
    for login in Login::ALL {
        world.connect_as(&mine, login, &mine.schema()).await.unwrap();
        for database in [other.schema().as_str(), "postgres", "template1", "template0", &template] {
            let error = world.connect_as(&mine, login, database).await.unwrap_err();
            assert!(error.as_database_error().is_some(), "{login:?} {database}: {error}");
        }
    }

    let mut admin = world.connect_as(&mine, Login::Admin, &mine.schema()).await.unwrap();
    for sql in denied_to_everyone(&other.schema()) {
        let state = refused(&mut admin, &sql).await;
        // `0A000`: Postgres has no names across databases.
        assert!(matches!(state.as_deref(), Some(DENIED | "0A000")), "{sql}: {state:?}");
    }
    for (login, may, may_not) in [
        (Login::Api, vec!["anon", "authenticated"], vec!["service_role", "project_admin", "p0001_admin"]),
        (Login::Staff, vec!["project_admin"], vec!["service_role", "anon", "p0001_admin"]),
        (Login::Admin, vec!["service_role"], vec!["postgres", "p0002_admin", "p0001_auth", "project_admin"]),
        (Login::Auth, vec![], vec!["service_role", "anon", "p0001_admin", "r402_auth"]),
    ] {
        let mut conn = world.connect_as(&mine, login, &mine.schema()).await.unwrap();
        for role in may {
            assert_eq!(
                refused(&mut conn, &format!("set role {role}; reset role")).await,
                None,
                "{login:?} {role}"
            );
        }
        for role in may_not {
            for sql in [format!("set role {role}"), format!("set session authorization {role}")] {
                assert_eq!(refused(&mut conn, &sql).await.as_deref(), Some(DENIED), "{login:?} {sql}");
            }
        }
    }
    world.stop().await;
}

fn denied_to_everyone(other: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "select pg_read_file('/etc/passwd')",
        "select pg_ls_dir('.')",
        "copy (select 1) to program 'id'",
        "copy (select 1) to '/tmp/x'",
        "select lo_create(0)",
        "select lo_import('/etc/passwd')",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock_shared(1)",
        "select pg_notify('outbox', '')",
        "select pg_terminate_backend(1)",
        "select pg_cancel_backend(1)",
        "select * from pg_stat_activity",
        "select * from pg_database",
        "select * from pg_roles",
        "select * from pg_authid",
        "select * from pg_locks",
        "select pg_database_size('postgres')",
        "alter system set work_mem = '1GB'",
        "create role evil",
        "create database evil",
        "create schema evil",
        "create extension dblink schema extensions",
        "create extension postgres_fdw schema extensions",
        "create extension file_fdw schema extensions",
        "create language plpython3u",
        "create event trigger t on ddl_command_end execute function r402.dark()",
        "drop event trigger r402_dark",
        "alter event trigger r402_dark disable",
        "set session_replication_role = replica",
        "load 'auto_explain'",
        "create tablespace t location '/tmp'",
        "create publication p for all tables",
        "create subscription s connection 'host=x' publication p with (connect = false)",
        "select pg_create_logical_replication_slot('s', 'test_decoding')",
        "alter role current_user superuser",
        "alter role current_user connection limit 400",
        "alter role current_user set temp_file_limit = -1",
        "set temp_file_limit = -1",
        "drop schema auth cascade",
        "alter function auth.uid() owner to current_user",
        "insert into auth.users (email) values ('x')",
        "select password_hash from auth.users",
        "select * from auth.sessions",
        "create table extensions.t (a int)",
        "create table r402.t (a int)",
        "create table pg_catalog.t (a int)",
        "update pg_class set relrowsecurity = false",
        "show data_directory",
        "grant project_admin to current_user",
    ]
    .iter()
    .map(|sql| (*sql).to_owned())
    .collect();
    all.push(format!("select * from {other}.{other}.t"));
    all.push(format!("alter database {other} owner to current_user"));
    all.push(format!("drop database {other}"));
    all.push(format!("alter role {other}_admin password 'x'"));
    all
}

// Goal: new tables are dark until something is granted, whoever makes them and however they are named.
#[tokio::test(flavor = "multi_thread")]
async fn new_objects_are_dark() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let text = r#"
        create table items (id serial primary key, title text);
        create table "we""ird; ""Näme" ("select" int, "a b" text default 'x;y');
        create table copied as select 1 as a;
        create table parts (a int) partition by range (a);
        create table part_1 partition of parts for values from (0) to (10);
        create view seen as select * from items;
        create materialized view frozen as select * from items;
        create function open_door() returns int language sql security definer as 'select 1';
        insert into items (title) values ('one');
        insert into "we""ird; ""Näme" ("select") values (1)"#;
    world.sql(&slot, text).await.unwrap();

    // An owner cannot turn it off for good: the event trigger turns it on again with the next change.
    let dark = "select count(*)::int as n from pg_class c where relnamespace = 'NAME'::regnamespace
        and relkind in ('r', 'p') and not (relrowsecurity and relforcerowsecurity)";
    let dark = dark.replace("NAME", &slot.schema());
    assert_eq!(world.rows(&slot, &dark).await[0]["n"], 0);
    world.sql(&slot, "alter table items disable row level security").await.unwrap();
    assert_eq!(world.rows(&slot, &dark).await[0]["n"], 0);

    let schema = slot.schema();
    let mut api = world.connect_as(&slot, Login::Api, &schema).await.unwrap();
    assert_eq!(refused(&mut api, &format!("select * from {schema}.items")).await.as_deref(), Some(DENIED));
    for role in ["anon", "authenticated"] {
        let as_role = |sql: &str| format!("begin; set local role {role}; {sql}; rollback");
        let count = format!(
            "do $$ begin if (select count(*) from {schema}.items) + (select count(*) from {schema}.seen) > 0
             then raise 'rows show'; end if; end $$"
        );
        assert_eq!(refused(&mut api, &as_role(&count)).await, None);
        for sql in [
            format!("insert into {schema}.items (title) values ('x')"),
            format!("delete from {schema}.items"),
            format!("select * from {schema}.frozen"),
            format!("select {schema}.open_door()"),
            format!("create table {schema}.t (a int)"),
            "create temporary table t (a int)".to_owned(),
        ] {
            assert_eq!(refused(&mut api, &as_role(&sql)).await.as_deref(), Some(DENIED), "{role} {sql}");
            refused(&mut api, "rollback").await;
        }
    }
    let found = rest::schema::read(&world.cells, &slot).await.unwrap();
    let tables = found.as_array().unwrap();
    assert_eq!(tables.len(), 5, "{found}");
    let items = tables.iter().find(|table| table["name"] == "items").unwrap();
    assert_eq!(items["rls_enabled"], true);
    assert_eq!(items["columns"][0]["type"], "integer");
    assert_eq!(items["columns"][0]["nullable"], false);
    assert_eq!(items["columns"][0]["default_value"], "nextval('items_id_seq'::regclass)");
    assert_eq!(items["constraints"][0]["definition"], "PRIMARY KEY (id)");
    assert!(items["policies"].as_array().unwrap().is_empty());
    assert!(tables.iter().any(|table| table["name"] == "we\"ird; \"Näme"));
    world.stop().await;
}
