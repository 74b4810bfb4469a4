//! SQL and schema of a project.

use rest::{SqlOutcome, SqlRequest};
use serde_json::Value;
use store::cells::Slot;
use types::{Code, Mutation, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// A project's tables, as clients read them.
pub struct Schema {
    pub schema: String,
    pub tables: Value,
}

impl Plane {
    /// Runs SQL on the project's database. Open in every lifecycle state: deployed functions use it.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `RATE_LIMITED`; `QUOTA_EXCEEDED` when the lease's calls are used up, or when
    /// the account's storage is full and the text does more than read, delete, truncate and drop; what SQL can
    /// be refused for, see `rest::sql::SqlError`.
    ///
    /// # Source
    /// Wire contract 01 section 6.6.
    pub async fn project_sql(
        &self,
        caller: &Caller,
        project: ProjectId,
        request: SqlRequest,
    ) -> Result<SqlOutcome, Problem> {
        self.service_key(caller, project).await?;
        let pool = self.data_call(project).await?;
        self.data_gate(project).await?;
        if !rest::sql::only_frees(&request.text) {
            self.storage_allowed(&pool)?;
        }
        let slot = self.project_slot(project).await?;
        rest::sql::run(&self.deps().cells, &slot, request, rest::Limits::default())
            .await
            .map_err(rest::sql::SqlError::into_problem)
    }

    /// Tables, columns, constraints and policies of the project.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `UNAVAILABLE` when the database does not answer.
    ///
    /// # Source
    /// Wire contract 01 section 6.5.
    pub async fn project_schema(&self, caller: &Caller, project: ProjectId) -> Result<Schema, Problem> {
        self.service_key(caller, project).await?;
        let slot = self.project_slot(project).await?;
        let tables =
            rest::schema::read(&self.deps().cells, &slot).await.map_err(rest::sql::SqlError::into_problem)?;
        Ok(Schema { schema: slot.schema(), tables })
    }

    /// Puts off a request of the project's data while a deploy runs migrations.
    ///
    /// # Errors
    /// `MIGRATE_GATE_ACTIVE` with `retry_after`.
    ///
    /// # Source
    /// Wire contract 02 section 4.5, "migrate-gate".
    pub(crate) async fn data_gate(&self, project: ProjectId) -> Result<(), Problem> {
        let gate = store::deploys::gate_find(&self.deps().store, project).await.map_err(store_problem)?;
        match gate {
            Some(gate) if gate.blocks_data => {
                let message = "a deploy is running migrations on this project's database";
                Err(Problem::new(Code::MigrateGateActive, message)
                    .mutation(Mutation::NotStarted)
                    .extra("phase", "migrate-gate")
                    .extra("retry_after", 1)
                    .detail("operation_id", gate.operation.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Where the project's database is. One that was made by an older version is brought up to ours first.
    pub(crate) async fn project_slot(&self, project: ProjectId) -> Result<Slot, Problem> {
        let deps = self.deps();
        let found = store::cells::slot_of(&deps.store, project).await.map_err(store_problem)?;
        let slot = found.ok_or_else(|| {
            Problem::new(Code::ProjectNotReady, format!("project {project} has no database yet"))
        })?;
        deps.cells.slot_upgrade(&deps.store, &slot).await.map_err(store_problem)?;
        Ok(slot)
    }
}
