//! From a function's source to its bundle.

use std::collections::BTreeMap;

use bytes::Bytes;
use functions::{Bundle, BundleError, LIBRARY_VERSION, Sources, TOOLCHAIN};
use serde_json::json;
use sha2::{Digest, Sha256};
use store::functions::{
    BuildMark, NewBuild, build_exists, build_find, build_newest, build_put, build_replace, build_warnings,
};
use store::releases::ReleaseFunction;
use types::{Code, Mutation, Problem, ProjectId};

use crate::Deps;
use crate::deploy::{Content, Source, deploy_problem};
use crate::kit::ActorError;

const SINGLE: &str = "index.ts";

/// Bundles what of these functions is not bundled yet. Where functions do not run, nothing is.
///
/// # Errors
/// `Refused` with `FUNCTION_BUILD_FAILED` and the quoted line; `Store`, `Outside`.
pub async fn build_all<'a>(
    deps: &Deps,
    project: ProjectId,
    functions: impl IntoIterator<Item = &'a ReleaseFunction>,
) -> Result<(), ActorError> {
    if host(deps).is_none() {
        return Ok(());
    }
    for function in functions {
        let key = (project, &function.code_hash, TOOLCHAIN);
        if build_exists(&deps.store, key).await? {
            continue;
        }
        let bundle = made(deps, project, function).await?;
        build_put(&deps.store, key, kept(&bundle), deps.clock.now()).await?;
        tracing::info!(project.id = %project, function = function.name, "function built");
    }
    Ok(())
}

/// A function that was built again.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// None: it had not been built.
    pub before: Option<BuildMark>,
    pub after: BuildMark,
}

/// Bundles a function again, with the packages of its deploy and the library of today, and has it served.
///
/// # Errors
/// As [`build_all`], and `Unavailable` where functions do not run: what was served still is.
pub async fn rebuild(
    deps: &Deps,
    project: ProjectId,
    function: &ReleaseFunction,
) -> Result<Rebuilt, ActorError> {
    let before = build_newest(&deps.store, (project, &function.code_hash)).await?;
    let bundle = made(deps, project, function).await?;
    let key = (project, &function.code_hash, TOOLCHAIN);
    build_replace(&deps.store, key, kept(&bundle), deps.clock.now()).await?;
    tracing::info!(project.id = %project, function = function.name, "function built again");
    let fingerprint = hex::encode(Sha256::digest(&bundle.code));
    let after = BuildMark { fingerprint, library_version: Some(LIBRARY_VERSION.to_owned()) };
    Ok(Rebuilt { before, after })
}

fn host(deps: &Deps) -> Option<&super::FunctionHost> {
    deps.functions.as_deref().filter(|host| host.refused().is_none())
}

fn kept(bundle: &Bundle) -> NewBuild<'_> {
    NewBuild { bundle: &bundle.code, warnings: &bundle.warnings, library_version: LIBRARY_VERSION }
}

async fn made(deps: &Deps, project: ProjectId, function: &ReleaseFunction) -> Result<Bundle, ActorError> {
    let host = host(deps).ok_or(ActorError::Unavailable("the bundler"))?;
    let sources = sources(deps, function).await?;
    match host.parts.bundler.bundle(&sources).await {
        Ok(bundle) => Ok(bundle),
        Err(BundleError::Source(said)) => Err(failed(function, &said).into()),
        Err(BundleError::Unavailable(why)) => {
            tracing::error!(project.id = %project, why, "a function was not built");
            Err(ActorError::Unavailable("the bundler"))
        }
    }
}

/// What the author of a function was told when it was built.
///
/// # Errors
/// `Store`.
pub async fn warnings(
    deps: &Deps,
    project: ProjectId,
    function: &ReleaseFunction,
) -> Result<Vec<String>, ActorError> {
    Ok(build_warnings(&deps.store, (project, &function.code_hash, TOOLCHAIN)).await?)
}

/// The bundle of a function, made now when it was stored by an earlier version of this server. The error is for
/// the log.
pub(super) async fn bundle(
    deps: &Deps,
    project: ProjectId,
    function: &ReleaseFunction,
) -> Result<Bytes, String> {
    let key = (project, &function.code_hash, TOOLCHAIN);
    let text = |e: ActorError| e.to_string();
    build_all(deps, project, [function]).await.map_err(text)?;
    let found = build_find(&deps.store, key).await.map_err(|e| e.to_string())?;
    found.map(Bytes::from).ok_or_else(|| "the project is gone".to_owned())
}

/// # Source
/// Wire contract 02 section 4.7.
fn failed(function: &ReleaseFunction, said: &str) -> Problem {
    let message = format!("{} does not build: {said}", function.name);
    deploy_problem(Code::FunctionBuildFailed, "stage", message)
        .mutation(Mutation::NotStarted)
        .extra("resource", format!("functions.{}", function.name))
        .extra("logs", json!(said.lines().collect::<Vec<_>>()))
}

async fn sources(deps: &Deps, function: &ReleaseFunction) -> Result<Sources, ActorError> {
    let source: Source = serde_json::from_value(function.source.clone())
        .map_err(|e| store::StoreError::Corrupt(format!("source of {}: {e}", function.name)))?;
    let (contents, entry, packages) = match source {
        Source::File(content) => (single(content), SINGLE.to_owned(), BTreeMap::new()),
        Source::Files { files, entrypoint, packages } => (files, entrypoint, packages),
    };
    let mut files = BTreeMap::new();
    for (path, content) in contents {
        files.insert(path, read(deps, &content).await?);
    }
    Ok(Sources { files, entry, packages })
}

fn single(content: Content) -> BTreeMap<String, Content> {
    BTreeMap::from([(SINGLE.to_owned(), content)])
}

/// One file with packages of these versions; without any it is the file alone.
pub fn packaged(content: Content, packages: BTreeMap<String, String>) -> Source {
    if packages.is_empty() {
        return Source::File(content);
    }
    Source::Files { files: single(content), entrypoint: SINGLE.to_owned(), packages }
}

async fn read(deps: &Deps, content: &Content) -> Result<Bytes, ActorError> {
    let checked = blobs::Checked { sha256: content.sha256.clone(), size_bytes: content.size };
    let bytes = blobs::read_content(&*deps.blobs, &checked).await;
    bytes.map_err(|e| {
        tracing::warn!(sha256 = %content.sha256, error = &e as &dyn std::error::Error, "source not read");
        ActorError::Unavailable("the object store")
    })
}
