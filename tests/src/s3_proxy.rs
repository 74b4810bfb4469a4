//! An object store that fails: relays S3 requests to the lab's own and mistreats those that a test picks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than any client waits.
const SILENCE: Duration = Duration::from_secs(90);

/// A request, as far as tests tell them apart.
#[derive(Debug, Clone)]
pub struct S3Request {
    pub method: String,
    /// Without the bucket.
    pub key: String,
    pub query: String,
    /// The bytes come from another object.
    pub copies: bool,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Fault {
    Honest,
    /// Not relayed; an error of S3 with this status and code.
    Status(u16, &'static str),
    /// Not relayed, not answered.
    Silent,
    /// Relayed after so long.
    Slow(Duration),
    /// Not relayed; the connection just closes.
    Reset,
    /// Relayed, not answered: the connection just closes.
    Lost,
    /// Relayed; the answer breaks off in the middle of the body.
    Cut,
    /// Relayed; half of the body is announced and sent.
    Short,
    /// Relayed; the last byte of the body is another.
    Other,
}

impl S3Fault {
    /// Whether somebody who believes it reads other bytes than were put.
    pub fn lies(self) -> bool {
        matches!(self, Self::Short | Self::Other)
    }
}

type Rule = Arc<dyn Fn(&S3Request) -> S3Fault + Send + Sync>;

/// A proxy on a port of its own. Ends with the test's runtime.
#[derive(Clone)]
pub struct S3Proxy {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Unknown while the lab starts, which only asks whether anybody is there.
    upstream: Mutex<Option<String>>,
    rule: Mutex<Option<Rule>>,
    seen: Mutex<Vec<S3Request>>,
}

impl S3Proxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = serving.clone();
                tokio::spawn(async move {
                    // A client that goes away in the middle is its own affair.
                    let _ = state.serve(socket).await;
                });
            }
        });
        Self { url, state }
    }

    /// Relays to this store from now on.
    pub fn relay_to(&self, url: &str) {
        *self.state.upstream.lock().unwrap() = Some(url.trim_start_matches("http://").to_owned());
    }

    /// The store is gone, and the next one is somewhere else: until then it looks empty.
    pub fn relay_to_nothing(&self) {
        *self.state.upstream.lock().unwrap() = None;
    }

    /// From now on `rule` decides about every request.
    pub fn on(&self, rule: impl Fn(&S3Request) -> S3Fault + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Some(Arc::new(rule));
    }

    /// `fault` is what becomes of the first `count` requests that are picked; later ones are honest.
    pub fn first(
        &self,
        count: usize,
        fault: S3Fault,
        picked: impl Fn(&S3Request) -> bool + Send + Sync + 'static,
    ) {
        let left = Mutex::new(count);
        self.on(move |request| {
            let mut left = left.lock().unwrap();
            if *left == 0 || !picked(request) {
                return S3Fault::Honest;
            }
            *left -= 1;
            fault
        });
    }

    pub fn honest(&self) {
        *self.state.rule.lock().unwrap() = None;
    }

    /// The requests since the last look.
    pub fn seen(&self) -> Vec<S3Request> {
        std::mem::take(&mut *self.state.seen.lock().unwrap())
    }
}

/// A request's head as lines, and what came of its body so far.
struct Asked {
    first: String,
    headers: Vec<(String, String)>,
    length: usize,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn request(&self) -> S3Request {
        let mut words = self.first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        S3Request {
            method,
            key: key.to_owned(),
            query: query.to_owned(),
            copies: self.header("x-amz-copy-source").is_some(),
        }
    }
}

impl State {
    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let Some(mut asked) = read_head(&mut socket).await? else { return Ok(()) };
        let request = asked.request();
        let upstream = self.upstream.lock().unwrap().clone();
        let Some(upstream) = upstream else {
            return write(&mut socket, 404, "<Error><Code>NoSuchKey</Code></Error>").await;
        };
        self.seen.lock().unwrap().push(request.clone());
        let rule = self.rule.lock().unwrap().clone();
        let fault = rule.map_or(S3Fault::Honest, |rule| rule(&request));
        if asked.header("expect").is_some() {
            socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match fault {
            S3Fault::Reset => return Ok(()),
            S3Fault::Silent => {
                tokio::time::sleep(SILENCE).await;
                return Ok(());
            }
            S3Fault::Status(status, code) => {
                discard(&mut socket, &asked).await?;
                return write(&mut socket, status, &format!("<Error><Code>{code}</Code></Error>")).await;
            }
            S3Fault::Slow(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let mut store = TcpStream::connect(&upstream).await?;
        relay_request(&mut socket, &mut store, &mut asked).await?;
        if matches!(fault, S3Fault::Honest | S3Fault::Slow(_)) {
            tokio::io::copy(&mut store, &mut socket).await?;
            return socket.shutdown().await;
        }
        let mut answer = Vec::new();
        store.read_to_end(&mut answer).await?;
        let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
        let (head, body) = (answer[..at].to_vec(), &mut answer[at + 4..]);
        let half = body.len() / 2;
        match fault {
            S3Fault::Cut => {
                socket.write_all(&head).await?;
                socket.write_all(b"\r\n\r\n").await?;
                socket.write_all(&body[..half]).await?;
                socket.flush().await
            }
            S3Fault::Short => {
                let head = String::from_utf8_lossy(&head).into_owned();
                let lines =
                    head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
                let head: Vec<&str> = lines.collect();
                let head = format!("{}\r\ncontent-length: {half}\r\n\r\n", head.join("\r\n"));
                socket.write_all(head.as_bytes()).await?;
                socket.write_all(&body[..half]).await?;
                socket.shutdown().await
            }
            S3Fault::Other => {
                if let Some(last) = body.last_mut() {
                    *last ^= 1;
                }
                socket.write_all(&answer).await?;
                socket.shutdown().await
            }
            // Lost: what was done stays done.
            _ => Ok(()),
        }
    }
}

async fn read_head(socket: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let mut lines = head.split("\r\n");
            let first = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect();
            let mut asked = Asked { first, headers, length: 0, body: bytes[at + 4..].to_vec() };
            asked.length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            return Ok(Some(asked));
        }
        match socket.read(&mut buffer).await? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The same request, as the last one of its connection. Names and values stay: they are signed.
async fn relay_request(
    socket: &mut TcpStream,
    store: &mut TcpStream,
    asked: &mut Asked,
) -> std::io::Result<()> {
    let mut head = format!("{}\r\n", asked.first);
    let own = |name: &str| name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("expect");
    for (name, value) in asked.headers.iter().filter(|(name, _)| !own(name)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("connection: close\r\n\r\n");
    store.write_all(head.as_bytes()).await?;
    store.write_all(&asked.body).await?;
    let rest = asked.length.saturating_sub(asked.body.len()) as u64;
    let copied = tokio::io::copy(&mut (&mut *socket).take(rest), store).await?;
    if copied < rest { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

async fn discard(socket: &mut TcpStream, asked: &Asked) -> std::io::Result<()> {
    let rest = asked.length.saturating_sub(asked.body.len()) as u64;
    tokio::io::copy(&mut (&mut *socket).take(rest), &mut tokio::io::sink()).await.map(drop)
}

async fn write(socket: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} As-Told\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}
