//! The double-entry ledger.
//!
//! **Cast.** [`post`] and [`post_many`] write transfers and move balances, [`Poster`] does it for many callers in
//! one commit; [`hold`] knows what is left of a
//! hold; [`seal`] chains the journal's hashes after the fact; [`statement`] shows an owner its entries;
//! [`verify`] re-derives everything from the transfers; [`explain`] walks from a balance to where it came from, and
//! `finance` sums for the operator.
//!
//! **Invariants.** Transfers are append-only, which the database enforces. Every transfer has two sides in
//! one currency. Balances change in the transaction that writes the transfer, and a check constraint forbids
//! an overdraft even if the code were wrong. The same fact is posted once: unique on `(source, source_id)`.
//!
//! **Locks.** Accounts are locked in id order, last of all locks. Post once per transaction: a second call
//! may lock an account below one that is held already.
//!
//! **Failure story.** Nothing here commits. A refused journal leaves no trace; a failed statement aborts the
//! caller's transaction.

mod accounts;
mod audit;
mod audit_cards;
mod decide;
mod explain;
mod finance;
mod hold;
mod ids;
mod merkle;
mod post;
mod poster;
mod proof;
mod rows;
mod seal;
mod statement;
mod verify;

pub use accounts::{
    AccountRef, Balance, Currency, LedgerKind, balance_find, balances_of_owner, balances_within,
};
pub use explain::{Account as ExplainedAccount, BadAccount, Line, Origin, Sum, Told, Which, explain};
pub use finance::{Exposed, Flow, Level, Span, Standing};
pub(crate) use ids::AccountIds;
pub use post::{
    Journal, Kind, LedgerError, NewTransfer, Posted, Transfer, post, post_many, transfer_find,
    transfers_of_link,
};
pub use poster::Poster;
pub use proof::{Leaf, Proof, ProofError, Proven, check as proof_check, prove};
pub use seal::{seal, unsealed_count};
pub use statement::{Direction, Entry, statement};
pub use verify::{Finding, LedgerReport, verify};
