//! What the ledger tells operators: finances, exposure, and where a balance came from.

use serde_json::{Value, json};
use tests::{Lab, TIER_ROUTE as ROUTE, Wallet, command};

use crate::cards::Shop;
use crate::suspense::{as_admin, operated, run402};

async fn report(lab: &Lab, admin: &Wallet, path: &str) -> Value {
    let answer = as_admin(lab, admin, "GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

// Contract 01 6.9, D05. Goal: what projects brought in is what their accounts paid, to the micro. Method: three
// projects of one account, one that pays for itself, and an odd amount to share.
#[tokio::test]
async fn an_operator_sees_what_projects_bring_in_and_what_is_at_risk() {
    let (lab, admin, _) = operated().await;
    let wallet = lab.subscribed_wallet().await;
    let mut projects = Vec::new();
    for name in ["one", "two", "three"] {
        let made = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": name }))).await;
        assert_eq!(made.status, 201, "{made:?}");
        projects.push(made.body["project_id"].as_str().unwrap().to_owned());
    }
    let mut sum = 0;
    for (project, name) in projects.iter().zip(["one", "two", "three"]) {
        let path = format!("/admin/api/finance/project/{project}?window=24h");
        let told = report(&lab, &admin, &path).await;
        assert_eq!((&told["project_name"], &told["window"]), (&json!(name), &json!("24h")));
        assert_eq!(told["revenue_breakdown"]["tier_fees_usd_micros"], told["revenue_usd_micros"]);
        assert_eq!(
            (&told["direct_cost_usd_micros"], &told["direct_cost_breakdown"]),
            (&json!(0), &json!([]))
        );
        assert_eq!(told["direct_margin_usd_micros"], told["revenue_usd_micros"]);
        assert_eq!(told["includes_test_money"], true);
        sum += told["revenue_usd_micros"].as_i64().unwrap();
        let same = run402(&lab, &admin, &["projects", "costs", project, "--window", "24h"]);
        assert_eq!(same, told, "the command prints it verbatim");
    }
    assert_eq!(sum, 100_000, "33,334 and twice 33,333");

    let platform = report(&lab, &admin, "/admin/api/finance/platform?window=7d").await;
    let test = &platform["profit_and_loss"]["test_usd"];
    assert_eq!((&test["revenue"]["tier"], &test["profit_usd_micros"]), (&json!(100_000), &json!(100_000)));
    let balances: i64 = platform["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["currency"] == "test_usd")
        .map(|row| row["posted_micros"].as_i64().unwrap())
        .sum();
    assert_eq!(balances, 0, "{platform}");
    assert_eq!(run402(&lab, &admin, &["admin", "finance", "platform", "--window", "7d"]), platform);
    exposure(&lab, &admin).await;
    refusals(&lab, &admin, &wallet, &projects[0]).await;
    lab.assert_books_agree();
}

/// All of it is at risk until its block is final, and none afterwards.
async fn exposure(lab: &Lab, admin: &Wallet) {
    let before = run402(lab, admin, &["admin", "finance", "exposure"]);
    assert_eq!(
        (&before["exposed_usd_micros"], &before["unexplained_usd_micros"]),
        (&json!(100_000), &json!(0))
    );
    assert_eq!(before["exposure"][0]["level"], "unsafe", "{before}");
    lab.chain.mine(100).await;
    tests::eventually("the end of the exposure", 40, || async {
        let now = report(lab, admin, "/admin/api/finance/exposure").await;
        (now["exposed_usd_micros"] == 0 && now["unexplained_usd_micros"] == 0).then_some(())
    })
    .await;
}

async fn refusals(lab: &Lab, admin: &Wallet, wallet: &Wallet, project: &str) {
    let of = |id: &str, window: &str| format!("/admin/api/finance/project/{id}?window={window}");
    let unknown = format!("prj_{}", "0".repeat(32));
    for (status, path) in [
        (400, of(project, "1d")),
        (404, of(&unknown, "7d")),
        (404, of("x", "7d")),
        (400, "/admin/api/finance/platform?window=1y".to_owned()),
    ] {
        assert_eq!(as_admin(lab, admin, "GET", &path, None).await.status, status, "{path}");
    }
    for path in
        [of(project, "7d"), "/admin/api/finance/platform".into(), "/admin/api/finance/exposure".into()]
    {
        let refused = as_admin(lab, wallet, "GET", &path, None).await;
        assert_eq!((refused.status, &refused.body["admin_required"]), (403, &json!(true)), "{path}");
    }
}

fn explain(lab: &Lab, words: &[&str]) -> (String, bool) {
    let mut command = command("run402d");
    command.args(["books", "explain"]).args(words).arg("--data").arg(&lab.data);
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

// Oracle (2) and (6). Goal: a balance can be followed to the log of the chain and to the request, and a book that
// was altered does not add up. Method: a payment, a purchase from the balance; then one column and one row are changed.
#[tokio::test]
async fn a_balance_is_explained_down_to_the_log_and_the_request() {
    let (lab, _, database) = operated().await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 30_000_000).await;
    assert_eq!(lab.pay(&wallet, ROUTE).await.status, 200);
    let between =
        lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await.body["lease_started_at"].clone();
    assert_eq!(lab.pay(&wallet, "/tiers/v1/hobby").await.status, 200);
    let payment: String =
        sqlx::query_scalar("select '0x' || encode(tx_hash, 'hex') from payments order by created_at limit 1")
            .fetch_one(&database)
            .await
            .unwrap();
    let owner: String =
        sqlx::query_scalar("select 'org_' || replace(id::text, '-', '') from accounts limit 1")
            .fetch_one(&database)
            .await
            .unwrap();

    let (told, good) = explain(&lab, &[&owner]);
    assert!(good && told.contains("it adds up"), "{told}");
    assert!(told.contains(&format!("tx {payment} log ")), "{told}");
    assert!(told.contains("x402_payment from x402_clearing eip155:84532"), "{told}");
    assert!(told.contains("tier_upgrade to revenue tier") && told.contains("payment pay_"), "{told}");
    assert!(told.contains("sum of 5 transfers: 0.0"), "two deposits, two charges, a refund: {told}");
    let (tier, good) = explain(&lab, &["revenue/tier"]);
    assert!(good && tier.contains("it adds up"), "{tier}");
    // As it stood before anything, and between.
    let (none, good) = explain(&lab, &[&owner, "2000-01-01T00:00:00Z"]);
    assert!(good && none.contains("sum of 0 transfers: 0.000000"), "{none}");
    if let Some(between) = between.as_str() {
        let (then, good) = explain(&lab, &[&owner, between]);
        assert!(good && then.contains("it adds up"), "{then}");
    }
    let nobody = format!("org_{}", "0".repeat(32));
    for bad in [&["nonsense"][..], &[&nobody], &[&owner, "yesterday"]] {
        assert!(!explain(&lab, bad).1, "{bad:?}");
    }

    let alter = async |sql: &str| {
        let script = format!("begin; set local session_replication_role = replica; {sql}; commit");
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&database).await.unwrap();
    };
    alter("update ledger_accounts set posted = posted + 1 where kind = 'customer_test_credit'").await;
    let (told, good) = explain(&lab, &[&owner]);
    assert!(!good && told.contains("IT DOES NOT ADD UP"), "{told}");
    alter("update ledger_accounts set posted = posted - 1 where kind = 'customer_test_credit'").await;
    assert!(explain(&lab, &[&owner]).1);
    alter(
        "update ledger_transfers set amount = amount - 1 where id = (select min(id) from ledger_transfers)",
    )
    .await;
    let (told, good) = explain(&lab, &[&owner]);
    assert!(!good && told.contains("! its row says another balance"), "{told}");
}

// Goal: card money is explained by Stripe's own names, and what it bought is in the operator's figures, apart from test
// money. Method: a top-up and an e-mail pack by card, a project of the same account.
#[tokio::test]
async fn card_money_is_explained_and_counted() {
    let admin = Wallet::random();
    let shop = Shop::open_with(vec!["--admin-wallet".to_owned(), admin.address()]).await;
    let wallet = Wallet::random();
    let started = shop.top_up(&wallet, 5_000_000).await;
    shop.stripe.pay(&started.session);
    shop.until(&wallet.address(), 5_000_000).await;
    assert_eq!(shop.lab.as_wallet(&wallet, "POST", ROUTE, Some(json!({}))).await.status, 200);
    let pack = json!({ "wallet": wallet.checksummed() });
    let pack = shop.start("/billing/v1/email-packs/checkout", pack).await;
    shop.stripe.pay(&pack.session);
    shop.quiet(&shop.lab.database().await).await;
    let made = shop.lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "one" }))).await;
    assert_eq!(made.status, 201, "{made:?}");

    let path = format!("/admin/api/finance/project/{}", made.body["project_id"].as_str().unwrap());
    let told = tests::eventually("the card's money", 20, || async {
        let told = report(&shop.lab, &admin, &path).await;
        (told["revenue_usd_micros"] == 5_100_000).then_some(told)
    })
    .await;
    let parts = &told["revenue_breakdown"];
    assert_eq!(told["window"], "30d");
    assert_eq!(
        (&parts["tier_fees_usd_micros"], &parts["email_packs_usd_micros"]),
        (&json!(100_000), &json!(5_000_000))
    );
    let platform = report(&shop.lab, &admin, "/admin/api/finance/platform").await;
    assert_eq!(platform["profit_and_loss"]["test_usd"]["profit_usd_micros"], 5_100_000, "{platform}");

    let owner: String =
        sqlx::query_scalar("select 'org_' || replace(id::text, '-', '') from accounts limit 1")
            .fetch_one(&shop.lab.database().await)
            .await
            .unwrap();
    let (told, good) = explain(&shop.lab, &[&owner]);
    assert!(good && told.contains(&format!("card session {}", started.session)), "{told}");
    assert!(told.contains(" events evt_"), "{told}");
    assert!(told.contains(" payment intent pi_") && told.contains("request siwx:"), "{told}");
    assert!(told.contains("10000 email; the books say 10000: it adds up"), "{told}");
    shop.lab.assert_books_agree();
}
