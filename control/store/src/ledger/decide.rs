//! Pure: what each leg does to the balances, and whether it may.

use std::collections::HashMap;

use super::accounts::{Account, AccountRef, Currency};
use super::hold::Hold;
use super::post::{Journal, Kind, LedgerError, NewTransfer, Posted};

/// What a fact's transfer says, for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub kind: &'static str,
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
    pub hold_id: Option<i64>,
    pub reverses: Option<i64>,
    pub reason: String,
}

/// A fact on record: in the table, or accepted earlier in this batch.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub facts: Facts,
    pub place: Place,
}

/// Where a transfer's id comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Id(i64),
    /// The nth transfer to be inserted.
    Batch(usize),
}

/// A leg that will be inserted, with the balances right after it.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub leg: NewTransfer,
    pub link: uuid::Uuid,
    pub currency: Currency,
    pub debit: i64,
    pub credit: i64,
    pub debit_after: (i64, i64),
    pub credit_after: (i64, i64),
}

/// A journal that was accepted.
#[derive(Debug)]
pub(super) struct Member {
    before: bool,
    places: Vec<Place>,
}

impl Member {
    /// `ids` are those of the inserted transfers, in order.
    pub fn posted(self, ids: &[i64]) -> Posted {
        let id = |place: &Place| match place {
            Place::Id(id) => *id,
            Place::Batch(n) => ids[*n],
        };
        let found = self.places.iter().map(id).collect();
        if self.before { Posted::Before(found) } else { Posted::New(found) }
    }
}

/// The change of one account over the whole batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub posted: i64,
    pub held: i64,
    pub count: i64,
}

/// Running balances of the locked accounts.
pub(super) struct Books {
    accounts: HashMap<AccountRef, Account>,
    known: HashMap<(String, String), Known>,
    holds: HashMap<i64, Hold>,
    accepted: Vec<Accepted>,
    deltas: HashMap<i64, Delta>,
}

/// What a journal changed so far, for taking back.
struct Undo {
    accounts: HashMap<AccountRef, Account>,
    holds: HashMap<i64, Hold>,
    deltas: HashMap<i64, Delta>,
    accepted: usize,
}

impl Books {
    pub fn new(
        accounts: HashMap<AccountRef, Account>,
        known: HashMap<(String, String), Known>,
        holds: HashMap<i64, Hold>,
    ) -> Self {
        Self { accounts, known, holds, accepted: Vec::new(), deltas: HashMap::new() }
    }

    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// In id order, as the accounts were locked.
    pub fn deltas(&self) -> Vec<(i64, Delta)> {
        let mut deltas: Vec<_> = self.deltas.iter().map(|(id, delta)| (*id, *delta)).collect();
        deltas.sort_by_key(|(id, _)| *id);
        deltas
    }

    /// Accepts a journal whole, recognises it, or refuses it without a trace.
    pub fn decide(&mut self, journal: &Journal) -> Result<Member, LedgerError> {
        if journal.legs.is_empty() {
            return Err(LedgerError::Empty);
        }
        if let Some(member) = self.recognise(journal)? {
            return Ok(member);
        }
        let undo = self.remember(journal);
        let first = self.accepted.len();
        for leg in &journal.legs {
            if let Err(e) = self.apply(journal, leg, first) {
                self.take_back(undo);
                return Err(e);
            }
        }
        let mut places = Vec::with_capacity(journal.legs.len());
        for (n, accepted) in self.accepted.iter().enumerate().skip(first) {
            let name = (accepted.leg.source.to_owned(), accepted.leg.source_id.clone());
            let known = Known { facts: facts_of(accepted), place: Place::Batch(n) };
            self.known.insert(name, known);
            places.push(Place::Batch(n));
        }
        Ok(Member { before: false, places })
    }

    /// All legs known with the same facts: before. Some known, or known otherwise: a contradiction.
    fn recognise(&self, journal: &Journal) -> Result<Option<Member>, LedgerError> {
        let mut places = Vec::new();
        let mut stranger = None;
        for leg in &journal.legs {
            let contradiction = || LedgerError::Contradiction {
                source_name: leg.source.to_owned(),
                source_id: leg.source_id.clone(),
            };
            match self.known.get(&(leg.source.to_owned(), leg.source_id.clone())) {
                Some(known) if self.facts(leg)? == known.facts => places.push(known.place),
                Some(_) => return Err(contradiction()),
                None => stranger = Some(leg),
            }
        }
        match stranger {
            None => Ok(Some(Member { before: true, places })),
            Some(_) if places.is_empty() => Ok(None),
            Some(leg) => Err(LedgerError::Contradiction {
                source_name: leg.source.to_owned(),
                source_id: leg.source_id.clone(),
            }),
        }
    }

    fn facts(&self, leg: &NewTransfer) -> Result<Facts, LedgerError> {
        Ok(Facts {
            kind: leg.kind.as_str(),
            debit: self.account(&leg.debit)?.id,
            credit: self.account(&leg.credit)?.id,
            amount: leg.amount.0,
            hold_id: leg.hold_id,
            reverses: leg.reverses,
            reason: leg.reason.to_owned(),
        })
    }

