//! The client itself: one server, maybe one wallet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use types::{Clock, Entropy, Network, OsEntropy, SystemClock};

use crate::answer::RawAnswer;
use crate::call::Draft;
use crate::siwx::{self, SignIn};
use crate::{Answer, Call, ClientError, LocalError, WalletKey};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer. The server holds a paid request while the chain confirms.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long to wait for what, as values so that tests need not.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two looks at an open payment, when the server does not say.
    pub payment_pause: Duration,
    /// How long an open payment is followed. Signatures live for five minutes; this ends well before.
    pub payment_wait_max: Duration,
    /// The first pause between two looks at a deploy; it grows.
    pub deploy_pause: Duration,
    /// How long a deploy is followed.
    pub deploy_wait_max: Duration,
    /// Before an upload is tried again; doubled for the third try.
    pub upload_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            payment_pause: Duration::from_secs(2),
            payment_wait_max: Duration::from_secs(180),
            deploy_pause: Duration::from_millis(250),
            deploy_wait_max: Duration::from_secs(600),
            upload_pause: Duration::from_secs(1),
        }
    }
}

/// A server and the wallet that speaks to it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    base: Arc<str>,
    domain: Arc<str>,
    pub(crate) http: reqwest::Client,
    pub(crate) wallet: Option<WalletKey>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) timing: Timing,
    pub(crate) chain_rpcs: Arc<BTreeMap<Network, String>>,
    /// The token of a workflow's session: the only credential there is, then.
    session: Option<Arc<str>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .field("wallet", &self.wallet)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// `base` is an `http:` or `https:` origin, with or without a path in front of the API's.
    ///
    /// # Errors
    /// `BAD_API_BASE` for anything else.
    pub fn new(base: &str, wallet: Option<WalletKey>) -> Result<Self, LocalError> {
        let bad = |why: &str| {
            LocalError::new("BAD_API_BASE", format!("the API base {base:?} {why}"))
                .hint("Set RUN402_API_BASE to something like http://localhost:4020.")
        };
        let url = reqwest::Url::parse(base).map_err(|error| bad(&format!("is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("is neither http nor https"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(bad("may have a host, a port and a path, and nothing else"));
        }
        let domain = url.host_str().ok_or_else(|| bad("has no host"))?;
        Ok(Self {
            base: base.trim_end_matches('/').into(),
            domain: domain.into(),
            http: http_client(domain)?,
            wallet,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            timing: Timing::default(),
            chain_rpcs: Arc::new(BTreeMap::new()),
            session: None,
        })
    }

    /// Replaces the waits.
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Where balances can be read before choosing between offers on several networks.
    pub fn with_chain_rpcs(mut self, rpcs: BTreeMap<Network, String>) -> Self {
        self.chain_rpcs = Arc::new(rpcs);
        self
    }

    pub(crate) fn with_session(mut self, token: String) -> Self {
        self.session = Some(token.into());
        self
    }

    /// Whether it speaks as a workflow.
    pub fn is_session(&self) -> bool {
        self.session.is_some()
    }

    /// The server's host, without its port.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// The base, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The wallet.
    ///
    /// # Errors
    /// `NO_ALLOWANCE` when there is none.
    pub fn wallet(&self) -> Result<&WalletKey, LocalError> {
        self.wallet.as_ref().ok_or_else(|| {
            LocalError::new("NO_ALLOWANCE", "there is no wallet on this machine")
                .hint("Make one: run402 init")
        })
    }

    /// Makes the call, pays for it if the server asks, and returns the body.
    ///
    /// # Errors
    /// `Local` when nothing was sent, `Refused` for a non-2xx answer, `Network` when no answer came.
    pub async fn call(&self, call: Call<'_>) -> Result<Value, ClientError> {
        self.send(call).await.map(|answer| answer.body)
    }

    /// Like [`Client::call`], with the status and the receipt.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let request = self.sign(call.draft()?)?;
        self.exchange_paying(&request).await?.into_success()
    }

    /// Makes the call and returns the answer unread, for bodies that are not for memory.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn open(&self, call: Call<'_>) -> Result<reqwest::Response, ClientError> {
        let request = self.sign(call.draft()?)?;
        let response = self.begin(&request, None).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(ClientError::Refused(self.read(&request, response).await?.into_refusal()))
    }

    /// Adds the wallet's signature. It covers the method's target and is the same for every sending of this
    /// request.
    fn sign(&self, mut draft: Draft) -> Result<Request, LocalError> {
        let url = format!("{}{}", self.base, draft.target);
        if let Some(token) = &self.session {
            draft.headers.retain(|(name, _)| name != "apikey" && name != "authorization");
            draft.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
            draft.signed = false;
        }
        if draft.signed {
            let mut nonce = [0; 16];
            nonce.copy_from_slice(&self.entropy.secret()[..16]);
            let sign_in = SignIn { domain: &self.domain, uri: &url, issued_at: self.clock.now(), nonce };
            draft.headers.push(("sign-in-with-x".to_owned(), siwx::header(self.wallet()?, &sign_in)?));
        }
        Ok(Request { url, draft })
    }

    /// Sends the request once, with a payment if there is one.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        proof: Option<&str>,
    ) -> Result<RawAnswer, ClientError> {
        let response = self.begin(request, proof).await?;
        self.read(request, response).await
    }

    async fn begin(&self, request: &Request, proof: Option<&str>) -> Result<reqwest::Response, ClientError> {
        let draft = &request.draft;
        let method =
            reqwest::Method::from_bytes(draft.method.as_str().as_bytes()).expect("a verb of the catalogue");
        let mut out = self.http.request(method, &request.url);
        for (name, value) in &draft.headers {
            out = out.header(name, value);
        }
        if let Some(proof) = proof {
            out = out.header("payment-signature", proof);
        }
        if let Some(body) = &draft.body {
            out = out.body(body.clone());
        }
        out.send().await.map_err(|source| request.lost(source))
    }

    async fn read(
        &self,
        request: &Request,
        mut response: reqwest::Response,
    ) -> Result<RawAnswer, ClientError> {
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (payment_required, payment_response) = (header("payment-required"), header("payment-response"));
        let content_type = header("content-type").unwrap_or_default();
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| request.lost(source))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(LocalError::new("ANSWER_TOO_LARGE", "the server's answer exceeds 64 MiB").into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = RawAnswer::parse_body(&content_type, &bytes);
        Ok(RawAnswer { status, body, payment_required, payment_response })
    }
}

