//! Deploys that between them take every way through the machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use blobs::Blobs;
use functions::{Bundler, Cgroups, Egress, Gateway, Isolation, RunnerConfig, Workers};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::content::{AssetChange, AssetPut, Visibility};
use store::deploys::{Plan, Status};
use store::projects::{self, NewProject};
use store::releases::{NameChange, Route};
use types::{OsEntropy, ProjectId, Sha256Hex};

use super::super::{
    Anchor, Base, Content, Database, FunctionChange, FunctionSpec, Migration, SecretChange, SiteChange,
    Source, Spec, Transaction,
};
use super::kit::Site;
use crate::functions::{FunctionHost, HostParts};

/// One way through the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Everything that a spec can hold.
    Whole,
    /// A site alone.
    Site,
    /// Nothing that is not live already.
    Noop,
    /// Its content was never uploaded.
    NoContent,
    /// A route that leads nowhere.
    NoTarget,
    /// A migration that ran before with another text.
    Changed,
    BadSql,
    /// The same outside of a transaction.
    BadBareSql,
    /// A name that another project got since the plan.
    NameTaken,
}

impl Scenario {
    pub const ALL: [Self; 9] = [
        Self::Whole,
        Self::Site,
        Self::Noop,
        Self::NoContent,
        Self::NoTarget,
        Self::Changed,
        Self::BadSql,
        Self::BadBareSql,
        Self::NameTaken,
    ];

    /// Where it ends, and the code of its error.
    pub fn end(self) -> (Status, Option<&'static str>) {
        match self {
            Self::Whole | Self::Site | Self::Noop => (Status::Ready, None),
            Self::NoContent => (Status::Failed, Some("CONTENT_UPLOAD_FAILED")),
            Self::NoTarget => (Status::Failed, Some("INVALID_SPEC")),
            Self::Changed => (Status::Failed, Some("MIGRATION_CHECKSUM_MISMATCH")),
            Self::BadSql => (Status::RolledBack, Some("MIGRATION_FAILED")),
            Self::BadBareSql => (Status::NeedsRepair, Some("MIGRATION_FAILED")),
            Self::NameTaken => (Status::Failed, Some("SUBDOMAIN_TAKEN")),
        }
    }
}

