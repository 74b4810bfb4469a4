//! `[google]`: the client that sign-ins with Google go through.

use secrecy::SecretString;
use users::oidc::{GOOGLE_ISSUER, ProviderConfig};

use super::reader::Section;

#[derive(Debug, Clone)]
pub struct GoogleConfig {
    pub client_id: String,
    pub client_secret: SecretString,
    /// Google's own, unless it is a stand-in.
    pub issuer: String,
}

impl GoogleConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let what = "an issuer: https://, or http:// on this machine alone";
        let id = "the client's id, ..apps.googleusercontent.com";
        let client_id = s.required::<String>("client_id", id);
        let client_secret = s.required::<SecretString>("client_secret", "the client's secret");
        let issuer = s.or("issuer", GOOGLE_ISSUER.to_owned(), what);
        s.check(client_id.as_ref().is_none_or(|id| !id.is_empty()), "client_id", || id.to_owned());
        s.check(issuer.as_deref().is_none_or(is_issuer), "issuer", || what.to_owned());
        s.finish();
        Some(Self { client_id: client_id?, client_secret: client_secret?, issuer: issuer? })
    }

    pub fn provider(self) -> ProviderConfig {
        ProviderConfig { issuer: self.issuer, client_id: self.client_id, client_secret: self.client_secret }
    }
}

/// Without TLS anybody on the way could be the provider.
pub fn is_issuer(text: &str) -> bool {
    let local = |host: &str| ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    let host = |rest: &str| rest.split('/').next().map(str::to_owned).unwrap_or_default();
    let name = |host: &str| host.rsplit_once(':').map_or(host.to_owned(), |(name, _)| name.to_owned());
    if let Some(rest) = text.strip_prefix("https://") {
        return !host(rest).is_empty() && !host(rest).contains('@');
    }
    text.strip_prefix("http://").is_some_and(|rest| local(&host(rest)) || local(&name(&host(rest))))
}

#[cfg(test)]
mod tests {
    use super::is_issuer;

    #[test]
    fn an_issuer_has_tls_or_is_here() {
        for good in
            ["https://accounts.google.com", "http://127.0.0.1:4444", "http://localhost/x", "http://[::1]:9"]
        {
            assert!(is_issuer(good), "{good}");
        }
        for bad in [
            "",
            "accounts.google.com",
            "http://accounts.google.com",
            "https://",
            "http://127.0.0.1.evil.test",
        ] {
            assert!(!is_issuer(bad), "{bad}");
        }
    }
}
