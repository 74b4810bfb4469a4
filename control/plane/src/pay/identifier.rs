//! A client's own name for its payment (A05, A06).

use chain::x402::wire::Presented;
use sha2::{Digest, Sha256};
use store::Tx;
use store::payments::{IdentifierClaim, payment_identifier_claim};
use types::{Code, Mutation, Problem};

use super::{Identity, unavailable};
use crate::Plane;

/// The name that a payment carries, for this authorisation and this request.
pub(super) fn claim(presented: &Presented, request: &Identity) -> Option<IdentifierClaim> {
    let paid = &presented.authorization;
    let mut hash = Sha256::new();
    hash.update(request.hash);
    hash.update(presented.network.chain_id().to_be_bytes());
    hash.update(paid.nonce);
    hash.update(paid.to.0);
    hash.update(paid.value.0.to_be_bytes());
    hash.update(paid.valid_before.to_be_bytes());
    let payload_hash = hash.finalize().into();
    presented.identifier.clone().map(|id| IdentifierClaim { payer: paid.from, id, payload_hash })
}

/// # Errors
/// `IDEMPOTENCY_KEY_REUSED` when the payer's name stands for another payment: nothing was written or charged.
pub(super) async fn take(
    tx: &mut Tx,
    claim: &IdentifierClaim,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Problem> {
    if payment_identifier_claim(tx, claim, now).await.map_err(unavailable)? {
        return Ok(());
    }
    let message = "this payment identifier stands for another payment; nothing was charged";
    Err(Problem::new(Code::IdempotencyKeyReused, message)
        .mutation(Mutation::NotStarted)
        .detail("payment_identifier", claim.id.as_str()))
}

impl Plane {
    /// Takes the name of a payment that has a row already.
    pub(super) async fn identifier_take(
        &self,
        presented: &Presented,
        request: &Identity,
    ) -> Result<(), Problem> {
        let Some(claim) = claim(presented, request) else { return Ok(()) };
        let mut tx = self.deps().store.begin().await.map_err(unavailable)?;
        take(&mut tx, &claim, self.now()).await?;
        tx.commit().await.map_err(unavailable)
    }
}
