//! A migrated, empty control database for one test.

pub mod postgres;

use chrono::{DateTime, TimeDelta, Utc};
use postgres::Postgres;
use sqlx::postgres::{PgPool, PgPoolOptions};
use store::Store;
use store::accounts::account_of_wallet_ensure;
use store::ledger::{AccountRef, Currency, NewTransfer, Posted, post};
use types::{AccountId, Entropy, OsEntropy, UsdMicros, Wallet};

pub struct Db {
    pub store: Store,
    /// The same database as superuser, for what no code of ours may do.
    pub raw: PgPool,
    _server: Postgres,
}

impl Db {
    pub async fn fresh() -> Self {
        let server = Postgres::start();
        let raw = PgPoolOptions::new().max_connections(40).connect(&server.url("postgres")).await;
        let raw = raw.expect("the server answers");
        let store = Store::from_pool(raw.clone());
        store.migrate().await.expect("every migration applies to an empty database");
        Self { store, raw, _server: server }
    }

    pub async fn account(&self, n: u8) -> AccountId {
        let fresh = AccountId::new(&OsEntropy);
        account_of_wallet_ensure(&self.store, wallet(n), fresh, now()).await.expect("an account")
    }

    /// Posts in a transaction of its own.
    pub async fn post(&self, legs: &[NewTransfer]) -> Result<Posted, store::ledger::LedgerError> {
        let mut tx = self.store.begin().await?;
        let posted = post(&mut tx, OsEntropy.uuid(), legs, now()).await?;
        tx.commit().await?;
        Ok(posted)
    }

    /// Gives a customer cash out of nowhere.
    pub async fn fund(&self, account: AccountId, micros: i64) {
        let from = AccountRef::revenue("test", Currency::Usd);
        let leg = transfer(&format!("fund/{}", OsEntropy.uuid()), (from, customer(account)), micros);
        self.post(&[leg]).await.expect("revenue may be negative");
    }

    /// Runs SQL that no code of ours contains.
    pub async fn sql(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        sqlx::query(sql).execute(&self.raw).await.map(|done| done.rows_affected())
    }
}

pub fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

pub fn wallet(n: u8) -> Wallet {
    Wallet([n; 20])
}

pub fn customer(account: AccountId) -> AccountRef {
    AccountRef::customer(account, Currency::Usd)
}

pub fn transfer(name: &str, sides: (AccountRef, AccountRef), micros: i64) -> NewTransfer {
    NewTransfer::post(("test", name.to_owned()), sides, UsdMicros(micros), "test")
}
