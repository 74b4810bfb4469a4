//! What the authority answers: its protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{Datelike, TimeDelta};
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::CertificateSigningRequestDer;
use types::{Clock, SystemClock};

use super::{Book, Order, Temper};

const LIFETIME_DAYS: i64 = 90;

pub(super) struct Served {
    base: String,
    book: Arc<Mutex<Book>>,
    issuer: Issuer<'static, KeyPair>,
    intermediate_pem: String,
}

struct Reply {
    status: u16,
    location: Option<String>,
    body: Value,
    /// In place of JSON.
    pem: Option<String>,
}

impl Reply {
    fn json(status: u16, body: Value) -> Self {
        Self { status, location: None, body, pem: None }
    }

    fn error(status: u16, kind: &str, detail: &str) -> Self {
        Self::json(status, json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }))
    }

    fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}

/// A request whose signature held.
struct Signed {
    /// None for POST-as-GET.
    payload: Option<Value>,
    account: Option<usize>,
    jwk: Value,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(value.as_str()?).ok()
}

/// # Source
/// RFC 7638.
fn thumbprint(jwk: &Value) -> String {
    let canonical =
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(&jwk["x"]), text(&jwk["y"]));
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

impl Served {
    pub(super) fn new(
        base: String,
        book: Arc<Mutex<Book>>,
        issuer: Issuer<'static, KeyPair>,
        intermediate_pem: String,
    ) -> Self {
        Self { base, book, issuer, intermediate_pem }
    }

    pub(super) async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((method, path, body)) = read(&mut stream).await else { return };
        let reply = self.answer(&method, &path, &body).await;
        let nonce = hex::encode(rand::random::<[u8; 16]>());
        self.book.lock().unwrap().nonces.insert(nonce.clone());
        let (kind, text) = match reply.pem {
            Some(pem) => ("application/pem-certificate-chain", pem),
            None if reply.status >= 400 => ("application/problem+json", reply.body.to_string()),
            None => ("application/json", reply.body.to_string()),
        };
        let location = reply.location.map(|at| format!("location: {at}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} As-Told\r\ncontent-type: {kind}\r\nreplay-nonce: {nonce}\r\n{location}content-length: {}\r\n\
             connection: close\r\n\r\n",
            reply.status,
            text.len()
        );
        let body = if method == "HEAD" { "" } else { &text };
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    async fn answer(&self, method: &str, path: &str, body: &str) -> Reply {
        let at = |path: &str| format!("{}{path}", self.base);
        match (method, path) {
            ("GET", "/directory") => Reply::json(
                200,
                json!({ "newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"),
                    "revokeCert": at("/revoke"), "keyChange": at("/key") }),
            ),
            ("HEAD" | "GET", "/nonce") => Reply::json(200, json!({})),
            ("POST", _) => match self.verified(&at(path), body) {
                Ok(signed) => self.post(path, signed).await,
                Err(refused) => refused,
            },
            _ => Reply::error(404, "malformed", "no such resource"),
        }
    }

