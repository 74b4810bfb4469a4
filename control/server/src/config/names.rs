//! `[domains]` and `[tls]`: names of tenants' own, and the certificates for every name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use sites::{AcmeConfig, DnsConfig};

use super::defaults;
use super::reader::Section;

/// How tenants' own domains are looked at.
#[derive(Debug, Clone, Default)]
pub struct DomainsConfig {
    /// A resolver; the system's own when absent.
    pub resolver: Option<SocketAddr>,
    /// What their CNAME records name; `domains.<apex>` when absent.
    pub cname_target: Option<String>,
    /// Addresses that lead here beside those of the target.
    pub addresses: Vec<IpAddr>,
}

/// TLS by this server itself.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    pub listen: SocketAddr,
    /// In URLs; the listening port when absent.
    pub port: Option<u16>,
    /// Readers who come without TLS are sent here, once their host has a certificate.
    pub redirects: bool,
    pub acme: AcmeConfig,
}

impl DomainsConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let resolver = s.optional("resolver", "an address and a port, such as \"10.0.0.2:53\"");
        let cname_target =
            s.optional("cname_target", "a name that leads here, such as \"domains.sites.example.com\"");
        let addresses = s.or("addresses", Vec::new(), "a list of addresses that lead here");
        s.finish();
        Some(Self { resolver: resolver?, cname_target: cname_target?, addresses: addresses? })
    }

    pub fn dns(&self, apex: &str) -> DnsConfig {
        DnsConfig {
            resolver: self.resolver,
            target: self.cname_target.clone().unwrap_or_else(|| format!("domains.{apex}")),
            addresses: self.addresses.clone(),
        }
    }
}

impl TlsConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let listen = s.required("listen", "an address and a port, such as \"0.0.0.0:443\"");
        let port = s.optional::<u64>("port", "the port that clients use, unless it is that of listen");
        let redirects = s.or("redirect", true, "true or false");
        let directory = s.or(
            "acme_directory",
            defaults::ACME_DIRECTORY.to_owned(),
            "the https:// URL of an ACME authority's directory",
        );
        let root = s.optional::<PathBuf>("acme_root", "the path of a PEM file, for an authority of your own");
        let contact = s.optional::<String>("acme_contact", "such as \"mailto:ops@example.com\"");
        let per_hour = s.or("orders_per_hour_max", defaults::ORDERS_PER_HOUR_MAX, "a number from 1");
        s.check(directory.as_deref().is_none_or(|url| url.starts_with("https://")), "acme_directory", || {
            "an https:// URL".to_owned()
        });
        let port = port.map(|port| port.map(u16::try_from));
        s.check(!matches!(port, Some(Some(Err(_)))), "port", || "1 to 65535".into());
        s.finish();
        let acme = AcmeConfig {
            directory: directory?,
            root: root?,
            contact: contact?,
            orders_per_hour_max: i64::try_from(per_hour?).unwrap_or(i64::MAX).max(1),
        };
        Some(Self { listen: listen?, port: port?.transpose().ok()?, redirects: redirects?, acme })
    }
}
