//! The store on a real Postgres: what the database refuses by itself, and races.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report; helpers are not seen as tests")]

mod attacks;
mod blobs;
mod budgets;
mod cards;
mod common;
mod deploys;
mod environments;
mod ledger;
mod poster;
mod proof;
mod requests;
mod runs;
mod serving_role;
