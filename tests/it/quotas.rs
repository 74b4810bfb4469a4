//! How often a project may ask, how much its account's pool holds, and how both are counted.

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually};

use crate::nodes::two_servers_with;

const NO_UPLOAD: &str = "/storage/v1/uploads/upl_01890000000070008000000000000000";

fn key(project: &Value) -> &str {
    project["service_key"].as_str().unwrap()
}

async fn sql(lab: &Lab, project: &Value, text: &str) -> Answer {
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    let request = lab.http.post(lab.url(&path)).bearer_auth(key(project)).body(text.to_owned());
    lab.send(request).await
}

async fn pool_usage(lab: &Lab, wallet: &Wallet) -> Value {
    let status = lab.as_wallet(wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.status, 200, "{status:?}");
    status.body["pool_usage"].clone()
}

/// Asks many times at once; how many were told to come back later.
async fn limited(lab: &Lab, key: &str, count: usize) -> usize {
    let asks = (0..count).map(|_| lab.with_key(key, "GET", NO_UPLOAD, None));
    let answers = futures::future::join_all(asks).await;
    let late: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    for answer in &late {
        assert_eq!(answer.body["code"], "RATE_LIMITED", "{answer:?}");
        assert!(answer.body["retry_after"].as_f64().is_some_and(|secs| secs >= 1.0), "{answer:?}");
    }
    let others = answers.iter().filter(|answer| answer.status != 429);
    assert!(others.into_iter().all(|answer| matches!(answer.status, 401 | 404)), "{answers:?}");
    late.len()
}

// Contract 5.1. Goal: a project that floods is slowed down, and nobody else is. Method: 400 requests at once;
// its neighbour meanwhile; a stranger who names the project but has no key of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_held_to_its_rate_and_its_neighbours_are_not() {
    let lab = Lab::start().await;
    let ((_, noisy), (_, quiet)) = (lab.project().await, lab.project().await);
    let forged = {
        let (head, signature) = key(&noisy).rsplit_once('.').unwrap();
        format!("{head}.{}", signature.chars().rev().collect::<String>())
    };
    assert_eq!(limited(&lab, &forged, 300).await, 0, "a forged key is refused, and uses nothing up");
    assert_eq!(limited(&lab, key(&noisy), 50).await, 0);
    let late = limited(&lab, key(&noisy), 400).await;
    assert!(late > 50, "{late} of 400 were late");
    assert_eq!(limited(&lab, key(&quiet), 50).await, 0);
    eventually("the bucket to fill again", 5, || async {
        (lab.with_key(key(&noisy), "GET", NO_UPLOAD, None).await.status == 404).then_some(())
    })
    .await;
}

// Open question 17. Goal: every call is counted once, over an orderly end of the server too, and a renewal
// starts anew. Method: known numbers of calls, a restart at once, a renewal.
#[tokio::test]
async fn calls_are_counted_once_and_a_renewal_starts_anew() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    for _ in 0..7 {
        assert_eq!(sql(&lab, &project, "select 1").await.status, 200);
    }
    eventually("the count", 15, || async {
        (pool_usage(&lab, &wallet).await["total_api_calls"] == 7).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(sql(&lab, &project, "select 1").await.status, 200);
    }
    let lab = lab.restart().await;
    assert_eq!(pool_usage(&lab, &wallet).await["total_api_calls"], 12, "an orderly end loses none");
    for _ in 0..3 {
        assert_eq!(sql(&lab, &project, "select 1").await.status, 200);
    }
    let lab = lab.crash_and_restart().await;
    let after = pool_usage(&lab, &wallet).await["total_api_calls"].as_i64().unwrap();
    assert!((12..=15).contains(&after), "a crash loses at most its window, and doubles none: {after}");
    assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.body["action"], "renew");
    assert_eq!(pool_usage(&lab, &wallet).await["total_api_calls"], 0);
    lab.assert_books_agree();
}

