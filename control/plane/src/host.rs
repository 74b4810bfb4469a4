//! Which requests are for sites, and what they get: mostly from memory.

mod resolve;

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use blobs::{BlobError, BlobStream, Checked};
use bytes::Bytes;
use futures::StreamExt;
use sites::routes::{Routed, route};
use sites::{Cache, Conditions, FileRef, Head, Header, Resolution, SiteHost};

use crate::Plane;
use crate::functions::RoutedCall;

pub use resolve::{ResolveRequest, Resolved, ResolvedTo};

/// What this node remembers of sites. The database's hints are followed from the first request on.
#[derive(Default)]
pub(crate) struct SiteMemory {
    cache: Cache,
    following: OnceLock<()>,
}

/// A request for a site, as received.
#[derive(Debug, Clone, Copy)]
pub struct SiteRequest<'a> {
    pub host: &'a str,
    pub method: &'a str,
    /// Not decoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub conditions: Conditions<'a>,
    /// The browser wants to install what it gets as a service worker.
    pub service_worker: bool,
}

/// What a site answers.
pub struct SiteAnswer {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: SiteBody,
}

/// What a request for a site comes to.
pub enum SiteOutcome {
    Answer(SiteAnswer),
    /// A function answers: ask it with the whole request.
    Function(RoutedCall),
}

pub enum SiteBody {
    Whole(Bytes),
    Stream(BlobStream),
}

const RETRY_AFTER_SECS: &str = "2";
/// A visitor waits this long for the object store, and then for the first bytes of a large file.
const READ_SECS_MAX: u64 = 20;

impl Plane {
    /// Whether a `Host` header names a site rather than the API.
    pub async fn is_site_host(&self, host: &str) -> bool {
        match self.deps().hosts.parse(host) {
            SiteHost::NotOurs => false,
            // A stranger's domain is answered by the API, as an address is.
            domain @ SiteHost::Custom(_) => {
                let found = self.sites().target(&self.deps().store, &domain).await;
                found.is_ok_and(|target| target.is_some())
            }
            _ => true,
        }
    }

    /// Names that are the platform's and never a tenant's.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let hosts = &self.deps().hosts;
        hosts.api.iter().chain([&hosts.apex]).cloned().collect()
    }

    /// Answers a request for a site. Never fails: what goes wrong is a page with a status.
    ///
    /// # Source
    /// Wire contract 02 sections 10.1 to 10.3.
    pub async fn site_get(&self, request: SiteRequest<'_>) -> SiteOutcome {
        let mut answer = match self.site_answer(&request).await {
            Ok(SiteOutcome::Function(call)) => return SiteOutcome::Function(call),
            Ok(SiteOutcome::Answer(answer)) => answer,
            Err(page) => page,
        };
        if request.method == "HEAD" {
            answer.body = SiteBody::Whole(Bytes::new());
        }
        SiteOutcome::Answer(answer)
    }

    pub(crate) fn sites(&self) -> &Cache {
        let memory = &self.inner.sites;
        memory.following.get_or_init(|| drop(memory.cache.follow(&self.deps().store)));
        &memory.cache
    }

    async fn site_answer(&self, request: &SiteRequest<'_>) -> Result<SiteOutcome, SiteAnswer> {
        let host = self.deps().hosts.parse(request.host);
        let (store, cache) = (&self.deps().store, self.sites());
        let target = cache.target(store, &host).await.map_err(|_| page(503, "Try again in a moment"))?;
        let path = sites::path::decode(request.path).map_err(|_| page(400, "Bad path"))?;
        if let Some(blob) = path.strip_prefix("/_blob/").filter(|blob| !blob.is_empty()) {
            let target = target.ok_or_else(|| page(404, "Not found"))?;
            return self.blob_show(target.project, blob, request).await.map(SiteOutcome::Answer);
        }
        let shown = target.and_then(|target| Some((target.project, target.release?)));
        let (project, id) = shown.ok_or_else(|| page(404, "There is no site here"))?;
        let release = cache.release(store, id).await.map_err(|e| {
            tracing::warn!(error = &e as &dyn std::error::Error, "release not read");
            page(503, "Try again in a moment")
        })?;
        match route(release.routes(), &path, request.method) {
            Routed::Function(route) => {
                let (route, host) = (route.clone(), request.host.to_owned());
                return Ok(SiteOutcome::Function(RoutedCall { project, release: id, route, host, path }));
            }
            Routed::NotAllowed(allowed) => return Err(not_allowed(&allowed.join(", "))),
            Routed::Static if matches!(request.method, "GET" | "HEAD") => {}
            Routed::Static => return Err(page(405, "Only GET and HEAD")),
        }
        let wants_body = request.method == "GET";
        let answer = match sites::resolve(&*release, &path) {
            Resolution::File { path, file } => {
                let head = sites::respond(path, file, &request.conditions);
                self.site_body(head, file, wants_body).await
            }
            Resolution::NotFound(Some(own)) => {
                self.site_body(sites::respond_missing(own), own, wants_body).await
            }
            Resolution::NotFound(None) => Err(page(404, "Not found")),
            Resolution::AddSlash => Ok(add_slash(request)),
        };
        answer.map(SiteOutcome::Answer)
    }

    /// The bytes that `head` announces: small files from memory, larger ones as they come from the object
    /// store.
    pub(crate) async fn site_body(
        &self,
        head: Head,
        file: &FileRef,
        wants_body: bool,
    ) -> Result<SiteAnswer, SiteAnswer> {
        let Head { status, mut headers, bytes } = head;
        let failed = |e: BlobError| {
            unread(&file.sha256, &e);
            page(503, "Try again in a moment")
        };
        let empty = |headers| SiteAnswer { status, headers, body: SiteBody::Whole(Bytes::new()) };
        let Some(range) = bytes else {
            if status >= 400 {
                headers.push(("content-type", HTML.into()));
            }
            return Ok(empty(headers));
        };
        if range.is_empty() || !wants_body {
            return Ok(empty(headers));
        }
        let content = Checked { sha256: file.sha256.clone(), size_bytes: file.size_bytes };
        if file.size_bytes > sites::SMALL_BYTES_MAX {
            let stream = self.large(content, range).await.map_err(failed)?;
            return Ok(SiteAnswer { status, headers, body: SiteBody::Stream(stream) });
        }
        let whole = match self.sites().object(&file.sha256) {
            Some(whole) => whole,
            None => {
                let blobs = &*self.deps().blobs;
                let whole = in_time(blobs::read_content(blobs, &content)).await.map_err(failed)?;
                self.sites().object_put(file.sha256.clone(), whole.clone());
                whole
            }
        };
        let part = whole.slice(index(range.start)..index(range.end));
        Ok(SiteAnswer { status, headers, body: SiteBody::Whole(part) })
    }

    /// Bytes as they come from the object store. What is not the file breaks off, so that nobody takes it for
    /// the file.
    async fn large(&self, content: Checked, range: std::ops::Range<u64>) -> Result<BlobStream, BlobError> {
        let (key, sha256) = (blobs::cas_key(&content.sha256), content.sha256.clone());
        let bytes = range.end - range.start;
        let is_part = bytes < content.size_bytes;
        let stream = in_time(self.deps().blobs.get(&key, is_part.then_some(range))).await?;
        let stream = if is_part { blobs::exactly(stream, bytes) } else { blobs::whole(stream, content) };
        let told = move |piece: &Result<Bytes, BlobError>| {
            if let Err(e) = piece {
                unread(&sha256, e);
            }
        };
        Ok(stream.inspect(told).boxed())
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, BlobError>>) -> Result<T, BlobError> {
    let late = || BlobError::Unavailable {
        during: "read content",
        source: format!("the object store did not answer within {READ_SECS_MAX} seconds").into(),
    };
    tokio::time::timeout(Duration::from_secs(READ_SECS_MAX), read).await.unwrap_or_else(|_| Err(late()))
}

