//! Vocabulary shared by every crate: ids, money, tiers, lifecycle, error codes, clock.
//!
//! No IO, no tokio, no SQL, no knowledge of the wire. Everything here is a plain value.

mod clock;
mod code;
mod content_type;
pub mod delegation;
mod digest;
mod ids;
pub mod kill_points;
mod lifecycle;
mod money;
mod network;
mod problem;
mod tier;
mod wallet;

pub use clock::{Clock, Entropy, ManualClock, OsEntropy, ShiftedClock, SystemClock, parse_rfc3339, rfc3339};
pub use code::Code;
pub use content_type::content_type;
pub use digest::{BadDigest, Sha256Hex};
pub use ids::*;
pub use lifecycle::{Lifecycle, LifecycleDates, LifecycleStep, lifecycle, lifecycle_dates};
pub use money::{MoneyError, UsdMicros};
pub use network::{BadNetwork, Network};
pub use problem::{Mutation, Problem};
pub use tier::{BadTier, Tier};
pub use wallet::{BadWallet, Wallet};
