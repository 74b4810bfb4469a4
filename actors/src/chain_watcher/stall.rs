//! Notes when the chain makes no blocks: leases that end meanwhile are given time (B08).

use std::sync::Arc;

use billing::lapse::STALLED_AFTER;
use chain::rpc::Head;
use chrono::DateTime;
use store::stalls::{stall_begin, stall_end, stall_open_find};

use super::WatcherState;
use crate::Deps;
use crate::kit::ActorError;

/// Begins a stall once the newest block is old, and ends it once it is young again. A chain whose node does not
/// answer is not known to stand, so nothing is noted.
pub(super) async fn note(deps: &Arc<Deps>, state: &WatcherState, head: &Head) -> Result<(), ActorError> {
    // Blocks carry the outside world's time; the stall is noted in ours, as leases are.
    let made_at = i64::try_from(head.timestamp).ok().and_then(|secs| DateTime::from_timestamp(secs, 0));
    let Some(made_at) = made_at else { return Ok(()) };
    let age = deps.wall.now() - made_at;
    let open = stall_open_find(&deps.store, state.network).await?;
    let now = deps.clock.now();
    match open {
        None if age >= STALLED_AFTER => {
            let mut tx = deps.store.fenced(&state.fence).await?;
            stall_begin(&mut tx, state.network, now - age).await?;
            tx.commit().await?;
            tracing::warn!(network = %state.network, age_secs = age.num_seconds(), "the chain stands still");
        }
        Some(stall) if age < STALLED_AFTER => {
            let mut tx = deps.store.fenced(&state.fence).await?;
            stall_end(&mut tx, state.network, now).await?;
            tx.commit().await?;
            tracing::info!(network = %state.network, since = %stall.started_at, "the chain moves again");
        }
        None | Some(_) => {}
    }
    Ok(())
}
