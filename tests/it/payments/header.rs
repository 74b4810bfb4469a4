//! A24: headers that are no payment.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};
use tests::{Answer, Lab};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ROUTE, count, header_of, signed_payment};

/// Refused as one of ours, and neither as a fault nor as content.
fn refused(what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    for field in ["code", "message", "category", "mutation_state", "trace_id"] {
        assert!(answer.body[field].is_string(), "{what}: {field}: {answer:?}");
    }
    assert!(answer.body["next_actions"].is_array(), "{what}: {answer:?}");
    assert!(answer.body.get("tier").is_none(), "{what}: {answer:?}");
}

/// Writes the bytes as they are, and reads a status and what follows the head.
async fn raw(lab: &Lab, bytes: &[u8]) -> (u16, String) {
    let mut socket = tokio::net::TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
    // A server that has read enough hangs up, so neither has to succeed to its end.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut piece).await {
        answer.extend_from_slice(&piece[..n]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

#[tokio::test]
async fn what_is_no_payment_is_a_structured_refusal_and_never_a_fault() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let payment = signed_payment(&lab, &wallet, ROUTE).await;
    let other = signed_payment(&lab, &wallet, ROUTE).await;
    let text = payment.to_string();
    // Spread over the text so that both alphabets differ.
    let padded = format!("{{\"x\":\"{}\",{}", "\u{3fb}\u{3ff}".repeat(9), &text[1..]);
    assert_ne!(URL_SAFE.encode(&padded), STANDARD.encode(&padded));
    let twice_named = format!("{{\"x402Version\":2,{}", &text[1..]);
    let deep_twice = text.replacen("\"authorization\":{", "\"authorization\":{\"value\":\"1\",", 1);
    assert!(deep_twice != text && serde_json::from_str::<Value>(&twice_named).is_ok());
    let headers = [
        ("not base64", "%%%".to_owned()),
        ("base64 and spaces", format!("{} {}", &header_of(&payment)[..8], &header_of(&payment)[8..])),
        ("base64url", URL_SAFE.encode(&padded)),
        ("plain JSON", "{}".to_owned()),
        ("not JSON", STANDARD.encode("hello")),
        ("cut JSON", STANDARD.encode(&text[..text.len() - 1])),
        ("two documents", STANDARD.encode(format!("{text}{text}"))),
        ("array", STANDARD.encode(json!([payment]).to_string())),
        ("string", STANDARD.encode(json!(text).to_string())),
        ("null", STANDARD.encode("null")),
        ("number", STANDARD.encode("1e999")),
        ("twice the version", STANDARD.encode(&twice_named)),
        ("twice the value", STANDARD.encode(&deep_twice)),
        ("deep", STANDARD.encode("[".repeat(6_000))),
        ("empty object", STANDARD.encode("{}")),
        ("not UTF-8", STANDARD.encode([0xff, 0xfe, b'{', b'}'])),
        ("NUL in it", STANDARD.encode(text.replace("exact", "exa\u{0}ct"))),
        ("9 KiB", "A".repeat(9 * 1024)),
        ("60 KiB", "A".repeat(60 * 1024)),
    ];
    for name in ["payment-signature", "x-payment"] {
        for (what, value) in &headers {
            let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({}))).header(name, value);
            refused(&format!("{name}: {what}"), &lab.send(request).await);
        }
    }
    // Two copies that differ, in one name or in two, however they are spelled.
    let (one, two) = (header_of(&payment), header_of(&other));
    let unpadded = STANDARD_NO_PAD.encode(format!("{text} "));
    for (a, b) in [("payment-signature", "payment-signature"), ("payment-signature", "x-payment")] {
        for (what, second) in [("another payment", &two), ("the same, spelled otherwise", &unpadded)] {
            let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
            let answer = lab.send(request.header(a, &one).header(b, second)).await;
            refused(&format!("{a} and {b}: {what}"), &answer);
        }
    }
    // A payment does not stand in for a signature.
    let unsigned = lab.http.post(lab.url(ROUTE)).header("payment-signature", &one).json(&json!({}));
    let unsigned = lab.send(unsigned).await;
    assert_eq!((unsigned.status, &unsigned.body["code"]), (402, &json!("AUTHENTICATION_REQUIRED")));
    refused("unsigned", &unsigned);

    assert_eq!(count(&lab, "select count(*) from payments").await, 0);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 250_000);
    a_megabyte_is_refused(&lab).await;
    // After all of that the two copies that agree are one payment.
    let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
    let agreed = lab.send(request.header("payment-signature", &one).header("x-payment", &one)).await;
    assert_eq!(agreed.status, 200, "{agreed:?}");
    lab.assert_books_agree();
}

/// Headers beyond all limits: refused, and nobody is harmed.
async fn a_megabyte_is_refused(lab: &Lab) {
    let host = lab.api.trim_start_matches("http://");
    for (what, header) in [
        ("one header", format!("payment-signature: {}\r\n", "A".repeat(1 << 20))),
        ("many headers", "payment-signature: QQ==\r\n".repeat(40_000)),
    ] {
        let head = format!("POST {ROUTE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{header}\r\n");
        let (status, body) = raw(lab, head.as_bytes()).await;
        // The parser refuses before there is a request to answer: a status of its own, or the line cut.
        assert!(status == 0 || (400..500).contains(&status), "{what}: {status} {body}");
        assert!(!body.contains("tier"), "{what}: {body}");
    }
    let odd = format!(
        "POST {ROUTE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\npayment-signature: \u{e9}\u{1}\r\n\r\n"
    );
    let (status, _) = raw(lab, odd.as_bytes()).await;
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(lab.get("/health").await.status, 200);
}
