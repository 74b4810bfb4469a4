//! What a customer does, by a client that outlives the server: each step is one request, repeated with the
//! same proof and the same key until it is answered for good.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Answer, Wallet, decode_challenge};

pub const TIER_ROUTE: &str = "/tiers/v1/prototype";
/// The price of that tier in micros.
pub const TIER_PRICE: u128 = 100_000;
const REQUEST_SECS_MAX: u64 = 60;

/// A client of a server that may be gone, or come back somewhere else.
#[derive(Clone)]
pub struct Customer {
    http: reqwest::Client,
    base: Arc<RwLock<String>>,
}

/// One page of a site, as an author has it.
#[derive(Debug, Clone)]
pub struct Site {
    pub page: String,
    pub idempotency_key: String,
    /// SQL that runs before the page shows, once.
    pub migration: Option<String>,
}

impl Customer {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(REQUEST_SECS_MAX)).build().unwrap();
        Self { http, base: Arc::new(RwLock::new(base.to_owned())) }
    }

    /// The server is there from now on.
    pub fn moved(&self, base: &str) {
        base.clone_into(&mut self.base.write().unwrap());
    }

    fn base(&self) -> String {
        self.base.read().unwrap().clone()
    }

    /// One try. None when the answer says nothing about the outcome: no connection, a server that cannot now,
    /// a payment that is pending.
    async fn ask(&self, request: RequestBuilder) -> Option<Answer> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.ok()?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let pending = body["code"] == "PAYMENT_PENDING" || body["code"] == "PROJECT_NOT_READY";
        (status < 500 && status != 429 && !pending).then_some(Answer { status, headers, body })
    }

    /// A request that a wallet signs in.
    fn signed(&self, wallet: &Wallet, method: &str, path: &str, body: &Value) -> RequestBuilder {
        let base = self.base();
        let request = self.http.request(method.parse().unwrap(), format!("{base}{path}"));
        request.header("sign-in-with-x", wallet.siwx(&base, path)).json(body)
    }

    fn keyed(&self, apikey: &str, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base())).header("apikey", apikey).json(body)
    }

    /// A payment for the tier, made once and presented as often as it takes.
    pub async fn proof(&self, wallet: &Wallet) -> Option<Value> {
        let answer = self.ask(self.signed(wallet, "POST", TIER_ROUTE, &json!({}))).await?;
        assert_eq!(answer.status, 402, "{answer:?}");
        let challenge = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
        let offer = challenge["accepts"][0].clone();
        Some(wallet.payment(&challenge, &offer, &wallet.authorize(&offer)))
    }

    pub async fn purchase(&self, wallet: &Wallet, proof: &Value, key: &str) -> Option<Value> {
        let request = self.signed(wallet, "POST", TIER_ROUTE, &json!({}));
        let request = request.header("payment-signature", STANDARD.encode(proof.to_string()));
        let answer = self.ask(request.header("idempotency-key", key)).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(answer.body)
    }

    /// Starts a card payment. The same key is the same checkout.
    pub async fn checkout(&self, path: &str, body: &Value, key: &str) -> Option<Value> {
        let request = self.http.post(format!("{}{path}", self.base())).json(body);
        let answer = self.ask(request.header("idempotency-key", key)).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(answer.body)
    }

    pub async fn provision(&self, wallet: &Wallet, name: &str, key: &str) -> Option<Value> {
        let request = self.signed(wallet, "POST", "/projects/v1", &json!({ "name": name }));
        let answer = self.ask(request.header("idempotency-key", key)).await?;
        assert_eq!(answer.status, 201, "{answer:?}");
        Some(answer.body)
    }

    /// Asks for erasure. A repeat after it has begun finds the key dead, which says the same.
    pub async fn erase(&self, project: &Value) -> Option<()> {
        let path = format!("/projects/v1/{}", project["project_id"].as_str().unwrap());
        let key = project["service_key"].as_str().unwrap();
        let answer = self.ask(self.http.delete(format!("{}{path}", self.base())).bearer_auth(key)).await?;
        assert!(matches!(answer.status, 200 | 401 | 403 | 404), "{answer:?}");
        Some(())
    }

    /// Whether the project's database answers its key.
    pub async fn sql(&self, project: &Value) -> Option<Value> {
        self.query(project, "select 1 as n".to_owned()).await
    }

    /// Rows of a query on the project's database.
    pub async fn query(&self, project: &Value, sql: String) -> Option<Value> {
        let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
        let key = project["service_key"].as_str().unwrap();
        let request = self.http.post(format!("{}{path}", self.base())).bearer_auth(key).body(sql);
        let answer = self.ask(request).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(answer.body["rows"].clone())
    }

    /// Plan, upload, commit from the start. None at the first step that is not answered for good.
    pub async fn deploy(&self, wallet: &Wallet, project: &Value, site: &Site) -> Option<Value> {
        let content = |text: &str, content_type: &str| {
            let sha256 = hex::encode(Sha256::digest(text));
            json!({ "sha256": sha256, "size": text.len(), "contentType": content_type })
        };
        let page = content(&site.page, "text/html");
        let mut spec =
            json!({ "project": project["project_id"], "site": { "replace": { "index.html": page } } });
        let mut texts = vec![&site.page];
        if let Some(sql) = &site.migration {
            texts.push(sql);
            let reference = content(sql, "application/sql");
            spec["database"] = json!({ "migrations": [
                { "id": site.idempotency_key, "checksum": reference["sha256"], "sql_ref": reference } ] });
        }
        let body = json!({ "spec": spec, "idempotency_key": site.idempotency_key });
        let plan = self.ask(self.signed(wallet, "POST", "/deploy/v2/plans", &body)).await?;
        assert_eq!(plan.status, 200, "{plan:?}");
        for text in texts {
            let sha256 = hex::encode(Sha256::digest(text));
            let missing = plan.body["missing_content"].as_array().unwrap();
            if missing.iter().any(|content| content["sha256"] == sha256 && content["present"] == false) {
                self.upload(project, &sha256, text).await?;
            }
        }
        let path = format!("/deploy/v2/plans/{}/commit", plan.body["plan_id"].as_str().unwrap());
        let commit = self.ask(self.signed(wallet, "POST", &path, &json!({}))).await?;
        assert_eq!(commit.status, 200, "{commit:?}");
        assert_ne!(commit.body["status"], "failed", "{commit:?}");
        (commit.body["status"] == "ready").then_some(commit.body)
    }

    async fn upload(&self, project: &Value, sha256: &str, page: &str) -> Option<()> {
        let anon = project["anon_key"].as_str().unwrap();
        let wanted = json!({ "content": [{ "sha256": sha256, "size": page.len() }] });
        let plan = self.ask(self.keyed(anon, "/content/v1/plans", &wanted)).await?;
        assert!(plan.status < 300, "{plan:?}");
        for session in plan.body["missing"].as_array().unwrap() {
            let url = session["parts"][0]["url"].as_str().unwrap();
            let mut put = self.http.put(url).body(page.to_owned());
            if !url.contains("x-amz-checksum-sha256=") {
                put = put.header("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(page)));
            }
            let put = self.ask(put).await?;
            assert!(put.status < 300, "{put:?}");
            let path = format!("/storage/v1/uploads/{}/complete", session["upload_id"].as_str().unwrap());
            let done = self.ask(self.keyed(anon, &path, &json!({}))).await?;
            assert_eq!(done.status, 200, "{done:?}");
        }
        let path = format!("/content/v1/plans/{}/commit", plan.body["plan_id"].as_str().unwrap());
        let done = self.ask(self.keyed(anon, &path, &json!({}))).await?;
        assert!(done.status < 300, "{done:?}");
        Some(())
    }

    /// A change with a project's public key.
    pub async fn post(&self, project: &Value, path: &str, body: &Value) -> Option<Answer> {
        self.ask(self.keyed(project["anon_key"].as_str().unwrap(), path, body)).await
    }

    /// What visitors of a site get.
    pub async fn page(&self, url: &str) -> Option<String> {
        let site = reqwest::Url::parse(url).unwrap();
        let host = format!("{}:{}", site.host_str().unwrap(), site.port().unwrap_or(80));
        let answer = self.ask(self.http.get(self.base()).header("host", host)).await?;
        answer.body.as_str().map(str::to_owned)
    }
}
