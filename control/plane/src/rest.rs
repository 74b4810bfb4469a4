//! `/rest/v1` and `/admin/v1/rest`: who asks, and whether the project may be asked now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rest::Rest;
use rest::rest::{Answer, Ask, Role, Target, Who};
use serde_json::{Value, json};
use store::cells::{Cells, Slot};
use store::projects::{Access, Secret};
use types::{Code, Problem, ProjectId};
use users::token;

use crate::Plane;
use crate::caller::Caller;
use crate::keys::{self, KeyRole};

/// Projects whose slot is remembered.
const SLOTS_MAX: usize = 20_000;

/// The engine, and what is remembered for it.
pub(crate) struct RestState {
    engine: Rest,
    /// A project keeps its slot for its whole life, and numbers of slots are never used again.
    slots: Mutex<HashMap<ProjectId, Slot>>,
}

impl RestState {
    pub fn new(cells: Cells) -> Self {
        Self { engine: Rest::new(cells), slots: Mutex::default() }
    }
}

/// Which of the two doors a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `/rest/v1`: visitors and users, under row security.
    Public,
    /// `/admin/v1/rest`: the service key, past row security.
    Admin,
}

/// A project that a token of this request was of.
type Known = Option<(ProjectId, Arc<Access>)>;

/// Whom a token speaks for.
struct Bearer {
    project: ProjectId,
    role: Role,
    claims: Value,
}

impl Plane {
    /// Answers a request on a project's tables or functions, PostgREST's refusals included.
    ///
    /// # Errors
    /// `MIGRATE_GATE_ACTIVE` while a deploy runs migrations; `UNAUTHORIZED` without a valid token;
    /// `ADMIN_REQUIRED` for a service key on the public door; `FORBIDDEN` for two tokens of two projects, and for
    /// anything but a service key on the admin door; `RATE_LIMITED`; `QUOTA_EXCEEDED`; `UNAVAILABLE`,
    /// `RESULT_TOO_LARGE` and `OUTCOME_UNKNOWN` of the database.
    ///
    /// # Source
    /// Wire contract 01 sections 8.1 and 8.2.
    pub async fn rest(&self, caller: &Caller, door: Door, ask: Ask) -> Result<Answer, Problem> {
        let bearer = self.rest_bearer(caller, door).await?;
        let pool = self.data_call(bearer.project).await?;
        let adds = matches!((ask.method.as_str(), &ask.target), ("POST" | "PUT" | "PATCH", Target::Table(_)));
        if adds {
            self.storage_allowed(&pool)?;
        }
        let slot = self.rest_slot(bearer.project).await?;
        let who = Who { role: bearer.role, claims: bearer.claims.to_string() };
        self.inner.rest.engine.answer(&slot, who, ask).await.map_err(|problem| *problem)
    }

    async fn rest_bearer(&self, caller: &Caller, door: Door) -> Result<Bearer, Problem> {
        let tokens = [caller.bearer.as_deref(), caller.apikey.as_deref()];
        let mut found = Vec::with_capacity(2);
        let mut known = None;
        for token in tokens.into_iter().flatten() {
            // Clients send the same key in both places.
            if found.is_empty() || caller.bearer != caller.apikey {
                found.push(self.rest_token(token, &mut known).await?);
            }
        }
        let service = found.iter().any(|one| one.role == Role::Service);
        if let [one, other] = found.as_slice()
            && one.project != other.project
        {
            return Err(Problem::new(Code::Forbidden, "the two keys of this request belong to two projects"));
        }
        let first = found.into_iter().next();
        let first = first.ok_or_else(|| Problem::new(Code::Unauthorized, "the request carries no key"))?;
        match door {
            Door::Public if service => {
                Err(Problem::new(Code::AdminRequired, "service_role is not permitted on /rest/v1/*")
                    .hint("Use /admin/v1/rest/* with the service key"))
            }
            Door::Admin if first.role != Role::Service => {
                Err(Problem::new(Code::Forbidden, "this needs the service key"))
            }
            _ => Ok(first),
        }
    }

