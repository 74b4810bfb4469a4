//! Forks that must not happen, and what is left of those that fail.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::{PAGE, admin, fork, forked, many, publish, small_app, sql, text};
use crate::deploys::{fetch, kit};

async fn projects(lab: &Lab) -> i64 {
    let database = lab.database().await;
    sqlx::query_scalar("select count(*) from projects where phase in ('provisioning', 'ready')")
        .fetch_one(&database)
        .await
        .unwrap()
}

async fn advance(lab: &Lab, secs: i64) {
    let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }));
    assert_eq!(lab.send(moved).await.status, 200);
}

// Contract 02 section 9. G15. Goal: who may not see or fork a version cannot, however it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn private_versions_are_nobodys_and_only_what_allows_it_is_forked() {
    let lab = Lab::start().await;
    let (owner, project, version) = small_app(&lab).await;
    let stranger = lab.subscribed_wallet().await;
    let path = format!("versions/{}", text(&version, "id"));
    let wanted = json!({ "version_id": version["id"], "name": "mine" });
    let say = |body: Value| admin(&lab, &project, "PATCH", &path, Some(body));

    assert_eq!(say(json!({ "visibility": "private" })).await.status, 200);
    for wallet in [&stranger, &owner] {
        let refused = fork(&lab, wallet, wanted.clone()).await;
        assert_eq!((refused.status, text(&refused.body, "code")), (404, "VERSION_NOT_FOUND"), "{refused:?}");
    }
    assert_eq!(lab.get(&format!("/apps/v1/{}", text(&version, "id"))).await.status, 404);
    assert_eq!(say(json!({ "visibility": "unlisted" })).await.status, 200);
    assert_eq!(lab.get(&format!("/apps/v1/{}", text(&version, "id"))).await.status, 200);
    assert_eq!(lab.get("/apps/v1").await.body["total"], 0, "unlisted is not in the list");

    assert_eq!(say(json!({ "fork_allowed": false })).await.status, 200);
    let refused = fork(&lab, &stranger, wanted.clone()).await;
    assert_eq!((refused.status, text(&refused.body, "code")), (403, "FORK_NOT_ALLOWED"), "{refused:?}");
    assert_eq!(say(json!({ "fork_allowed": true })).await.status, 200);
    let database = lab.database().await;
    sqlx::query("update app_versions set min_tier = 'hobby'").execute(&database).await.unwrap();
    let refused = fork(&lab, &stranger, wanted.clone()).await;
    assert_eq!((refused.status, text(&refused.body, "code")), (403, "TIER_TOO_LOW"), "{refused:?}");
    sqlx::query("update app_versions set min_tier = 'prototype'").execute(&database).await.unwrap();

    // Another project's key reaches none of it, nor does the public one.
    let (_, other) = lab.project().await;
    let id = text(&project, "project_id");
    for (key, status) in
        [(text(&other, "service_key"), 403), (text(&project, "anon_key"), 403), ("a.b.c", 401)]
    {
        for (method, rest) in
            [("POST", "publish"), ("GET", "versions"), ("PATCH", path.as_str()), ("DELETE", path.as_str())]
        {
            let path = format!("/projects/v1/admin/{id}/{rest}");
            let body = (method != "GET").then(|| json!({}));
            let answer = lab.with_key(key, method, &path, body).await;
            assert_eq!(answer.status, status, "{method} {rest}: {answer:?}");
        }
    }
    let foreign = admin(&lab, &other, "DELETE", &path, None).await;
    assert_eq!(foreign.status, 404, "another project's version is none of one's own");
    assert_eq!(projects(&lab).await, 2);
}

