//! One Postgres server without the rest of a lab, and without any durability: for the simulator.

use std::path::Path;

use crate::account::Account;
use crate::children::{self, Child, Keeper, Role};
use crate::error::LabError;
use crate::keys::Keys;
use crate::layout::{Layout, Open};
use crate::postgres::{self, CONTROL_DATABASE, Postgres, Worth};
use crate::tools::Programs;

/// A running server in a data directory of its own.
#[derive(Debug)]
pub struct Scratch {
    url: String,
    child: Child,
    _keeper: Keeper,
    layout: Layout,
}

impl Scratch {
    /// Starts the server; its directory is made at the first start and used again later.
    ///
    /// # Errors
    /// `Locked` when another process uses the directory; see [`LabError`] for the rest.
    pub async fn start(data: &Path, tools: Option<&Path>) -> Result<Self, LabError> {
        let account = Account::choose()?;
        let programs = Programs::find(tools, &account)?;
        let layout = Layout::open(data, Open::Create, &account)?;
        children::end_orphans(&layout).await?;
        let keys = Keys::load(&layout)?;
        let keeper = Keeper::start()?;
        let server = Postgres {
            role: Role::ControlPostgres,
            layout: &layout,
            account: &account,
            programs: &programs,
            keys: &keys,
            worth: Worth::Scratch,
        };
        let child = server.start(&keeper).await?;
        children::remember(&layout, std::iter::once(&child))?;
        let url = postgres::url(Role::ControlPostgres, &layout, &keys, CONTROL_DATABASE);
        Ok(Self { url, child, _keeper: keeper, layout })
    }

    /// An empty database at the first start; whatever was left in it later.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// # Errors
    /// `Orphan` when the server does not end even by SIGKILL.
    pub async fn stop(self) -> Result<(), LabError> {
        self.child.stop().await?;
        children::remove_if_there(&self.layout.children_file())
    }
}