/// A request whose every byte is fixed: sending it again sends the same.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub url: String,
    pub draft: Draft,
}

impl Request {
    /// No answer came, or not all of it.
    fn lost(&self, source: reqwest::Error) -> ClientError {
        let draft = &self.draft;
        ClientError::Network { during: format!("calling {} {}", draft.method.as_str(), draft.target), source }
    }
}

fn http_client(host: &str) -> Result<reqwest::Client, LocalError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("run402-rust/", env!("CARGO_PKG_VERSION")))
        // A signed request is meant for one server; following a redirect would hand it to another.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT);
    let loopback = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if loopback {
        // The machine's proxy cannot reach a lab on this machine.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| LocalError::new("HTTP_CLIENT", format!("cannot set up HTTP: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_an_origin_with_at_most_a_path() {
        let client = Client::new("http://localhost:4020/", None).unwrap();
        assert_eq!((client.base(), &*client.domain), ("http://localhost:4020", "localhost"));
        assert_eq!(&*Client::new("https://gw.example.test/run402", None).unwrap().domain, "gw.example.test");
        for bad in ["", "localhost:4020", "ftp://x", "http://", "http://u@x", "http://x?a=1", "http://x#a"] {
            assert_eq!(Client::new(bad, None).unwrap_err().code, "BAD_API_BASE", "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_signed_call_without_a_wallet_is_not_sent() {
        let client = Client::new("http://127.0.0.1:9", None).unwrap();
        let error = client.call(Call::new("tiers.status").wallet()).await.unwrap_err();
        assert_eq!(error.code(), "NO_ALLOWANCE");
    }
}