// I02, J04. Goal: words of publishers and forkers are data wherever they go, or refused.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_are_data_or_refused() {
    let lab = Lab::start().await;
    let (wallet, project, version) = small_app(&lab).await;
    let path = format!("versions/{}", text(&version, "id"));
    for (field, value) in [
        ("tags", json!(["\u{0}"])),
        ("tags", json!(["\u{202e}gpj.exe"])),
        ("tags", json!(["x".repeat(51)])),
        ("tags", json!((0..21).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("description", json!("\u{1b}]0;owned\u{7}")),
        ("description", json!("x".repeat(2_001))),
        ("visibility", json!("everyone")),
    ] {
        for (method, rest) in [("PATCH", path.as_str()), ("POST", "publish")] {
            let answer = admin(&lab, &project, method, rest, Some(json!({ field: value }))).await;
            assert_eq!(
                (answer.status, text(&answer.body, "code")),
                (400, "BAD_VERSION"),
                "{field}: {answer:?}"
            );
        }
    }
    let odd = "'; drop table app_versions; --";
    let tags = json!([odd, "<script>"]);
    let said = json!({ "tags": tags, "description": "<img src=x onerror=alert(1)>", "visibility": "public" });
    assert_eq!(admin(&lab, &project, "PATCH", &path, Some(said)).await.status, 200);
    let found = lab
        .get(&format!("/apps/v1?tag={}", odd.replace(' ', "%20").replace(';', "%3B").replace('\'', "%27")))
        .await;
    assert_eq!(found.body["total"], 1, "{found:?}");
    assert!(found.headers["content-type"].to_str().unwrap().starts_with("application/json"));

    for (body, status) in [
        (json!({ "version_id": version["id"], "name": "" }), 400),
        (json!({ "version_id": version["id"], "name": "a\nb" }), 400),
        (json!({ "version_id": version["id"], "name": "x", "subdomain": "../admin" }), 400),
        (json!({ "version_id": version["id"], "name": "x", "subdomain": "www" }), 400),
        (json!({ "version_id": version["id"], "name": "x", "bootstrap": ["list"] }), 400),
        (json!({ "version_id": version["id"], "name": "x", "bootstrap": { "a": "x".repeat(70_000) } }), 400),
        (json!({ "version_id": "ver_'; --", "name": "x" }), 404),
        (json!({ "version_id": project["project_id"], "name": "x" }), 404),
        (json!({ "name": "x" }), 400),
    ] {
        let answer = fork(&lab, &wallet, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(projects(&lab).await, 1, "nothing was made");
    let name = "<b>'; drop --";
    let fork = forked(&lab, &wallet, json!({ "version_id": version["id"], "name": name })).await;
    let listed = lab.as_wallet(&wallet, "GET", "/projects/v1", None).await;
    let rows = listed.body["projects"].as_array().unwrap();
    assert!(
        rows.iter().any(|row| row["name"] == name && row["project_id"] == fork["project_id"]),
        "{rows:?}"
    );
}

// I10. Goal: a fork lives by itself. Method: the publisher changes, unpublishes and erases everything; days pass,
// so that what nobody refers to is deleted; the fork still shows its page and can be forked by its own version.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_outlives_its_version_and_its_publisher() {
    let lab = Lab::start().await;
    let (_, source, version) = small_app(&lab).await;
    let stranger = lab.subscribed_wallet().await;
    let wanted = json!({ "version_id": version["id"], "name": "mine" });
    let fork = forked(&lab, &stranger, wanted.clone()).await;
    let path = format!("/projects/v1/{}", text(&source, "project_id"));
    let erased = lab.with_key(text(&source, "service_key"), "DELETE", &path, None).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    let refused = self::fork(&lab, &stranger, wanted).await;
    assert_eq!((refused.status, text(&refused.body, "code")), (404, "VERSION_NOT_FOUND"), "{refused:?}");
    assert_eq!(lab.get(&format!("/apps/v1/{}", text(&version, "id"))).await.status, 404);
    assert_eq!(lab.get("/apps/v1").await.body["total"], 0);
    advance(&lab, 2 * 86_400).await;
    let database = lab.database().await;
    eventually("the sweep", 30, || async {
        let due: i64 =
            sqlx::query_scalar("select count(*) from content_due where due_at < now() + interval '2 days'")
                .fetch_one(&database)
                .await
                .unwrap();
        (due == 0).then_some(())
    })
    .await;
    let lab = lab.restart().await;
    assert_eq!(fetch(&lab, text(&fork, "site_url"), "/", &[]).await.body, PAGE);
    assert_eq!(sql(&lab, &fork, "select count(*)::int as n from items").await, json!([{ "n": 0 }]));
    let second = publish(&lab, &fork, json!({ "visibility": "public", "fork_allowed": true })).await;
    let again = forked(&lab, &stranger, json!({ "version_id": second["id"], "name": "again" })).await;
    assert_eq!(fetch(&lab, text(&again, "site_url"), "/", &[]).await.body, PAGE);
    lab.assert_books_agree();
}

// I01, I10. Goal: at the limit of an account's storage exactly as many forks succeed as fit, and the others leave
// nothing. Method: the account has room for one and a half; four at once.
#[tokio::test(flavor = "multi_thread")]
async fn forks_at_once_do_not_pass_the_storage_limit_and_leave_nothing() {
    let lab = Lab::start().await;
    let (owner, project) = lab.project().await;
    let large = "x".repeat(400_000);
    let parts = json!({ "site": { "replace": { "index.html": kit::reference(&large, "text/plain") } } });
    kit::ready(&lab, &owner, &project, parts, &[&large]).await;
    let version = publish(&lab, &project, json!({ "visibility": "public", "fork_allowed": true })).await;
    let stranger = lab.subscribed_wallet().await;
    let status = lab.as_wallet(&stranger, "GET", "/tiers/v1/status", None).await;
    let limit = status.body["pool_usage"]["storage_bytes_limit"].as_i64().unwrap();
    let database = lab.database().await;
    let set = "insert into content_usage (account_id, bytes)
        select account_id, $1 from account_wallets where wallet = $2
        on conflict (account_id) do update set bytes = excluded.bytes";
    sqlx::query(set).bind(limit - 600_000).bind(stranger.address()).execute(&database).await.unwrap();
    let asks = (0..4)
        .map(|n| fork(&lab, &stranger, json!({ "version_id": version["id"], "name": format!("f{n}") })));
    let answers = futures::future::join_all(asks).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1, "{answers:?}");
    for answer in refused {
        assert_eq!(
            (answer.status, text(&answer.body, "code")),
            (403, "STORAGE_LIMIT_EXCEEDED"),
            "{answer:?}"
        );
    }
    eventually("the failed ones to go", 30, || async { (projects(&lab).await == 2).then_some(()) }).await;
    let used: i64 = sqlx::query_scalar(
        "select bytes from content_usage u join account_wallets w using (account_id) where w.wallet = $1",
    )
    .bind(stranger.address())
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(used, limit - 200_000, "the one that was made, and nothing else");
}

// E08, J03. Goal: one request is one project. Method: the same key four times at once and later, with another body, and
// for a fork that cannot be made.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_fork_also_when_it_failed() {
    let lab = Lab::start().await;
    let (wallet, project, version) = small_app(&lab).await;
    let keyed = |key: &'static str, body: Value| {
        lab.send(lab.signed(&wallet, "POST", "/fork/v1", Some(body)).header("idempotency-key", key))
    };
    let body = json!({ "version_id": version["id"], "name": "once" });
    let answers = futures::future::join_all((0..4).map(|_| keyed("k1", body.clone()))).await;
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body["project_id"]),
            (201, &answers[0].body["project_id"]),
            "{answer:?}"
        );
    }
    let path = format!("versions/{}", text(&version, "id"));
    assert_eq!(
        admin(&lab, &project, "PATCH", &path, Some(json!({ "visibility": "private" }))).await.status,
        200
    );
    let later = keyed("k1", body.clone()).await;
    assert_eq!(
        (later.status, &later.body["service_key"]),
        (201, &answers[0].body["service_key"]),
        "{later:?}"
    );
    let other = keyed("k1", json!({ "version_id": version["id"], "name": "other" })).await;
    assert_eq!((other.status, text(&other.body, "code")), (409, "IDEMPOTENCY_KEY_REUSED"), "{other:?}");
    assert_eq!(
        admin(&lab, &project, "PATCH", &path, Some(json!({ "visibility": "public" }))).await.status,
        200
    );

    // A schema that the new database refuses, because somebody broke it on the way.
    let database = lab.database().await;
    sqlx::query("update app_versions set structure = 'create table broken ('")
        .execute(&database)
        .await
        .unwrap();
    let body = json!({ "version_id": version["id"], "name": "broken" });
    let failed = keyed("k2", body.clone()).await;
    assert_eq!((failed.status, text(&failed.body, "code")), (422, "MIGRATION_FAILED"), "{failed:?}");
    let again = keyed("k2", body).await;
    assert_eq!((again.status, text(&again.body, "code")), (409, "FORK_FAILED"), "{again:?}");
    eventually("nothing to be left of it", 30, || async { (projects(&lab).await == 2).then_some(()) }).await;
}

