//! Roles, row security, poisoned connections, deadlines, and a schema that changes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Case, Role, Tables};

// G04, G05: visitors see what policies show and change what grants allow, whatever they ask.
#[tokio::test]
async fn roles_see_and_do_what_they_may() {
    let t = Tables::start().await;
    let as_role = async |role, method: &str, path: &str, body| {
        t.ask(role, Case { method, path, headers: &[("prefer", "return=representation")], body }).await
    };
    assert_eq!(
        as_role(Role::Anon, "GET", "/films?select=id&order=id", None).await.body,
        json!([{ "id": 2 }, { "id": 3 }])
    );
    assert_eq!(as_role(Role::Anon, "GET", "/directors", None).await.body, json!([]), "never declared");
    let refused = as_role(Role::Anon, "POST", "/films", Some(json!({ "title": "x" }))).await;
    assert_eq!((refused.status, &refused.body["code"]), (401, &json!("42501")));
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let forbidden =
        as_role(Role::Authenticated, "POST", "/films", Some(json!({ "title": "forbidden", "year": 2001 })))
            .await;
    assert_eq!((forbidden.status, &forbidden.body["code"]), (403, &json!("42501")), "{forbidden:?}");
    let made = as_role(
        Role::Authenticated,
        "POST",
        "/films?select=title",
        Some(json!({ "title": "ok", "year": 2001 })),
    )
    .await;
    assert_eq!((made.status, &made.body), (201, &json!([{ "title": "ok" }])), "{made:?}");
    let whoami = as_role(Role::Authenticated, "GET", "/rpc/claims", None).await;
    assert_eq!(whoami.body["role"], "authenticated");
    assert_eq!(as_role(Role::ProjectAdmin, "GET", "/rpc/context", None).await.body["who"], "project_admin");
    let admin_only = as_role(Role::Anon, "GET", "/rpc/nothing", None).await;
    assert_eq!(admin_only.status, 204, "{admin_only:?}");
    t.world.stop().await;
}

// G04: a function that spoils its connection spoils nobody's request, and no claim outlives its own.
#[tokio::test]
async fn a_poisoned_connection_harms_nobody() {
    let t = Tables::start().await;
    let call = async |path: &str, method: &str| {
        t.ask(Role::Anon, Case { method, path, headers: &[], body: Some(json!({})) }).await
    };
    for _ in 0..8 {
        let poisoned = call("/rpc/poison", "POST").await;
        assert_eq!((poisoned.status, &poisoned.body), (200, &json!("done")), "{poisoned:?}");
        let next = call("/rpc/context", "GET").await;
        assert_eq!((next.status, &next.body["who"]), (200, &json!("anon")), "{next:?}");
        assert_eq!(call("/rpc/claims", "GET").await.body["role"], "anon");
        let rows = call("/films?select=id&order=id", "GET").await;
        assert_eq!(rows.body, json!([{ "id": 2 }, { "id": 3 }]), "{rows:?}");
    }
    // The same by a trigger, whose connection is not reset: everything is said anew with each request.
    t.world
        .sql(
            &t.slot,
            "create function spoil() returns trigger language plpgsql as $$ begin
        perform set_config('request.jwt.claims', '{\"role\":\"evil\"}', false),
          set_config('search_path', 'nowhere', false), set_config('statement_timeout', '1', false);
        execute 'deallocate all'; return new; end $$;
        create trigger spoil before insert on films for each row execute function spoil()",
        )
        .await
        .unwrap();
    for i in 0..8 {
        let body = Some(json!({ "title": format!("t{i}"), "year": 2005 }));
        let made =
            t.ask(Role::Authenticated, Case { method: "POST", path: "/films", headers: &[], body }).await;
        assert_eq!(made.status, 201, "{made:?}");
        let claims = t
            .ask(Role::Authenticated, Case { method: "GET", path: "/rpc/claims", headers: &[], body: None })
            .await;
        assert_eq!((claims.status, &claims.body["role"]), (200, &json!("authenticated")), "{claims:?}");
    }
    t.world.stop().await;
}

