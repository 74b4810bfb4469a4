//! `[server]` and `[sites]`: what is listened on, under which names, within which limits.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::defaults;
use super::reader::Section;

/// Addresses to bind. Port 0 takes a free one.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    pub api: SocketAddr,
    /// For the other nodes of this installation only.
    pub internal: SocketAddr,
}

#[derive(Debug)]
pub struct ServerConfig {
    pub listen: Listen,
    /// How clients reach the API; from the listening address when absent.
    pub public_url: Option<String>,
    /// How other nodes reach this one; from the internal listening address when absent.
    pub internal_url: Option<String>,
    pub master_key_file: PathBuf,
    pub claim_ttl_secs: u64,
    pub body_bytes_max: u64,
    pub timeout_secs: u64,
    pub concurrent_requests_max: u64,
    pub wait_secs_max: u64,
    pub completion_wait_secs: u64,
    pub trust_forwarded_for: bool,
    /// `POST /lab/clock` may move the platform's time, from this machine: for labs only.
    pub movable_clock: bool,
    /// Mail is kept and shown at `GET /lab/mail`, on this machine, instead of sent: for labs only.
    pub capture_mail: bool,
    pub operator_name: String,
    pub operator_contact: String,
}

/// The public names of sites.
#[derive(Debug, Clone)]
pub struct SitesConfig {
    pub scheme: String,
    pub apex: String,
    /// In the URLs of sites; that of the API when absent.
    pub port: Option<u16>,
}

impl ServerConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let address = "an address and a port, such as \"127.0.0.1:4020\"";
        let url = "scheme and host, such as \"https://api.example.com\"";
        let number = "a whole number";
        let api = s.or("listen", fixed(defaults::LISTEN), address);
        let internal = s.or("internal_listen", fixed(defaults::INTERNAL_LISTEN), address);
        let public_url = s.optional::<String>("public_url", url);
        let internal_url = s.optional::<String>("internal_url", "such as \"http://10.0.0.5:4021\"");
        let master_key_file = s
            .required("master_key_file", "the path of a file with 64 hex digits, readable by its owner only");
        let claim_ttl_secs = s.or("claim_ttl_secs", defaults::CLAIM_TTL_SECS, "3 to 300");
        let body_bytes_max = s.or("body_bytes_max", defaults::BODY_BYTES_MAX, number);
        let timeout_secs = s.or("timeout_secs", defaults::TIMEOUT_SECS, number);
        let concurrent = s.or("concurrent_requests_max", defaults::CONCURRENT_REQUESTS_MAX, number);
        let wait_secs_max = s.or("wait_secs_max", defaults::WAIT_SECS_MAX, "less than timeout_secs");
        let completion = s.or("completion_wait_secs", defaults::COMPLETION_WAIT_SECS, number);
        let trust_forwarded_for = s.or("trust_forwarded_for", false, "true or false");
        let movable_clock = s.or("movable_clock", false, "true or false");
        let capture_mail = s.or("capture_mail", false, "true or false");
        let operator_name = s.or("operator_name", defaults::OPERATOR_NAME.to_owned(), "a name");
        let operator_contact =
            s.or("operator_contact", defaults::OPERATOR_CONTACT.to_owned(), "a URL or an address");
        for (key, url_given) in [("public_url", &public_url), ("internal_url", &internal_url)] {
            let good = url_given.as_ref().and_then(Option::as_ref).is_none_or(|text| is_origin(text));
            s.check(good, key, || format!("{url}, without a trailing slash"));
        }
        s.check(claim_ttl_secs.is_none_or(|secs| (3..=300).contains(&secs)), "claim_ttl_secs", || {
            "3 to 300".into()
        });
        let in_time = wait_secs_max.zip(timeout_secs).is_none_or(|(wait, timeout)| wait < timeout);
        s.check(in_time, "wait_secs_max", || "less than timeout_secs".into());
        s.finish();
        Some(Self {
            listen: Listen { api: api?, internal: internal? },
            public_url: public_url?,
            internal_url: internal_url?,
            master_key_file: master_key_file?,
            claim_ttl_secs: claim_ttl_secs?,
            body_bytes_max: body_bytes_max?,
            timeout_secs: timeout_secs?,
            concurrent_requests_max: concurrent?,
            wait_secs_max: wait_secs_max?,
            completion_wait_secs: completion?,
            trust_forwarded_for: trust_forwarded_for?,
            movable_clock: movable_clock?,
            capture_mail: capture_mail?,
            operator_name: operator_name?,
            operator_contact: operator_contact?,
        })
    }
}

impl SitesConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let scheme = s.or("scheme", "https".to_owned(), "\"http\" or \"https\"");
        let apex =
            s.required::<String>("apex", "the domain that sites live under, such as \"sites.example.com\"");
        let port = s.optional::<u64>("port", "a port, or nothing for the scheme's own");
        let known = scheme.as_deref().is_none_or(|scheme| matches!(scheme, "http" | "https"));
        s.check(known, "scheme", || "\"http\" or \"https\"".into());
        s.check(apex.as_deref().is_none_or(is_host), "apex", || {
            "a host name in lower case without a port".into()
        });
        let port = port.map(|port| port.map(u16::try_from));
        s.check(!matches!(port, Some(Some(Err(_)))), "port", || "1 to 65535".into());
        s.finish();
        Some(Self { scheme: scheme?, apex: apex?, port: port?.transpose().ok()? })
    }
}

fn fixed(text: &str) -> SocketAddr {
    text.parse().expect("defaults are addresses")
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.ends_with('/') && !rest.contains('@')
    })
}

fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    !text.is_empty()
        && text.bytes().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.ends_with(['.', '-'])
}
