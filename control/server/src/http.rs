//! Serves a router on a socket: accepts, bounds, and ends in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

const CONNECTIONS_MAX: usize = 10_000;
/// A client that does not finish its headers holds a connection for this long.
const HEADER_SECS_MAX: u64 = 30;
/// After an accept that failed for lack of descriptors, the next would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server.
pub struct HttpServer {
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    pub fn start(listener: TcpListener, router: Router) -> Self {
        let (stop, stopped) = watch::channel(None);
        Self { stop, task: tokio::spawn(serve(listener, router, stopped)) }
    }

    /// Accepts nothing new, and gives requests under way `patience` to finish.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(Some(patience));
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "the HTTP server ended badly");
        }
    }
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<Option<Duration>>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned();
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        let (Ok(place), Ok((stream, peer))) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, watcher) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, peer, router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    let patience = stopped.borrow().unwrap_or_default();
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!(patience_secs = patience.as_secs(), "requests were cut off");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, watcher: Watcher) {
    // Answers are small and clients wait for them.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| answer(request, peer, router.clone()));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(HEADER_SECS_MAX));
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(e) = watcher.watch(serving).await {
        tracing::debug!(error = %e, "connection ended");
    }
}

async fn answer(
    mut request: hyper::Request<Incoming>,
    peer: SocketAddr,
    router: Router,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request.map(Body::new)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    async fn started(router: Router) -> (HttpServer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (HttpServer::start(listener, router), url)
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_and_no_new_one_is_taken() {
        let entered = Arc::new(tokio::sync::Notify::new());
        let release = Arc::new(tokio::sync::Notify::new());
        let (inside, go) = (entered.clone(), release.clone());
        let handler = move || async move {
            inside.notify_one();
            go.notified().await;
            "done"
        };
        let (server, url) = started(Router::new().route("/", get(handler))).await;
        let request = tokio::spawn({
            let url = url.clone();
            async move { reqwest::get(url).await?.text().await }
        });
        entered.notified().await;
        let stopping = tokio::spawn(server.stop(Duration::from_secs(10)));
        // The listener is gone before the request is.
        while reqwest::get(&url).await.is_ok() {
            tokio::task::yield_now().await;
        }
        release.notify_one();
        assert_eq!(request.await.unwrap().unwrap(), "done");
        stopping.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_cut_off() {
        let handler = || async { std::future::pending::<()>().await };
        let (server, url) = started(Router::new().route("/", get(handler))).await;
        let request = tokio::spawn(reqwest::get(url));
        tokio::task::yield_now().await;
        let stopping = server.stop(Duration::from_millis(50));
        tokio::time::timeout(Duration::from_secs(5), stopping).await.unwrap();
        request.abort();
    }
}