// G09: a statement that lifts its own limit is ended all the same, and others go on.
#[tokio::test]
async fn endless_functions_are_ended_from_outside() {
    let t = Tables::start().await;
    t.world
        .sql(
            &t.slot,
            "create function sleepy() returns void language plpgsql as $$ begin
        perform set_config('statement_timeout', '0', false); perform pg_sleep(60); end $$;
        do $$ begin execute 'grant execute on function sleepy() to anon'; end $$",
        )
        .await
        .unwrap();
    let started = Instant::now();
    let slow =
        t.ask(Role::Anon, Case { method: "POST", path: "/rpc/sleepy", headers: &[], body: Some(json!({})) });
    let quick = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        t.ask(Role::Anon, Case { method: "GET", path: "/films?select=id&id=eq.2", headers: &[], body: None })
            .await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!((slow.status, &slow.body["code"]), (500, &json!("57014")), "{slow:?}");
    assert!(started.elapsed() < Duration::from_secs(16));
    assert_eq!(quick.body, json!([{ "id": 2 }]));
    t.world.stop().await;
}

// Contract 6.6, last line: whoever asks right after a change of the schema sees it.
#[tokio::test]
async fn the_schema_is_never_stale() {
    let t = Tables::start().await;
    assert_eq!(t.get("/fresh").await.status, 404);
    // Every login sees the number, the one without any right too.
    let seen = async |name: &str| {
        let path = format!("/{name}");
        t.ask(Role::Anon, Case { method: "GET", path: &path, headers: &[], body: None }).await.status
    };
    for i in 0..3 {
        let name = format!("t{i}");
        assert_eq!(seen(&name).await, 404);
        t.world.sql(&t.slot, &format!("create table {name} (a int)")).await.unwrap();
        assert_eq!(seen(&name).await, 200);
    }
    t.world.sql(&t.slot, "create table fresh (id int primary key, film int references films)").await.unwrap();
    assert_eq!(t.rows("/fresh?select=id,films(title)").await, json!([]));
    t.world.sql(&t.slot, "alter table fresh add column n int default 1").await.unwrap();
    let made =
        t.send("POST", "/fresh?select=n,id", "return=representation", json!({ "id": 1, "n": 7 })).await;
    assert_eq!(made.body, json!([{ "n": 7, "id": 1 }]), "{made:?}");
    t.world.sql(&t.slot, "alter table fresh rename column n to m").await.unwrap();
    assert_eq!(t.rows("/fresh?select=m").await, json!([{ "m": 7 }]));
    t.world
        .sql(
            &t.slot,
            "alter table fresh alter column m type text;
        create function later() returns int language sql as 'select 1'",
        )
        .await
        .unwrap();
    assert_eq!(t.rows("/fresh?select=m&m=eq.7").await, json!([{ "m": "7" }]));
    assert_eq!(t.get("/rpc/later").await.body, json!(1));
    t.world.sql(&t.slot, "drop table fresh").await.unwrap();
    assert_eq!(t.get("/fresh").await.status, 404);
    t.world.stop().await;
}

// G09: many requests at once share a few connections; none fails.
#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_few_connections() {
    let t = Tables::start().await;
    let asks = (0..200).map(|_| t.get("/directors?select=id,films(id)&id=eq.2"));
    let answers = futures::future::join_all(asks).await;
    assert!(
        answers.iter().all(|got| got.status == 200),
        "{:?}",
        answers.iter().find(|got| got.status != 200)
    );
    t.world.stop().await;
}

#[tokio::test]
async fn the_description_shows_what_the_caller_may_use() {
    let t = Tables::start().await;
    let root = async |role| t.ask(role, Case { method: "GET", path: "/", headers: &[], body: None }).await;
    let (anon, service) = (root(Role::Anon).await, root(Role::Service).await);
    assert_eq!(anon.header("content-type"), "application/openapi+json; charset=utf-8");
    assert_eq!(anon.body["swagger"], "2.0");
    assert!(
        anon.body["paths"]["/films"]["get"].is_object() && anon.body["paths"]["/films"]["post"].is_null()
    );
    assert!(service.body["paths"]["/films"]["post"].is_object());
    let title = &service.body["definitions"]["films"]["properties"]["title"];
    assert_eq!((&title["format"], &title["type"]), (&json!("text"), &json!("string")));
    let options =
        t.ask(Role::Anon, Case { method: "OPTIONS", path: "/films", headers: &[], body: None }).await;
    assert_eq!((options.status, options.header("allow")), (200, "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"));
    t.world.stop().await;
}