/// A host that builds functions by copying them, and runs none.
pub(super) fn copying_host(folder: &std::path::Path) -> Arc<FunctionHost> {
    use std::os::unix::fs::PermissionsExt;
    let esbuild = folder.join("copy.sh");
    std::fs::write(&esbuild, "#!/bin/sh\nexec /bin/cat \"$1\"\n").unwrap();
    std::fs::set_permissions(&esbuild, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = RunnerConfig {
        node: "/nowhere".into(),
        esbuild,
        launcher: "/nowhere".into(),
        folder: folder.to_owned(),
        isolation: Isolation::None,
        cgroups: Cgroups::find(),
        workers_max: 1,
        packages: None,
    };
    let gateway = Gateway { apex: "localhost".into(), host: "localhost".into(), port: 1, address: None };
    let egress = Arc::new(Egress::new(gateway));
    let (logs, _) = tokio::sync::mpsc::channel(1);
    Arc::new(FunctionHost::new(HostParts {
        workers: Workers::new(config.clone(), egress.clone(), logs.clone()),
        bundler: Bundler::new(config),
        egress,
        logs,
        api_base: "http://localhost:1".into(),
        keys: |_, _| None,
    }))
}

impl Site {
    /// The plan of the n-th deploy of a test. Each has contents, names and migrations of its own.
    pub async fn scenario(&mut self, scenario: Scenario, n: u32) -> Plan {
        let page = self.content("page", &format!("page {n}"), "text/html").await;
        let mut spec = Spec {
            project: self.project,
            base: Base::Release(Anchor::Current),
            database: None,
            secrets: None,
            functions: None,
            site: Some(SiteChange::Replace(BTreeMap::from([("index.html".to_owned(), page)]))),
            subdomains: None,
            assets: None,
            routes: None,
            checks: Vec::new(),
        };
        let (id, table) = (format!("m{n}"), format!("create table t_{n} (n int)"));
        match scenario {
            Scenario::Whole => self.fill(&mut spec, n).await,
            Scenario::Site => {}
            Scenario::Noop => return self.planned(&spec, true).await,
            Scenario::NoContent => {
                let sha256 = Sha256Hex::from_bytes(Sha256::digest(format!("never {n}")).into());
                let content = Content { sha256, size: 1, content_type: "text/html".into() };
                spec.site = Some(SiteChange::Replace(BTreeMap::from([("index.html".into(), content)])));
            }
            Scenario::NoTarget => {
                let route = Route { pattern: "/x".into(), methods: None, target: "nobody".into() };
                spec.routes = Some(vec![route]);
            }
            Scenario::Changed => {
                let sql = format!("select {n}");
                spec.database = Some(self.migrate("m1", &sql, Transaction::Required).await);
            }
            Scenario::BadSql => {
                let sql = format!("{table}; select 1 / 0");
                spec.database = Some(self.migrate(&id, &sql, Transaction::Required).await);
            }
            Scenario::BadBareSql => {
                let sql = format!("{table}; select 1 / 0");
                spec.database = Some(self.migrate(&id, &sql, Transaction::None).await);
            }
            Scenario::NameTaken => {
                let name = format!("taken-{n}");
                spec.subdomains = Some(NameChange { add: vec![name.clone()], ..NameChange::default() });
                let plan = self.planned(&spec, false).await;
                self.name_of_another(&name, n).await;
                return plan;
            }
        }
        self.planned(&spec, false).await
    }

    /// Everything that a spec can hold, so that each part replaces what the deploy before brought.
    async fn fill(&mut self, spec: &mut Spec, n: u32) {
        let sql = format!("create table t_{n} (n int); insert into t_{n} values (1)");
        spec.database = Some(self.migrate(&format!("m{n}"), &sql, Transaction::Required).await);
        let manifest = json!({ "version": "1", "tables": [
            { "name": format!("t_{n}"), "expose": true, "policy": "public_read_authenticated_write" } ] });
        let manifest = self.content("manifest", &manifest.to_string(), "application/json").await;
        if let Some(SiteChange::Replace(files)) = &mut spec.site {
            files.insert("manifest.json".to_owned(), manifest);
        }
        let now = self.world.now();
        for key in ["KEPT".to_owned(), format!("GONE_{n}")] {
            let mut tx = self.world.store.begin().await.unwrap();
            let master = store::MasterKey::new([9; 32]);
            let secret = (self.project, key.as_str(), "value");
            let (set, seal) = (store::function_secrets::function_secret_set, (&master, &OsEntropy as _));
            assert!(set(&mut tx, seal, secret, 1_000, now).await.unwrap());
            tx.commit().await.unwrap();
        }
        spec.secrets = Some(SecretChange { require: vec!["KEPT".into()], delete: vec![format!("GONE_{n}")] });
        let mut functions = BTreeMap::new();
        for name in ["api".to_owned(), format!("f{n}")] {
            let code = format!("export default {n} // {name}");
            let source = self.content(&format!("source of {}", &name[..1]), &code, "text/javascript").await;
            let function = FunctionSpec {
                source: Some(Source::File(source)),
                // Another one each time, so that a run which is due is given up.
                schedule: Some(Some(format!("{} * * * *", n % 60))),
                ..FunctionSpec::default()
            };
            functions.insert(name, function);
        }
        self.run(format!(
            "insert into function_runs (function_id, due_at, source, state)
             select id, now() + {n} * interval '1 second', 'schedule', 'due' from functions
             where project_id = '{}' and name = 'api'",
            self.project.0
        ))
        .await;
        spec.functions = Some(FunctionChange::Replace(functions));
        spec.routes = Some(vec![Route { pattern: "/api/*".into(), methods: None, target: "api".into() }]);
        spec.subdomains = Some(NameChange { set: Some(vec![format!("site-{n}")]), ..NameChange::default() });
        let asset = self.content("asset", &format!("asset {n}"), "text/plain").await;
        let put = |key: String, content: &Content, immutable| AssetPut {
            key,
            sha256: content.sha256.clone(),
            size: content.size,
            content_type: content.content_type.clone(),
            visibility: Visibility::Public,
            immutable,
        };
        let mutable = self.content("mutable", &format!("mutable {n}"), "text/plain").await;
        let put = vec![
            put(format!("a-{n}.txt"), &asset, true),
            // Whose content of before nobody refers to afterwards.
            put("always.txt".to_owned(), &mutable, false),
        ];
        let sql = format!("select key from blobs where project_id = '{}'", self.project.0);
        let before = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_all(&mut self.breaker).await.unwrap();
        let before = before.iter().map(|row| sqlx::Row::get::<String, _>(row, 0));
        let delete = before.filter(|key| key != "always.txt").collect();
        spec.assets = Some(AssetChange { put, delete, sync: Vec::new() });
        let look = |name: &str, path: &str, status| super::super::Check {
            name: name.into(),
            path: Some(path.into()),
            method: "GET".into(),
            status,
        };
        spec.checks = vec![look("home", "/", 200), look("nothing", "/nothing", 404)];
    }

    /// Content that the project holds and the store has.
    pub async fn content(&self, role: &str, text: &str, content_type: &str) -> Content {
        let sha256 = Sha256Hex::from_bytes(Sha256::digest(text).into());
        let key = blobs::cas_key(&sha256);
        self.contents.call_it(&key, role);
        self.contents.put(&key, text.to_owned().into()).await.unwrap();
        self.hold(&sha256, text.len() as u64).await;
        Content { sha256, size: text.len() as u64, content_type: content_type.to_owned() }
    }

    async fn migrate(&self, id: &str, sql: &str, transaction: Transaction) -> Database {
        let sql_ref = self.content("sql", sql, "application/sql").await;
        let checksum = sql_ref.sha256.to_string();
        let migration = Migration { id: id.to_owned(), checksum, sql_ref, transaction };
        Database { migrations: vec![migration], expose: None, zero_downtime: false }
    }

    async fn name_of_another(&mut self, name: &str, n: u32) {
        let other = ProjectId::new(&OsEntropy);
        let public_id = format!("bbbbb{n}");
        let new = NewProject { id: other, account: self.account, name: "other".into(), public_id };
        let mut tx = self.world.store.begin().await.unwrap();
        projects::project_insert(&mut tx, &new, self.world.now()).await.unwrap();
        tx.commit().await.unwrap();
        self.run(format!(
            "insert into subdomains (name, project_id, deployment_id, created_at, updated_at)
             values ('{name}', '{}', 'dpl_x', now(), now())",
            other.0
        ))
        .await;
    }

    /// What must be true after the n-th deploy ended as it should: all of it, or nothing.
    pub async fn check_end(&mut self, scenario: Scenario, n: u32, plan: &Plan) {
        let operation =
            store::deploys::operation_find(&self.world.store, plan.operation).await.unwrap().unwrap();
        let (status, code) = scenario.end();
        let told = operation.error.as_ref().map(|error| &error["code"]);
        assert_eq!((operation.status, told), (status, code.map(Value::from).as_ref()), "{scenario:?} {n}");
        let project = format!("project_id = '{}'", self.project.0);
        assert_eq!(
            self.count(&format!("deploy_gates where {project}")).await,
            0,
            "{scenario:?} {n}: the gate"
        );
        let live = projects::project_fetch(&self.world.store, self.project).await.unwrap().active_release;
        match (status, scenario) {
            (Status::Ready, Scenario::Noop) => assert_eq!(live, plan.active_release),
            (Status::Ready, _) => assert_eq!(operation.release, live, "{scenario:?} {n}: it shows"),
            _ => {
                assert_eq!(live, plan.active_release, "{scenario:?} {n}: what was live is live");
                let own =
                    format!("releases where operation_id = '{}' and status <> 'failed'", plan.operation.0);
                assert_eq!(self.count(&own).await, 0, "{scenario:?} {n}: nothing is left of it");
            }
        }
        if scenario == Scenario::BadSql {
            assert!(self.rows_inside(n).await.is_none(), "{n}: nothing of it stays");
        }
        if scenario != Scenario::Whole {
            return;
        }
        assert_eq!(self.rows_inside(n).await, Some(1), "{n}: the migration ran once");
        for (what, count, sql) in [
            ("its name", 1, format!("subdomains where {project}")),
            ("its name", 1, format!("subdomains where {project} and name = 'site-{n}'")),
            ("a secret", 1, format!("function_secrets where {project} and key = 'KEPT'")),
            ("a secret", 0, format!("function_secrets where {project} and key = 'GONE_{n}'")),
            ("its blob", 1, format!("blobs where {project} and key = 'a-{n}.txt'")),
            ("its blob", 1, format!("blobs where {project} and key <> 'a-{n}.txt'")),
            ("its address", 1, format!("blob_versions where {project} and key = 'a-{n}.txt'")),
            ("its migration", 1, format!("project_migrations where {project} and migration_id = 'm{n}'")),
            ("its function", 1, format!("functions where {project} and name = 'f{n}'")),
            ("its function", 1, format!("functions where {project} and name <> 'f{n}'")),
        ] {
            assert_eq!(self.count(&sql).await, count, "{n}: {what}: {sql}");
        }
        let usage = "(select u.bytes - coalesce((select sum(o.size_bytes) from project_content k
            join content_objects o using (sha256)), 0) as off from content_usage u) x where off <> 0";
        assert_eq!(self.count(usage).await, 0, "{n}: what is held is what is counted");
    }

    /// Rows of the n-th table, if it is there.
    async fn rows_inside(&self, n: u32) -> Option<i64> {
        self.cell.as_ref()?;
        let sql = format!("select count(*) from {}.t_{n}", self.schema().await);
        let row = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_one(&mut self.inside().await).await;
        row.ok().map(|row| sqlx::Row::get(&row, 0))
    }
}
