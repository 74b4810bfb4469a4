//! The bytes of a blob: to whoever has a key or a signed address, and to visitors.
//!
//! Anybody who can see a site has its anon key, and may upload. So what a browser would run as a page is never
//! run as a page of the site: on the project's hosts it gets an origin of its own, and on the API's host, which
//! all projects share, it is only ever saved. No blob may become a service worker.

use std::borrow::Cow;

use sites::{Conditions, FileRef, Head};
use store::StoreError;
use store::content;
use types::{Code, Problem, ProjectId};

use super::address::split_immutable;
use crate::Plane;
use crate::caller::Caller;
use crate::host::{SiteAnswer, SiteRequest, page};

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// There is no cache of ours in front whose copies would have to be recalled.
const MUTABLE: &str = "public, max-age=0, must-revalidate";
const PRIVATE: &str = "private, no-cache";

/// A blob that is shown.
pub(super) struct Shown {
    pub file: FileRef,
    pub is_immutable: bool,
}

impl Plane {
    /// A blob's bytes for whoever has a key of its project. `wants_body` is false for HEAD.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `BLOB_NOT_FOUND`; `STORAGE_UNAVAILABLE`.
    pub async fn blob_get(
        &self,
        caller: &Caller,
        key: &str,
        asked: &Conditions<'_>,
    ) -> Result<SiteAnswer, Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        self.blob_bytes(project, key, asked, caller.method == "GET").await
    }

    /// The bytes as they are served on the host that all projects share.
    pub(super) async fn blob_bytes(
        &self,
        project: ProjectId,
        key: &str,
        asked: &Conditions<'_>,
        wants_body: bool,
    ) -> Result<SiteAnswer, Problem> {
        let blob = self.blob_of(project, key).await?;
        let file = FileRef {
            sha256: blob.sha256,
            size_bytes: blob.size_bytes,
            content_type: blob.content_type,
            revalidate: true,
        };
        let mut head = sites::respond("", &file, asked);
        set(&mut head, "cache-control", PRIVATE);
        set(&mut head, "x-run402-sha256", file.sha256.to_string());
        set(&mut head, "content-security-policy", "sandbox; default-src 'none'");
        if !is_inert(&file.content_type) {
            set(&mut head, "content-disposition", attachment(key));
        }
        let unread = |_| Problem::new(Code::StorageUnavailable, "the object store did not answer");
        self.site_body(head, &file, wants_body).await.map_err(unread)
    }

    /// What `/_blob/<path>` shows on a host of the project. `path` is decoded.
    pub(crate) async fn blob_show(
        &self,
        project: ProjectId,
        path: &str,
        request: &SiteRequest<'_>,
    ) -> Result<SiteAnswer, SiteAnswer> {
        match request.method {
            "GET" | "HEAD" => {}
            "OPTIONS" => return Ok(preflight()),
            _ => return Err(page(405, "Only GET and HEAD")),
        }
        if request.service_worker {
            return Err(page(403, "A blob is no service worker"));
        }
        let shown = self.blob_shown(project, path).await.map_err(|e| {
            tracing::warn!(error = &e as &dyn std::error::Error, "blob not read");
            page(503, "Try again in a moment")
        })?;
        let Shown { file, is_immutable } = shown.ok_or_else(|| page(404, "Not found"))?;
        let mut head = sites::respond("", &file, &request.conditions);
        let (cache, kind) = if is_immutable { (IMMUTABLE, "immutable") } else { (MUTABLE, "mutable") };
        set(&mut head, "cache-control", cache);
        set(&mut head, "x-run402-blob-cache-kind", kind);
        set(&mut head, "access-control-allow-origin", "*");
        set(&mut head, "access-control-expose-headers", EXPOSED);
        set(&mut head, "cross-origin-resource-policy", "cross-origin");
        if is_active(&file.content_type) {
            set(&mut head, "content-security-policy", ACTIVE);
        }
        self.site_body(head, &file, request.method == "GET").await
    }

    /// Immutable addresses first; what is none of them is a key.
    pub(super) async fn blob_shown(
        &self,
        project: ProjectId,
        path: &str,
    ) -> Result<Option<Shown>, StoreError> {
        let store = &self.deps().store;
        if let Some((key, suffix)) = split_immutable(path)
            && let Some(version) = content::blob_version_find(store, project, (&key, &suffix)).await?
        {
            let file = FileRef {
                sha256: version.sha256,
                size_bytes: version.size_bytes,
                content_type: version.content_type,
                revalidate: false,
            };
            return Ok(Some(Shown { file, is_immutable: true }));
        }
        let blob = content::blob_find(store, project, path).await?;
        let public = blob.filter(|blob| blob.visibility == content::Visibility::Public);
        Ok(public.map(|blob| {
            let file = FileRef {
                sha256: blob.sha256,
                size_bytes: blob.size_bytes,
                content_type: blob.content_type,
                revalidate: true,
            };
            Shown { file, is_immutable: false }
        }))
    }
}

