//! An OpenID provider for tests: genuine RS256 signatures, a browser's redirect, and a fault at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use types::{Clock, SystemClock};

use crate::stub::{Request, answer, read};

pub const CLIENT_ID: &str = "lab-client";
pub const CLIENT_SECRET: &str = "lab-secret";

/// What goes wrong with the tokens from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    WrongNonce,
    WrongAudience,
    WrongIssuer,
    Expired,
    UnknownKey,
    /// Signed by a key that was never published, under the name of one that is.
    ForgedKey,
    /// HS256 under the published key, as a library that believes the header would check it.
    Confused,
    Unsigned,
    Unverified,
    /// The token endpoint fails.
    Down,
    /// The token endpoint refuses the code.
    Refuses,
}

/// Whom the browser is signed in as at the provider.
#[derive(Debug, Clone)]
pub struct Person {
    pub sub: String,
    pub email: String,
    /// The domain that the provider runs the account for.
    pub hosted: Option<String>,
}

impl Person {
    /// Of an address that the provider runs.
    pub fn hosted(sub: &str, email: &str) -> Self {
        let domain = email.split_once('@').unwrap().1.to_owned();
        Self { sub: sub.to_owned(), email: email.to_owned(), hosted: Some(domain) }
    }

    /// Of an address that the provider only saw once.
    pub fn vouched(sub: &str, email: &str) -> Self {
        Self { hosted: None, ..Self::hosted(sub, email) }
    }
}

struct Grant {
    person: Person,
    query: HashMap<String, String>,
}

struct State {
    issuer: String,
    /// Key ids and keys; the last one signs.
    keys: Mutex<Vec<(String, KeyPair)>>,
    stranger: KeyPair,
    fault: Mutex<Option<Fault>>,
    person: Mutex<Person>,
    grants: Mutex<HashMap<String, Grant>>,
    calls: Mutex<Vec<String>>,
    /// The claims of the workflow whose runner asks.
    workflow: Mutex<Option<Value>>,
}

/// A running provider. Ends with the test's runtime.
pub struct OpenId {
    pub issuer: String,
    state: Arc<State>,
}

impl OpenId {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            issuer: issuer.clone(),
            keys: Mutex::new(vec![("key-1".to_owned(), key())]),
            stranger: key(),
            fault: Mutex::default(),
            person: Mutex::new(Person::hosted("1", "ada@b.test")),
            grants: Mutex::default(),
            calls: Mutex::default(),
            workflow: Mutex::default(),
        });
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = serving.clone();
                tokio::spawn(async move { state.serve(socket).await });
            }
        });
        Self { issuer, state }
    }

    /// What `up` is told.
    pub fn args(&self) -> Vec<String> {
        let words = ["--google-issuer", &self.issuer, "--google-client-id", CLIENT_ID];
        let secret = ["--google-client-secret", CLIENT_SECRET];
        words.into_iter().chain(secret).map(str::to_owned).collect()
    }

    pub fn sign_in(&self, person: Person) {
        *self.state.person.lock().unwrap() = person;
    }

    pub fn fault(&self, fault: Option<Fault>) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// From now on another key signs; the old one stays published.
    pub fn rotate(&self) {
        let mut keys = self.state.keys.lock().unwrap();
        let name = format!("key-{}", keys.len() + 1);
        keys.push((name, key()));
    }

    /// A token of any claims, signed as the fault of the moment has it.
    pub fn mint(&self, claims: &Value) -> String {
        self.state.sealed(claims, *self.state.fault.lock().unwrap())
    }

    /// From now on it is an issuer of workflows' tokens: it signs nobody in, and a runner asks it for
    /// `GET /identity?audience=` with what `claims` makes.
    pub fn serve_workflows(&self, claims: Value) {
        *self.state.workflow.lock().unwrap() = Some(claims);
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> usize {
        self.state.calls.lock().unwrap().iter().filter(|one| *one == path).count()
    }

    /// A code for whoever is signed in, as the provider would hand it to this browser.
    pub fn code(&self, authorization_url: &str) -> String {
        let url = reqwest::Url::parse(authorization_url).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        self.state.grant(query)
    }
}

fn key() -> KeyPair {
    KeyPair::generate(KeySize::Rsa2048).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn jwk(name: &str, key: &KeyPair) -> Value {
    let public = key.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "n": encode(n), "e": encode(e) })
}

fn signed(key: &KeyPair, header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", encode(signature))
}

