//! G08, G09, H01: keys of projects, and what a tenant's SQL costs the server.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Answer, Lab};

use crate::service::assert_envelope;

fn text<'a>(project: &'a Value, name: &str) -> &'a str {
    project[name].as_str().unwrap()
}

fn admin(project: &Value, what: &str) -> String {
    format!("/projects/v1/admin/{}/{what}", text(project, "project_id"))
}

async fn sql(lab: &Lab, project: &Value, text_sent: &str) -> Answer {
    let path = admin(project, "sql");
    lab.with_key(text(project, "service_key"), "POST", &path, Some(json!({ "sql": text_sent }))).await
}

/// HMAC-SHA256, written here once more.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let pad = |byte: u8| block.map(|b| b ^ byte).to_vec();
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these parts, signed by a secret that an attacker may know.
fn token(header: &Value, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims));
    let signature = encode(hmac(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Everything that a key might be mistaken for.
fn forgeries(a: &Value, b: &Value) -> Vec<String> {
    let parts: Vec<&str> = text(a, "service_key").split('.').collect();
    let others: Vec<&str> = text(b, "service_key").split('.').collect();
    let anon: Vec<&str> = text(a, "anon_key").split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let claims = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "1" });
    let id = text(a, "project_id");
    let mut all = vec![
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{head}.{body}.{signature}x"),
        format!("{head}.{body}.{}", others[2]),
        format!("{head}.{}.{signature}", others[1]),
        format!("{head}.{}.{}", anon[1], signature),
        format!("{head}.{body}.{}", anon[2]),
        format!("{head}.{body}.{signature}.{signature}"),
        format!("{head}.{body}.{}", signature.to_uppercase()),
        format!("{}.{body}.{signature}", encode("x".repeat(20_000))),
        token(&header, &format!("{{\"pad\":\"{}\",{}", "x".repeat(60_000), &claims[1..]), b""),
    ];
    for alg in ["none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", ""] {
        let changed = encode(json!({ "alg": alg, "typ": "JWT", "kid": "1" }).to_string());
        all.push(format!("{changed}.{body}."));
        all.push(format!("{changed}.{body}.{signature}"));
    }
    for kid in [
        json!("../../../../dev/null"),
        json!("/dev/null"),
        json!("1' or '1'='1"),
        json!("http://evil.example/jwks"),
        json!("1\u{0}"),
        json!("-1"),
        json!("99999999999"),
        json!(1),
        json!(null),
        json!(["1"]),
        json!("2"),
    ] {
        for extra in ["jku", "x5u"] {
            let mut header = header.clone();
            header["kid"] = kid.clone();
            header[extra] = json!("http://evil.example/keys");
            all.push(token(&header, &claims, b""));
        }
    }
    for secret in ["", "secret", "run402", "1", id, text(a, "anon_key"), text(b, "service_key"), "\0"] {
        all.push(token(&header, &claims, secret.as_bytes()));
    }
    let other = text(b, "project_id");
    for twice in [
        format!("{{\"project_id\":\"{other}\",{}", &claims[1..]),
        claims.replacen("\"role\"", "\"role\":\"anon\",\"role\"", 1),
        claims.replace("agentdb", "evil"),
        "{}".into(),
        "[]".into(),
        "null".into(),
        format!("{{\"project_id\":[\"{id}\"]}}"),
    ] {
        all.push(format!("{head}.{}.{signature}", encode(&twice)));
        all.push(token(&header, &twice, b"secret"));
    }
    all
}