fn unread(sha256: &types::Sha256Hex, error: &BlobError) {
    tracing::error!(sha256 = %sha256, error = error as &dyn std::error::Error, "content not read");
}

fn not_allowed(allowed: &str) -> SiteAnswer {
    let mut answer = page(405, "This method is not answered here");
    answer.headers.retain(|(name, _)| *name != "allow");
    answer.headers.push(("allow", allowed.to_owned().into()));
    answer
}

const HTML: &str = "text/html; charset=utf-8";

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The request's own path, still encoded, so that nothing of it is interpreted twice.
fn add_slash(request: &SiteRequest<'_>) -> SiteAnswer {
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut answer = page(301, "Moved");
    answer.headers.push(("location", format!("{}/{query}", request.path).into()));
    answer
}

/// A page of our own. HTML rather than JSON, because people see it.
pub(crate) fn page(status: u16, text: &str) -> SiteAnswer {
    let body = format!("<!doctype html><meta charset=\"utf-8\"><title>{text}</title><h1>{text}</h1>\n");
    let mut headers = vec![
        ("content-type", HTML.into()),
        ("content-length", body.len().to_string().into()),
        (
            "cache-control",
            if status == 301 { "public, max-age=0, must-revalidate" } else { "no-store" }.into(),
        ),
        ("x-content-type-options", "nosniff".into()),
    ];
    match status {
        405 => headers.push(("allow", "GET, HEAD".into())),
        503 => headers.push(("retry-after", RETRY_AFTER_SECS.into())),
        _ => {}
    }
    SiteAnswer { status, headers, body: SiteBody::Whole(body.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirect_keeps_path_and_query_as_they_came() {
        let request = SiteRequest {
            host: "shop.localhost",
            method: "GET",
            path: "/caf%C3%A9",
            query: Some("a=1&b=%2F"),
            conditions: Conditions::default(),
            service_worker: false,
        };
        let answer = add_slash(&request);
        assert_eq!(answer.status, 301);
        assert!(answer.headers.contains(&("location", "/caf%C3%A9/?a=1&b=%2F".into())));
    }

    #[test]
    fn pages_of_ours_are_html_and_not_kept() {
        for status in [400, 404, 405, 503] {
            let answer = page(status, "No");
            assert!(answer.headers.contains(&("cache-control", "no-store".into())));
            assert!(answer.headers.iter().any(|(name, value)| *name == "content-type" && *value == *HTML));
        }
        assert!(page(405, "No").headers.contains(&("allow", "GET, HEAD".into())));
    }
}
