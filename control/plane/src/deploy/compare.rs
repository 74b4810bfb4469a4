//! What a spec changes, seen from what is live.

use actors::deploy::{
    Anchor, Base, Effective, Parts, Spec, changed, deploy_problem, digest, effective, function_diff, misfit,
    parts_after, parts_of, route_diff, site_diff,
};
use actors::kit::ActorError;
use rest::expose::{self, ExposeError, IssueKind};
use rest::migrate::{Known, State};
use serde_json::Value;
use store::releases::{self, LiveProject};
use types::{Code, Problem, ProjectId, ReleaseId, Sha256Hex};

use super::plan::{MigrationPlan, MissingContent, Planned};
use super::spec::{ASSETS_MAX, invalid, too_many_names};
use super::warn;
use crate::Plane;
use crate::blob::AssetRef;
use crate::keys::store_problem;

/// SQL that is read to judge a manifest.
const SQL_READ_BYTES_MAX: u64 = 8 << 20;

/// Everything that a plan is computed from.
pub(super) struct Ground {
    pub live: LiveProject,
    pub base_release: Option<ReleaseId>,
    pub base: Parts,
    /// What visitors see now.
    pub shown: Parts,
    pub names: Vec<String>,
    /// Keys of the project's secrets.
    pub keys: Vec<String>,
}

impl Plane {
    pub(super) async fn ground(&self, spec: &Spec) -> Result<Ground, Problem> {
        let store = &self.deps().store;
        let live = releases::live_project_find(store, spec.project).await.map_err(store_problem)?;
        let live = live.filter(|live| live.is_ready).ok_or_else(|| {
            deploy_problem(Code::ProjectNotReady, "plan", "the project is being made or erased")
        })?;
        let base_release = match spec.base {
            Base::Release(Anchor::Current) => live.active_release,
            Base::Release(Anchor::Empty) if live.active_release.is_some() => {
                let message = "base is empty, but the project has a release";
                return Err(deploy_problem(Code::BaseReleaseConflict, "validate", message)
                    .extra("resource", "base.release"));
            }
            Base::Release(Anchor::Empty) => None,
            Base::ReleaseId(id) => Some(self.base_release(spec.project, id).await?),
        };
        let base = parts_of(store, base_release).await.map_err(ActorError::into_problem)?;
        let shown = match live.active_release {
            same if same == base_release => base.clone(),
            other => parts_of(store, other).await.map_err(ActorError::into_problem)?,
        };
        let names = store::subdomains::subdomain_list(store, spec.project).await.map_err(store_problem)?;
        let names = names.into_iter().map(|one| one.name).collect();
        let keys = store::function_secrets::function_secrets_list(store, spec.project).await;
        let keys = keys.map_err(store_problem)?.into_iter().map(|one| one.key).collect();
        Ok(Ground { live, base_release, base, shown, names, keys })
    }

    /// A release to build on: one that is or was live.
    async fn base_release(&self, project: ProjectId, id: ReleaseId) -> Result<ReleaseId, Problem> {
        let found = releases::release_find(&self.deps().store, id).await.map_err(store_problem)?;
        found
            .filter(|release| release.project == project)
            .filter(|release| matches!(release.status.as_str(), "active" | "superseded"))
            .map(|release| release.id)
            .ok_or_else(|| invalid("base.release_id", "the project has no such release"))
    }

    pub(super) async fn compare(&self, spec: &Spec, ground: &Ground) -> Result<Planned, Problem> {
        let (names_added, names_removed) = self.names(spec, ground).await?;
        let contents = self.contents(spec).await?;
        let Effective { spec: carried, manifest_applied } =
            effective(self.deps(), spec.clone()).await.map_err(ActorError::into_problem)?;
        let after =
            parts_after(&ground.base, &carried, &ground.shown.files).map_err(|unmade| misfit(&unmade))?;
        self.caps(spec, ground, &after).await?;
        let migrations = self.migrations(&carried).await?;
        let exposes = self.exposes(&carried, &migrations, &contents).await?;
        let site = site_diff(&ground.shown.files, &after.files);
        let functions = function_diff(&ground.shown.functions, &after.functions);
        let routes = route_diff(&ground.shown.routes, &after.routes);
        let (_, deletes) = spec.secret_keys();
        let (assets, assets_changed) = self.assets(spec).await?;
        let assets_deleted = self.assets_deleted(spec).await?;
        let same = site.is_empty()
            && functions.is_empty()
            && routes.is_empty()
            && names_added.is_empty()
            && names_removed.is_empty()
            && deletes.is_empty()
            && assets_changed == 0
            && assets_deleted.is_empty()
            && !exposes
            && migrations.iter().all(|m| !m.is_new);
        let warnings = warn::warnings(spec, ground, &after, &site, manifest_applied);
        Ok(Planned {
            ids: None,
            base_release: ground.base_release,
            digest: digest(spec),
            // Without a release there is always one to make.
            is_noop: same && ground.live.active_release.is_some(),
            contents,
            warnings,
            migrations,
            site,
            functions,
            routes,
            secrets_removed: deletes.to_vec(),
            names_added,
            names_removed,
            assets,
            assets_changed: assets_changed + assets_deleted.len(),
            assets_deleted,
            assets_synced: spec.assets.as_ref().map(|change| change.sync.clone()).unwrap_or_default(),
        })
    }

