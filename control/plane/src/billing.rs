//! Balances and their history. Open to all, as published clients send no credentials here.

use std::collections::HashMap;

use store::accounts::{Lease, account_of_email_find, account_of_wallet_find, lease_find};
pub use store::ledger::Entry;
use store::ledger::{self, Balance, Currency};
use store::recharges::{Recharge, recharge_find};
use types::{AccountId, Code, Problem, UsdMicros, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::tiers::down;

pub mod accounts;
mod checkout_key;
pub mod checkouts;
pub mod email;
pub mod mailbox;
pub mod recharge;
pub mod webhook;

use email::Email;

/// Entries of one answer.
const HISTORY_MAX: i64 = 200;
const HISTORY_DEFAULT: i64 = 50;

/// What an account is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    Wallet(Wallet),
    Email(Email),
}

impl Identifier {
    /// The word for it on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Wallet(_) => "wallet",
            Self::Email(_) => "email",
        }
    }
}

impl std::fmt::Display for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wallet(wallet) => wallet.fmt(f),
            Self::Email(email) => f.write_str(email.shown()),
        }
    }
}

/// An account's money.
#[derive(Debug, Clone)]
pub struct BillingAccount {
    pub identifier: Identifier,
    /// None for a wallet that was never seen.
    pub account: Option<AccountId>,
    /// Cash, and test money.
    pub cash: Balance,
    pub test: Balance,
    /// The balance as buyers see it: cash, and test money only where nothing is sold for cash.
    pub available: UsdMicros,
    pub held: UsdMicros,
    pub lease: Option<Lease>,
    pub email_credits: i64,
    pub recharge: Recharge,
}

/// A page of an account's entries, newest first.
#[derive(Debug, Clone)]
pub struct BillingHistory {
    pub identifier: Identifier,
    pub entries: Vec<Entry>,
    /// There are older ones: the last entry's id is the cursor of the next page.
    pub has_more: bool,
}

impl Plane {
    /// What the account of a wallet has.
    ///
    /// # Errors
    /// `BAD_REQUEST` for what is neither a wallet nor an e-mail address, `RESOURCE_NOT_FOUND` for an unknown
    /// e-mail, `RATE_LIMITED`.
    ///
    /// # Source
    /// Wire contract 01 section 9.1.
    pub async fn billing_account(
        &self,
        caller: &Caller,
        identifier: &str,
    ) -> Result<BillingAccount, Problem> {
        let (identifier, account) = self.identified(caller, identifier).await?;
        let store = &self.deps().store;
        let (balances, lease, recharge) = match account {
            Some(id) => (
                ledger::balances_of_owner(store, id).await.map_err(down)?,
                lease_find(store, id).await.map_err(down)?,
                recharge_find(store, id).await.map_err(down)?,
            ),
            None => (HashMap::new(), None, None),
        };
        let of = |currency| balances.get(&currency).copied().unwrap_or_default();
        let (cash, test) = (of(Currency::Usd), of(Currency::TestUsd));
        let shown = if self.deps().prices.test_money_only() { test } else { Balance::default() };
        Ok(BillingAccount {
            identifier,
            account,
            email_credits: of(Currency::Email).available().0,
            recharge: recharge.unwrap_or_default(),
            cash,
            test,
            available: UsdMicros(cash.available().0.saturating_add(shown.available().0)),
            held: UsdMicros(cash.held.0.saturating_add(shown.held.0)),
            lease,
        })
    }

    /// A page of the entries on the account of a wallet, newest first: the newest, or those before `after`, the
    /// number of an entry. What is posted meanwhile is above every page that is still to come.
    ///
    /// # Errors
    /// As [`Plane::billing_account`]; `BAD_REQUEST` for a limit that is not a positive number.
    ///
    /// # Source
    /// Wire contract 01 section 9.2.
    pub async fn billing_history(
        &self,
        caller: &Caller,
        identifier: &str,
        limit: Option<&str>,
        after: Option<i64>,
    ) -> Result<BillingHistory, Problem> {
        let (identifier, account) = self.identified(caller, identifier).await?;
        let limit = page_limit(limit, (HISTORY_DEFAULT, HISTORY_MAX))?;
        let store = &self.deps().store;
        let mut entries = match account {
            // One more than is shown says whether there are more.
            Some(account) => ledger::statement(store, account, after, limit + 1).await.map_err(down)?,
            None => Vec::new(),
        };
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > shown;
        entries.truncate(shown);
        Ok(BillingHistory { identifier, entries, has_more })
    }

    /// The account that an identifier means: none for a wallet that was never seen.
    async fn identified(
        &self,
        caller: &Caller,
        text: &str,
    ) -> Result<(Identifier, Option<AccountId>), Problem> {
        let store = &self.deps().store;
        let identifier = identifier_of(text)?;
        let account = match &identifier {
            Identifier::Wallet(wallet) => account_of_wallet_find(store, *wallet).await.map_err(down)?,
            Identifier::Email(email) => {
                self.mail_call(caller)?;
                let known = account_of_email_find(store, email.key()).await.map_err(down)?;
                Some(known.ok_or_else(unknown_email)?.account)
            }
        };
        Ok((identifier, account))
    }
}

/// How many rows a page has: what was asked for, within bounds.
///
/// # Errors
/// `BAD_REQUEST` for what is not a positive number.
pub(crate) fn page_limit(text: Option<&str>, (default, max): (i64, i64)) -> Result<i64, Problem> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => match text.parse::<i64>() {
            Ok(n) if n > 0 => Ok(n.min(max)),
            _ => Err(Problem::new(Code::BadRequest, "limit is not a positive number")),
        },
    }
}

fn unknown_email() -> Problem {
    Problem::new(Code::ResourceNotFound, "no billing account has this e-mail address")
        .extra("hint", "Make one: run402 billing create-email <email>")
}

fn identifier_of(text: &str) -> Result<Identifier, Problem> {
    if let Ok(wallet) = text.parse() {
        return Ok(Identifier::Wallet(wallet));
    }
    Email::parse(text)
        .map(Identifier::Email)
        .map_err(|_| Problem::new(Code::BadRequest, "neither a wallet address nor an e-mail address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_a_wallet_a_mail_or_nonsense() {
        let wallet = identifier_of("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266").unwrap();
        assert_eq!(wallet.to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert_eq!(identifier_of("A@b.c").unwrap().to_string(), "a@b.c");
        for bad in ["", "0x", "@b.c", "a@b", "x"] {
            assert_eq!(identifier_of(bad).unwrap_err().code, Code::BadRequest, "{bad}");
        }
    }
}
