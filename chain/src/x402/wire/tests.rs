use serde_json::json;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../testdata/x402.json")).unwrap()
}

fn payload() -> Value {
    vectors()["payments"][0]["decoded"].clone()
}

fn read(value: &Value) -> Result<Presented, WireError> {
    decode(Some(&json::encode(value)), None).map(|presented| presented.expect("a header was given"))
}

fn with(pointer: &str, value: Value) -> Value {
    let mut payload = payload();
    *payload.pointer_mut(pointer).unwrap() = value;
    payload
}

#[test]
fn payments_of_the_published_client_are_read_whole() {
    for sample in vectors()["payments"].as_array().unwrap() {
        let presented = decode(sample["header"].as_str(), None).unwrap().unwrap();
        assert_eq!(presented, read(&sample["decoded"]).unwrap());
        assert_eq!(presented.version, Version::V2);
        assert_eq!(presented.network, Network::BaseSepolia);
        assert_eq!(presented.authorization.value, UsdMicros(100_000));
        assert_eq!(presented.signature.len(), 65);
        let url = sample["decoded"]["resource"]["url"].as_str();
        assert_eq!(presented.resource_url.as_deref(), url);
    }
    assert_eq!(decode(None, None), Ok(None));
}

#[test]
fn our_challenges_are_those_that_the_published_client_took() {
    let pay_to = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap();
    let offer = |network| Offer { network, amount: UsdMicros(100_000), pay_to, max_timeout_secs: 300 };
    let resource = Resource {
        url: "http://127.0.0.1:28402/tiers/v1/prototype".to_owned(),
        description: Some("Run402 tier: prototype".to_owned()),
        mime_type: Some("application/json".to_owned()),
    };
    let (both, one) = ([offer(Network::Base), offer(Network::BaseSepolia)], [offer(Network::BaseSepolia)]);
    for (at, offers) in [(0, &one[..]), (1, &both[..])] {
        let ours = PaymentRequired::new(resource.clone(), offers, "PAYMENT-SIGNATURE header is required");
        let mut shown = serde_json::to_value(&ours).unwrap();
        // The capture is older than this offer; a client echoes what it does not know.
        assert!(shown.as_object_mut().unwrap().remove("extensions").is_some());
        assert_eq!(shown, vectors()["challenges"][at]);
        // A30.
        assert!(ours.to_header().len() < 2048);
    }
    let v1 = PaymentRequired::new_v1(&resource, &one, "X-PAYMENT header is required");
    assert_eq!(serde_json::to_value(&v1).unwrap(), vectors()["challengesV1"][0]);
}

#[test]
fn version_1_is_read_from_its_own_form() {
    let v1 = json!({
        "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload()["payload"],
    });
    let presented = decode(None, Some(&json::encode(&v1))).unwrap().unwrap();
    assert_eq!((presented.version, presented.network), (Version::V1, Network::BaseSepolia));
    assert_eq!(presented.authorization, read(&payload()).unwrap().authorization);
    for bad in ["eip155:84532", "Base", " base", "ethereum"] {
        let mut other = v1.clone();
        other["network"] = json!(bad);
        assert_eq!(read(&other), Err(WireError::Network), "{bad}");
    }
}

// A24.
#[test]
fn two_headers_must_hold_the_same_payment() {
    let (one, other) = (json::encode(&payload()), json::encode(&with("/resource/url", json!("x"))));
    assert!(decode(Some(&one), Some(&one)).is_ok());
    assert_eq!(decode(Some(&one), Some(&other)), Err(WireError::TwoPayments));
    let double = serde_json::to_string(&payload()).unwrap().replacen('{', r#"{"payload":{},"#, 1);
    let double = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, double);
    assert_eq!(decode(Some(&double), None), Err(WireError::Header(HeaderError::NotJsonObject)));
    for bad in [json!(3), json!("2"), json!(null), json!(2.0)] {
        assert_eq!(read(&with("/x402Version", bad)), Err(WireError::Version));
    }
}

// A20.
#[test]
fn networks_have_one_spelling() {
    for bad in ["base-sepolia", "EIP155:84532", "eip155:84532 ", "eip155:1", "eip155:084532"] {
        assert_eq!(read(&with("/accepted/network", json!(bad))), Err(WireError::Network), "{bad}");
    }
}

// A16, A22.
#[test]
fn numbers_are_exact_or_refused() {
    let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    for field in ["value", "validAfter", "validBefore"] {
        let pointer = format!("/payload/authorization/{field}");
        for bad in [
            json!("1e6"),
            json!("0x10"),
            json!("01"),
            json!("-1"),
            json!("1.0"),
            json!(" 10"),
            json!(""),
            json!(max),
            json!("1".repeat(80)),
            json!(100_000),
            json!(9_007_199_254_740_993_u64),
            json!(null),
        ] {
            assert_eq!(read(&with(&pointer, bad.clone())), Err(WireError::Field(field)), "{bad}");
        }
    }
}

#[test]
fn bytes_have_their_length() {
    for (pointer, field) in [
        ("/payload/authorization/nonce", "nonce"),
        ("/payload/authorization/from", "from"),
        ("/payload/authorization/to", "to"),
    ] {
        for bad in ["", "0x", "0x1234", &"ab".repeat(32), &format!("0x{}", "ag".repeat(32))] {
            assert_eq!(read(&with(pointer, json!(bad))), Err(WireError::Field(field)), "{bad}");
        }
    }
    for bad in ["", "0x", "0xabc", &format!("0x{}", "ab".repeat(3000))] {
        assert!(read(&with("/payload/signature", json!(bad))).is_err());
    }
    for gone in ["/payload", "/payload/authorization", "/accepted", "/payload/signature"] {
        for bad in [json!(null), json!([]), json!("x"), json!({})] {
            assert!(read(&with(gone, bad)).is_err(), "{gone}");
        }
    }
}

#[test]
fn a_receipt_names_the_network_as_its_version_does() {
    let payer = Wallet([0xab; 20]);
    let paid = SettleResponse::paid(Version::V2, Network::Base, [0xcd; 32], payer);
    assert_eq!(
        serde_json::to_value(&paid).unwrap(),
        json!({
            "success": true, "transaction": format!("0x{}", "cd".repeat(32)), "network": "eip155:8453",
            "payer": "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
        })
    );
    let refused = SettleResponse::refused(Version::V1, Network::Base, payer, "insufficient_funds");
    assert_eq!((refused.network.as_str(), refused.success), ("base", false));
}
