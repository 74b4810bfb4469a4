//! Payments that are almost the offer.

use alloy::primitives::U256;
use serde_json::{Value, json};
use tests::{Answer, Authorization, Lab, Wallet, decode_challenge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ROUTE, count, header_of, receipt, refused, signed_payment};

fn same(_: &mut Authorization) {}

/// Sends the target byte for byte: an ordinary client would tidy it up first.
async fn raw(lab: &Lab, method: &str, target: &str, wallet: &Wallet, payment: &Value) -> (u16, String) {
    let host = lab.api.trim_start_matches("http://");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\ncontent-length: 2\r\n\
         content-type: application/json\r\nsign-in-with-x: {}\r\npayment-signature: {}\r\n\r\n{{}}",
        wallet.siwx(&lab.api, target),
        header_of(payment),
    );
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

// A04: no spelling of a dearer route, no other method and no other name of the resource takes a cheap payment.
#[tokio::test]
async fn no_spelling_of_another_route_takes_a_payment() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    lab.mint(&wallet, 30_000_000).await;
    let payment = signed_payment(&lab, &wallet, ROUTE).await;
    let mut silent = payment.clone();
    silent.as_object_mut().unwrap().remove("resource");
    for target in [
        "/tiers/v1/hobby",
        "/tiers/v1/%68obby",
        "/tiers/v1/prototype/../hobby",
        "/tiers/v1/prototype/%2e%2e/hobby",
        "/tiers/v1/prototype%2f..%2fhobby",
        "/tiers/v1/./hobby",
        "//tiers/v1/hobby",
        "/tiers/v1/hobby/",
        "/tiers/v1/HOBBY",
        "/tiers/v1/hobby?tier=prototype",
        "/tiers/v1/hobby?/tiers/v1/prototype",
        "/tiers/v1/hobby;prototype",
        "/tiers/v1/hobby%23prototype",
        "/tiers/v1/prototype%00",
        "/tiers/v1/prototype%20",
        "/tiers/v1/prototype%2Fhobby",
    ] {
        for payment in [&payment, &silent] {
            let (status, text) = raw(&lab, "POST", target, &wallet, payment).await;
            assert!((400..500).contains(&status), "{target}: {text}");
        }
    }
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let (status, text) = raw(&lab, method, ROUTE, &wallet, &payment).await;
        assert!(status == 404 || status == 405, "{method}: {text}");
    }
    // The payment itself names another resource.
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    for path in [
        "/tiers/v1/hobby",
        "/tiers/v1/%70rototype",
        "/tiers/v1/hobby/../prototype",
        "/tiers/v1/prototype?x=1",
        "/tiers/v1/prototype/",
        "",
    ] {
        let mut payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
        payment["resource"]["url"] = json!(lab.url(path));
        let answer = lab.present(&wallet, ROUTE, &payment).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (402, &json!("PAYMENT_INVALID")),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(count(&lab, "select count(*) from payments").await, 0);
    assert_eq!(lab.present(&wallet, ROUTE, &payment).await.status, 200, "it was never spent");
    lab.assert_books_agree();
}

// A16, A20, A22: windows, networks and amounts are exact or refused.
#[tokio::test]
async fn windows_networks_and_amounts_are_exact_or_refused() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let max = U256::MAX.to_string();
    let huge = (U256::from(1_u64) << 255_usize).to_string();
    let at = |field: &'static str| format!("/payload/authorization/{field}");
    for (pointer, values) in [
        (
            at("validBefore"),
            vec![json!(max), json!(huge), json!("18446744073709551616"), json!("0"), json!("-1"), json!(0)],
        ),
        (at("validAfter"), vec![json!(max), json!("99999999999"), json!("-1"), json!(""), json!(null)]),
        (
            at("value"),
            [
                "1e5",
                "0x186a0",
                "0100000",
                "-100000",
                "100000.0",
                " 100000",
                "100000 ",
                "+100000",
                "",
                "0",
                "100_000",
                "１０００００",
                &max,
                &"9".repeat(80),
                "9007199254740993",
                "18446744073809551616",
            ]
            .map(|text| json!(text))
            .to_vec(),
        ),
        (
            at("value"),
            vec![
                json!(100_000),
                json!(100_000.0),
                json!(9_007_199_254_740_993_u64),
                json!(null),
                json!(["100000"]),
            ],
        ),
        (
            "/accepted/amount".to_owned(),
            vec![json!("100000.0"), json!("1e5"), json!(100_000), json!("0100000")],
        ),
        (
            "/accepted/maxTimeoutSeconds".to_owned(),
            vec![
                json!(0),
                json!(-1),
                json!(1_000_000_000),
                json!(300.5),
                json!("300"),
                json!(299),
                json!(null),
            ],
        ),
        (
            "/accepted/network".to_owned(),
            [
                "EIP155:84532",
                " eip155:84532",
                "eip155:84532 ",
                "eip155:084532",
                "eip155:8453",
                "base",
                "base-sepolia",
                "Base-Sepolia",
                "eip155:1",
                "",
                "84532",
            ]
            .map(|text| json!(text))
            .to_vec(),
        ),
    ] {
        for value in values {
            let what = format!("{pointer} = {value}");
            refused(&lab, &wallet, &what, same, |p| *p.pointer_mut(&pointer).unwrap() = value).await;
        }
    }
    // Signed as they are: only the window is wrong. The chain's clock may be a little off ours.
    refused(&lab, &wallet, "shorter than inclusion", |a| a.valid_before = a.valid_after + 601, |_| {}).await;
    refused(&lab, &wallet, "not valid for 20 s yet", |a| a.valid_after += 620, |_| {}).await;
    refused(&lab, &wallet, "an hour and more too long", |a| a.valid_before += 3_700, |_| {}).await;
    refused(&lab, &wallet, "until the end of time", |a| a.valid_before = i64::MAX as u64, |_| {}).await;
    refused(&lab, &wallet, "for mainnet", |a| a.chain_id = 8453, |_| {}).await;
    assert_eq!(count(&lab, "select count(*) from payments").await, 0);

    // A20: version 1 has names of its own; the right one pays, the others do not.
    let (_, offer) = lab.challenge(&wallet, ROUTE).await;
    let v1 = |network: &str| {
        let payment = wallet.payment(&json!({}), &offer, &wallet.authorize(&offer));
        json!({ "x402Version": 1, "scheme": "exact", "network": network, "payload": payment["payload"] })
    };
    for network in ["base", "eip155:84532", "Base-Sepolia", "base-sepolia ", "ethereum"] {
        let answer = lab.present(&wallet, ROUTE, &v1(network)).await;
        assert_eq!(answer.status, 402, "{network}: {answer:?}");
    }
    let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
    let answer = lab.send(request.header("x-payment", header_of(&v1("base-sepolia")))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    lab.assert_books_agree();
}

