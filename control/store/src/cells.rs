//! Tenant database slots: what is warm, bound, dropping; and the only way to the Postgres servers they live
//! on.
//!
//! A *cell* is a Postgres server with superuser access. A *slot* is one prepared database of a cell (`p0007`)
//! with its four logins. Slots are made ahead of need, bound to one project for its whole life, dropped with
//! it, and their numbers are never used again.
//!
//! **Invariant.** A superuser session touches a slot's database only while it is being made, before any
//! tenant could put an object there: reading one hostile view as superuser gives the whole server away.
//! Afterwards superuser sessions stay in the maintenance database (roles, `create`/`drop database`, cancel,
//! terminate). The one exception are upgrades of the platform's own objects in it: fixed text that names
//! nothing of the tenant's, see [`upgrade`].
//!
//! **Failure story.** `making` and `dropping` rows are written first, so a crash leaves a row that says what
//! to clean; the pool filler drops such slots. Nothing is ever repaired in place. Each cell also remembers by itself
//! whose a slot is, so that an older control database cannot give it to another: see [`marks`].

mod doors;
mod logins;
mod make;
mod marks;
mod relay;
mod rows;
mod sessions;
mod template;
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::{During, MasterKey, Store, StoreError};

pub use doors::Door;
pub use logins::{Login, SlotName};
pub use relay::{MESSAGE_TOO_LARGE, Stream};
pub use rows::{Slot, SlotCounts, SlotState, slot_counts, slot_forgo, slot_of, slot_take};
pub use sessions::{Session, SessionError};
pub use template::TEMPLATE_VERSION;

/// Superuser connections of this process to one cell. Making a slot takes one, a cancel takes one.
const SUPERUSER_CONNECTIONS_MAX: u32 = 6;
/// Slots of one cell that this process makes or drops at once; more only queue for the disk.
const SLOT_WORK_MAX: usize = 3;

/// Where a cell is.
#[derive(Clone)]
pub struct CellConfig {
    /// As in the table `cells`; never changes.
    pub name: String,
    /// Superuser URL of the maintenance database, such as `postgres://postgres@%2Frun%2Fcell/postgres`.
    pub url: String,
}

impl CellConfig {
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into() }
    }
}

/// The cells by name. Cheap to clone.
#[derive(Clone)]
pub struct Cells {
    inner: Arc<Inner>,
}

struct Inner {
    cells: BTreeMap<String, Cell>,
    key: MasterKey,
    sessions: sessions::Gate,
    /// Slots that are known to be of the newest version.
    current: std::sync::Mutex<std::collections::HashSet<i32>>,
}

/// One cell as this process sees it.
struct Cell {
    name: String,
    /// How its superuser reaches the maintenance database; the base of every login's address.
    options: PgConnectOptions,
    superuser: PgPool,
    work: tokio::sync::Semaphore,
    /// Held while this process fills the pool: the claim keeps other nodes out, not a second tick of this
    /// one.
    filling: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for CellConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CellConfig({})", self.name)
    }
}

impl Cells {
    /// Connects to every cell, enters it in the table `cells`, prepares it (roles, settings, template) and
    /// checks that PUBLIC may do nothing on its databases; slots that the cell knows to be somebody's leave the pool.
    /// Idempotent; several nodes may do it at once.
    ///
    /// # Errors
    /// `Db` when a cell does not answer; `Corrupt` when PUBLIC holds rights it must not hold.
    pub async fn connect(
        configs: Vec<CellConfig>,
        key: &MasterKey,
        store: &Store,
    ) -> Result<Self, StoreError> {
        let mut cells = BTreeMap::new();
        for config in configs {
            // Statements here carry passwords of logins, and later tenants' own text: none of it may reach a
            // log.
            let options = config
                .url
                .parse::<PgConnectOptions>()
                .during("read a cell's address")?
                .disable_statement_logging();
            let superuser = PgPoolOptions::new()
                .max_connections(SUPERUSER_CONNECTIONS_MAX)
                .acquire_timeout(std::time::Duration::from_secs(10))
                .connect_with(options.clone().application_name("run402d"))
                .await
                .during("connect to a cell")?;
            rows::cell_ensure(store, &config.name).await?;
            let work = tokio::sync::Semaphore::new(SLOT_WORK_MAX);
            let filling = tokio::sync::Mutex::default();
            let cell = Cell { name: config.name.clone(), options, superuser, work, filling };
            cell.prepare().await?;
            cell.reconcile(store).await?;
            cells.insert(config.name, cell);
        }
        let (key, sessions, current) = (key.clone(), sessions::Gate::default(), Default::default());
        Ok(Self { inner: Arc::new(Inner { cells, key, sessions, current }) })
    }

    /// In name order.
    pub fn names(&self) -> Vec<String> {
        self.inner.cells.keys().cloned().collect()
    }

    /// Databases on which PUBLIC holds a right, over all cells: must be empty.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn public_rights(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for cell in self.inner.cells.values() {
            found.extend(cell.public_rights().await?);
        }
        Ok(found)
    }

    pub async fn close(&self) {
        for cell in self.inner.cells.values() {
            cell.superuser.close().await;
        }
    }

    fn cell(&self, name: &str) -> Result<&Cell, StoreError> {
        self.inner.cells.get(name).ok_or(StoreError::NotFound("cell"))
    }

    /// How `login` reaches the slot's database. The password is derived, never stored.
    fn options_for(&self, slot: &Slot, login: Login) -> Result<PgConnectOptions, StoreError> {
        let role = slot.name().role(login);
        Ok(self
            .cell(&slot.cell)?
            .options
            .clone()
            .database(&slot.name().to_string())
            .username(&role)
            .password(&logins::password(&self.inner.key, slot.name(), login))
            .application_name("run402"))
    }
}
