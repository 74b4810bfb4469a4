//! What operators ask of the ledger: what a project and the platform earn, and what is at risk.

use chrono::TimeDelta;
use store::ledger::{Currency, LedgerKind};
pub use store::ledger::{Exposed, Flow, Standing};
use types::{Code, Problem, ProjectId, UsdMicros};

use crate::Plane;
use crate::caller::Caller;
use crate::pay::unavailable;

/// How far back a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub word: &'static str,
    hours: i64,
}

const WINDOWS: [Window; 4] = [
    Window { word: "24h", hours: 24 },
    Window { word: "7d", hours: 7 * 24 },
    Window { word: "30d", hours: 30 * 24 },
    Window { word: "90d", hours: 90 * 24 },
];
const WINDOW_DEFAULT: usize = 2;

/// What products brought in, by the contract's words. May be negative: more was refunded than paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revenue {
    pub tier_fees: UsdMicros,
    pub email_packs: UsdMicros,
    pub kms_rental: UsdMicros,
    pub kms_sign_fees: UsdMicros,
    pub per_call_sku: UsdMicros,
}

impl Revenue {
    pub fn total(&self) -> UsdMicros {
        let Self { tier_fees, email_packs, kms_rental, kms_sign_fees, per_call_sku } = self;
        [tier_fees, email_packs, kms_rental, kms_sign_fees, per_call_sku]
            .into_iter()
            .fold(UsdMicros::ZERO, add)
    }
}

/// A project's share of what its account paid and cost.
#[derive(Debug, Clone)]
pub struct ProjectFinance {
    pub id: ProjectId,
    pub name: String,
    pub window: Window,
    /// Nothing is sold for cash here, so test money counts as well, as it does in balances.
    pub test_money: bool,
    pub revenue: Revenue,
    /// What it is for, and how much.
    pub costs: Vec<(&'static str, UsdMicros)>,
    /// Projects that the account's fees are split over.
    pub sharers: i64,
}

impl ProjectFinance {
    pub fn cost(&self) -> UsdMicros {
        self.costs.iter().map(|(_, micros)| micros).fold(UsdMicros::ZERO, add)
    }
}

/// Profit and loss of the platform, and where all its accounts stand.
#[derive(Debug, Clone)]
pub struct PlatformFinance {
    pub window: Window,
    pub flows: Vec<Flow>,
    pub standings: Vec<Standing>,
}

impl Plane {
    /// A project's finances. Fees are paid by accounts: they are split evenly over the projects that lived in the
    /// window, the odd micros going to the oldest, so that the projects' sums are the account's.
    ///
    /// # Errors
    /// As [`Plane::admin`]; `BAD_REQUEST` for a window that is none; `PROJECT_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 01 section 6.9.
    pub async fn finance_project(
        &self,
        caller: &Caller,
        id: ProjectId,
        window: Option<&str>,
    ) -> Result<ProjectFinance, Problem> {
        self.admin(caller).await?;
        let window = window_of(window)?;
        let store = &self.deps().store;
        let project = store::projects::project_find(store, id).await.map_err(unavailable)?;
        let project =
            project.ok_or_else(|| Problem::new(Code::ProjectNotFound, format!("no project {id}")))?;
        let span = self.span(window);
        let (sharers, place) = store.project_among((project.account, id), span).await.map_err(unavailable)?;
        let test_money = self.deps().prices.test_money_only();
        let flows = store.flows_of(project.account, span).await.map_err(unavailable)?;
        let flows = flows.iter().filter(|flow| match flow.currency {
            Currency::Usd => true,
            Currency::TestUsd => test_money,
            Currency::Email => false,
        });
        let share = |total: UsdMicros| place.map_or(UsdMicros::ZERO, |place| share(total, sharers, place));
        let (mut revenue, mut costs) = (Revenue::default(), Vec::new());
        for flow in flows {
            match cost_name(flow.kind) {
                Some(name) => costs.push((name, share(UsdMicros(flow.net.0.saturating_neg())))),
                None => {
                    let product = product(&mut revenue, &flow.name);
                    *product = add(*product, &share(flow.net));
                }
            }
        }
        costs.retain(|(_, micros)| *micros != UsdMicros::ZERO);
        Ok(ProjectFinance { id, name: project.name, window, test_money, revenue, costs, sharers })
    }

