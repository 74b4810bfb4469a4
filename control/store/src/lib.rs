//! The only SQL on the control database.
//!
//! sqlx writes; sea-orm reads lists. A function never commits a transaction that it was given. Mutations of a
//! row that an actor owns take [`FencedTx`], which only the newest claim holder can be given; other mutations
//! take [`Tx`].
//!
//! **Lock order**, for everybody: claims, then accounts, image orders, budgets, leases, payments, checkouts, projects,
//! deploy rows, names, triggers of functions in id order, functions, and last the ledger accounts in id order. A lease
//! comes before its lifecycle steps. The advisory locks of a payer ([`payments::payer_record_locked`]), of a request
//! for an image and of a project's waiting runs come before all of them: only a transaction that has nothing else yet
//! takes them.

pub mod account_mail;
pub mod accounts;
pub mod ai_words;
pub mod apps;
pub mod budgets;
pub mod calls;
pub mod cards;
pub mod cells;
pub mod certificates;
pub mod chain_txs;
pub mod ci;
mod claims;
pub mod content;
pub mod deploys;
pub mod domains;
mod error;
pub mod function_secrets;
pub mod functions;
mod gather;
pub mod image_orders;
pub mod lab_clock;
pub mod ledger;
pub mod lifecycle;
mod listen;
pub mod mail;
mod migrate;
pub mod outbox;
pub mod payments;
pub mod projects;
pub mod recharges;
pub mod releases;
pub mod requests;
mod secrets;
pub mod sightings;
pub mod simulation;
pub mod stalls;
pub mod stripe_balance;
pub mod stripe_events;
pub mod subdomains;
pub mod suspense;
mod tx;

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use claims::{Claimed, Fence, Peer};
pub(crate) use error::ListDuring;
pub use error::{During, STARVED, StoreError};
pub use gather::Gather;
pub use listen::Hints;
pub use secrets::{MasterKey, Sealed};
pub use tx::{FencedTx, Tx};

/// How long a caller waits for a connection before it is told to come back.
const ACQUIRE_SECS_MAX: u64 = 10;

/// A connection that was used just now works. One that rested longer is asked first, which costs a round trip.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// The control database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    ledger_ids: Arc<ledger::AccountIds>,
}

impl Store {
    /// Connects, with at most `connections_max` connections. Does not migrate.
    ///
    /// # Errors
    /// `Db` when the address is wrong or the server does not answer.
    pub async fn connect(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            url.parse::<PgConnectOptions>().during("read the database address")?;
        let options =
            options.options([("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "60s")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(Duration::from_secs(ACQUIRE_SECS_MAX))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .during("connect to the control database")?;
        Ok(Self::from_pool(pool))
    }

    /// A store over a pool that is connected already.
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool, ledger_ids: Arc::default() }
    }

    /// For reads of this crate.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The same pool for sea-orm's list queries.
    pub(crate) fn lists(&self) -> sea_orm::DatabaseConnection {
        sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(self.pool.clone())
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// `Db` when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await.during("ping")?;
        Ok(())
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Hands out no connection from now on, as a process that died would not; what is under way may end.
    pub fn shut(&self) {
        drop(self.pool.close());
    }

    /// Whether it was closed.
    pub fn is_shut(&self) -> bool {
        self.pool.is_closed()
    }

    /// Whether nobody uses a connection just now.
    pub fn at_rest(&self) -> bool {
        usize::try_from(self.pool.size()).is_ok_and(|size| self.pool.num_idle() == size)
    }
}
