//! Publishing: what a project is, taken down as a version.

use std::collections::BTreeMap;

use actors::deploy::{
    Anchor, Base, Content, Database, FunctionChange, FunctionSpec, Parts, SiteChange, Source, Spec, parts_of,
};
use actors::kit::ActorError;
use billing::Limits;
use rest::structure::Structure;
use serde_json::Value;
use store::apps::{Version, VersionContent, Visibility};
use types::{AppVersionId, Code, Problem, ProjectId, Tier};

use super::{VERSIONS_MAX, bad, words};
use crate::Plane;
use crate::caller::Caller;
use crate::deploy::{times, too_often};
use crate::keys::store_problem;

/// The function that a fork calls once.
pub(super) const BOOTSTRAP: &str = "bootstrap";
/// Among that function's files: which variables it reads.
const VARIABLES_FILE: &str = "bootstrap.json";
const VARIABLES_BYTES_MAX: u64 = 64 << 10;

/// What a publisher says.
#[derive(Debug, Clone, Default)]
pub struct PublishRequest {
    pub description: Option<String>,
    pub tags: Vec<String>,
    /// Private unless said otherwise.
    pub visibility: Option<Visibility>,
    pub fork_allowed: bool,
}

impl Plane {
    /// Takes the project down as its next version: schema, manifest, and the live release.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; the lifecycle's refusals; `BAD_VERSION`; `VERSION_LIMIT_EXCEEDED`;
    /// `RESULT_TOO_LARGE` for a schema of more than 3.5 MiB; `UNAVAILABLE` when the database does not answer.
    ///
    /// # Source
    /// Wire contract 02 section 9.
    pub async fn app_publish(
        &self,
        caller: &Caller,
        project: ProjectId,
        asked: PublishRequest,
    ) -> Result<Version, Problem> {
        self.version_changer(caller, project).await?;
        let tags = words::tags(asked.tags)?;
        let description = asked.description.map(words::description).transpose()?;
        self.data_call(project).await?;
        let deps = self.deps();
        let live = self.project_live(project).await?;
        let parts = parts_of(&deps.store, live.active_release).await.map_err(ActorError::into_problem)?;
        let slot = self.project_slot(project).await?;
        let structure = rest::structure::read(&deps.cells, &slot).await;
        let structure = structure.map_err(rest::expose::ExposeError::into_problem)?;
        let secrets = store::function_secrets::function_secrets_list(&deps.store, project).await;
        let secrets: Vec<String> = secrets.map_err(store_problem)?.into_iter().map(|one| one.key).collect();
        let size = i32_of;
        let version = Version {
            id: AppVersionId::new(&*deps.entropy),
            project,
            number: 0,
            name: live.name,
            description,
            tags,
            visibility: asked.visibility.unwrap_or(Visibility::Private),
            fork_allowed: asked.fork_allowed,
            min_tier: self.tier_needed(&parts),
            release: live.active_release,
            table_count: size(structure.tables),
            function_count: size(parts.functions.len()),
            site_file_count: size(parts.files.len()),
            site_total_bytes: total_bytes(&parts),
            required_secrets: secrets,
            compatibility_warnings: warnings(&structure, &parts),
            bootstrap_variables: self.bootstrap_variables(&parts).await?,
            created_at: self.now(),
            public_id: live.public_id,
            subdomain: None,
            is_live: false,
        };
        let content = VersionContent {
            spec: stored(&spec(project, parts, &structure)?)?,
            structure: structure.sql,
            structure_schema: structure.schema,
        };
        let id = self.version_store(&version, &content).await?;
        let found = store::apps::version_find(&deps.store, id).await.map_err(store_problem)?;
        found.ok_or_else(|| super::no_version(id))
    }

    async fn version_store(
        &self,
        version: &Version,
        content: &VersionContent,
    ) -> Result<AppVersionId, Problem> {
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let published = store::apps::version_publish(&mut tx, version, content, VERSIONS_MAX).await;
        let Some(number) = published.map_err(store_problem)? else {
            let text = format!("a project may have {VERSIONS_MAX} versions");
            return Err(Problem::new(Code::VersionLimitExceeded, text).detail("limit", VERSIONS_MAX));
        };
        tx.commit().await.map_err(store_problem)?;
        let visibility = version.visibility.as_str();
        tracing::info!(project.id = %version.project, version.id = %version.id, number, visibility, "app published");
        Ok(version.id)
    }

    /// The smallest tier that can run it.
    fn tier_needed(&self, parts: &Parts) -> Tier {
        let fits = |tier: &Tier| fits(parts, &self.deps().prices.limits(*tier));
        Tier::ALL.into_iter().find(fits).unwrap_or(Tier::Team)
    }