    /// Profit and loss of the platform.
    ///
    /// # Errors
    /// As [`Plane::admin`]; `BAD_REQUEST` for a window that is none.
    pub async fn finance_platform(
        &self,
        caller: &Caller,
        window: Option<&str>,
    ) -> Result<PlatformFinance, Problem> {
        self.admin(caller).await?;
        let window = window_of(window)?;
        let store = &self.deps().store;
        let flows = store.flows(self.span(window)).await.map_err(unavailable)?;
        let standings = store.standings().await.map_err(unavailable)?;
        Ok(PlatformFinance { window, flows, standings })
    }

    /// What is credited and could still be taken by a reorganisation.
    ///
    /// # Errors
    /// As [`Plane::admin`].
    pub async fn finance_exposure(&self, caller: &Caller) -> Result<Vec<Exposed>, Problem> {
        self.admin(caller).await?;
        self.deps().store.exposure().await.map_err(unavailable)
    }

    fn span(&self, window: Window) -> store::ledger::Span {
        let now = self.now();
        // This instant included: what was just posted is in the report.
        (now - TimeDelta::hours(window.hours), now + TimeDelta::milliseconds(1))
    }
}

/// Whether an account's flow is a cost, and its name.
pub fn cost_name(kind: LedgerKind) -> Option<&'static str> {
    match kind {
        LedgerKind::GasExpense => Some("Chain gas passthrough"),
        LedgerKind::BadDebt => Some("Bad debt"),
        _ => None,
    }
}

fn product<'a>(revenue: &'a mut Revenue, name: &str) -> &'a mut UsdMicros {
    match name {
        "tier" => &mut revenue.tier_fees,
        "email_pack" => &mut revenue.email_packs,
        "kms_rental" => &mut revenue.kms_rental,
        "kms_sign_fee" => &mut revenue.kms_sign_fees,
        _ => &mut revenue.per_call_sku,
    }
}

/// The part of `place` among `sharers` who share `total`.
fn share(total: UsdMicros, sharers: i64, place: i64) -> UsdMicros {
    if sharers <= 0 {
        return UsdMicros::ZERO;
    }
    let odd = i64::from(place < total.0.rem_euclid(sharers));
    UsdMicros(total.0.div_euclid(sharers) + odd)
}

fn add(a: UsdMicros, b: &UsdMicros) -> UsdMicros {
    UsdMicros(a.0.saturating_add(b.0))
}

fn window_of(word: Option<&str>) -> Result<Window, Problem> {
    match word.filter(|word| !word.is_empty()) {
        None => Ok(WINDOWS[WINDOW_DEFAULT]),
        Some(word) => WINDOWS.into_iter().find(|window| window.word == word).ok_or_else(|| {
            Problem::new(Code::BadRequest, "the window is none of 24h, 7d, 30d and 90d")
                .detail("window", word)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // D05: what is split is neither more nor less than what there was.
    #[test]
    fn shares_add_up_to_the_micro() {
        for total in [0, 1, 2, 100_000, -1, -100_001, i64::MAX, i64::MIN] {
            for sharers in 1..8 {
                let sum: i128 =
                    (0..sharers).map(|place| i128::from(share(UsdMicros(total), sharers, place).0)).sum();
                assert_eq!(sum, i128::from(total), "{total} over {sharers}");
            }
        }
        assert_eq!(share(UsdMicros(5), 0, 0), UsdMicros::ZERO);
    }

    #[test]
    fn a_window_is_one_of_four_words() {
        assert_eq!(window_of(None).unwrap().word, "30d");
        assert_eq!(window_of(Some("90d")).unwrap().hours, 2_160);
        assert!(["1d", "24H", "30"].iter().all(|word| window_of(Some(word)).is_err()));
    }
}
