//! What the actor remembers of its account.

use std::sync::Arc;

use billing::lease::{Outcome, fold};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::json;
use store::accounts::{Purchase, lease_find, lease_write, purchases_live};
use store::outbox::outbox_append;
use store::{Fence, Store};
use types::AccountId;

use super::Reply;
use crate::Deps;
use crate::kit::ActorError;

/// A copy of the account's live purchases, true while `fence` is the newest claim.
#[derive(Debug)]
pub struct LeaseState {
    pub account: AccountId,
    pub fence: Fence,
    /// In the order in which they took effect.
    pub purchases: Vec<Purchase>,
}

impl LeaseState {
    /// The claim was made before: rows read earlier could still be moved by the previous holder.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(store: &Store, account: AccountId, fence: Fence) -> Result<Self, ActorError> {
        let purchases = purchases_live(store, account).await?;
        Ok(Self { account, fence, purchases })
    }

    /// What the purchases amount to now.
    pub fn outcome(&self) -> Outcome {
        fold(&self.purchases)
    }

    /// When something that happens now takes effect: later than everything before, even if the clock was set
    /// back, and no finer than Postgres stores.
    pub fn effective(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let now = now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now);
        let after_last = self.purchases.last().map(|p| p.created_at + TimeDelta::microseconds(1));
        after_last.map_or(now, |last| last.max(now))
    }

    /// The purchases with one more, in order.
    pub fn with(&self, purchase: Purchase) -> Vec<Purchase> {
        let mut purchases = self.purchases.clone();
        let place = purchases.partition_point(|p| p.created_at < purchase.created_at);
        purchases.insert(place, purchase);
        purchases
    }
}

/// Repairs the row that readers see, should it differ from the purchases.
pub(super) async fn on_step(deps: &Arc<Deps>, state: &mut LeaseState) -> Result<Reply, ActorError> {
    let lease = state.outcome().holding.map(|h| h.lease());
    if lease_find(&deps.store, state.account).await? == lease {
        return Ok(Reply::Done);
    }
    let mut tx = deps.store.fenced(&state.fence).await?;
    lease_write(&mut tx, state.account, lease).await?;
    outbox_append(tx.tx(), "lease.changed", json!({ "id": state.account })).await?;
    tx.commit().await?;
    tracing::warn!(account.id = %state.account, "the lease row differed from its purchases; made anew");
    Ok(Reply::Done)
}
