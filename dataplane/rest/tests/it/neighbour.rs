//! G09, G14: what one project's SQL can use up, and whether its neighbour notices.

use std::time::{Duration, Instant};

use rest::Limits;
use rest::sql::SqlError;
use serde_json::json;
use sqlx::{Connection, PgConnection, Row};
use store::cells::Slot;

use crate::harness::World;

/// Texts that would run, grow or hold for ever.
const ENDLESS: [&str; 19] = [
    "select pg_sleep(1000)",
    "select count(*) from generate_series(1, 1000000000000)",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
    "select repeat('a', 100000) ~ '(a|aa)+(.)\\2*(.*)\\1x$' from generate_series(1, 1000000)",
    "select count(*) from (select g from generate_series(1, 1000000000) g order by random()) x",
    "select extensions.crypt('x', extensions.gen_salt('bf', 31))",
    "select extensions.crypt('x', extensions.gen_salt('xdes', 16777215))",
    "set work_mem = '2000GB'; select array_agg(g) from generate_series(1, 1000000000) g",
    "set work_mem = '2000GB'; select count(*) from (select distinct g, repeat('x', 100) from \
      generate_series(1, 1000000000) g) x",
    "declare c cursor with hold for select g, repeat('x', 1000) from generate_series(1, 100000000) g",
    "do $$ begin loop execute format('notify x, %L', repeat('y', 7000) || random()); end loop; end $$",
    "do $$ begin for i in 1..100000000 loop raise info '%', repeat('x', 1000); end loop; end $$",
    "do $$ begin loop execute 'savepoint a'; end loop; end $$",
    "do $$ begin loop begin insert into full_up values (repeat('x', 1000)); exception when \
      others then null; end; end loop; end $$",
    "do $$ begin execute 'alter role current_user set statement_timeout = 0'; end $$; set \
      statement_timeout = 0; select pg_sleep(1000)",
    "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set \
      client_connection_check_interval = 0; select pg_sleep(1000)",
    "lock table full_up in access exclusive mode; select pg_sleep(1000)",
    "set transaction isolation level serializable; select count(*) from full_up, generate_series(1, 1000000000000)",
    "do $$ declare v text := 'x'; begin loop v := v || v; end loop; end $$",
];

/// Goal: limits hold against all of it, and the project beside answers within seconds. Method: run each with
/// a deadline of one second, three at a time, while the neighbour asks again and again.
#[tokio::test(flavor = "multi_thread")]
async fn endless_work_ends_and_the_neighbour_answers() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let (_, beside) = world.provision().await;
    world.sql(&slot, "create table full_up (s text)").await.unwrap();
    world.sql(&beside, "create table quiet as select 1 as n").await.unwrap();

    let slowest = {
        let attack = attack_in_threes(&world, &slot);
        let watch = neighbour(&world, &beside);
        tokio::select! {
            () = attack => None,
            slowest = watch => Some(slowest),
        }
    };
    assert_eq!(slowest, None, "the neighbour waited");
    assert_eq!(world.rows(&slot, "select count(*)::int n from full_up").await, json!([{"n": 0}]));
    let forbidden = ["vacuum full full_up", "reindex system", "create database x", "cluster", "checkpoint"];
    for text in forbidden {
        assert!(matches!(world.sql(&slot, text).await, Err(SqlError::Refused { .. })), "{text}");
    }
    catalogue_is_bounded(&world, &slot).await;
    nothing_is_logged(&world, &slot).await;
    no_backend_stays(&world).await;
    world.stop().await;
}

async fn attack_in_threes(world: &World, slot: &Slot) {
    let short = Limits { deadline: Duration::from_secs(1), ..Limits::default() };
    for three in ENDLESS.chunks(3) {
        let runs = three.iter().map(|text| async move {
            let started = Instant::now();
            let error = world.sql_with(slot, text, vec![], short).await.expect_err(text);
            let stopped = matches!(
                &error,
                SqlError::Timeout { .. }
                    | SqlError::TooLarge { .. }
                    | SqlError::Refused { .. }
                    | SqlError::Busy
                    | SqlError::Unavailable
            );
            assert!(stopped, "{text}: {error}");
            assert!(started.elapsed() < Duration::from_secs(15), "{text} took {:?}", started.elapsed());
        });
        futures::future::join_all(runs).await;
    }
}

