//! The ids of ledger accounts, remembered: they never change, and looking them up costs a round trip.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::accounts::AccountRef;

/// Names that are remembered at most; then all are forgotten, which costs each of them one look.
const REMEMBERED_MAX: usize = 100_000;

/// A hint and no more: whoever locks a row compares its name with the one it asked for.
#[derive(Debug, Default)]
pub(crate) struct AccountIds(Mutex<HashMap<AccountRef, i64>>);

impl AccountIds {
    /// The ids of all the names, or none.
    pub fn of_all(&self, names: &[AccountRef]) -> Option<Vec<i64>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|name| known.get(name).copied()).collect()
    }

    pub fn remember(&self, found: &HashMap<AccountRef, i64>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + found.len() > REMEMBERED_MAX {
            known.clear();
        }
        known.extend(found.iter().map(|(name, id)| (name.clone(), *id)));
    }

    pub fn forget(&self, names: &[AccountRef]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            known.remove(name);
        }
    }
}
