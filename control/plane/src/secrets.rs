//! Secrets of a project's functions: set, listed by key, deleted. Nobody reads a value back.

use store::function_secrets::{
    SecretKey, function_secret_set, function_secrets_delete, function_secrets_list,
};
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4_096;
/// # Source
/// Wire contract 03 section 4.5.
const RESERVED: [&str; 15] = [
    "RUN402_API_BASE",
    "RUN402_PROJECT_ID",
    "RUN402_SERVICE_KEY",
    "RUN402_ANON_KEY",
    "RUN402_JWT_SECRET",
    "RUN402_RELEASE_ID",
    "RUN402_FUNCTION_NAME",
    "RUN402_REQUEST_ID",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
];

/// `^[A-Z_][A-Z0-9_]{0,127}$`
///
/// # Source
/// Wire contract 02 section 0.4.
pub(crate) fn is_key(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    first
        && key.len() <= KEY_BYTES_MAX
        && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

impl Plane {
    /// Sets a secret, or replaces it.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; the lifecycle's refusals; `BAD_SECRET`; `SECRET_LIMIT_EXCEEDED`.
    ///
    /// # Source
    /// Wire contract 03 section 4.1.
    pub async fn secret_set(
        &self,
        caller: &Caller,
        project: ProjectId,
        key: &str,
        value: &str,
    ) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        if !is_key(key) {
            let why = "a key has A-Z, 0-9 and _, begins with no digit, and is up to 128 long";
            return Err(Problem::new(Code::BadSecret, why).detail("field", "key"));
        }
        if RESERVED.contains(&key) {
            let why = "the platform sets this variable of a function itself";
            return Err(Problem::new(Code::BadSecret, why).detail("field", "key"));
        }
        if value.is_empty() || value.len() > VALUE_BYTES_MAX {
            let why = format!("a value has 1 to {VALUE_BYTES_MAX} bytes");
            return Err(Problem::new(Code::BadSecret, why).detail("field", "value"));
        }
        let tier = self.tier_of(project).await?;
        let limit = self.deps().prices.limits(tier).secrets;
        let (deps, now) = (self.deps(), self.now());
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        if !store::releases::project_ready_locked(&mut tx, project).await.map_err(store_problem)? {
            return Err(Problem::new(Code::ProjectNotFound, format!("no project {project}")));
        }
        let sealing = (&deps.master_key, &*deps.entropy);
        let set = function_secret_set(&mut tx, sealing, (project, key, value), limit, now).await;
        if !set.map_err(store_problem)? {
            return Err(Problem::new(
                Code::SecretLimitExceeded,
                format!("the {tier} tier allows {limit} secrets for a project"),
            )
            .detail("limit", limit));
        }
        tx.commit().await.map_err(store_problem)?;
        tracing::info!(project.id = %project, key, "secret set");
        Ok(())
    }

    /// Keys, sorted.
    ///
    /// # Errors
    /// As [`Plane::service_key`].
    ///
    /// # Source
    /// Wire contract 03 section 4.2.
    pub async fn secret_list(&self, caller: &Caller, project: ProjectId) -> Result<Vec<SecretKey>, Problem> {
        self.service_key(caller, project).await?;
        function_secrets_list(&self.deps().store, project).await.map_err(store_problem)
    }

    /// # Errors
    /// As [`Plane::service_key`]; `SECRET_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 03 section 4.3.
    pub async fn secret_delete(&self, caller: &Caller, project: ProjectId, key: &str) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let gone = function_secrets_delete(&mut tx, project, &[key.to_owned()]).await;
        let gone = gone.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        if gone == 0 {
            return Err(Problem::new(Code::SecretNotFound, format!("no secret {key}")));
        }
        tracing::info!(project.id = %project, key, "secret deleted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn keys_are_names_of_environment_variables() {
        for good in ["A", "_", "STRIPE_KEY", "X2", &"A".repeat(128)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "2X", "a", "A-B", "A B", "Ä", &"A".repeat(129)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