/// A refusal that says why in the body, in the challenge and in the receipt.
fn says(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (402, &json!("PAYMENT_INVALID")), "{answer:?}");
    assert_eq!(answer.body["details"]["reason"], reason, "{answer:?}");
    assert_eq!(decode_challenge(answer.headers["payment-required"].to_str().unwrap())["error"], reason);
    assert_eq!(receipt(answer)["errorReason"], reason);
}

// A18, A19: only the payer's own key signs, in one spelling; a contract's word is not asked for.
#[tokio::test]
async fn a_signature_has_one_spelling_and_contracts_are_not_asked() {
    const SECP256K1_N: &str =
        "115792089237316195423570985008687907852837564279074904382605163141518161494337";
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let authorization = wallet.authorize(&offer);
    let signature = wallet.sign(&authorization);
    let payment = wallet.payment(&challenge, &offer, &authorization);
    let signed_as = |bytes: &[u8]| {
        let mut payment = payment.clone();
        payment["payload"]["signature"] = json!(format!("0x{}", hex::encode(bytes)));
        payment
    };
    let order: U256 = SECP256K1_N.parse().unwrap();
    let s = U256::from_be_slice(&signature[32..64]);
    let mut high = signature.clone();
    high[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    high[64] = if signature[64] == 27 { 28 } else { 27 };
    let with_v = |v: u8| [&signature[..64], &[v]].concat();
    let mut compact = signature[..64].to_vec();
    compact[32] |= if signature[64] == 28 { 0x80 } else { 0 };
    let wrong = "invalid_exact_evm_payload_signature";
    for bytes in [
        high.clone(),
        with_v(signature[64] - 27),
        with_v(29),
        with_v(55 - signature[64]),
        compact,
        vec![0; 65],
    ] {
        says(&lab.present(&wallet, ROUTE, &signed_as(&bytes)).await, wrong);
    }
    // Shapes of EIP-1271 and EIP-6492: up to the limit they are named as what they are, beyond it not read.
    let magic = [0x64, 0x92].repeat(16);
    for bytes in [[&signature[..], &[0]].concat(), [&signature[..], &magic[..]].concat(), vec![7; 2_048]] {
        says(&lab.present(&wallet, ROUTE, &signed_as(&bytes)).await, "unsupported_contract_wallet_signature");
    }
    let beyond = lab.present(&wallet, ROUTE, &signed_as(&[7; 4097])).await;
    assert!(matches!(beyond.status, 400), "{beyond:?}");
    assert_eq!(count(&lab, "select count(*) from payments").await, 0);

    // The payer's address has code that never ends, and USDC would ask it: looking ends in time, without a grant.
    lab.chain.rpc("anvil_setCode", json!([wallet.address(), "0x5b600056"])).await;
    let began = std::time::Instant::now();
    says(&lab.present(&wallet, ROUTE, &signed_as(&[7; 96])).await, "unsupported_contract_wallet_signature");
    says(&lab.present(&wallet, ROUTE, &payment).await, "invalid_transaction_state");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_eq!(count(&lab, "select count(*) from payments").await, 0);
    lab.chain.rpc("anvil_setCode", json!([wallet.address(), "0x"])).await;
    let paid = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!(paid.status, 200, "{paid:?}");
    // The twin of a spent signature spends nothing more.
    let twin = lab.present(&wallet, ROUTE, &signed_as(&high)).await;
    assert!(twin.status == 402 || twin.body == paid.body, "{twin:?}");
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}
