//! Access tokens of a project's users: HS256 under a secret that the project's own functions hold too.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use store::projects::Secret;
use types::ProjectId;
use uuid::Uuid;

const ISSUER: &str = "agentdb";
pub const ACCESS_SECS: i64 = 3_600;
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

/// The claims of a token that one of these secrets signed for this project and that is not over. The secret
/// is the one of the version the token names; nothing else of its header matters.
pub fn verify(token: &str, secrets: &[Secret], project: ProjectId, now: i64) -> Option<Claims> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let version: i32 = jsonwebtoken::decode_header(token).ok()?.kid?.parse().ok()?;
    let secret = secrets.iter().find(|secret| secret.version == version)?;
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_issuer(&[ISSUER]);
    // Time is checked below, against the clock we are given.
    rules.validate_exp = false;
    rules.validate_aud = false;
    let key = DecodingKey::from_secret(&secret.bytes);
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims;
    (claims.project_id == project && now < claims.exp).then_some(claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use chrono::DateTime;
    use types::{Entropy, OsEntropy};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn secret(version: i32, byte: u8) -> Secret {
        Secret { version, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH }
    }

    fn subject(project: ProjectId) -> Subject {
        let (user, session) = (OsEntropy.uuid(), OsEntropy.uuid());
        let (email, amr) = ("a@b.test".to_owned(), vec!["password".to_owned()]);
        Subject { project, user, email, role: Role::Authenticated, session, amr, auth_time: NOW }
    }

    // H01: expired, another project's, another version's, a rotated secret's.
    #[test]
    fn a_token_counts_for_its_project_its_hour_and_its_secret() {
        let project = ProjectId::new(&OsEntropy);
        let token = sign(subject(project), &secret(2, 7), NOW).unwrap();
        let both = [secret(3, 9), secret(2, 7)];
        assert!(verify(&token, &both, project, NOW + ACCESS_SECS - 1).is_some());
        assert_eq!(verify(&token, &both, project, NOW + ACCESS_SECS), None);
        assert_eq!(verify(&token, &both, ProjectId::new(&OsEntropy), NOW), None);
        assert_eq!(verify(&token, &[secret(2, 8)], project, NOW), None);
        assert_eq!(verify(&token, &[secret(3, 7)], project, NOW), None, "a retired version is gone");
    }

    // H01: no algorithm but ours, no unsigned token, no changed claim, nothing found through `kid`.
    #[test]
    fn forged_tokens_are_refused() {
        let project = ProjectId::new(&OsEntropy);
        let secrets = [secret(1, 7)];
        let token = sign(subject(project), &secrets[0], NOW).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let (body, signature) = (parts[1], parts[2]);
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let raised = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
        let raised = raised.replace("authenticated", "project_admin");
        for forged in [
            format!("{}.{}.{signature}", parts[0], encode(&raised)),
            format!("{}.{body}.", encode(r#"{"alg":"none","typ":"JWT","kid":"1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"RS256","typ":"JWT","kid":"1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS512","typ":"JWT","kid":"1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","typ":"JWT"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","kid":"../1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","kid":"1' or 1=1"}"#)),
            "a".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            assert_eq!(verify(&forged, &secrets, project, NOW), None, "{forged}");
        }
    }
}
