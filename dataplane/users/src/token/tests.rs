use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde_json::json;
use types::{Entropy, OsEntropy};

use super::*;

const NOW: i64 = 1_700_000_000;

fn secret(version: i32, byte: u8) -> Secret {
    Secret { version, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH }
}

fn subject(project: ProjectId) -> Subject {
    let (user, session) = (OsEntropy.uuid(), OsEntropy.uuid());
    let (email, amr) = ("a@b.test".to_owned(), vec!["password".to_owned()]);
    Subject { project, user, email, role: Role::Authenticated, session, amr, auth_time: NOW }
}

// H01: expired, another project's, another version's, a rotated secret's.
#[test]
fn a_token_counts_for_its_project_its_hour_and_its_secret() {
    let project = ProjectId::new(&OsEntropy);
    let token = sign(subject(project), &secret(2, 7), NOW).unwrap();
    let both = [secret(3, 9), secret(2, 7)];
    assert!(verify(&token, &both, project, NOW + ACCESS_SECS - 1).is_some());
    assert_eq!(verify(&token, &both, project, NOW + ACCESS_SECS), None);
    assert_eq!(verify(&token, &both, ProjectId::new(&OsEntropy), NOW), None);
    assert_eq!(verify(&token, &[secret(2, 8)], project, NOW), None);
    assert_eq!(verify(&token, &[secret(3, 7)], project, NOW), None, "a retired version is gone");
}

