//! Starting all servers in order, and ending them.

use std::net::SocketAddr;
use std::path::Path;

use crate::account::Account;
use crate::chain::{self, Chain};
use crate::children::{self, Child, Keeper, Role};
use crate::endpoints::LabEndpoints;
use crate::error::LabError;
use crate::keys::{Keys, signer};
use crate::layout::{Layout, Open};
use crate::objects::{self, Objects};
use crate::postgres::{self, CONTROL_DATABASE, Postgres, Worth};
use crate::tools::Programs;
use crate::{LabConfig, Progress, TOKEN_ADDRESS};

/// The running servers of one data directory.
///
/// Dropping it asks the children to end without waiting; [`Lab::stop`] waits, and is the way to end.
#[derive(Debug)]
pub struct Lab {
    endpoints: LabEndpoints,
    // Dropped in this order: the children before the thread whose end would end them, the lock last.
    pub(crate) children: Vec<Child>,
    objects: Option<Objects>,
    pub(crate) keeper: Keeper,
    pub(crate) means: Means,
    pub(crate) layout: Layout,
}

/// What starting a server again needs.
pub(crate) struct Means {
    pub(crate) account: Account,
    pub(crate) programs: Programs,
    pub(crate) keys: Keys,
}

impl std::fmt::Debug for Means {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").field("programs", &self.programs).finish_non_exhaustive()
    }
}

/// Which servers to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    /// The control Postgres and the chain: what the books are checked against.
    Books,
}

impl Lab {
    /// Starts everything; a new data directory is made, an old one continues where it stopped.
    ///
    /// Children of an earlier run that was killed are ended first. Takes 3 to 10 seconds.
    ///
    /// # Errors
    /// See [`LabError`]; whatever had been started is ended again, and nothing on disk is half made.
    pub async fn start(config: LabConfig, progress: Progress<'_>) -> Result<Self, LabError> {
        Self::start_parts(config, Parts::All, progress).await
    }

    /// Starts the control Postgres and the chain of a lab that is stopped, to read its books.
    ///
    /// # Errors
    /// `NoLab` when there is none (nothing is made), `Locked` when it runs: see [`crate::running`] then.
    pub async fn start_books_only(config: LabConfig, progress: Progress<'_>) -> Result<Self, LabError> {
        Self::start_parts(config, Parts::Books, progress).await
    }

    /// How to reach what runs.
    pub fn endpoints(&self) -> &LabEndpoints {
        &self.endpoints
    }

    /// Waits until a child ends that should not, and says how. Never returns while all is well.
    pub async fn failed(&self) -> LabError {
        self.first_death().await.1
    }

    /// The first child to end, by its place among the children, and how.
    pub(crate) async fn first_death(&self) -> (usize, LabError) {
        let places = self.children.iter().enumerate();
        let deaths = places.map(|(at, child)| Box::pin(async move { (at, child.death().await) }));
        first(deaths.collect()).await
    }

    /// Ends every child with its work saved, and gives the data directory back.
    ///
    /// # Errors
    /// `Orphan` when one does not end even by SIGKILL; the others were ended all the same.
    pub async fn stop(self) -> Result<(), LabError> {
        let Self { children, objects, keeper: _keeper, layout, .. } = self;
        if let Some(objects) = objects {
            objects.stop().await;
        }
        end(children, &layout).await
    }

    async fn start_parts(config: LabConfig, parts: Parts, progress: Progress<'_>) -> Result<Self, LabError> {
        let account = Account::choose()?;
        let programs = Programs::find(config.tools.as_deref(), &account)?;
        let open = if parts == Parts::All { Open::Create } else { Open::ExistingOnly };
        let layout = Layout::open(&config.data, open, &account)?;
        let ended = children::end_orphans(&layout).await?;
        if ended > 0 {
            progress(&format!("ended {ended} servers of an earlier run that was killed"));
        }
        children::remove_if_there(&layout.endpoints_file())?;
        let keys = Keys::load(&layout)?;
        let starting =
            Starting { config: &config, account, programs, layout: &layout, keys: &keys, progress };
        let keeper = Keeper::start()?;
        let mut running = Vec::new();
        let chain_listen = match starting.servers(parts, &keeper, &mut running).await {
            Ok(listen) => listen,
            Err(error) => {
                if let Err(also) = end(running, &layout).await {
                    tracing::warn!(error = %also, "after a failed start");
                }
                return Err(error);
            }
        };
        let objects = match parts {
            Parts::All => Some(Objects::start(&layout, &keys).await?),
            Parts::Books => None,
        };
        let endpoints = endpoints(&layout, &keys, chain_listen, objects.as_ref())?;
        endpoints.write(&layout)?;
        let Starting { account, programs, .. } = starting;
        let means = Means { account, programs, keys };
        Ok(Self { endpoints, children: running, objects, keeper, means, layout })
    }
}

