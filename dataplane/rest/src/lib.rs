//! Tenant databases: the SQL endpoint, schema introspection, REST.
//!
//! Everything here runs as one of the slot's own logins, never as a superuser. Connections of the SQL endpoint
//! are thrown away afterwards; those of REST are kept, and told everything anew with each request.
//! What keeps a project inside its database are the rights of its logins; the checks
//! in [`sql`] only give better answers.

pub mod expose;
pub mod migrate;
pub mod rest;
pub mod schema;
pub mod sql;
pub mod structure;

pub use rest::Rest;
pub use sql::{Limits, SqlOutcome, SqlRequest};
