//! A workflow's identity token for a session.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use store::ci::{self, Exchanged, NewSession};
use types::{Code, Mutation, Problem, ProjectId};
use users::oidc::{OidcError, Provider};

use super::claims::{Claims, choose};
use super::{SESSION_PREFIX, SESSION_SECS};
use crate::Plane;
use crate::keys::store_problem;

/// # Source
/// RFC 8693 sections 2.1 and 3.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What a workflow sends.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub grant_type: String,
    pub subject_token: String,
    pub subject_token_type: String,
    pub project_id: String,
}

/// A session: the only time that its token is seen.
#[derive(Clone)]
pub struct SessionGrant {
    pub access_token: String,
    pub expires_in_secs: i64,
}

impl std::fmt::Debug for SessionGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionGrant({} s)", self.expires_in_secs)
    }
}

impl Plane {
    /// Opens a session for the workflow that an identity token speaks of. Each token does so once.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_token`, `access_denied`, `event_not_allowed`, `repository_id_mismatch`,
    /// `ambiguous_binding`; `UNAVAILABLE` when the issuer's keys cannot be read; `FEATURE_DISABLED`.
    ///
    /// # Source
    /// Wire contract 02 section 8.3.
    pub async fn ci_exchange(&self, asked: Exchange) -> Result<SessionGrant, Problem> {
        let project = check(&asked)?;
        let issuer = self.ci_issuer()?;
        let wall = self.deps().wall.now();
        let claims: Claims = issuer.claims(&asked.subject_token, wall).await.map_err(refused)?;
        claims.check(issuer.issuer(), &self.config().ci.audiences, wall)?;
        let denied =
            || Problem::new(Code::CiAccessDenied, "no active binding of the project fits this workflow");
        // A project that is gone, or never was, answers like one without bindings.
        self.project_live(project).await.map_err(|e| match e.code {
            Code::ProjectNotFound => denied(),
            _ => e,
        })?;
        let now = self.now();
        let bindings = ci::binding_list(&self.deps().store, project).await.map_err(store_problem)?;
        let binding = choose(&bindings, &claims, now)?;
        let token =
            format!("{SESSION_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(self.deps().entropy.secret()));
        let end = now + TimeDelta::seconds(SESSION_SECS);
        let end = binding.expires.as_ref().map_or(end, |(_, at)| end.min(*at));
        let session = NewSession {
            token_sha256: Sha256::digest(&token).into(),
            binding: binding.id,
            identity_sha256: identity(&claims),
            identity_expires_at: DateTime::from_timestamp(claims.expires_at(), 0)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            now,
            expires_at: end,
        };
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        match ci::session_open(&mut tx, &session).await.map_err(store_problem)? {
            Exchanged::Done => tx.commit().await.map_err(store_problem)?,
            Exchanged::Ended => return Err(denied()),
            Exchanged::Reused => {
                return Err(Problem::new(Code::CiInvalidToken, "this identity token was exchanged before"));
            }
        }
        tracing::info!(project.id = %project, binding.id = %binding.id, "CI session opened");
        Ok(SessionGrant { access_token: token, expires_in_secs: (end - now).num_seconds() })
    }

    /// Who signs identity tokens here.
    pub(super) fn ci_issuer(&self) -> Result<&Provider, Problem> {
        self.config().ci.issuer.as_deref().ok_or_else(|| {
            Problem::new(Code::FeatureDisabled, "this server takes no deploys from CI")
                .hint("Its operator must set issuer in [ci].")
        })
    }
}

fn check(asked: &Exchange) -> Result<ProjectId, Problem> {
    let bad = |field: &str, why: &str| {
        Err(Problem::new(Code::CiInvalidRequest, format!("{field}: {why}")).detail("field", field))
    };
    if asked.grant_type != GRANT_TYPE {
        return bad("grant_type", GRANT_TYPE);
    }
    if asked.subject_token_type != TOKEN_TYPE {
        return bad("subject_token_type", TOKEN_TYPE);
    }
    if asked.subject_token.is_empty() {
        return bad("subject_token", "send the identity token of the workflow");
    }
    match asked.project_id.parse() {
        Ok(project) => Ok(project),
        Err(_) => bad("project_id", "a project's id"),
    }
}

/// One spelling for a token, whatever its text: its issuer's own name for it.
fn identity(claims: &Claims) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [claims.iss.as_str(), claims.jti.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn refused(error: OidcError) -> Problem {
    match error {
        OidcError::Token(why) => {
            Problem::new(Code::CiInvalidToken, format!("the identity token does not verify: {why}"))
        }
        OidcError::Refused(_) | OidcError::Unreachable(_) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "CI issuer");
            Problem::new(Code::Unavailable, "the CI provider's keys could not be read")
                .mutation(Mutation::NotStarted)
        }
    }
}
