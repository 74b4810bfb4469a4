//! An OpenID provider as a client sees it: where it is, which keys it signs with, and what it says of somebody.
//!
//! What it publishes is kept for an hour. A token of a key that is not among the kept ones is worth one more look,
//! because keys are replaced. A sign-in's token comes from the provider alone, so nobody else can cause that look; a
//! token that anybody may send causes one only when the last was a while ago.

mod verify;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::JwkSet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

pub use verify::{Expected, Proof, TokenError};

/// # Source
/// Google's published discovery document, `https://accounts.google.com/.well-known/openid-configuration`.
pub const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const KEPT_SECS: i64 = 3_600;
/// Anybody may name a key that nobody knows: they cause a look no more often than this.
const RESTED_SECS: i64 = 10;
/// A provider that did not answer is not asked again for this long: requests must not queue up behind it.
const PAUSE_SECS: i64 = 3;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// Exactly as its tokens name it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
}

/// Why somebody's account elsewhere could not be learnt.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It did not answer, or not as a provider does. Asking again later may help.
    #[error("the provider is not reachable: {0}")]
    Unreachable(String),
    /// It does not take the code.
    #[error("the provider refused the code with status {0}")]
    Refused(u16),
    #[error("the provider's token is not valid: {0}")]
    Token(#[from] TokenError),
}

/// What a browser is sent to the provider with.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Where the provider sends it back to.
    pub redirect_uri: &'a str,
    pub state: &'a str,
    pub nonce: &'a str,
    pub code_verifier: &'a str,
}

/// What a browser came back with, and what it was sent with.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    pub redirect_uri: &'a str,
    pub code: &'a str,
    pub nonce: &'a str,
    pub code_verifier: &'a str,
}

#[derive(Debug, Clone, Deserialize)]
struct Places {
    issuer: String,
    /// An issuer of workflows' tokens signs nobody in, so it has neither of these.
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

#[derive(Default)]
struct Known {
    places: Option<(Places, DateTime<Utc>)>,
    keys: Option<(JwkSet, DateTime<Utc>)>,
    failed_at: Option<DateTime<Utc>>,
}

/// One provider. Share it: what it publishes is kept here.
pub struct Provider {
    config: ProviderConfig,
    http: reqwest::Client,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.config.issuer)
    }
}

/// The challenge of a verifier, method `S256`: 43 characters.
///
/// # Source
/// RFC 7636 section 4.2.
pub fn challenge(code_verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(code_verifier))
}

impl Provider {
    /// Asks nothing of it yet.
    ///
    /// # Errors
    /// When no TLS client can be made.
    pub fn new(config: ProviderConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            // An endpoint that moves is looked up again; a redirect could take the client's secret elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .build()?;
        Ok(Self { config, http, known: Mutex::default() })
    }

    /// Where to send a browser.
    ///
    /// # Errors
    /// `Unreachable`.
    ///
    /// # Source
    /// OpenID Connect Core 1.0 section 3.1.2.1; RFC 7636.
    pub async fn authorization_url(&self, ask: &Ask<'_>, now: DateTime<Utc>) -> Result<Url, OidcError> {
        let mut url = there(self.places(now).await?.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id)
            .append_pair("response_type", "code")
            .append_pair("scope", "openid email profile")
            .append_pair("redirect_uri", ask.redirect_uri)
            .append_pair("state", ask.state)
            .append_pair("nonce", ask.nonce)
            .append_pair("code_challenge", &challenge(ask.code_verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("prompt", "select_account");
        Ok(url)
    }

    /// Trades a code for what the provider says of whoever got it.
    ///
    /// # Errors
    /// Each of [`OidcError`].
    ///
    /// # Source
    /// OpenID Connect Core 1.0 sections 3.1.3.1 and 3.1.3.7.
    pub async fn proof(&self, answer: &Answer<'_>, now: DateTime<Utc>) -> Result<Proof, OidcError> {
        let token = self.id_token(answer, now).await?;
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: answer.nonce,
            now: now.timestamp(),
        };
        let keys = self.keys(now, Refresh::WhenOld).await?;
        match verify::verify(&token, &keys, &expected) {
            Err(TokenError::UnknownKey) => {
                let keys = self.keys(now, Refresh::Now).await?;
                Ok(verify::verify(&token, &keys, &expected)?)
            }
            done => Ok(done?),
        }
    }

    /// Exactly as its tokens name it.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The claims of a token that it signed. Who issued it, for whom and until when is for the caller to judge.
    ///
    /// # Errors
    /// `Unreachable`; `Token` when the shape, the algorithm, the key or the signature is wrong.
    pub async fn claims<C: DeserializeOwned>(&self, token: &str, now: DateTime<Utc>) -> Result<C, OidcError> {
        // Nobody is asked about what is no token at all.
        verify::header(token)?;
        let keys = self.keys(now, Refresh::WhenOld).await?;
        match verify::signed(token, &keys) {
            Err(TokenError::UnknownKey) => {
                let keys = self.keys(now, Refresh::WhenRested).await?;
                Ok(verify::signed(token, &keys)?)
            }
            done => Ok(done?),
        }
    }

    async fn id_token(&self, answer: &Answer<'_>, now: DateTime<Utc>) -> Result<String, OidcError> {
        let places = self.places(now).await?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", answer.code)
            .append_pair("redirect_uri", answer.redirect_uri)
            .append_pair("client_id", &self.config.client_id)
            .append_pair("client_secret", self.config.client_secret.expose_secret())
            .append_pair("code_verifier", answer.code_verifier)
            .finish();
        let request = self.http.post(there(places.token_endpoint)?).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let (status, body) = self.send(request).await?;
        match status {
            200 => Ok(read::<TokenAnswer>(&body)?.id_token),
            400..=499 => Err(OidcError::Refused(status)),
            _ => Err(OidcError::Unreachable(format!("its token endpoint answers {status}"))),
        }
    }

    /// The discovery document, kept.
    async fn places(&self, now: DateTime<Utc>) -> Result<Places, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((places, at)) = &known.places
            && is_fresh(*at, now)
        {
            return Ok(places.clone());
        }
        self.pause_over(&known, now)?;
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let found = self.get::<Places>(&url).await.and_then(|places| self.sound(places));
        known.failed_at = found.is_err().then_some(now);
        let places = found?;
        known.places = Some((places.clone(), now));
        Ok(places)
    }

