//! The public names of sites.

/// Builds and reads the public hosts of sites: `pr-<public_id>.<apex>`, `<name>.<apex>`,
/// `dpl-<..>-<..>.sites.<apex>`.
///
/// # Source
/// Wire contract 02 sections 0.4 and 10.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// `http` or `https`.
    pub scheme: String,
    /// The domain under which sites are, lower case: `localhost` in the lab.
    pub apex: String,
    /// In URLs when it is not the scheme's own.
    pub port: Option<u16>,
    /// The API's own names outside of the apex, lower case: never a tenant's.
    pub api: Vec<String>,
    /// Where TLS is spoken, if it is: tenants' own domains are shown with it.
    pub tls_port: Option<u16>,
}

/// What a `Host` header names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SiteHost {
    /// A project's own host, by its public id.
    Project(String),
    /// A claimed name.
    Subdomain(String),
    /// One deployment, by its `dpl_` id.
    Deployment(String),
    /// A tenant's own domain, if anybody's: one spelling.
    Custom(String),
    /// Under the apex, but no name of that shape can exist.
    Unknown,
    /// The API's own names and the apex, and what is no domain at all, such as an address: the API's.
    NotOurs,
}

/// The label under the apex that stays the API's own.
const API_LABEL: &str = "api";

impl Hosts {
    pub fn new(scheme: impl Into<String>, apex: impl Into<String>, port: Option<u16>) -> Self {
        Self {
            scheme: scheme.into(),
            apex: apex.into().to_ascii_lowercase(),
            port,
            api: Vec::new(),
            tls_port: None,
        }
    }

    /// With the API's own names.
    pub fn with_api(mut self, names: Vec<String>) -> Self {
        self.api = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        self
    }

    /// With TLS on that port.
    pub fn with_tls(mut self, port: u16) -> Self {
        self.tls_port = Some(port);
        self
    }

    /// `https://host[:port]` where this server speaks TLS itself.
    pub fn tls_origin(&self, host: &str) -> Option<String> {
        Some(match self.tls_port? {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        })
    }

    /// Whether a name is the API's own and could have a certificate.
    pub fn is_api_name(&self, host: &str) -> bool {
        is_domain(host)
            && (self.api.iter().any(|name| name == host) || host == self.apex || self.is_api_label(host))
    }

    fn is_api_label(&self, host: &str) -> bool {
        host.strip_suffix(self.apex.as_str()).and_then(|rest| rest.strip_suffix('.')) == Some(API_LABEL)
    }

    /// The address of a tenant's own domain.
    pub fn custom_url(&self, domain: &str) -> String {
        let (scheme, own, port) = match (self.tls_port, self.scheme.as_str()) {
            (Some(port), _) => ("https", 443, Some(port)),
            (None, "https") => ("https", 443, self.port),
            (None, _) => ("http", 80, self.port),
        };
        match port.filter(|port| *port != own) {
            Some(port) => format!("{scheme}://{domain}:{port}"),
            None => format!("{scheme}://{domain}"),
        }
    }

    pub fn project_url(&self, public_id: &str) -> String {
        self.url(&format!("pr-{public_id}"))
    }

    pub fn subdomain_url(&self, name: &str) -> String {
        self.url(name)
    }

    /// `deployment_id` is `dpl_<time>_<6 hex>`.
    pub fn deployment_url(&self, deployment_id: &str) -> String {
        self.url(&format!("{}.sites", deployment_id.replace('_', "-")))
    }

    fn url(&self, labels: &str) -> String {
        let own = match self.scheme.as_str() {
            "https" => 443,
            _ => 80,
        };
        match self.port.filter(|port| *port != own) {
            Some(port) => format!("{}://{labels}.{}:{port}", self.scheme, self.apex),
            None => format!("{}://{labels}.{}", self.scheme, self.apex),
        }
    }

