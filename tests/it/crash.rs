//! SIGKILL at the worst moments. The rows and the chain decide; nothing is lost, nothing is doubled.

use serde_json::json;
use tests::{Lab, Wallet, eventually};

const ROUTE: &str = "/tiers/v1/prototype";

async fn settled(lab: &Lab, wallet: &Wallet, payment: &serde_json::Value) -> serde_json::Value {
    eventually("the credit after the restart", 60, || async {
        let answer = lab.present(wallet, ROUTE, payment).await;
        if answer.status != 200 {
            eprintln!("not yet: {} {}", answer.status, answer.body["message"]);
        }
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

async fn count(lab: &Lab, sql: &'static str) -> i64 {
    let database = lab.database().await;
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&database).await.unwrap();
    count
}

// A28: killed after the intent was stored and before the credit; the same bytes go out again.
#[tokio::test]
async fn a_server_killed_between_intent_and_credit_credits_once() {
    let mut lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    lab.chain.hold_blocks().await;
    let waiting = {
        let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
        let header = {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(payment.to_string())
        };
        tokio::spawn(request.header("payment-signature", header).send())
    };
    eventually("the intent", 30, || async {
        (count(&lab, "select count(*) from chain_txs where purpose = 'settle'").await == 1).then_some(())
    })
    .await;
    lab.server.kill();
    let _ = waiting.await.unwrap();

    let lab = lab.crash_and_restart().await;
    let body = settled(&lab, &wallet, &payment).await;
    assert_eq!(body["action"], "subscribe");
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(count(&lab, "select count(distinct nonce) from chain_txs where purpose = 'settle'").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}

// A28: killed again and again while purchases run; every one ends as one grant.
#[tokio::test]
async fn a_server_killed_over_and_over_while_it_sells_loses_nothing() {
    let mut lab = Lab::start().await;
    let mut wallets = Vec::new();
    for _ in 0..3 {
        let wallet = lab.funded_wallet().await;
        let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
        let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
        wallets.push((wallet, payment));
    }
    for (round, delay) in [40_u64, 400, 1200].into_iter().enumerate() {
        for (wallet, payment) in &wallets {
            let request = lab.signed(wallet, "POST", ROUTE, Some(json!({})));
            let header = {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.encode(payment.to_string())
            };
            tokio::spawn(request.header("payment-signature", header).send());
        }
        // The moment of death is the point of this test, so time passes here.
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        lab = lab.crash_and_restart().await;
        assert!(lab.server.pid() > 0, "round {round}");
    }
    for (wallet, payment) in &wallets {
        settled(&lab, wallet, payment).await;
        assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    }
    assert_eq!(count(&lab, "select count(*) from purchases").await, 3);
    lab.assert_books_agree();
}

// E08 in small: a deploy whose server dies is finished by the next one, once.
#[tokio::test]
async fn a_deploy_cut_short_is_finished_after_the_restart() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let plan = crate::deploys::plan(&lab, &wallet, &project, &[("index.html", b"<h1>one</h1>")]).await;
    let path = format!("/deploy/v2/plans/{}/commit", plan["plan_id"].as_str().unwrap());
    let committing = tokio::spawn(lab.signed(&wallet, "POST", &path, Some(json!({}))).send());
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    let lab = lab.crash_and_restart().await;
    let _ = committing.await;
    let again = eventually("the commit", 30, || async {
        let answer = lab.as_wallet(&wallet, "POST", &path, Some(json!({}))).await;
        (answer.body["status"] == "ready").then_some(answer.body)
    })
    .await;
    assert!(again["release_id"].is_string(), "{again}");
    assert_eq!(count(&lab, "select count(*) from releases where status = 'active'").await, 1);
}

#[tokio::test]
async fn a_restart_carries_on_where_it_stopped() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let lab = lab.restart().await;
    let status = lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.body["tier"], "prototype", "{status:?}");
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    let key = project["service_key"].as_str().unwrap();
    let answer = lab.send(lab.http.post(lab.url(&path)).bearer_auth(key).body("select 1 as n")).await;
    assert_eq!(answer.body["rows"], json!([{ "n": 1 }]), "{answer:?}");
    // The chain went on too: money still moves.
    assert_eq!(lab.pay(&wallet, ROUTE).await.body["action"], "renew");
    lab.assert_books_agree();
}

#[tokio::test]
async fn books_are_verified_beside_a_running_lab_and_on_a_stopped_one() {
    let mut lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let (report, good) = lab.books();
    assert!(good && report["differences"] == 0, "{report}");
    assert_eq!(report["deposits_checked"], 1, "{report}");
    assert!(report["transfers"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(lab.server.stop(), Some(0));
    let (report, good) = tests::books(&lab.data);
    assert!(good && report["deposits_checked"] == 1, "{report}");

    // A forged balance is found.
    let lab = lab.again().await;
    let database = lab.database().await;
    sqlx::query("update ledger_accounts set posted = posted + 1 where kind = 'revenue'")
        .execute(&database)
        .await
        .unwrap();
    let (report, good) = lab.books();
    assert!(!good && report["differences"].as_u64().unwrap() > 0, "{report}");
    drop(wallet);
}

#[tokio::test]
async fn sigterm_ends_every_child_and_exits_with_success() {
    let mut lab = Lab::start().await;
    let group = children_of(lab.server.pid());
    assert!(group.len() >= 3, "two Postgres servers and a chain: {group:?}");
    assert_eq!(lab.server.stop(), Some(0), "{}", lab.server.log.lock().unwrap());
    eventually("the children's end", 15, || async {
        group.iter().all(|pid| !is_running(*pid)).then_some(())
    })
    .await;
}

/// Whether a process does anything: one that ended and was not waited for does not.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Direct children, from the process table.
fn children_of(parent: i32) -> Vec<i32> {
    let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent_text = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        (parent_text.parse::<i32>().ok()? == parent).then_some(pid)
    });
    children.collect()
}
