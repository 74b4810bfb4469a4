//! What DNS says of a tenant's domain: whose it is, and whether it leads here.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

/// Put in front of a domain: the name of its TXT record.
const CHALLENGE_LABEL: &str = "_run402-challenge";
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// Asks about domains. Share it.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
    /// What a CNAME record should name.
    target: String,
    /// Addresses that lead here beside those of the target.
    addresses: Vec<IpAddr>,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dns({})", self.target)
    }
}

/// Whom to ask, and what to look for.
#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// The system's own when absent.
    pub resolver: Option<SocketAddr>,
    pub target: String,
    pub addresses: Vec<IpAddr>,
}

/// No resolver could be made.
#[derive(Debug, thiserror::Error)]
#[error("no DNS resolver: {0}")]
pub struct NoResolver(String);

/// One look at a domain. None says that DNS did not tell: a timeout is neither yes nor no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its TXT record has the project's token.
    pub owned: Option<bool>,
    /// A CNAME names our target, or every address is one of ours.
    pub leads_here: Option<bool>,
}

impl Dns {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// `NoResolver` when the system has none and none was named.
    pub fn new(config: DnsConfig) -> Result<Self, NoResolver> {
        let mut builder = match config.resolver {
            Some(address) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = address.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(address.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(|e| NoResolver(e.to_string()))?,
        };
        let options = builder.options_mut();
        // Each look is one that somebody waits for, or that decides: an old answer is worth nothing.
        options.cache_size = 0;
        options.timeout = ANSWER_WITHIN;
        options.attempts = ATTEMPTS;
        options.preserve_intermediates = true;
        let resolver = builder.build().map_err(|e| NoResolver(e.to_string()))?;
        let target = config.target.trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { resolver, target, addresses: config.addresses })
    }

    /// What a domain's CNAME record should name.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The name of the TXT record that proves whose a domain is.
    pub fn challenge_name(domain: &str) -> String {
        format!("{CHALLENGE_LABEL}.{domain}")
    }

    /// Looks at a domain now.
    pub async fn look(&self, domain: &str, token: &str) -> Seen {
        let (owned, leads_here) = tokio::join!(self.owned(domain, token), self.leads_here(domain));
        Seen { owned, leads_here }
    }

    async fn owned(&self, domain: &str, token: &str) -> Option<bool> {
        let found = self.records(&Self::challenge_name(domain), RecordType::TXT).await?;
        Some(found.iter().any(|data| match data {
            RData::TXT(text) => text.txt_data.concat() == token.as_bytes(),
            _ => false,
        }))
    }

    async fn leads_here(&self, domain: &str) -> Option<bool> {
        let (v4, v6) =
            tokio::join!(self.records(domain, RecordType::A), self.records(domain, RecordType::AAAA));
        let records: Vec<RData> = v4?.into_iter().chain(v6?).collect();
        let names_target = records.iter().any(|data| match data {
            RData::CNAME(name) => name.0.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(&self.target),
            _ => false,
        });
        if names_target {
            return Some(true);
        }
        let theirs = addresses(&records);
        if theirs.is_empty() {
            // A CNAME whose target has no address yet comes without one as well.
            return self.cname_is_ours(domain).await;
        }
        let ours = self.own_addresses().await?;
        Some(theirs.is_subset(&ours))
    }

    async fn cname_is_ours(&self, domain: &str) -> Option<bool> {
        let found = self.records(domain, RecordType::CNAME).await?;
        Some(found.iter().any(|data| match data {
            RData::CNAME(name) => name.0.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(&self.target),
            _ => false,
        }))
    }

    /// For domains at the top of a zone, which cannot have a CNAME.
    async fn own_addresses(&self) -> Option<BTreeSet<IpAddr>> {
        let (v4, v6) = tokio::join!(
            self.records(&self.target, RecordType::A),
            self.records(&self.target, RecordType::AAAA)
        );
        let records: Vec<RData> = v4?.into_iter().chain(v6?).collect();
        Some(addresses(&records).into_iter().chain(self.addresses.iter().copied()).collect())
    }

    /// The records of a name; none is an answer, and a failure is not.
    async fn records(&self, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        // With the root's dot: no search list of this machine is tried.
        let Ok(absolute) = Name::from_ascii(format!("{name}.")) else { return Some(Vec::new()) };
        match self.resolver.lookup(absolute, kind).await {
            Ok(found) => Some(found.answers().iter().map(|record| record.data.clone()).collect()),
            Err(e) if is_absent(&e) => Some(Vec::new()),
            Err(e) => {
                tracing::debug!(name, error = %e, "DNS did not tell");
                None
            }
        }
    }
}

/// The name, or records of that kind, do not exist. A refusal or a server's failure says nothing of that.
fn is_absent(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            matches!(found.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => false,
    }
}

fn addresses(records: &[RData]) -> BTreeSet<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}
