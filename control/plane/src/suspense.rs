//! Money that no payment explains: what lies there, and an operator's way out.

use billing::legs::{Resolved, resolve};
use store::accounts::{account_find, account_of_wallet_ensure};
use store::ledger::{Currency, LedgerError, post};
pub use store::suspense::{Decided, Resolution, SightingName, Suspended};
use store::suspense::{resolution_append, resolution_find, suspended_locked};
use types::{AccountId, Code, Mutation, Problem, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::pay::unavailable;

const LIST_DEFAULT: i64 = 50;
const LIST_MAX: i64 = 200;
const NOTE_CHARS_MAX: usize = 500;

/// Whose the money is, or how it went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveTo {
    Account(AccountId),
    /// The account that a wallet speaks for, opened if there is none yet.
    Wallet(Wallet),
    /// The transaction by which the operator sent it back.
    Returned([u8; 32]),
}

/// A page of what lies in suspense.
#[derive(Debug, Clone)]
pub struct SuspensePage {
    pub rows: Vec<Suspended>,
    /// Give it as `after` for the next page; none on the last.
    pub next: Option<SightingName>,
}

impl Plane {
    /// What lies in suspense, oldest block first. For operators.
    ///
    /// # Errors
    /// As [`Plane::admin`]; `BAD_REQUEST` for a limit or a cursor that is none.
    pub async fn suspense_list(
        &self,
        caller: &Caller,
        (after, limit): (Option<&str>, Option<&str>),
    ) -> Result<SuspensePage, Problem> {
        self.admin(caller).await?;
        let limit = crate::billing::page_limit(limit, (LIST_DEFAULT, LIST_MAX))?;
        let after = after.filter(|text| !text.is_empty()).map(name_of).transpose()?;
        // One more than is shown says whether there are more.
        let mut rows =
            self.deps().store.suspense_list(after.as_ref(), limit + 1).await.map_err(unavailable)?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = rows.last().filter(|_| more).map(|row| name(&row.sighting));
        Ok(SuspensePage { rows, next })
    }

    /// Gives the money of one sighting to an account, or records that it was sent back; once. The same decision
    /// again answers the first one.
    ///
    /// # Errors
    /// As [`Plane::admin`]; `BAD_REQUEST`; `RESOURCE_NOT_FOUND` for an unknown sighting or account;
    /// `SUSPENSE_NOT_RESOLVABLE` with a reason: `not_final`, `not_in_suspense`, `claimed` by a payment, or
    /// `resolved` otherwise before.
    pub async fn suspense_resolve(
        &self,
        caller: &Caller,
        sighting: &str,
        to: ResolveTo,
        note: &str,
    ) -> Result<Resolution, Problem> {
        let admin = self.admin(caller).await?;
        let wanted = name_of(sighting)?;
        if note.chars().count() > NOTE_CHARS_MAX || note.contains('\0') {
            return Err(Problem::new(Code::BadRequest, "the note has over 500 characters, or a NUL"));
        }
        let decided = self.decided(to).await?;
        let deps = self.deps();
        let mut tx = deps.store.begin().await.map_err(unavailable)?;
        let seen = suspended_locked(&mut tx, &wanted).await.map_err(unavailable)?;
        let seen = seen.ok_or_else(|| Problem::new(Code::ResourceNotFound, "no such sighting"))?;
        if let Some(before) = resolution_find(&mut tx, sighting).await.map_err(unavailable)? {
            return if before.decided == decided { Ok(before) } else { Err(refused("resolved")) };
        }
        resolvable(&seen)?;
        let seen = seen.sighting;
        let resolution = Resolution {
            sighting: sighting.to_owned(),
            decided,
            amount: seen.amount,
            currency: Currency::of(seen.network),
            note: note.to_owned(),
            admin,
            created_at: self.now(),
        };
        resolution_append(&mut tx, &resolution).await.map_err(unavailable)?;
        let leg = resolve(seen.network, sighting, seen.amount, destination(decided));
        post(&mut tx, deps.entropy.uuid(), &[leg], self.now()).await.map_err(ledger_refused)?;
        tx.commit().await.map_err(unavailable)?;
        tracing::info!(%sighting, %admin, amount_micros = seen.amount.0, ?decided, "suspense resolved");
        Ok(resolution)
    }

    /// Looked up before the transaction, which holds the only connection that it may use.
    async fn decided(&self, to: ResolveTo) -> Result<Decided, Problem> {
        let deps = self.deps();
        let account = match to {
            ResolveTo::Returned(tx_hash) => return Ok(Decided::Returned { tx_hash }),
            ResolveTo::Wallet(wallet) => {
                let fresh = AccountId::new(&*deps.entropy);
                account_of_wallet_ensure(&deps.store, wallet, fresh, self.now()).await.map_err(unavailable)?
            }
            ResolveTo::Account(account) => {
                let found = account_find(&deps.store, account).await.map_err(unavailable)?;
                found.ok_or_else(|| Problem::new(Code::ResourceNotFound, "no such account"))?.id
            }
        };
        Ok(Decided::Credited { account })
    }
}

fn destination(decided: Decided) -> Resolved {
    match decided {
        Decided::Credited { account } => Resolved::Credited(account),
        Decided::Returned { .. } => Resolved::Returned,
    }
}

/// Only money that is there for good, and that nobody else is to get.
fn resolvable(seen: &Suspended) -> Result<(), Problem> {
    let Suspended { sighting, is_final, claimed } = seen;
    match (sighting.canonical && sighting.in_suspense, *claimed, *is_final) {
        (false, ..) => Err(refused("not_in_suspense")),
        (true, true, _) => Err(refused("claimed")),
        (true, false, false) => Err(refused("not_final")),
        (true, false, true) => Ok(()),
    }
}

fn refused(reason: &str) -> Problem {
    let message = match reason {
        "not_final" => "its block is not final yet: a reorganisation could still take the money away",
        "claimed" => "a payment was presented for this money",
        "resolved" => "it was resolved otherwise before",
        _ => "this money is not in suspense",
    };
    Problem::new(Code::SuspenseNotResolvable, message).detail("reason", reason)
}

fn ledger_refused(e: LedgerError) -> Problem {
    match e {
        LedgerError::Store(e) => unavailable(e),
        // The same decision on another connection: a repeat is answered by it.
        LedgerError::Raced => Problem::new(Code::Unavailable, "the same decision is being written"),
        e => {
            tracing::error!(error = &e as &dyn std::error::Error, "the ledger refused a resolution");
            Problem::new(Code::Internal, "the ledger refused the transfer").mutation(Mutation::RolledBack)
        }
    }
}

/// The name of a sighting's row.
pub fn name(seen: &store::sightings::SightingRow) -> SightingName {
    SightingName {
        network: seen.network,
        block_hash: seen.block_hash,
        log_index: seen.log_index,
        turn: seen.turn,
    }
}

fn name_of(text: &str) -> Result<SightingName, Problem> {
    text.parse().map_err(|e: store::suspense::BadSightingName| Problem::new(Code::BadRequest, e.to_string()))
}
