//! The expose manifest of a project: applied, shown, checked.

use rest::expose::{self, ExposeError, Exposed, Issues, Outcome};
use serde_json::Value;
use types::{Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;

impl Plane {
    /// Brings the project's rights to what a manifest says: all of it, or nothing. The same manifest again
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `RATE_LIMITED` and `QUOTA_EXCEEDED` as any request of the project's data;
    /// `INVALID_MANIFEST` with every mistake; what SQL can be refused for.
    ///
    /// # Source
    /// Wire contract 01 section 7.2.
    pub async fn project_expose(
        &self,
        caller: &Caller,
        project: ProjectId,
        manifest: &Value,
    ) -> Result<Outcome, Problem> {
        self.service_key(caller, project).await?;
        self.data_call(project).await?;
        let slot = self.project_slot(project).await?;
        let done = expose::apply(&self.deps().cells, &slot, manifest).await;
        let done = done.map_err(ExposeError::into_problem)?;
        let open = done.unrestricted();
        if !open.is_empty() && done.statements > 0 {
            tracing::info!(project.id = %project, tables = open.len(), "tables writable by everybody");
        }
        Ok(done)
    }

    /// The manifest that was applied last, or one rebuilt from the schema when none was.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `UNAVAILABLE` when the database does not answer.
    ///
    /// # Source
    /// Wire contract 01 section 7.3.
    pub async fn project_exposed(&self, caller: &Caller, project: ProjectId) -> Result<Exposed, Problem> {
        self.service_key(caller, project).await?;
        let slot = self.project_slot(project).await?;
        expose::read(&self.deps().cells, &slot).await.map_err(ExposeError::into_problem)
    }

    /// What is wrong with a manifest on this project, after a migration that is read and not run.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `RATE_LIMITED` and `QUOTA_EXCEEDED`; `UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 01 section 7.4.
    pub async fn project_expose_validate(
        &self,
        caller: &Caller,
        project: ProjectId,
        manifest: &Value,
        migration: Option<&str>,
    ) -> Result<Issues, Problem> {
        self.service_key(caller, project).await?;
        self.data_call(project).await?;
        let slot = self.project_slot(project).await?;
        let place = Some((&self.deps().cells, &slot));
        expose::validate(place, manifest, migration).await.map_err(ExposeError::into_problem)
    }

    /// The same without a project: beside nothing but the migration.
    ///
    /// # Errors
    /// As [`Plane::wallet`].
    ///
    /// # Source
    /// Wire contract 01 section 7.4.
    pub async fn expose_validate(
        &self,
        caller: &Caller,
        manifest: &Value,
        migration: Option<&str>,
    ) -> Result<Issues, Problem> {
        self.wallet(caller).await?;
        expose::validate(None, manifest, migration).await.map_err(ExposeError::into_problem)
    }
}