/// What the steps of a start share.
struct Starting<'a> {
    config: &'a LabConfig,
    account: Account,
    programs: Programs,
    layout: &'a Layout,
    keys: &'a Keys,
    progress: Progress<'a>,
}

impl Starting<'_> {
    /// Starts the children one by one into `running`, each written down before the next begins.
    async fn servers(
        &self,
        parts: Parts,
        keeper: &Keeper,
        running: &mut Vec<Child>,
    ) -> Result<SocketAddr, LabError> {
        chain::check_port(self.config.chain_listen, "chain")?;
        let roles: &[Role] = match parts {
            Parts::All => &[Role::ControlPostgres, Role::CellPostgres],
            Parts::Books => &[Role::ControlPostgres],
        };
        for role in roles {
            (self.progress)(&format!("starting {}", role.as_str()));
            let Self { account, programs, layout, keys, .. } = self;
            let server = Postgres { role: *role, layout, account, programs, keys, worth: Worth::Kept };
            running.push(server.start(keeper).await?);
            self.remember(running)?;
        }
        (self.progress)(&format!("starting {}", Role::Chain.as_str()));
        let Self { config, account, programs, layout, keys, .. } = self;
        let chain = Chain { config, layout, account, programs, keys };
        let (child, listen) = chain.start(keeper, self.progress).await?;
        running.push(child);
        self.remember(running)?;
        Ok(listen)
    }

    fn remember(&self, running: &[Child]) -> Result<(), LabError> {
        children::remember(self.layout, running.iter())
    }
}

fn endpoints(
    layout: &Layout,
    keys: &Keys,
    chain_listen: SocketAddr,
    objects: Option<&Objects>,
) -> Result<LabEndpoints, LabError> {
    let address = |key: &str| signer(key).map(|signer| signer.address().to_checksum(None));
    let private = |key: &str| format!("0x{key}");
    let cell = objects.map(|_| postgres::url(Role::CellPostgres, layout, keys, "postgres"));
    Ok(LabEndpoints {
        control_url: postgres::url(Role::ControlPostgres, layout, keys, CONTROL_DATABASE),
        cell_url: cell.unwrap_or_default(),
        postgres_socket_dir: Path::to_path_buf(layout.socket()),
        chain_rpc: chain::rpc_url(chain_listen),
        s3_endpoint: objects.map(|objects| format!("http://{}", objects.listen)).unwrap_or_default(),
        s3_bucket: objects::BUCKET.to_owned(),
        s3_access_key: keys.s3_access_key.clone(),
        s3_secret_key: keys.s3_secret_key.clone(),
        token_address: TOKEN_ADDRESS.to_owned(),
        faucet_address: address(&keys.faucet)?,
        faucet_private_key: private(&keys.faucet),
        payee_address: address(&keys.payee)?,
        payee_private_key: private(&keys.payee),
        fee_payer_address: address(&keys.fee_payer)?,
        fee_payer_private_key: private(&keys.fee_payer),
    })
}

/// Ends all children at once, waits for each, and takes them off the records.
async fn end(children: Vec<Child>, layout: &Layout) -> Result<(), LabError> {
    let stops: Vec<_> = children.into_iter().map(|child| tokio::spawn(child.stop())).collect();
    let mut outcome = Ok(());
    for stop in stops {
        let stopped = stop.await.unwrap_or_else(|error| {
            Err(LabError::Io { what: "ending a child".to_owned(), source: std::io::Error::other(error) })
        });
        outcome = outcome.and(stopped);
    }
    children::remove_if_there(&layout.endpoints_file())?;
    outcome?;
    // Only now: while a child may live, the next start must find it.
    children::remove_if_there(&layout.children_file())
}

/// The first of several futures to finish; never, when there is none.
async fn first<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
