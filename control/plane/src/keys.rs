//! Project keys: permanent tokens that name a project and a role, signed with a secret of that project alone.
//!
//! The signing secret is the project's own and has no other use: the one that signs its users' tokens is
//! handed to tenant code, and must not make keys. A key carries the version of its secret (`kid`), so that
//! secrets can be replaced while older keys live on until their version is retired.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use store::functions::LiveAt;
use store::projects::{Access, Phase, Project, Secret, projects_access, projects_callable};
use types::{AccountId, Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;

pub(crate) const ISSUER: &str = "agentdb";
/// Ours have about 250 bytes.
const KEY_BYTES_MAX: usize = 4_096;

/// A verified project key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectKey {
    pub project: ProjectId,
    pub role: KeyRole,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum KeyRole {
    /// For browsers: what row security grants to visitors.
    #[serde(rename = "anon")]
    Anon,
    /// For servers: everything in the project.
    #[serde(rename = "service_role")]
    Service,
}

/// Both keys of a project.
#[derive(Clone)]
pub struct ProjectKeys {
    pub anon: String,
    pub service: String,
}

impl std::fmt::Debug for ProjectKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProjectKeys(..)")
    }
}

/// # Source
/// Wire contract 01 section 2.4. Keys have no end; the lease decides what they reach.
#[derive(serde::Serialize, serde::Deserialize)]
struct Claims {
    iss: String,
    project_id: ProjectId,
    role: KeyRole,
    iat: i64,
}

impl Plane {
    /// The project key of this request: the bearer token if there is one, else the `apikey` header.
    ///
    /// # Errors
    /// `UNAUTHORIZED` when there is none, it does not verify, or its project is gone.
    pub async fn project_key(&self, caller: &Caller) -> Result<ProjectKey, Problem> {
        let (token, claimed) = shown(caller)?;
        judged((token, claimed), self.project_access(claimed).await?.as_deref())
    }

    /// What requests of a ready project are judged by. Read with each request, which is what makes an erased
    /// project's keys and tokens fail at once on every node.
    ///
    /// # Errors
    /// As [`store_problem`].
    pub(crate) async fn project_access(&self, project: ProjectId) -> Result<Option<Arc<Access>>, Problem> {
        let deps = self.deps();
        let load =
            |ids: Vec<ProjectId>| async move { projects_access(&deps.store, &deps.master_key, &ids).await };
        let found = self.inner.access.read(project, load).await.map_err(store_problem)?;
        Ok(found.filter(|found| found.phase == Phase::Ready))
    }

    /// As [`Plane::project_key`], and where the project's functions are read, if a release is live.
    pub(crate) async fn project_key_for_call(
        &self,
        caller: &Caller,
    ) -> Result<(ProjectKey, Option<LiveAt>), Problem> {
        let (token, claimed) = shown(caller)?;
        let deps = self.deps();
        let load =
            |ids: Vec<ProjectId>| async move { projects_callable(&deps.store, &deps.master_key, &ids).await };
        let found = self.inner.callable.read(claimed, load).await.map_err(store_problem)?;
        let (access, live) = found.unzip();
        let access = access.filter(|access| access.phase == Phase::Ready);
        Ok((judged((token, claimed), access.as_deref())?, live.flatten()))
    }

    /// Accepts only a service key of exactly this project.
    ///
    /// # Errors
    /// `UNAUTHORIZED` when there is no valid key, `FORBIDDEN` when it is another project's or an anon key.
    pub async fn service_key(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        let key = self.project_key(caller).await?;
        if key.project != project {
            return Err(forbidden("the key belongs to another project"));
        }
        match key.role {
            KeyRole::Service => Ok(()),
            KeyRole::Anon => Err(forbidden("this needs the service key")),
        }
    }

    /// The account of the wallet that signed this request, if it owns the project.
    ///
    /// # Errors
    /// As [`Plane::wallet`]; `PROJECT_NOT_FOUND`; `FORBIDDEN` when the project is another account's.
    pub async fn project_owner(&self, caller: &Caller, project: ProjectId) -> Result<AccountId, Problem> {
        let (_, account) = self.account(caller).await?;
        let owner = self.project_live(project).await?.account;
        if owner == account { Ok(account) } else { Err(forbidden("the project belongs to another account")) }
    }

    /// Accepts a key of this project of any role, or its owner's signature.
    ///
    /// # Errors
    /// As [`Plane::project_key`] when a key was sent, else as [`Plane::project_owner`].
    pub async fn project_reader(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        if caller.bearer.is_none() && caller.apikey.is_none() {
            return self.project_owner(caller, project).await.map(drop);
        }
        let key = self.project_key(caller).await?;
        if key.project == project { Ok(()) } else { Err(forbidden("the key belongs to another project")) }
    }

    /// A project that is neither being erased nor gone.
    pub(crate) async fn project_live(&self, project: ProjectId) -> Result<Project, Problem> {
        store::projects::project_find(&self.deps().store, project)
            .await
            .map_err(store_problem)?
            .filter(|found| matches!(found.phase, Phase::Provisioning | Phase::Ready))
            .ok_or_else(|| Problem::new(Code::ProjectNotFound, format!("no project {project}")))
    }

