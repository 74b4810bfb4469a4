//! x402 at the edge: what is not exactly the offered payment changes nothing.

mod after;
mod broken;
mod drift;
mod flood;
mod header;
mod identifier;
mod money;
mod offer;
mod race;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Answer, Authorization, Lab, Wallet, decode_challenge, eventually};

const ROUTE: &str = "/tiers/v1/prototype";

#[tokio::test]
async fn the_challenge_is_what_published_clients_read() {
    let lab = Lab::start().await;
    let wallet = Wallet::random();
    let answer = lab.as_wallet(&wallet, "POST", ROUTE, Some(json!({}))).await;
    assert_eq!(answer.status, 402);
    let header = answer.headers["payment-required"].to_str().unwrap();
    assert!(header.len() < 8192, "A30");
    let challenge = decode_challenge(header);
    assert_eq!(challenge["x402Version"], 2);
    assert_eq!(challenge["resource"]["url"], lab.url(ROUTE));
    let offer = &challenge["accepts"][0];
    assert_eq!(
        offer,
        &json!({ "scheme": "exact", "network": "eip155:84532", "amount": "100000", "asset": lab.token(),
                 "payTo": offer["payTo"], "maxTimeoutSeconds": 300, "extra": { "name": "USDC", "version": "2" } })
    );
    assert_eq!(answer.body["code"], "PAYMENT_REQUIRED");
    assert_eq!(answer.body["x402"], challenge);
    assert_eq!(answer.body["accepts"][0]["network"], "base-sepolia", "version 1 clients read the body");
    for name in ["status", "http"] {
        assert!(answer.body.get(name).is_none(), "{name}: {}", answer.body);
    }
}

/// A payment as a header.
fn header_of(payment: &Value) -> String {
    STANDARD.encode(payment.to_string())
}

/// A request to pay for `path`, to a server of choice.
fn to_server(lab: &Lab, base: &str, wallet: &Wallet, path: &str) -> reqwest::RequestBuilder {
    lab.http.post(format!("{base}{path}")).header("sign-in-with-x", wallet.siwx(base, path)).json(&json!({}))
}

/// A good payment for `path` at the price of now, not presented yet.
async fn signed_payment(lab: &Lab, wallet: &Wallet, path: &str) -> Value {
    let (challenge, offer) = lab.challenge(wallet, path).await;
    wallet.payment(&challenge, &offer, &wallet.authorize(&offer))
}

async fn count(lab: &Lab, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&lab.database().await).await.unwrap()
}

/// The decoded `PAYMENT-RESPONSE`.
fn receipt(answer: &Answer) -> Value {
    decode_challenge(answer.headers["payment-response"].to_str().unwrap())
}

/// Signs after `change`, presents after `alter`, and expects 402 with a reason and no grant.
async fn refused(
    lab: &Lab,
    wallet: &Wallet,
    what: &str,
    change: impl FnOnce(&mut Authorization),
    alter: impl FnOnce(&mut Value),
) {
    let (challenge, offer) = lab.challenge(wallet, ROUTE).await;
    let mut authorization = wallet.authorize(&offer);
    change(&mut authorization);
    let mut payment = wallet.payment(&challenge, &offer, &authorization);
    alter(&mut payment);
    let answer = lab.present(wallet, ROUTE, &payment).await;
    assert!(matches!(answer.status, 400 | 402), "{what}: {answer:?}");
    assert!(answer.body["code"].is_string() && answer.body["message"].is_string(), "{what}: {answer:?}");
    if answer.status == 402 {
        let again = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
        assert!(
            again["error"].as_str().unwrap().len() > 5,
            "{what}: the reason is in the header too: {again}"
        );
        // What cannot be read as a payment has no receipt.
        if answer.headers.contains_key("payment-response") {
            let receipt = receipt(&answer);
            assert_eq!(
                (&receipt["success"], &receipt["errorReason"]),
                (&json!(false), &again["error"]),
                "{what}"
            );
            assert_eq!(receipt["transaction"], "", "{what}");
        }
    }
}