    /// A project's key, else a token of one of its users. `known` is what this request has read already.
    async fn rest_token(&self, token: &str, known: &mut Known) -> Result<Bearer, Problem> {
        let wrong = || Problem::new(Code::Unauthorized, "the key or token does not verify");
        let project = keys::project_unverified(token).ok_or_else(wrong)?;
        let access = self.rest_access(project, known).await?.ok_or_else(wrong)?;
        if let Some(key) = keys::verify(token, &access.keys) {
            let role = match key.role {
                KeyRole::Anon => Role::Anon,
                KeyRole::Service => Role::Service,
            };
            let claims = json!({ "iss": keys::ISSUER, "project_id": key.project, "role": role.as_str() });
            return if key.project == project { Ok(Bearer { project, role, claims }) } else { Err(wrong()) };
        }
        let now = self.deps().wall.now().timestamp();
        let bearer = user_token(token, &access.users, project, now).ok_or_else(wrong)?;
        // The role is rare, and may have been taken away within the token's hour.
        let claim = |name: &str| bearer.claims.get(name).and_then(Value::as_str);
        if let (Role::ProjectAdmin, Some(session)) = (bearer.role, claim("session_id")) {
            self.admin_still(project, claim("sub").unwrap_or_default(), session).await?;
        }
        Ok(bearer)
    }

    async fn rest_access(
        &self,
        project: ProjectId,
        known: &mut Known,
    ) -> Result<Option<Arc<Access>>, Problem> {
        if let Some((_, access)) = known.as_ref().filter(|(of, _)| *of == project) {
            return Ok(Some(access.clone()));
        }
        let found = self.project_access(project).await?;
        if found.as_ref().is_some_and(|found| found.blocks_data) {
            // Asked again, for the operation's name.
            self.data_gate(project).await?;
        }
        *known = found.clone().map(|access| (project, access));
        Ok(found)
    }

    async fn rest_slot(&self, project: ProjectId) -> Result<Slot, Problem> {
        let slots = &self.inner.rest.slots;
        let known = slots.lock().unwrap_or_else(PoisonError::into_inner).get(&project).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let slot = self.project_slot(project).await?;
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SLOTS_MAX {
            slots.clear();
        }
        slots.insert(project, slot.clone());
        Ok(slot)
    }
}

/// Only roles below the service key's: tenant code holds the secret for users and could name any other.
fn user_token(token: &str, secrets: &[Secret], project: ProjectId, now: i64) -> Option<Bearer> {
    let claims = token::claims(token, secrets, project, now)?;
    let role = match claims.get("role").and_then(Value::as_str) {
        Some("anon") => Role::Anon,
        Some("authenticated") | None => Role::Authenticated,
        Some("project_admin") => Role::ProjectAdmin,
        Some(_) => return None,
    };
    Some(Bearer { project, role, claims })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use types::OsEntropy;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret(byte: u8) -> Secret {
        Secret { version: 1, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH }
    }

    fn signed(claims: &Value, algorithm: Algorithm) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(&[7; 32])).unwrap()
    }

    // H01: no role above a user's, no other project, no other algorithm, nothing that has ended.
    #[test]
    fn a_users_token_is_good_for_its_role_its_project_and_its_time() {
        let project = ProjectId::new(&OsEntropy);
        let read =
            |claims: Value, algorithm| user_token(&signed(&claims, algorithm), &[secret(7)], project, NOW);
        let good = json!({ "project_id": project, "role": "authenticated", "sub": "u", "exp": NOW + 60 });
        let bearer = read(good.clone(), Algorithm::HS256).unwrap();
        assert_eq!((bearer.role, &bearer.claims["sub"]), (Role::Authenticated, &json!("u")));
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        for bad in [
            with("exp", json!(NOW)),
            with("exp", json!("never")),
            with("nbf", json!(NOW + 600)),
            with("role", json!("service_role")),
            with("role", json!("postgres")),
            with("project_id", json!(ProjectId::new(&OsEntropy))),
        ] {
            assert!(read(bad.clone(), Algorithm::HS256).is_none(), "{bad}");
        }
        assert!(read(good.clone(), Algorithm::HS512).is_none());
        assert!(user_token(&signed(&good, Algorithm::HS256), &[secret(8)], project, NOW).is_none());
    }
}
