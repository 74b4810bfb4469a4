//! One JSON request with a deadline, and one JSON answer of bounded size.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::AiError;

/// A 4096-pixel square as base64 stays below.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Of a provider's own words about an error.
const WORDS_CHARS_MAX: usize = 300;

pub(crate) struct Http {
    client: Client,
    base: String,
    key: Option<SecretString>,
}

impl Http {
    /// `base` is the address above `/chat/completions`.
    ///
    /// # Errors
    /// When no TLS is to be had.
    pub fn new(base: &str, key: Option<SecretString>, timeout: Duration) -> Result<Self, reqwest::Error> {
        // A provider that redirects would be sent the key elsewhere.
        let client = Client::builder().timeout(timeout).redirect(redirect::Policy::none()).build()?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), key })
    }

    /// # Errors
    /// `Refused` for what the provider calls the request's fault, `Unavailable` for everything else that is no answer,
    /// our own key's fault included; `Garbage` for an answer that is not JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, AiError> {
        let mut request = self.client.post(format!("{}{path}", self.base)).json(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(AiError::Garbage("the answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| AiError::Garbage("the answer is not JSON"));
        }
        let words = words(&bytes);
        Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => AiError::Refused(words),
            _ => AiError::Unavailable(format!("status {} {words}", status.as_u16())),
        })
    }
}

/// Without the address, which may hold what only the operator should know.
fn unreachable(error: reqwest::Error) -> AiError {
    let what = if error.is_timeout() { "it took too long" } else { "it cannot be reached" };
    AiError::Unavailable(what.to_owned())
}

fn words(bytes: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(bytes).ok();
    let said = said.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str);
    said.unwrap_or("without a reason").chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}
