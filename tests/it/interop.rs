//! Published x402 clients pay us unmodified.

use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tests::{Lab, peers, run};
use x402_chain_eip155::V2Eip155ExactClient;
use x402_reqwest::{ReqwestWithPayments, ReqwestWithPaymentsBuild, X402Client};

const ROUTE: &str = "/tiers/v1/prototype";

#[tokio::test]
async fn npm_x402_fetch_pays_for_a_tier() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let api = lab.api.clone();
    let key = wallet.key_hex();
    let output = tokio::task::spawn_blocking(move || {
        run(Command::new("node").current_dir(peers()).args(["pay.mjs", &api, "prototype", &key]))
    })
    .await
    .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(answer["body"]["action"], "subscribe");
    assert_eq!(answer["receipt"]["success"], true, "{answer}");
    assert_eq!(answer["receipt"]["network"], "eip155:84532");
    assert_eq!(answer["receipt"]["payer"].as_str().unwrap().to_lowercase(), wallet.address());
    assert!(answer["receipt"]["transaction"].as_str().unwrap().starts_with("0x"));
    lab.assert_books_agree();
}

#[tokio::test]
async fn crate_x402_reqwest_pays_for_a_tier() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let signer: alloy::signers::local::PrivateKeySigner = wallet.key_hex().parse().unwrap();
    let client = X402Client::new().register(V2Eip155ExactClient::new(Arc::new(signer)));
    let http = reqwest::Client::new().with_payments(client).build();
    let answer = http
        .post(lab.url(ROUTE))
        .header("sign-in-with-x", wallet.siwx(&lab.api, ROUTE))
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["action"], "subscribe", "{body}");
    lab.assert_books_agree();
}
