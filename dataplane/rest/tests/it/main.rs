//! Tenant databases on a real cell: what a project's SQL can do, and what it cannot reach.
//!
//! Every test starts a lab, which takes seconds, so a test covers a theme rather than a single statement.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod expose;
mod harness;
mod hostile;
mod isolation;
mod neighbour;
mod replication;
mod rest;
mod rights;
mod slots;
mod sql;
