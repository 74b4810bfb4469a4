//! Deploys by workflows of a CI provider: what was delegated, to which workflow, and what a session may do.
//!
//! An owner signs a delegation (`bindings`); a workflow shows the provider's identity token and gets a session
//! (`exchange`); each of its requests looks its binding up again, so that a revocation holds from the next one on.

mod bindings;
mod claims;
mod exchange;
pub(crate) mod scope;
mod statement;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use store::ci::Binding;
use types::delegation::CI_AUDIENCE;
use types::{CiBindingId, Code, Problem, ProjectId};
use users::oidc::Provider;

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

pub use bindings::NewBinding;
pub use exchange::{Exchange, SessionGrant};
pub use scope::{is_callable, is_session_token};
pub use store::ci::Binding as CiBinding;

/// How long a session lasts, unless its binding ends before.
///
/// # Source
/// Wire contract 02 section 8.3.
const SESSION_SECS: i64 = 900;
/// Beginning of a session's token: no other credential of ours looks like it.
const SESSION_PREFIX: &str = "r402ci_";

/// Which workflows are believed.
#[derive(Debug, Clone)]
pub struct CiConfig {
    /// Who signs their identity tokens; without it nothing is exchanged.
    pub issuer: Option<Arc<Provider>>,
    /// Whom the tokens may be for; the first is what bindings name unless they are signed for another.
    pub audiences: Vec<String>,
}

impl Default for CiConfig {
    fn default() -> Self {
        Self { issuer: None, audiences: vec![CI_AUDIENCE.to_owned()] }
    }
}

/// A workflow that deploys under a binding.
#[derive(Debug, Clone)]
pub(crate) struct CiSession {
    pub binding: CiBindingId,
    pub project: ProjectId,
    pub route_scopes: Vec<String>,
}

impl Plane {
    /// The session of a request that carries a session's token; none when it carries no such token, whatever
    /// else it carries.
    ///
    /// # Errors
    /// `invalid_token` when the session is over or unknown, `access_denied` when its binding is.
    pub(crate) async fn ci_session(&self, caller: &Caller) -> Result<Option<CiSession>, Problem> {
        let Some(token) = caller.ci_token() else { return Ok(None) };
        let (now, sha256) = (self.now(), Sha256::digest(token).into());
        let binding = store::ci::session_binding(&self.deps().store, &sha256, now).await;
        let binding = binding
            .map_err(store_problem)?
            .ok_or_else(|| Problem::new(Code::CiInvalidToken, "the CI session is over, or none of ours"))?;
        if !binding.is_active(now) {
            return Err(Problem::new(
                Code::CiAccessDenied,
                "the binding of this session was revoked or is over",
            ));
        }
        let Binding { id, project, route_scopes, .. } = binding;
        Ok(Some(CiSession { binding: id, project, route_scopes }))
    }
}

impl Caller {
    /// The bearer token, if it has the shape of a CI session's.
    pub(crate) fn ci_token(&self) -> Option<&str> {
        self.bearer.as_deref().filter(|token| is_session_token(token))
    }
}

/// What anybody but a deploy says to a CI session.
pub(crate) fn out_of_scope() -> Problem {
    Problem::new(
        Code::CiInsufficientScope,
        "a CI session only plans, uploads and commits releases of its project",
    )
}

/// Published clients in CI mode read lifecycle trouble as one code.
///
/// # Source
/// Wire contract 02 section 8.4.
pub(crate) fn for_workflow(problem: Problem) -> Problem {
    match problem.code {
        Code::TierRequired | Code::ProjectPastDue | Code::ProjectFrozen | Code::ProjectDormant => {
            let was = problem.code.as_str();
            Problem { code: Code::CiPaymentRequired, hint: None, ..problem }.detail("reason", was)
        }
        _ => problem,
    }
}
