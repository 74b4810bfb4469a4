//! What a visitor's request would come to, without making it.

use sites::Resolution;
use sites::routes::{Routed, route};
use store::releases::Route;
use types::{Code, Problem, ProjectId, ReleaseId, Sha256Hex};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::{forbidden, store_problem};

/// A request that nobody makes.
#[derive(Debug, Clone, Default)]
pub struct ResolveRequest {
    /// With or without a port; the project's own host unless given.
    pub host: Option<String>,
    /// As it stands in an address, still encoded; `/` unless given. A query is ignored, as routes do.
    pub path: Option<String>,
    /// GET unless given.
    pub method: Option<String>,
}

/// Where it would lead.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub project: ProjectId,
    pub release: Option<ReleaseId>,
    pub host: String,
    pub path: String,
    pub method: String,
    pub to: ResolvedTo,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedTo {
    /// A file of the release; `is_missing` for the site's own page with 404.
    File {
        path: String,
        sha256: Sha256Hex,
        content_type: String,
        is_missing: bool,
    },
    /// The same with a slash.
    Redirect {
        location: String,
    },
    Function(Route),
    /// Whatever is stored under this path.
    Blob {
        path: String,
    },
    /// The methods that are answered.
    NotAllowed(Vec<String>),
    /// The path can be none.
    BadPath,
    NotFound,
    /// Nothing was deployed.
    NoSite,
}

impl ResolvedTo {
    /// Of the answer; a function's and a blob's is their own.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::File { is_missing: false, .. } => Some(200),
            Self::File { .. } | Self::NotFound | Self::NoSite => Some(404),
            Self::Redirect { .. } => Some(301),
            Self::NotAllowed(_) => Some(405),
            Self::BadPath => Some(400),
            Self::Function(_) | Self::Blob { .. } => None,
        }
    }
}

impl Plane {
    /// Says what a request to a site would come to, for whoever has a key of its project or owns it.
    ///
    /// # Errors
    /// As [`Plane::project_reader`], when the host is another project's; `BAD_REQUEST`; `RESOURCE_NOT_FOUND` when no
    /// project has the host.
    ///
    /// # Source
    /// Wire contract 02 section 4.9, "Later clients".
    pub async fn site_resolve(&self, caller: &Caller, asked: ResolveRequest) -> Result<Resolved, Problem> {
        let method = method(asked.method.as_deref())?;
        let path = asked.path.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
        let path = path.split(['?', '#']).next().unwrap_or("/").to_owned();
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let host = match asked.host.filter(|host| !host.is_empty()) {
            Some(host) => host,
            None => self.own_host(caller).await?,
        };
        let target = self.sites().target(&self.deps().store, &self.deps().hosts.parse(&host)).await;
        let target = target
            .map_err(store_problem)?
            .ok_or_else(|| Problem::new(Code::ResourceNotFound, "no project has this host"));
        // Whoever has no key at all learns nothing of which hosts there are.
        let target = match target {
            Ok(target) => target,
            Err(absent) => {
                self.any_key(caller).await?;
                return Err(absent);
            }
        };
        self.project_reader(caller, target.project).await?;
        let to = match target.release {
            _ if path.starts_with("/_blob/") => {
                ResolvedTo::Blob { path: path.trim_start_matches("/_blob/").to_owned() }
            }
            None => ResolvedTo::NoSite,
            Some(release) => self.resolved_in(release, &path, &method).await?,
        };
        Ok(Resolved { project: target.project, release: target.release, host, path, method, to })
    }

    async fn any_key(&self, caller: &Caller) -> Result<(), Problem> {
        if caller.bearer.is_none() && caller.apikey.is_none() {
            return self.wallet(caller).await.map(drop);
        }
        self.project_key(caller).await.map(drop)
    }

    async fn own_host(&self, caller: &Caller) -> Result<String, Problem> {
        if caller.bearer.is_none() && caller.apikey.is_none() {
            self.wallet(caller).await?;
            return Err(Problem::new(Code::BadRequest, "host: name one, or send a key of the project"));
        }
        let project = self.project_key(caller).await?.project;
        let public_id = self.project_live(project).await?.public_id;
        let url = self.deps().hosts.project_url(&public_id);
        url.split_once("://").map(|(_, host)| host.to_owned()).ok_or_else(|| forbidden("there is no host"))
    }

    async fn resolved_in(&self, id: ReleaseId, raw: &str, method: &str) -> Result<ResolvedTo, Problem> {
        let Ok(path) = sites::path::decode(raw) else { return Ok(ResolvedTo::BadPath) };
        let release = self.sites().release(&self.deps().store, id).await.map_err(store_problem)?;
        match route(release.routes(), &path, method) {
            Routed::Function(route) => return Ok(ResolvedTo::Function(route.clone())),
            Routed::NotAllowed(allowed) => {
                return Ok(ResolvedTo::NotAllowed(allowed.into_iter().map(str::to_owned).collect()));
            }
            Routed::Static if matches!(method, "GET" | "HEAD") => {}
            Routed::Static => return Ok(ResolvedTo::NotAllowed(vec!["GET".to_owned(), "HEAD".to_owned()])),
        }
        let file = |path: &str, file: &sites::FileRef, is_missing| ResolvedTo::File {
            path: path.to_owned(),
            sha256: file.sha256.clone(),
            content_type: file.content_type.clone(),
            is_missing,
        };
        Ok(match sites::resolve(&*release, &path) {
            Resolution::File { path, file: found } => file(path, found, false),
            Resolution::NotFound(Some(own)) => file("404.html", own, true),
            Resolution::NotFound(None) => ResolvedTo::NotFound,
            Resolution::AddSlash => ResolvedTo::Redirect { location: format!("{raw}/") },
        })
    }
}

fn method(asked: Option<&str>) -> Result<String, Problem> {
    let method = asked.filter(|method| !method.is_empty()).unwrap_or("GET").to_ascii_uppercase();
    let is_method = method.len() <= 20 && method.bytes().all(|b| b.is_ascii_uppercase());
    if is_method { Ok(method) } else { Err(Problem::new(Code::BadRequest, "method: this is none")) }
}
