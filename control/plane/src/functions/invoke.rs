//! A call of a function, by its own address or by a route of a site.

use std::net::SocketAddr;
use std::sync::Arc;

use actors::Deps;
use actors::functions::DEPTH_MAX;
use bytes::Bytes;
use functions::Call;
use serde_json::{Value, json};
use store::releases::{ReleaseFunction, Route};
use types::{Code, Mutation, Problem, ProjectId, ReleaseId};

use super::answer::{FunctionAnswer, is_private, problem};
use super::{is_word, no_function};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// A request that is to be handed to a function.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub method: String,
    /// As it came, with the query.
    pub path_and_query: String,
    /// In lower case; one entry for each value.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub peer: Option<SocketAddr>,
}

/// A site's path that a function answers.
#[derive(Debug, Clone)]
pub struct RoutedCall {
    pub project: ProjectId,
    pub release: ReleaseId,
    pub route: Route,
    /// With its port.
    pub host: String,
    /// Decoded.
    pub path: String,
}

/// A request on its way to a function of a known project.
struct Asked<'a> {
    incoming: Incoming,
    url: String,
    /// Headers that only we may say.
    own: Vec<(&'a str, String)>,
    routed: Option<Value>,
    depth: u32,
}

impl Incoming {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// What the function may see: not the keys of the API, nor what only we may say.
    fn shown(&self, own: Vec<(&str, String)>) -> Vec<(String, String)> {
        let hidden = |name: &str| is_private(name) || matches!(name, "apikey" | "sign-in-with-x");
        let given = self.headers.iter().filter(|(name, _)| !hidden(name)).cloned();
        given.chain(own.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
    }
}

impl Plane {
    /// Calls a function of the project whose key came as `apikey`. The function's own failure is an answer.
    ///
    /// # Errors
    /// `UNAUTHORIZED` without a valid key; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `FUNCTION_NOT_FOUND`;
    /// `FUNCTION_LOOP`.
    ///
    /// # Source
    /// Wire contract 03 section 2.6.
    pub async fn function_call(
        &self,
        caller: &Caller,
        name: &str,
        incoming: Incoming,
    ) -> Result<FunctionAnswer, Problem> {
        // Whoever's token is in `Authorization` is the function's business.
        let keyed = Caller { bearer: None, ..caller.clone() };
        let (key, live) = self.project_key_for_call(&keyed).await?;
        let project = key.project;
        let depth = self.function_depth(incoming.peer)?;
        self.data_call(project).await?;
        let live = live.filter(|_| is_word(name)).ok_or_else(|| no_function(name))?;
        let function = self.function_of(live.release, name).await?;
        let own = vec![("x-run402-release-id", live.release.to_string())];
        let url = format!("{}{}", self.public_url(), incoming.path_and_query);
        let asked = Asked { incoming, url, own, routed: None, depth };
        Ok(self.function_run(project, &function, Some(live.version), asked).await)
    }

    async fn function_of(&self, release: ReleaseId, name: &str) -> Result<Arc<ReleaseFunction>, Problem> {
        let deps = self.deps();
        let found = match self.function_host() {
            Some(host) => host.function(deps, release, name).await,
            None => {
                let found = store::functions::release_function_find(&deps.store, release, name).await;
                found.map(|found| found.map(Arc::new))
            }
        };
        found.map_err(store_problem)?.ok_or_else(|| no_function(name))
    }

    /// Calls a function of a project in that project's own name, with JSON. Its own failure is an answer.
    ///
    /// # Errors
    /// `RATE_LIMITED`, `QUOTA_EXCEEDED`; `FUNCTION_NOT_FOUND`.
    pub(crate) async fn function_call_own(
        &self,
        project: ProjectId,
        name: &str,
        body: &Value,
    ) -> Result<FunctionAnswer, Problem> {
        self.data_call(project).await?;
        let live = self.function_live(project, name).await?;
        let own = vec![("x-run402-release-id", live.release.to_string())];
        let incoming = Incoming {
            method: "POST".to_owned(),
            path_and_query: format!("/functions/v1/{name}"),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()),
            peer: None,
        };
        let url = format!("{}{}", self.public_url(), incoming.path_and_query);
        let asked = Asked { incoming, url, own, routed: None, depth: 0 };
        Ok(self.function_run(project, &live.function, None, asked).await)
    }

    /// Calls the function that a route leads to. Never fails: whatever goes wrong is an answer, and never a file
    /// instead.
    ///
    /// # Source
    /// Wire contract 03 sections 5.2 to 5.4.
    pub async fn function_routed(&self, call: RoutedCall, incoming: Incoming) -> FunctionAnswer {
        let accept = incoming.header("accept").map(str::to_owned);
        let outcome = self.function_routed_run(call, incoming).await;
        let mut answer = outcome.unwrap_or_else(|problem| {
            FunctionAnswer::failed(&problem, &self.request_id(), accept.as_deref())
        });
        if !answer.has("cache-control") {
            answer.headers.push(("cache-control".to_owned(), "private, no-store".to_owned()));
            answer.headers.push(("x-run402-cache".to_owned(), "dynamic-bypass".to_owned()));
        }
        answer
    }

