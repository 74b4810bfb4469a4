//! Published x402 clients pay us unmodified.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
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

// Contract 02 section 11. Goal: the later published client, unmodified, works against the same server. Method: it
// provisions, puts assets, deploys a directory twice and compares releases.
#[tokio::test(flavor = "multi_thread")]
async fn npm_run402_sdk_puts_assets_and_deploys_a_directory_twice() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let home = tests::fresh_folder();
    let site = home.join("site");
    std::fs::create_dir_all(site.join("css")).unwrap();
    for (name, text) in
        [("index.html", "<h1>sdk</h1>"), ("css/a.css", "h1{}"), ("robots.txt", "User-agent: *")]
    {
        std::fs::write(site.join(name), text).unwrap();
    }
    let allowance = json!({
        "address": wallet.address(),
        "privateKey": wallet.key_hex(),
        "created": "2026-01-01T00:00:00.000Z",
        "funded": true,
    });
    std::fs::write(home.join("allowance.json"), allowance.to_string()).unwrap();
    let api = lab.api.clone();
    let output = tokio::task::spawn_blocking(move || {
        let mut node = Command::new("node");
        node.current_dir(peers()).args(["--require", "./localhost.cjs", "sdk.mjs"]).arg(&site);
        run(node.env("RUN402_API_BASE", &api).env("RUN402_CONFIG_DIR", &home))
    })
    .await
    .unwrap();
    let out: Value = serde_json::from_slice(&output.stdout).unwrap();
    let asset = &out["asset"];
    assert_eq!(asset["cacheKind"], "immutable", "{out}");
    assert!(asset["tag"].as_str().unwrap().contains(asset["sri"].as_str().unwrap()), "{out}");
    assert_eq!(out["shown"], "console.log('hello')", "{out}");
    assert_eq!((&out["read"], &out["signed"]), (&json!("hush"), &json!("hush")), "{out}");
    assert_eq!(
        (&out["listed"], &out["left"]),
        (&json!(["app.js", "notes/private.txt"]), &json!(["app.js"])),
        "{out}"
    );
    assert_eq!(out["looked"]["observedSha256"], asset["contentSha256"], "{out}");
    assert_eq!((&out["firstUploads"], &out["secondUploads"]), (&json!(3), &json!(0)), "{out}");
    assert_eq!(out["page"], "<h1>sdk</h1>", "{out}");
    assert_eq!(out["diff"]["site"]["added"].as_array().unwrap().len(), 3, "{out}");
}
