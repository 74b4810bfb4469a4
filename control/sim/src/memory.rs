//! What the buyers of a world remember: what they signed, what they asked for, and what they were told.

use std::collections::{BTreeMap, BTreeSet};

use chain::fake::Proof;
use plane::caller::Caller;
use serde_json::Value;
use types::{Tier, Wallet};

use crate::Fault;

/// A proof that its payer made, presented or not.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub payer: usize,
    pub tier: Tier,
    pub proof: Proof,
}

/// A purchase from the balance.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub payer: usize,
    pub tier: Tier,
    pub caller: Caller,
}

/// What a card is to pay for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goods {
    Credit(i64),
    Tier(Tier),
    Emails,
}

/// A checkout that was asked for under a key.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    pub wallet: Wallet,
    pub goods: Goods,
    pub caller: Caller,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub proofs: Vec<Known>,
    pub requests: Vec<Asked>,
    pub checkouts: Vec<Ordered>,
    /// Every name under which the balance may have been charged.
    request_keys: BTreeSet<String>,
    /// By what names the request: a proof's nonce, or a request key.
    answers: BTreeMap<String, Value>,
}

impl Memory {
    pub fn signed(&self, payer: Wallet, nonce: &[u8]) -> bool {
        self.proofs.iter().any(|known| {
            known.proof.authorization.from == payer && known.proof.authorization.nonce.as_slice() == nonce
        })
    }

    pub fn asked(&self, request_key: &str) -> bool {
        self.request_keys.contains(request_key)
    }

    pub fn ask(&mut self, asked: Asked, request_key: String) {
        self.request_keys.insert(request_key);
        self.requests.push(asked);
    }

    /// Whoever asks again is told the same.
    pub fn answered(&mut self, name: String, answer: &Value) -> Result<(), Fault> {
        match self.answers.get(&name) {
            Some(before) if before != answer => {
                Err(Fault(format!("the same request was answered {before} first and then {answer}")))
            }
            Some(_) => Ok(()),
            None => {
                self.answers.insert(name, answer.clone());
                Ok(())
            }
        }
    }
}
