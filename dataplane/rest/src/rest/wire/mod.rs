//! Postgres as the hot path needs it: several statements in one round trip and one transaction, with
//! statement names that no tenant can guess.
//!
//! A general driver ends each statement with a Sync, which ends its transaction as well. Here role, claims
//! and statement travel together and one Sync ends them: nothing outlives a request, and success is only
//! what comes before ReadyForQuery.

mod conn;
mod pool;

pub(super) use conn::{Conn, Ran, Step, WireError};
pub(super) use pool::{CONNECTIONS_MAX, Lease, Pools};
