//! E08: a deploy that is killed at any of its writes is resumed or not begun, and never half live.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blobs::{BlobError, BlobStream, Blobs, PutGrant};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use store::cells::CellConfig;
use store::content::{self, ContentPlan, Room, Upload, UploadState};
use store::deploys::{self, Plan, Status};
use store::projects::{self, NewProject, Phase};
use store::releases::Route;
use store::{Claimed, Fence, StoreError};
use types::{
    AccountId, ContentPlanId, OperationId, OsEntropy, PlanId, ProjectId, Sha256Hex, TraceId, UploadId, Wallet,
};

use super::{
    Anchor, Base, Check, Content, Database, Deploy, FunctionChange, FunctionSpec, Migration, Request,
    SiteChange, Source, Spec, State, Transaction, digest,
};
use crate::kit::{ActorError, Kind};
use crate::testing::{Node, TenantServer, World, eventually};

const CALL: Duration = Duration::from_secs(20);

/// Where a process may die: a write, and the condition that picks it out.
const WRITES: [(&str, &str, &str); 12] = [
    ("deploy_operations", "update", "new.status = 'committing'"),
    ("deploy_events", "insert", "new.event->>'phase' = 'validate' and new.event->>'status' = 'started'"),
    ("outbox", "insert", "new.topic = 'deploy.step'"),
    ("deploy_operations", "update", "new.status = 'staging'"),
    ("releases", "insert", "true"),
    ("release_files", "insert", "true"),
    ("release_functions", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'activating'"),
    ("releases", "update", "new.status = 'active'"),
    ("projects", "update", "new.active_release is distinct from old.active_release"),
    ("deploy_operations", "update", "new.status = 'ready'"),
    ("deploy_events", "insert", "new.event->>'type' = 'ready'"),
];

/// The same for a deploy that changes the database, in the control database.
const DATABASE_WRITES: [(&str, &str, &str); 11] = [
    ("deploy_operations", "update", "new.status = 'gating'"),
    ("deploy_gates", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'migrating'"),
    ("project_migrations", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'schema_settling'"),
    ("deploy_gates", "update", "not new.blocks_data"),
    ("deploy_operations", "update", "new.status = 'activating'"),
    ("releases", "update", "new.names is not null"),
    ("releases", "update", "new.status = 'active'"),
    ("projects", "update", "new.active_release is distinct from old.active_release"),
    ("deploy_operations", "update", "new.status = 'ready'"),
];

/// How it dies there: the statement is refused, or the connection is cut in the middle of it.
const DEATHS: [&str; 2] =
    ["raise exception 'fault'", "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5)"];

struct Site {
    world: World,
    cell: Option<(TenantServer, CellConfig)>,
    contents: Arc<Contents>,
    breaker: PgConnection,
    project: ProjectId,
    account: AccountId,
}

/// An object store in memory.
#[derive(Default)]
struct Contents(Mutex<HashMap<String, Bytes>>);

#[async_trait::async_trait]
impl Blobs for Contents {
    async fn presign_put(&self, _: &PutGrant) -> Result<String, BlobError> {
        Err(BlobError::NotFound)
    }
    async fn head(&self, key: &str) -> Result<Option<u64>, BlobError> {
        Ok(self.0.lock().unwrap().get(key).map(|bytes| bytes.len() as u64))
    }
    async fn get(&self, key: &str, _: Option<Range<u64>>) -> Result<BlobStream, BlobError> {
        let bytes = self.0.lock().unwrap().get(key).cloned().ok_or(BlobError::NotFound)?;
        Ok(futures::stream::iter([Ok(bytes)]).boxed())
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.0.lock().unwrap().insert(key.to_owned(), bytes);
        Ok(())
    }
    async fn copy(&self, _: &str, _: &str) -> Result<(), BlobError> {
        Ok(())
    }
    async fn delete(&self, _: &str) -> Result<(), BlobError> {
        Ok(())
    }
}

impl Site {
    async fn start() -> (Self, Node) {
        Self::begin(None).await
    }

    /// A project with a database of its own: each of its deploys brings a migration.
    async fn with_database() -> (Self, Node) {
        Self::begin(Some(World::cell())).await
    }

    async fn node(&self) -> Node {
        let cells = self.cell.iter().map(|(_, config)| config.clone()).collect();
        self.world.node_with(cells, self.contents.clone()).await
    }

    async fn begin(cell: Option<(TenantServer, CellConfig)>) -> (Self, Node) {
        let (world, contents) = (World::start().await, Arc::<Contents>::default());
        let cells = cell.iter().map(|(_, config)| config.clone()).collect();
        let node = world.node_with(cells, contents.clone()).await;
        let breaker = PgConnection::connect(&world.database_url()).await.unwrap();
        let fresh = AccountId::new(&OsEntropy);
        let account =
            store::accounts::account_of_wallet_ensure(&world.store, Wallet([1; 20]), fresh, world.now());
        let account = account.await.unwrap();
        let project = ProjectId::new(&OsEntropy);
        let new = NewProject { id: project, account, name: "site".into(), public_id: "aaaaaa1".into() };
        let mut tx = world.store.begin().await.unwrap();
        projects::project_insert(&mut tx, &new, world.now()).await.unwrap();
        tx.commit().await.unwrap();
        if cell.is_some() {
            let made = node.actors().project.call(project, crate::project::Request::Provision, CALL).await;
            made.unwrap();
        } else {
            let fence = claim(&node, "project", project.0).await;
            let mut tx = world.store.fenced(&fence).await.unwrap();
            let (from, to) = (Phase::Provisioning, Phase::Ready);
            projects::project_move(&mut tx, project, (from, to), world.now()).await.unwrap();
            tx.commit().await.unwrap();
        }
        (Self { world, cell, contents, breaker, project, account }, node)
    }

    /// A superuser's way into the project's database.
    async fn inside(&self) -> PgConnection {
        let (server, _) = self.cell.as_ref().expect("a site with a database");
        let slot = store::cells::slot_of(&self.world.store, self.project).await.unwrap().unwrap();
        PgConnection::connect(&server.url(&slot.schema())).await.unwrap()
    }

    /// The migration of a plan: it runs once, or its second run fails.
    async fn migration(&self, n: u8) -> Option<Database> {
        self.cell.as_ref()?;
        let sql = format!("create table t_{n} (n int); insert into t_{n} values (1)");
        let sha256 = Sha256Hex::from_bytes(Sha256::digest(&sql).into());
        self.contents.put(&blobs::cas_key(&sha256), sql.clone().into()).await.unwrap();
        self.hold(&sha256, sql.len() as u64).await;
        let (size, content_type) = (sql.len() as u64, "application/sql".to_owned());
        let migration = Migration {
            id: format!("m{n}"),
            checksum: sha256.to_string(),
            sql_ref: Content { sha256, size, content_type },
            transaction: Transaction::Required,
        };
        Some(Database { migrations: vec![migration], expose: None, zero_downtime: false })
    }

    async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.breaker).await.unwrap();
    }

    async fn count(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(format!("select count(*) from {sql}"));
        sqlx::raw_sql(sql).fetch_one(&mut self.breaker).await.unwrap().get(0)
    }

    /// From now on that write kills its writer.
    async fn break_at(&mut self, (table, verb, condition): (&str, &str, &str), death: &str) {
        let sql = format!(
            "create or replace function fault() returns trigger language plpgsql as $$
               begin if {condition} then {death}; end if; return new; end $$;
             create trigger fault before {verb} on {table} for each row execute function fault()"
        );
        self.run(sql).await;
    }

    async fn mend(&mut self, table: &str) {
        self.run(format!("drop trigger fault on {table}")).await;
    }

    /// A plan whose only file has a digest of its own, which the project holds.
    async fn plan(&self, n: u8) -> Plan {
        let (world, now) = (&self.world, self.world.now());
        let sha256 = Sha256Hex::from_bytes([n; 32]);
        self.hold(&sha256, 1).await;
        let content = Content { sha256, size: 1, content_type: "text/html".into() };
        let function =
            FunctionSpec { source: Some(Source::File(content.clone())), ..FunctionSpec::default() };
        let files = BTreeMap::from([("index.html".to_owned(), content)]);
        let spec = Spec {
            project: self.project,
            base: Base::Release(Anchor::Current),
            database: self.migration(n).await,
            secrets: None,
            functions: Some(FunctionChange::Replace(BTreeMap::from([("api".to_owned(), function)]))),
            site: Some(SiteChange::Replace(files)),
            subdomains: None,
            routes: Some(vec![Route { pattern: "/api/*".into(), methods: None, target: "api".into() }]),
            checks: vec![Check {
                name: "home".into(),
                path: Some("/".into()),
                method: "GET".into(),
                status: 200,
            }],
        };
        let live = projects::project_fetch(&world.store, self.project).await.unwrap().active_release;
        let plan = Plan {
            id: PlanId::new(&OsEntropy),
            project: self.project,
            operation: OperationId::new(&OsEntropy),
            base_release: live,
            active_release: live,
            digest: digest(&spec),
            spec: serde_json::to_value(&spec).unwrap(),
            idempotency_key: None,
            is_noop: false,
            created_by: "0xabc".into(),
            ci_binding: None,
            created_at: now,
            expires_at: now + chrono::TimeDelta::hours(1),
        };
        let mut tx = world.store.begin().await.unwrap();
        deploys::plan_create(&mut tx, &plan, &[]).await.unwrap();
        tx.commit().await.unwrap();
        plan
    }

    async fn hold(&self, sha256: &Sha256Hex, size_bytes: u64) {
        let (store, now) = (&self.world.store, self.world.now());
        let later = now + chrono::TimeDelta::hours(1);
        let id = ContentPlanId::new(&OsEntropy);
        let plan =
            ContentPlan { id, project: self.project, ci_binding: None, created_at: now, expires_at: later };
        let upload = Upload {
            id: UploadId::new(&OsEntropy),
            project: self.project,
            content_plan: Some(id),
            staging_key: "x".into(),
            sha256: sha256.clone(),
            size_bytes,
            content_type: None,
            state: UploadState::Open,
            created_at: now,
            expires_at: later,
        };
        let mut tx = store.begin().await.unwrap();
        content::content_plan_create(&mut tx, &plan, std::slice::from_ref(&upload)).await.unwrap();
        content::content_lock(&mut tx, sha256, size_bytes, now).await.unwrap();
        content::content_take(&mut tx, &upload, Room { bytes_max: 1 << 20 }, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn schema(&self) -> String {
        store::cells::slot_of(&self.world.store, self.project).await.unwrap().unwrap().schema()
    }

    async fn status(&self, plan: &Plan) -> Status {
        deploys::operation_find(&self.world.store, plan.operation).await.unwrap().unwrap().status
    }

    /// What must hold at any time: the pointer and the releases tell the same, and a finished operation is
    /// the one that shows.
    async fn check(&mut self, plan: &Plan) {
        let live = projects::project_fetch(&self.world.store, self.project).await.unwrap().active_release;
        let (id, project) = (plan.operation.0, self.project.0);
        let active =
            self.count(&format!("releases where project_id = '{project}' and status = 'active'")).await;
        assert_eq!(active, i64::from(live.is_some()), "one live release or none");
        if let Some(live) = live {
            let sql = format!("releases where id = '{}' and status = 'active'", live.0);
            assert_eq!(self.count(&sql).await, 1, "the pointer names the live one");
        }
        let made = self.count(&format!("releases where operation_id = '{id}'")).await;
        let files = self
            .count(&format!(
                "release_files f join releases r on r.id = f.release_id where operation_id = '{id}'"
            ))
            .await;
        assert!(made <= 1 && files == made, "{made} releases of one operation, {files} files");
        let told = format!("deploy_events where operation_id = '{id}' and event->>'type' = 'ready'");
        let (ready, status) = (self.count(&told).await, self.status(plan).await);
        assert_eq!(ready, i64::from(status == Status::Ready), "{status:?}");
        if status == Status::Ready {
            let operation =
                deploys::operation_find(&self.world.store, plan.operation).await.unwrap().unwrap();
            assert_eq!(operation.release, live);
            let repeated = format!(
                "(select from deploy_events where operation_id = '{id}' and event->>'status' <> 'failed'
                  and event->>'phase' <> 'activate' group by event having count(*) > 1) x"
            );
            assert_eq!(self.count(&repeated).await, 0, "no step was told twice");
        }
    }

    async fn load(&self, node: &Node, plan: &Plan, fence: &Fence) -> State {
        Deploy::load(&node.deps, plan.operation, fence.clone()).await.unwrap()
    }
}

async fn claim(node: &Node, kind: &'static str, entity: uuid::Uuid) -> Fence {
    match node.deps.store.claim(kind, entity, node.deps.node).await.unwrap() {
        Claimed::Ours(fence) => fence,
        Claimed::Theirs(peer) => panic!("held by {peer:?}"),
    }
}

async fn ask(node: &Node, plan: &Plan, request: Request) -> Result<(), ActorError> {
    node.actors().deploy.call(plan.operation, request, CALL).await
}

fn commit() -> Request {
    Request::Commit { trace: TraceId::new(&OsEntropy) }
}

/// Asks again until the operation is ready: what a client, the outbox and the sweep do.
async fn until_ready(site: &Site, node: &Node, plan: &Plan) {
    let reached = async || {
        let _ = ask(node, plan, commit()).await; // An answer that was lost is not the end.
        let _ = ask(node, plan, Request::Step).await;
        site.status(plan).await == Status::Ready
    };
    assert!(eventually(reached).await, "still {:?}", site.status(plan).await);
}

// E08. Goal: dying at any write, in any way, costs nothing but time. Method: break each write of a deploy, try,
// look, mend, go on; every second time on another node.
#[tokio::test]
async fn a_deploy_killed_at_any_write_goes_live_once_or_not_yet() {
    let (site, node) = Site::start().await;
    killed_at(site, node, &WRITES).await;
}

// E08. Goal: the same for gate, migration and settling. Method: the same; each migration fails when it runs twice.
#[tokio::test]
async fn a_deploy_with_a_migration_killed_at_any_write_runs_it_once() {
    let (site, node) = Site::with_database().await;
    killed_at(site, node, &DATABASE_WRITES).await;
}

async fn killed_at(mut site: Site, mut node: Node, writes: &[(&str, &str, &str)]) {
    let mut n = 0;
    for death in DEATHS {
        for write in writes.iter().copied() {
            n += 1;
            let plan = site.plan(n).await;
            let before = projects::project_fetch(&site.world.store, site.project).await.unwrap();
            site.break_at(write, death).await;
            for request in [commit(), Request::Step] {
                let _ = ask(&node, &plan, request).await; // Refused, put off or lost: the rows say which.
                site.check(&plan).await;
            }
            let status = site.status(&plan).await;
            assert_ne!(status, Status::Ready, "{write:?} was not hit");
            assert_ne!(status, Status::Failed, "{write:?}: a passing fault is no verdict");
            if n % 2 == 0 {
                node.stop().await;
                node = site.node().await;
            }
            site.mend(write.0).await;
            until_ready(&site, &node, &plan).await;
            site.check(&plan).await;
            let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
            assert_ne!(after.active_release, before.active_release, "{write:?}");
            assert_eq!(site.count("deploy_gates").await, 0, "{write:?}: the gate was given back");
            if site.cell.is_some() {
                let sql = AssertSqlSafe(format!("select count(*) from {}.t_{n}", site.schema().await));
                let row = sqlx::raw_sql(sql).fetch_one(&mut site.inside().await).await.unwrap();
                assert_eq!(row.get::<i64, _>(0), 1, "{write:?}: the migration ran once");
            }
        }
    }
    node.stop().await;
}

// E08. Goal: a project's database that fails or goes away in the middle of the work. Method: in that database
// break the registry's row, first by a refusal, then by a cut; and break the migration itself.
#[tokio::test]
async fn a_database_that_fails_in_the_middle_is_rolled_back_or_asked_again() {
    let (site, node) = Site::with_database().await;
    let mut inside = site.inside().await;
    for (n, death) in DEATHS.iter().enumerate() {
        let n = u8::try_from(n).unwrap() + 1;
        let plan = site.plan(n).await;
        // With the rights of its owner: a tenant may not end sessions.
        let fault = format!(
            "create function internal.fault() returns trigger language plpgsql security definer as $$
               begin {death}; return new; end $$;
             create trigger fault before insert on internal.deploy_migrations for each row
               execute function internal.fault()"
        );
        sqlx::raw_sql(AssertSqlSafe(fault)).execute(&mut inside).await.unwrap();
        for request in [commit(), Request::Step] {
            ask(&node, &plan, request).await.unwrap();
            assert_eq!(site.status(&plan).await, Status::Migrating, "{death}: it waits, with the gate");
        }
        let mend = "drop trigger fault on internal.deploy_migrations; drop function internal.fault()";
        sqlx::raw_sql(mend).execute(&mut inside).await.unwrap();
        until_ready(&site, &node, &plan).await;
        let sql = AssertSqlSafe(format!("select count(*) from {}.t_{n}", site.schema().await));
        assert_eq!(sqlx::raw_sql(sql).fetch_one(&mut inside).await.unwrap().get::<i64, _>(0), 1, "{death}");
    }
    let plan = site.plan(9).await;
    let taken = AssertSqlSafe(format!("create table {}.t_9 (n int)", site.schema().await));
    sqlx::raw_sql(taken).execute(&mut inside).await.unwrap();
    let before = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    ask(&node, &plan, commit()).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, plan.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::RolledBack);
    assert_eq!(operation.error.unwrap()["code"], json!("MIGRATION_FAILED"));
    let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    assert_eq!(after.active_release, before.active_release);
    let made = operation.target_release.unwrap();
    let made = store::releases::release_find(&site.world.store, made).await.unwrap().unwrap();
    assert_eq!(made.status, "failed");
    assert_eq!(store::deploys::gate_find(&site.world.store, site.project).await.unwrap(), None);
    node.stop().await;
}

// E08. Goal: a migration outside of a transaction that was cut off is never run again by itself. Method: leave the
// mark of a run that died; go on; deploy the same again as a new operation.
#[tokio::test]
async fn a_bare_migration_that_was_cut_off_waits_for_a_person() {
    let (mut site, node) = Site::with_database().await;
    let bare = "update deploy_plans set spec =
        jsonb_set(spec, '{database,migrations,0,transaction}', '\"none\"')";
    let plan = site.plan(1).await;
    site.run(bare.to_owned()).await;
    let mark = format!(
        "insert into internal.deploy_migrations (id, checksum, state, operation)
         values ('m1', 'x', 'started', '{}')",
        plan.operation
    );
    sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut site.inside().await).await.unwrap();
    ask(&node, &plan, commit()).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, plan.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::NeedsRepair);
    let error = operation.error.unwrap();
    assert_eq!((&error["code"], &error["mutation_state"]), (&json!("MIGRATION_FAILED"), &json!("partial")));
    assert_eq!(store::deploys::gate_find(&site.world.store, site.project).await.unwrap(), None);

    let again = site.plan(1).await;
    site.run(bare.to_owned()).await;
    until_ready(&site, &node, &again).await;
    let sql = AssertSqlSafe(format!("select count(*) from {}.t_1", site.schema().await));
    let row = sqlx::raw_sql(sql).fetch_one(&mut site.inside().await).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
    node.stop().await;
}

