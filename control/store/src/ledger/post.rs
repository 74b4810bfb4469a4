//! Posting: decide every leg in Rust on locked balances, then write the batch in one statement.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use types::UsdMicros;
use uuid::Uuid;

use super::accounts::{Account, AccountRef, accounts_locked, words};
use super::decide::{Books, Member};
use super::hold::{Hold, holds_read};
use super::rows;
use crate::{StoreError, Tx};

words! {
    /// What a transfer does to the balance it debits.
    Kind {
        /// Moves money now.
        Post = "post",
        /// Reserves money; nothing moves yet.
        Hold = "hold",
        /// Moves part or all of what a hold reserved.
        Capture = "capture",
        /// Gives back all that is left of a hold.
        Void = "void",
    }
}

/// A transfer to post. Debits one account, credits another, in one currency.
#[derive(Debug, Clone)]
pub struct NewTransfer {
    /// Where the fact comes from; with `source_id` it names the fact for ever.
    pub source: &'static str,
    pub source_id: String,
    pub kind: Kind,
    pub debit: AccountRef,
    pub credit: AccountRef,
    pub amount: UsdMicros,
    /// The hold that a capture or a void is about.
    pub hold_id: Option<i64>,
    /// The transfer that this one undoes.
    pub reverses: Option<i64>,
    /// A word for statements, such as `tier_subscribe`.
    pub reason: &'static str,
    /// What statements refer to: its type and its id.
    pub reference: Option<(String, String)>,
    pub metadata: Value,
}

impl NewTransfer {
    /// Moves `amount` now, and says nothing more about it.
    pub fn post(
        (source, source_id): (&'static str, String),
        (debit, credit): (AccountRef, AccountRef),
        amount: UsdMicros,
        reason: &'static str,
    ) -> Self {
        Self {
            source,
            source_id,
            kind: Kind::Post,
            debit,
            credit,
            amount,
            hold_id: None,
            reverses: None,
            reason,
            reference: None,
            metadata: Value::Object(serde_json::Map::new()),
        }
    }

    pub fn referring_to(mut self, kind: &str, id: impl std::fmt::Display) -> Self {
        self.reference = Some((kind.to_owned(), id.to_string()));
        self
    }

    /// The mirror image of a posted transfer, which names what it undoes. A transfer is undone once.
    pub fn reversal(of: &Transfer, reason: &'static str) -> Self {
        let mut mirror = Self::post(
            ("reversal", of.id.to_string()),
            (of.credit.clone(), of.debit.clone()),
            of.amount,
            reason,
        );
        mirror.reverses = Some(of.id);
        mirror.reference.clone_from(&of.reference);
        mirror
    }
}

/// Legs that post together or not at all.
#[derive(Debug, Clone)]
pub struct Journal {
    pub link: Uuid,
    pub legs: Vec<NewTransfer>,
}

/// What became of a journal: the ids of its legs, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    New(Vec<i64>),
    /// The same facts were posted before; nothing was written.
    Before(Vec<i64>),
}

impl Posted {
    pub fn ids(&self) -> &[i64] {
        match self {
            Self::New(ids) | Self::Before(ids) => ids,
        }
    }
}

/// Why a journal was not posted.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Other facts stand under the same name. A person must look.
    #[error("{source_name} {source_id} was posted before with other facts")]
    Contradiction { source_name: String, source_id: String },
    #[error("{account} does not cover it")]
    Overdraft { account: String },
    /// The hold is captured or voided already, or less is left of it than was asked for.
    #[error("hold {0} does not cover it")]
    HoldSpent(i64),
    #[error("{0} is not a hold on that account")]
    NotAHold(i64),
    #[error("the two sides are in different currencies")]
    MixedCurrency,
    #[error("the amount is not positive or too large")]
    Amount,
    #[error("a journal without legs")]
    Empty,
    /// Another writer posted one of the facts in the same moment, on other accounts. Roll back and try again.
    #[error("another writer posted the same fact")]
    Raced,
    #[error("control database")]
    Store(StoreError),
}

impl From<StoreError> for LedgerError {
    /// The constraint is the backstop of the same rule in code.
    fn from(e: StoreError) -> Self {
        match e.constraint() {
            Some("ledger_no_overdraft" | "ledger_held_not_negative") => {
                Self::Overdraft { account: "an account".to_owned() }
            }
            Some("ledger_transfer_once" | "ledger_one_reversal" | "ledger_one_void_per_hold") => Self::Raced,
            _ => Self::Store(e),
        }
    }
}

