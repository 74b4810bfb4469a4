//! `[ci]`: whose workflows may deploy.

use types::delegation::{CI_AUDIENCE, GITHUB_ISSUER};
use users::oidc::ProviderConfig;

use super::google::is_issuer;
use super::reader::Section;

#[derive(Debug, Clone)]
pub struct CiConfig {
    /// GitHub's own, unless it is an installation of its own or a stand-in.
    pub issuer: String,
    /// Whom workflows' tokens may be for.
    pub audiences: Vec<String>,
}

impl Default for CiConfig {
    fn default() -> Self {
        Self { issuer: GITHUB_ISSUER.to_owned(), audiences: vec![CI_AUDIENCE.to_owned()] }
    }
}

impl CiConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let defaults = Self::default();
        let what = "an issuer: https://, or http:// on this machine alone";
        let which = "a list of audiences; published clients ask for https://api.run402.com";
        let issuer = s.or("issuer", defaults.issuer, what);
        let audiences = s.or("audiences", defaults.audiences, which);
        s.check(issuer.as_deref().is_none_or(is_issuer), "issuer", || what.to_owned());
        s.check(audiences.as_ref().is_none_or(|all| !all.is_empty()), "audiences", || which.to_owned());
        s.finish();
        Some(Self { issuer: issuer?, audiences: audiences? })
    }

    /// It has no client there: it only reads tokens.
    pub fn provider(&self) -> ProviderConfig {
        let (client_id, client_secret) = (String::new(), String::new().into());
        ProviderConfig { issuer: self.issuer.clone(), client_id, client_secret }
    }
}
