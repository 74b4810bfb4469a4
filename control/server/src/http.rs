//! Serves a router on a socket: accepts, bounds, and ends in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::ServerName;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Version;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::tls::Tls;
use crate::unread::Drained;

const CONNECTIONS_MAX: usize = 10_000;
/// A client that does not finish its headers, or asks for nothing, holds a connection for this long.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// All headers of a request together. Signatures and payments are the largest, with a few kilobytes.
const HEADER_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests of one HTTP/2 connection at once; more wait at the client.
const STREAMS_MAX: u32 = 100;
/// Streams that were opened and reset before we looked: beyond it the connection ends (CVE-2023-44487).
const RESETS_MAX: usize = 20;
/// A peer that does not answer a ping for as long is gone.
const PING_SECS: (u64, u64) = (20, 20);
/// After an accept that failed for lack of descriptors, the next would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server.
pub struct HttpServer {
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    pub fn start(listener: TcpListener, router: Router) -> Self {
        Self::start_with(listener, router, HEADER_TIME_MAX)
    }

    /// The same behind TLS.
    pub fn start_tls(listener: TcpListener, router: Router, tls: Tls) -> Self {
        let (stop, stopped) = watch::channel(None);
        Self { stop, task: tokio::spawn(serve(listener, router, HEADER_TIME_MAX, Some(tls), stopped)) }
    }

    fn start_with(listener: TcpListener, router: Router, header_time: Duration) -> Self {
        let (stop, stopped) = watch::channel(None);
        Self { stop, task: tokio::spawn(serve(listener, router, header_time, None, stopped)) }
    }

    /// Accepts nothing new, and gives requests under way `patience` to finish.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(Some(patience));
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "the HTTP server ended badly");
        }
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    header_time: Duration,
    tls: Option<Tls>,
    mut stopped: watch::Receiver<Option<Duration>>,
) {
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
        let (router, watcher, tls) = (router.clone(), graceful.watcher(), tls.clone());
        tokio::spawn(async move {
            // Answers are small and clients wait for them.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, (peer, None), router, header_time, watcher).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok((stream, host)) => {
                        connection(stream, (peer, Some(ServerName(host))), router, header_time, watcher)
                            .await;
                    }
                    Err(e) => tracing::debug!(%peer, error = &e as &dyn std::error::Error, "no TLS"),
                },
            }
            drop(place);
        });
    }
    drop(listener);
    let patience = stopped.borrow().unwrap_or_default();
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!(patience_secs = patience.as_secs(), "requests were cut off");
    }
}

/// Who is at the other end, and the host that the handshake named.
type Peer = (SocketAddr, Option<ServerName>);

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    header_time: Duration,
    watcher: Watcher,
) {
    let address = peer.0;
    let asked = Arc::new(Notify::new());
    let first = asked.clone();
    let service = hyper::service::service_fn(move |request| {
        asked.notify_one();
        answer(request, peer.clone(), router.clone())
    });
    let serving = builder(header_time).serve_connection(TokioIo::new(stream), service).into_owned();
    // Telling HTTP/1 from HTTP/2 reads bytes before any timer of theirs runs.
    let silent = async {
        if tokio::time::timeout(header_time, first.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = watcher.watch(serving) => {
            if let Err(e) = served {
                tracing::debug!(error = %e, "connection ended");
            }
        }
        () = silent => tracing::debug!(peer = %address, "connection asked for nothing"),
    }
}

fn builder(header_time: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    let (every, patience) = PING_SECS;
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("64 KiB"))
        .keep_alive_interval(Duration::from_secs(every))
        .keep_alive_timeout(Duration::from_secs(patience));
    builder
}

async fn answer(
    mut request: hyper::Request<Incoming>,
    (peer, host): Peer,
    router: Router,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(host) = host {
        request.extensions_mut().insert(host);
    }
    // A stream of HTTP/2 can be given up by itself.
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return router.oneshot(request.map(Body::new)).await;
    }
    let (parts, body) = request.into_parts();
    let body = Drained::new(&parts.headers, body);
    router.oneshot(hyper::Request::from_parts(parts, Body::new(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::net::TcpStream;

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

    // I07. Goal: whoever asks for nothing does not hold a place. Method: silence, half a preface of HTTP/2 and
    // half a head; each must be closed soon after its time, and an ordinary request still be answered.
    #[tokio::test]
    async fn a_connection_that_never_asks_is_closed() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = HttpServer::start_with(listener, router, Duration::from_millis(300));
        for sent in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(sent.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{sent:?} still holds its place");
        }
        assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().text().await.unwrap(), "here");
        server.stop(Duration::from_secs(1)).await;
    }

    // Goal: an answer that did not wait for the body is received, and the connection goes on. Method: half of a body,
    // the answer, the other half, and then another request on the same connection; and a body that waits to be asked.
    #[tokio::test]
    async fn what_a_handler_leaves_unread_does_not_end_the_connection() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        async fn answer(socket: &mut TcpStream) -> String {
            let mut seen = Vec::new();
            while !seen.ends_with(b"refused") {
                let mut some = [0; 1_024];
                let count = socket.read(&mut some).await.unwrap();
                assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&some[..count]);
            }
            String::from_utf8(seen).unwrap()
        }
        let router = Router::new().route("/", axum::routing::post(|| async { "refused" }));
        let (server, url) = started(router).await;
        let mut socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let half = [b'x'; 500_000];
        for _ in 0..3 {
            socket.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
            socket.write_all(&half).await.unwrap();
            answer(&mut socket).await;
            socket.write_all(&half).await.unwrap();
        }
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
        socket.write_all(head).await.unwrap();
        let answered = answer(&mut socket).await;
        assert!(answered.starts_with("HTTP/1.1 200"), "nobody asked for the body: {answered}");
        server.stop(Duration::from_secs(1)).await;
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