// H01: no algorithm but ours, no unsigned token, no changed claim, nothing found through `kid`.
#[test]
fn forged_tokens_are_refused() {
    let project = ProjectId::new(&OsEntropy);
    let secrets = [secret(1, 7)];
    let token = sign(subject(project), &secrets[0], NOW).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (body, signature) = (parts[1], parts[2]);
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let raised = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    let raised = raised.replace("authenticated", "project_admin");
    for forged in [
        format!("{}.{}.{signature}", parts[0], encode(&raised)),
        format!("{}.{body}.", encode(r#"{"alg":"none","typ":"JWT","kid":"1"}"#)),
        format!("{}.{body}.{signature}", encode(r#"{"alg":"RS256","typ":"JWT","kid":"1"}"#)),
        format!("{}.{body}.{signature}", encode(r#"{"alg":"HS512","typ":"JWT","kid":"1"}"#)),
        format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","typ":"JWT"}"#)),
        format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","kid":"../1"}"#)),
        format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","kid":"1' or 1=1"}"#)),
        "a".repeat(TOKEN_BYTES_MAX + 1),
    ] {
        assert_eq!(verify(&forged, &secrets, project, NOW), None, "{forged}");
    }
}

/// A token of this header and these claims, signed as `sign` does.
fn forge(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = encode(&sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn with_key(key: &UserKey) -> impl Fn(&[u8]) -> Vec<u8> {
    |text| {
        let signed = jsonwebtoken::crypto::sign(text, &key.private, Algorithm::ES256).unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(signed).unwrap()
    }
}

fn with_hmac(secret: &[u8], algorithm: Algorithm) -> impl Fn(&[u8]) -> Vec<u8> {
    move |text| {
        let signed = jsonwebtoken::crypto::sign(text, &EncodingKey::from_secret(secret), algorithm).unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(signed).unwrap()
    }
}

fn assert_refused(token: &str, secrets: &[Secret], project: ProjectId, why: &str) {
    assert_eq!(verify(token, secrets, project, NOW), None, "{why}: {token}");
    assert_eq!(claims(token, secrets, project, NOW), None, "{why}: {token}");
    assert_eq!(exchanged(token, secrets, project, NOW), None, "{why}: {token}");
}

// H01, J10. Goal: an exchanged token says the same, is never good for longer, and ends with the secret of the first.
#[test]
fn an_exchanged_token_says_the_same_for_a_shorter_time() {
    let project = ProjectId::new(&OsEntropy);
    let both = [secret(3, 9), secret(2, 7)];
    let first = sign(subject(project), &both[1], NOW).unwrap();
    let said = verify(&first, &both, project, NOW).unwrap();
    let second = exchanged(&first, &both, project, NOW).unwrap();
    let header = jsonwebtoken::decode_header(&second).unwrap();
    let key = UserKey::of(project, &both[1]).unwrap();
    assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::ES256, key.kid()));
    let now_said = verify(&second, &both, project, NOW).unwrap();
    assert_eq!(now_said, Claims { exp: NOW + EXCHANGED_SECS, ..said.clone() });
    assert_eq!(claims(&second, &both, project, NOW).unwrap()["sub"], said.sub.to_string());
    assert_eq!(verify(&second, &both, project, NOW + EXCHANGED_SECS), None);
    assert_eq!(claims(&second, &both, project, NOW + EXCHANGED_SECS), None);

    let late = exchanged(&first, &both, project, said.exp - 10).unwrap();
    assert_eq!(verify(&late, &both, project, said.exp - 10).unwrap().exp, said.exp);
    assert_eq!(exchanged(&first, &both, project, said.exp), None, "it is over");
    let third = exchanged(&second, &both, project, NOW + 10).unwrap();
    assert_eq!(verify(&third, &both, project, NOW + 10).unwrap().exp, NOW + EXCHANGED_SECS, "no longer");
    assert_refused(&second, &both[..1], project, "its secret is retired");
    assert_refused(&second, &both, ProjectId::new(&OsEntropy), "another project");
}

// H01. Goal: ES256 counts under the one key of this project that it names, and nothing else of a header counts. Method:
// each fault by itself, with claims that would be good.
#[test]
fn forged_tokens_of_keys_are_refused() {
    let (project, other) = (ProjectId::new(&OsEntropy), ProjectId::new(&OsEntropy));
    let secrets = [secret(2, 7)];
    let key = UserKey::of(project, &secrets[0]).unwrap();
    // Even under the same secret another project has another key.
    let foreign = UserKey::of(other, &secrets[0]).unwrap();
    let kid = key.kid().unwrap();
    let token = sign(subject(project), &secrets[0], NOW).unwrap();
    let good = claims(&token, &secrets, project, NOW).unwrap();
    let header = |alg: &str| json!({ "typ": "JWT", "alg": alg, "kid": kid });
    let ours = forge(&header("ES256"), &good, with_key(&key));
    assert!(verify(&ours, &secrets, project, NOW).is_some(), "{ours}");

    for (head, why) in [
        (json!({ "alg": "ES256" }), "no kid"),
        (json!({ "alg": "ES256", "kid": "" }), "an empty kid"),
        (json!({ "alg": "ES256", "kid": "2" }), "the secret's name"),
        (json!({ "alg": "ES256", "kid": "../2" }), "a path"),
        (json!({ "alg": "ES256", "kid": foreign.kid() }), "another project's key"),
        (json!({ "alg": "ES256", "kid": 2 }), "no text"),
        (header("HS256"), "HS256"),
        (header("ES384"), "ES384"),
        (header("none"), "none"),
    ] {
        assert_refused(&forge(&head, &good, with_key(&key)), &secrets, project, why);
    }
    let es256 = header("ES256");
    for (forged, why) in [
        (forge(&es256, &good, with_key(&foreign)), "another project's signature"),
        (forge(&es256, &good, with_hmac(&secrets[0].bytes, Algorithm::HS256)), "HMAC"),
        (forge(&es256, &good, |_| Vec::new()), "no signature"),
        (forge(&es256, &good, |_| vec![0; 64]), "R = S = 0"),
        (forge(&header("none"), &good, |_| Vec::new()), "unsigned"),
        (forge(&header("HS512"), &good, with_hmac(&secrets[0].bytes, Algorithm::HS512)), "HS512"),
        (format!("{ours}="), "another spelling"),
    ] {
        assert_refused(&forged, &secrets, project, why);
    }
    let shown = foreign.public();
    let brought =
        json!({ "alg": "ES256", "kid": foreign.kid(), "jwk": shown, "jku": "https://evil.test/keys" });
    assert_refused(&forge(&brought, &good, with_key(&foreign)), &secrets, project, "a key that it brings");

    let mut changed = good.clone();
    for (name, value) in [("project_id", json!(other)), ("exp", json!(NOW)), ("exp", json!("never"))] {
        changed[name] = value;
        assert_refused(&forge(&es256, &changed, with_key(&key)), &secrets, project, name);
        changed = good.clone();
    }
    changed["role"] = json!("project_admin");
    let parts: Vec<&str> = ours.split('.').collect();
    let body = BASE64_URL_SAFE_NO_PAD.encode(changed.to_string());
    assert_refused(&format!("{}.{body}.{}", parts[0], parts[2]), &secrets, project, "changed claims");
}

// H01. Goal: what everybody may see signs nothing. Method: the public key as an HMAC secret, in each of its forms.
#[test]
fn a_public_key_is_no_secret() {
    let project = ProjectId::new(&OsEntropy);
    let secrets = [secret(2, 7)];
    let key = UserKey::of(project, &secrets[0]).unwrap();
    let token = sign(subject(project), &secrets[0], NOW).unwrap();
    let good = claims(&token, &secrets, project, NOW).unwrap();
    let shown = serde_json::to_value(key.public()).unwrap();
    let half = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(shown[name].as_str().unwrap()).unwrap();
    let point = [vec![4], half("x"), half("y")].concat();
    // What comes before a point of P-256 in a SubjectPublicKeyInfo.
    let before = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    let der = [before, point.clone()].concat();
    let base64 = base64::prelude::BASE64_STANDARD.encode(&der);
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----", &base64[..64], &base64[64..]);
    let forms = [
        point,
        der,
        pem.clone().into_bytes(),
        format!("{pem}\n").into_bytes(),
        shown.to_string().into_bytes(),
    ];
    let mut public = forms.to_vec();
    public.extend([key.kid().unwrap().as_bytes().to_vec(), Vec::new()]);
    for secret in public {
        for kid in [json!("2"), json!(key.kid()), Value::Null] {
            let mut header = json!({ "alg": "HS256", "kid": kid });
            if kid.is_null() {
                header = json!({ "alg": "HS256" });
            }
            let forged = forge(&header, &good, with_hmac(&secret, Algorithm::HS256));
            assert_refused(&forged, &secrets, project, "the public key as a secret");
        }
    }
}
