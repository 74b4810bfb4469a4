//! A node that lies: relays JSON-RPC to the lab's chain and mistreats the methods that a test names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than any client waits.
const SILENCE: Duration = Duration::from_secs(60);

/// What becomes of one question.
pub enum Act {
    /// Relayed as it is.
    Honest,
    /// Not relayed, not answered.
    Silent,
    /// Relayed, not answered: the connection just closes.
    Lost,
    /// Not relayed; a raw HTTP status and body.
    Http(u16, &'static str),
    /// Not relayed; a JSON-RPC error.
    Error(i64, &'static str),
    /// Not relayed; this result.
    Answer(Value),
    /// Relayed; a JSON-RPC error is answered all the same.
    DoneButError(i64, &'static str),
    /// Relayed; the result is changed.
    Edit(Box<dyn FnOnce(Value) -> Value + Send>),
}

type Rule = Arc<dyn Fn(&Value) -> Act + Send + Sync>;

/// A proxy in front of the chain, on a port of its own. Ends with the test's runtime.
#[derive(Clone)]
pub struct RpcProxy {
    pub url: String,
    state: Arc<State>,
}

struct State {
    upstream: String,
    http: reqwest::Client,
    rules: Mutex<HashMap<String, Rule>>,
    calls: Mutex<HashMap<String, u64>>,
}

impl RpcProxy {
    /// Relays to `upstream`, which need not run yet.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            http: reqwest::Client::new(),
            rules: Mutex::default(),
            calls: Mutex::default(),
        });
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

    /// From now on `rule` decides about every call of `method`, given its parameters.
    pub fn on(&self, method: &str, rule: impl Fn(&Value) -> Act + Send + Sync + 'static) {
        self.state.rules.lock().unwrap().insert(method.to_owned(), Arc::new(rule));
    }

    /// `rule` decides about the first `count` calls; later ones are honest.
    pub fn first(&self, method: &str, count: usize, rule: impl Fn(&Value) -> Act + Send + Sync + 'static) {
        let left = Mutex::new(count);
        self.on(method, move |params| {
            let mut left = left.lock().unwrap();
            if *left == 0 {
                return Act::Honest;
            }
            *left -= 1;
            rule(params)
        });
    }

    /// Everything is honest again.
    pub fn honest(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// How often a method was called so far.
    pub fn calls(&self, method: &str) -> u64 {
        self.state.calls.lock().unwrap().get(method).copied().unwrap_or_default()
    }
}

impl State {
    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let Some(body) = read_request(&mut socket).await? else { return Ok(()) };
        let question: Value = serde_json::from_slice(&body).unwrap_or_default();
        let method = question["method"].as_str().unwrap_or_default().to_owned();
        *self.calls.lock().unwrap().entry(method.clone()).or_default() += 1;
        let rule = self.rules.lock().unwrap().get(&method).cloned();
        let id = question["id"].clone();
        let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
        let error = |code: i64, message: &str| {
            let error = json!({ "code": code, "message": message });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        };
        let answer = match rule.map_or(Act::Honest, |rule| rule(&question["params"])) {
            Act::Honest => self.relay(&question).await,
            Act::Silent => {
                tokio::time::sleep(SILENCE).await;
                return Ok(());
            }
            Act::Lost => {
                self.relay(&question).await;
                return Ok(());
            }
            Act::Http(status, body) => return write_answer(&mut socket, status, body).await,
            Act::Error(code, message) => error(code, message),
            Act::Answer(value) => result(value),
            Act::DoneButError(code, message) => {
                self.relay(&question).await;
                error(code, message)
            }
            Act::Edit(edit) => {
                let mut answer = self.relay(&question).await;
                if let Some(value) = answer.get_mut("result") {
                    *value = edit(value.take());
                }
                answer
            }
        };
        write_answer(&mut socket, 200, &answer.to_string()).await
    }

    async fn relay(&self, question: &Value) -> Value {
        let answer = self.http.post(&self.upstream).json(question).send().await;
        match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

/// The body of one request; none when the client closed.
async fn read_request(socket: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= at + 4 + length {
                return Ok(Some(bytes[at + 4..at + 4 + length].to_vec()));
            }
        }
        match socket.read(&mut buffer).await? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

async fn write_answer(socket: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} As-Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}
