//! Rows of the books as the oracle reads them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use store::accounts::{Lease, Purchase, PurchaseAction};
use store::ledger::Currency;
use types::{PaymentId, Tier, UsdMicros};
use uuid::Uuid;

use crate::Fault;

#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    pub transfers: Vec<Transfer>,
    pub purchases: Vec<Bought>,
    pub payments: Vec<Payment>,
    pub sightings: Vec<Sighting>,
    pub accounts: Vec<Account>,
    pub resolutions: Vec<Resolution>,
    pub checkouts: Vec<Checkout>,
    pub stripe: Heard,
    pub budgets: Vec<Budget>,
    pub leases: Vec<LeaseRow>,
    pub cursors: Vec<Cursor>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Transfer {
    pub id: i64,
    pub source: String,
    pub source_id: String,
    pub kind: String,
    pub currency: String,
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
    pub reverses: Option<i64>,
    pub link: Uuid,
    /// The sighting whose money it took from suspense.
    pub drawn: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Bought {
    pub id: i64,
    pub account_id: Uuid,
    pub action: String,
    pub tier: Tier,
    pub previous_tier: Option<Tier>,
    pub price_micros: i64,
    pub currency: String,
    pub link: Uuid,
    pub payment_id: Option<Uuid>,
    pub request_key: Option<String>,
    pub revokes: Option<i64>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Payment {
    pub id: Uuid,
    pub network: String,
    /// Its authorisation.
    pub name: String,
    pub payer: String,
    pub nonce: String,
    pub pay_to: String,
    pub amount_micros: i64,
    pub product: String,
    pub state: String,
    pub credits: i32,
    #[serde(rename = "final")]
    pub is_final: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sighting {
    /// Its block and its place there.
    pub log: String,
    pub turn: i32,
    pub block_number: i64,
    pub authorisation: Option<String>,
    pub pay_to: String,
    pub amount_micros: i64,
    pub canonical: bool,
    pub in_suspense: bool,
    pub ours: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Account {
    pub id: i64,
    pub kind: String,
    pub owner: Option<Uuid>,
    pub currency: String,
    pub may_be_negative: bool,
    pub posted: i64,
    pub held: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Resolution {
    pub sighting: String,
    pub amount_micros: i64,
    pub outcome: String,
}

/// What may be spent of an account's balance in a day.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Budget {
    pub id: i64,
    pub account_id: Uuid,
    pub limit_micros: i64,
    /// By day.
    pub spent: BTreeMap<NaiveDate, i64>,
}

/// A quote for a card.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Checkout {
    /// As it is told, and as the ledger names its deposit.
    pub name: String,
    pub product: String,
    pub amount_micros: i64,
    pub account_id: Option<Uuid>,
    pub paid: bool,
    /// The books do not have all its facts.
    pub due: bool,
    pub deposited: bool,
    pub refunded_micros: i64,
    pub disputed_micros: i64,
    /// The journal of what it bought.
    pub link: Option<Uuid>,
}

/// What was heard of Stripe.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Heard {
    /// Events that wait.
    pub pending: u32,
    /// Events that were not believed, and why.
    pub refused: Option<Vec<String>>,
    /// Charges whose end is not known.
    pub charging: u32,
    /// Payments that its balance shows and the books were not found to agree with.
    pub unmatched: Option<Vec<String>>,
    /// Payments about which a person was called.
    pub alarmed: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct LeaseRow {
    pub account_id: Uuid,
    pub tier: Tier,
    pub started_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cursor {
    pub network: String,
    pub next_block: i64,
    pub halted_reason: Option<String>,
    pub safe_block: i64,
    pub finalized_block: i64,
}

impl Payment {
    pub fn credited(&self) -> bool {
        self.state == "credited"
    }

    pub fn open(&self) -> bool {
        matches!(self.state.as_str(), "verified" | "settling") || (self.credited() && !self.is_final)
    }

    /// Whether a sighting is this payment's money.
    pub fn is_paid_by(&self, seen: &Sighting) -> bool {
        seen.authorisation.as_ref() == Some(&self.name)
            && seen.pay_to == self.pay_to
            && seen.amount_micros == self.amount_micros
    }
}

impl Checkout {
    /// All of the money was taken back.
    pub fn gone(&self) -> bool {
        self.refunded_micros + self.disputed_micros == self.amount_micros
    }

    /// What the books have of it.
    pub fn kept_micros(&self) -> i64 {
        if self.deposited { self.amount_micros - self.refunded_micros - self.disputed_micros } else { 0 }
    }
}

impl Sighting {
    /// Its name in the ledger.
    pub fn name(&self) -> String {
        format!("{}/#{}", self.log, self.turn)
    }
}

impl LeaseRow {
    pub fn lease(&self) -> Lease {
        Lease { tier: self.tier, started_at: self.started_at, ends_at: self.ends_at }
    }
}

impl Bought {
    /// Whether the balance paid for it because somebody asked.
    pub fn is_from_balance(&self) -> bool {
        let key = self.request_key.as_deref();
        self.action != "revoke" && key.is_some_and(|key| !key.starts_with("card:"))
    }

    /// What the lease is computed from.
    pub fn purchase(&self) -> Result<Purchase, Fault> {
        let action = PurchaseAction::ALL.into_iter().find(|action| action.as_str() == self.action);
        let currency = Currency::ALL.iter().copied().find(|currency| currency.as_str() == self.currency);
        let (Some(action), Some(currency)) = (action, currency) else {
            return Err(Fault(format!("purchase {}: strange words", self.id)));
        };
        Ok(Purchase {
            id: self.id,
            action,
            tier: self.tier,
            previous_tier: self.previous_tier,
            price: UsdMicros(self.price_micros),
            currency,
            link: self.link,
            payment: self.payment_id.map(PaymentId),
            revokes: self.revokes,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            created_at: self.created_at,
        })
    }
}