// Contract 02 section 9. Goal: a name that is taken is told before anything is made, or when it was taken meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_a_conflict_and_two_who_want_it_get_it_once() {
    let lab = Lab::start().await;
    let (wallet, _, version) = small_app(&lab).await;
    let want = |n: usize| {
        let body = json!({ "version_id": version["id"], "name": format!("f{n}"), "subdomain": "wanted" });
        fork(&lab, &wallet, body)
    };
    let answers = futures::future::join_all((0..3).map(want)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    let late = want(9).await;
    for answer in answers.iter().filter(|answer| answer.status != 201).chain([&late]) {
        assert_eq!((answer.status, text(&answer.body, "code")), (409, "SUBDOMAIN_TAKEN"), "{answer:?}");
    }
    eventually("the failed ones to go", 30, || async { (projects(&lab).await == 2).then_some(()) }).await;
}

// I10, G04. Goal: a hostile schema has the forker's rights in the forker's database and no others. Method: what a
// publisher can put into function bodies and defaults runs in the fork as any SQL of its owner would.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_reaches_no_further_than_its_own_project() {
    let lab = Lab::start().await;
    let (_, source) = lab.project().await;
    let slot = text(&source, "schema_slot").to_owned();
    many(
        &lab,
        &source,
        &format!(
            "create table {slot}.secrets (v text); insert into {slot}.secrets values ('publisher');
        create function peek() returns text language plpgsql security definer as $$ declare r text; begin
          select v into r from {slot}.secrets limit 1; return coalesce(r, 'nothing'); end $$;
        create function who() returns text language sql security definer set search_path = {slot}
          as 'select current_user::text';
        create table sly (who text default who())"
        ),
    )
    .await;
    let version = publish(&lab, &source, json!({ "visibility": "public", "fork_allowed": true })).await;
    let stranger = lab.subscribed_wallet().await;
    let fork = forked(&lab, &stranger, json!({ "version_id": version["id"], "name": "mine" })).await;
    let own = text(&fork, "schema_slot");
    assert_ne!(own, slot);
    let rows = sql(&lab, &fork, "insert into sly default values returning who, peek() as peek").await;
    assert_eq!(
        rows,
        json!([{ "who": format!("{own}_admin"), "peek": "nothing" }]),
        "its own rows, its own rights"
    );
    let bodies = sql(
        &lab,
        &fork,
        "select string_agg(prosrc || coalesce(proconfig::text, ''), ' ') as t from pg_proc
        where pronamespace = current_schema::regnamespace",
    )
    .await;
    assert!(!text(&bodies[0], "t").contains(&slot), "no name of the publisher's schema is left: {bodies}");
}

// E08. Goal: a fork whose keys nobody can have any more does not stay. Method: its row as a server that died leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_nobody_can_ask_for_again_is_erased() {
    let lab = Lab::start().await;
    let (wallet, _, version) = small_app(&lab).await;
    let fork = forked(&lab, &wallet, json!({ "version_id": version["id"], "name": "mine" })).await;
    let kept = forked(&lab, &wallet, json!({ "version_id": version["id"], "name": "kept" })).await;
    let database = lab.database().await;
    let id = uuid::Uuid::parse_str(text(&fork, "project_id").trim_start_matches("prj_")).unwrap();
    sqlx::query("update project_forks set state = 'live' where project_id = $1")
        .bind(id)
        .execute(&database)
        .await
        .unwrap();
    advance(&lab, 3_700).await;
    eventually("the abandoned one to go", 30, || async { (projects(&lab).await == 2).then_some(()) }).await;
    assert_eq!(sql(&lab, &kept, "select 1 as n").await, json!([{ "n": 1 }]));
}
