use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::signer::{KeySecret, LocalSigner, Signer};

/// The first key of anvil and hardhat, known to everybody.
const KEY: [u8; 32] = alloy::hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SIGNATURE: &str = "0x9f085e1c7926315a9a44c37092d79406cc79e747b8614c21f8073e9b112f6a44\
             6633658fe87f32f8f7045afa43e277fcb30c5eca733d4c42234667a5d352f81d1b";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The known-answer vector of wire contract 01 section 2.2.
fn known() -> Value {
    json!({
        "domain": "gw.example.test",
        "address": ADDRESS,
        "statement": "Sign in to Run402",
        "uri": "https://gw.example.test:8443/tiers/v1/status",
        "version": "1",
        "chainId": "eip155:84532",
        "type": "eip191",
        "nonce": "00112233445566778899aabbccddeeff",
        "issuedAt": "2030-01-02T03:04:05.678Z",
        "expirationTime": "2030-01-02T03:09:05.678Z",
        "signature": SIGNATURE,
    })
}

fn policy() -> SiwxPolicy {
    SiwxPolicy::new(vec!["gw.example.test".to_owned(), "127.0.0.1".to_owned()])
}

fn check_at(payload: &Value, policy: &SiwxPolicy, now: &str) -> Result<Siwx, SiwxError> {
    verify(&STANDARD.encode(payload.to_string()), policy, at(now))
}

fn check(payload: &Value) -> Result<Siwx, SiwxError> {
    check_at(payload, &policy(), "2030-01-02T03:05:00Z")
}

/// Signs what a payload says, so that only its fields can be at fault.
async fn signed(mut payload: Value) -> Value {
    let object = payload.as_object().unwrap().clone();
    let read = Payload::read(&object).unwrap();
    let signer = LocalSigner::new(&KeySecret::new(Box::new(KEY))).unwrap();
    let digest = eip191_hash_message(read.text(read.address));
    let signature = signer.sign_digest(digest.0).await.unwrap();
    payload["signature"] = json!(format!("0x{}", hex::encode(signature)));
    payload
}

fn with(name: &str, value: Value) -> Value {
    let mut payload = known();
    payload[name] = value;
    payload
}

#[tokio::test]
async fn the_known_answer_verifies_and_we_sign_it_alike() {
    let siwx = check(&known()).unwrap();
    assert_eq!(siwx.address, ADDRESS.parse().unwrap());
    assert_eq!(siwx.target(), "/tiers/v1/status");
    assert_eq!(siwx.chain_id, 84532);
    assert_eq!(siwx.expires_at, at("2030-01-02T03:09:05.678Z"));
    assert_eq!(signed(known()).await, known());

    let object = known().as_object().unwrap().clone();
    let digest = eip191_hash_message(Payload::read(&object).unwrap().text(ADDRESS));
    assert_eq!(digest.to_string(), "0x060565b7594cac5d761d2d040052ac4c60ef4fffe876538a846f7caffd0c5857");
}

#[test]
fn headers_of_the_published_client_verify() {
    let vectors: Value = serde_json::from_str(include_str!("../../testdata/siwx.json")).unwrap();
    for sample in vectors["samples"].as_array().unwrap() {
        let text = |name: &str| sample[name].as_str().unwrap();
        let issued_at = at(text("issuedAt"));
        let siwx = verify(text("header"), &policy(), issued_at).unwrap();
        assert_eq!(siwx.target(), text("target"));
        assert_eq!(siwx.address, text("address").parse().unwrap());
        assert_eq!(siwx.expires_at, issued_at + TimeDelta::seconds(300));
        let strange = SiwxPolicy::new(vec!["elsewhere.test".to_owned()]);
        assert_eq!(verify(text("header"), &strange, issued_at), Err(SiwxError::WrongDomain));
    }
}

