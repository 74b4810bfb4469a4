//! The addresses of a blob.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use store::content::{BlobName, Visibility};
use types::{Problem, ProjectId, Sha256Hex};

use super::key::encode;
use crate::Plane;
use crate::keys::store_problem;

/// Digits of the digest in an immutable address.
const SUFFIX_DIGITS: usize = 8;

/// Everything that a page needs to embed a blob. A private one has no addresses, a mutable one no immutable
/// address.
#[derive(Debug, Clone)]
pub struct AssetRef {
    pub name: BlobName,
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: String,
    /// On a domain of the project's own, else on a name that it claimed, else on its own host.
    pub url: Option<String>,
    pub immutable_url: Option<String>,
    /// On the project's own host.
    pub cdn_url: Option<String>,
    pub cdn_immutable_url: Option<String>,
}

/// Where a project's blobs are shown.
#[derive(Debug, Clone)]
pub struct AssetHosts {
    /// `scheme://host[:port]` of the host that is preferred.
    shown: String,
    /// The same of the project itself.
    own: String,
}

impl AssetRef {
    pub(crate) fn new(
        hosts: &AssetHosts,
        name: BlobName,
        sha256: &Sha256Hex,
        (size_bytes, content_type): (u64, String),
    ) -> Self {
        let AssetHosts { shown, own } = hosts;
        let path = (name.visibility == Visibility::Public).then(|| format!("/_blob{}", encode(&name.key)));
        let immutable = path.as_ref().filter(|_| name.immutable);
        let immutable = immutable.map(|_| format!("/_blob{}", encode(&immutable_path(&name.key, sha256))));
        let at = |host: &str, path: &Option<String>| path.as_ref().map(|path| format!("{host}{path}"));
        Self {
            url: at(shown, &path),
            cdn_url: at(own, &path),
            immutable_url: at(shown, &immutable),
            cdn_immutable_url: at(own, &immutable),
            sha256: sha256.clone(),
            name,
            size_bytes,
            content_type,
        }
    }

    /// The first digits of the digest.
    pub fn suffix(&self) -> &str {
        suffix(&self.sha256)
    }

    /// As it stands in the `ETag` header, with its quotes.
    pub fn etag(&self) -> String {
        format!("\"sha256-{}\"", self.sha256)
    }

    /// For `integrity`.
    pub fn sri(&self) -> String {
        format!("sha256-{}", STANDARD.encode(self.sha256.to_bytes()))
    }

    /// As it stands in the `Content-Digest` header.
    pub fn content_digest(&self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.sha256.to_bytes()))
    }

    /// `private`, `immutable` or `mutable`.
    pub fn cache_kind(&self) -> &'static str {
        match (self.name.visibility, self.name.immutable) {
            (Visibility::Private, _) => "private",
            (Visibility::Public, true) => "immutable",
            (Visibility::Public, false) => "mutable",
        }
    }
}

impl Plane {
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub(crate) async fn asset_hosts(&self, project: ProjectId) -> Result<AssetHosts, Problem> {
        let deps = self.deps();
        let own = deps.hosts.project_url(&self.project_live(project).await?.public_id);
        let domain = store::domains::domain_shown(&deps.store, project).await.map_err(store_problem)?;
        let shown = match domain {
            Some(domain) => deps.hosts.custom_url(&domain),
            None => {
                let names = store::subdomains::subdomain_list(&deps.store, project).await;
                let names = names.map_err(store_problem)?;
                names.first().map_or_else(|| own.clone(), |name| deps.hosts.subdomain_url(&name.name))
            }
        };
        Ok(AssetHosts { shown, own })
    }
}

fn suffix(sha256: &Sha256Hex) -> &str {
    &sha256.as_str()[..SUFFIX_DIGITS]
}

/// The key with `-` and the first digits of the digest before its last extension.
pub fn immutable_path(key: &str, sha256: &Sha256Hex) -> String {
    let (folder, name) = split(key);
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{folder}{stem}-{}.{extension}", suffix(sha256)),
        None => format!("{folder}{name}-{}", suffix(sha256)),
    }
}

/// The key and the digits that an immutable path was made from, if it looks like one.
pub(super) fn split_immutable(path: &str) -> Option<(String, String)> {
    let (folder, name) = split(path);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) => (stem, Some(extension)),
        None => (name, None),
    };
    let (stem, digits) = stem.rsplit_once('-')?;
    let known =
        digits.len() == SUFFIX_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let name = match extension {
        Some(extension) => format!("{stem}.{extension}"),
        None => stem.to_owned(),
    };
    (known && !name.is_empty()).then(|| (format!("{folder}{name}"), digits.to_owned()))
}

fn split(path: &str) -> (&str, &str) {
    path.rfind('/').map_or(("", path), |at| path.split_at(at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_immutable_path_leads_back_to_its_key() {
        let sha256: Sha256Hex =
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        for (key, path) in [
            ("img/logo.png", "img/logo-ba7816bf.png"),
            ("a.tar.gz", "a.tar-ba7816bf.gz"),
            ("LICENSE", "LICENSE-ba7816bf"),
            ("v1.2/LICENSE", "v1.2/LICENSE-ba7816bf"),
            (".env", "-ba7816bf.env"),
            ("a-b.js", "a-b-ba7816bf.js"),
        ] {
            assert_eq!(immutable_path(key, &sha256), path);
            assert_eq!(split_immutable(path), Some((key.to_owned(), "ba7816bf".to_owned())), "{path}");
        }
        for other in ["logo.png", "logo-BA7816BF.png", "logo-ba7816b.png", "-ba7816bf", "ba7816bf.png"] {
            assert_eq!(split_immutable(other), None, "{other}");
        }
    }
}
