//! G01, G03, G04, G10, G11: what hostile SQL cannot reach, become or break out of.

use std::time::Duration;

use rest::sql::SqlError;
use rest::{Limits, SqlRequest};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Row};
use store::cells::{CellConfig, Cells, Login, Slot};
use types::{Clock, SystemClock};

use crate::harness::{World, refused};

const DENIED: &str = "42501";

/// Every kind of statement, with `T` for another project's table.
pub const ON_A_TABLE: [&str; 24] = [
    "select * from T",
    "explain select * from T",
    "insert into T values ('x')",
    "update T set s = 'x'",
    "delete from T",
    "merge into T using (select 1) x on true when matched then delete",
    "truncate T",
    "copy T to '/tmp/x'",
    "copy (select * from T) to program 'id'",
    "copy T from program 'id'",
    "create temporary table mine (s text references T)",
    "create temporary table mine (like T)",
    "create temporary view mine as select * from T",
    "create trigger evil before insert on T for each row execute function suppress_redundant_updates_trigger()",
    "create rule evil as on insert to T do nothing",
    "create policy evil on T using (true)",
    "create index on T (s)",
    "do $$ begin lock table T in access share mode; end $$",
    "comment on table T is 'x'",
    "alter table T disable row level security",
    "drop table T",
    "grant select on T to current_user",
    "analyze T",
    "select pg_catalog.pg_relation_size('T'::regclass)",
];

/// What needs no table: shared memory, files, other databases.
const ANYWHERE: [&str; 13] = [
    "select pg_catalog.pg_advisory_lock(1)",
    "select pg_catalog.pg_advisory_xact_lock_shared(1, 2)",
    "select pg_catalog.pg_try_advisory_lock(1)",
    "select pg_catalog.lo_create(0)",
    "select pg_catalog.lo_from_bytea(0, 'x')",
    "select pg_catalog.lo_export(1, '/tmp/x')",
    "select pg_catalog.lo_import('/etc/passwd')",
    "select pg_catalog.pg_notify('a', 'b')",
    "select pg_catalog.pg_terminate_backend(1)",
    "select pg_catalog.pg_read_binary_file('/etc/passwd')",
    "select pg_catalog.pg_ls_waldir()",
    "select pg_catalog.pg_export_snapshot()",
    "select pg_catalog.database_to_xml(true, true, '')",
];

/// G01. Goal: no login of a project, whatever it has become, reaches another project's objects. Method: the
/// product of logins, roles, ways of naming and statements; then the victim counts its rows.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_any_login_reaches_another_project() {
    let world = World::start().await;
    let (_, mine) = world.provision().await;
    let (_, other) = world.provision().await;
    world.sql(&other, "create table notes (s text); insert into notes values ('secret')").await.unwrap();
    let theirs = other.schema();
    let mut tried = 0;
    for (login, roles) in [
        (Login::Api, vec!["none", "anon", "authenticated"]),
        (Login::Staff, vec!["none", "project_admin"]),
        (Login::Admin, vec!["none", "service_role"]),
        (Login::Auth, vec!["none"]),
    ] {
        let mut conn = world.connect_as(&mine, login, &mine.schema()).await.unwrap();
        for role in roles {
            assert_eq!(refused(&mut conn, &format!("set role {role}")).await, None, "{login:?} {role}");
            for name in [format!("{theirs}.notes"), format!("{theirs}.{theirs}.notes")] {
                for statement in ON_A_TABLE {
                    let sql = statement.replace('T', &name);
                    let state = refused(&mut conn, &sql).await.unwrap_or_default();
                    // Not allowed, no such schema or table, or no names across databases.
                    let known = [DENIED, "3F000", "42P01", "0A000", "42601", "42704"];
                    assert!(known.contains(&state.as_str()), "{login:?} {role} {sql}: {state:?}");
                    tried += 1;
                }
            }
            for sql in ANYWHERE {
                assert_eq!(refused(&mut conn, sql).await.as_deref(), Some(DENIED), "{login:?} {role} {sql}");
                tried += 1;
            }
            let temporary = refused(&mut conn, "create temporary table t (); drop table t").await;
            let may = login == Login::Admin && role == "none";
            assert_eq!(temporary.is_none(), may, "{login:?} {role}: {temporary:?}");
        }
    }
    assert_eq!(tried, 8 * (2 * ON_A_TABLE.len() + ANYWHERE.len()));
    notifications_stay_at_home(&world, &mine, &other).await;
    assert_eq!(world.rows(&other, "select * from notes").await, json!([{"s": "secret"}]));
    world.stop().await;
}