    async fn keys(&self, now: DateTime<Utc>, refresh: Refresh) -> Result<JwkSet, OidcError> {
        let url = self.places(now).await?.jwks_uri;
        let mut known = self.known.lock().await;
        if let Some((keys, at)) = &known.keys
            && refresh.keeps(*at, now)
        {
            return Ok(keys.clone());
        }
        self.pause_over(&known, now)?;
        let found = self.get::<Published>(url.as_str()).await;
        known.failed_at = found.is_err().then_some(now);
        // A key of a kind that we do not know is no reason not to use the others.
        let read = |key| serde_json::from_value(key).ok();
        let keys = JwkSet { keys: found?.keys.into_iter().filter_map(read).collect() };
        known.keys = Some((keys.clone(), now));
        Ok(keys)
    }

    fn pause_over(&self, known: &Known, now: DateTime<Utc>) -> Result<(), OidcError> {
        let waits = |at: DateTime<Utc>| now - at < TimeDelta::seconds(PAUSE_SECS) && now >= at;
        if known.failed_at.is_some_and(waits) {
            return Err(OidcError::Unreachable("it did not answer a moment ago".to_owned()));
        }
        Ok(())
    }

    /// A document that is about this issuer, and whose places are as safe as the issuer's own.
    fn sound(&self, places: Places) -> Result<Places, OidcError> {
        let wrong = |what: &str| OidcError::Unreachable(format!("its discovery document {what}"));
        // H03: another issuer's keys must never count as this one's.
        if places.issuer != self.config.issuer {
            return Err(wrong("is of another issuer"));
        }
        let plain = self.config.issuer.starts_with("http://");
        let safe = |url: &Url| url.scheme() == "https" || (plain && url.scheme() == "http");
        let optional = [&places.authorization_endpoint, &places.token_endpoint].into_iter().flatten();
        if optional.chain([&places.jwks_uri]).all(safe) {
            Ok(places)
        } else {
            Err(wrong("names a place without TLS"))
        }
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, OidcError> {
        let (status, body) = self.send(self.http.get(url)).await?;
        match status {
            200 => read(&body),
            _ => Err(OidcError::Unreachable(format!("it answers {status}"))),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), OidcError> {
        // Without the URL, which may have more in it than a log should.
        let gone = |e: reqwest::Error| OidcError::Unreachable(e.without_url().to_string());
        let mut answer = request.send().await.map_err(gone)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(gone)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(OidcError::Unreachable("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status().as_u16(), body))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresh {
    WhenOld,
    WhenRested,
    Now,
}

impl Refresh {
    /// Whether keys that were read then will do.
    fn keeps(self, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        match self {
            Self::WhenOld => is_fresh(at, now),
            Self::WhenRested => (0..RESTED_SECS).contains(&(now - at).num_seconds()),
            Self::Now => false,
        }
    }
}

fn there(place: Option<Url>) -> Result<Url, OidcError> {
    place.ok_or_else(|| {
        OidcError::Unreachable("its discovery document names no place to sign in at".to_owned())
    })
}

fn is_fresh(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (0..KEPT_SECS).contains(&(now - at).num_seconds())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, OidcError> {
    serde_json::from_slice(body)
        .map_err(|e| OidcError::Unreachable(format!("its answer is not what it should be: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_the_published_one() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    // H03: a document of another issuer, and places that anybody on the way could change.
    #[test]
    fn a_discovery_document_is_of_the_issuer_and_keeps_its_safety() {
        let provider = |issuer: &str| {
            let (client_id, client_secret) = ("us".to_owned(), "secret".into());
            Provider::new(ProviderConfig { issuer: issuer.to_owned(), client_id, client_secret }).unwrap()
        };
        let places = |issuer: &str, base: &str| Places {
            issuer: issuer.to_owned(),
            authorization_endpoint: format!("{base}/a").parse().ok(),
            token_endpoint: format!("{base}/t").parse().ok(),
            jwks_uri: "https://keys.test/k".parse().unwrap(),
        };
        let google = provider(GOOGLE_ISSUER);
        assert!(google.sound(places(GOOGLE_ISSUER, "https://elsewhere.test")).is_ok());
        assert!(google.sound(places("https://evil.test", "https://elsewhere.test")).is_err());
        assert!(google.sound(places(&format!("{GOOGLE_ISSUER}/"), "https://elsewhere.test")).is_err());
        assert!(google.sound(places(GOOGLE_ISSUER, "http://elsewhere.test")).is_err());
        let local = "http://127.0.0.1:9";
        assert!(provider(local).sound(places(local, local)).is_ok());
    }
}
