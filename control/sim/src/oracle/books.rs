//! The oracle's own account of the books.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::rows::{
    Account, Bought, Changes, Checkout, Cursor, Heard, LeaseRow, Payment, Resolution, Sighting, Transfer,
};
use crate::Fault;

#[derive(Default)]
pub(super) struct Books {
    pub transfers: BTreeMap<i64, Transfer>,
    /// Transfers that were undone.
    pub undone: BTreeSet<i64>,
    /// By source and its id.
    facts: BTreeMap<(String, String), i64>,
    /// By link.
    journals: BTreeMap<Uuid, Vec<i64>>,
    /// Posted and held, from the transfers.
    pub balances: BTreeMap<i64, (i64, i64)>,
    pub accounts: BTreeMap<i64, Account>,
    pub payments: BTreeMap<Uuid, Payment>,
    pub sightings: BTreeMap<String, Sighting>,
    pub purchases: BTreeMap<i64, Bought>,
    /// Purchases that were undone.
    pub revoked: BTreeSet<i64>,
    pub leases: BTreeMap<Uuid, LeaseRow>,
    pub cursors: BTreeMap<String, Cursor>,
    pub resolutions: BTreeMap<String, Resolution>,
    /// By name.
    pub checkouts: BTreeMap<String, Checkout>,
    pub stripe: Heard,
}

impl Books {
    /// Takes in what changed and answers the payments that were credited by it.
    pub fn take(&mut self, read: Changes) -> Result<Vec<Uuid>, Fault> {
        self.accounts.extend(read.accounts.into_iter().map(|account| (account.id, account)));
        for transfer in read.transfers {
            self.post(transfer)?;
        }
        for bought in read.purchases {
            self.revoked.extend(bought.revokes);
            self.purchases.insert(bought.id, bought);
        }
        for seen in read.sightings {
            self.sightings.insert(seen.log.clone(), seen);
        }
        for resolution in read.resolutions {
            self.resolutions.insert(resolution.sighting.clone(), resolution);
        }
        for checkout in read.checkouts {
            self.checkouts.insert(checkout.name.clone(), checkout);
        }
        self.stripe = read.stripe;
        self.cursors = read.cursors.into_iter().map(|cursor| (cursor.network.clone(), cursor)).collect();
        self.leases = read.leases.into_iter().map(|lease| (lease.account_id, lease)).collect();
        let mut credited = Vec::new();
        for payment in read.payments {
            let before = self.payments.get(&payment.id);
            let is_new = before.is_none_or(|b| !b.credited() || b.credits != payment.credits);
            if payment.credited() && is_new {
                credited.push(payment.id);
            }
            self.payments.insert(payment.id, payment);
        }
        Ok(credited)
    }

    /// One fact is one transfer; what moves is what the transfer says.
    fn post(&mut self, transfer: Transfer) -> Result<(), Fault> {
        let Transfer { id, debit, credit, amount, .. } = transfer;
        let fact = (transfer.source.clone(), transfer.source_id.clone());
        if let Some(before) = self.facts.insert(fact, id) {
            let Transfer { source, source_id, .. } = &transfer;
            return Err(Fault(format!("{source} {source_id} is posted twice, as {before} and {id}")));
        }
        if let Some(of) = transfer.reverses
            && !self.undone.insert(of)
        {
            return Err(Fault(format!("transfer {of} is undone twice")));
        }
        let mut sides = [debit, credit].into_iter().filter_map(|side| self.accounts.get(&side));
        if sides.any(|account| account.currency != transfer.currency) {
            return Err(Fault(format!("{} {} mixes monies", transfer.source, transfer.source_id)));
        }
        let (posts, holds) = match transfer.kind.as_str() {
            "post" => (amount, 0),
            "hold" => (0, amount),
            "capture" => (amount, -amount),
            _ => (0, -amount),
        };
        let from = self.balances.entry(debit).or_default();
        from.0 -= posts;
        from.1 += holds;
        self.balances.entry(credit).or_default().0 += posts;
        self.journals.entry(transfer.link).or_default().push(id);
        self.transfers.insert(id, transfer);
        Ok(())
    }

    /// The newest one's id; 0 when there is none.
    pub fn last_purchase(&self) -> i64 {
        self.purchases.keys().next_back().copied().unwrap_or(0)
    }

    /// The transfer of a fact, unless it was undone.
    pub fn standing(&self, source: &str, source_id: &str) -> Option<&Transfer> {
        let id = self.facts.get(&(source.to_owned(), source_id.to_owned()))?;
        self.transfers.get(id).filter(|_| !self.undone.contains(id))
    }

    /// What stands of a journal's transfers from one source.
    pub fn of_link(&self, link: Uuid, source: &str) -> impl Iterator<Item = &Transfer> {
        let ids = self.journals.get(&link).into_iter().flatten();
        let standing = ids.filter(|id| !self.undone.contains(id)).filter_map(|id| self.transfers.get(id));
        standing.filter(move |transfer| transfer.source == source)
    }

    /// The deposits of a payment that stand.
    pub fn deposits(&self, payment: &Payment) -> Vec<&Transfer> {
        let names = (1..=payment.credits + 1).map(|n| format!("{}/#{n}", payment.name));
        names.filter_map(|name| self.standing("x402", &name)).collect()
    }

    /// Purchases that were not undone, in the order in which they took effect.
    pub fn live(&self, account: Uuid) -> Vec<&Bought> {
        let mut live: Vec<&Bought> = self.all_live().filter(|bought| bought.account_id == account).collect();
        live.sort_by_key(|bought| (bought.created_at, bought.id));
        live
    }

    pub fn all_live(&self) -> impl Iterator<Item = &Bought> {
        let bought = self.purchases.values().filter(|bought| bought.action != "revoke");
        bought.filter(|bought| !self.revoked.contains(&bought.id))
    }

    /// The balance of the platform's account of a kind, all networks together.
    pub fn balance_of(&self, kind: &str) -> i64 {
        let accounts = self.accounts.values().filter(|account| account.kind == kind);
        accounts.filter_map(|account| self.balances.get(&account.id)).map(|balance| balance.0).sum()
    }

    pub fn summary(&self) -> String {
        let mut states: BTreeMap<&str, u32> = BTreeMap::new();
        for payment in self.payments.values() {
            *states.entry(payment.state.as_str()).or_default() += 1;
        }
        let balances: Vec<i64> = self.balances.values().map(|balance| balance.0).collect();
        let places: Vec<_> =
            self.cursors.values().map(|c| (c.next_block, c.safe_block, c.finalized_block)).collect();
        let (paid, heard) = (self.checkouts.values().filter(|checkout| checkout.paid).count(), &self.stripe);
        format!(
            "{} transfers, {} purchases, payments {states:?}, {paid} of {} by card, {} events wait, balances \
             {balances:?}, at {places:?}",
            self.transfers.len(),
            self.purchases.len(),
            self.checkouts.len(),
            heard.pending,
        )
    }
}
