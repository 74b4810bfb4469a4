//! Keeps slots warm, so that provisioning is one row update.

use store::Claimed;
use uuid::Uuid;

use super::Request;
use crate::Deps;

const CLAIM: &str = "pool";

/// Brings every cell's warm slots up to `target`, drops what crashes left behind, and erases projects again that a
/// restored control database brought back. One node at a time does
/// it for a cell; the others find the claim taken and do nothing. Failures are logged: the next tick tries
/// again.
pub async fn fill(deps: &Deps, target: usize) {
    for cell in deps.cells.names() {
        if let Err(e) = fill_cell(deps, &cell, target).await {
            tracing::warn!(cell, error = &e as &dyn std::error::Error, "warm pool");
        }
    }
}

async fn fill_cell(deps: &Deps, cell: &str, target: usize) -> Result<(), store::StoreError> {
    let fence = match deps.store.claim(CLAIM, entity(cell), deps.node).await {
        Ok(Claimed::Ours(fence)) => fence,
        Ok(Claimed::Theirs(_)) | Err(store::StoreError::Stale(_)) => return Ok(()),
        Err(e) => return Err(e),
    };
    let filled = deps.cells.slots_fill(&deps.store, cell, target, &*deps.clock).await;
    let lost = deps.cells.projects_lost(&deps.store, cell).await;
    let given_back = deps.store.claim_release(&fence).await;
    let made = filled?;
    for project in lost? {
        tracing::warn!(project.id = %project, cell, "its database was dropped before: erasing it again");
        deps.actors().project.hint(project, Request::Erase);
    }
    if made > 0 {
        tracing::debug!(cell, made, "slots warmed");
    }
    given_back
}

/// Claims are by UUID; a cell's is made from its name, the same on every node.
fn entity(cell: &str) -> Uuid {
    use sha2::Digest;
    let digest: [u8; 32] = sha2::Sha256::digest(cell.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
