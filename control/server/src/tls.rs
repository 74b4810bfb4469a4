//! TLS in front of the router: each name with its own certificate, and names that are nobody's refused in the
//! handshake.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use plane::Plane;
use store::certificates::Certificate;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

const HANDSHAKE_MAX: Duration = Duration::from_secs(20);
const CONFIGS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// By host and the certificate's end: a renewed one makes a new entry.
type Configs = LruCache<(String, i64), Arc<ServerConfig>>;

/// Shakes hands. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    plane: Plane,
    configs: Arc<Mutex<Configs>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the handshake took too long")]
    Slow,
    #[error("the client names no host")]
    NoName,
    #[error("no certificate for {0}")]
    NoCertificate(String),
    #[error("the kept certificate cannot be used: {0}")]
    Unusable(String),
    #[error("handshake: {0}")]
    Io(#[from] std::io::Error),
}

impl Tls {
    pub fn new(plane: Plane) -> Self {
        Self { plane, configs: Arc::new(Mutex::new(LruCache::new(CONFIGS_MAX))) }
    }

    /// Shakes hands with a client, and says which host it named: lower case, without the root's dot.
    ///
    /// # Errors
    /// Each of [`TlsError`]; the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, String), TlsError> {
        tokio::time::timeout(HANDSHAKE_MAX, self.shake(stream)).await.map_err(|_| TlsError::Slow)?
    }

    async fn shake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, String), TlsError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let host = start.client_hello().server_name().map(str::to_ascii_lowercase).ok_or(TlsError::NoName)?;
        let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
        let certificate = self.plane.certificate(&host).await;
        let certificate = certificate.ok_or_else(|| TlsError::NoCertificate(host.clone()))?;
        let config = self.config(&certificate)?;
        Ok((start.into_stream(config).await?, host))
    }

    fn config(&self, certificate: &Certificate) -> Result<Arc<ServerConfig>, TlsError> {
        let key = (certificate.host.clone(), certificate.not_after.timestamp());
        if let Some(config) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(server_config(certificate).map_err(TlsError::Unusable)?);
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).put(key, config.clone());
        Ok(config)
    }
}

/// A configuration of its own per certificate, so that a session of one host is never resumed at another.
fn server_config(certificate: &Certificate) -> Result<ServerConfig, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).map_err(|e| e.to_string())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