    /// # Source
    /// RFC 8555 section 6.
    fn verified(&self, url: &str, body: &str) -> Result<Signed, Reply> {
        let bad = |why: &str| Reply::error(400, "malformed", why);
        let jws: Value = serde_json::from_str(body).map_err(|_| bad("no JWS"))?;
        let header = decode(&jws["protected"]).ok_or_else(|| bad("protected"))?;
        let header: Value = serde_json::from_slice(&header).map_err(|_| bad("protected"))?;
        if header["url"] != url || header["alg"] != "ES256" {
            return Err(Reply::error(401, "unauthorized", "signed for another URL, or by another algorithm"));
        }
        let mut book = self.book.lock().unwrap();
        if !book.nonces.remove(text(&header["nonce"])) {
            return Err(Reply::error(400, "badNonce", "this nonce is not ours, or was used"));
        }
        let account = text(&header["kid"]).rsplit('/').next().and_then(|n| n.parse::<usize>().ok());
        let jwk = match (header["jwk"].is_object(), account) {
            (true, None) => header["jwk"].clone(),
            (false, Some(n)) => book
                .accounts
                .get(n)
                .cloned()
                .ok_or_else(|| Reply::error(400, "accountDoesNotExist", "no such account"))?,
            _ => return Err(bad("exactly one of jwk and kid")),
        };
        let point = decode(&jwk["x"]).zip(decode(&jwk["y"])).map(|(x, y)| [&[4], x.as_slice(), &y].concat());
        let point = point.ok_or_else(|| bad("jwk"))?;
        let signature = decode(&jws["signature"]).ok_or_else(|| bad("signature"))?;
        let signed = format!("{}.{}", text(&jws["protected"]), text(&jws["payload"]));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Reply::error(401, "unauthorized", "the signature does not hold"))?;
        let payload = decode(&jws["payload"]).ok_or_else(|| bad("payload"))?;
        let payload = if payload.is_empty() { None } else { serde_json::from_slice(&payload).ok() };
        Ok(Signed { payload, account, jwk })
    }

    async fn post(&self, path: &str, signed: Signed) -> Reply {
        let mut parts = path.trim_start_matches('/').split('/');
        let (kind, number) =
            (parts.next().unwrap_or_default(), parts.next().and_then(|n| n.parse::<usize>().ok()));
        match (kind, number) {
            ("account", None) => self.new_account(&signed),
            ("order", None) => {
                self.stall().await;
                self.new_order(&signed)
            }
            ("order" | "authz" | "challenge" | "finalize" | "cert", Some(number)) => {
                let owner = self.book.lock().unwrap().orders.get(number).map(|order| order.account);
                if owner.is_none() || owner != signed.account {
                    return Reply::error(403, "unauthorized", "not your order");
                }
                match kind {
                    "order" => self.show_order(number),
                    "authz" => self.show_authorization(number),
                    "challenge" => self.challenged(number, &signed).await,
                    "finalize" => self.finalize(number, &signed),
                    _ => self.certificate(number),
                }
            }
            _ => Reply::error(404, "malformed", "no such resource"),
        }
    }

    async fn stall(&self) {
        let stalls = || self.book.lock().unwrap().temper == Temper::Stalling;
        if stalls() {
            self.book.lock().unwrap().stalled += 1;
        }
        while stalls() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn new_account(&self, signed: &Signed) -> Reply {
        let mut book = self.book.lock().unwrap();
        let known = book.accounts.iter().position(|jwk| *jwk == signed.jwk);
        let number = known.unwrap_or_else(|| {
            book.accounts.push(signed.jwk.clone());
            book.accounts.len() - 1
        });
        let status = if known.is_some() { 200 } else { 201 };
        Reply::json(status, json!({ "status": "valid" })).at(format!("{}/account/{number}", self.base))
    }

    fn new_order(&self, signed: &Signed) -> Reply {
        let Some(account) = signed.account else { return Reply::error(401, "unauthorized", "no account") };
        let payload = signed.payload.clone().unwrap_or_default();
        let identifiers = payload["identifiers"].as_array().cloned().unwrap_or_default();
        let [one] = identifiers.as_slice() else {
            return Reply::error(400, "rejectedIdentifier", "one name per order");
        };
        let mut book = self.book.lock().unwrap();
        if book.temper == Temper::Limiting {
            return Reply::error(429, "rateLimited", "too many certificates already issued");
        }
        book.orders.push(Order {
            host: text(&one["value"]).to_owned(),
            account,
            token: BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
            status: "pending",
            challenge: "pending",
            error: None,
            certificate: None,
        });
        let number = book.orders.len() - 1;
        drop(book);
        let reply = self.show_order(number);
        Reply { status: 201, ..reply }.at(format!("{}/order/{number}", self.base))
    }

    fn show_order(&self, number: usize) -> Reply {
        let book = self.book.lock().unwrap();
        let order = &book.orders[number];
        let mut shown = json!({
            "status": order.status,
            "identifiers": [{ "type": "dns", "value": order.host }],
            "authorizations": [format!("{}/authz/{number}", self.base)],
            "finalize": format!("{}/finalize/{number}", self.base),
        });
        if order.certificate.is_some() {
            shown["certificate"] = json!(format!("{}/cert/{number}", self.base));
        }
        Reply::json(200, shown)
    }

    fn show_authorization(&self, number: usize) -> Reply {
        let book = self.book.lock().unwrap();
        let order = &book.orders[number];
        let status = match order.challenge {
            "valid" => "valid",
            "invalid" => "invalid",
            _ => "pending",
        };
        Reply::json(
            200,
            json!({
                "status": status,
                "identifier": { "type": "dns", "value": order.host },
                "challenges": [challenge_view(&self.base, number, order)],
            }),
        )
    }

    /// # Source
    /// RFC 8555 section 8.3.
    async fn challenged(&self, number: usize, signed: &Signed) -> Reply {
        let (host, token, reach) = {
            let book = self.book.lock().unwrap();
            let order = &book.orders[number];
            (order.host.clone(), order.token.clone(), book.reach.clone())
        };
        let url = format!("http://{reach}/.well-known/acme-challenge/{token}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let found = match client.get(url).header("host", &host).send().await {
            Ok(answer) if answer.status() == 200 => answer.text().await.unwrap_or_default(),
            Ok(answer) => format!("status {}", answer.status()),
            Err(e) => format!("{e}"),
        };
        let holds = found.trim_end() == format!("{token}.{}", thumbprint(&signed.jwk));
        let mut book = self.book.lock().unwrap();
        let order = &mut book.orders[number];
        if holds {
            (order.status, order.challenge) = ("ready", "valid");
        } else {
            (order.status, order.challenge) = ("invalid", "invalid");
            order.error = Some(json!({ "type": "urn:ietf:params:acme:error:unauthorized",
                "detail": format!("{host} answers {found:.100}") }));
        }
        Reply::json(200, challenge_view(&self.base, number, order))
    }

    fn finalize(&self, number: usize, signed: &Signed) -> Reply {
        let bad = |why: &str| Reply::error(400, "badCSR", why);
        let mut book = self.book.lock().unwrap();
        let temper = book.temper;
        let order = &mut book.orders[number];
        if order.status != "ready" {
            return Reply::error(403, "orderNotReady", "the name is not checked");
        }
        let Some(csr) = signed.payload.as_ref().and_then(|payload| decode(&payload["csr"])) else {
            return bad("no CSR");
        };
        let csr = CertificateSigningRequestDer::from(csr);
        // Its own signature is checked while it is read.
        let Ok(mut csr) = CertificateSigningRequestParams::from_der(&csr) else {
            return bad("the CSR does not hold");
        };
        let names: Vec<String> = csr
            .params
            .subject_alt_names
            .iter()
            .map(|name| match name {
                SanType::DnsName(name) => name.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        if names != [order.host.clone()] {
            return bad("the CSR names other hosts than the order");
        }
        let now = SystemClock.now();
        let day = |at: chrono::DateTime<chrono::Utc>| {
            let (month, day) = (u8::try_from(at.month()).unwrap(), u8::try_from(at.day()).unwrap());
            rcgen::date_time_ymd(at.year(), month, day)
        };
        csr.params.not_before = day(now - TimeDelta::days(1));
        csr.params.not_after = day(now + TimeDelta::days(LIFETIME_DAYS));
        let made = match temper {
            Temper::Lying => csr.params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap(),
            _ => csr.signed_by(&self.issuer).unwrap(),
        };
        order.certificate = Some(format!("{}{}", made.pem(), self.intermediate_pem));
        order.status = "valid";
        drop(book);
        self.show_order(number)
    }

    fn certificate(&self, number: usize) -> Reply {
        match &self.book.lock().unwrap().orders[number].certificate {
            Some(pem) => Reply { pem: Some(pem.clone()), ..Reply::json(200, Value::Null) },
            None => Reply::error(404, "malformed", "not yet"),
        }
    }
}

fn challenge_view(base: &str, number: usize, order: &Order) -> Value {
    let mut shown = json!({
        "type": "http-01",
        "url": format!("{base}/challenge/{number}"),
        "status": order.challenge,
        "token": order.token,
    });
    if let Some(error) = &order.error {
        shown["error"] = error.clone();
    }
    shown
}

/// Method, path and body of one request.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let headers: HashMap<String, String> = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length: usize = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            if bytes.len() >= at + 4 + length {
                let mut words = head.split(' ');
                let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
                let body = String::from_utf8_lossy(&bytes[at + 4..at + 4 + length]).into_owned();
                return Some((method, path, body));
            }
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
