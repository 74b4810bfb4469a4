//! The S3 server inside this process: SigV4, one access key, one bucket, files under `s3/`.
//!
//! It has a listener of its own, at the root: SigV4 signs the path, so nothing may strip a prefix from it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{During, LabError};
use crate::keys::Keys;
use crate::layout::Layout;

pub(crate) const BUCKET: &str = "run402";
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// After a failed accept (no free descriptors): time for others to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server. Dropping it closes the listener.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) listen: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Objects {
    /// Listens on a free loopback port and makes the bucket when it is missing.
    pub(crate) async fn start(layout: &Layout, keys: &Keys) -> Result<Self, LabError> {
        let root = layout.objects();
        let bucket = root.join(BUCKET);
        std::fs::create_dir_all(&bucket).at("making", &bucket)?;
        let files = FileSystem::new(&root).map_err(|error| LabError::Corrupt {
            path: root,
            why: format!("not usable for objects: {error:?}"),
        })?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(keys.s3_access_key.clone(), keys.s3_secret_key.clone()));
        let service = builder.build();
        let what = || "listening for objects".to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.during(what)?;
        let listen = listener.local_addr().during(what)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, service, stopped));
        Ok(Self { listen, stop, task })
    }

    /// Ends after the requests under way, or after a few seconds.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the object server did not end cleanly");
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, mut stopped: oneshot::Receiver<()>) {
    let connections = Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "the object server could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = connections.serve_connection(TokioIo::new(socket), service.clone());
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the object server broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_LIMIT, graceful.shutdown()).await.is_err() {
        tracing::debug!("requests to the object server were cut off");
    }
}
