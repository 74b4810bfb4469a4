//! Functions that are bundled again of the source that is stored.

use actors::functions::Rebuilt;
use store::releases::ReleaseFunction;
use types::{Problem, ProjectId, Sha256Hex};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// A function that was built again. Its source is what it was.
#[derive(Debug, Clone)]
pub struct RebuiltFunction {
    pub name: String,
    pub code_hash: Sha256Hex,
    pub built: Rebuilt,
}

impl Plane {
    /// Builds a function again and has it served. Changes nothing else, so an account in grace may as well.
    ///
    /// # Errors
    /// As [`Plane::project_owner`]; `FUNCTION_NOT_FOUND`; `FUNCTION_BUILD_FAILED` with the quoted line or npm's
    /// words, or `UNAVAILABLE`: what was served still is.
    ///
    /// # Source
    /// Wire contract 03 section 2.9.
    pub async fn function_rebuild(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
    ) -> Result<RebuiltFunction, Problem> {
        self.project_owner(caller, project).await?;
        let live = self.function_live(project, name).await?;
        self.rebuilt(project, live.function).await
    }

    /// Builds every function of a project again, one after the other. One that fails does not keep the others.
    ///
    /// # Errors
    /// As [`Plane::project_owner`].
    ///
    /// # Source
    /// Wire contract 03 section 2.9.
    pub async fn functions_rebuild(
        &self,
        caller: &Caller,
        project: ProjectId,
    ) -> Result<Vec<(String, Result<RebuiltFunction, Problem>)>, Problem> {
        self.project_owner(caller, project).await?;
        let live = store::functions::live_functions(&self.deps().store, project).await;
        let mut results = Vec::new();
        for one in live.map_err(store_problem)? {
            results.push((one.function.name.clone(), self.rebuilt(project, one.function).await));
        }
        Ok(results)
    }

    async fn rebuilt(
        &self,
        project: ProjectId,
        function: ReleaseFunction,
    ) -> Result<RebuiltFunction, Problem> {
        let built = actors::functions::rebuild(self.deps(), project, &function).await;
        let built = built.map_err(actors::kit::ActorError::into_problem)?;
        Ok(RebuiltFunction { name: function.name, code_hash: function.code_hash, built })
    }
}