#[test]
fn every_field_is_wanted_and_none_can_be_changed() {
    for name in known().as_object().unwrap().keys() {
        let mut without = known();
        without.as_object_mut().unwrap().remove(name);
        let expected = if name == "expirationTime" { SiwxError::BadSignature } else { SiwxError::Field("") };
        match (check(&without).unwrap_err(), expected) {
            (SiwxError::Field(field), SiwxError::Field(_)) => assert_eq!(field, name),
            (found, expected) => assert_eq!(found, expected, "{name}"),
        }
        for wrong in [json!(null), json!(1), json!(["x"]), json!("")] {
            assert!(check(&with(name, wrong)).is_err(), "{name}");
        }
        // One character more or fewer, anywhere, is another text or another form.
        let text = known()[name].as_str().unwrap().to_owned();
        for other in [format!("{text}0"), format!(" {text}"), text[..text.len() - 1].to_owned()] {
            assert!(check(&with(name, json!(other))).is_err(), "{name}: {other}");
        }
        assert!(check(&with(name, json!(format!("{text}\n")))).is_err(), "{name}");
    }
    assert_eq!(check(&with("statement", json!("Sign in to Run403"))), Err(SiwxError::BadSignature));
    assert_eq!(check(&with("resources", json!(["x"]))), Err(SiwxError::BadSignature));
}

// The client's live tests pin these two.
#[test]
fn a_numeric_chain_id_and_a_missing_statement_fail() {
    assert_eq!(check(&with("chainId", json!(84532))), Err(SiwxError::Field("chainId")));
    for bad in ["84532", "eip155:", "eip155:084532", "eip155:+1", "eip155:1e3", "EIP155:1", "solana:1"] {
        assert_eq!(check(&with("chainId", json!(bad))), Err(SiwxError::Field("chainId")), "{bad}");
    }
    let mut payload = known();
    payload.as_object_mut().unwrap().remove("statement");
    assert_eq!(check(&payload), Err(SiwxError::Field("statement")));
    assert_eq!(check(&json!({})), Err(SiwxError::Field("version")));
}