impl State {
    async fn serve(&self, mut socket: TcpStream) {
        let Some(Request { target, body, .. }) = read(&mut socket).await else { return };
        let url = reqwest::Url::parse(&format!("{}{target}", self.issuer)).unwrap();
        self.calls.lock().unwrap().push(url.path().to_owned());
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let (status, location, body) = match url.path() {
            "/.well-known/openid-configuration" => (200, None, self.configuration()),
            "/keys" => {
                let keys: Vec<Value> =
                    self.keys.lock().unwrap().iter().map(|(name, key)| jwk(name, key)).collect();
                // And one of a kind that nobody knows.
                let odd = json!({ "kty": "NEW", "kid": "odd", "alg": "NEW1" });
                (200, None, json!({ "keys": std::iter::once(odd).chain(keys).collect::<Vec<_>>() }))
            }
            "/authorize" => {
                let mut back = reqwest::Url::parse(&query["redirect_uri"]).unwrap();
                let state = query["state"].clone();
                back.query_pairs_mut().append_pair("code", &self.grant(query)).append_pair("state", &state);
                (302, Some(back.to_string()), Value::Null)
            }
            "/token" => self.token(&body),
            "/identity" => {
                let mut claims = self.workflow.lock().unwrap().clone().unwrap();
                claims["aud"] = json!(query["audience"]);
                claims["jti"] = json!(encode(rand::random::<[u8; 16]>()));
                (200, None, json!({ "value": self.sealed(&claims, None) }))
            }
            _ => (404, None, Value::Null),
        };
        answer(&mut socket, status, location.as_deref(), &body.to_string()).await;
    }

    fn configuration(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        if self.workflow.lock().unwrap().is_some() {
            return json!({ "issuer": self.issuer, "jwks_uri": at("/keys"), "scopes_supported": ["openid"] });
        }
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn grant(&self, query: HashMap<String, String>) -> String {
        assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", CLIENT_ID));
        assert!(query["scope"].split(' ').any(|word| word == "openid"), "{query:?}");
        let code = format!("4/{}", encode(rand::random::<[u8; 16]>()));
        let grant = Grant { person: self.person.lock().unwrap().clone(), query };
        self.grants.lock().unwrap().insert(code.clone(), grant);
        code
    }

    /// As a provider does: the client's secret, the same redirect URI, the verifier of the challenge, once.
    fn token(&self, body: &str) -> (u16, Option<String>, Value) {
        let fault = *self.fault.lock().unwrap();
        if fault == Some(Fault::Down) {
            return (503, None, json!({ "error": "temporarily_unavailable" }));
        }
        let url = reqwest::Url::parse(&format!("http://x/?{body}")).unwrap();
        let form: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let grant = self.grants.lock().unwrap().remove(&form["code"]);
        let good = grant.filter(|grant| {
            let challenge = encode(Sha256::digest(&form["code_verifier"]));
            form["grant_type"] == "authorization_code"
                && form["client_id"] == CLIENT_ID
                && form["client_secret"] == CLIENT_SECRET
                && form["redirect_uri"] == grant.query["redirect_uri"]
                && grant.query["code_challenge_method"] == "S256"
                && challenge == grant.query["code_challenge"]
        });
        match good {
            Some(grant) if fault != Some(Fault::Refuses) => {
                let id_token = self.id_token(&grant, fault);
                (200, None, json!({ "id_token": id_token, "access_token": "ya29", "token_type": "Bearer" }))
            }
            _ => (400, None, json!({ "error": "invalid_grant" })),
        }
    }

    fn id_token(&self, grant: &Grant, fault: Option<Fault>) -> String {
        let now = SystemClock.now().timestamp();
        let is = |one| fault == Some(one);
        let mut claims = json!({
            "iss": if is(Fault::WrongIssuer) { "https://evil.test" } else { &self.issuer },
            "aud": if is(Fault::WrongAudience) { "another-client" } else { CLIENT_ID },
            "azp": CLIENT_ID,
            "exp": if is(Fault::Expired) { now - 600 } else { now + 3_600 },
            "iat": now - 1,
            "nonce": if is(Fault::WrongNonce) { "another" } else { &grant.query["nonce"] },
            "sub": grant.person.sub,
            "email": grant.person.email,
            "email_verified": !is(Fault::Unverified),
            "name": "Ada Lovelace",
            "picture": "https://pictures.test/ada.png",
        });
        if let Some(hosted) = &grant.person.hosted {
            claims["hd"] = json!(hosted);
        }
        self.sealed(&claims, fault)
    }

    fn sealed(&self, claims: &Value, fault: Option<Fault>) -> String {
        let keys = self.keys.lock().unwrap();
        let (name, key) = keys.last().unwrap();
        let header = |alg: &str, kid: &str| json!({ "alg": alg, "typ": "JWT", "kid": kid });
        match fault {
            Some(Fault::UnknownKey) => signed(&self.stranger, &header("RS256", "key-0"), claims),
            Some(Fault::ForgedKey) => signed(&self.stranger, &header("RS256", name), claims),
            Some(Fault::Unsigned) => {
                format!("{}.{}.", encode(header("none", name).to_string()), encode(claims.to_string()))
            }
            Some(Fault::Confused) => {
                let text =
                    format!("{}.{}", encode(header("HS256", name).to_string()), encode(claims.to_string()));
                let secret = jwk(name, key)["n"].as_str().unwrap().to_owned();
                let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
                format!("{text}.{}", encode(aws_lc_rs::hmac::sign(&secret, text.as_bytes())))
            }
            _ => signed(key, &header("RS256", name), claims),
        }
    }
}