/// Answers only when the neighbour had to wait too long.
async fn neighbour(world: &World, slot: &Slot) -> Duration {
    loop {
        let started = Instant::now();
        world.rows(slot, "select n from quiet").await;
        if started.elapsed() > Duration::from_secs(5) {
            return started.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A million tables: the event trigger counts. Each of these has a TOAST table and five indexes.
async fn catalogue_is_bounded(world: &World, slot: &Slot) {
    let text = "do $$ begin for i in 1..900 loop
        execute format('create table bloat_%s (a text unique, b text unique, c text unique, d text unique)', i);
      end loop; end $$";
    let error = world.sql(slot, text).await.unwrap_err();
    let bounded = matches!(&error, SqlError::Refused { sqlstate, .. } if sqlstate == "54000");
    assert!(bounded || matches!(error, SqlError::Timeout { .. }), "{error}");
}

/// Words of tenants reach no log: they would fill the disk, and forge lines.
async fn nothing_is_logged(world: &World, slot: &Slot) {
    for text in [
        "do $$ begin for i in 1..100 loop raise log 'R402-FORGED'; end loop; end $$",
        "set debug_print_parse = on; set debug_print_plan = on; select 'R402-FORGED'",
        "select 'R402-FORGED'::int",
        "do $$ begin raise exception 'R402-FORGED'; end $$",
    ] {
        let _ = world.sql(slot, text).await; // Whether it fails is not the question.
    }
    assert!(!world.child_logs().contains("R402-FORGED"));
    for text in ["set log_min_messages = debug5", "reset all; set log_statement = 'all'"] {
        assert!(world.sql(slot, text).await.is_err(), "{text}");
    }
    let all = format!("do $$ begin execute 'alter role {}_admin reset all'; end $$", slot.schema());
    world.sql(slot, &all).await.unwrap();
    world.sql(slot, "do $$ begin raise log 'R402-FORGED'; end $$").await.unwrap();
    assert!(!world.child_logs().contains("R402-FORGED"), "the tenant cannot reset what we set");
    let kept = world.rows(slot, "select current_setting('temp_file_limit') as l").await;
    assert_eq!(kept, json!([{"l": "256MB"}]));
}

/// Nothing of the attacks is still running.
async fn no_backend_stays(world: &World) {
    let mut cell = PgConnection::connect(&world.cell_url).await.unwrap();
    let sql = "select count(*) from pg_stat_activity where usename like 'p0%' and state <> 'idle'";
    for attempt in 0.. {
        let left: i64 = sqlx::raw_sql(sql).fetch_one(&mut cell).await.unwrap().get(0);
        if left == 0 {
            return;
        }
        assert!(attempt < 50, "{left} backends are still at it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Goal: one value larger than an answer may be is refused without being read. Method: sizes around the cap,
/// also as a message of the server; memory of this process must not follow.
#[tokio::test(flavor = "multi_thread")]
async fn one_huge_value_is_refused_unread() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.sql(&slot, "create table t (a int)").await.unwrap();
    let before = resident_mib();
    for text in [
        "insert into t values (1); select repeat('x', 12000000)",
        "insert into t values (1); select repeat('x', 17000000)",
        "insert into t values (1); select repeat('x', 100000000)",
        "insert into t values (1); select repeat('x', 9000000), repeat('y', 9000000)",
        "insert into t values (1) returning repeat('x', 40000000)",
    ] {
        let error = world.sql(&slot, text).await.unwrap_err();
        assert!(matches!(error, SqlError::TooLarge { .. }), "{text}: {error}");
    }
    let params = world.sql_with(&slot, "select repeat($1, 60000000)", vec![json!("x")], Limits::default());
    assert!(matches!(params.await, Err(SqlError::TooLarge { .. })));
    // The server's own words count as well, and what a backend may hold is bounded.
    for text in [
        "do $$ begin raise exception '%', repeat('x', 100000000); end $$",
        "select repeat('x', 900000000)",
        "set work_mem = '100GB'; select length(string_agg(repeat('x', 1000), '')) from generate_series(1, 900000)",
    ] {
        let error = world.sql(&slot, text).await.unwrap_err();
        assert!(matches!(error, SqlError::TooLarge { .. } | SqlError::Refused { .. }), "{text}: {error}");
    }
    let after = resident_mib();
    assert!(after < before + 120, "{before} MiB became {after} MiB");
    assert_eq!(world.rows(&slot, "select count(*)::int n from t").await, json!([{"n": 0}]));
    let most = world.rows(&slot, "select length(s) n from (select repeat('x', 9000000) s) x").await;
    assert_eq!(most, json!([{"n": 9_000_000}]));
    let whole = world.sql(&slot, "select repeat('x', 9900000) s").await.unwrap();
    assert_eq!(whole.rows[0].get("s").and_then(|v| v.as_str()).map(str::len), Some(9_900_000));
    world.stop().await;
}

/// The most that this process had in memory.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