/// A transfer as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: i64,
    pub source: String,
    pub source_id: String,
    pub kind: Kind,
    pub debit: AccountRef,
    pub credit: AccountRef,
    pub amount: UsdMicros,
    pub hold_id: Option<i64>,
    pub reverses: Option<i64>,
    pub link: Uuid,
    pub reason: String,
    pub reference: Option<(String, String)>,
    /// The transfer that undid this one.
    pub reversed_by: Option<i64>,
}

/// Posts one journal: all of its legs or none. The same facts again answer `Before` and write nothing.
///
/// Locks the accounts until the transaction ends; post once per transaction.
///
/// # Errors
/// What `LedgerError` names. After `Store` or `Raced` the transaction is of no more use; after the others
/// nothing was written and it may go on.
pub async fn post(
    tx: &mut Tx,
    link: Uuid,
    legs: &[NewTransfer],
    now: DateTime<Utc>,
) -> Result<Posted, LedgerError> {
    let journal = Journal { link, legs: legs.to_vec() };
    let journals = std::slice::from_ref(&journal);
    let (accounts, holds) = locked(tx, journals).await?;
    // Facts are nearly always new, so the write finds out: that is one round trip less on locked accounts.
    let mut books = Books::new(accounts.clone(), HashMap::new(), holds.clone());
    if let Ok(member) = books.decide(&journal)
        && let Some(ids) = rows::write(tx, books.accepted(), &books.deltas(), now).await?
    {
        return Ok(member.posted(&ids));
    }
    // Refused, or on record: what is on record answers before any balance does.
    let mut outcomes = decided(tx, journals, (accounts, holds), now).await?;
    outcomes.pop().unwrap_or(Err(LedgerError::Empty))
}

/// Posts the journals of many callers in one go, each with an outcome of its own: a refused one leaves no
/// trace and does not touch the others.
///
/// # Errors
/// `Store` and `Raced` for the batch: the transaction is of no more use.
pub async fn post_many(
    tx: &mut Tx,
    journals: &[Journal],
    now: DateTime<Utc>,
) -> Result<Vec<Result<Posted, LedgerError>>, LedgerError> {
    let locked = locked(tx, journals).await?;
    decided(tx, journals, locked, now).await
}

type Locked = (HashMap<AccountRef, Account>, HashMap<i64, Hold>);

/// The accounts of the journals and what is left of their holds. Locked first: whatever is read after this
/// cannot change under us.
async fn locked(tx: &mut Tx, journals: &[Journal]) -> Result<Locked, LedgerError> {
    let legs = || journals.iter().flat_map(|journal| &journal.legs);
    let names: Vec<AccountRef> = legs().flat_map(|leg| [leg.debit.clone(), leg.credit.clone()]).collect();
    let accounts = accounts_locked(tx, &names).await?;
    let hold_ids: Vec<i64> = legs().filter_map(|leg| leg.hold_id).collect();
    Ok((accounts, holds_read(tx, &hold_ids).await?))
}

/// Looks up what is on record, decides every journal and writes what was accepted.
async fn decided(
    tx: &mut Tx,
    journals: &[Journal],
    (accounts, holds): Locked,
    now: DateTime<Utc>,
) -> Result<Vec<Result<Posted, LedgerError>>, LedgerError> {
    let before = rows::facts_find(tx, journals.iter().flat_map(|journal| &journal.legs)).await?;
    let mut books = Books::new(accounts, before, holds);
    let members: Vec<Result<Member, LedgerError>> =
        journals.iter().map(|journal| books.decide(journal)).collect();
    // The facts were looked up under the locks: what is on record now came from somebody on other accounts.
    let ids = rows::write(tx, books.accepted(), &books.deltas(), now).await?.ok_or(LedgerError::Raced)?;
    Ok(members.into_iter().map(|member| member.map(|m| m.posted(&ids)).inspect_err(report)).collect())
}

fn report(e: &LedgerError) {
    if let LedgerError::Contradiction { source_name, source_id } = e {
        tracing::error!(source = %source_name, source_id = %source_id, "contradiction in the ledger: {e}");
    }
}

/// The transfer that records a fact, if it was posted.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn transfer_find(
    tx: &mut Tx,
    source: &str,
    source_id: &str,
) -> Result<Option<Transfer>, StoreError> {
    rows::transfer_find(tx, source, source_id).await
}

/// The legs of a journal in the order they were posted.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn transfers_of_link(tx: &mut Tx, link: Uuid) -> Result<Vec<Transfer>, StoreError> {
    rows::transfers_of_link(tx, link).await
}
