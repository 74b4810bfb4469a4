//! The expose manifest: who may do what with a project's tables, views and functions.
//!
//! [`manifest`] reads it, [`check`] compares it with the schema, [`compile`] turns it into statements, [`run`]
//! sends them in one transaction as the login that owns the schema, never as a superuser. Objects of ours are
//! named `r402_`; what they looked like after the last application is kept beside the manifest in
//! `internal.project_manifest` of the project's own database, so that both commit together. The tenant can
//! write there too, which harms nobody else: nothing in it is believed that the schema does not show.

mod check;
mod compile;
mod introspect;
mod issue;
mod live;
mod manifest;
mod migration;
mod run;
mod signature;
mod text;

#[cfg(test)]
mod golden_tests;

use serde_json::{Value, json};
use store::cells::{Cells, Slot};
use types::{Code, Mutation, Problem};

pub use compile::Names;
pub use issue::{Issue, IssueKind, Issues, Severity};
pub use manifest::{Manifest, Policy};
pub(crate) use run::{Made, made};

use crate::sql::SqlError;

/// What an application did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub manifest: Manifest,
    /// Zero when everything stood as it should.
    pub statements: usize,
    pub changed: Names,
    /// In the last manifest and no longer in this one.
    pub dropped: Names,
    pub warnings: Vec<Issue>,
}

impl Outcome {
    /// What visitors can reach now.
    pub fn applied(&self) -> Names {
        let exposed = self.manifest.tables.iter().filter(|table| table.expose);
        let views = self.manifest.views.iter().filter(|view| view.expose);
        Names {
            tables: exposed.map(|table| table.name.clone()).collect(),
            views: views.map(|view| view.name.clone()).collect(),
            rpcs: self.manifest.rpcs.iter().map(|rpc| rpc.name.clone()).collect(),
        }
    }

    /// Tables that everybody may write: worth a line in the log of the operator.
    pub fn unrestricted(&self) -> Vec<&str> {
        let open = |table: &&manifest::Table| table.expose && table.policy == Some(Policy::Unrestricted);
        self.manifest.tables.iter().filter(open).map(|table| table.name.as_str()).collect()
    }
}

/// A manifest as it stands.
#[derive(Debug, Clone)]
pub struct Exposed {
    pub manifest: Manifest,
    /// Rebuilt from rights and policies, because none was ever applied.
    pub introspected: bool,
}

/// After all but an unknown outcome nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    #[error("the manifest is not valid")]
    Invalid(Issues),
    /// Others changed the same objects, again and again.
    #[error("the schema kept changing while the manifest was applied")]
    Raced,
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl ExposeError {
    /// # Source
    /// Wire contract 01 section 7.2.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Invalid(issues) => {
                let message = issues.errors.first().map_or_else(String::new, |issue| issue.detail.clone());
                Problem::new(Code::InvalidManifest, message)
                    .mutation(Mutation::RolledBack)
                    .extra("errors", json!(issues.errors))
                    .extra("warnings", json!(issues.warnings))
            }
            Self::Raced => Problem::new(Code::Unavailable, "the schema kept changing; try again")
                .mutation(Mutation::RolledBack)
                .extra("retry_after", 1),
            Self::Sql(error) => error.into_problem(),
        }
    }
}

/// Brings a project to what a manifest says: all of it, or nothing. The same manifest again changes nothing.
///
/// Runs to its end even when the caller goes away.
///
/// # Errors
/// `Invalid` with every mistake; `Raced`; what a session can fail with.
///
/// # Source
/// Wire contract 01 section 7.2.
pub async fn apply(cells: &Cells, slot: &Slot, body: &Value) -> Result<Outcome, ExposeError> {
    let mut issues = Issues::default();
    let manifest = manifest::read(body, &mut issues);
    if !issues.errors.is_empty() {
        // The rest of the mistakes too, as far as the schema can tell.
        let (_, live) = run::look(cells, slot).await?;
        check::check(&manifest, &live, &|_| false, &mut issues);
        return Err(ExposeError::Invalid(issues));
    }
    let (cells, slot) = (cells.clone(), slot.clone());
    let work = async move { run::apply(&cells, &slot, &manifest).await };
    let done = tokio::spawn(work).await.unwrap_or(Err(SqlError::Unavailable.into()));
    match done {
        Ok(mut outcome) => {
            outcome.warnings.splice(0..0, issues.warnings);
            Ok(outcome)
        }
        Err(ExposeError::Invalid(mut found)) => {
            found.warnings.splice(0..0, issues.warnings);
            Err(ExposeError::Invalid(found))
        }
        Err(error) => Err(error),
    }
}

/// The manifest of a body.
///
/// # Errors
/// Every mistake that shows without a schema.
pub fn parse(body: &Value) -> Result<Manifest, Issues> {
    let mut issues = Issues::default();
    let manifest = manifest::read(body, &mut issues);
    if issues.errors.is_empty() { Ok(manifest) } else { Err(issues) }
}

/// As [`apply`], in a transaction that the caller began and ends, on a session of the login that owns the schema.
///
/// # Errors
/// As [`apply`]; the transaction is lost.
pub(crate) async fn apply_inside(
    conn: &mut sqlx::postgres::PgConnection,
    slot: &Slot,
    manifest: &Manifest,
) -> Result<Outcome, ExposeError> {
    run::inside(conn, slot, manifest).await
}

/// The manifest that was applied last, or one rebuilt from the schema when none ever was.
///
/// # Errors
/// What a session can fail with.
///
/// # Source
/// Wire contract 01 section 7.3.
pub async fn read(cells: &Cells, slot: &Slot) -> Result<Exposed, ExposeError> {
    let (applied, live) = run::look(cells, slot).await?;
    Ok(match applied {
        Some(applied) => Exposed { manifest: applied.manifest, introspected: false },
        None => Exposed { manifest: introspect::manifest(&live), introspected: true },
    })
}

/// What is wrong with a manifest, beside a schema when there is one and a migration that is yet to run. The
/// migration is read, never run.
///
/// # Errors
/// What a session can fail with.
///
/// # Source
/// Wire contract 01 section 7.4.
pub async fn validate(
    place: Option<(&Cells, &Slot)>,
    body: &Value,
    migration: Option<&str>,
) -> Result<Issues, ExposeError> {
    let mut issues = Issues::default();
    let manifest = manifest::read(body, &mut issues);
    let live = match place {
        Some((cells, slot)) => Some(run::look(cells, slot).await?.1),
        None => migration.map(|_| live::Live { schema: "public".to_owned(), ..live::Live::default() }),
    };
    let Some(mut live) = live else {
        let fix = "Send migration_sql along, or validate on the project.";
        issues.warn(IssueKind::ValidationInconclusive, "", "no schema to compare with", fix);
        return Ok(issues);
    };
    let unsure = migration.map(|text| migration::add(text, &mut live, &mut issues)).unwrap_or_default();
    check::check(&manifest, &live, &|name| unsure.contains(name), &mut issues);
    Ok(issues)
}