// A04, A15, A16, A19, A20, A22, A24: altered in any part, the payment is refused before anything is sent.
#[tokio::test]
async fn a_payment_that_is_not_the_offer_is_refused_and_nothing_is_spent() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let same = |_: &mut Authorization| {};
    let kept = |_: &mut Value| {};
    let elsewhere = Wallet::random().checksummed();

    refused(&lab, &wallet, "another payee", |a| a.to = elsewhere.parse().unwrap(), kept).await;
    refused(&lab, &wallet, "one unit less", |a| a.value -= 1, kept).await;
    refused(&lab, &wallet, "one unit more", |a| a.value += 1, kept).await;
    refused(&lab, &wallet, "expired", |a| a.valid_before = a.valid_after + 10, kept).await;
    refused(&lab, &wallet, "not yet valid", |a| a.valid_after += 700, kept).await;
    refused(&lab, &wallet, "endless", |a| a.valid_before = u64::MAX, kept).await;
    refused(&lab, &wallet, "mainnet domain", |a| a.chain_id = 8453, kept).await;
    refused(&lab, &wallet, "domain name", |a| a.domain_name = "USD Coin".into(), kept).await;
    refused(&lab, &wallet, "domain version", |a| a.domain_version = "1".into(), kept).await;
    refused(&lab, &wallet, "another contract", |a| a.asset = elsewhere.parse().unwrap(), kept).await;

    for (what, pointer, value) in [
        ("offer amount", "/accepted/amount", json!("1")),
        ("offer payee", "/accepted/payTo", json!(elsewhere)),
        ("offer asset", "/accepted/asset", json!(elsewhere)),
        ("offer network", "/accepted/network", json!("eip155:8453")),
        ("v1 network name", "/accepted/network", json!("base-sepolia")),
        ("offer scheme", "/accepted/scheme", json!("upto")),
        ("version", "/x402Version", json!(3)),
        ("value spelled 1e5", "/payload/authorization/value", json!("1e5")),
        ("value with zero", "/payload/authorization/value", json!("0100000")),
        ("value as number", "/payload/authorization/value", json!(100_000)),
        ("huge value", "/payload/authorization/value", json!("9".repeat(80))),
        ("short nonce", "/payload/authorization/nonce", json!("0xabab")),
        ("no signature", "/payload/signature", json!("0x")),
        ("bad signature", "/payload/signature", json!(format!("0x{}1b", "11".repeat(64)))),
        ("contract signature", "/payload/signature", json!(format!("0x{}", "11".repeat(200)))),
    ] {
        refused(&lab, &wallet, what, same, |p| *p.pointer_mut(pointer).unwrap() = value).await;
    }
    let thief = lab.funded_wallet().await;
    refused(&lab, &wallet, "another payer", same, |p| {
        p["payload"]["authorization"]["from"] = json!(thief.checksummed());
    })
    .await;
    for garbage in ["%%%", "aGVsbG8=", "W10=", "eyJ4NDAyVmVyc2lvbiI6MiwieDQwMlZlcnNpb24iOjJ9"] {
        let request =
            lab.signed(&wallet, "POST", ROUTE, Some(json!({}))).header("payment-signature", garbage);
        let answer = lab.send(request).await;
        assert!(matches!(answer.status, 400 | 402), "{garbage}: {answer:?}");
    }

    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 250_000);
    let status = lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert!(status.body["tier"].is_null());
    lab.assert_books_agree();
}

// A04: a good payment for the cheap tier buys nothing dearer, and no other wallet may use it.
#[tokio::test]
async fn a_payment_for_another_resource_or_by_another_wallet_is_refused() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let dearer = lab.present(&wallet, "/tiers/v1/hobby", &payment).await;
    assert_eq!(dearer.status, 402, "{dearer:?}");
    let borrowed = lab.present(&Wallet::random(), ROUTE, &payment).await;
    assert_eq!(borrowed.status, 402, "{borrowed:?}");
    assert_eq!(lab.present(&wallet, ROUTE, &payment).await.status, 200, "it still buys what it was made for");
    // A03: once spent, it is spent.
    let reused = lab.present(&wallet, "/tiers/v1/hobby", &payment).await;
    assert!(matches!(reused.status, 402 | 409), "{reused:?}");
    lab.assert_books_agree();
}

#[tokio::test]
async fn an_empty_wallet_is_told_so() {
    let lab = Lab::start().await;
    let wallet = Wallet::random();
    let answer = lab.pay(&wallet, ROUTE).await;
    assert_eq!(answer.status, 402, "{answer:?}");
    assert_eq!(answer.body["code"], "INSUFFICIENT_FUNDS");
    let again = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
    assert_eq!(again["error"], "insufficient_funds");
    let receipt = receipt(&answer);
    assert_eq!((&receipt["success"], &receipt["errorReason"]), (&json!(false), &json!("insufficient_funds")));
    assert_eq!(
        (&receipt["network"], &receipt["payer"]),
        (&json!("eip155:84532"), &json!(wallet.checksummed()))
    );
}

