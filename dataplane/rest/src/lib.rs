//! Tenant databases: the SQL endpoint, schema introspection, later REST.
//!
//! Everything here runs as one of the slot's own logins, never as a superuser, and on connections that are
//! thrown away afterwards. What keeps a project inside its database are the rights of its logins; the checks
//! in [`sql`] only give better answers.

pub mod expose;
pub mod schema;
pub mod sql;

pub use sql::{Limits, SqlOutcome, SqlRequest};