    /// The list that the bootstrap function has among its files.
    ///
    /// # Source
    /// Wire contract 02, open question 17.
    async fn bootstrap_variables(&self, parts: &Parts) -> Result<Option<Value>, Problem> {
        let Some(function) = parts.functions.get(BOOTSTRAP) else { return Ok(None) };
        let Ok(Source::Files { files, .. }) = serde_json::from_value(function.source.clone()) else {
            return Ok(None);
        };
        let Some(file) = files.get(VARIABLES_FILE).filter(|file| file.size <= VARIABLES_BYTES_MAX) else {
            return Ok(None);
        };
        let limit = usize::try_from(file.size).unwrap_or(usize::MAX);
        let bytes = blobs::read_all(&*self.deps().blobs, &blobs::cas_key(&file.sha256), limit).await;
        let text = bytes.map_err(crate::content::storage_problem)?;
        let list: Option<Vec<Value>> = serde_json::from_slice(&text).ok();
        let is_variable = |one: &Value| one.get("name").is_some_and(Value::is_string);
        let list = list.filter(|list| list.iter().all(is_variable)).ok_or_else(|| {
            bad(VARIABLES_FILE, "a list of objects with a name is needed, such as [{\"name\": \"title\"}]")
        })?;
        // A NUL cannot be stored, and is no part of a name.
        if String::from_utf8_lossy(&text).contains("\\u0000") {
            return Err(bad(VARIABLES_FILE, "it holds a NUL character"));
        }
        Ok(Some(list.into()))
    }
}

/// Everything of the release as a spec for a new project.
fn spec(project: ProjectId, parts: Parts, structure: &Structure) -> Result<Spec, Problem> {
    let unread = || Problem::new(Code::Internal, "the stored source of a function cannot be read");
    let functions = parts.functions.into_iter().map(|(name, function)| {
        let source: Source = serde_json::from_value(function.source).map_err(|_| unread())?;
        let function = FunctionSpec {
            runtime: Some(function.runtime),
            source: Some(source),
            timeout_seconds: Some(function.timeout_seconds),
            memory_mb: Some(function.memory_mb),
            schedule: function.schedule.map(Some),
            triggers: (!function.triggers.is_empty()).then_some(function.triggers),
        };
        Ok((name, function))
    });
    let functions = functions.collect::<Result<BTreeMap<_, _>, Problem>>()?;
    let site = parts.files.into_iter().map(|(path, file)| {
        let content = Content { sha256: file.sha256, size: file.size_bytes, content_type: file.content_type };
        (path, content)
    });
    let expose = structure.manifest.as_ref().map(serde_json::to_value).transpose();
    let expose = expose.map_err(|_| Problem::new(Code::Internal, "the manifest could not be stored"))?;
    Ok(Spec {
        project,
        base: Base::Release(Anchor::Current),
        database: expose.map(|expose| Database { expose: Some(expose), ..Database::default() }),
        secrets: None,
        functions: (!functions.is_empty()).then_some(FunctionChange::Replace(functions)),
        site: Some(SiteChange::Replace(site.collect())),
        subdomains: None,
        assets: None,
        routes: (!parts.routes.is_empty()).then_some(parts.routes),
        checks: Vec::new(),
    })
}

pub(super) fn stored(spec: &Spec) -> Result<Value, Problem> {
    serde_json::to_value(spec).map_err(|_| Problem::new(Code::Internal, "the spec could not be stored"))
}

fn fits(parts: &Parts, limits: &Limits) -> bool {
    let functions = parts.functions.values();
    let scheduled = functions.clone().map(times).sum();
    let least = limits.schedule_interval_min_secs / 60;
    i64_of(parts.functions.len()) <= limits.functions
        && i64_of(scheduled) <= limits.scheduled_functions
        && total_bytes(parts) <= limits.storage_bytes
        && functions.into_iter().all(|function| {
            i64::from(function.timeout_seconds) <= limits.function_timeout_secs
                && i64::from(function.memory_mb) <= limits.function_memory_mb
                && too_often(function, least).is_none()
        })
}

fn warnings(structure: &Structure, parts: &Parts) -> Vec<String> {
    let left_out = structure.left_out.iter().map(|one| format!("not part of the version: {one}"));
    let empty = (structure.sql.is_none() && *parts == Parts::default())
        .then(|| "the project has neither tables nor a release".to_owned());
    left_out.chain(empty).collect()
}

fn total_bytes(parts: &Parts) -> i64 {
    let total = parts.files.values().map(|file| file.size_bytes).fold(0, u64::saturating_add);
    i64::try_from(total).unwrap_or(i64::MAX)
}

fn i64_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn i32_of(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