    /// Reads a `Host` header: any case, with or without a port, with or without the root's dot.
    pub fn parse(&self, host: &str) -> SiteHost {
        let host = host.trim().to_ascii_lowercase();
        let host = without_port(&host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let Some(labels) = host.strip_suffix(self.apex.as_str()).and_then(|rest| rest.strip_suffix('.'))
        else {
            let is_api = host == self.apex || self.api.iter().any(|name| name == host);
            return match !is_api && is_domain(host) {
                true => SiteHost::Custom(host.to_owned()),
                false => SiteHost::NotOurs,
            };
        };
        match labels.split_once('.') {
            None if labels == API_LABEL => SiteHost::NotOurs,
            None => match labels.strip_prefix("pr-") {
                Some(id) if is_public_id(id) => SiteHost::Project(id.to_owned()),
                Some(_) => SiteHost::Unknown,
                None if is_label(labels) => SiteHost::Subdomain(labels.to_owned()),
                None => SiteHost::Unknown,
            },
            Some((first, "sites")) => match deployment_of(first) {
                Some(id) => SiteHost::Deployment(id),
                None => SiteHost::Unknown,
            },
            Some(_) => SiteHost::Unknown,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    }
}

/// At least two labels, and no address.
fn is_domain(host: &str) -> bool {
    let labels = || host.split('.');
    host.len() <= 253
        && labels().count() >= 2
        && labels().all(is_label)
        && labels().next_back().is_some_and(|last| last.bytes().any(|b| b.is_ascii_lowercase()))
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_public_id(text: &str) -> bool {
    (6..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn deployment_of(label: &str) -> Option<String> {
    let (time, random) = label.strip_prefix("dpl-")?.split_once('-')?;
    let time_ok = !time.is_empty()
        && time.len() <= 16
        && time.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let random_ok = random.len() == 6 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (time_ok && random_ok).then(|| format!("dpl_{time}_{random}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Hosts {
        Hosts::new("http", "localhost", Some(4020))
    }

    #[test]
    fn urls_carry_the_port_only_when_it_is_not_the_schemes_own() {
        assert_eq!(lab().project_url("k3x9ab"), "http://pr-k3x9ab.localhost:4020");
        assert_eq!(lab().subdomain_url("my-app"), "http://my-app.localhost:4020");
        assert_eq!(
            lab().deployment_url("dpl_molnjnty_089d0e"),
            "http://dpl-molnjnty-089d0e.sites.localhost:4020"
        );
        assert_eq!(
            Hosts::new("https", "Run.Example", Some(443)).subdomain_url("a1b"),
            "https://a1b.run.example"
        );
        assert_eq!(
            Hosts::new("https", "run.example", None).project_url("k3x9ab"),
            "https://pr-k3x9ab.run.example"
        );
    }

    #[test]
    fn what_is_built_reads_back() {
        for hosts in [lab(), Hosts::new("https", "apps.example.test", None)] {
            let host = |url: String| url.split_once("://").unwrap().1.to_owned();
            assert_eq!(hosts.parse(&host(hosts.project_url("k3x9ab"))), SiteHost::Project("k3x9ab".into()));
            assert_eq!(hosts.parse(&host(hosts.subdomain_url("shop"))), SiteHost::Subdomain("shop".into()));
            let id = "dpl_molnjnty_089d0e";
            assert_eq!(hosts.parse(&host(hosts.deployment_url(id))), SiteHost::Deployment(id.into()));
        }
    }

    #[test]
    fn case_port_and_root_dot_do_not_matter() {
        for host in [
            "Shop.LocalHost:4020",
            "shop.localhost",
            "shop.localhost.",
            "SHOP.localhost.:80",
            " shop.localhost ",
        ] {
            assert_eq!(lab().parse(host), SiteHost::Subdomain("shop".into()), "{host:?}");
        }
    }

    #[test]
    fn the_apex_and_addresses_are_the_apis() {
        let hosts = lab().with_api(vec!["API.Example.test".into()]);
        for host in [
            "",
            "localhost",
            "localhost:4020",
            "127.0.0.1:4020",
            "[::1]:4020",
            "api.localhost",
            "notlocalhost",
            ".localhost.evil",
            "api.example.test",
            "evil..test",
            "-a.test",
            "10.0.0.1.",
        ] {
            assert_eq!(hosts.parse(host), SiteHost::NotOurs, "{host:?}");
        }
    }

    #[test]
    fn any_other_domain_may_be_a_tenants_own() {
        for (host, domain) in [
            ("evil.test", "evil.test"),
            ("WWW.Acme.Dev.:443", "www.acme.dev"),
            ("shop.localhost.evil.test", "shop.localhost.evil.test"),
            ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ] {
            assert_eq!(lab().parse(host), SiteHost::Custom(domain.into()), "{host:?}");
        }
        assert_eq!(lab().custom_url("www.acme.dev"), "http://www.acme.dev:4020");
        assert_eq!(lab().with_tls(4443).custom_url("www.acme.dev"), "https://www.acme.dev:4443");
        assert_eq!(lab().with_tls(443).custom_url("www.acme.dev"), "https://www.acme.dev");
        assert_eq!(lab().with_tls(4443).tls_origin("a.test").as_deref(), Some("https://a.test:4443"));
        assert_eq!(lab().with_tls(443).tls_origin("a.test").as_deref(), Some("https://a.test"));
        assert_eq!(lab().tls_origin("a.test"), None);
        let api = lab().with_api(vec!["API.Example.test".into(), "127.0.0.1".into()]);
        assert!(api.is_api_name("api.example.test") && api.is_api_name("api.localhost"));
        assert!(
            !api.is_api_name("127.0.0.1")
                && !api.is_api_name("localhost")
                && !api.is_api_name("shop.localhost")
        );
    }

    #[test]
    fn names_that_cannot_exist_are_unknown_and_never_the_apis() {
        for host in [
            "pr-.localhost",
            "pr-k3x9_ab.localhost",
            "a.b.localhost",
            "dpl-1-2.sites.localhost",
            "dpl-mo1abc-0f3a9g.sites.localhost",
            "shop.sites.localhost",
            "-a.localhost",
            "a_b.localhost",
            "..localhost",
            ".localhost",
            "x\u{130}.localhost",
        ] {
            assert_eq!(lab().parse(host), SiteHost::Unknown, "{host:?}");
        }
    }
}
