//! Deploys by CI workflows: an owner signs a delegation; a workflow exchanges its identity for a session.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use types::delegation::{CI_PROVIDER, DELEGATION_CHAIN_ID, Delegation};
use types::rfc3339;

use crate::answer::text_of;
use crate::{Call, Client, ClientError, LocalError};

const LIFETIME: TimeDelta = TimeDelta::minutes(5);
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where a workflow gets its identity, from its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySource {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub token: String,
}

impl Client {
    /// 32 hex digits that nobody can guess.
    pub fn fresh_nonce(&self) -> String {
        hex::encode(&self.entropy.secret()[..16])
    }

    /// Signs a delegation with the wallet and hands it in. Returns the binding.
    ///
    /// # Errors
    /// `NO_ALLOWANCE`; `Refused` as the server says.
    ///
    /// # Source
    /// Wire contract 02 section 8.1.
    pub async fn ci_link(&self, delegation: &Delegation) -> Result<Value, ClientError> {
        let mut body = json!({
            "project_id": delegation.project_id,
            "provider": CI_PROVIDER,
            "subject_match": delegation.subject_match,
            "allowed_actions": delegation.allowed_actions,
            "allowed_events": delegation.allowed_events,
            "github_repository_id": delegation.github_repository_id,
            "expires_at": delegation.expires_at,
            "nonce": delegation.nonce,
            "signed_delegation": self.signed_delegation(delegation)?,
        });
        if !delegation.route_scopes.is_empty() {
            body["route_scopes"] = json!(delegation.route_scopes);
        }
        self.call(Call::new("ci.bindings.create").wallet().json(body)).await
    }

    /// Base64 of the signed JSON.
    fn signed_delegation(&self, delegation: &Delegation) -> Result<String, LocalError> {
        let wallet = self.wallet()?;
        let now = self.clock.now();
        let (statement, resource) = (delegation.statement(), delegation.resource_uri());
        let uri = format!("{}/ci/v1/bindings", self.base());
        let nonce = delegation.nonce.get(..16).unwrap_or(&delegation.nonce);
        let (issued_at, expires_at) = (rfc3339(now), rfc3339(now + LIFETIME));
        let (domain, address) = (self.domain(), wallet.address_text());
        let text = format!(
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{statement}\n\n\
             URI: {uri}\nVersion: 1\nChain ID: {DELEGATION_CHAIN_ID}\nNonce: {nonce}\n\
             Issued At: {issued_at}\nExpiration Time: {expires_at}\nResources:\n- {resource}"
        );
        let payload = json!({
            "domain": domain, "address": address, "statement": statement, "uri": uri, "version": "1",
            "chainId": format!("eip155:{DELEGATION_CHAIN_ID}"), "type": "eip191", "nonce": nonce,
            "issuedAt": issued_at, "expirationTime": expires_at, "resources": [resource],
            "signature": wallet.sign_text(&text)?,
        });
        Ok(STANDARD.encode(payload.to_string()))
    }

    /// The workflow's identity token for `audience`, from its runner.
    ///
    /// # Errors
    /// `CI_IDENTITY_UNAVAILABLE` when the runner does not give one.
    ///
    /// # Source
    /// GitHub, "OpenID Connect reference": the token is `value` of the JSON at that URL.
    pub async fn ci_identity(&self, source: &IdentitySource, audience: &str) -> Result<String, ClientError> {
        let failed = |why: &str| {
            LocalError::new("CI_IDENTITY_UNAVAILABLE", format!("the runner gave no identity token: {why}"))
                .hint("The job needs `permissions: id-token: write`.")
        };
        let url = reqwest::Url::parse_with_params(&source.url, [("audience", audience)]);
        let url = url.map_err(|e| failed(&e.to_string()))?;
        // Without the URL, which is the runner's business.
        let lost = |e: reqwest::Error| failed(&e.without_url().to_string());
        let answer = self.http.get(url).bearer_auth(&source.token).send().await.map_err(lost)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(failed(&format!("it answers {status}")).into());
        }
        let bytes = answer.bytes().await.map_err(lost)?;
        let body: Value = serde_json::from_slice(&bytes).map_err(|e| failed(&e.to_string()))?;
        let token = body["value"].as_str().ok_or_else(|| failed("its answer has no value"))?;
        Ok(token.to_owned())
    }

    /// This client as a session of a workflow: from now on it sends nothing but the session's token.
    ///
    /// # Errors
    /// `Refused` as the server says.
    ///
    /// # Source
    /// Wire contract 02 section 8.3.
    pub async fn ci_session(self, identity_token: &str, project: &str) -> Result<Self, ClientError> {
        let body = json!({
            "grant_type": GRANT_TYPE, "subject_token": identity_token, "subject_token_type": TOKEN_TYPE,
            "project_id": project,
        });
        let granted = self.call(Call::new("ci.token_exchange").json(body)).await?;
        let token = text_of(&granted, "access_token")?.to_owned();
        Ok(self.with_session(token))
    }
}
