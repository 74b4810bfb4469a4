//! Who signed a request: the `SIGN-IN-WITH-X` header, an EIP-4361 text under an EIP-191 signature.
//!
//! Pure. Replay is the caller's business, because the same header comes twice by design (before and after
//! paying): keep `nonce` with a hash of method, path and body until `expires_at`.

use alloy::primitives::eip191_hash_message;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use types::Wallet;

use crate::{
    evm,
    json::{self, HeaderError},
};

#[cfg(test)]
mod tests;

/// What this server answers to.
#[derive(Debug, Clone)]
pub struct SiwxPolicy {
    /// Public host names without a port, in lower case.
    pub domains: Vec<String>,
    /// `scheme://host[:port]`; when empty, every http or https origin on one of `domains` is taken,
    /// whatever its port.
    pub origins: Vec<String>,
    /// How old a signature may be.
    pub max_age_secs: u32,
    /// How far ahead of ours the signer's clock may be.
    pub skew_secs: u32,
}

impl SiwxPolicy {
    /// Five minutes of age, one minute of skew.
    ///
    /// # Source
    /// Wire contract 01 section 2.3.
    pub fn new(domains: Vec<String>) -> Self {
        Self { domains, origins: Vec::new(), max_age_secs: 300, skew_secs: 60 }
    }
}

/// A header that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Siwx {
    pub address: Wallet,
    /// 8 to 128 ASCII letters and digits.
    pub nonce: String,
    /// As signed: origin, path and query.
    pub uri: String,
    pub issued_at: DateTime<Utc>,
    /// When this header stops verifying: its own expiry, or its age limit if that comes first.
    pub expires_at: DateTime<Utc>,
    pub statement: String,
    pub chain_id: u64,
    /// Empty but for CI delegations.
    pub resources: Vec<String>,
}

impl Siwx {
    /// Path and query of the signed `uri`, `/` when it has none: compare it with the request's own.
    pub fn target(&self) -> &str {
        let rest = self.uri.split_once("://").map_or("", |(_, rest)| rest);
        rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..])
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiwxError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("it was signed for another domain")]
    WrongDomain,
    #[error("its uri is not on this server")]
    WrongOrigin,
    #[error("it was issued too long ago")]
    Stale,
    #[error("it was issued in the future: the signer's clock is ahead")]
    NotYetValid,
    #[error("it has expired")]
    Expired,
    #[error("the signature is not by its address")]
    BadSignature,
}

/// Checks one header and says who signed it.
///
/// # Errors
/// The first rule that it breaks. Every one of them is answered with 402 `AUTHENTICATION_REQUIRED`.
///
/// # Source
/// Wire contract 01 sections 2.2 and 2.3; EIP-4361.
pub fn verify(header: &str, policy: &SiwxPolicy, now: DateTime<Utc>) -> Result<Siwx, SiwxError> {
    let object = json::decode_object(header)?;
    let payload = Payload::read(&object)?;
    if !policy.domains.iter().any(|domain| domain == payload.domain) {
        return Err(SiwxError::WrongDomain);
    }
    if !origin_allowed(payload.uri, policy) {
        return Err(SiwxError::WrongOrigin);
    }
    let (issued_at, expires_at) = check_times(&payload, policy, now)?;
    let address = check_signer(&payload)?;
    Ok(Siwx {
        address,
        nonce: payload.nonce.to_owned(),
        uri: payload.uri.to_owned(),
        issued_at,
        expires_at,
        statement: payload.statement.to_owned(),
        chain_id: payload.chain_id,
        resources: payload.resources.iter().map(|&r| r.to_owned()).collect(),
    })
}

/// The header's fields, each in a form that fits on one line of the signed text (the statement may take
/// several).
struct Payload<'a> {
    domain: &'a str,
    address: &'a str,
    statement: &'a str,
    uri: &'a str,
    chain_id: u64,
    nonce: &'a str,
    issued_at: &'a str,
    expiration_time: Option<&'a str>,
    signature: &'a str,
    resources: Vec<&'a str>,
}

