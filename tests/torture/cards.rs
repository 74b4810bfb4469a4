//! What a customer buys by card, with a wallet that no chain has seen. Stripe's stand-in is kept outside the
//! servers that are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use sqlx::PgPool;
use stripe_fake::{Settled, StripeFake};
use tests::{Customer, Lab, Wallet, eventually};

use crate::customer::{DONE_SECS_MAX, persist};

/// What cards are charged at least: what the tier does not cost of it stays as credit.
const TIER_CREDIT: i64 = 500_000 - 100_000;
const PACK_UNITS: i64 = 10_000;

pub static CARDS: AtomicU64 = AtomicU64::new(0);

pub struct Purse {
    wallet: Wallet,
    stripe: Arc<StripeFake>,
    credit: i64,
    units: i64,
    tiers: i64,
}

impl Purse {
    pub fn new(stripe: Arc<StripeFake>) -> Self {
        Self { wallet: Wallet::random(), stripe, credit: 0, units: 0, tiers: 0 }
    }

    /// One checkout under one key, asked for until it is answered, and what the customer does on its page.
    pub async fn buy(&mut self, key: &str, server: &Customer, random: &mut StdRng) {
        let micros = 10_000 * random.random_range(100..1_000_i64);
        let product = random.random_range(0..3);
        let mut body = json!({ "wallet": self.wallet.address() });
        let path = match product {
            0 => {
                body["amount_usd_micros"] = micros.into();
                "/billing/v1/checkouts"
            }
            1 => "/billing/v1/tiers/prototype/checkout",
            _ => "/billing/v1/email-packs/checkout",
        };
        let started = persist(key, || server.checkout(path, &body, key)).await;
        let session = self.stripe.session_of(started["topup_id"].as_str().unwrap()).unwrap();
        let paid = self.page(&session, random);
        CARDS.fetch_add(1, Ordering::SeqCst);
        match product {
            _ if !paid => {}
            0 => {
                self.credit += micros;
                if random.random_bool(0.3) {
                    self.stripe.refund(&session, 50);
                    self.credit -= 500_000;
                }
            }
            1 => (self.tiers, self.credit) = (self.tiers + 1, self.credit + TIER_CREDIT),
            _ => self.units += PACK_UNITS,
        }
    }

    /// Pays at once, or later, or not after all.
    fn page(&self, session: &str, random: &mut StdRng) -> bool {
        match random.random_range(0..10) {
            0..7 => self.stripe.pay(session),
            7 => {
                self.stripe.pay_later(session);
                self.stripe.settle(session, Settled::Failed);
                return false;
            }
            _ => {
                self.stripe.pay_later(session);
                self.stripe.settle(session, Settled::Paid);
            }
        }
        true
    }

    /// Compares the books with what this customer paid.
    pub async fn settle(&self, name: &str, lab: &Lab, database: &PgPool) {
        let path = format!("/billing/v1/accounts/{}", self.wallet.address());
        let expected = (json!(self.credit), json!(self.units));
        let found = |body: &Value| {
            (body["available_usd_micros"].clone(), body["email_credits_remaining"].clone()) == expected
        };
        eventually(&format!("{name}: by card {expected:?}"), DONE_SECS_MAX, || async {
            found(&lab.get(&path).await.body).then_some(())
        })
        .await;
        let bought: i64 = sqlx::query_scalar(
            "select count(*) from purchases p join account_wallets w using (account_id) where w.wallet = $1",
        )
        .bind(self.wallet.address())
        .fetch_one(database)
        .await
        .unwrap();
        assert_eq!(bought, self.tiers, "{name}: tiers by card");
    }
}
