//! The SQL endpoint: shapes, parameters, caps, deadlines, and one transaction per request.

use std::time::{Duration, Instant};

use rest::Limits;
use rest::sql::SqlError;
use serde_json::{Value, json};
use store::cells::{Login, Slot};
use types::Code;

use crate::harness::World;

// Goal: the result shape of contract 01 section 6.6. Method: one statement of each kind.
#[tokio::test(flavor = "multi_thread")]
async fn results_have_the_shape_that_clients_read() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    let run = |text: &'static str| world.sql(&slot, text);

    let made =
        run("create table items (id serial primary key, title text not null, at timestamptz)").await.unwrap();
    assert_eq!((made.count, made.rows.len(), made.fields.len()), (None, 0, 0));
    assert_eq!(made.schema, slot.schema());
    let added = run("insert into items (title) values ('a'), ('b')").await.unwrap();
    assert_eq!((added.count, added.rows.len()), (Some(2), 0));
    let returned = run("insert into items (title) values ('c') returning id, title").await.unwrap();
    assert_eq!(json!(returned.rows), json!([{"id": 3, "title": "c"}]));
    assert_eq!(
        json!(returned.fields),
        json!([{"name": "id", "type": "int4"}, {"name": "title", "type": "text"}])
    );
    let none = run("select id, at from items where false").await.unwrap();
    assert_eq!((none.count, none.rows.len()), (Some(0), 0));
    assert_eq!(json!(none.fields)[1], json!({"name": "at", "type": "timestamptz"}));
    let several =
        run("insert into items (title) values ('d'); create table t (); select 1 as n; select 2 as m").await;
    let several = several.unwrap();
    assert_eq!((json!(several.rows), several.count), (json!([{"m": 2}]), Some(3)));
    assert_eq!(run(" ; -- nothing\n").await.unwrap().count, None);

    let text = "select 1::int2 z, 9007199254740993::int8 a, 1.5::numeric b, true c, '{\"k\":[1]}'::jsonb d,
        '2026-11-25 10:00:00+02'::timestamptz e, '{1,2}'::int[] f, '\\x00ff'::bytea g, null::text h,
        'happy'::text i, '1 day'::interval j, gen_random_uuid() is not null k, 'a'::mood l";
    run("create type mood as enum ('a')").await.unwrap();
    let all = run(text).await.unwrap();
    let text = serde_json::to_string(&all.rows).unwrap();
    let wanted = concat!(
        r#"[{"z":1,"a":"9007199254740993","b":1.5,"c":true,"d":{"k":[1]},"e":"2026-11-25T08:00:00.000Z","#,
        r#""f":[1,2],"g":"\\x00ff","h":null,"i":"happy","j":"1 day","k":true,"l":"a"}]"#
    );
    assert_eq!(text, wanted, "columns stand in the order of the select list");
    assert_eq!(all.fields[12].type_name, "mood");
    assert_eq!(all.fields[6].type_name, "_int4");

    parameters(&world, &slot).await;
    refusals(&world, &slot).await;
    world.stop().await;
}

async fn parameters(world: &World, slot: &Slot) {
    let with = |text: &'static str, params: Value| {
        let params = params.as_array().unwrap().clone();
        world.sql_with(slot, text, params, Limits::default())
    };
    let hostile = "x'); drop table items; --";
    let done = with("insert into items (title) values ($1) returning title", json!([hostile])).await.unwrap();
    assert_eq!((json!(done.rows), done.count), (json!([{"title": hostile}]), Some(1)));
    let done = with(
        "select $1::int + 1 as n, $2::jsonb as j, $3::text as t, $4::bool as b, $5::int[] as a, $6 as u",
        json!([41, {"a": "o'clock"}, null, true, "{1,2}", "\\"]),
    );
    assert_eq!(
        json!(done.await.unwrap().rows),
        json!([{"n": 42, "j": {"a": "o'clock"}, "t": null, "b": true, "a": [1, 2], "u": "\\"}])
    );
    let two = with("select $1; select 2", json!([1])).await.unwrap_err();
    assert!(matches!(two, SqlError::BadParameters(_)), "{two}");
    let few = with("select $1::int, $2::int", json!([1])).await.unwrap_err();
    assert!(matches!(few, SqlError::Refused { .. }), "{few}");
    let bad = with("select $1::int", json!(["x"])).await.unwrap_err();
    assert!(matches!(&bad, SqlError::Refused { sqlstate, .. } if sqlstate == "22P02"), "{bad}");
    let SqlError::Refused { position, .. } = with("select $1 +* 2", json!([1])).await.unwrap_err() else {
        panic!("refused");
    };
    assert_eq!(position, Some(11), "counted from the start of the user's own text");
}

