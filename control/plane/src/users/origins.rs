//! Where a project's users may be sent, and where their passkeys are at home.

use types::{Code, Problem, ProjectId};
use url::Url;

use crate::Plane;
use crate::keys::store_problem;
use sites::SiteHost;

const URL_BYTES_MAX: usize = 2_048;

/// What an origin is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A mailed link goes there.
    Redirect,
    /// The answer of a sign-in elsewhere goes there.
    SignIn,
    /// A passkey belongs to it.
    Passkey,
}

impl Plane {
    /// The URL, if it is on an origin of this project: `http://localhost` with any port, a name that the
    /// project has claimed, and for passkeys its own host as well.
    ///
    /// # Errors
    /// `REDIRECT_NOT_ALLOWED` or `ORIGIN_NOT_ALLOWED`.
    ///
    /// # Source
    /// Wire contract 04 section 2.3.
    pub(crate) async fn project_url(
        &self,
        project: ProjectId,
        text: &str,
        what: Use,
    ) -> Result<Url, Problem> {
        let refused = || match what {
            Use::Redirect => {
                Problem::new(Code::RedirectNotAllowed, "the URL is not on a host of this project")
            }
            Use::SignIn => {
                Problem::new(Code::OriginNotAllowed, "redirect_url is not on an origin of this project")
            }
            Use::Passkey => Problem::new(Code::OriginNotAllowed, "the origin is no host of this project"),
        };
        let url = read(text).ok_or_else(refused)?;
        // An origin is nothing more: no path, no query.
        if what == Use::Passkey && url.origin().ascii_serialization() != text {
            return Err(refused());
        }
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && host == "localhost" {
            return Ok(url);
        }
        let hosts = &self.deps().hosts;
        let own = match hosts.parse(host) {
            SiteHost::Subdomain(name) => {
                let found = store::subdomains::subdomain_find(&self.deps().store, &name).await;
                let found = found.map_err(store_problem)?;
                found.filter(|found| found.project == project).map(|_| hosts.subdomain_url(&name))
            }
            SiteHost::Project(public_id) if what == Use::Passkey => {
                let is_own = self.project_live(project).await?.public_id == public_id;
                is_own.then(|| hosts.project_url(&public_id))
            }
            SiteHost::Custom(domain) => {
                let found = store::domains::domain_holder(&self.deps().store, &domain).await;
                let found = found.map_err(store_problem)?;
                found.filter(|found| found.project == project).map(|_| hosts.custom_url(&domain))
            }
            _ => None,
        };
        let own = own.and_then(|own| Url::parse(&own).ok());
        if own.is_some_and(|own| own.origin() == url.origin()) { Ok(url) } else { Err(refused()) }
    }
}

/// A URL for a browser, without anybody's credentials in it and without a fragment, which is ours to set.
fn read(text: &str) -> Option<Url> {
    if text.len() > URL_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.host_str().is_some_and(|host| !host.is_empty());
    plain.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_of_browsers_are_read() {
        assert!(read("http://localhost:3000/in?next=%2F").is_some());
        for bad in [
            "",
            "/in",
            "javascript:alert(1)",
            "data:text/html,x",
            "http://user@localhost/",
            "http://localhost:1@evil.test/",
            "http://localhost/#x",
            "http://local\nhost/",
            "http:\\\\localhost",
            &format!("http://localhost/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            let host = read(bad).and_then(|url| url.host_str().map(str::to_owned));
            assert_eq!(host, None, "{bad}");
        }
    }
}