impl<'a> Payload<'a> {
    fn read(object: &'a Map<String, Value>) -> Result<Self, SiwxError> {
        let text = |name| object.get(name).and_then(Value::as_str).ok_or(SiwxError::Field(name));
        let line = |name| text(name).and_then(|t| one_line(t).then_some(t).ok_or(SiwxError::Field(name)));

        if text("version")? != "1" {
            return Err(SiwxError::Field("version"));
        }
        if text("type")? != "eip191" {
            return Err(SiwxError::Field("type"));
        }
        let statement = text("statement")?;
        if !statement_unambiguous(statement) {
            return Err(SiwxError::Field("statement"));
        }
        let nonce = text("nonce")?;
        if !(8..=128).contains(&nonce.len()) || !nonce.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(SiwxError::Field("nonce"));
        }
        let expiration_time = match object.get("expirationTime") {
            None => None,
            Some(_) => Some(line("expirationTime")?),
        };
        Ok(Self {
            domain: line("domain")?,
            address: line("address")?,
            statement,
            uri: line("uri")?,
            chain_id: caip2_chain_id(text("chainId")?).ok_or(SiwxError::Field("chainId"))?,
            nonce,
            issued_at: line("issuedAt")?,
            expiration_time,
            signature: line("signature")?,
            resources: read_resources(object)?,
        })
    }

    /// The text that was signed, with the address spelled as given.
    fn text(&self, address: &str) -> String {
        let mut text = format!(
            "{} wants you to sign in with your Ethereum account:\n{address}\n\n{}\n\n\
             URI: {}\nVersion: 1\nChain ID: {}\n\
             Nonce: {}\nIssued At: {}",
            self.domain, self.statement, self.uri, self.chain_id, self.nonce, self.issued_at,
        );
        if let Some(expires) = self.expiration_time {
            text.push_str("\nExpiration Time: ");
            text.push_str(expires);
        }
        if !self.resources.is_empty() {
            text.push_str("\nResources:");
            for resource in &self.resources {
                text.push_str("\n- ");
                text.push_str(resource);
            }
        }
        text
    }
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// The statement is the only field that may hold line breaks (CI delegations do). Were it to hold a `URI:`
/// line as well, one signed text could be split into fields in two ways.
fn statement_unambiguous(statement: &str) -> bool {
    !statement.is_empty()
        && !statement.chars().any(|c| c.is_control() && c != '\n')
        && !statement.lines().any(|line| line.starts_with("URI: "))
}

fn caip2_chain_id(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("eip155:")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

fn read_resources(object: &Map<String, Value>) -> Result<Vec<&str>, SiwxError> {
    let bad = SiwxError::Field("resources");
    match object.get("resources") {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().filter(|text| one_line(text)).ok_or_else(|| bad.clone()))
            .collect(),
        Some(_) => Err(bad),
    }
}

/// A header captured by another server must not work here, so the origin has to be ours.
fn origin_allowed(uri: &str, policy: &SiwxPolicy) -> bool {
    let Some(found) = Origin::of(uri) else { return false };
    if policy.origins.is_empty() {
        return policy.domains.contains(&found.host);
    }
    policy.origins.iter().any(|allowed| Origin::of(allowed).as_ref() == Some(&found))
}

#[derive(Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        // A backslash ends the authority for browsers and not for others: no honest client sends one.
        let authority = rest.split(['/', '?', '#']).next()?;
        if authority.contains(['@', '\\', ' ', '%']) || uri.contains('\\') {
            return None;
        }
        let default = if secure { 443 } else { 80 };
        let bracket_end = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[bracket_end..].rfind(':') {
            None => (authority, default),
            Some(colon) => {
                let at = bracket_end + colon;
                let digits = &authority[at + 1..];
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                (&authority[..at], digits.parse().ok()?)
            }
        };
        (!host.is_empty()).then(|| Self { secure, host: host.to_ascii_lowercase(), port })
    }
}

fn check_times(
    payload: &Payload<'_>,
    policy: &SiwxPolicy,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), SiwxError> {
    let issued_at = instant(payload.issued_at).ok_or(SiwxError::Field("issuedAt"))?;
    if issued_at > now + TimeDelta::seconds(policy.skew_secs.into()) {
        return Err(SiwxError::NotYetValid);
    }
    let aged_out = issued_at + TimeDelta::seconds(policy.max_age_secs.into());
    if now > aged_out {
        return Err(SiwxError::Stale);
    }
    let expires_at = match payload.expiration_time {
        None => aged_out,
        Some(text) => instant(text).ok_or(SiwxError::Field("expirationTime"))?,
    };
    if now >= expires_at {
        return Err(SiwxError::Expired);
    }
    Ok((issued_at, expires_at.min(aged_out)))
}

/// RFC 3339 within the years that arithmetic on it cannot overflow.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

fn check_signer(payload: &Payload<'_>) -> Result<Wallet, SiwxError> {
    let claimed: Wallet = payload.address.parse().map_err(|_| SiwxError::Field("address"))?;
    let checksummed = evm::checksummed(claimed);
    if payload.address != checksummed && payload.address != claimed.to_string() {
        return Err(SiwxError::Field("address"));
    }
    let signature: [u8; 65] = evm::fixed_hex(payload.signature).ok_or(SiwxError::Field("signature"))?;
    // EIP-4361 has the checksummed spelling in the text; some signers write there what they put in the field.
    [checksummed.as_str(), payload.address]
        .into_iter()
        .any(|spelled| evm::recover(eip191_hash_message(payload.text(spelled)), &signature) == Some(claimed))
        .then_some(claimed)
        .ok_or(SiwxError::BadSignature)
}
