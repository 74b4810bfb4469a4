//! From logs to sightings. A sighting is the only evidence that money arrived; our own transaction hash is
//! none, because anyone may submit a signed authorisation (A14).

use alloy::{primitives::U256, sol_types::SolEvent};
use types::{Network, UsdMicros, Wallet};

use crate::{Bytes32, evm, rpc::RpcError};

/// What a watcher asks for; `from` and `to` are block numbers, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanQuery {
    pub from: u64,
    pub to: u64,
    pub asset: Wallet,
    /// Every address that ever was a payee: money to a retired one still counts (B18).
    pub payees: Vec<Wallet>,
}

/// How the money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// By an EIP-3009 authorisation: a payment.
    Authorization { nonce: Bytes32 },
    /// By a plain transfer: money without a purpose.
    Direct,
}

/// Money to one of our payees, as one log tells it. Unique by network, `block_hash` and `log_index`; over
/// reorganisations, a payment keeps (network, asset, payer, nonce).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub network: Network,
    pub block_number: u64,
    pub block_hash: Bytes32,
    pub tx_hash: Bytes32,
    /// Of the Transfer, within its block.
    pub log_index: u64,
    pub asset: Wallet,
    pub payer: Wallet,
    pub pay_to: Wallet,
    pub amount: UsdMicros,
    /// The block's, in Unix seconds.
    pub timestamp: u64,
    pub evidence: Evidence,
}

impl Sighting {
    /// The authorisation's nonce; `None` for a plain transfer.
    pub fn nonce(&self) -> Option<Bytes32> {
        match self.evidence {
            Evidence::Authorization { nonce } => Some(nonce),
            Evidence::Direct => None,
        }
    }
}

/// A log as a node gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLog {
    pub address: Wallet,
    pub topics: Vec<Bytes32>,
    pub data: Vec<u8>,
    pub block_number: u64,
    pub block_hash: Bytes32,
    pub tx_hash: Bytes32,
    pub log_index: u64,
}

/// One block's worth of logs, as asked for: all `Transfer` and `AuthorizationUsed` logs of the asset, in
/// any order.
#[derive(Debug, Clone, Copy)]
pub struct BlockLogs<'a> {
    pub network: Network,
    pub asset: Wallet,
    pub block_number: u64,
    pub block_hash: Bytes32,
    pub timestamp: u64,
    pub logs: &'a [RawLog],
}

/// Pairs each `AuthorizationUsed` with the Transfer that it caused and keeps what went to `payees`, in log
/// order.
///
/// USDC emits the two next to each other, so within a transaction the next Transfer after an
/// `AuthorizationUsed` is its own if it is from the authoriser. An `AuthorizationUsed` without one moved
/// nothing (A11).
///
/// # Errors
/// `Forged` for a log that this block of this asset cannot hold: nothing of the answer is used.
pub fn sightings(block: &BlockLogs<'_>, payees: &[Wallet]) -> Result<Vec<Sighting>, RpcError> {
    let mut events = block.logs.iter().map(|log| read(block, log)).collect::<Result<Vec<_>, _>>()?;
    events.sort_unstable_by_key(|event| event.log_index);
    if events.windows(2).any(|pair| pair[0].log_index == pair[1].log_index) {
        return Err(RpcError::Forged("two logs of one index"));
    }

    let mut found = Vec::new();
    let mut waiting: Option<(Bytes32, Wallet, Bytes32)> = None;
    for event in events {
        let (payer, pay_to, value) = match event.kind {
            Kind::Used { authorizer, nonce } => {
                waiting = Some((event.tx_hash, authorizer, nonce));
                continue;
            }
            Kind::Transfer { from, to, value } => (from, to, value),
        };
        let evidence = match waiting.take() {
            Some((tx, by, nonce)) if tx == event.tx_hash && by == payer => Evidence::Authorization { nonce },
            _ => Evidence::Direct,
        };
        // Anyone can move nothing from anyone to anyone: such a Transfer is noise.
        if !payees.contains(&pay_to) || (value.is_zero() && evidence == Evidence::Direct) {
            continue;
        }
        found.push(Sighting {
            network: block.network,
            block_number: block.block_number,
            block_hash: block.block_hash,
            tx_hash: event.tx_hash,
            log_index: event.log_index,
            asset: block.asset,
            payer,
            pay_to,
            amount: evm::micros(value).ok_or(RpcError::Forged("an amount beyond all USDC"))?,
            timestamp: block.timestamp,
            evidence,
        });
    }
    Ok(found)
}

struct Event {
    tx_hash: Bytes32,
    log_index: u64,
    kind: Kind,
}

enum Kind {
    Used { authorizer: Wallet, nonce: Bytes32 },
    Transfer { from: Wallet, to: Wallet, value: U256 },
}

/// Believes nothing of a log that was not asked for (B13).
fn read(block: &BlockLogs<'_>, log: &RawLog) -> Result<Event, RpcError> {
    if log.address != block.asset {
        return Err(RpcError::Forged("a log of another contract"));
    }
    if log.block_hash != block.block_hash || log.block_number != block.block_number {
        return Err(RpcError::Forged("a log of another block"));
    }
    let kind = match log.topics.as_slice() {
        [event, authorizer, nonce] if *event == authorization_used_topic() && log.data.is_empty() => {
            Kind::Used { authorizer: topic_wallet(authorizer)?, nonce: *nonce }
        }
        [event, from, to] if *event == transfer_topic() && log.data.len() == 32 => Kind::Transfer {
            from: topic_wallet(from)?,
            to: topic_wallet(to)?,
            value: U256::from_be_slice(&log.data),
        },
        _ => return Err(RpcError::Forged("a log of another shape")),
    };
    Ok(Event { tx_hash: log.tx_hash, log_index: log.log_index, kind })
}

fn topic_wallet(topic: &Bytes32) -> Result<Wallet, RpcError> {
    let (high, low) = topic.split_at(12);
    if high.iter().any(|byte| *byte != 0) {
        return Err(RpcError::Forged("an address with dirty high bytes"));
    }
    low.try_into().map(Wallet).map_err(|_| RpcError::Forged("an address of another length"))
}

/// `keccak256("Transfer(address,address,uint256)")`.
pub(crate) fn transfer_topic() -> Bytes32 {
    evm::Usdc::Transfer::SIGNATURE_HASH.0
}

/// `keccak256("AuthorizationUsed(address,bytes32)")`.
pub(crate) fn authorization_used_topic() -> Bytes32 {
    evm::Usdc::AuthorizationUsed::SIGNATURE_HASH.0
}

/// An address as an indexed topic.
pub(crate) fn wallet_topic(wallet: Wallet) -> Bytes32 {
    evm::address(wallet).into_word().0
}

#[cfg(test)]
mod tests;