async fn refusals(world: &World, slot: &Slot) {
    let run = |text: &'static str| async move { world.sql(slot, text).await.unwrap_err() };
    // One transaction: what came before is gone.
    let late = run("insert into items (title) values ('gone'); select 1/0; select 3").await;
    assert!(matches!(&late, SqlError::Refused { index: 1, sqlstate, .. } if sqlstate == "22012"), "{late}");
    assert_eq!(world.rows(slot, "select count(*)::int n from items where title = 'gone'").await[0]["n"], 0);
    let problem = late.into_problem();
    assert_eq!((problem.code, problem.details["statement_index"].clone()), (Code::SqlError, json!(1)));

    let nonsense = run("selec 1").await;
    assert!(matches!(&nonsense, SqlError::Refused { position: Some(1), .. }), "{nonsense}");
    assert!(matches!(run("begin; select 1; commit").await, SqlError::TransactionControl { .. }));
    assert!(matches!(run("listen x; notify x").await, SqlError::Unsupported { .. }));
    assert!(matches!(run("grant select on items to anon").await, SqlError::Blocked { pattern: "GRANT", .. }));
    for copy in ["copy items to stdout", "copy items (title) from stdin"] {
        let refused = run(copy).await;
        assert!(matches!(&refused, SqlError::Refused { sqlstate, .. } if sqlstate == "0A000"), "{refused}");
    }
    // Transaction control that words cannot show.
    let inner = run("insert into items (title) values ('half'); do $$ begin commit; end $$").await;
    assert!(matches!(&inner, SqlError::Refused { .. }), "{inner}");
    assert_eq!(world.rows(slot, "select count(*)::int n from items where title = 'half'").await[0]["n"], 0);
    // A constraint that is checked at the commit.
    let deferred =
        run("create table d (a int unique deferrable initially deferred); insert into d values (1), (1)");
    assert!(matches!(deferred.await, SqlError::Refused { .. }));
    assert_eq!(world.rows(slot, "select to_regclass('d') is null as gone").await[0]["gone"], true);
    assert!(matches!(run("select '\0'").await, SqlError::BadParameters(_)));
}

// Goal: nothing runs longer or answers more than it may. Method: statements that lift every limit they can.
#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_caps_hold_against_the_statement() {
    let world = World::start().await;
    let (_, slot) = world.provision().await;
    world.sql(&slot, "create table t (a int)").await.unwrap();
    let short = Limits { deadline: Duration::from_secs(1), ..Limits::default() };

    for text in [
        "insert into t values (1); select pg_sleep(30)",
        "set statement_timeout = 0; insert into t values (1); select pg_sleep(30)",
        "insert into t values (1); do $$ begin loop
           begin perform pg_sleep(5); exception when query_canceled then null; end; end loop; end $$",
        "set statement_timeout = 0; insert into t values (1); do $$ begin loop null; end loop; end $$",
    ] {
        let started = Instant::now();
        let error = world.sql_with(&slot, text, vec![], short).await.unwrap_err();
        assert!(matches!(error, SqlError::Timeout { .. }), "{text}: {error}");
        assert!(started.elapsed() < Duration::from_secs(6), "{text} took {:?}", started.elapsed());
        assert_eq!(error.into_problem().code.status(), 408);
    }
    assert_eq!(world.rows(&slot, "select count(*)::int n from t").await[0]["n"], 0);

    for text in [
        "insert into t values (1); select generate_series(1, 10001)",
        "insert into t values (1); select generate_series(1, 100000000)",
        "insert into t values (1); select repeat('x', 1000000) from generate_series(1, 11)",
        "insert into t values (1); select generate_series(1, 10001); select 1",
    ] {
        let error = world.sql(&slot, text).await.unwrap_err();
        assert!(matches!(error, SqlError::TooLarge { .. }), "{text}: {error}");
        assert_eq!(error.into_problem().code.status(), 413);
    }
    assert_eq!(world.rows(&slot, "select count(*)::int n from t").await[0]["n"], 0);
    let most = world.sql(&slot, "select generate_series(1, 10000) n").await.unwrap();
    assert_eq!((most.rows.len(), most.count), (10_000, Some(10_000)));

    // More requests at once than the login may have connections: they wait for each other.
    let texts = (0..12).map(|_| world.sql(&slot, "select pg_sleep(0.1)"));
    assert!(futures::future::join_all(texts).await.iter().all(Result::is_ok));

    // What a tenant does to its own login is undone, and its settings do not outlive the request.
    let schema = slot.schema();
    let mut own = world.connect_as(&slot, Login::Admin, &schema).await.unwrap();
    for sql in [
        "password 'mine'",
        "set search_path = nowhere",
        "set statement_timeout = 0",
        "set timezone = 'Asia/Tokyo'",
    ] {
        assert_eq!(
            crate::harness::refused(&mut own, &format!("alter role {schema}_admin {sql}")).await,
            None
        );
    }
    drop(own);
    let rows = world.rows(&slot, "set timezone = 'Asia/Tokyo'; select count(*)::int n from t").await;
    assert_eq!(rows[0]["n"], 0);
    let zone =
        world.rows(&slot, "select current_setting('timezone') z, current_setting('search_path') p").await;
    assert_eq!(zone, json!([{"z": "UTC", "p": format!("{schema},extensions")}]));
    world.stop().await;
}