// E08, E06. Goal: a step that was done is not done again, and an older owner writes nothing. Method: stop before
// each step, load the state twice, let one go on and then the other: once under the same claim (its memory is
// old), once under an older claim.
#[tokio::test]
async fn each_step_done_twice_or_by_a_stale_owner_changes_nothing() {
    let (site, node) = Site::start().await;
    done_twice(site, node, &["committing", "staging", "activating", "ready"]).await;
}

// E08, E06. Goal: the same for the steps that change the database: what had been committed there is found.
#[tokio::test]
async fn each_step_of_a_migration_done_twice_or_by_a_stale_owner_changes_nothing() {
    let (site, node) = Site::with_database().await;
    let stops = ["committing", "staging", "gating", "migrating", "schema_settling", "activating", "ready"];
    done_twice(site, node, &stops).await;
}

async fn done_twice(mut site: Site, node: Node, stops: &[&str]) {
    let mut n = 100;
    for stop in stops {
        for older_claim in [false, true] {
            n += 1;
            let plan = site.plan(n).await;
            let condition = format!("new.status = '{stop}'");
            let write = ("deploy_operations", "update", condition.as_str());
            site.break_at(write, DEATHS[0]).await;
            let fence = claim(&node, "deploy", plan.operation.0).await;
            let mut first = site.load(&node, &plan, &fence).await;
            Deploy::handle(&node.deps, &mut first, commit()).await.unwrap_err();
            site.mend("deploy_operations").await;

            let mut stale = site.load(&node, &plan, &fence).await;
            let fence = match older_claim {
                true => claim(&node, "deploy", plan.operation.0).await,
                false => fence,
            };
            let mut fresh = site.load(&node, &plan, &fence).await;
            assert_eq!(stale.operation.status, fresh.operation.status);
            Deploy::handle(&node.deps, &mut fresh, commit()).await.unwrap();
            assert_eq!(site.status(&plan).await, Status::Ready, "{stop}");
            site.check(&plan).await;
            let rows = facts(&mut site, &plan).await;

            let refused = Deploy::handle(&node.deps, &mut stale, commit()).await.unwrap_err();
            let known = match older_claim {
                true => matches!(&refused, ActorError::Store(StoreError::Fenced)),
                false => matches!(&refused, ActorError::Store(StoreError::Stale(_))),
            };
            assert!(known && refused.doubts_memory(), "{stop}, older claim {older_claim}: {refused:?}");
            assert_eq!(facts(&mut site, &plan).await, rows, "{stop}");
            site.check(&plan).await;
            // Repeating what is finished is an answer, not a second run.
            Deploy::handle(&node.deps, &mut fresh, commit()).await.unwrap();
            Deploy::handle(&node.deps, &mut fresh, Request::Step).await.unwrap();
            assert_eq!(facts(&mut site, &plan).await, rows, "{stop}");
        }
    }
    node.stop().await;
}