    /// Keys of blobs that go: by name, or because their folder is made to hold what is put and nothing else.
    async fn assets_deleted(&self, spec: &Spec) -> Result<Vec<String>, Problem> {
        let Some(change) = &spec.assets else { return Ok(Vec::new()) };
        let store = &self.deps().store;
        let mut gone = std::collections::BTreeSet::new();
        for key in &change.delete {
            let now = store::content::blob_find(store, spec.project, key).await.map_err(store_problem)?;
            gone.extend(now.map(|blob| blob.key));
        }
        let most = i64::try_from(ASSETS_MAX + change.put.len() + 1).unwrap_or(i64::MAX);
        for prefix in &change.sync {
            let found = store::content::blob_list(store, spec.project, (prefix, None), most).await;
            let found = found.map_err(store_problem)?.into_iter().map(|blob| blob.key);
            gone.extend(found.filter(|key| change.syncs_away(key)));
        }
        if gone.len() > ASSETS_MAX {
            return Err(invalid("assets", &format!("a deploy deletes {ASSETS_MAX} assets at most")));
        }
        Ok(gone.into_iter().collect())
    }

    /// The blobs of a spec as they will be, and how many of its puts change something.
    async fn assets(&self, spec: &Spec) -> Result<(Vec<AssetRef>, usize), Problem> {
        let Some(change) = &spec.assets else { return Ok((Vec::new(), 0)) };
        let (mut assets, mut changed) = (Vec::with_capacity(change.put.len()), 0);
        let hosts = self.asset_hosts(spec.project).await?;
        for put in &change.put {
            let now = store::content::blob_find(&self.deps().store, spec.project, &put.key).await;
            let same = now.map_err(store_problem)?.is_some_and(|now| {
                now.sha256 == put.sha256
                    && now.content_type == put.content_type
                    && (now.visibility, now.immutable) == (put.visibility, put.immutable)
            });
            changed += usize::from(!same);
            assets.push(AssetRef::new(&hosts, put.name(), &put.sha256, (put.size, put.content_type.clone())));
        }
        Ok((assets, changed))
    }

    /// Names that come and go.
    async fn names(&self, spec: &Spec, ground: &Ground) -> Result<(Vec<String>, Vec<String>), Problem> {
        let Some(change) = &spec.subdomains else { return Ok((Vec::new(), Vec::new())) };
        let after = change.apply(&ground.names);
        let added: Vec<String> = after.iter().filter(|name| !ground.names.contains(name)).cloned().collect();
        let removed = ground.names.iter().filter(|name| !after.contains(name)).cloned().collect();
        if !added.is_empty() && after.len() > 1 {
            return Err(too_many_names());
        }
        for name in &added {
            let held =
                store::subdomains::subdomain_find(&self.deps().store, name).await.map_err(store_problem)?;
            if held.is_some() {
                let message = format!("{name} belongs to another project");
                return Err(deploy_problem(Code::DeploySubdomainTaken, "validate", message)
                    .extra("resource", format!("subdomains.{name}")));
            }
        }
        Ok((added, removed))
    }

    /// Every distinct reference of the spec, once.
    pub(super) async fn contents(&self, spec: &Spec) -> Result<Vec<MissingContent>, Problem> {
        let placed = spec.needs();
        let mut wanted: Vec<(Sha256Hex, u64)> =
            placed.iter().map(|(sha256, size, _)| (Sha256Hex::clone(sha256), *size)).collect();
        wanted.sort();
        wanted.dedup();
        let names: Vec<Sha256Hex> = wanted.iter().map(|(sha256, _)| sha256.clone()).collect();
        let held = store::content::content_held(&self.deps().store, spec.project, &names).await;
        let held = held.map_err(store_problem)?;
        for (sha256, size, place) in &placed {
            let known = held.get(*sha256).copied();
            let told = wanted.binary_search_by(|(other, _)| other.cmp(sha256));
            let told = told.ok().map(|at| wanted[at].1);
            if known.or(told).is_some_and(|known| known != *size) {
                return Err(invalid(&format!("{place}.size"), "this content has another size"));
            }
        }
        let missing = |(sha256, size_bytes): (Sha256Hex, u64)| {
            let present = held.contains_key(&sha256);
            MissingContent { sha256, size_bytes, present }
        };
        Ok(wanted.into_iter().map(missing).collect())
    }

