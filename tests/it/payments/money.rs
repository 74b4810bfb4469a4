//! Whose money it is, and which.

use serde_json::{Value, json};
use tests::{Lab, Wallet, eventually};

use super::{ROUTE, count, signed_payment};

/// `transfer(address,uint256)`.
fn transfer_data(to: &str, value: u128) -> String {
    format!("0xa9059cbb{:0>64}{value:064x}", to.trim_start_matches("0x").to_lowercase())
}

// A21: test money buys what is sold for it and is never cash. A23: a nonce is its payer's own.
#[tokio::test]
async fn test_money_stays_test_money_and_a_nonce_belongs_to_its_payer() {
    let lab = Lab::start().await;
    let (one, two) = (lab.funded_wallet().await, lab.funded_wallet().await);
    let nonce = [7; 32];
    for wallet in [&one, &two] {
        let (challenge, offer) = lab.challenge(wallet, ROUTE).await;
        let authorization = tests::Authorization { nonce, ..wallet.authorize(&offer) };
        let answer = lab.present(wallet, ROUTE, &wallet.payment(&challenge, &offer, &authorization)).await;
        assert_eq!((answer.status, &answer.body["action"]), (200, &json!("subscribe")), "{answer:?}");
    }
    assert_eq!(count(&lab, "select count(*) from payments").await, 2);
    assert_eq!(count(&lab, "select count(distinct nonce) from payments").await, 1);

    // An upgrade leaves a balance: of test money only.
    lab.mint(&one, 30_000_000).await;
    let upgraded = lab.pay(&one, "/tiers/v1/hobby").await;
    assert_eq!(upgraded.body["action"], "upgrade", "{upgraded:?}");
    let account = lab.get(&format!("/billing/v1/accounts/{}", one.address())).await.body;
    assert_eq!(account["cash_available_usd_micros"], 0, "{account}");
    assert!(account["test_available_usd_micros"].as_i64().unwrap() > 0, "{account}");
    let cash = "select count(*) from ledger_accounts where currency = 'usd' and (posted <> 0 or held <> 0)";
    assert_eq!(count(&lab, cash).await, 0, "no account holds cash");
    let bought_with_cash = "select count(*) from purchases where currency = 'usd'";
    assert_eq!(count(&lab, bought_with_cash).await, 0);
    lab.assert_books_agree();
}

// A37: a token of the same name and code at another address is nothing to us, offered or sent.
#[tokio::test]
async fn a_token_that_only_looks_like_usdc_is_neither_taken_nor_seen() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let fake = Wallet::random();
    let code = lab.chain.rpc("eth_getCode", json!([lab.token(), "latest"])).await;
    lab.chain.rpc("anvil_setCode", json!([fake.address(), code])).await;
    let holder = format!("{:0>64}{:064x}", wallet.address().trim_start_matches("0x"), 2);
    let slot = alloy::primitives::keccak256(hex::decode(holder).unwrap()).to_string();
    let units = format!("0x{:064x}", 1_000_000);
    lab.chain.rpc("anvil_setStorageAt", json!([fake.address(), slot, units])).await;
    assert_eq!(lab.chain.usdc_balance(&fake.address(), &wallet.address()).await, 1_000_000);

    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payee = offer["payTo"].as_str().unwrap().to_owned();
    // Signed for the fake, first naming it and then not.
    let authorization =
        tests::Authorization { asset: fake.address().parse().unwrap(), ..wallet.authorize(&offer) };
    let mut named = offer.clone();
    named["asset"] = json!(fake.checksummed());
    for accepted in [&named, &offer] {
        let answer = lab.present(&wallet, ROUTE, &wallet.payment(&challenge, accepted, &authorization)).await;
        assert_eq!((answer.status, &answer.body["code"]), (402, &json!("PAYMENT_INVALID")), "{answer:?}");
    }
    // Sent to our payee, it is not seen.
    lab.chain.rpc("anvil_setBalance", json!([wallet.address(), "0xde0b6b3a7640000"])).await;
    lab.chain.rpc("anvil_impersonateAccount", json!([wallet.address()])).await;
    let send =
        json!([{ "from": wallet.address(), "to": fake.address(), "data": transfer_data(&payee, 100_000) }]);
    lab.chain.rpc("eth_sendTransaction", send).await;
    eventually("the fake transfer", 20, || async {
        (lab.chain.usdc_balance(&fake.address(), &payee).await == 100_000).then_some(())
    })
    .await;
    // The real thing, paid after it, is seen: so the watcher has passed the fake one.
    assert_eq!(lab.pay(&wallet, ROUTE).await.status, 200);
    assert_eq!(count(&lab, "select count(*) from sightings").await, 1);
    lab.assert_books_agree();
}

/// Everything that a payment could leave behind.
async fn footprint(lab: &Lab) -> Vec<i64> {
    let mut rows = Vec::new();
    for table in [
        "select count(*) from payments",
        "select count(*) from chain_txs",
        "select count(*) from purchases",
        "select count(*) from leases",
        "select count(*) from ledger_transfers",
        "select count(*) from ledger_accounts",
        "select count(*) from claims where kind in ('payment', 'lease')",
        "select coalesce(sum(next_nonce), 0)::bigint from lanes",
    ] {
        rows.push(count(lab, table).await);
    }
    rows
}

// A38: looking at a payment changes nothing, however often.
#[tokio::test]
async fn checking_a_payment_has_no_effects() {
    let lab = Lab::start().await;
    let poor = Wallet::random();
    let rich = lab.funded_wallet().await;
    let good = signed_payment(&lab, &poor, ROUTE).await;
    let mut bad: Value = signed_payment(&lab, &rich, ROUTE).await;
    bad["payload"]["authorization"]["value"] = json!("100001");
    let before = footprint(&lab).await;
    let presented = (0..150).map(|n| {
        let (wallet, payment) = if n % 2 == 0 { (&poor, &good) } else { (&rich, &bad) };
        lab.present(wallet, ROUTE, payment)
    });
    for answer in futures::future::join_all(presented).await {
        assert_eq!(answer.status, 402, "{answer:?}");
    }
    assert_eq!(footprint(&lab).await, before);
}
