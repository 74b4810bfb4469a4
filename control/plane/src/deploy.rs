//! Deploy plans, commits and operations.
//!
//! A plan says what a spec would change and which content is missing; nothing moves before its commit. The
//! commit is a message to the operation's actor, which goes on whether or not somebody waits for it.

mod operation;
mod plan;
mod spec;

pub use operation::{CommitStatus, Committed};
pub use plan::{MissingContent, PlanRequest, Planned, Warning};

pub use actors::deploy::{FileChange, SiteDiff};
pub use store::deploys::{Operation, OperationPage};