    /// The keys of a ready project. The same secret always gives the same keys, so they are never stored.
    pub(crate) async fn project_keys(&self, project: ProjectId) -> Result<ProjectKeys, Problem> {
        let deps = self.deps();
        let found = store::projects::project_access_fetch(&deps.store, &deps.master_key, project)
            .await
            .map_err(store_problem)?;
        let secret = found
            .keys
            .first()
            .ok_or_else(|| Problem::new(Code::ProjectNotReady, format!("project {project} has no keys")))?;
        Ok(ProjectKeys {
            anon: sign(project, KeyRole::Anon, secret)?,
            service: sign(project, KeyRole::Service, secret)?,
        })
    }
}

/// The key that a request shows, and the project that it says it is of.
fn shown(caller: &Caller) -> Result<(&str, ProjectId), Problem> {
    let token = caller
        .bearer
        .as_deref()
        .or(caller.apikey.as_deref())
        .ok_or_else(|| unauthorized("the request carries no project key"))?;
    if crate::ci::is_session_token(token) {
        return Err(crate::ci::out_of_scope());
    }
    let claimed = project_unverified(token).ok_or_else(|| unauthorized("this is not a project key"))?;
    Ok((token, claimed))
}

fn judged((token, claimed): (&str, ProjectId), found: Option<&Access>) -> Result<ProjectKey, Problem> {
    let found = found.ok_or_else(|| unauthorized("the key's project does not exist"))?;
    let key = verify(token, &found.keys).ok_or_else(|| unauthorized("the key does not verify"))?;
    if key.project == claimed { Ok(key) } else { Err(unauthorized("the key does not verify")) }
}

/// The anon and the service key that this secret makes.
pub fn keys_of(project: ProjectId, secret: &Secret) -> Option<(String, String)> {
    let key = |role| sign(project, role, secret).ok();
    Some((key(KeyRole::Anon)?, key(KeyRole::Service)?))
}

/// The control database failed: what the caller is told.
pub(crate) fn store_problem(error: store::StoreError) -> Problem {
    tracing::warn!(error = &error as &dyn std::error::Error, "control database");
    actors::kit::ActorError::from(error).into_problem()
}

fn sign(project: ProjectId, role: KeyRole, secret: &Secret) -> Result<String, Problem> {
    let header = Header { kid: Some(secret.version.to_string()), ..Header::new(Algorithm::HS256) };
    let claims =
        Claims { iss: ISSUER.to_owned(), project_id: project, role, iat: secret.created_at.timestamp() };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret.bytes))
        .map_err(|_| Problem::new(Code::Internal, "the key could not be signed"))
}

/// Only HS256, only the version the key names, and no claim but ours matters.
pub(crate) fn verify(token: &str, secrets: &[Secret]) -> Option<ProjectKey> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let version: i32 = header.kid?.parse().ok()?;
    let secret = secrets.iter().find(|secret| secret.version == version)?;
    let mut rules = Validation::new(Algorithm::HS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.set_issuer(&[ISSUER]);
    let token =
        jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&secret.bytes), &rules).ok()?;
    Some(ProjectKey { project: token.claims.project_id, role: token.claims.role })
}

/// The project a token claims to be of: only to know whose secret must have signed it.
pub(crate) fn project_unverified(token: &str) -> Option<ProjectId> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        project_id: ProjectId,
    }
    if token.len() > KEY_BYTES_MAX {
        return None;
    }
    let body = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claimed>(&body).ok().map(|claimed| claimed.project_id)
}

fn unauthorized(why: &str) -> Problem {
    Problem::new(Code::Unauthorized, why)
}

pub(crate) fn forbidden(why: &str) -> Problem {
    Problem::new(Code::Forbidden, why)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use types::OsEntropy;

    use super::*;

    fn secret(version: i32, byte: u8) -> Secret {
        Secret { version, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn a_key_verifies_only_under_the_secret_and_version_that_signed_it() {
        let project = ProjectId::new(&OsEntropy);
        let key = sign(project, KeyRole::Service, &secret(2, 7)).unwrap();
        assert_eq!(project_unverified(&key), Some(project));
        let good = ProjectKey { project, role: KeyRole::Service };
        assert_eq!(verify(&key, &[secret(3, 9), secret(2, 7)]), Some(good));
        assert_eq!(verify(&key, &[secret(2, 8)]), None);
        assert_eq!(verify(&key, &[secret(1, 7)]), None, "a retired version is gone");
    }

    // H01: no algorithm but ours, no unsigned token, no changed claim.
    #[test]
    fn forged_tokens_are_refused() {
        let project = ProjectId::new(&OsEntropy);
        let secrets = [secret(1, 7)];
        let key = sign(project, KeyRole::Anon, &secrets[0]).unwrap();
        let (head, rest) = key.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let raised = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(body).unwrap())
            .unwrap()
            .replace("anon", "service_role");
        for forged in [
            format!("{head}.{}.{signature}", encode(&raised)),
            format!("{}.{body}.", encode(r#"{"alg":"none","typ":"JWT","kid":"1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS512","typ":"JWT","kid":"1"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","typ":"JWT"}"#)),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"HS256","kid":"../1"}"#)),
            format!("{head}.{body}"),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(verify(&forged, &secrets), None, "{forged}");
        }
        assert_eq!(project_unverified(&"a".repeat(KEY_BYTES_MAX + 1)), None);
    }

    #[test]
    fn the_same_secret_gives_the_same_key() {
        let project = ProjectId::new(&OsEntropy);
        let once = || sign(project, KeyRole::Anon, &secret(1, 3)).unwrap();
        assert_eq!(once(), once());
    }
}
