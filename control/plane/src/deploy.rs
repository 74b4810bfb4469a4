//! Deploy plans, commits and operations.
//!
//! A plan says what a spec would change and which content is missing; nothing moves before its commit. The
//! commit is a message to the operation's actor, which goes on whether or not somebody waits for it.

mod caps;
mod compare;
mod operation;
mod plan;
mod spec;
mod warn;

pub(crate) use caps::{times, too_often};
pub(crate) use spec::interval_minutes;

pub use operation::{CommitStatus, Committed};
pub use plan::{MigrationPlan, MissingContent, PlanRequest, Planned};
pub(crate) use spec::is_content_type;
pub use warn::Warning;

pub use actors::deploy::{
    FileChange, FunctionDiff, Functions, RouteDiff, SiteDiff, Transaction, route_view, routes_digest,
};
pub use store::deploys::{Operation, OperationPage};