#[test]
fn every_part_of_the_signature_counts_and_its_twin_is_refused() {
    let bytes: [u8; 65] = evm::fixed_hex(SIGNATURE).unwrap();
    for bit in (0..65 * 8).step_by(5) {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        let text = format!("0x{}", hex::encode(other));
        assert_eq!(check(&with("signature", json!(text))), Err(SiwxError::BadSignature), "bit {bit}");
    }
    let order = alloy::primitives::U256::from_be_bytes(alloy::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let mut twin = bytes;
    let high = order - alloy::primitives::U256::from_be_slice(&bytes[32..64]);
    twin[32..64].copy_from_slice(&high.to_be_bytes::<32>());
    for v in [0, 1, 26, 27, 28, 29] {
        twin[64] = v;
        let text = format!("0x{}", hex::encode(twin));
        assert_eq!(check(&with("signature", json!(text))), Err(SiwxError::BadSignature));
    }
    let mut parity_only = bytes;
    parity_only[64] -= 27;
    let text = format!("0x{}", hex::encode(parity_only));
    assert_eq!(check(&with("signature", json!(text))), Err(SiwxError::BadSignature));
}

#[tokio::test]
async fn an_address_is_checksummed_or_lower_case() {
    let lower = signed(with("address", json!(ADDRESS.to_lowercase()))).await;
    assert!(check(&lower).is_ok(), "signed over the lower-case spelling");
    let lower_over_checksummed = with("address", json!(ADDRESS.to_lowercase()));
    assert!(check(&lower_over_checksummed).is_ok(), "signed over the checksummed spelling");
    let broken = ADDRESS.replace("0xf39F", "0xF39f");
    assert_eq!(check(&with("address", json!(broken))), Err(SiwxError::Field("address")));
    assert!(check(&with("address", json!("0x0000000000000000000000000000000000000000"))).is_err());
}

#[tokio::test]
async fn time_is_bounded_on_both_sides() {
    let at_time = |now| check_at(&known(), &policy(), now);
    assert_eq!(at_time("2030-01-02T03:03:05.677Z"), Err(SiwxError::NotYetValid));
    assert!(at_time("2030-01-02T03:03:05.678Z").is_ok(), "a clock ahead by a minute is forgiven");
    assert!(at_time("2030-01-02T03:09:05.677Z").is_ok());
    assert_eq!(at_time("2030-01-02T03:09:05.678Z"), Err(SiwxError::Expired));
    assert_eq!(at_time("2030-01-02T03:09:05.679Z"), Err(SiwxError::Stale));

    let long = signed(with("expirationTime", json!("2031-01-01T00:00:00Z"))).await;
    let siwx = check(&long).unwrap();
    assert_eq!(siwx.expires_at, at("2030-01-02T03:09:05.678Z"), "age limits a long expiry");
    let mut without = known();
    without.as_object_mut().unwrap().remove("expirationTime");
    assert_eq!(check(&signed(without).await).unwrap().expires_at, siwx.expires_at);
    for bad in ["yesterday", "2030-01-02", "1893553445", "2030-01-02T03:04:05"] {
        let payload = signed(with("issuedAt", json!(bad))).await;
        assert_eq!(check(&payload), Err(SiwxError::Field("issuedAt")), "{bad}");
    }
}

#[tokio::test]
async fn only_our_own_origins_are_taken() {
    for good in [
        "https://gw.example.test/",
        "http://gw.example.test",
        "http://127.0.0.1:4020/x?y=z#w",
        "https://gw.example.test?x",
    ] {
        assert!(check(&signed(with("uri", json!(good))).await).is_ok(), "{good}");
    }
    for bad in [
        "https://evil.test/https://gw.example.test/",
        "https://gw.example.test.evil.test/",
        "https://gw.example.test@evil.test/",
        "https://evil.test\\@gw.example.test/",
        "https://gw.example.test:443:1/",
        "https://gw.example.test:/",
        "https://gw.example.test:70000/",
        "https:///x",
        "ftp://gw.example.test/",
        "gw.example.test/x",
    ] {
        assert_eq!(check(&signed(with("uri", json!(bad))).await), Err(SiwxError::WrongOrigin), "{bad}");
    }
    let foreign = signed(with("domain", json!("evil.test"))).await;
    assert_eq!(check(&foreign), Err(SiwxError::WrongDomain));
    assert_eq!(
        check(&signed(with("domain", json!("gw.example.test:8443"))).await),
        Err(SiwxError::WrongDomain)
    );
}

#[test]
fn named_origins_narrow_what_domains_allow() {
    let named = |origin: &str| SiwxPolicy { origins: vec![origin.to_owned()], ..policy() };
    let now = "2030-01-02T03:05:00Z";
    assert!(check_at(&known(), &named("https://gw.example.test:8443"), now).is_ok());
    for other in ["https://gw.example.test", "http://gw.example.test:8443", "https://gw.example.tes:8443"] {
        assert_eq!(check_at(&known(), &named(other), now), Err(SiwxError::WrongOrigin), "{other}");
    }
    assert_eq!(Origin::of("https://a"), Origin::of("https://A:443/x"));
    assert_eq!(Origin::of("http://[::1]:80").unwrap().host, "[::1]");
}

#[tokio::test]
async fn a_statement_of_several_lines_cannot_pose_as_other_fields() {
    let delegation = signed(with("statement", json!("Authorize\n\n  - this;\nNonce: x"))).await;
    assert!(check(&delegation).is_ok());
    for bad in ["x\n\nURI: https://gw.example.test/", "x\r\nURI: y", "x\u{0}"] {
        assert_eq!(check(&with("statement", json!(bad))), Err(SiwxError::Field("statement")), "{bad}");
    }
    let listed = signed(with("resources", json!(["a:b", "c:d"]))).await;
    assert_eq!(check(&listed).unwrap().resources, ["a:b", "c:d"]);
    assert_eq!(check(&with("resources", json!(["a\n- b"]))), Err(SiwxError::Field("resources")));
}
