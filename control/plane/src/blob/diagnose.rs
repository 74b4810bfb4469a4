//! What a visitor of a blob's address gets, beside what the project thinks that it should be.

use chrono::{DateTime, Utc};
use sites::{Conditions, SiteHost};
use store::content;
use types::{Code, Problem};
use url::Url;

use super::address::split_immutable;
use super::key::encode;
use super::key_of_path;
use crate::Plane;
use crate::caller::Caller;
use crate::host::{SiteAnswer, SiteOutcome, SiteRequest, page};
use crate::keys::store_problem;

/// The outcome of one look.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    pub project: types::ProjectId,
    pub key: String,
    /// On the project's own host.
    pub canonical_url: String,
    pub expected_sha256: Option<String>,
    pub observed_sha256: Option<String>,
    pub observed_at: DateTime<Utc>,
    /// `blob-mutable` or `blob-immutable`.
    pub path_kind: &'static str,
    pub cache_kind: Option<String>,
    pub hint: &'static str,
}

impl Plane {
    /// Asks this server's own gateway for the first byte of a public address, as a visitor would. No request
    /// leaves this process, whatever the address says.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `BAD_REQUEST` for what is no address of a blob here; `FORBIDDEN` for another project's.
    ///
    /// # Source
    /// Wire contract 02 section 2.9.
    pub async fn blob_diagnose(&self, caller: &Caller, url: &str) -> Result<Diagnosis, Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        let (host, path) = self.blob_address(url)?;
        let target = self.sites().target(&self.deps().store, &self.deps().hosts.parse(&host)).await;
        let target = target.map_err(store_problem)?.ok_or_else(|| bad("no project has this host"))?;
        if target.project != project {
            return Err(Problem::new(Code::Forbidden, "the address belongs to another project"));
        }
        let path = key_of_path(&path)?;
        let shown = self.blob_shown(project, &path).await.map_err(store_problem)?;
        let is_immutable = shown.as_ref().is_some_and(|shown| shown.is_immutable);
        let key = match split_immutable(&path).filter(|_| is_immutable) {
            Some((key, _)) => key,
            None => path.clone(),
        };
        let expected = match shown {
            Some(shown) => Some(shown.file.sha256),
            // A private one is there, and is not shown.
            None => content::blob_find(&self.deps().store, project, &key)
                .await
                .map_err(store_problem)?
                .map(|blob| blob.sha256),
        };
        let full = format!("/_blob{}", encode(&path));
        let answer = self.probe(&host, &full).await;
        let header = |name: &str| {
            answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let (expected, observed) =
            (expected.map(|sha256| sha256.to_string()), header("x-run402-content-sha256"));
        let public_id = self.project_live(project).await?.public_id;
        Ok(Diagnosis {
            project,
            key,
            canonical_url: format!("{}{full}", self.deps().hosts.project_url(&public_id)),
            path_kind: if is_immutable { "blob-immutable" } else { "blob-mutable" },
            cache_kind: header("x-run402-blob-cache-kind"),
            hint: hint(answer.status, expected.as_deref(), observed.as_deref()),
            expected_sha256: expected,
            observed_sha256: observed,
            observed_at: self.now(),
        })
    }

    /// The host and the encoded key of an address.
    fn blob_address(&self, url: &str) -> Result<(String, String), Problem> {
        let parsed = Url::parse(url).map_err(|_| bad("this is not a URL"))?;
        let host = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https"));
        let host = host.ok_or_else(|| bad("name an http or https address"))?;
        if matches!(self.deps().hosts.parse(host), SiteHost::NotOurs | SiteHost::Unknown) {
            return Err(bad("only addresses of sites on this server can be looked at"));
        }
        let path =
            parsed.path().strip_prefix("/_blob/").ok_or_else(|| bad("this is no address of a blob"))?;
        Ok((host.to_owned(), path.to_owned()))
    }

    async fn probe(&self, host: &str, path: &str) -> SiteAnswer {
        let conditions = Conditions { range: Some("bytes=0-0"), ..Conditions::default() };
        let request =
            SiteRequest { host, method: "GET", path, query: None, conditions, service_worker: false };
        match self.site_get(request).await {
            SiteOutcome::Answer(answer) => answer,
            // No function answers under `/_blob/`.
            SiteOutcome::Function(_) => page(404, "Not found"),
        }
    }
}

fn hint(status: u16, expected: Option<&str>, observed: Option<&str>) -> &'static str {
    match (expected, observed) {
        (Some(expected), Some(observed)) if expected == observed => "The address shows the current bytes.",
        (Some(_), Some(_)) => "The address shows other bytes than the current ones. Look again in a moment.",
        (None, _) => "There is no such blob. Upload it, or list the project's blobs.",
        (Some(_), None) if status == 404 => "The blob is private: sign an address for it, or make it public.",
        (Some(_), None) => "The gateway did not answer with the blob. Look again in a moment.",
    }
}

fn bad(why: &str) -> Problem {
    Problem::new(Code::BadRequest, format!("url: {why}"))
}
