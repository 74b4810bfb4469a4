//! What the fake chain remembers of accounts, and the token's rules.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    consensus::TxEnvelope,
    eips::Decodable2718,
    primitives::{B256, U256},
    sol_types::{SolCall, SolValue},
};
use types::{Network, UsdMicros, Wallet};

use crate::{Bytes32, asset, evm, evm::Usdc, rpc::Fees, scan};

/// Topics and data.
type Log = (Vec<Bytes32>, Vec<u8>);

/// A transaction in the pool or in a block.
#[derive(Clone)]
pub struct Tx {
    pub hash: Bytes32,
    pub from: Wallet,
    pub nonce: u64,
    pub to: Option<Wallet>,
    pub data: Vec<u8>,
    pub fees: Fees,
}

impl Tx {
    /// `None` for anything but a signed EIP-1559 transaction of this chain, the only kind that lanes make.
    pub fn decode(mut raw: &[u8], chain_id: u64) -> Option<Self> {
        let TxEnvelope::Eip1559(signed) = TxEnvelope::decode_2718(&mut raw).ok()? else { return None };
        if !raw.is_empty() || signed.tx().chain_id != chain_id {
            return None;
        }
        let from = evm::recover(signed.signature_hash(), &signed.signature().as_bytes())?;
        let hash = signed.hash().0;
        let tx = signed.tx();
        Some(Self {
            hash,
            from,
            nonce: tx.nonce,
            to: tx.to.to().copied().map(evm::wallet),
            data: tx.input.to_vec(),
            fees: Fees {
                max_fee_per_gas: tx.max_fee_per_gas,
                max_priority_fee_per_gas: tx.max_priority_fee_per_gas,
            },
        })
    }
}

#[derive(Clone)]
pub struct World {
    network: Network,
    balances: BTreeMap<Wallet, U256>,
    nonces: BTreeMap<Wallet, u64>,
    used: BTreeSet<(Wallet, Bytes32)>,
}

impl World {
    pub fn new(network: Network) -> Self {
        Self { network, balances: BTreeMap::new(), nonces: BTreeMap::new(), used: BTreeSet::new() }
    }

    pub fn asset(&self) -> Wallet {
        asset::usdc(self.network).address
    }

    pub fn give(&mut self, wallet: Wallet, amount: UsdMicros) {
        *self.balances.entry(wallet).or_default() += evm::units(amount).unwrap_or_default();
    }

    pub fn nonce(&self, wallet: Wallet) -> u64 {
        self.nonces.get(&wallet).copied().unwrap_or_default()
    }

    /// Runs a transaction. A failed one still takes its nonce and logs nothing; the error is the revert's
    /// reason.
    pub fn execute(&mut self, tx: &Tx, timestamp: u64) -> Result<Vec<Log>, String> {
        self.nonces.insert(tx.from, tx.nonce + 1);
        if tx.to != Some(self.asset()) {
            return Ok(Vec::new());
        }
        let mut after = self.clone();
        let logs = after.change(tx.from, &tx.data, timestamp)?;
        *self = after;
        Ok(logs)
    }

    /// Answers a call, changing nothing.
    pub fn call(&self, caller: Wallet, data: &[u8], timestamp: u64) -> Result<Vec<u8>, String> {
        if let Ok(call) = Usdc::balanceOfCall::abi_decode(data) {
            return Ok(self.balance(evm::wallet(call.account)).abi_encode());
        }
        if let Ok(call) = Usdc::authorizationStateCall::abi_decode(data) {
            return Ok(self.used.contains(&(evm::wallet(call.authorizer), call.nonce.0)).abi_encode());
        }
        self.clone().change(caller, data, timestamp).map(|_| Vec::new())
    }

    fn balance(&self, wallet: Wallet) -> U256 {
        self.balances.get(&wallet).copied().unwrap_or_default()
    }

    fn change(&mut self, caller: Wallet, data: &[u8], timestamp: u64) -> Result<Vec<Log>, String> {
        if let Ok(call) = Usdc::transferWithAuthorizationCall::abi_decode(data) {
            self.transfer_with_authorization(&call, timestamp)
        } else if let Ok(call) = Usdc::transferCall::abi_decode(data) {
            self.transfer(caller, evm::wallet(call.to), call.value).map(|log| vec![log])
        } else if let Ok(call) = Usdc::mintCall::abi_decode(data) {
            let to = evm::wallet(call.to);
            *self.balances.entry(to).or_default() += call.amount;
            Ok(vec![transfer_log(Wallet([0; 20]), to, call.amount)])
        } else {
            Err("no such function".to_owned())
        }
    }

    fn transfer_with_authorization(
        &mut self,
        call: &Usdc::transferWithAuthorizationCall,
        timestamp: u64,
    ) -> Result<Vec<Log>, String> {
        let refuse = |why: &str| Err(format!("FiatTokenV2: {why}"));
        if U256::from(timestamp) <= call.validAfter {
            return refuse("authorization is not yet valid");
        }
        if U256::from(timestamp) >= call.validBefore {
            return refuse("authorization is expired");
        }
        let payer = evm::wallet(call.from);
        if !self.used.insert((payer, call.nonce.0)) {
            return refuse("authorization is used or canceled");
        }
        let message = evm::TransferWithAuthorization {
            from: call.from,
            to: call.to,
            value: call.value,
            validAfter: call.validAfter,
            validBefore: call.validBefore,
            nonce: call.nonce,
        };
        let domain = evm::domain(self.network, asset::usdc(self.network));
        let digest = evm::authorization_digest(&message, &domain);
        let signature = [call.r.as_slice(), call.s.as_slice(), &[call.v]].concat();
        if evm::recover(digest, &signature) != Some(payer) {
            return refuse("invalid signature");
        }
        let used =
            (vec![scan::authorization_used_topic(), scan::wallet_topic(payer), call.nonce.0], Vec::new());
        Ok(vec![used, self.transfer(payer, evm::wallet(call.to), call.value)?])
    }

    fn transfer(&mut self, from: Wallet, to: Wallet, value: U256) -> Result<Log, String> {
        let rest = self.balance(from).checked_sub(value);
        let rest = rest.ok_or("ERC20: transfer amount exceeds balance")?;
        self.balances.insert(from, rest);
        *self.balances.entry(to).or_default() += value;
        Ok(transfer_log(from, to, value))
    }
}

fn transfer_log(from: Wallet, to: Wallet, value: U256) -> Log {
    let topics = vec![scan::transfer_topic(), scan::wallet_topic(from), scan::wallet_topic(to)];
    (topics, B256::from(value).to_vec())
}
