//! Balances and their history. Open to all, as published clients send no credentials here.

use std::collections::HashMap;

use store::accounts::{Lease, account_of_wallet_find, lease_find};
pub use store::ledger::Entry;
use store::ledger::{self, Balance, Currency};
use types::{AccountId, Code, Problem, UsdMicros, Wallet};

use crate::Plane;
use crate::tiers::down;

/// Entries of one answer.
const HISTORY_MAX: i64 = 200;
const HISTORY_DEFAULT: i64 = 50;
/// Longer than any e-mail address may be.
const IDENTIFIER_BYTES_MAX: usize = 320;

/// An account's money.
#[derive(Debug, Clone)]
pub struct BillingAccount {
    pub wallet: Wallet,
    /// None for a wallet that was never seen.
    pub account: Option<AccountId>,
    /// Cash, and test money.
    pub cash: Balance,
    pub test: Balance,
    /// The balance as buyers see it: cash, and test money only where nothing is sold for cash.
    pub available: UsdMicros,
    pub held: UsdMicros,
    pub lease: Option<Lease>,
}

/// A page of an account's entries, newest first.
#[derive(Debug, Clone)]
pub struct BillingHistory {
    pub wallet: Wallet,
    pub entries: Vec<Entry>,
    /// There are older ones: the last entry's id is the cursor of the next page.
    pub has_more: bool,
}

impl Plane {
    /// What the account of a wallet has.
    ///
    /// # Errors
    /// `BAD_REQUEST` for what is neither a wallet nor an e-mail address, `RESOURCE_NOT_FOUND` for an unknown
    /// e-mail.
    ///
    /// # Source
    /// Wire contract 01 section 9.1.
    pub async fn billing_account(&self, identifier: &str) -> Result<BillingAccount, Problem> {
        let wallet = wallet_of(identifier)?;
        let store = &self.deps().store;
        let account = account_of_wallet_find(store, wallet).await.map_err(down)?;
        let (balances, lease) = match account {
            Some(id) => (
                ledger::balances_of_owner(store, id).await.map_err(down)?,
                lease_find(store, id).await.map_err(down)?,
            ),
            None => (HashMap::new(), None),
        };
        let of = |currency| balances.get(&currency).copied().unwrap_or_default();
        let (cash, test) = (of(Currency::Usd), of(Currency::TestUsd));
        let shown = if self.deps().prices.test_money_only() { test } else { Balance::default() };
        Ok(BillingAccount {
            wallet,
            account,
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
        identifier: &str,
        limit: Option<&str>,
        after: Option<i64>,
    ) -> Result<BillingHistory, Problem> {
        let wallet = wallet_of(identifier)?;
        let limit = page_limit(limit, (HISTORY_DEFAULT, HISTORY_MAX))?;
        let store = &self.deps().store;
        let mut entries = match account_of_wallet_find(store, wallet).await.map_err(down)? {
            // One more than is shown says whether there are more.
            Some(account) => ledger::statement(store, account, after, limit + 1).await.map_err(down)?,
            None => Vec::new(),
        };
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > shown;
        entries.truncate(shown);
        Ok(BillingHistory { wallet, entries, has_more })
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

fn wallet_of(identifier: &str) -> Result<Wallet, Problem> {
    if let Ok(wallet) = identifier.parse() {
        return Ok(wallet);
    }
    let looks_like_mail = identifier.len() <= IDENTIFIER_BYTES_MAX
        && identifier.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if looks_like_mail {
        return Err(Problem::new(Code::ResourceNotFound, "no billing account has this e-mail address"));
    }
    Err(Problem::new(Code::BadRequest, "neither a wallet address nor an e-mail address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_a_wallet_an_unknown_mail_or_nonsense() {
        assert!(wallet_of("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266").is_ok());
        assert_eq!(wallet_of("a@b.c").unwrap_err().code, Code::ResourceNotFound);
        for bad in ["", "0x", "@b.c", "a@b", "x"] {
            assert_eq!(wallet_of(bad).unwrap_err().code, Code::BadRequest, "{bad}");
        }
    }
}
