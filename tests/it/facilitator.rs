//! Our facilitator: settling for the payees that the operator names.

mod conformance;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, Wallet, eventually, oracle};

pub(crate) const NETWORK: &str = "eip155:84532";

/// A lab that settles for somebody else, and who that is.
async fn lab_for_another() -> (Lab, Wallet) {
    let payee = Wallet::random();
    let args = vec!["--facilitate".to_owned(), payee.address()];
    (Lab::start_with(LabOptions { args, ..LabOptions::default() }).await, payee)
}

pub(crate) fn offer_to(lab: &Lab, payee: &str, amount: &str) -> Value {
    json!({
        "scheme": "exact", "network": NETWORK, "amount": amount, "asset": lab.token(), "payTo": payee,
        "maxTimeoutSeconds": 300, "extra": { "name": "USDC", "version": "2" },
    })
}

/// What a resource server sends to a facilitator.
pub(crate) fn ask(wallet: &Wallet, offer: &Value) -> Value {
    let challenge = json!({ "resource": { "url": "https://paid.example/thing" } });
    let payment = wallet.payment(&challenge, offer, &wallet.authorize(offer));
    json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": offer })
}

/// The same payment in the words of version 1.
fn ask_v1(ask: &Value) -> Value {
    let offer = &ask["paymentRequirements"];
    json!({
        "x402Version": 1,
        "paymentPayload": {
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": ask["paymentPayload"]["payload"],
        },
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": offer["amount"],
            "resource": "https://paid.example/thing", "description": "A thing", "mimeType": "application/json",
            "outputSchema": null, "payTo": offer["payTo"], "maxTimeoutSeconds": 300, "asset": offer["asset"],
            "extra": offer["extra"],
        },
    })
}

async fn post(lab: &Lab, call: &str, body: &Value) -> Answer {
    lab.send(lab.http.post(lab.url(&format!("/facilitator/{call}"))).json(body)).await
}

async fn count(lab: &Lab, sql: &'static str) -> i64 {
    let database = lab.database().await;
    let rows = sqlx::query_scalar(sql).fetch_one(&database).await.unwrap();
    database.close().await;
    rows
}

const PAYMENTS: &str = "select count(*) from payments";
const TRANSFERS: &str = "select count(*) from ledger_transfers where source <> 'reversal'";

// A35, A38, A39: checking has no effect; what is listed is what is taken; a repeat gets the first answer; what
// went to somebody else is no money of ours.
#[tokio::test]
async fn a_payment_to_a_named_payee_is_settled_once_and_is_not_our_money() {
    let (lab, payee) = lab_for_another().await;
    let supported = lab.get("/facilitator/supported").await.body;
    let kinds: Vec<_> =
        supported["kinds"].as_array().unwrap().iter().map(|k| (&k["x402Version"], &k["network"])).collect();
    assert_eq!(kinds, [(&json!(2), &json!(NETWORK)), (&json!(1), &json!("base-sepolia"))], "{supported}");
    assert_eq!(supported["signers"]["eip155:*"].as_array().unwrap().len(), 1);

    let wallet = lab.funded_wallet().await;
    let offer = offer_to(&lab, &payee.checksummed(), "70000");
    let asked = ask(&wallet, &offer);
    let books = count(&lab, TRANSFERS).await;
    for body in [&asked, &ask_v1(&asked)] {
        let verdicts = join_all((0..50).map(|_| post(&lab, "verify", body))).await;
        assert!(verdicts.iter().all(|v| v.body["isValid"] == true), "{:?}", verdicts[0]);
        assert_eq!(verdicts[0].body["payer"].as_str().unwrap().to_lowercase(), wallet.address());
    }
    let rows = "select (select count(*) from payments) + (select count(*) from account_wallets)
                  + (select count(*) from outbox)";
    assert_eq!(count(&lab, rows).await, 0, "checking leaves nothing");

    // Both versions, many at once: one transaction, one answer.
    let one = ask_v1(&asked);
    let settles = (0..12).map(|n| post(&lab, "settle", if n % 3 == 0 { &one } else { &asked }));
    let answers = join_all(settles).await;
    let first = &answers[1].body;
    assert_eq!((&first["success"], &first["network"]), (&json!(true), &json!(NETWORK)), "{first}");
    assert!(answers.iter().all(|a| a.status == 200 && a.body["success"] == true), "{answers:?}");
    assert!(answers.iter().all(|a| a.body["transaction"] == first["transaction"]), "{answers:?}");
    assert_eq!(answers[0].body["network"], "base-sepolia");
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &payee.address()).await, 70_000);
    assert_eq!(post(&lab, "settle", &asked).await.body, *first);
    // A used authorisation is not good for another purchase.
    let used = post(&lab, "verify", &asked).await.body;
    assert_eq!(
        (&used["isValid"], &used["invalidReason"]),
        (&json!(false), &json!("invalid_transaction_state"))
    );

    assert_eq!(count(&lab, TRANSFERS).await, books, "nothing is booked");
    assert_eq!(count(&lab, "select count(*) from sightings where not ours").await, 1);
    assert_eq!(count(&lab, "select count(*) from payments where state = 'settled'").await, 1);
    oracle(&lab).await;
}

