//! What an owner lets an agent spend.

use serde_json::{Value, json};
use tests::{Answer, Lab, TIER_ROUTE as ROUTE, Wallet, eventually};

use crate::suspense::{as_admin, operated, run402, suspended, transfer_data};

const BUDGETS: &str = "/billing/v1/budgets";
const PRICE: i64 = 100_000;

/// Credit for an account, out of a transfer that an operator attributes.
async fn credit(lab: &Lab, admin: &Wallet, owner: &Wallet, micros: u128) {
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    let payer = Wallet::random();
    lab.mint(&payer, micros).await;
    lab.chain.send_as(&payer.address(), &lab.token(), &transfer_data(&payee, micros)).await;
    lab.chain.mine(100).await;
    let row = eventually("final money", 40, || async {
        suspended(lab, admin).await.into_iter().find(|row| row["final"] == true)
    })
    .await;
    let body = json!({ "sighting": row["sighting"], "wallet": owner.address() });
    let done = as_admin(lab, admin, "POST", "/admin/api/suspense/resolve", Some(body)).await;
    assert_eq!(done.status, 200, "{done:?}");
}

async fn set(lab: &Lab, who: &Wallet, body: Value) -> Answer {
    lab.as_wallet(who, "POST", BUDGETS, Some(body)).await
}

async fn buy(lab: &Lab, who: &Wallet) -> Answer {
    lab.as_wallet(who, "POST", ROUTE, Some(json!({}))).await
}

// Issue 4 part 5. Goal: an agent spends what its owner allows and no more, however many requests it sends at once.
// Method: an owner and a linked wallet; 64 purchases at once against room for five; the next day.
#[tokio::test]
async fn an_agent_spends_what_its_owner_allows_and_no_more() {
    let (lab, admin, database) = operated().await;
    let (owner, agent) = (Wallet::random(), Wallet::random());
    credit(&lab, &admin, &owner, 10_000_000).await;
    sqlx::query(
        "insert into account_wallets select $1, account_id, now() from account_wallets where wallet = $2",
    )
    .bind(agent.address())
    .bind(owner.address())
    .execute(&database)
    .await
    .unwrap();
    let budget = json!({ "wallet": agent.address(), "limit_usd_micros": 5 * PRICE + 1 });
    let refused = set(&lab, &agent, budget.clone()).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("FORBIDDEN")), "{refused:?}");
    assert_eq!(set(&lab, &owner, budget).await.status, 200);
    refusals(&lab, &owner).await;

    let answers = futures::future::join_all((0..64).map(|_| buy(&lab, &agent))).await;
    let good = answers.iter().filter(|a| a.status == 200).count();
    for refused in answers.iter().filter(|a| a.status != 200) {
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("BUDGET_EXCEEDED")), "{refused:?}");
        assert_eq!(refused.body["details"]["wallet"], agent.address());
        assert!(
            refused.body["next_actions"].is_array() && refused.body["resets_at"].is_string(),
            "{refused:?}"
        );
    }
    assert_eq!(good, 5);
    let told = run402(&lab, &agent, &["billing", "budget", "list"]);
    assert_eq!(told["budgets"][0]["spent_test_usd_micros"], 5 * PRICE, "{told}");
    // The owner is not its agent, and tomorrow is another day.
    assert_eq!(buy(&lab, &owner).await.status, 200);
    let moved = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 86_400 }))).await;
    assert_eq!(moved.status, 200);
    assert_eq!(buy(&lab, &agent).await.status, 200);
    // For everybody: nothing today.
    run402(&lab, &owner, &["billing", "budget", "set", "--limit-usd-micros", "0"]);
    assert_eq!(buy(&lab, &owner).await.body["code"], "BUDGET_EXCEEDED");
    run402(&lab, &owner, &["billing", "budget", "set", "--none"]);
    assert_eq!(buy(&lab, &owner).await.status, 200);
    lab.assert_books_agree();
}

async fn refusals(lab: &Lab, owner: &Wallet) {
    let nowhere = format!("prj_{}", "0".repeat(32));
    for (status, body) in [
        (400, json!({})),
        (400, json!({ "limit_usd_micros": -1 })),
        (400, json!({ "limit_usd_micros": 1.5 })),
        (400, json!({ "limit_usd_micros": 1, "wallet": "0x1" })),
        (400, json!({ "limit_usd_micros": 1, "walet": owner.address() })),
        (404, json!({ "limit_usd_micros": 1, "project_id": nowhere })),
    ] {
        let answer = set(lab, owner, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(lab.get(BUDGETS).await.status, 402, "nobody signed");
}
