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
    /// Under the apex, but no name of that shape can exist.
    Unknown,
    /// Not under the apex, or the apex itself: the API's.
    NotOurs,
}

/// The label under the apex that stays the API's own.
const API_LABEL: &str = "api";

impl Hosts {
    pub fn new(scheme: impl Into<String>, apex: impl Into<String>, port: Option<u16>) -> Self {
        Self { scheme: scheme.into(), apex: apex.into().to_ascii_lowercase(), port }
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
            return SiteHost::NotOurs;
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
    fn the_apex_addresses_and_strangers_are_the_apis() {
        for host in [
            "",
            "localhost",
            "localhost:4020",
            "127.0.0.1:4020",
            "[::1]:4020",
            "api.localhost",
            "evil.test",
            "notlocalhost",
            "shop.localhost.evil.test",
            ".localhost.evil",
        ] {
            assert_eq!(lab().parse(host), SiteHost::NotOurs, "{host:?}");
        }
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
