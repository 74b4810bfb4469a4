//! A project with deploys, and ways to break what they write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blobs::Blobs;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use store::cells::CellConfig;
use store::content::{self, ContentPlan, Room, Upload, UploadState};
use store::deploys::{self, Plan, Status};
use store::projects::{self, NewProject, Phase};
use store::releases::Route;
use store::{Claimed, Fence};
use types::{
    AccountId, ContentPlanId, OperationId, OsEntropy, PlanId, ProjectId, Sha256Hex, TraceId, UploadId, Wallet,
};

use super::super::{
    Anchor, Base, Check, Content, Database, Deploy, FunctionChange, FunctionSpec, Migration, Request,
    SiteChange, Source, Spec, State, Transaction, digest,
};
use super::contents::Contents;
use crate::functions::FunctionHost;
use crate::kit::{ActorError, Kind};
use crate::testing::{Node, TenantServer, World, eventually};

pub(super) const CALL: Duration = Duration::from_secs(20);

/// How it dies there: the statement is refused, or the connection is cut in the middle of it.
pub(super) const DEATHS: [&str; 2] =
    ["raise exception 'fault'", "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5)"];

pub(super) struct Site {
    pub world: World,
    pub cell: Option<(TenantServer, CellConfig)>,
    pub contents: Arc<Contents>,
    pub functions: Option<Arc<FunctionHost>>,
    pub breaker: PgConnection,
    pub project: ProjectId,
    pub account: AccountId,
}

impl Site {
    pub async fn start() -> (Self, Node) {
        Self::begin(None).await
    }

    /// A project with a database of its own: each of its deploys brings a migration.
    pub async fn with_database() -> (Self, Node) {
        Self::begin(Some(World::cell())).await
    }

    pub async fn node(&self) -> Node {
        let cells = self.cell.iter().map(|(_, config)| config.clone()).collect();
        self.world.node_that_runs(cells, self.contents.clone(), self.functions.clone()).await
    }

    pub async fn begin(cell: Option<(TenantServer, CellConfig)>) -> (Self, Node) {
        Self::begin_with(cell, None).await
    }

    pub async fn begin_with(
        cell: Option<(TenantServer, CellConfig)>,
        functions: Option<Arc<FunctionHost>>,
    ) -> (Self, Node) {
        let (world, contents) = (World::start().await, Arc::<Contents>::default());
        let cells = cell.iter().map(|(_, config)| config.clone()).collect();
        let node = world.node_that_runs(cells, contents.clone(), functions.clone()).await;
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
        (Self { world, cell, contents, functions, breaker, project, account }, node)
    }

    /// A superuser's way into the project's database.
    pub async fn inside(&self) -> PgConnection {
        let (server, _) = self.cell.as_ref().expect("a site with a database");
        let slot = store::cells::slot_of(&self.world.store, self.project).await.unwrap().unwrap();
        PgConnection::connect(&server.url(&slot.schema())).await.unwrap()
    }

    /// The migration of a plan: it runs once, or its second run fails.
    pub async fn migration(&self, n: u8) -> Option<Database> {
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

    pub async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.breaker).await.unwrap();
    }

    pub async fn count(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(format!("select count(*) from {sql}"));
        sqlx::raw_sql(sql).fetch_one(&mut self.breaker).await.unwrap().get(0)
    }

    /// From now on that write kills its writer.
    pub async fn break_at(&mut self, (table, verb, condition): (&str, &str, &str), death: &str) {
        let sql = format!(
            "create or replace function fault() returns trigger language plpgsql as $$
               begin if {condition} then {death}; end if; return new; end $$;
             create trigger fault before {verb} on {table} for each row execute function fault()"
        );
        self.run(sql).await;
    }

    pub async fn mend(&mut self, table: &str) {
        self.run(format!("drop trigger fault on {table}")).await;
    }

    /// A plan whose only file has a digest of its own, which the project holds.
    pub async fn plan(&self, n: u8) -> Plan {
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
            assets: None,
            routes: Some(vec![Route { pattern: "/api/*".into(), methods: None, target: "api".into() }]),
            checks: vec![Check {
                name: "home".into(),
                path: Some("/".into()),
                method: "GET".into(),
                status: 200,
            }],
        };
        self.planned(&spec, false).await
    }

    /// The plan of a spec, on top of what is live.
    pub async fn planned(&self, spec: &Spec, is_noop: bool) -> Plan {
        let (world, now) = (&self.world, self.world.now());
        let live = projects::project_fetch(&world.store, self.project).await.unwrap().active_release;
        let plan = Plan {
            id: PlanId::new(&OsEntropy),
            project: self.project,
            operation: OperationId::new(&OsEntropy),
            base_release: live,
            active_release: live,
            digest: digest(spec),
            spec: serde_json::to_value(spec).unwrap(),
            idempotency_key: None,
            is_noop,
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

    pub async fn hold(&self, sha256: &Sha256Hex, size_bytes: u64) {
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
            sha256: Some(sha256.clone()),
            size_bytes,
            content_type: None,
            blob: None,
            multipart: None,
            state: UploadState::Open,
            created_at: now,
            expires_at: later,
        };
        let mut tx = store.begin().await.unwrap();
        content::content_plan_create(&mut tx, &plan, std::slice::from_ref(&upload)).await.unwrap();
        content::content_lock(&mut tx, sha256, size_bytes, now).await.unwrap();
        content::content_take(&mut tx, &upload, sha256, Room { bytes_max: 1 << 20 }, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn schema(&self) -> String {
        store::cells::slot_of(&self.world.store, self.project).await.unwrap().unwrap().schema()
    }

    pub async fn status(&self, plan: &Plan) -> Status {
        deploys::operation_find(&self.world.store, plan.operation).await.unwrap().unwrap().status
    }

    /// What must hold at any time: the pointer and the releases tell the same, and a finished operation is
    /// the one that shows.
    pub async fn check(&mut self, plan: &Plan) {
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

    pub async fn load(&self, node: &Node, plan: &Plan, fence: &Fence) -> State {
        Deploy::load(&node.deps, plan.operation, fence.clone()).await.unwrap()
    }
}

pub(super) async fn claim(node: &Node, kind: &'static str, entity: uuid::Uuid) -> Fence {
    match node.deps.store.claim(kind, entity, node.deps.node).await.unwrap() {
        Claimed::Ours(fence) => fence,
        Claimed::Theirs(peer) => panic!("held by {peer:?}"),
    }
}

pub(super) async fn ask(node: &Node, plan: &Plan, request: Request) -> Result<(), ActorError> {
    node.actors().deploy.call(plan.operation, request, CALL).await
}

pub(super) fn commit() -> Request {
    Request::Commit { trace: TraceId::new(&OsEntropy) }
}

/// Asks again until the operation is ready: what a client, the outbox and the sweep do.
pub(super) async fn until_ready(site: &Site, node: &Node, plan: &Plan) {
    let reached = async || {
        let _ = ask(node, plan, commit()).await; // An answer that was lost is not the end.
        let _ = ask(node, plan, Request::Step).await;
        site.status(plan).await == Status::Ready
    };
    assert!(eventually(reached).await, "still {:?}", site.status(plan).await);
}