    /// The spec's migrations beside the registry in the project's database.
    pub(super) async fn migrations(&self, spec: &Spec) -> Result<Vec<MigrationPlan>, Problem> {
        if spec.migrations().is_empty() {
            return Ok(Vec::new());
        }
        let slot = self.project_slot(spec.project).await?;
        let known = rest::migrate::known(&self.deps().cells, &slot).await;
        let known = known.map_err(|e| deploy_again(e.into_problem()))?;
        let find = |id: &str| known.iter().find(|k: &&Known| k.id == id && k.state == State::Applied);
        let mut planned = Vec::with_capacity(spec.migrations().len());
        for migration in spec.migrations() {
            let before = find(&migration.id);
            if before.is_some_and(|before| before.checksum != migration.checksum) {
                return Err(changed(&migration.id));
            }
            planned.push(MigrationPlan {
                id: migration.id.clone(),
                checksum: migration.checksum.clone(),
                transaction: migration.transaction,
                is_new: before.is_none(),
            });
        }
        Ok(planned)
    }

    /// Whether a manifest changes what is exposed. Refuses one that certainly does not fit.
    pub(super) async fn exposes(
        &self,
        spec: &Spec,
        migrations: &[MigrationPlan],
        contents: &[MissingContent],
    ) -> Result<bool, Problem> {
        let Some(body) = spec.database.as_ref().and_then(|database| database.expose.as_ref()) else {
            return Ok(false);
        };
        let manifest = expose::parse(body).map_err(manifest_problem)?;
        let slot = self.project_slot(spec.project).await?;
        let present = |sha256: &Sha256Hex| contents.iter().any(|c| c.present && c.sha256 == *sha256);
        let new = |id: &str| migrations.iter().any(|m| m.is_new && m.id == id);
        let texts: Vec<_> = spec.migrations().iter().filter(|m| new(&m.id)).collect();
        if texts.iter().any(|m| !present(&m.sql_ref.sha256)) {
            return Ok(true);
        }
        let sql = self.sql_of(&texts).await?;
        self.manifest_fits(spec.project, body, sql.as_deref()).await?;
        if !texts.is_empty() {
            return Ok(true);
        }
        let applied = expose::read(&self.deps().cells, &slot).await;
        let applied = applied.map_err(|e| deploy_again(e.into_problem()))?;
        Ok(applied.introspected || applied.manifest != manifest)
    }

    /// The text of several migrations as one; none when there are none, or when it would be too long to judge.
    async fn sql_of(&self, migrations: &[&actors::deploy::Migration]) -> Result<Option<String>, Problem> {
        let size: u64 = migrations.iter().map(|m| m.sql_ref.size).sum();
        if migrations.is_empty() || size > SQL_READ_BYTES_MAX {
            return Ok(None);
        }
        let mut text = String::new();
        for migration in migrations {
            let key = blobs::cas_key(&migration.sql_ref.sha256);
            let limit = usize::try_from(migration.sql_ref.size).unwrap_or(usize::MAX);
            let bytes = blobs::read_all(&*self.deps().blobs, &key, limit).await;
            text.push_str(&String::from_utf8_lossy(&bytes.map_err(crate::content::storage_problem)?));
            text.push_str("\n;\n");
        }
        Ok(Some(text))
    }

    /// A migration is only read here, never run: what it may still make is given the benefit of the doubt.
    async fn manifest_fits(
        &self,
        project: ProjectId,
        body: &Value,
        migration: Option<&str>,
    ) -> Result<(), Problem> {
        let slot = self.project_slot(project).await?;
        let found = expose::validate(Some((&self.deps().cells, &slot)), body, migration).await;
        let found = found.map_err(|e| deploy_again(e.into_problem()))?;
        let sure = !found.warnings.iter().any(|issue| issue.kind == IssueKind::ValidationInconclusive);
        if sure && !found.errors.is_empty() { Err(manifest_problem(found)) } else { Ok(()) }
    }
}

fn manifest_problem(issues: expose::Issues) -> Problem {
    let told = ExposeError::Invalid(issues).into_problem();
    let mut problem = deploy_problem(Code::InvalidManifest, "validate", told.message);
    problem.extra.extend(told.extra);
    problem.extra("resource", "database.expose")
}

/// Deploy clients drop the status and read the words, so they are always said.
fn deploy_again(problem: Problem) -> Problem {
    let retryable = problem.code.retryable();
    problem.extra("phase", "plan").extra("safe_to_retry", true).extra("retryable", retryable)
}
