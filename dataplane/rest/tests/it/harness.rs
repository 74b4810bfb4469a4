//! A lab, its store and its cell.

use std::path::PathBuf;
use std::time::Duration;

use lab::{Lab, LabConfig};
use rest::sql::{SqlError, SqlOutcome};
use rest::{Limits, SqlRequest};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use store::cells::{CellConfig, Cells, Login, Slot, slot_take};
use store::projects::{self, NewProject};
use store::{Claimed, MasterKey, Store};
use types::{AccountId, Clock, Entropy, NodeId, OsEntropy, ProjectId, SystemClock, Wallet};

pub struct World {
    pub store: Store,
    pub cells: Cells,
    pub key: MasterKey,
    pub cell_url: String,
    pub control_url: String,
    lab: Option<Lab>,
    data: PathBuf,
}

impl World {
    pub async fn start() -> Self {
        let data = std::env::temp_dir().join(format!("r402-rest-{}", OsEntropy.uuid().simple()));
        let tools = std::env::var_os("RUN402_TOOLS_DIR").map(PathBuf::from);
        let tools =
            tools.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools")));
        let config = LabConfig {
            data: data.clone(),
            tools: Some(tools),
            chain_listen: "127.0.0.1:0".parse().unwrap(),
            block_time_secs: 5,
        };
        let lab = Lab::start(config, &|_| {}).await.unwrap();
        let store = Store::connect(&lab.endpoints().control_url, 10).await.unwrap();
        store.migrate().await.unwrap();
        let key = MasterKey::new([7; 32]);
        let cell_url = lab.endpoints().cell_url.clone();
        let cells = Cells::connect(vec![CellConfig::new("cell-1", &cell_url)], &key, &store).await.unwrap();
        let control_url = lab.endpoints().control_url.clone();
        Self { store, cells, key, cell_url, control_url, lab: Some(lab), data }
    }

    pub async fn stop(mut self) {
        self.cells.close().await;
        self.store.close().await;
        self.lab.take().unwrap().stop().await.unwrap();
        let _ = std::fs::remove_dir_all(&self.data);
    }

    /// The lab, for whoever starts its servers again when they end. Must come back before [`World::stop`].
    pub fn lab_take(&mut self) -> Lab {
        self.lab.take().unwrap()
    }

    pub fn lab_return(&mut self, lab: Lab) {
        self.lab = Some(lab);
    }

    /// Sends a signal to the server that holds the projects.
    pub fn signal_cell(&self, signal: &str) {
        let file = std::fs::read_to_string(self.data.join("cell-pg/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap();
        let sent = std::process::Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// A ready project, without its actor.
    pub async fn provision(&self) -> (ProjectId, Slot) {
        let project = self.insert_project().await;
        let slot = match self.take(project).await {
            Some(slot) => slot,
            None => {
                self.cells.slot_make(&self.store, "cell-1", &SystemClock).await.unwrap();
                self.take(project).await.unwrap()
            }
        };
        (project, slot)
    }

    pub async fn insert_project(&self) -> ProjectId {
        let now = SystemClock.now();
        let mut address = [0; 20];
        address.copy_from_slice(&OsEntropy.secret()[..20]);
        let fresh = AccountId::new(&OsEntropy);
        let account = store::accounts::account_of_wallet_ensure(&self.store, Wallet(address), fresh, now)
            .await
            .unwrap();
        let id = ProjectId::new(&OsEntropy);
        let public_id = id.0.simple().to_string()[20..].to_owned();
        let new = NewProject { id, account, name: "test".into(), public_id };
        let mut tx = self.store.begin().await.unwrap();
        projects::project_insert(&mut tx, &new, now).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn take(&self, project: ProjectId) -> Option<Slot> {
        let node = NodeId::new(&OsEntropy);
        let Claimed::Ours(fence) = self.store.claim("project", project.0, node).await.unwrap() else {
            panic!("the claim is taken");
        };
        let mut tx = self.store.fenced(&fence).await.unwrap();
        let slot = slot_take(&mut tx, &self.cells, project, SystemClock.now()).await.unwrap();
        tx.commit().await.unwrap();
        slot
    }

    pub async fn sql(&self, slot: &Slot, text: &str) -> Result<SqlOutcome, SqlError> {
        self.sql_with(slot, text, Vec::new(), Limits::default()).await
    }

    pub async fn sql_with(
        &self,
        slot: &Slot,
        text: &str,
        params: Vec<Value>,
        limits: Limits,
    ) -> Result<SqlOutcome, SqlError> {
        rest::sql::run(&self.cells, slot, SqlRequest { text: text.to_owned(), params }, limits).await
    }

    /// The rows as JSON, in the order of the select list.
    pub async fn rows(&self, slot: &Slot, text: &str) -> Value {
        json!(self.sql(slot, text).await.unwrap().rows)
    }

    /// A connection of a slot's login to any database of the cell, made with nothing but its password.
    pub async fn connect_as(
        &self,
        slot: &Slot,
        login: Login,
        database: &str,
    ) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.options_as(slot, login, database)).await
    }

    /// How a slot's login reaches a database.
    pub fn options_as(&self, slot: &Slot, login: Login, database: &str) -> PgConnectOptions {
        let options: PgConnectOptions = self.cell_url.parse().unwrap();
        let role = slot.name().role(login);
        let password = self.password_of(slot, login);
        options.username(&role).password(&password).database(database).disable_statement_logging()
    }

    pub fn password_of(&self, slot: &Slot, login: Login) -> String {
        self.key.derive(&format!("slot/{}/{}/1", slot.name(), login.as_str()))
    }

    /// Everything that the lab's children wrote so far.
    pub fn child_logs(&self) -> String {
        let files = std::fs::read_dir(self.data.join("logs")).unwrap();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap_or_default()).collect()
    }
}

/// Runs one statement and answers the SQLSTATE it was refused with.
pub async fn refused(conn: &mut PgConnection, sql: &str) -> Option<String> {
    let run = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn);
    let done = tokio::time::timeout(Duration::from_secs(20), run).await.expect("an answer");
    match done {
        Ok(_) => None,
        Err(sqlx::Error::Database(e)) => Some(e.code().unwrap_or_default().into_owned()),
        Err(e) => panic!("{sql}: {e}"),
    }
}
