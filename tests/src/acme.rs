//! An ACME authority for tests (RFC 8555): it verifies every signature, uses every nonce once, really fetches the
//! HTTP-01 challenge, and signs what the request's own key asked for, with an intermediate key as real ones do.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

mod served;

use served::Served;

/// What the authority does with new orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temper {
    #[default]
    Even,
    /// It has had enough: `rateLimited`.
    Limiting,
    /// It takes orders, and signs for another key than the one that was asked for.
    Lying,
    /// It answers no new order until it is told to be otherwise.
    Stalling,
}

struct Order {
    host: String,
    account: usize,
    token: String,
    /// pending, ready, valid, invalid.
    status: &'static str,
    challenge: &'static str,
    error: Option<Value>,
    certificate: Option<String>,
}

#[derive(Default)]
struct Book {
    nonces: HashSet<String>,
    /// The JWK of each account.
    accounts: Vec<Value>,
    orders: Vec<Order>,
    /// Orders that came while it stalled.
    stalled: usize,
    temper: Temper,
    /// Where every host is, for this authority.
    reach: String,
}

/// A running authority. Ends with the test's runtime.
pub struct Authority {
    pub directory: String,
    /// PEM of its root, in a file.
    pub root_file: PathBuf,
    pub root_pem: String,
    book: Arc<Mutex<Book>>,
}

impl Authority {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let (root_params, root_key) = authority("Root of a test");
        let root = root_params.self_signed(&root_key).unwrap();
        let (params, key) = authority("Authority of a test");
        let intermediate = params.signed_by(&key, &Issuer::new(root_params, root_key)).unwrap();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let own_certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let own_certificate = own_certificate.signed_by(&own, &issuer).unwrap();
        let own_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own_certificate.der().clone(), intermediate.der().clone()], own_key)
            .unwrap();
        let root_file = crate::fresh_folder().with_extension("pem");
        std::fs::write(&root_file, root.pem()).unwrap();
        let book: Arc<Mutex<Book>> = Arc::default();
        let (base_url, shared) = (base.clone(), book.clone());
        let served = Arc::new(Served::new(base_url, shared, issuer, intermediate.pem()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (served, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        served.serve(stream).await;
                    }
                });
            }
        });
        Self { directory: format!("{base}/directory"), root_file, root_pem: root.pem(), book }
    }

    /// Where it looks for the challenges of every host: `127.0.0.1:port`.
    pub fn reach(&self, address: &str) {
        self.book.lock().unwrap().reach = address.trim_start_matches("http://").to_owned();
    }

    pub fn temper(&self, temper: Temper) {
        self.book.lock().unwrap().temper = temper;
    }

    /// Hosts of the orders that it took, in order.
    pub fn orders(&self) -> Vec<String> {
        self.book.lock().unwrap().orders.iter().map(|order| order.host.clone()).collect()
    }

    /// How many orders came while it stalled.
    pub fn stalled(&self) -> usize {
        self.book.lock().unwrap().stalled
    }

    /// Accounts that were made.
    pub fn accounts(&self) -> usize {
        self.book.lock().unwrap().accounts.len()
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    (params, KeyPair::generate().unwrap())
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.root_file);
    }
}
