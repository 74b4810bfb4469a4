//! A lab as a child process.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::oracle::oracle_blocking;
use crate::{Chain, Wallet, decode_challenge, eventually, target_binary};

const READY_SECS_MAX: u64 = 90;
const STOP_SECS_MAX: u64 = 30;

/// A `run402d` process that has printed its ready line. Ended when dropped.
pub struct Server {
    child: Child,
    /// The ready line.
    pub ready: Value,
    /// What it wrote to stderr so far.
    pub log: Arc<Mutex<String>>,
}

/// What a test asks of `up`.
#[derive(Default)]
pub struct LabOptions {
    pub args: Vec<String>,
    /// Where an earlier server of the same data listened, so that its clients find the next one; free ports
    /// otherwise.
    pub ports: Option<Ports>,
}

/// The addresses of a lab.
#[derive(Debug, Clone)]
pub struct Ports {
    pub api: String,
    pub chain: String,
}

/// A running lab and the folder it lives in.
pub struct Lab {
    pub server: Server,
    pub data: PathBuf,
    pub api: String,
    pub chain: Chain,
    pub http: reqwest::Client,
    keep_data: bool,
    expected_errors: Mutex<Vec<String>>,
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Server {
    /// Starts a server and waits for its ready line; panics with its log when it ends or stays silent.
    pub async fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, into) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                into.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let stdout = child.stdout.take().unwrap();
        let first = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            line
        });
        let line = tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), first).await;
        let ready = match &line {
            Ok(Ok(line)) => serde_json::from_str::<Value>(line).ok(),
            _ => None,
        };
        let Some(ready) = ready else {
            let _ = child.kill();
            panic!("no ready line but {line:?}; log:\n{}", log.lock().unwrap());
        };
        Self { child, ready, log }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// SIGKILL: nothing is said goodbye to.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Waits until it has died by itself; panics when it lives on.
    pub async fn died(&mut self, secs: u64, why: &str) {
        let until = Instant::now() + Duration::from_secs(secs);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "still alive after {secs} s: {why}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and the exit code; panics when it does not end in time.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(STOP_SECS_MAX);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            if Instant::now() > until {
                let log = self.log.lock().unwrap().clone();
                self.kill();
                panic!("did not stop within {STOP_SECS_MAX} s; log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Server {
    /// SIGTERM, and SIGKILL for one that does not listen. A no-op for one that has ended.
    fn end(&mut self) {
        self.signal_if_alive(Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(STOP_SECS_MAX);
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > until {
                self.kill();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A process that was waited for has no number any more: it may be somebody else's.
    fn signal_if_alive(&mut self, signal: Signal) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal(signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of run402d ---\n{}", self.log.lock().map(|l| l.clone()).unwrap_or_default());
        }
        self.end();
    }
}

impl Lab {
    /// A fresh lab in a folder of its own, on free ports.
    pub async fn start() -> Self {
        Self::start_with(LabOptions::default()).await
    }

    pub async fn start_with(options: LabOptions) -> Self {
        Self::start_in(&fresh_folder(), options).await
    }

    /// A lab on a data directory that may exist already.
    pub async fn start_in(data: &Path, options: LabOptions) -> Self {
        let server = Server::start(&mut up_command(data, &options)).await;
        let text = |name: &str| server.ready[name].as_str().unwrap_or_default().to_owned();
        let (api, chain) = (text("api"), Chain::new(&text("chain_rpc")));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(90)).build().unwrap();
        Self {
            server,
            data: data.to_owned(),
            api,
            chain,
            http,
            keep_data: false,
            expected_errors: Mutex::default(),
        }
    }

    /// Ends this server by SIGKILL and starts another on the same data.
    pub async fn crash_and_restart(mut self) -> Self {
        self.server.kill();
        self.again().await
    }

    /// Stops this server and starts another on the same data.
    pub async fn restart(mut self) -> Self {
        assert_eq!(self.server.stop(), Some(0), "{}", self.server.log.lock().unwrap());
        self.again().await
    }

    /// Starts a server where one ended: the same data, the same addresses.
    pub async fn again(self) -> Self {
        self.again_with(Vec::new()).await
    }

    /// The same with more words for `up`.
    pub async fn again_with(mut self, args: Vec<String>) -> Self {
        let bare =
            |name: &str| self.server.ready[name].as_str().unwrap().trim_start_matches("http://").to_owned();
        let ports = Some(Ports { api: bare("api"), chain: bare("chain_rpc") });
        self.keep_data = true;
        let (data, expected) = (self.data.clone(), self.expected_errors());
        drop(self);
        let lab = Self::start_in(&data, LabOptions { args, ports }).await;
        *lab.expected_errors.lock().unwrap() = expected;
        lab
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    /// The status of a GET whose path goes out byte for byte: an ordinary client would tidy it up first.
    pub async fn raw_get(&self, host: &str, path: &str) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket =
            tokio::net::TcpStream::connect(self.api.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    /// A request signed in by a wallet, with a JSON body or none.
    pub async fn as_wallet(&self, wallet: &Wallet, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send(self.signed(wallet, method, path, body)).await
    }

    pub fn signed(
        &self,
        wallet: &Wallet,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method.parse().unwrap(), self.url(path))
            .header("sign-in-with-x", wallet.siwx(&self.api, path));
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// A request with a bearer key.
    pub async fn with_key(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.http.request(method.parse().unwrap(), self.url(path)).bearer_auth(key);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// A new wallet with 0.25 USDC from the faucet.
    pub async fn funded_wallet(&self) -> Wallet {
        let wallet = Wallet::random();
        let answer = self
            .send(self.http.post(self.url("/faucet/v1")).json(&json!({ "address": wallet.checksummed() })))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = self.token();
        eventually("faucet money", 20, || async {
            (self.chain.usdc_balance(&token, &wallet.address()).await > 0).then_some(())
        })
        .await;
        wallet
    }

    /// USDC from nowhere, as much as a test likes: written into the token's storage, so that no transaction
    /// of ours is in the way. The chain forgets what is written while it makes a block, so the money counts once
    /// the next block has it, and is written again otherwise.
    pub async fn mint(&self, wallet: &Wallet, amount: u128) {
        const BALANCES_SLOT: u8 = 2;
        /// Longer than a block takes; a test that holds blocks waits no longer.
        const NEXT_BLOCK_WITHIN: Duration = Duration::from_millis(1_200);
        let key = format!("{:0>64}{BALANCES_SLOT:064x}", wallet.address().trim_start_matches("0x"));
        let slot = alloy::primitives::keccak256(hex::decode(key).unwrap()).to_string();
        let (token, value) = (self.token(), format!("0x{amount:064x}"));
        eventually("minted money", 20, || async {
            let before = self.chain.block_number().await;
            self.chain.rpc("anvil_setStorageAt", json!([token, slot, value])).await;
            let written = Instant::now();
            while self.chain.block_number().await == before && written.elapsed() < NEXT_BLOCK_WITHIN {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (self.chain.usdc_balance(&token, &wallet.address()).await == amount).then_some(())
        })
        .await;
    }

    pub fn token(&self) -> String {
        "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned()
    }

    /// The challenge of a priced route: the decoded header and its first offer.
    pub async fn challenge(&self, wallet: &Wallet, path: &str) -> (Value, Value) {
        let answer = self.as_wallet(wallet, "POST", path, Some(json!({}))).await;
        assert_eq!(answer.status, 402, "{answer:?}");
        let challenge = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
        let offer = challenge["accepts"][0].clone();
        (challenge, offer)
    }

    /// Sends a payment object for a priced route.
    pub async fn present(&self, wallet: &Wallet, path: &str, payment: &Value) -> Answer {
        let request = self
            .signed(wallet, "POST", path, Some(json!({})))
            .header("payment-signature", STANDARD.encode(payment.to_string()));
        self.send(request).await
    }

    /// Pays a priced route, right in every way.
    pub async fn pay(&self, wallet: &Wallet, path: &str) -> Answer {
        let (challenge, offer) = self.challenge(wallet, path).await;
        let authorization = wallet.authorize(&offer);
        self.present(wallet, path, &wallet.payment(&challenge, &offer, &authorization)).await
    }

    /// A wallet with the prototype tier.
    pub async fn subscribed_wallet(&self) -> Wallet {
        let wallet = self.funded_wallet().await;
        let answer = self.pay(&wallet, "/tiers/v1/prototype").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        wallet
    }

    /// A project of a new wallet: the wallet and the answer of provisioning.
    pub async fn project(&self) -> (Wallet, Value) {
        let wallet = self.subscribed_wallet().await;
        let answer = self.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "my-app" }))).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        (wallet, answer.body)
    }

    /// Runs `run402d books verify` beside this lab: its JSON and whether it exited 0.
    pub fn books(&self) -> (Value, bool) {
        books(&self.data)
    }

    /// A connection to the control database.
    pub async fn database(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(self.server.ready["postgres"].as_str().unwrap()).await.unwrap()
    }

    /// The oracle: the books agree with the chain, and nothing is left half done.
    pub fn assert_books_agree(&self) {
        oracle_blocking(self);
    }

    /// Declares that the log will have an error with these words; any other one fails the oracle.
    pub fn expect_error(&self, words: &str) {
        self.expected_errors.lock().unwrap().push(words.to_owned());
    }

    pub fn expected_errors(&self) -> Vec<String> {
        self.expected_errors.lock().unwrap().clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep_data {
            return;
        }
        self.server.end();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

/// `run402d up` on a folder and free ports.
pub fn up_command(data: &Path, options: &LabOptions) -> Command {
    let mut command = Command::new(target_binary("run402d"));
    command.arg("up").arg("--data").arg(data);
    let free = Ports { api: "127.0.0.1:0".to_owned(), chain: "127.0.0.1:0".to_owned() };
    let ports = options.ports.as_ref().unwrap_or(&free);
    for (flag, address) in [("--listen", &ports.api), ("--chain-listen", &ports.chain)] {
        if !options.args.iter().any(|word| word == flag) {
            command.args([flag, address]);
        }
    }
    command.args(&options.args).env("RUN402_TOOLS_DIR", tools_folder());
    command
}

/// `run402d books verify` on a folder: its JSON and whether it exited 0.
pub fn books(data: &Path) -> (Value, bool) {
    let output = Command::new(target_binary("run402d"))
        .args(["books", "verify", "--data"])
        .arg(data)
        .env("RUN402_TOOLS_DIR", tools_folder())
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.success())
}

/// Where `cargo xtask tools` put Postgres and anvil.
pub fn tools_folder() -> PathBuf {
    match std::env::var_os("RUN402_TOOLS_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace").join(".tools"),
    }
}

/// A short path (Unix sockets live under it) that an unprivileged account can reach.
pub fn fresh_folder() -> PathBuf {
    let name: u64 = rand::random();
    std::env::temp_dir().join(format!("r402-{name:016x}"))
}