    fn account(&self, name: &AccountRef) -> Result<Account, LedgerError> {
        let found = self.accounts.get(name).copied();
        found.ok_or(LedgerError::Store(crate::StoreError::NotFound("ledger account")))
    }

    fn remember(&self, journal: &Journal) -> Undo {
        let names = || journal.legs.iter().flat_map(|leg| [&leg.debit, &leg.credit]);
        Undo {
            accounts: names().filter_map(|n| self.accounts.get(n).map(|a| (n.clone(), *a))).collect(),
            holds: journal
                .legs
                .iter()
                .filter_map(|leg| leg.hold_id.and_then(|id| self.holds.get(&id).map(|h| (id, *h))))
                .collect(),
            deltas: names()
                .filter_map(|n| self.accounts.get(n))
                .map(|a| (a.id, self.deltas.get(&a.id).copied().unwrap_or_default()))
                .collect(),
            accepted: self.accepted.len(),
        }
    }

    fn take_back(&mut self, undo: Undo) {
        self.accounts.extend(undo.accounts);
        self.holds.extend(undo.holds);
        self.deltas.extend(undo.deltas);
        self.deltas.retain(|_, delta| delta.count > 0);
        self.accepted.truncate(undo.accepted);
    }

    /// `first` is where this journal's own legs begin among the accepted.
    fn apply(&mut self, journal: &Journal, leg: &NewTransfer, first: usize) -> Result<(), LedgerError> {
        let amount = leg.amount.0;
        if amount <= 0 {
            return Err(LedgerError::Amount);
        }
        if leg.debit.currency != leg.credit.currency {
            return Err(LedgerError::MixedCurrency);
        }
        let (debit, credit) = (self.account(&leg.debit)?, self.account(&leg.credit)?);
        if debit.id == credit.id {
            return Err(LedgerError::Amount);
        }
        let own = &self.accepted[first..];
        let repeated = own.iter().any(|a| a.leg.source == leg.source && a.leg.source_id == leg.source_id);
        if repeated {
            return Err(LedgerError::Contradiction {
                source_name: leg.source.to_owned(),
                source_id: leg.source_id.clone(),
            });
        }
        self.spend_hold(leg, debit.id)?;
        let (moves, reserves) = match leg.kind {
            Kind::Post => (amount, 0),
            Kind::Hold => (0, amount),
            Kind::Capture => (amount, -amount),
            Kind::Void => (0, -amount),
        };
        let debit_after = self.change(&leg.debit, (-moves, reserves))?;
        let credit_after = self.change(&leg.credit, (moves, 0))?;
        self.accepted.push(Accepted {
            leg: leg.clone(),
            link: journal.link,
            currency: leg.debit.currency,
            debit: debit.id,
            credit: credit.id,
            debit_after,
            credit_after,
        });
        Ok(())
    }

    /// A capture takes at most what is left of its hold, a void exactly that: of two, one finds nothing left.
    fn spend_hold(&mut self, leg: &NewTransfer, debit: i64) -> Result<(), LedgerError> {
        let id = match (leg.kind, leg.hold_id) {
            (Kind::Post | Kind::Hold, None) => return Ok(()),
            (Kind::Capture | Kind::Void, Some(id)) => id,
            (_, id) => return Err(LedgerError::NotAHold(id.unwrap_or_default())),
        };
        let hold = self.holds.get_mut(&id).ok_or(LedgerError::NotAHold(id))?;
        if hold.debit != debit || hold.currency != leg.debit.currency {
            return Err(LedgerError::NotAHold(id));
        }
        let fits = match leg.kind {
            Kind::Void => leg.amount.0 == hold.remaining,
            _ => leg.amount.0 <= hold.remaining,
        };
        if !fits {
            return Err(LedgerError::HoldSpent(id));
        }
        hold.remaining -= leg.amount.0;
        Ok(())
    }

    fn change(&mut self, name: &AccountRef, (posted, held): (i64, i64)) -> Result<(i64, i64), LedgerError> {
        let account = self
            .accounts
            .get_mut(name)
            .ok_or(LedgerError::Store(crate::StoreError::NotFound("ledger account")))?;
        let new_posted = account.posted.checked_add(posted).ok_or(LedgerError::Amount)?;
        let new_held = account.held.checked_add(held).ok_or(LedgerError::Amount)?;
        let available = new_posted.checked_sub(new_held).ok_or(LedgerError::Amount)?;
        if new_held < 0 || (!account.may_be_negative && available < 0) {
            return Err(LedgerError::Overdraft { account: format!("{} {}", name.kind.as_str(), name.name) });
        }
        (account.posted, account.held) = (new_posted, new_held);
        let delta = self.deltas.entry(account.id).or_default();
        // The running balances did not overflow, so neither does their difference from the first.
        delta.posted = delta.posted.wrapping_add(posted);
        delta.held = delta.held.wrapping_add(held);
        delta.count += 1;
        Ok((new_posted, new_held))
    }
}

fn facts_of(accepted: &Accepted) -> Facts {
    Facts {
        kind: accepted.leg.kind.as_str(),
        debit: accepted.debit,
        credit: accepted.credit,
        amount: accepted.leg.amount.0,
        hold_id: accepted.leg.hold_id,
        reverses: accepted.leg.reverses,
        reason: accepted.leg.reason.to_owned(),
    }
}
