use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.test";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(key: &KeyPair, header: &Value, claims: &str) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", encode(signature))
}

fn jwk(key: &KeyPair, kid: &str) -> Value {
    let public = key.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    json!({ "kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": encode(n), "e": encode(e) })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "us", "exp": NOW + 3_600, "iat": NOW, "nonce": "n", "sub": "1",
        "email": "Ada@B.test", "email_verified": true,
    })
}

fn expected() -> Expected<'static> {
    Expected { issuer: ISSUER, client_id: "us", nonce: "n", now: NOW }
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().shift_remove(name)),
            value => all[name] = value.clone(),
        }
    }
    all
}

// H03: issuer, audience, time, nonce and address, each by itself.
#[test]
fn a_token_counts_for_its_issuer_its_client_its_request_and_its_time() {
    let judge = |changes: Value| judge(serde_json::from_value(with(changes)).unwrap(), &expected());
    let proof = judge(json!({})).unwrap();
    assert_eq!((proof.sub.as_str(), proof.email.as_str(), proof.email_strong), ("1", "ada@b.test", false));
    for (changes, error) in [
        (json!({ "iss": "https://issuer.test/" }), TokenError::Issuer),
        (json!({ "iss": "https://evil.test" }), TokenError::Issuer),
        (json!({ "aud": "them" }), TokenError::Audience),
        (json!({ "aud": [] }), TokenError::Audience),
        (json!({ "aud": ["us", "them"] }), TokenError::Audience),
        (json!({ "aud": "us", "azp": "them" }), TokenError::Audience),
        (json!({ "aud": { "us": 1 } }), TokenError::Audience),
        (json!({ "exp": NOW - SKEW_SECS }), TokenError::Time),
        (json!({ "iat": NOW + SKEW_SECS + 1 }), TokenError::Time),
        (json!({ "nonce": "other" }), TokenError::Nonce),
        (json!({ "nonce": null }), TokenError::Nonce),
        (json!({ "sub": "" }), TokenError::Subject),
        (json!({ "sub": "a b" }), TokenError::Subject),
        (json!({ "email_verified": false }), TokenError::Email),
        (json!({ "email_verified": null }), TokenError::Email),
        (json!({ "email_verified": 1 }), TokenError::Email),
        (json!({ "email": null }), TokenError::Email),
        (json!({ "email": "a@b.test,c@d.test" }), TokenError::Email),
    ] {
        assert_eq!(judge(changes.clone()), Err(error), "{changes}");
    }
    for good in [
        json!({ "aud": ["us"] }),
        json!({ "aud": ["us", "them"], "azp": "us" }),
        json!({ "email_verified": "true" }),
        json!({ "exp": NOW - SKEW_SECS + 1 }),
    ] {
        assert!(judge(good.clone()).is_ok(), "{good}");
    }
}

// H04: who runs the domain knows who holds the address; anybody else saw it once.
#[test]
fn an_address_is_strong_where_the_provider_runs_its_domain() {
    assert!(runs(ISSUER, Some("B.test"), "ada@b.test"));
    assert!(!runs(ISSUER, Some("c.test"), "ada@b.test"));
    assert!(!runs(ISSUER, None, "ada@gmail.com"), "not its own");
    assert!(runs(GOOGLE_ISSUER, None, "ada@gmail.com"));
    assert!(!runs(GOOGLE_ISSUER, None, "ada@notgmail.com"));
    assert!(!runs(GOOGLE_ISSUER, None, "ada@b.test"));
}

#[test]
fn names_and_pictures_are_plain() {
    let judge = |changes: Value| judge(serde_json::from_value(with(changes)).unwrap(), &expected()).unwrap();
    let proof = judge(json!({ "name": " Ada\r\nLovelace ", "picture": "https://p.test/a.png" }));
    assert_eq!(proof.display_name.as_deref(), Some("AdaLovelace"));
    assert_eq!(proof.avatar_url.as_deref(), Some("https://p.test/a.png"));
    for bad in ["javascript:alert(1)", "http://p.test/a.png", "https://p.test/a b"] {
        assert_eq!(judge(json!({ "picture": bad, "name": " " })).avatar_url, None, "{bad}");
    }
}

// H01, H03: no algorithm but RS256, no key but a published one, nothing from the header.
#[test]
fn forged_tokens_are_refused() {
    let [ours, theirs] = [(), ()].map(|()| KeyPair::generate(KeySize::Rsa2048).unwrap());
    let published = jwk(&ours, "k1");
    let set = |keys: Value| serde_json::from_value::<JwkSet>(json!({ "keys": keys })).unwrap();
    let keys = set(json!([published]));
    let read = |token: &str| verify(token, &keys, &expected());
    let (header, body) = (json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }), claims().to_string());
    let good = signed(&ours, &header, &body);
    assert!(read(&good).is_ok());

    let parts: Vec<&str> = good.split('.').collect();
    let raised = encode(body.replace("Ada@B.test", "boss@b.test"));
    let under =
        |header: Value, signature: &str| format!("{}.{}.{signature}", encode(header.to_string()), parts[1]);
    // What a library that believes the header would check an HMAC with.
    let confused = {
        let n = published["n"].as_str().unwrap();
        let header = jsonwebtoken::Header { kid: Some("k1".into()), ..jsonwebtoken::Header::default() };
        jsonwebtoken::encode(&header, &claims(), &jsonwebtoken::EncodingKey::from_secret(n.as_bytes()))
            .unwrap()
    };
    let own_key =
        json!({ "alg": "RS256", "kid": "k1", "jwk": jwk(&theirs, "k1"), "jku": "https://evil.test/k" });
    for forged in [
        format!("{}.{raised}.{}", parts[0], parts[2]),
        under(json!({ "alg": "none", "kid": "k1" }), ""),
        under(json!({ "alg": "HS256", "kid": "k1" }), parts[2]),
        under(json!({ "alg": "RS512", "kid": "k1" }), parts[2]),
        confused,
        signed(&theirs, &header, &body),
        signed(&theirs, &own_key, &body),
        signed(&ours, &header, &body.replacen('{', "{\"sub\":\"2\",", 1)),
        format!("{good}.{}", "a".repeat(TOKEN_BYTES_MAX)),
        String::new(),
    ] {
        assert_eq!(read(&forged), Err(TokenError::Signature), "{forged}");
    }
    for kid in [json!("k2"), json!("../k1"), Value::Null] {
        let token = signed(&ours, &json!({ "alg": "RS256", "kid": kid }), &body);
        assert_eq!(read(&token), Err(TokenError::UnknownKey), "{kid}");
    }
    // A key that is published for something else.
    let mut other = published.clone();
    other["use"] = json!("enc");
    assert_eq!(verify(&good, &set(json!([other])), &expected()), Err(TokenError::Signature));
}
