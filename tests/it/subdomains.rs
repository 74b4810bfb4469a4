//! Names: claimed once, followed by every deploy, released.

use serde_json::{Value, json};
use tests::{Answer, Lab};

use crate::deploys::{deploy, fetch};

async fn claim(lab: &Lab, project: &Value, name: &str, deployment: &str) -> Answer {
    let key = project["service_key"].as_str().unwrap();
    let body = json!({ "name": name, "deployment_id": deployment });
    lab.with_key(key, "POST", "/subdomains/v1", Some(body)).await
}

#[tokio::test]
async fn a_name_is_claimed_served_followed_and_released() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let live = deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let deployment = live["urls"]["deployment_id"].as_str().unwrap();
    let claimed = claim(&lab, &project, "my-app", deployment).await;
    assert_eq!(claimed.status, 201, "{claimed:?}");
    assert_eq!(claimed.body["name"], "my-app");
    assert_eq!(claimed.body["deployment_id"], deployment);
    let url = claimed.body["url"].as_str().unwrap();
    assert!(url.starts_with("http://my-app.localhost:"), "{url}");
    assert_eq!(fetch(&lab, url, "/", &[]).await.body, "one");
    assert!(
        matches!(claim(&lab, &project, "my-app", deployment).await.status, 200 | 201),
        "idempotent for the owner"
    );

    deploy(&lab, &wallet, &project, &[("index.html", b"two")]).await;
    tests::eventually("the name to follow", 10, || async {
        (fetch(&lab, url, "/", &[]).await.body == "two").then_some(())
    })
    .await;

    let key = project["service_key"].as_str().unwrap();
    let list = lab.with_key(key, "GET", "/subdomains/v1", None).await;
    assert_eq!(list.body["subdomains"][0]["name"], "my-app", "{list:?}");
    let seen = lab.get("/subdomains/v1/my-app").await;
    assert_eq!(seen.status, 200, "{seen:?}");

    // Another project can neither take nor release it.
    let (_, other) = lab.project().await;
    let other_live = claim(&lab, &other, "my-app", deployment).await;
    assert!(matches!(other_live.status, 403 | 404), "{other_live:?}");
    let other_key = other["service_key"].as_str().unwrap();
    assert_eq!(lab.with_key(other_key, "DELETE", "/subdomains/v1/my-app", None).await.status, 403);

    let released = lab.with_key(key, "DELETE", "/subdomains/v1/my-app", None).await;
    assert_eq!(released.status, 200, "{released:?}");
    tests::eventually("the name to go", 10, || async {
        (fetch(&lab, url, "/", &[]).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(lab.with_key(key, "DELETE", "/subdomains/v1/my-app", None).await.status, 404);
}

#[tokio::test]
async fn a_taken_reserved_or_malformed_name_is_refused() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let live = deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let deployment = live["urls"]["deployment_id"].as_str().unwrap();
    for name in [
        "ab",
        "-ab",
        "ab-",
        "a_b",
        "UPPER!",
        "api",
        "www",
        "admin",
        "pr-abc",
        "dpl-abc",
        "xn--80ak6aa92e",
        "a.b",
        &"x".repeat(64),
    ] {
        let answer = claim(&lab, &project, name, deployment).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("BAD_SUBDOMAIN")),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(claim(&lab, &project, "taken-name", deployment).await.status, 201);
    let (other_wallet, other) = lab.project().await;
    let other_live = deploy(&lab, &other_wallet, &other, &[("index.html", b"other")]).await;
    let answer =
        claim(&lab, &other, "taken-name", other_live["urls"]["deployment_id"].as_str().unwrap()).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let missing = claim(&lab, &other, "fine-name", "dpl_nothing_000000").await;
    assert_eq!(missing.status, 404, "{missing:?}");
    let foreign = claim(&lab, &other, "fine-name", deployment).await;
    assert!(matches!(foreign.status, 403 | 404), "another project's deployment: {foreign:?}");
}

// Goal: a host that nobody moved is not asked about again while the database's hints arrive; when their connection is
// lost, everything is. Method: move a name without a hint; look; cut the connection; look.
#[tokio::test]
async fn what_a_name_shows_is_believed_while_hints_arrive_and_no_longer() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let first = deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let first = first["urls"]["deployment_id"].as_str().unwrap();
    let url = claim(&lab, &project, "my-app", first).await.body["url"].as_str().unwrap().to_owned();
    let second = deploy(&lab, &wallet, &project, &[("index.html", b"two")]).await;
    let second = second["urls"]["deployment_id"].as_str().unwrap();
    let shows = async || fetch(&lab, &url, "/", &[]).await.body;
    tests::eventually("the name to follow", 10, || async { (shows().await == "two").then_some(()) }).await;

    let database = lab.database().await;
    let unheard = async |deployment: &str| {
        let mut moving = database.begin().await.unwrap();
        sqlx::query("set local session_replication_role = replica").execute(&mut *moving).await.unwrap();
        let moved = "update subdomains set deployment_id = $1 where name = 'my-app'";
        sqlx::query(moved).bind(deployment).execute(&mut *moving).await.unwrap();
        moving.commit().await.unwrap();
    };
    // Longer than an answer is believed without hints.
    let believed = std::time::Duration::from_secs(5);
    unheard(first).await;
    let until = std::time::Instant::now() + believed;
    while std::time::Instant::now() < until {
        assert_eq!(shows().await, "two", "it was asked about again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where query ilike '%pg_backend_pid%' and pid <> pg_backend_pid()";
    let cut: i64 = sqlx::query_scalar(cut).fetch_one(&database).await.unwrap();
    assert!(cut > 0, "nobody listens");
    tests::eventually("the name to be asked about", 15, || async { (shows().await == "one").then_some(()) })
        .await;

    let moved = "update subdomains set deployment_id = $1 where name = 'my-app'";
    sqlx::query(moved).bind(second).execute(&database).await.unwrap();
    tests::eventually("a move that is heard of", 10, || async { (shows().await == "two").then_some(()) })
        .await;
}
