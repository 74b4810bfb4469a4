//! Access tokens of a project's users: HS256 under a secret that the project's own functions hold too, or ES256
//! under the key that follows from it ([`UserKey`]), for libraries that take no secret.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::projects::Secret;
use types::ProjectId;
use uuid::Uuid;

use crate::user_key::UserKey;

const ISSUER: &str = "agentdb";
pub const ACCESS_SECS: i64 = 3_600;
/// For the call of a function and what it calls in turn.
const EXCHANGED_SECS: i64 = 300;
/// Clocks of those who made a token may be this much ahead.
const SKEW_SECS: f64 = 30.0;
/// Ours have about 500 bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// What a token may do on the project's tables. A service role is none of them: tenant code holds the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Authenticated,
    ProjectAdmin,
}

/// # Source
/// Wire contract 04 section 2.1. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: Uuid,
    pub role: Role,
    pub email: String,
    pub project_id: ProjectId,
    pub session_id: Uuid,
    pub amr: Vec<String>,
    pub auth_time: i64,
    pub iat: i64,
    pub exp: i64,
}

/// Whom a new token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    pub project: ProjectId,
    pub user: Uuid,
    pub email: String,
    pub role: Role,
    pub session: Uuid,
    pub amr: Vec<String>,
    pub auth_time: i64,
}

/// Signs a token of one hour, `now` in seconds since 1970. None never in practice: HMAC takes any key.
pub fn sign(subject: Subject, secret: &Secret, now: i64) -> Option<String> {
    let header = Header { kid: Some(secret.version.to_string()), ..Header::new(Algorithm::HS256) };
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: subject.user,
        role: subject.role,
        email: subject.email,
        project_id: subject.project,
        session_id: subject.session,
        amr: subject.amr,
        auth_time: subject.auth_time,
        iat: now,
        exp: now + ACCESS_SECS,
    };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret.bytes)).ok()
}

/// What a token says, and the secret that it was signed with.
struct Opened<'a, T> {
    claims: T,
    header: Header,
    secret: &'a Secret,
}

/// The claims of a token that we signed for this project and that is not over.
pub fn verify(token: &str, secrets: &[Secret], project: ProjectId, now: i64) -> Option<Claims> {
    verified(token, secrets, project, now).map(|opened| opened.claims)
}

/// The claims of a token that may be shown at the project's tables: one of ours, or one that the project's own code
/// signed in its own form, perhaps without an end or the name of the secret.
pub fn claims(token: &str, secrets: &[Secret], project: ProjectId, now: i64) -> Option<Value> {
    let Opened { claims, .. } = opened::<Value>(token, secrets, project)?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century are exact")]
    let now = now as f64;
    let over =
        seconds("exp").is_some_and(|exp| exp <= now) || claims.get("exp").is_some_and(|exp| !exp.is_number());
    let early = seconds("nbf").is_some_and(|nbf| nbf > now + SKEW_SECS);
    let own = claims.get("project_id").and_then(Value::as_str) == Some(project.to_string().as_str());
    (own && !over && !early).then_some(claims)
}

/// The same under ES256: a token of ours, for five minutes or for what is left of it. None for any other.
pub fn exchanged(token: &str, secrets: &[Secret], project: ProjectId, now: i64) -> Option<String> {
    let Opened { mut claims, secret, .. } = verified(token, secrets, project, now)?;
    claims.exp = claims.exp.min(now + EXCHANGED_SECS);
    // Of the same secret, so that it ends with it.
    UserKey::of(project, secret)?.sign(&claims)
}

fn verified<'a>(
    token: &str,
    secrets: &'a [Secret],
    project: ProjectId,
    now: i64,
) -> Option<Opened<'a, Claims>> {
    let opened = opened::<Claims>(token, secrets, project)?;
    // Ours always name their secret or key.
    let named = opened.header.alg == Algorithm::ES256 || {
        opened.header.kid.as_deref() == Some(opened.secret.version.to_string().as_str())
    };
    let claims = &opened.claims;
    let ours = named && claims.iss == ISSUER && claims.project_id == project && now < claims.exp;
    ours.then_some(opened)
}

/// A token that one of these secrets or its key signed. The header chooses among what we sign with and says
/// nothing else that counts: HS256 is read under secrets only, ES256 only under the one key that it names.
fn opened<'a, T: DeserializeOwned>(
    token: &str,
    secrets: &'a [Secret],
    project: ProjectId,
) -> Option<Opened<'a, T>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let (claims, secret) = match header.alg {
        Algorithm::HS256 => secrets.iter().find_map(|secret| {
            let key = DecodingKey::from_secret(&secret.bytes);
            Some((read(token, Algorithm::HS256, &key)?, secret))
        })?,
        Algorithm::ES256 => {
            let kid = header.kid.as_deref()?;
            let keys = secrets.iter().filter_map(|secret| Some((UserKey::of(project, secret)?, secret)));
            let (key, secret) = { keys }.find(|(key, _)| key.kid() == Some(kid))?;
            (read(token, Algorithm::ES256, &key.verifier()?)?, secret)
        }
        _ => return None,
    };
    Some(Opened { claims, header, secret })
}

/// Time, project and issuer are for the caller to look at, by the clock that it is given.
fn read<T: DeserializeOwned>(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<T> {
    let mut rules = Validation::new(algorithm);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    jsonwebtoken::decode::<T>(token, key, &rules).ok().map(|token| token.claims)
}

#[cfg(test)]
mod tests;
