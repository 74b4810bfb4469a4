//! Bindings: made by an owner's signature, listed, ended.

use chain::siwx::{self, Siwx, SiwxError, SiwxPolicy};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use store::ci::{self, Binding, Bound};
use types::delegation::{CI_PROVIDER, DELEGATION_CHAIN_ID, Delegation};
use types::{CiBindingId, Code, Problem, ProjectId, Wallet, rfc3339};

use super::{claims, statement};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

const STATEMENT_BYTES_MAX: usize = 8_192;
const URI_BYTES_MAX: usize = 4_096;
const EVENTS_MAX: usize = 50;
const SCOPES_MAX: usize = 50;
const SCOPE_BYTES_MAX: usize = 256;
const TARGET: &str = "/ci/v1/bindings";

/// What an owner asks for, as the client sent it.
#[derive(Debug, Clone)]
pub struct NewBinding {
    pub project_id: String,
    pub provider: String,
    pub subject_match: String,
    pub allowed_actions: Vec<String>,
    pub allowed_events: Vec<String>,
    pub route_scopes: Vec<String>,
    pub github_repository_id: Option<String>,
    pub expires_at: Option<String>,
    pub nonce: String,
    /// Base64 of the signed JSON.
    pub signed_delegation: String,
}

impl Plane {
    /// Lets workflows deploy to a project of the caller, as the caller signed it.
    ///
    /// # Errors
    /// As [`Plane::project_owner`]; `invalid_request` and the codes of a delegation that does not hold;
    /// `nonce_replay`, `duplicate`; `FEATURE_DISABLED` where no issuer is configured.
    ///
    /// # Source
    /// Wire contract 02 section 8.1.
    pub async fn ci_binding_create(&self, caller: &Caller, asked: NewBinding) -> Result<Binding, Problem> {
        let project: ProjectId = asked
            .project_id
            .parse()
            .map_err(|_| Problem::new(Code::ProjectNotFound, format!("no project {}", asked.project_id)))?;
        let account = self.project_owner(caller, project).await?;
        let signer = self.wallet(caller).await?;
        self.account_gate(account).await?;
        let issuer = self.ci_issuer()?.issuer().to_owned();
        let now = self.now();
        let expires = check_fields(&asked, now)?;
        let signed = self.signed_delegation(&asked, signer)?;
        let (delegation, payload) = (self.delegation_of(&asked, &issuer, &signed)?, payload(&asked));
        let binding = Binding {
            id: CiBindingId::new(&*self.deps().entropy),
            project,
            issuer,
            audience: delegation.audience,
            subject_match: asked.subject_match,
            allowed_events: asked.allowed_events,
            route_scopes: asked.route_scopes,
            github_repository_id: asked.github_repository_id,
            expires,
            nonce: asked.nonce,
            created_by: signer.to_string(),
            delegation: json!({
                "payload": payload, "raw": asked.signed_delegation, "signer": signer.to_string(),
                "verified_at": rfc3339(now),
            }),
            created_at: now,
            revoked_at: None,
            last_used_at: None,
            use_count: 0,
        };
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        match ci::binding_create(&mut tx, &binding).await.map_err(store_problem)? {
            Bound::New => tx.commit().await.map_err(store_problem)?,
            Bound::NonceUsed => {
                return Err(Problem::new(Code::CiNonceReplay, "this nonce made a binding before"));
            }
            Bound::Duplicate => {
                return Err(Problem::new(Code::CiDuplicate, "an active binding has this subject")
                    .detail("subject_match", binding.subject_match));
            }
        }
        tracing::info!(project.id = %project, binding.id = %binding.id, "workflows may deploy");
        Ok(binding)
    }

    /// A project's bindings, revoked ones included.
    ///
    /// # Errors
    /// As [`Plane::project_owner`].
    pub async fn ci_binding_list(
        &self,
        caller: &Caller,
        project: ProjectId,
    ) -> Result<Vec<Binding>, Problem> {
        self.project_owner(caller, project).await?;
        ci::binding_list(&self.deps().store, project).await.map_err(store_problem)
    }

    /// # Errors
    /// `RESOURCE_NOT_FOUND`, also for another owner's.
    pub async fn ci_binding_get(&self, caller: &Caller, id: CiBindingId) -> Result<Binding, Problem> {
        let absent = || Problem::new(Code::ResourceNotFound, format!("no binding {id}"));
        // Who asks comes first: a stranger learns nothing about ids.
        self.wallet(caller).await?;
        let found = ci::binding_find(&self.deps().store, id).await.map_err(store_problem)?;
        let found = found.ok_or_else(absent)?;
        match self.project_owner(caller, found.project).await {
            Err(e) if matches!(e.code, Code::Forbidden | Code::ProjectNotFound) => Err(absent()),
            done => done.map(|_| found),
        }
    }

