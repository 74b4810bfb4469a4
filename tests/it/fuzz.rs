//! J03: whatever is sent, the server answers with a success or with the envelope, and never with its own failure.

use catalogue::{Kind, OPERATIONS, Operation, Place};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tests::{Lab, Wallet};

use crate::ai::lab_with_provider;
use crate::service::assert_envelope;

/// Fixed, so that a failure is found again. Another number is another hunt.
const SEED: u64 = 402;
const ROUNDS: usize = 20;

/// Words that break something somewhere.
const TEXTS: [&str; 30] = [
    "",
    " ",
    "\u{0}",
    "a\u{0}b",
    "\n",
    "\r\nX: y",
    "'",
    "\"",
    "'; drop table projects; --",
    "%",
    "%00",
    "../..",
    "\\",
    "null",
    "-1",
    "99999999999999999999",
    "1e999",
    "NaN",
    "0x0",
    "{}",
    "[]",
    "<script>",
    "${x}",
    "{{x}}",
    "\u{202e}",
    "\u{fffd}",
    "😀",
    "e\u{301}",
    "prj_00000000000000000000000000000000",
    "0x000000000000000000000000000000000000dEaD",
];

struct Fuzzer {
    rng: StdRng,
    /// Things that exist, so that some requests get further than the first check.
    known: Vec<String>,
}

