//! An ID token, judged. Pure.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::GOOGLE_ISSUER;
use crate::rows::email_normal;

/// Google's have about 1,200 bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const SUB_BYTES_MAX: usize = 255;
const NAME_CHARS_MAX: usize = 200;
const AVATAR_BYTES_MAX: usize = 2_048;
/// Clocks may differ by this much.
const SKEW_SECS: i64 = 60;
/// Where Google itself runs the mailboxes.
const GOOGLE_MAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

/// What the provider says of somebody, once it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Stable, and unique at this provider.
    pub sub: String,
    /// One spelling, verified by the provider.
    pub email: String,
    /// The provider runs the address's domain, so that it knows who holds the address today. Otherwise it only
    /// saw once that somebody did.
    pub email_strong: bool,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    /// Seconds since 1970.
    pub now: i64,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("its shape, algorithm or signature is wrong")]
    Signature,
    #[error("its key is none of the published ones")]
    UnknownKey,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for somebody else")]
    Audience,
    #[error("it is over, or not begun")]
    Time,
    #[error("it answers another request")]
    Nonce,
    #[error("it names nobody")]
    Subject,
    #[error("its address is not verified")]
    Email,
}

/// A claim that comes twice is an error of the shape.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    sub: String,
    email: Option<String>,
    email_verified: Option<Value>,
    /// The Workspace domain that runs the account.
    hd: Option<String>,
    name: Option<String>,
    picture: Option<String>,
}

/// Judges a token by published keys.
///
/// # Errors
/// The first thing that is wrong.
///
/// # Source
/// OpenID Connect Core 1.0 section 3.1.3.7.
pub(super) fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Proof, TokenError> {
    judge(signed(token, keys)?, expected)
}

/// The claims of a token under a published key. Nothing of its header matters but the algorithm and which key.
///
/// # Errors
/// `Signature`, `UnknownKey`.
pub(super) fn signed<C: DeserializeOwned>(token: &str, keys: &JwkSet) -> Result<C, TokenError> {
    let header = header(token)?;
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(TokenError::UnknownKey)?;
    if !signs_rs256(key) {
        return Err(TokenError::Signature);
    }
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::Signature)?;
    let mut rules = Validation::new(Algorithm::RS256);
    // Whoever reads the claims judges them, each with its own reason.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    Ok(jsonwebtoken::decode::<C>(token, &key, &rules).map_err(|_| TokenError::Signature)?.claims)
}

/// What can be said of a token without any key.
///
/// # Errors
/// `Signature`.
pub(super) fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Signature);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Signature)?;
    if header.alg == Algorithm::RS256 { Ok(header) } else { Err(TokenError::Signature) }
}

fn signs_rs256(key: &Jwk) -> bool {
    let common = &key.common;
    matches!(key.algorithm, AlgorithmParameters::RSA(_))
        && common.key_algorithm.as_ref().is_none_or(|algorithm| *algorithm == KeyAlgorithm::RS256)
        && common.public_key_use.as_ref().is_none_or(|what| *what == PublicKeyUse::Signature)
}

fn judge(claims: Claims, expected: &Expected<'_>) -> Result<Proof, TokenError> {
    if claims.iss != expected.issuer {
        return Err(TokenError::Issuer);
    }
    if !is_for(&claims, expected.client_id) {
        return Err(TokenError::Audience);
    }
    if claims.exp + SKEW_SECS <= expected.now || claims.iat > expected.now + SKEW_SECS {
        return Err(TokenError::Time);
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(TokenError::Nonce);
    }
    let known = |c: char| c.is_ascii_graphic();
    if claims.sub.is_empty() || claims.sub.len() > SUB_BYTES_MAX || !claims.sub.chars().all(known) {
        return Err(TokenError::Subject);
    }
    // Some providers write the bool as a text.
    let verified = matches!(&claims.email_verified, Some(Value::Bool(true)))
        || claims.email_verified.as_ref().and_then(Value::as_str) == Some("true");
    let email =
        claims.email.as_deref().and_then(email_normal).filter(|_| verified).ok_or(TokenError::Email)?;
    let email_strong = runs(expected.issuer, claims.hd.as_deref(), &email);
    let avatar = |url: &String| url.starts_with("https://") && url.len() <= AVATAR_BYTES_MAX;
    Ok(Proof {
        email_strong,
        display_name: claims.name.as_deref().map(plain).filter(|name| !name.is_empty()),
        avatar_url: claims.picture.filter(avatar).filter(|url| url.chars().all(known)),
        sub: claims.sub,
        email,
    })
}

/// For us, and for us alone.
fn is_for(claims: &Claims, client_id: &str) -> bool {
    let presented_by = claims.azp.as_deref();
    match &claims.aud {
        Value::String(one) => one == client_id && presented_by.is_none_or(|azp| azp == client_id),
        Value::Array(all) => {
            let named = all.iter().any(|one| one.as_str() == Some(client_id));
            let alone = all.len() == 1 && presented_by.is_none();
            named && (alone || presented_by == Some(client_id))
        }
        _ => false,
    }
}

/// # Source
/// Google Identity, "Verify the Google ID token on your server side": with `@gmail.com`, or verified and with
/// `hd`, Google is authoritative for the address.
fn runs(issuer: &str, hosted: Option<&str>, email: &str) -> bool {
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    hosted.is_some_and(|hosted| hosted.eq_ignore_ascii_case(domain))
        || (issuer == GOOGLE_ISSUER && GOOGLE_MAIL.contains(&domain))
}

fn plain(name: &str) -> String {
    name.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