// A35, A39: no open relay; every refusal has a reason, and nothing is kept of it.
#[tokio::test]
async fn what_is_not_served_is_refused_with_a_reason_and_leaves_nothing() {
    let (lab, payee) = lab_for_another().await;
    let wallet = lab.funded_wallet().await;
    let good = ask(&wallet, &offer_to(&lab, &payee.checksummed(), "70000"));
    let with = |offer: Value| ask(&wallet, &offer);
    let stranger = with(offer_to(&lab, &Wallet::random().checksummed(), "70000"));
    let mut network = good.clone();
    network["paymentRequirements"]["network"] = json!("eip155:1");
    let mut asset = good.clone();
    for at in ["/paymentRequirements/asset", "/paymentPayload/accepted/asset"] {
        *asset.pointer_mut(at).unwrap() = json!("0x1111111111111111111111111111111111111111");
    }
    let mut cheaper = good.clone();
    for at in ["/paymentRequirements/amount", "/paymentPayload/accepted/amount"] {
        *cheaper.pointer_mut(at).unwrap() = json!("70001");
    }
    let mut other = good.clone();
    other["paymentPayload"]["accepted"]["payTo"] = json!(wallet.checksummed());
    let mut contract = good.clone();
    contract["paymentPayload"]["payload"]["signature"] = json!(format!("0x{}", "07".repeat(96)));
    let mut forged = good.clone();
    forged["paymentPayload"]["payload"]["signature"] = json!(format!("0x{}1b", "11".repeat(64)));
    let poor = ask(&Wallet::random(), &offer_to(&lab, &payee.checksummed(), "70000"));
    for (body, reason) in [
        (&stranger, "pay_to_not_served"),
        (&network, "invalid_network"),
        (&asset, "invalid_payment_requirements"),
        (&cheaper, "invalid_exact_evm_payload_authorization_value_mismatch"),
        (&other, "invalid_payment_requirements"),
        // A18: a contract's word may change between the look and the settlement.
        (&contract, "unsupported_contract_wallet_signature"),
        (&forged, "invalid_exact_evm_payload_signature"),
        (&poor, "insufficient_funds"),
        (&json!({}), "invalid_payload"),
        (&json!({ "paymentPayload": good["paymentPayload"] }), "invalid_payment_requirements"),
    ] {
        let verdict = post(&lab, "verify", body).await;
        assert_eq!((verdict.status, &verdict.body["isValid"]), (200, &json!(false)), "{verdict:?}");
        assert_eq!(verdict.body["invalidReason"], reason);
        let settled = post(&lab, "settle", body).await;
        assert_eq!((settled.status, &settled.body["success"]), (200, &json!(false)), "{settled:?}");
        assert_eq!(
            (&settled.body["errorReason"], &settled.body["transaction"]),
            (&json!(reason), &json!(""))
        );
    }
    assert_eq!(post(&lab, "verify", &json!("text")).await.status, 400);
    assert_eq!(count(&lab, PAYMENTS).await, 0);
    assert_eq!(count(&lab, "select count(*) from chain_txs where purpose = 'settle'").await, 0);
    lab.assert_books_agree();
}

// A03, A10, B03: money that the facilitator moves to our own payee buys nothing here and lies in suspense; a
// proof serves one purpose; a stranger's submission is as good as ours.
#[tokio::test]
async fn a_proof_serves_one_purpose_and_our_own_payee_gets_suspense() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, "/tiers/v1/prototype").await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let asked = json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": offer });
    let settled = post(&lab, "settle", &asked).await.body;
    assert_eq!(settled["success"], true, "{settled}");
    let bought = lab.present(&wallet, "/tiers/v1/prototype", &payment).await;
    assert_eq!((bought.status, &bought.body["code"]), (409, &json!("PAYMENT_REUSED")), "{bought:?}");
    let suspense = "select coalesce(sum(posted), 0)::bigint from ledger_accounts where kind = 'suspense'";
    assert_eq!(count(&lab, suspense).await, 100_000);

    // The other way round: what bought a tier is not settled once more for somebody.
    let other = lab.funded_wallet().await;
    let payment = other.payment(&challenge, &offer, &other.authorize(&offer));
    assert_eq!(lab.present(&other, "/tiers/v1/prototype", &payment).await.status, 200);
    let asked = json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": offer });
    let again = post(&lab, "settle", &asked).await.body;
    assert_eq!(
        (&again["success"], &again["errorReason"]),
        (&json!(false), &json!("invalid_transaction_state"))
    );
    assert_eq!(count(&lab, suspense).await, 100_000);
    oracle(&lab).await;
}

// A09, A10, B01, B03: a block that leaves the chain takes the settlement with it, and here what the payer had to pay
// from as well; it is made good, and the repeat says where.
#[tokio::test]
async fn a_reorganisation_after_the_answer_is_made_good() {
    let (lab, payee) = lab_for_another().await;
    // What is older stays: a reorganisation must not take along the token's contract, which no transaction made.
    lab.chain.mine(1).await;
    let before = lab.chain.block_number().await;
    let wallet = lab.funded_wallet().await;
    let asked = ask(&wallet, &offer_to(&lab, &payee.checksummed(), "50000"));
    assert_eq!(post(&lab, "settle", &asked).await.body["success"], true);
    lab.chain.hold_blocks().await;
    lab.chain.reorg(lab.chain.block_number().await - before, &[]).await;
    lab.chain.release_blocks().await;
    eventually("the settlement after the reorganisation", 60, || async {
        let answer = post(&lab, "settle", &asked).await.body;
        let there = lab.chain.usdc_balance(&lab.token(), &payee.address()).await == 50_000;
        (there && answer["success"] == true).then_some(())
    })
    .await;
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &payee.address()).await, 50_000);
    // The oracle waits until the lane has noted what was mined.
    oracle(&lab).await;
    assert_eq!(
        count(&lab, "select count(distinct nonce) from chain_txs where purpose = 'settle' and succeeded")
            .await,
        1
    );
}