/// NOTIFY is a statement that nobody can be denied; it is heard in its own database only.
async fn notifications_stay_at_home(world: &World, mine: &Slot, other: &Slot) {
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect_with(world.options_as(other, Login::Api, &other.schema())).await.unwrap();
    let mut victim = PgListener::connect_with(&pool).await.unwrap();
    victim.listen_all(["outbox", "project", "news"]).await.unwrap();
    world.sql(mine, "notify outbox, 'x'; notify project, 'x'; notify news, 'x'").await.unwrap();
    let heard = tokio::time::timeout(Duration::from_millis(700), victim.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}

/// What a tenant may put into its own schema to be mistaken for something of ours or of Postgres.
const SHADOWS: &str = "
    create function uid() returns uuid language sql as $$ select '00000000-0000-0000-0000-00000000dead'::uuid $$;
    create function jwt() returns jsonb language sql as $$ select '{\"sub\":\"dead\"}'::jsonb $$;
    create function role() returns text language sql as $$ select 'service_role'::text $$;
    create function current_setting(text, boolean) returns text language sql
      as $$ select '{\"sub\":\"00000000-0000-0000-0000-00000000dead\",\"role\":\"service_role\"}'::text $$;
    create function steal(jsonb, text) returns text language sql as $$ select 'dead'::text $$;
    create operator ->> (leftarg = jsonb, rightarg = text, function = steal);
    create table trace (who text);
    create function format(text, anyelement) returns text language plpgsql as $$
      begin insert into trace values (current_user || ' ' || current_setting('is_superuser', true)); return ''; end $$;
    create function pg_event_trigger_ddl_commands() returns setof int language plpgsql as $$
      begin insert into trace values (current_user); return; end $$;
    create function eq_steal(text, text) returns boolean language plpgsql as $$
      begin insert into trace values (current_user); return false; end $$;
    create operator = (leftarg = text, rightarg = text, function = eq_steal);
    create table pg_class (oid oid, relkind \"char\", relrowsecurity boolean, relforcerowsecurity boolean);
    create table users (id uuid); create table sessions (id uuid);
    create view pg_stat_activity as select 1 as pid; create view pg_database as select 'x' as datname";

/// G03. Goal: our functions mean what they mean, whatever stands before them in the search path. Method:
/// shadow all that they use, in the schema and in pg_temp, then look at their answers and at new tables.
#[tokio::test(flavor = "multi_thread")]
async fn shadows_of_our_objects_change_nothing() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.sql(&slot, SHADOWS).await.unwrap();
    let schema = slot.schema();

    let mut api = world.connect_as(&slot, Login::Api, &schema).await.unwrap();
    let sub = "11111111-1111-4111-8111-111111111111";
    let setup = format!(
        "begin; set local role anon; set local search_path = {schema}, pg_temp, pg_catalog;
         set local request.jwt.claims = '{{\"sub\":\"{sub}\",\"role\":\"anon\"}}'"
    );
    assert_eq!(refused(&mut api, &setup).await, None);
    let row =
        sqlx::raw_sql("select auth.uid()::text || auth.role() || (auth.jwt())::text").fetch_one(&mut api);
    let answer: String = Row::get(&row.await.unwrap(), 0);
    assert!(answer.starts_with(&format!("{sub}anon")) && !answer.contains("dead"), "{answer}");
    drop(api);

    // The same from pg_temp, and the event triggers' own words shadowed while tables are made.
    let mut admin = world.connect_as(&slot, Login::Admin, &schema).await.unwrap();
    let attack = format!(
        "set search_path = pg_temp, {schema}, pg_catalog;
         create function pg_temp.format(text, anyelement) returns text language sql as 'select ''''::text';
         create temporary table pg_class (oid oid);
         create table {schema}.fresh (a int);
         create view {schema}.shown as select * from {schema}.fresh;
         alter view {schema}.shown set (security_invoker = false);
         alter table {schema}.fresh no force row level security;
         create function {schema}.open() returns int language sql security definer as 'select 1'"
    );
    assert_eq!(refused(&mut admin, &attack).await, None);
    let dark = format!(
        "do $$ begin
           if not (select relrowsecurity and relforcerowsecurity from pg_catalog.pg_class
                   where oid operator(pg_catalog.=) '{schema}.fresh'::regclass) then raise 'not dark'; end if;
           if (select reloptions::text from pg_catalog.pg_class where oid operator(pg_catalog.=)
               '{schema}.shown'::regclass) not like '%security_invoker=true%' then raise 'definer view'; end if;
           if exists (select from {schema}.trace) then raise 'a shadow ran: %', (select who \
             from {schema}.trace limit 1);
           end if; end $$"
    );
    assert_eq!(refused(&mut admin, &dark).await, None);
    for sql in [
        "create or replace function auth.uid() returns uuid language sql as 'select null::uuid'",
        "create function auth.lower(text) returns text language sql as 'select $1'",
        "create table auth.users2 (a int)",
        "alter function auth.uid() rename to uid2",
        "alter function auth.uid() set search_path = x",
        "alter schema auth rename to a",
        "drop function auth.uid() cascade",
        "create or replace function r402.dark() returns event_trigger language plpgsql as 'begin end'",
        "create function pg_catalog.now2() returns int language sql as 'select 1'",
        "create function extensions.crypt(text, text, int) returns text language sql as 'select $1'",
        "alter event trigger r402_bound disable",
        "set event_triggers = off",
        "alter role current_user set event_triggers = off",
    ] {
        assert_eq!(refused(&mut admin, sql).await.as_deref(), Some(DENIED), "{sql}");
    }
    drop(admin);
    no_superuser_comes_in(&world, &slot).await;
    world.stop().await;
}

/// Whatever the platform does meanwhile, no superuser session is in a tenant's database, where one look at a
/// hostile view would give the whole server away.
async fn no_superuser_comes_in(world: &World, slot: &Slot) {
    let (_, beside) = world.provision().await;
    let work = async {
        rest::schema::read(&world.cells, slot).await.unwrap();
        assert!(world.cells.slot_bytes(slot).await.unwrap() > 0);
        let short = Limits { deadline: Duration::from_millis(300), ..Limits::default() };
        let endless = "set statement_timeout = 0; select pg_sleep(9)";
        let overdue = world.sql_with(slot, endless, vec![], short).await;
        assert!(matches!(overdue, Err(SqlError::Timeout { .. })));
        let locked_out = format!("alter role {}_admin password 'mine'", slot.schema());
        let mut own = world.connect_as(slot, Login::Admin, &slot.schema()).await.unwrap();
        assert_eq!(refused(&mut own, &locked_out).await, None);
        world.sql(slot, "analyze").await.unwrap();
        world.cells.slots_fill(&world.store, "cell-1", 1, &SystemClock).await.unwrap();
        world.cells.slot_drop(&world.store, &beside, SystemClock.now()).await.unwrap();
        let config = CellConfig::new("cell-1", &world.cell_url);
        Cells::connect(vec![config], &world.key, &world.store).await.unwrap().close().await;
    };
    let mut cell = PgConnection::connect(&world.cell_url).await.unwrap();
    let watch = async {
        let sql = format!(
            "select coalesce(string_agg(query, '; '), '') from pg_stat_activity a
             join pg_roles r on r.oid = a.usesysid
             where r.rolsuper and backend_type = 'client backend' and datname in ('{}', '{}')",
            slot.schema(),
            beside.schema()
        );
        loop {
            let row = sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_one(&mut cell).await.unwrap();
            let seen: String = Row::get(&row, 0);
            assert_eq!(seen, "", "a superuser is in a tenant's database");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = watch => {}
    }
}

/// G04. Goal: nobody becomes anybody else. Method: every spelling of a role change, on every level.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_role_change_raises_rights() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let (_, other) = world.provision().await;
    let schema = slot.schema();
    world.sql(&slot, "create table own (s text); insert into own values ('x')").await.unwrap();
    let targets = ["service_role", "postgres", "r402_auth"].map(str::to_owned);
    let targets =
        [targets.to_vec(), vec![format!("{schema}_admin"), format!("{}_admin", other.schema())]].concat();
    for (login, role) in
        [(Login::Api, "anon"), (Login::Api, "authenticated"), (Login::Staff, "project_admin")]
    {
        let mut conn = world.connect_as(&slot, login, &schema).await.unwrap();
        assert_eq!(refused(&mut conn, &format!("set role {role}")).await, None);
        for target in &targets {
            for sql in [
                format!("set role {target}"),
                format!("set local role {target}"),
                format!("set session authorization {target}"),
                format!("select set_config('role', '{target}', false)"),
                format!("select set_config('session_authorization', '{target}', true)"),
                format!("do $$ begin execute 'reset role'; execute 'set role {target}'; end $$"),
                format!("grant {target} to current_user"),
            ] {
                let state = refused(&mut conn, &sql).await;
                assert!(matches!(state.as_deref(), Some(DENIED | "0LP01")), "{login:?} {sql}: {state:?}");
            }
        }
        // Falling back to the login itself gives less, not more.
        for sql in
            ["reset role", "set session authorization default", "reset session authorization", "discard all"]
        {
            assert_eq!(refused(&mut conn, sql).await, None, "{sql}");
            let read = refused(&mut conn, &format!("select * from {schema}.own")).await;
            assert_eq!(read.as_deref(), Some(DENIED), "{login:?} after {sql}");
            assert_eq!(refused(&mut conn, &format!("set role {role}")).await, None);
        }
    }
    // CVE-2024-10978 and its kin: the endpoint's own login, within functions and out of them.
    for text in [
        "select set_config('role', 'postgres', false)",
        "create function up() returns text language sql security definer as $$ select \
          set_config('role','postgres',false) $$;
         select up()",
        "do $$ begin execute 'set session authorization postgres'; end $$",
        "do $$ begin execute 'alter role current_user bypassrls superuser'; end $$",
        "do $$ begin execute 'create role x superuser'; end $$",
        "do $$ begin execute 'alter role service_role login'; end $$",
        "do $$ begin execute 'alter role anon bypassrls'; end $$",
    ] {
        let error = world.sql(&slot, text).await.unwrap_err();
        let known = matches!(&error, SqlError::Refused { sqlstate, .. } if sqlstate == DENIED);
        assert!(known, "{text}: {error}");
    }
    // A session that was made to start as somebody else starts as itself.
    let defaults = format!("do $$ begin execute 'alter role {schema}_admin set role = service_role'; end $$");
    world.sql(&slot, &defaults).await.unwrap();
    let who = world.rows(&slot, "select current_user::text u, session_user::text s").await;
    let name = format!("{schema}_admin");
    assert_eq!(who, json!([{"u": name, "s": name}]));
    start_up_options(&world, &slot).await;
    world.stop().await;
}

/// G10: what only a superuser may set cannot be set while connecting either, and nobody replicates.
async fn start_up_options(world: &World, slot: &Slot) {
    for (name, value) in [
        ("temp_file_limit", "-1"),
        ("log_min_messages", "debug5"),
        ("session_preload_libraries", "auto_explain"),
        ("session_replication_role", "replica"),
        ("event_triggers", "off"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("lo_compat_privileges", "on"),
        ("zero_damaged_pages", "on"),
    ] {
        let options = world.options_as(slot, Login::Admin, &slot.schema()).options([(name, value)]);
        let outcome = PgConnection::connect_with(&options).await;
        assert!(outcome.is_err(), "{name}={value}");
    }
    let may =
        sqlx::raw_sql("select rolreplication or rolsuper or rolcreaterole or rolcreatedb from pg_roles");
    let mut cell = PgConnection::connect(&world.cell_url).await.unwrap();
    let rows = may.fetch_all(&mut cell).await.unwrap();
    let powerful = rows.iter().filter(|row| Row::get::<bool, _>(*row, 0)).count();
    assert_eq!(powerful, 1, "the cell's superuser and nobody else");
}

/// G11. Goal: a parameter is a value, whatever is in it, and a text is one transaction. Method: hostile values
/// through PREPARE and EXECUTE under a role that defaults to backslash escapes; texts that end transactions.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_stay_values_and_texts_stay_one_transaction() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let schema = slot.schema();
    world.sql(&slot, "create table t (s text)").await.unwrap();
    let lax = format!(
        "do $$ begin execute 'alter role {schema}_admin set standard_conforming_strings = off';
           execute 'alter role {schema}_admin set backslash_quote = on';
           execute 'alter role {schema}_admin set client_encoding = ''SJIS'''; end $$"
    );
    world.sql(&slot, &lax).await.unwrap();
    let long = "'\\".repeat(50_000);
    for value in [
        "\\",
        "\\'",
        "\\\\'; drop table t; --",
        "'",
        "''",
        "';",
        "'); drop table t; --",
        "$1",
        "$1'$2",
        "$$",
        "$a$ ' $a$",
        "E'\\''",
        "U&'\\0027'",
        "\u{bf}'",
        "表'; drop table t --",
        "\u{2019}",
        "\u{ff07}",
        "/*",
        "--",
        "\n;\n",
        "\u{1}\u{7f}\u{85}\u{202e}",
        "😀'",
        "{\"a\":\"'\"}",
        "null",
        &long,
    ] {
        let sql = "insert into t values ($1) returning s, length($1) = length(s) as same, $2::text as other";
        let done = world.sql_with(&slot, sql, vec![json!(value), json!("'x")], Limits::default()).await;
        let rows = json!(done.unwrap_or_else(|e| panic!("{value:?}: {e}")).rows);
        assert_eq!(rows, json!([{"s": value, "same": true, "other": "'x"}]));
        let nested = json!({ "k": value, "l": [value] });
        let done =
            world.sql_with(&slot, "select $1::jsonb as j", vec![nested.clone()], Limits::default()).await;
        assert_eq!(json!(done.unwrap().rows), json!([{ "j": nested }]), "{value:?}");
    }
    for (text, params) in [
        ("select $1::text", json!(["a\u{0}b"])),
        ("select $1::jsonb", json!([{"a": "x\u{0}y"}])),
        ("select $1; select 2", json!([1])),
        ("select $1) ; drop table t; select (1", json!([1])),
        ("select 1 /* */ ; -- $1\n drop table t", json!([1])),
        ("select $2::int", json!([1])),
        ("", json!([1])),
        ("commit", json!([1])),
        ("as select 1", json!([1])),
    ] {
        let params: Vec<Value> = params.as_array().unwrap().clone();
        let done = world.sql_with(&slot, text, params, Limits::default()).await;
        assert!(
            matches!(
                done,
                Err(SqlError::BadParameters(_)
                    | SqlError::Refused { .. }
                    | SqlError::TransactionControl { .. })
            ),
            "{text}: {done:?}"
        );
    }
    let before = world.rows(&slot, "select count(*)::int n from t").await;
    for text in [
        "insert into t values ('half'); commit; select 1/0",
        "insert into t values ('half'); /* x */ COMMIT AND CHAIN; select 1/0",
        "insert into t values ('half'); end; select 1/0",
        "insert into t values ('half'); rollback; insert into t values ('half')",
        "insert into t values ('half'); do $$ begin commit; end $$",
        "insert into t values ('half'); create procedure p() language plpgsql as $$ begin commit; end $$; call p()",
        "insert into t values ('half'); do $$ begin execute 'commit'; end $$",
        "insert into t values ('half'); create function f(begin int) returns int language sql \
          return 1; commit; select 1/0",
        "insert into t values ('half'); prepare c as select 1; execute c; deallocate all; commit; select 1/0",
        "insert into t values ('half'); prepare transaction 'x'",
        "insert into t values ('half'); select 'a\\'; commit; select ''; select 1/0",
    ] {
        world.sql(&slot, text).await.expect_err(text);
        assert_eq!(world.rows(&slot, "select count(*)::int n from t").await, before, "{text}");
    }
    // Names of our own prepared statement and of cursors are free for the tenant to take.
    let request = SqlRequest { text: "select $1::int as n".into(), params: vec![json!(1)] };
    rest::sql::run(&world.cells, &slot, request, Limits::default()).await.unwrap();
    world.sql(&slot, "prepare r402 as select 1; execute r402; deallocate r402").await.unwrap();
    world.stop().await;
}