/// For a document that may hold scripts: they run, and in an origin of their own.
const ACTIVE: &str = "sandbox allow-scripts allow-forms allow-popups allow-downloads";
const EXPOSED: &str =
    "ETag, Content-Digest, Content-Range, X-Run402-Content-Sha256, X-Run402-Blob-Cache-Kind";

fn set(head: &mut Head, name: &'static str, value: impl Into<Cow<'static, str>>) {
    head.headers.retain(|(known, _)| *known != name);
    head.headers.push((name, value.into()));
}

fn preflight() -> SiteAnswer {
    let headers = vec![
        ("access-control-allow-origin", "*".into()),
        ("access-control-allow-methods", "GET, HEAD".into()),
        ("access-control-allow-headers", "range, if-range, if-none-match, if-match".into()),
        ("access-control-max-age", "86400".into()),
    ];
    SiteAnswer { status: 204, headers, body: crate::host::SiteBody::Whole(bytes::Bytes::new()) }
}

/// The type and subtype, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What browsers show as a document that can run something.
fn is_active(content_type: &str) -> bool {
    let essence = essence(content_type);
    matches!(essence.as_str(), "text/html" | "text/xml" | "application/xml" | "text/xsl" | "text/xsl+xml")
        || essence.ends_with("+xml")
        || essence.starts_with("multipart/")
}

/// What no browser runs, whatever is in it.
fn is_inert(content_type: &str) -> bool {
    let essence = essence(content_type);
    let safe_family =
        ["image/", "audio/", "video/", "font/"].iter().any(|family| essence.starts_with(family));
    (safe_family && !is_active(&essence)) || matches!(essence.as_str(), "text/plain" | "application/json")
}

/// The key's last segment as the name under which it is saved.
fn attachment(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key);
    let encoded = super::key::encode(name);
    format!("attachment; filename*=UTF-8''{}", encoded.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // I04: what a browser could run as a page is told from what it cannot, whatever the spelling.
    #[test]
    fn types_that_run_are_known() {
        for active in [
            "text/html",
            "TEXT/HTML; charset=utf-8",
            "image/svg+xml",
            "application/xhtml+xml",
            "application/xml",
            "application/atom+xml;x=y",
            "multipart/x-mixed-replace; boundary=x",
        ] {
            assert!(is_active(active) && !is_inert(active), "{active}");
        }
        for saved in ["application/pdf", "text/javascript", "application/octet-stream", "text/css", "x/y"] {
            assert!(!is_active(saved) && !is_inert(saved), "{saved}");
        }
        for inert in ["image/png", "video/mp4", "text/plain; charset=utf-8", "application/json", "font/woff2"]
        {
            assert!(!is_active(inert) && is_inert(inert), "{inert}");
        }
    }

    #[test]
    fn a_name_to_save_under_is_one_header_value() {
        assert_eq!(attachment("a/b c\".html"), "attachment; filename*=UTF-8''b%20c%22.html");
    }
}