// G08, H01. Goal: a key opens its own project at its own level and nothing else. Method: right keys in wrong places,
// then everything that looks like a key.
#[tokio::test]
async fn keys_open_their_own_project_and_nothing_else() {
    let lab = Lab::start().await;
    let (wallet, a) = lab.project().await;
    let b = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "b" }))).await.body;
    assert_eq!(sql(&lab, &b, "create table secrets (s text)").await.status, 200);
    let routes = |project: &Value| {
        [
            ("GET", admin(project, "usage"), None),
            ("GET", admin(project, "schema"), None),
            ("POST", admin(project, "sql"), Some(json!({ "sql": "select 1 as n" }))),
            ("DELETE", format!("/projects/v1/{}", text(project, "project_id")), None),
        ]
    };
    for (method, path, body) in routes(&b) {
        for (key, name) in [("service_key", "another's service key"), ("anon_key", "another's anon key")] {
            let answer = lab.with_key(text(&a, key), method, &path, body.clone()).await;
            assert_eq!(answer.status, 403, "{name} on {path}: {answer:?}");
            assert_envelope(&answer.body);
        }
        let answer = lab.with_key(text(&b, "anon_key"), method, &path, body.clone()).await;
        assert_eq!(answer.status, 403, "anon on {path}: {answer:?}");
        let answer = lab.as_wallet(&wallet, method, &path, body).await;
        assert!(matches!(answer.status, 401..=403), "a wallet on {path}: {answer:?}");
    }
    let (path, body) = (admin(&a, "sql"), Some(json!({ "sql": "select 1 as n" })));
    let mut tried = 0;
    for forged in forgeries(&a, &b) {
        if forged.bytes().any(|byte| byte < b' ') {
            continue;
        }
        let answer = lab.with_key(&forged, "POST", &path, body.clone()).await;
        // Beyond what a header may hold, HTTP itself refuses.
        assert!(matches!(answer.status, 401 | 431), "{forged:.120}: {answer:?}");
        tried += 1;
    }
    assert!(tried > 60, "{tried}");
    // A bearer decides alone: a good key in the other header does not rescue a bad one.
    let both = lab.http.post(lab.url(&path)).bearer_auth("bad").header("apikey", text(&a, "service_key"));
    assert_eq!(lab.send(both.json(&json!({ "sql": "select 1" }))).await.status, 401);
    let twice = lab.http.post(lab.url(&path)).bearer_auth(text(&a, "service_key")).bearer_auth("bad");
    assert_eq!(lab.send(twice.json(&json!({ "sql": "select 1" }))).await.status, 400);
    assert_eq!(lab.with_key(text(&a, "service_key"), "POST", &path, body.clone()).await.status, 200);

    // Keys of an erased project are dead everywhere, also for the project that comes after it.
    let erased = lab.with_key(text(&a, "service_key"), "DELETE", &routes(&a)[3].1, None).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    let next = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "a" }))).await.body;
    assert_ne!(next["project_id"], a["project_id"]);
    for project in [&a, &b, &next] {
        for (method, path, body) in routes(project) {
            for key in ["service_key", "anon_key"] {
                let answer = lab.with_key(text(&a, key), method, &path, body.clone()).await;
                assert_eq!(answer.status, 401, "{path}: {answer:?}");
            }
        }
    }
    let content = json!({ "content": [] });
    let answer = lab.send(
        lab.http.post(lab.url("/content/v1/plans")).header("apikey", text(&a, "anon_key")).json(&content),
    );
    assert_eq!(answer.await.status, 401);
    assert_eq!(
        sql(&lab, &b, "select count(*)::int as n from secrets").await.body["rows"],
        json!([{ "n": 0 }])
    );
}

// G09, G14. Goal: a tenant cannot fill the server's memory, nor keep its neighbour waiting. Method: values of a
// hundred megabytes and of a gigabyte, several at a time, while the neighbour asks.
#[tokio::test]
async fn huge_answers_cost_the_server_nothing() {
    let lab = Lab::start().await;
    let (wallet, a) = lab.project().await;
    let b = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "b" }))).await.body;
    assert_eq!(sql(&lab, &a, "select 1").await.status, 200);
    let before = memory_mib(&lab);
    let attack = async {
        for text in [
            "select repeat('x', 900000000)",
            "select repeat('x', 100000000)",
            "select repeat('x', 9000000) from generate_series(1, 100000)",
            "do $$ begin raise exception '%', repeat('x', 60000000); end $$",
        ] {
            let answers = futures::future::join_all((0..3).map(|_| sql(&lab, &a, text))).await;
            for answer in answers {
                assert!((400..500).contains(&answer.status), "{text}: {answer:?}");
                assert_envelope(&answer.body);
            }
        }
    };
    let neighbour = async {
        loop {
            let asked = std::time::Instant::now();
            assert_eq!(sql(&lab, &b, "select 1 as n").await.status, 200);
            assert!(asked.elapsed().as_secs() < 8, "the neighbour waited {:?}", asked.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = attack => {}
        () = neighbour => {}
    }
    // What a tenant says besides its answer is dropped on the way.
    let noise =
        "do $$ begin for i in 1..300 loop raise info 'FORGED %', repeat('x', 1000000); end loop; end $$";
    assert_eq!(sql(&lab, &a, noise).await.status, 200);
    assert!(!lab.server.log.lock().unwrap().contains("FORGED"));
    let after = memory_mib(&lab);
    assert!(after < before + 150, "{before} MiB became {after} MiB");
}

/// The most memory that the server had so far.
fn memory_mib(lab: &Lab) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
