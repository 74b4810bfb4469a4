//! Every default in one place.

pub const LISTEN: &str = "127.0.0.1:4020";
pub const INTERNAL_LISTEN: &str = "127.0.0.1:0";
pub const BODY_BYTES_MAX: u64 = 6 * 1024 * 1024;
pub const TIMEOUT_SECS: u64 = 60;
pub const CONCURRENT_REQUESTS_MAX: u64 = 1024;
/// Clients wait this long for a payment to confirm before they are told that it is pending.
pub const WAIT_SECS_MAX: u64 = 20;
/// The end of an upload: as long as clients wait for the head of an answer, less something for the way.
///
/// # Source
/// Node's `fetch`: 300 seconds.
pub const COMPLETION_WAIT_SECS: u64 = 240;
/// A node that has not been heard of for this long has lost its claims.
pub const CLAIM_TTL_SECS: u64 = 10;
pub const CONTROL_CONNECTIONS_MAX: u64 = 24;
/// What S3 takes in one PUT.
pub const SINGLE_PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
pub const S3_REGION: &str = "us-east-1";
/// Deposits up to 25 USD are credited when their block is seen.
pub const INSTANT_MICROS_MAX: u64 = 25_000_000;
/// A reorganisation deeper than this halts the watcher.
pub const RETAINED_BLOCKS: u64 = 1024;
/// How often Stripe is asked for what its webhooks missed.
pub const RECONCILE_SECS: u64 = 300;
/// The same where Stripe is a stand-in on this machine.
pub const LAB_RECONCILE_SECS: u64 = 10;
/// # Source
/// Let's Encrypt, "ACME protocol".
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Authorities have limits of their own; this one keeps us below them.
pub const ORDERS_PER_HOUR_MAX: u64 = 100;
pub const OPERATOR_NAME: &str = "Self-hosted Run402";
pub const OPERATOR_CONTACT: &str = "the operator of this server";

/// Processes of functions at once.
pub const WORKERS_MAX: u64 = 200;
pub const NPM_REGISTRY: &str = "https://registry.npmjs.org/";