impl Fuzzer {
    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.rng.random_range(0..all.len())]
    }

    fn text(&mut self) -> String {
        match self.rng.random_range(0..12) {
            0..=3 => {
                let known = self.known.clone();
                self.pick(&known).clone()
            }
            4 => "x".repeat(self.rng.random_range(1..5_000)),
            5 => (0..self.rng.random_range(1..20)).map(|_| self.rng.random::<char>()).collect(),
            _ => (*self.pick(&TEXTS)).to_owned(),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.rng.random_range(0..if depth < 3 { 12 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.rng.random::<bool>()),
            2 => json!(self.rng.random::<i64>()),
            3 => json!(u64::MAX),
            4 => json!(self.rng.random::<f64>() * 1e300),
            5 => json!(self.rng.random_range(-2..3)),
            6..=8 => json!(self.text()),
            9 => (0..self.rng.random_range(0..4)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let fields = (0..self.rng.random_range(0..4)).map(|_| (self.text(), self.value(depth + 1)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// Mostly of the right kind.
    fn field(&mut self, kind: Kind) -> Value {
        if self.rng.random_range(0..3) == 0 {
            return self.value(0);
        }
        match kind {
            Kind::Text | Kind::Segments | Kind::Time => json!(self.text()),
            Kind::Integer => json!(self.rng.random_range(-3..1_000_i64)),
            Kind::Boolean => json!(self.rng.random::<bool>()),
            Kind::OneOf(words) => json!(self.pick(words)),
            Kind::List => (0..self.rng.random_range(0..3)).map(|_| self.object()).collect(),
            Kind::Object => self.object(),
        }
    }

    /// With the names that bodies really have.
    fn object(&mut self) -> Value {
        const NAMES: [&str; 18] = [
            "project",
            "site",
            "replace",
            "patch",
            "put",
            "delete",
            "base",
            "release",
            "release_id",
            "sha256",
            "size",
            "content_type",
            "contentType",
            "subdomains",
            "set",
            "add",
            "index.html",
            "spec",
        ];
        let count = self.rng.random_range(0..5);
        let fields = (0..count).map(|_| ((*self.pick(&NAMES)).to_owned(), self.value(0)));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    fn body(&mut self, operation: &Operation) -> Vec<u8> {
        let mut fields = Map::new();
        for param in operation.params_in(Place::Body) {
            if self.rng.random_range(0..8) > 0 {
                fields.insert(param.name.to_owned(), self.field(param.kind));
            }
        }
        let mut bytes = Value::Object(fields).to_string().into_bytes();
        match self.rng.random_range(0..10) {
            0 => bytes.truncate(self.rng.random_range(0..=bytes.len())),
            1 => {
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] = self.rng.random();
            }
            2 => bytes = "[".repeat(50_000).into_bytes(),
            3 => bytes = self.value(0).to_string().into_bytes(),
            4 => {
                bytes =
                    br#"{"a":"\ud800","project":"\u0000","name":"\u0000","sql":"select '\u0000'"}"#.to_vec()
            }
            5 => bytes = (0..64).map(|_| self.rng.random()).collect(),
            _ => {}
        }
        bytes
    }

    fn target(&mut self, operation: &Operation) -> String {
        let mut target = operation.path.to_owned();
        for param in operation.params_in(Place::Path) {
            let value = escape(&self.text());
            target = target.replace(&format!("{{{}}}", param.name), &value);
        }
        let mut mark = '?';
        for param in operation.params_in(Place::Query) {
            if self.rng.random_range(0..3) > 0 {
                target += &format!("{mark}{}={}", param.name, escape(&self.text()));
                mark = '&';
            }
        }
        if self.rng.random_range(0..8) == 0 {
            target += &format!("{mark}%zz=%ff&&=&a[]=1;{}", escape(&self.text()));
        }
        target
    }

    /// A header of ours, or an ordinary one, with a value that HTTP can carry.
    fn header(&mut self) -> (HeaderName, HeaderValue) {
        const NAMES: [&str; 16] = [
            "idempotency-key",
            "payment-signature",
            "x-payment",
            "sign-in-with-x",
            "authorization",
            "apikey",
            "x-admin-mode",
            "content-type",
            "accept",
            "prefer",
            "range",
            "if-none-match",
            "origin",
            "x-forwarded-for",
            "run402-client",
            "expect-x",
        ];
        let name: &'static str = self.pick::<&'static str>(&NAMES);
        let name = HeaderName::from_static(name);
        let bytes = match self.rng.random_range(0..3) {
            0 => self.text().into_bytes(),
            1 => base64(&self.value(0).to_string()).into_bytes(),
            _ => (0..20).map(|_| self.rng.random_range(0x20..=0xff)).collect(),
        };
        (name, HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static("x")))
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}

/// So that any text may stand in a URL.
fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~:@!$'()*,;".contains(&b);
    let one = |b: u8| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

/// Who a request comes from.
struct Sender {
    wallet: Wallet,
    project: Value,
}

impl Sender {
    fn credentials(&self, lab: &Lab, n: usize, target: &str) -> Vec<(&'static str, String)> {
        let key = |name: &str| self.project[name].as_str().unwrap().to_owned();
        match n % 5 {
            0 => Vec::new(),
            1 => vec![("authorization", format!("Bearer {}", key("service_key")))],
            2 => vec![("apikey", key("anon_key"))],
            3 => vec![("sign-in-with-x", self.wallet.siwx(&lab.api, target))],
            _ => vec![("authorization", "Bearer a.b.c".into()), ("x-admin-mode", "1".into())],
        }
    }
}

// J03. Goal: no request makes the server fail. Method: every operation of the catalogue with every kind of credential
// and inputs that are nearly right; then the books, because one of them might have moved money.
#[tokio::test]
async fn no_input_makes_the_server_fail() {
    let (lab, _provider) = lab_with_provider(&[]).await;
    let (wallet, project) = lab.project().await;
    let known = vec![
        project["project_id"].as_str().unwrap().to_owned(),
        wallet.address(),
        "prototype".to_owned(),
        "my-name".to_owned(),
        "a".repeat(64),
    ];
    let sender = Sender { wallet, project };
    let mut fuzzer = Fuzzer { rng: StdRng::seed_from_u64(SEED), known };
    for operation in OPERATIONS {
        for n in 0..ROUNDS {
            let target = fuzzer.target(operation);
            let erases = operation.id == "projects.delete";
            let url = reqwest::Url::parse(&lab.url(&target)).unwrap();
            let mut request = lab.http.request(operation.method.as_str().parse().unwrap(), url);
            if fuzzer.rng.random_range(0..3) > 0 {
                for (name, value) in sender.credentials(&lab, if erases { 2 } else { n }, &target) {
                    request = request.header(name, value);
                }
            }
            for _ in 0..fuzzer.rng.random_range(0..3) {
                let (name, value) = fuzzer.header();
                request = request.header(name, value);
            }
            let body = fuzzer.body(operation);
            let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            if operation.method != catalogue::Method::Get || n % 7 == 0 {
                request = request.header("content-type", "application/json").body(body);
            }
            let answer = lab.send(request).await;
            // This lab has no Google client, and says so.
            let is_absent = answer.body["code"] == "OAUTH_NOT_CONFIGURED";
            assert!(answer.status < 500 || is_absent, "{} {target} {shown}: {answer:?}", operation.id);
            if answer.status >= 400 {
                assert!(answer.body.is_object(), "{} {target} {shown}: {answer:?}", operation.id);
                let is_rest =
                    operation.path.starts_with("/rest/v1") || operation.path.starts_with("/admin/v1/rest");
                if is_rest && is_postgrest(&answer.body) {
                    continue;
                }
                assert_envelope(&answer.body);
                no_inside_shows(&answer.body);
            }
        }
    }
    assert_eq!(lab.get("/health").await.status, 200);
    lab.assert_books_agree();
}

/// What a project's own database says passes as PostgREST words it (contract 01 section 8.3).
fn is_postgrest(body: &Value) -> bool {
    let keys: Vec<&str> = body.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys == ["code", "details", "hint", "message"] && body["code"].is_string() && body["message"].is_string()
}

/// No word of SQL, of files or of code in what strangers read.
fn no_inside_shows(body: &Value) {
    let mut shown = body.clone();
    if shown["code"] == "SQL_ERROR" {
        return; // The tenant's own database speaks here.
    }
    shown["trace_id"] = Value::Null;
    let text = shown.to_string();
    for word in ["sqlx", "/home/", ".rs:", "panicked", "stack backtrace", "pg_catalog", "constraint \\\""] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}
