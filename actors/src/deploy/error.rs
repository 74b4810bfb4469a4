//! Why a deploy failed, as clients read it.

use serde_json::{Value, json};
use store::deploys::Operation;
use store::releases::ActivateRefused;
use types::{Code, Mutation, Problem};

use crate::kit::ActorError;

/// A failure of a deploy. Deploy clients drop the HTTP status and read `safe_to_retry` instead, so it is
/// always said.
///
/// # Source
/// Wire contract 02 sections 0.3 and 4.7.
pub fn deploy_problem(code: Code, phase: &str, message: impl Into<String>) -> Problem {
    Problem::new(code, message)
        .extra("phase", phase)
        .extra("safe_to_retry", true)
        .extra("retryable", code.retryable())
}

/// The `error` of an operation.
pub(super) fn error_object(problem: &Problem, operation: &Operation) -> Value {
    let code = problem.code;
    let mut object = json!({
        "code": code.as_str(),
        "message": problem.message,
        "category": "deploy",
        "retryable": code.retryable(),
        "safe_to_retry": true,
        "mutation_state": problem.mutation.as_str(),
        "hint": problem.hint.as_deref().unwrap_or_else(|| code.advice()),
        "operation_id": operation.id,
        "plan_id": operation.plan,
        "trace_id": operation.trace.map(|trace| trace.to_string()),
        "details": problem.details,
        "next_actions": [{ "action": code.action(), "type": code.action() }],
    });
    if let Some(fields) = object.as_object_mut() {
        fields.extend(problem.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    object
}

/// A refusal of the pointer move. Nothing of the release is visible, so the change never started.
impl From<ActivateRefused> for ActorError {
    fn from(refused: ActivateRefused) -> Self {
        let message = refused.to_string();
        let (code, name) = match refused {
            ActivateRefused::Store(e) => return e.into(),
            ActivateRefused::Before => (Code::NotResumable, None),
            ActivateRefused::BaseMoved => (Code::BaseReleaseConflict, None),
            ActivateRefused::NameTaken(name) => (Code::DeploySubdomainTaken, Some(name)),
            ActivateRefused::NameReserved(name) => (Code::SubdomainReserved, Some(name)),
            ActivateRefused::Gated => (Code::MigrateGateActive, None),
            ActivateRefused::AssetGone(_) => (Code::ContentUploadFailed, None),
            ActivateRefused::AddressTaken(_) => (Code::BlobAddressTaken, None),
            ActivateRefused::Gone => (Code::ProjectNotFound, None),
        };
        let problem = deploy_problem(code, "activate", message).mutation(Mutation::NotStarted);
        match name {
            Some(name) => problem.extra("resource", format!("subdomains.{name}")).into(),
            None => problem.into(),
        }
    }
}

/// Refusals of the pointer move that no repetition cures.
pub(super) fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::BaseReleaseConflict
            | Code::MigrateGateActive
            | Code::ContentUploadFailed
            | Code::BlobAddressTaken
            | Code::DeploySubdomainTaken
            | Code::SubdomainReserved
            | Code::ProjectNotFound
    )
}
