//! The rules about budgets: whoever spends of a balance stays within what its owner allows in a day.

use std::collections::BTreeMap;

use super::books::Books;
use super::rows::{Bought, Budget};
use super::rules::rule;
use crate::Fault;

/// The budgets that were seen, and how many purchases there were before each.
#[derive(Default)]
pub(super) struct Budgets(BTreeMap<i64, Seen>);

struct Seen {
    last_before: i64,
    limit_micros: i64,
}

impl Budgets {
    /// What was spent is what the purchases since amount to, and what was bought just now fits the limit.
    pub fn check(&mut self, books: &Books, now: &[Budget], last_before: i64) -> Result<(), Fault> {
        for budget in now {
            let limit = budget.limit_micros;
            let seen = self.0.entry(budget.id).or_insert(Seen { last_before, limit_micros: limit });
            for (day, spent) in &budget.spent {
                let of_day = |bought: &&Bought| {
                    bought.is_from_balance()
                        && bought.account_id == budget.account_id
                        && bought.id > seen.last_before
                        && bought.created_at.date_naive() == *day
                };
                let all = || books.purchases.values().filter(of_day);
                let due: i64 = all().map(|bought| bought.price_micros).sum();
                rule!(*spent == due, "a budget counts {spent}, and {due} were spent");
                let fresh = all().any(|bought| bought.id > last_before && bought.price_micros > 0);
                let most = limit.max(seen.limit_micros);
                rule!(!fresh || *spent <= most, "{spent} were spent in a day of which {most} are allowed");
            }
            seen.limit_micros = limit;
        }
        let ids: Vec<i64> = now.iter().map(|budget| budget.id).collect();
        self.0.retain(|id, _| ids.contains(id));
        Ok(())
    }
}
