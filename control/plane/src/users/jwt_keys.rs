//! The keys that tokens of a project's users are verified with, for whoever is to verify them.

use ::users::UserKey;
use types::Problem;

use crate::Plane;
use crate::caller::Caller;

impl Plane {
    /// The keys of the project whose service key this is, the newest first.
    ///
    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN` for an anon key.
    ///
    /// # Source
    /// Wire contract 03 section 6.3.
    pub async fn user_keys(&self, caller: &Caller) -> Result<Vec<UserKey>, Problem> {
        let project = self.service_project(caller).await?;
        let secrets = self.user_secrets(project).await?.unwrap_or_default();
        Ok(secrets.iter().filter_map(|secret| UserKey::of(project, secret)).collect())
    }
}