// A01, A02: one proof, one grant, one answer.
#[tokio::test]
async fn the_same_proof_twice_and_fifty_times_at_once_is_one_grant_and_one_answer() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let answers = join_all((0..50).map(|_| lab.present(&wallet, ROUTE, &payment))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(lab.present(&wallet, ROUTE, &payment).await.body, answers[0].body);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    let database = lab.database().await;
    let (purchases,): (i64,) =
        sqlx::query_as("select count(*) from purchases").fetch_one(&database).await.unwrap();
    assert_eq!(purchases, 1);
    let (signed,): (i64,) =
        sqlx::query_as("select count(distinct nonce) from chain_txs where purpose = 'settle'")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!(signed, 1);
    lab.assert_books_agree();
}

// A09: while a payment is unresolved, nobody is asked to pay again.
#[tokio::test]
async fn an_unresolved_payment_answers_pending_and_never_a_second_bill() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    lab.chain.hold_blocks().await;
    let paid = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!(paid.status, 409, "{paid:?}");
    assert_eq!(paid.body["code"], "PAYMENT_PENDING");
    assert!(paid.body["retry_after"].is_u64() && paid.body["payment_id"].is_string(), "{paid:?}");
    let unpaid = lab.as_wallet(&wallet, "POST", ROUTE, Some(json!({}))).await;
    assert_eq!(unpaid.body["code"], "PAYMENT_PENDING", "{unpaid:?}");
    assert!(!unpaid.headers.contains_key("payment-required"));
    lab.chain.release_blocks().await;
    let answer = eventually("the pending payment's answer", 30, || async {
        let answer = lab.present(&wallet, ROUTE, &payment).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.body["action"], "subscribe");
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}

// B-rows and A27: somebody else submits the authorisation first; it is our customer's payment all the same.
#[tokio::test]
async fn a_stranger_who_submits_the_authorisation_first_changes_nothing() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let authorization = wallet.authorize(&offer);
    let payment = wallet.payment(&challenge, &offer, &authorization);
    let signature = wallet.sign(&authorization);
    let word = |n: u128| format!("{n:064x}");
    let address = |a: &str| format!("{:0>64}", a.trim_start_matches("0x").to_lowercase());
    let data = format!(
        "0xe3ee160e{}{}{}{}{}{}{}{}{}",
        address(&wallet.address()),
        address(offer["payTo"].as_str().unwrap()),
        word(authorization.value),
        word(u128::from(authorization.valid_after)),
        word(u128::from(authorization.valid_before)),
        hex::encode(authorization.nonce),
        word(u128::from(signature[64])),
        hex::encode(&signature[..32]),
        hex::encode(&signature[32..64]),
    );
    let stranger = Wallet::random().address();
    lab.chain.rpc("anvil_setBalance", json!([stranger, "0xde0b6b3a7640000"])).await;
    lab.chain.rpc("anvil_impersonateAccount", json!([stranger])).await;
    lab.chain
        .rpc("eth_sendTransaction", json!([{ "from": stranger, "to": lab.token(), "data": data }]))
        .await;
    let payee = offer["payTo"].as_str().unwrap().to_owned();
    eventually("the stranger's transaction", 20, || async {
        (lab.chain.usdc_balance(&lab.token(), &payee).await == 100_000).then_some(())
    })
    .await;
    let answer = eventually("the credit", 30, || async {
        let answer = lab.present(&wallet, ROUTE, &payment).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.body["action"], "subscribe", "{answer:?}");
    lab.assert_books_agree();
}

#[tokio::test]
async fn two_payment_headers_that_disagree_are_refused() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let one = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let two = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let request = lab
        .signed(&wallet, "POST", ROUTE, Some(json!({})))
        .header("payment-signature", STANDARD.encode(one.to_string()))
        .header("x-payment", STANDARD.encode(two.to_string()));
    let answer = lab.send(request).await;
    assert!(matches!(answer.status, 400 | 402), "{answer:?}");
    lab.assert_books_agree();
}