    /// Ends a binding: its sessions are refused from their next request on. What was committed goes on.
    /// Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`Plane::ci_binding_get`].
    pub async fn ci_binding_revoke(&self, caller: &Caller, id: CiBindingId) -> Result<Binding, Problem> {
        self.ci_binding_get(caller, id).await?;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let ended = ci::binding_revoke(&mut tx, id, self.now()).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        tracing::info!(project.id = %ended.project, binding.id = %id, "workflows may no longer deploy");
        Ok(ended)
    }

    /// Who signed the delegation, with the rules of its text that do not depend on its values.
    fn signed_delegation(&self, asked: &NewBinding, signer: Wallet) -> Result<Siwx, Problem> {
        let failed = |code, why: &str| Problem::new(code, why.to_owned());
        let policy = SiwxPolicy { ..self.config().siwx.clone() };
        let signed = siwx::verify(&asked.signed_delegation, &policy, self.deps().wall.now());
        let signed = signed.map_err(|e| match e {
            SiwxError::Header(chain::HeaderError::TooLong) => {
                failed(Code::CiDelegationOversized, "signed_delegation is longer than 8 KiB")
            }
            SiwxError::BadSignature => failed(
                Code::CiDelegationSignatureInvalid,
                "the signature is not by the address of the delegation",
            ),
            other => failed(Code::CiDelegationParseFailed, &other.to_string()),
        })?;
        if self.own_target(signed.target()) != TARGET || signed.chain_id != DELEGATION_CHAIN_ID {
            return Err(failed(Code::CiDelegationParseFailed, "it was signed for another address or chain"));
        }
        if Some(signed.nonce.as_str()) != asked.nonce.get(..16) {
            return Err(failed(
                Code::CiDelegationNonceInvalid,
                "its nonce is not the beginning of the binding's",
            ));
        }
        if signed.address != signer {
            return Err(failed(
                Code::CiSignerMismatch,
                "the delegation is signed by another wallet than the request",
            ));
        }
        Ok(signed)
    }

    /// The values that the text was signed for: ours but the audience, of which a server may take several.
    fn delegation_of(&self, asked: &NewBinding, issuer: &str, signed: &Siwx) -> Result<Delegation, Problem> {
        let [resource] = signed.resources.as_slice() else {
            return Err(Problem::new(Code::CiDelegationUriMismatch, "exactly one resource is signed"));
        };
        if signed.statement.len() > STATEMENT_BYTES_MAX || resource.len() > URI_BYTES_MAX {
            return Err(Problem::new(Code::CiDelegationOversized, "the signed text is too long"));
        }
        let values = |audience: &String| Delegation {
            project_id: asked.project_id.clone(),
            issuer: issuer.to_owned(),
            audience: audience.clone(),
            subject_match: asked.subject_match.clone(),
            allowed_actions: asked.allowed_actions.clone(),
            allowed_events: asked.allowed_events.clone(),
            route_scopes: asked.route_scopes.clone(),
            expires_at: asked.expires_at.clone(),
            github_repository_id: asked.github_repository_id.clone(),
            nonce: asked.nonce.clone(),
        };
        let mut all = self.config().ci.audiences.iter().map(values);
        let found = all.find(|values| values.resource_uri() == *resource).ok_or_else(|| {
            Problem::new(Code::CiDelegationUriMismatch, "the signed resource is not the URI of these values")
                .detail("issuer", issuer)
                .detail("audiences", self.config().ci.audiences.clone())
        })?;
        if !statement::is_canonical(&signed.statement, &found) {
            return Err(Problem::new(
                Code::CiDelegationStatementMismatch,
                "the signed text is none for these values",
            ));
        }
        Ok(found)
    }
}

/// The signed JSON, which was read before.
fn payload(asked: &NewBinding) -> Value {
    chain::decode_object(&asked.signed_delegation).map_or(Value::Null, Value::Object)
}