// Contract 5.6. Goal: an exhausted pool refuses data and nothing else, says so in full, and a renewal opens it.
#[tokio::test]
async fn an_exhausted_pool_refuses_calls_until_it_is_renewed() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let database = lab.database().await;
    assert_eq!(sql(&lab, &project, "select 1").await.status, 200);
    eventually("the first window", 15, || async {
        let set = sqlx::query("update account_calls set calls = 500000").execute(&database).await.unwrap();
        (set.rows_affected() == 1).then_some(())
    })
    .await;
    let refused = eventually("the refusal", 10, || async {
        let answer = sql(&lab, &project, "select 1").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("QUOTA_EXCEEDED")), "{refused:?}");
    let usage = &refused.body["usage"];
    assert!(usage["api_calls"].as_i64().is_some_and(|calls| calls >= 500_000), "{refused:?}");
    assert_eq!(
        (&usage["limit"], &usage["storage_limit"]),
        (&json!(500_000), &json!(262_144_000)),
        "{refused:?}"
    );
    assert!(usage["storage_bytes"].as_i64().is_some_and(|bytes| bytes > 0), "databases count: {refused:?}");
    assert_eq!(refused.body["renew_url"], "/tiers/v1/prototype");
    assert_eq!(refused.body["details"]["scope"], "organization");
    let path = format!("/projects/v1/admin/{}/usage", project["project_id"].as_str().unwrap());
    assert_eq!(lab.with_key(key(&project), "GET", &path, None).await.status, 200, "looking is free");
    assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    eventually("the pool to open", 10, || async {
        (sql(&lab, &project, "select 1").await.status == 200).then_some(())
    })
    .await;
}

// Goal: a full account cannot write, and can make room. Method: a database that was measured as too large.
#[tokio::test]
async fn a_full_account_may_still_read_delete_and_drop() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let made = sql(&lab, &project, "create table t (id int); insert into t values (1), (2)").await;
    assert_eq!(made.status, 200, "{made:?}");
    let database = lab.database().await;
    // As if measured in a while, so that nobody measures meanwhile.
    let full =
        "update project_usage set database_bytes = 300 * 1048576, measured_at = now() + interval '1 hour'";
    sqlx::query(full).execute(&database).await.unwrap();
    let refused = eventually("the refusal", 10, || async {
        let answer = sql(&lab, &project, "insert into t values (3)").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("QUOTA_EXCEEDED")), "{refused:?}");
    assert_eq!(refused.body["usage"]["storage_limit"], 262_144_000);
    for text in ["create table u (id int)", "delete from t; insert into t values (1)", "select 1 into v"] {
        assert_eq!(sql(&lab, &project, text).await.status, 403, "{text}");
    }
    for text in ["select count(*) from t", "delete from t where id = 1", "truncate t", "drop table t"] {
        let answer = sql(&lab, &project, text).await;
        assert_eq!(answer.status, 200, "{text}: {answer:?}");
    }
}

// Goal: reads without a credential are limited by address. Method: a server behind a proxy that names clients.
#[tokio::test]
async fn billing_reads_without_a_credential_are_limited_by_address() {
    let behind =
        |config: String| config.replace("movable_clock", "trust_forwarded_for = true\nmovable_clock");
    let (lab, _second, api) = two_servers_with(behind).await;
    let path = format!("/billing/v1/accounts/{}", Wallet::random().address());
    let read =
        async |ip: &str| lab.send(lab.http.get(format!("{api}{path}")).header("x-forwarded-for", ip)).await;
    let answers = futures::future::join_all((0..200).map(|_| read("203.0.113.7"))).await;
    let late: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(late.len() > 50, "{} of 200", late.len());
    assert!(late.iter().all(|answer| answer.body["retry_after"].as_f64().is_some_and(|secs| secs >= 1.0)));
    assert_eq!(read("203.0.113.8").await.status, 200, "another client");

    // C16: who is a customer cannot be found out by trying addresses, whichever way they are asked about.
    let ask = async |n: usize| {
        let (email, ip) = (format!("user{n}@example.com"), "203.0.113.9");
        let request = match n % 3 {
            0 => lab.http.get(format!("{api}/billing/v1/accounts/{email}")),
            1 => lab.http.post(format!("{api}/billing/v1/accounts")).json(&json!({ "email": email })),
            _ => lab
                .http
                .post(format!("{api}/billing/v1/tiers/hobby/checkout"))
                .json(&json!({ "email": email })),
        };
        lab.send(request.header("x-forwarded-for", ip)).await.status
    };
    let answers = futures::future::join_all((0..45).map(ask)).await;
    let late = answers.iter().filter(|status| **status == 429).count();
    assert!(late >= 15, "{answers:?}");
    assert_eq!(lab.get(&path).await.status, 200, "whoever is on this machine");
}
