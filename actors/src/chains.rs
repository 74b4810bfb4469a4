//! The chains this server takes payments on.

use std::collections::BTreeMap;
use std::sync::Arc;

use chain::rpc::ChainRpc;
use chain::signer::Signer;
use types::{Network, UsdMicros, Wallet};

/// One chain: where to read it, who signs for us, who is paid.
pub struct ChainDeps {
    pub network: Network,
    pub rpc: Arc<dyn ChainRpc>,
    /// Pays the gas of settlements; its nonce sequence is a lane, owned by a wallet actor.
    pub fee_payer: Arc<dyn Signer>,
    /// Sends test money; absent where there is no faucet.
    pub faucet: Option<Arc<dyn Signer>>,
    /// Where payments go now.
    pub payee: Wallet,
    /// Every payee there ever was: all are watched.
    pub payees: Vec<Wallet>,
    /// Whom our facilitator settles for; may name our own payee.
    pub facilitated: Vec<Wallet>,
    /// Whom it settled for before: still watched.
    pub facilitated_before: Vec<Wallet>,
    /// Deposits up to this amount are credited when their block is seen; above it they wait for `safe`.
    pub instant_max: UsdMicros,
    /// Blocks kept to recognise a reorganisation; a deeper one halts the watcher.
    pub retained_blocks: u64,
}

impl ChainDeps {
    /// Every address whose money the watcher looks for: ours, and theirs for whom we settle.
    pub fn watched(&self) -> Vec<Wallet> {
        let mut all = [&self.payees[..], &self.facilitated, &self.facilitated_before].concat();
        all.sort_unstable_by_key(|wallet| wallet.0);
        all.dedup();
        all
    }
}

/// All of them by network.
#[derive(Default)]
pub struct Chains(pub BTreeMap<Network, ChainDeps>);

impl Chains {
    pub fn get(&self, network: Network) -> Option<&ChainDeps> {
        self.0.get(&network)
    }
}