/// Everything that needs no signature. Answers when the binding ends.
fn check_fields(asked: &NewBinding, now: DateTime<Utc>) -> Result<Option<(String, DateTime<Utc>)>, Problem> {
    let bad = |field: &str, why: &str| {
        Err(Problem::new(Code::CiInvalidRequest, format!("{field}: {why}")).detail("field", field))
    };
    if asked.provider != CI_PROVIDER {
        return bad("provider", "only github-actions is known");
    }
    if asked.allowed_actions != ["deploy"] {
        return bad("allowed_actions", "exactly [\"deploy\"] can be delegated");
    }
    let nonce_ok = (16..=64).contains(&asked.nonce.len()) && asked.nonce.bytes().all(is_hex);
    if !nonce_ok {
        return Err(Problem::new(Code::CiDelegationNonceInvalid, "nonce: 16 to 64 lower-case hex digits"));
    }
    if let Err(why) = claims::check_subject(&asked.subject_match) {
        return bad("subject_match", why);
    }
    let event = |name: &String| {
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let events = &asked.allowed_events;
    if events.is_empty() || events.len() > EVENTS_MAX || !events.iter().all(event) || !is_sorted_once(events)
    {
        return bad("allowed_events", "1 to 50 names of events, sorted, each once");
    }
    let scopes = &asked.route_scopes;
    if scopes.len() > SCOPES_MAX || !scopes.iter().all(|scope| is_scope(scope)) || !is_sorted_once(scopes) {
        return bad(
            "route_scopes",
            "up to 50 patterns such as /api/*, sorted, each once; * only as a final /*",
        );
    }
    let id = asked.github_repository_id.as_deref();
    if id.is_some_and(|id| !(1..=20).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_digit())) {
        return bad("github_repository_id", "the number of the repository, as text");
    }
    match asked.expires_at.as_deref() {
        None => Ok(None),
        Some(text) => match instant(text).filter(|at| *at > now) {
            Some(at) => Ok(Some((text.to_owned(), at))),
            None => bad("expires_at", "a time to come, such as 2030-01-31T12:00:00Z or 2030-01-31"),
        },
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_sorted_once(all: &[String]) -> bool {
    all.is_sorted_by(|a, b| a < b)
}

/// A pattern of routes. A comma would make two of one in the signed text.
fn is_scope(scope: &str) -> bool {
    let fixed = scope.strip_suffix("/*").unwrap_or(scope);
    let plain = |b: u8| b.is_ascii_graphic() && !b",*%\\\"?#".contains(&b);
    scope.starts_with('/')
        && scope != "/*"
        && scope.len() <= SCOPE_BYTES_MAX
        && fixed.bytes().all(plain)
        && !fixed.contains("//")
        && !fixed.split('/').any(|part| part == "." || part == "..")
}

/// A day begins at midnight UTC.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    if text.len() > 64 {
        return None;
    }
    let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).or_else(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> NewBinding {
        NewBinding {
            project_id: "prj_1".to_owned(),
            provider: CI_PROVIDER.to_owned(),
            subject_match: "repo:acme/shop:ref:refs/heads/main".to_owned(),
            allowed_actions: vec!["deploy".to_owned()],
            allowed_events: vec!["push".to_owned(), "workflow_dispatch".to_owned()],
            route_scopes: Vec::new(),
            github_repository_id: None,
            expires_at: None,
            nonce: "0123456789abcdef".to_owned(),
            signed_delegation: String::new(),
        }
    }

    fn now() -> DateTime<Utc> {
        instant("2030-01-01").unwrap()
    }

    #[test]
    fn fields_are_checked_one_by_one() {
        assert_eq!(check_fields(&asked(), now()).unwrap(), None);
        let until = NewBinding { expires_at: Some("2030-01-02".to_owned()), ..asked() };
        let (text, at) = check_fields(&until, now()).unwrap().unwrap();
        assert_eq!((text.as_str(), at), ("2030-01-02", instant("2030-01-02T00:00:00Z").unwrap()));
        let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        for bad in [
            NewBinding { provider: "gitlab".to_owned(), ..asked() },
            NewBinding { allowed_actions: texts(&["deploy", "read"]), ..asked() },
            NewBinding { allowed_events: texts(&[]), ..asked() },
            NewBinding { allowed_events: texts(&["push", "push"]), ..asked() },
            NewBinding { allowed_events: texts(&["workflow_dispatch", "push"]), ..asked() },
            NewBinding { allowed_events: texts(&["push,pull_request"]), ..asked() },
            NewBinding { route_scopes: texts(&["/*"]), ..asked() },
            NewBinding { route_scopes: texts(&["api/*"]), ..asked() },
            NewBinding { route_scopes: texts(&["/a,/b"]), ..asked() },
            NewBinding { route_scopes: texts(&["/a/*/b"]), ..asked() },
            NewBinding { route_scopes: texts(&["/a/../b"]), ..asked() },
            NewBinding { github_repository_id: Some("4711x".to_owned()), ..asked() },
            NewBinding { expires_at: Some("soon".to_owned()), ..asked() },
            NewBinding { expires_at: Some("2029-12-31T23:59:59Z".to_owned()), ..asked() },
            NewBinding { subject_match: "*".to_owned(), ..asked() },
        ] {
            assert_eq!(check_fields(&bad, now()).unwrap_err().code, Code::CiInvalidRequest, "{bad:?}");
        }
        let nonce = NewBinding { nonce: "0123456789ABCDEF".to_owned(), ..asked() };
        assert_eq!(check_fields(&nonce, now()).unwrap_err().code, Code::CiDelegationNonceInvalid);
    }
}