    async fn function_routed_run(
        &self,
        call: RoutedCall,
        incoming: Incoming,
    ) -> Result<FunctionAnswer, Problem> {
        let depth = self.function_depth(incoming.peer)?;
        self.data_call(call.project).await.map_err(web_shaped)?;
        let function = self.function_of(call.release, &call.route.target).await?;
        let scheme = if self.public_url().starts_with("https:") { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", call.host, incoming.path_and_query);
        let own = vec![
            ("x-run402-release-id", call.release.to_string()),
            ("x-run402-host", call.host.clone()),
            ("x-run402-route-pattern", call.route.pattern.clone()),
        ];
        let routed = routed(&call, &incoming, scheme, &url);
        let asked = Asked { incoming, url, own, routed: Some(routed), depth };
        Ok(self.function_run(call.project, &function, None, asked).await)
    }

    async fn function_run(
        &self,
        project: ProjectId,
        function: &ReleaseFunction,
        version: Option<String>,
        asked: Asked<'_>,
    ) -> FunctionAnswer {
        let Asked { incoming, url, mut own, routed, depth } = asked;
        let request_id = self.request_id();
        let accept = routed.as_ref().and_then(|_| incoming.header("accept")).map(str::to_owned);
        own.push(("x-run402-request-id", request_id.clone()));
        own.push(("x-run402-project-id", project.to_string()));
        own.push(("x-run402-function-name", function.name.clone()));
        let routed = routed.map(|mut routed| {
            routed["context"]["requestId"] = request_id.as_str().into();
            routed
        });
        let call = Call {
            request_id: request_id.clone(),
            attempt_id: None,
            headers: incoming.shown(own),
            method: incoming.method,
            url,
            body: incoming.body,
            routed,
            depth,
        };
        let failed = |problem: Problem| FunctionAnswer::failed(&problem, &request_id, accept.as_deref());
        let Some(host) = self.function_host() else {
            let text = "this server does not run functions";
            return failed(Problem::new(Code::FunctionUnavailable, text));
        };
        let deps = self.shared_deps();
        let outcome = match version {
            Some(version) => host.call_in(&deps, project, (function, version), call).await,
            None => host.call(&deps, project, function, call).await,
        };
        match outcome {
            Ok(reply) => FunctionAnswer::of(reply, &request_id),
            Err(error) => failed(problem(error, &function.name)),
        }
    }

    fn shared_deps(&self) -> Arc<Deps> {
        self.inner.deps.clone()
    }

    /// `req_` and 24 hex digits.
    pub(crate) fn request_id(&self) -> String {
        format!("req_{}", hex::encode(&self.deps().entropy.secret()[..12]))
    }

    /// Whether this peer is one of our functions, calling through the broker.
    pub fn is_function(&self, peer: SocketAddr) -> bool {
        self.function_host().is_some_and(|host| host.egress().depth_of(peer).is_some())
    }

    /// How deep this call is, if it may be made.
    fn function_depth(&self, peer: Option<SocketAddr>) -> Result<u32, Problem> {
        let above = peer.and_then(|peer| self.function_host()?.egress().depth_of(peer));
        let depth = above.map_or(0, |above| above.saturating_add(1));
        if depth > DEPTH_MAX {
            let text = format!("functions called one another more than {DEPTH_MAX} times in a row");
            return Err(Problem::new(Code::FunctionLoop, text).mutation(Mutation::NotStarted));
        }
        Ok(depth)
    }
}

/// Visitors of a site see that it is busy, not what its owner owes.
fn web_shaped(problem: Problem) -> Problem {
    match problem.code {
        Code::QuotaExceeded => Problem::new(Code::FunctionUnavailable, "this site is over its quota"),
        _ => problem,
    }
}

/// The fields of the envelope that routed handlers may read.
fn routed(call: &RoutedCall, incoming: &Incoming, scheme: &str, url: &str) -> Value {
    let (raw_path, raw_query) =
        incoming.path_and_query.split_once('?').unwrap_or((&incoming.path_and_query, ""));
    let kind = if call.route.prefix().is_some() { "prefix" } else { "exact" };
    json!({
        "path": call.path,
        "rawPath": raw_path,
        "rawQuery": raw_query,
        "cookies": { "raw": incoming.header("cookie") },
        "context": {
            "source": "route",
            "projectId": call.project,
            "releaseId": call.release,
            "deploymentId": null,
            "host": call.host,
            "proto": scheme,
            "routePattern": call.route.pattern,
            "routeKind": kind,
            "routeTarget": { "type": "function", "name": call.route.target },
            "userAgent": incoming.header("user-agent"),
            "url": url,
        },
    })
}