/// All that a deploy writes, as one text.
async fn facts(site: &mut Site, plan: &Plan) -> Value {
    let (id, project) = (plan.operation.0, site.project.0);
    let sql = format!(
        "select json_build_object(
           'operation', (select row_to_json(o) from deploy_operations o where id = '{id}'),
           'events', (select json_agg(e order by seq) from deploy_events e where operation_id = '{id}'),
           'gates', (select json_agg(g) from deploy_gates g),
           'migrations', (select json_agg(m order by seq) from project_migrations m),
           'releases', (select json_agg(r order by created_at, id) from releases r where project_id = '{project}'),
           'project', (select row_to_json(p) from projects p where id = '{project}'))::text"
    );
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut site.breaker).await.unwrap();
    serde_json::from_str(&row.get::<String, _>(0)).unwrap()
}

// E08. Goal: of two plans on one base, one goes live; the other fails for good, and its release never shows.
// Method: kill the first in the pointer move, let the second go live, then go on with the first.
#[tokio::test]
async fn a_resumed_deploy_does_not_overwrite_what_went_live_meanwhile() {
    let (mut site, node) = Site::start().await;
    let (first, second) = (site.plan(1).await, site.plan(2).await);
    let write = ("projects", "update", "new.active_release is distinct from old.active_release");
    site.break_at(write, DEATHS[1]).await;
    let _ = ask(&node, &first, commit()).await; // It cannot end.
    site.check(&first).await;
    site.mend("projects").await;
    node.stop().await;

    let node = site.world.node().await;
    until_ready(&site, &node, &second).await;
    let live = projects::project_fetch(&site.world.store, site.project).await.unwrap().active_release;
    ask(&node, &first, Request::Step).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, first.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::Failed);
    assert_eq!(operation.error.unwrap()["code"], json!("BASE_RELEASE_CONFLICT"));
    let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    assert_eq!((after.active_release, after.account), (live, site.account));
    site.check(&first).await;
    let deps: &Arc<crate::Deps> = &node.deps;
    assert!(deps.store.begin().await.is_ok(), "the pool survived the cut connections");
    node.stop().await;
}
