//! Addresses that need no key: for a while, for one blob.
//!
//! The token is signed with the secret of the project's keys, under an issuer of its own: it is no key, and no
//! key is such a token.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use sites::Conditions;
use store::projects::Secret;
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::host::SiteAnswer;
use crate::keys::project_unverified;

const ISSUER: &str = "run402/blob";
const TTL_SECS_DEFAULT: i64 = 3_600;
/// A week.
const TTL_SECS_MAX: i64 = 604_800;

/// An address that works without a key.
#[derive(Debug, Clone)]
pub struct SignedUrl {
    pub url: String,
    pub expires_at: DateTime<Utc>,
    pub expires_in_secs: i64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Claims {
    iss: String,
    project_id: ProjectId,
    key: String,
    exp: i64,
}

impl Plane {
    /// Makes an address for what a blob holds, until then or until the blob is deleted.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `BLOB_NOT_FOUND`; `BAD_REQUEST` for a time outside of a second to a week.
    pub async fn blob_sign(
        &self,
        caller: &Caller,
        key: &str,
        ttl_secs: Option<i64>,
    ) -> Result<SignedUrl, Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        let ttl = ttl_secs.unwrap_or(TTL_SECS_DEFAULT);
        if !(1..=TTL_SECS_MAX).contains(&ttl) {
            let message = format!("ttl_seconds: 1 to {TTL_SECS_MAX}");
            return Err(Problem::new(Code::BadRequest, message));
        }
        self.blob_of(project, key).await?;
        let secret = self.blob_secrets(project).await?.into_iter().next();
        let secret = secret.ok_or_else(|| Problem::new(Code::ProjectNotReady, "the project has no keys"))?;
        let expires_at = self.now() + TimeDelta::seconds(ttl);
        let token = sign(&secret, (project, key), expires_at.timestamp())?;
        let url = format!("{}/storage/v1/signed/{token}", self.public_url());
        Ok(SignedUrl { url, expires_at, expires_in_secs: ttl })
    }

    /// What a signed address shows. `method` is GET or HEAD.
    ///
    /// # Errors
    /// `SIGNED_URL_EXPIRED` for one that has ended or is none; `BLOB_NOT_FOUND`; `STORAGE_UNAVAILABLE`.
    pub async fn blob_signed(
        &self,
        caller: &Caller,
        token: &str,
        asked: &Conditions<'_>,
    ) -> Result<SiteAnswer, Problem> {
        let invalid = || Problem::new(Code::SignedUrlExpired, "this address has ended, or never was one");
        let project = project_unverified(token).ok_or_else(invalid)?;
        let secrets = self.blob_secrets(project).await?;
        let claims = verify(token, &secrets).filter(|claims| claims.exp > self.now().timestamp());
        let claims = claims.ok_or_else(invalid)?;
        self.data_call(claims.project_id).await?;
        self.blob_bytes(claims.project_id, &claims.key, asked, caller.method == "GET").await
    }

    async fn blob_secrets(&self, project: ProjectId) -> Result<Vec<Secret>, Problem> {
        Ok(self.project_access(project).await?.map(|access| access.keys.clone()).unwrap_or_default())
    }
}

fn sign(secret: &Secret, (project_id, key): (ProjectId, &str), exp: i64) -> Result<String, Problem> {
    let header = Header { kid: Some(secret.version.to_string()), ..Header::new(Algorithm::HS256) };
    let claims = Claims { iss: ISSUER.to_owned(), project_id, key: key.to_owned(), exp };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret.bytes))
        .map_err(|_| Problem::new(Code::Internal, "the address could not be signed"))
}

/// Time is judged by the caller, whose clock may be a lab's.
fn verify(token: &str, secrets: &[Secret]) -> Option<Claims> {
    let version: i32 = jsonwebtoken::decode_header(token).ok()?.kid?.parse().ok()?;
    let secret = secrets.iter().find(|secret| secret.version == version)?;
    let mut rules = Validation::new(Algorithm::HS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.set_issuer(&[ISSUER]);
    let key = DecodingKey::from_secret(&secret.bytes);
    jsonwebtoken::decode::<Claims>(token, &key, &rules).ok().map(|token| token.claims)
}

#[cfg(test)]
mod tests {
    use types::OsEntropy;

    use super::*;

    #[test]
    fn a_signed_address_is_no_key_and_no_other_projects() {
        let secret = |byte| Secret { version: 1, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH };
        let project = ProjectId::new(&OsEntropy);
        let token = sign(&secret(1), (project, "a/b"), 7).unwrap();
        let claims = verify(&token, &[secret(1)]).unwrap();
        assert_eq!((claims.project_id, claims.key.as_str(), claims.exp), (project, "a/b", 7));
        assert!(verify(&token, &[secret(2)]).is_none());
        assert!(crate::keys::verify(&token, &[secret(1)]).is_none());
    }
}
