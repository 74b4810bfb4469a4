//! Which lane this is, and its next nonce.

use std::sync::Arc;

use chain::rpc::NonceAt;
use chain::signer::Signer;
use store::Fence;
use store::chain_txs::{lane_advanced, lane_ensure, lane_id};
use types::{Code, LaneId, Network, Problem, Wallet};

use super::error::chain_error;
use crate::kit::ActorError;
use crate::{ChainDeps, Deps};

/// Whose money a lane moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pays the gas of settlements.
    FeePayer,
    /// Sends test money.
    Faucet,
}

/// A copy of the lane's row, true while `fence` is the newest claim.
pub struct LaneState {
    pub id: LaneId,
    pub network: Network,
    pub role: Role,
    pub address: Wallet,
    pub next_nonce: i64,
    pub fence: Fence,
}

impl LaneState {
    /// Makes the row of a new lane, beginning where the chain says, and jumps over nonces that were used
    /// without us.
    pub async fn load(deps: &Arc<Deps>, id: LaneId, fence: Fence) -> Result<Self, ActorError> {
        let (_, network, role) = lanes(deps).into_iter().find(|lane| lane.0 == id).ok_or_else(|| {
            Problem::new(Code::ResourceNotFound, format!("no signer of this server has the lane {id}"))
        })?;
        let address = signer(deps, network, role)?.address();
        let next_nonce = match deps.store.lane_find(id).await? {
            Some(row) => row.next_nonce,
            None => {
                let first = chain(deps, network)?.rpc.nonce(address, NonceAt::Pending).await;
                let first = nonce_number(first.map_err(|e| chain_error("read the first nonce", e))?)?;
                let mut tx = deps.store.fenced(&fence).await?;
                let row = lane_ensure(&mut tx, network, address, first).await?;
                tx.commit().await?;
                row.next_nonce
            }
        };
        tracing::info!(lane.id = %id, %network, ?role, %address, next_nonce, "lane taken");
        Ok(Self { id, network, role, address, next_nonce, fence })
    }

    /// Nonces below `used` were used by somebody with our key: never offer them again.
    pub async fn jump_to(&mut self, deps: &Deps, used: i64) -> Result<(), ActorError> {
        let mut tx = deps.store.fenced(&self.fence).await?;
        lane_advanced(&mut tx, self.id, self.next_nonce, used).await?;
        tx.commit().await?;
        tracing::error!(
            lane.id = %self.id, address = %self.address, from = self.next_nonce, to = used,
            "nonces of this lane were used by somebody else: two installations must not share a signer; a restore from \
             an older backup does this once"
        );
        self.next_nonce = used;
        Ok(())
    }

    pub fn chain<'a>(&self, deps: &'a Deps) -> Result<&'a ChainDeps, ActorError> {
        chain(deps, self.network)
    }

    pub fn signer<'a>(&self, deps: &'a Deps) -> Result<&'a dyn Signer, ActorError> {
        signer(deps, self.network, self.role)
    }
}

/// Every lane that this server has a signer for.
pub fn lanes(deps: &Deps) -> Vec<(LaneId, Network, Role)> {
    let mut found = Vec::new();
    for (network, chain) in &deps.chains.0 {
        found.push((lane_id(*network, chain.fee_payer.address()), *network, Role::FeePayer));
        if let Some(faucet) = &chain.faucet {
            // One address is one nonce sequence, whatever it is used for.
            let id = lane_id(*network, faucet.address());
            if found.iter().all(|lane| lane.0 != id) {
                found.push((id, *network, Role::Faucet));
            }
        }
    }
    found
}

/// The lane of an address.
pub fn lane_of(network: Network, address: Wallet) -> LaneId {
    lane_id(network, address)
}

pub(super) fn chain(deps: &Deps, network: Network) -> Result<&ChainDeps, ActorError> {
    let missing =
        || Problem::new(Code::ChainUnavailable, format!("this server is not connected to {network}"));
    Ok(deps.chains.get(network).ok_or_else(missing)?)
}

fn signer(deps: &Deps, network: Network, role: Role) -> Result<&dyn Signer, ActorError> {
    let chain = chain(deps, network)?;
    match role {
        Role::FeePayer => Ok(chain.fee_payer.as_ref()),
        Role::Faucet => Ok(chain
            .faucet
            .as_deref()
            .ok_or_else(|| Problem::new(Code::FaucetDisabled, "this server has no faucet"))?),
    }
}

pub(super) fn nonce_number(nonce: u64) -> Result<i64, ActorError> {
    let odd = |_| Problem::new(Code::ChainUnavailable, "the chain answered a nonce beyond all nonces");
    Ok(i64::try_from(nonce).map_err(odd)?)
}
