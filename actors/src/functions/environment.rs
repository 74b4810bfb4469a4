//! What a function finds in `process.env`.

use std::sync::Arc;

use functions::Redactor;
use store::projects::{Access, Secret, project_access_fetch};
use types::ProjectId;

use super::HostParts;
use crate::Deps;
use crate::kit::ActorError;

/// Variables of one project, and what must not be read in its logs.
pub(super) struct Environment {
    pub version: String,
    /// What tokens of the project's users are signed with, newest first.
    pub users: Vec<Secret>,
    shared: Vec<(String, String)>,
    pub redactor: Arc<Redactor>,
}

impl Environment {
    /// # Source
    /// Wire contract 03 sections 3.4 and 4.5: what the platform sets wins over a secret of the same name.
    pub async fn read(
        deps: &Deps,
        parts: &HostParts,
        project: ProjectId,
        version: String,
    ) -> Result<Self, ActorError> {
        let (store, master) = (&deps.store, &deps.master_key);
        let secrets = store::function_secrets::function_secrets_open(store, master, project).await?;
        let missing = || store::StoreError::NotFound("project secret");
        let access = project_access_fetch(store, master, project).await?;
        let Access { keys: signing, users, .. } = &*access;
        let keys = (parts.keys)(project, signing.first().ok_or_else(missing)?);
        let (anon, service) = keys.ok_or(ActorError::Unavailable("project keys"))?;
        let jwt_secret = String::from_utf8(users.first().ok_or_else(missing)?.bytes.clone())
            .map_err(|_| store::StoreError::Corrupt("the secret for users is no text".to_owned()))?;
        let own = [
            ("RUN402_API_BASE", parts.api_base.clone()),
            ("RUN402_PROJECT_ID", project.to_string()),
            ("RUN402_SERVICE_KEY", service.clone()),
            ("RUN402_ANON_KEY", anon),
            ("RUN402_JWT_SECRET", jwt_secret.clone()),
            ("NODE_ENV", "production".to_owned()),
            ("HOME", "/tmp".to_owned()),
            ("TMPDIR", "/tmp".to_owned()),
            ("PATH", "/".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        let hidden = secrets.iter().map(|(_, value)| value.clone()).chain([service, jwt_secret]);
        let redactor = Arc::new(Redactor::new(hidden));
        let mut shared = secrets;
        shared.retain(|(key, _)| !own.iter().any(|(name, _)| name == key));
        shared.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Ok(Self { version, users: users.clone(), shared, redactor })
    }

    pub fn of(&self, function: &str) -> Arc<Vec<(String, String)>> {
        let mut all = self.shared.clone();
        all.retain(|(name, _)| name != "RUN402_FUNCTION_NAME");
        all.push(("RUN402_FUNCTION_NAME".to_owned(), function.to_owned()));
        Arc::new(all)
    }
}
