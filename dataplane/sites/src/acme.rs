//! Certificates from an ACME authority, by HTTP-01.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier,
    NewAccount, NewOrder, OrderStatus, RetryPolicy,
};

/// An authority that does not come to an end within this is asked again later.
const ORDER_WITHIN: Duration = Duration::from_secs(60);
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// Whom to ask for certificates.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// The URL of its directory.
    pub directory: String,
    /// PEM of the authority that its own TLS certificate comes from; the public ones when absent.
    pub root: Option<PathBuf>,
    /// Such as `mailto:ops@example.com`.
    pub contact: Option<String>,
    /// Orders that are begun within an hour, all hosts together.
    pub orders_per_hour_max: i64,
}

/// A new certificate.
pub struct Issued {
    /// PEM, the host's own first.
    pub chain: String,
    /// PEM.
    pub key: String,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error("the authority: {0}")]
    Authority(#[from] Error),
    #[error("the authority offers no HTTP-01 challenge")]
    NoChallenge,
    #[error("the authority could not check the name: {0}")]
    Refused(String),
    /// What it needs could not be published.
    #[error("the challenge could not be published: {0}")]
    Unpublished(String),
    #[error("its answer cannot be used: {0}")]
    Unreadable(&'static str),
    #[error("the authority did not come to an end in time")]
    Slow,
}

/// Our account at the authority.
#[derive(Clone)]
pub struct AcmeAccount(Account);

/// One authority.
#[derive(Debug, Clone)]
pub struct Acme {
    config: AcmeConfig,
}

impl Acme {
    pub fn new(config: AcmeConfig) -> Self {
        Self { config }
    }

    pub fn config(&self) -> &AcmeConfig {
        &self.config
    }

    fn builder(&self) -> Result<AccountBuilder, Error> {
        match &self.config.root {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        }
    }

    /// The account that was kept before.
    ///
    /// # Errors
    /// `Unreadable` when it is none; `Authority`, `Slow`.
    pub async fn account_of(&self, credentials: &[u8]) -> Result<AcmeAccount, AcmeError> {
        let credentials: AccountCredentials = serde_json::from_slice(credentials)
            .map_err(|_| AcmeError::Unreadable("the kept account is not one"))?;
        within(async { Ok(AcmeAccount(self.builder()?.from_credentials(credentials).await?)) }).await
    }

    /// A new account, and what to keep of it.
    ///
    /// # Errors
    /// `Authority`, `Slow`.
    pub async fn account_new(&self) -> Result<(AcmeAccount, Vec<u8>), AcmeError> {
        let contact: Vec<&str> = self.config.contact.as_deref().into_iter().collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = async { Ok(self.builder()?.create(&new, self.config.directory.clone(), None).await?) };
        let (account, credentials) = within(made).await?;
        let kept = serde_json::to_vec(&credentials).map_err(|_| AcmeError::Unreadable("its account"))?;
        Ok((AcmeAccount(account), kept))
    }

    /// Orders a certificate for one host.
    ///
    /// # Errors
    /// `Authority`, `NoChallenge`, `Slow`.
    ///
    /// # Source
    /// RFC 8555 sections 7.4 and 7.5.
    pub async fn order(&self, account: &AcmeAccount, host: &str) -> Result<Ordered, AcmeError> {
        within(async {
            let identifiers = [Identifier::Dns(host.to_owned())];
            let mut order = account.0.new_order(&NewOrder::new(&identifiers)).await?;
            let mut authorizations = order.authorizations();
            let mut challenge = None;
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.status == AuthorizationStatus::Valid {
                    continue;
                }
                let found = authorization.challenge(ChallengeType::Http01).ok_or(AcmeError::NoChallenge)?;
                challenge = Some((found.token.clone(), found.key_authorization().as_str().to_owned()));
            }
            Ok(Ordered { host: host.to_owned(), order, challenge })
        })
        .await
    }

    /// Lets the authority look, now that what it asks for is published, and takes the certificate.
    ///
    /// # Errors
    /// Each of [`AcmeError`]; nothing is kept.
    ///
    /// # Source
    /// RFC 8555 sections 7.4, 7.5.1 and 8.3.
    pub async fn finish(&self, ordered: Ordered) -> Result<Issued, AcmeError> {
        let Ordered { host, mut order, challenge } = ordered;
        within(async {
            if challenge.is_some() {
                let mut authorizations = order.authorizations();
                while let Some(authorization) = authorizations.next().await {
                    let mut authorization = authorization?;
                    if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) {
                        challenge.set_ready().await?;
                    }
                }
            }
            let patience = RetryPolicy::new().initial_delay(FIRST_LOOK).timeout(ORDER_WITHIN);
            if order.poll_ready(&patience).await? != OrderStatus::Ready {
                return Err(AcmeError::Refused(refusal(&mut order).await));
            }
            let key = order.finalize().await?;
            let chain = order.poll_certificate(&patience).await?;
            let (not_before, not_after) = read(&chain, &key, &host)?;
            Ok(Issued { chain, key, not_before, not_after })
        })
        .await
    }
}

/// An order that waits for its challenge to be published.
pub struct Ordered {
    host: String,
    order: instant_acme::Order,
    /// Token and key authorisation; none when the authority knows the host already.
    pub challenge: Option<(String, String)>,
}

async fn within<T>(work: impl Future<Output = Result<T, AcmeError>>) -> Result<T, AcmeError> {
    tokio::time::timeout(ORDER_WITHIN, work).await.map_err(|_| AcmeError::Slow)?
}

/// The authority's own words about the check that failed.
async fn refusal(order: &mut instant_acme::Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let error = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(error) = error {
            return error.to_string().chars().take(500).collect();
        }
    }
    "it does not say why".to_owned()
}

/// When the first certificate of a chain begins and ends. An authority's mistake would otherwise be noticed by
/// every visitor.
fn read(chain: &str, key: &str, host: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), AcmeError> {
    use rcgen::PublicKeyData;
    use x509_parser::extensions::GeneralName;
    let bad = AcmeError::Unreadable;
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).map_err(|_| bad("no PEM"))?;
    let certificate = pem.parse_x509().map_err(|_| bad("no certificate"))?;
    let key = rcgen::KeyPair::from_pem(key).map_err(|_| bad("no key"))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(bad("the certificate is for another key"));
    }
    let names = certificate.subject_alternative_name().map_err(|_| bad("no names"))?;
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    if !names.any(|name| matches!(name, GeneralName::DNSName(name) if *name == host)) {
        return Err(bad("the certificate is for another host"));
    }
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
    at(validity.not_before).zip(at(validity.not_after)).ok_or(bad("no validity"))
}
