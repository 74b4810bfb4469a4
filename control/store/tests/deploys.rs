//! Content, names and releases on a real Postgres: limits, races, the pointer move, erasure.

use std::time::Duration;

use crate::common::{Db, now};
use chrono::TimeDelta;
use serde_json::{Value, json};
use store::content::{
    ContentPlan, Room, Taken, Upload, UploadState, content_due_list, content_due_take, content_held,
    content_lock, content_plan_create, content_take, project_content_bytes, project_content_drop,
    upload_abort, uploads_expired,
};
use store::deploys::{
    Event, GateAsk, GateTaken, Plan, Replay, Status, Step, events_list, gate_find, gate_open, gate_take,
    operation_find, operation_list, operation_step, plan_create, plan_replay_find, unfinished,
};
use store::projects::{NewProject, project_insert};
use store::releases::{
    ActivateRefused, NewRelease, ReleaseFile, project_releases_drop, release_activate, release_fail,
    release_find, release_stage, site_of_deployment, site_of_project, site_of_subdomain,
};
use store::subdomains::{
    Claim, NewClaim, Released, project_subdomains_drop, subdomain_claim, subdomain_find, subdomain_list,
    subdomain_release,
};
use store::{Claimed, Fence, StoreError};
use types::{
    AccountId, ContentPlanId, Entropy, NodeId, OperationId, OsEntropy, PlanId, ProjectId, ReleaseId,
    Sha256Hex, UploadId,
};
use uuid::Uuid;

struct World {
    db: Db,
    account: AccountId,
    project: ProjectId,
    public_id: String,
    node: NodeId,
}

fn sha(n: u8) -> Sha256Hex {
    Sha256Hex::from_bytes([n; 32])
}

impl World {
    async fn fresh() -> Self {
        let db = Db::fresh().await;
        let account = db.account(1).await;
        let (project, public_id) = project(&db, account, "aaaaaa1").await;
        let node = NodeId::new(&OsEntropy);
        db.store.node_heartbeat(node, "http://127.0.0.1:1", Duration::from_secs(600)).await.unwrap();
        Self { db, account, project, public_id, node }
    }

    async fn fence(&self, kind: &'static str, entity: Uuid) -> Fence {
        match self.db.store.claim(kind, entity, self.node).await.unwrap() {
            Claimed::Ours(fence) => fence,
            Claimed::Theirs(peer) => panic!("{peer:?}"),
        }
    }

    async fn upload(&self, sha256: Sha256Hex, size_bytes: u64) -> Upload {
        let plan = ContentPlan {
            id: ContentPlanId::new(&OsEntropy),
            project: self.project,
            ci_binding: None,
            created_at: now(),
            expires_at: now() + TimeDelta::hours(1),
        };
        let upload = Upload {
            id: UploadId::new(&OsEntropy),
            project: self.project,
            content_plan: Some(plan.id),
            staging_key: format!("_staging/x/{sha256}"),
            sha256: Some(sha256),
            size_bytes,
            content_type: None,
            blob: None,
            multipart: None,
            state: UploadState::Open,
            created_at: now(),
            expires_at: now() + TimeDelta::hours(24),
        };
        let mut tx = self.db.store.begin().await.unwrap();
        content_plan_create(&mut tx, &plan, std::slice::from_ref(&upload)).await.unwrap();
        tx.commit().await.unwrap();
        upload
    }

    /// Plans a release with one file and takes it to `activating`.
    async fn staged(&self, active: Option<ReleaseId>, n: u8, names: Value) -> (Plan, ReleaseId) {
        let plan = self.plan(active, n, names).await;
        let fence = self.fence("deploy", plan.operation.0).await;
        for event in [Event::Committed, Event::Validated] {
            let status = operation_find(&self.db.store, plan.operation).await.unwrap().unwrap().status;
            let mut tx = self.db.store.fenced(&fence).await.unwrap();
            operation_step(&mut tx, plan.operation, &Step::new(status, event, now())).await.unwrap();
            tx.commit().await.unwrap();
        }
        let file = ReleaseFile {
            path: "index.html".into(),
            sha256: sha(n),
            size_bytes: 1,
            content_type: "text/html".into(),
            revalidate: false,
        };
        let release = NewRelease {
            id: ReleaseId::new(&OsEntropy),
            project: self.project,
            parent: active,
            operation: plan.operation,
            plan: plan.id,
            digest: sha(n),
            deployment_id: format!("dpl_{n}_{}", &sha(n).as_str()[..6]),
            created_by: "0xabc".into(),
            created_at: now(),
            files: vec![file],
            functions: vec![],
            routes: vec![],
        };
        let mut tx = self.db.store.fenced(&fence).await.unwrap();
        content_lock(tx.tx(), &sha(n), 1, now()).await.unwrap();
        release_stage(&mut tx, &release).await.unwrap();
        let mut step = Step::new(Status::Staging, Event::Staged, now());
        step.target_release = Some(release.id);
        step.events = vec![json!({ "n": 1 }), json!({ "n": 2 })];
        operation_step(&mut tx, plan.operation, &step).await.unwrap();
        tx.commit().await.unwrap();
        (plan, release.id)
    }

    async fn plan(&self, active: Option<ReleaseId>, n: u8, names: Value) -> Plan {
        let plan = Plan {
            id: PlanId::new(&OsEntropy),
            project: self.project,
            operation: OperationId::new(&OsEntropy),
            base_release: active,
            active_release: active,
            spec: json!({ "subdomains": names }),
            digest: sha(n),
            idempotency_key: None,
            is_noop: false,
            created_by: "0xabc".into(),
            ci_binding: None,
            created_at: now(),
            expires_at: now() + TimeDelta::hours(24),
        };
        let mut tx = self.db.store.begin().await.unwrap();
        plan_create(&mut tx, &plan, &[json!({ "type": "plan.created" })]).await.unwrap();
        tx.commit().await.unwrap();
        plan
    }

    async fn activate(&self, release: ReleaseId) -> Result<(), ActivateRefused> {
        let fence = self.fence("project", self.project.0).await;
        let mut tx = self.db.store.fenced(&fence).await?;
        release_activate(&mut tx, self.project, release, now()).await?;
        store::projects::project_activate(&mut tx, self.project, release, now()).await?;
        Ok(tx.commit().await?)
    }

    fn claim(&self, name: &str, project: ProjectId) -> NewClaim {
        let deployment_id = "dpl_1_010101".to_owned();
        NewClaim { name: name.to_owned(), project, account: self.account, deployment_id, now: now() }
    }
}

async fn project(db: &Db, account: AccountId, public_id: &str) -> (ProjectId, String) {
    let id = ProjectId::new(&OsEntropy);
    let new = NewProject { id, account, name: "p".into(), public_id: public_id.to_owned() };
    let mut tx = db.store.begin().await.unwrap();
    project_insert(&mut tx, &new, now()).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("update projects set phase = 'ready' where id = $1")
        .bind(id.0)
        .execute(&db.raw)
        .await
        .unwrap();
    (id, public_id.to_owned())
}

// I01: 60 uploads at once for room that 10 of them fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_uploads_cannot_pass_the_limit() {
    let world = World::fresh().await;
    let mut uploads = Vec::new();
    for n in 0..60 {
        uploads.push(world.upload(sha(n), 10).await);
    }
    let takes = uploads.into_iter().map(|upload| {
        let store = world.db.store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let sha256 = upload.sha256.as_ref().unwrap();
            content_lock(&mut tx, sha256, upload.size_bytes, now()).await.unwrap();
            let taken = content_take(&mut tx, &upload, sha256, Room { bytes_max: 100 }, now()).await.unwrap();
            if taken == Taken::New {
                tx.commit().await.unwrap();
            }
            taken
        })
    });
    let takes = futures::future::join_all(takes).await;
    let takes: Vec<Taken> = takes.into_iter().map(Result::unwrap).collect();
    assert_eq!(takes.iter().filter(|taken| **taken == Taken::New).count(), 10);
    assert_eq!(takes.iter().filter(|taken| **taken == Taken::NoRoom { used_bytes: 100 }).count(), 50);
    assert_eq!(project_content_bytes(&world.db.store, world.project).await.unwrap(), 100);
}

#[tokio::test]
async fn an_upload_is_taken_once_and_not_after_it_was_aborted() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let take = async |upload: &Upload| {
        let mut tx = store.begin().await.unwrap();
        let sha256 = upload.sha256.as_ref().unwrap();
        content_lock(&mut tx, sha256, upload.size_bytes, now()).await.unwrap();
        let taken = content_take(&mut tx, upload, sha256, Room { bytes_max: 100 }, now()).await.unwrap();
        tx.commit().await.unwrap();
        taken
    };
    let first = world.upload(sha(1), 60).await;
    assert_eq!(take(&first).await, Taken::New);
    assert_eq!(take(&first).await, Taken::Before);
    // The same content again takes no more room.
    assert_eq!(take(&world.upload(sha(1), 60).await).await, Taken::Before);
    assert_eq!(content_held(store, world.project, &[sha(1), sha(2)]).await.unwrap(), [(sha(1), 60)].into());
    let aborted = world.upload(sha(2), 1).await;
    let mut tx = store.begin().await.unwrap();
    assert!(upload_abort(&mut tx, aborted.id).await.unwrap());
    assert!(!upload_abort(&mut tx, aborted.id).await.unwrap());
    assert!(!upload_abort(&mut tx, first.id).await.unwrap(), "what was completed stays");
    tx.commit().await.unwrap();
    assert_eq!(take(&aborted).await, Taken::Gone);
    let mut tx = store.begin().await.unwrap();
    let other_size = content_lock(&mut tx, &sha(1), 61, now()).await.unwrap_err();
    assert!(matches!(other_size, StoreError::Corrupt(_)), "{other_size:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_claim_a_name_at_once_one_gets_it() {
    let world = World::fresh().await;
    let mut projects = vec![world.project];
    for n in 0..9 {
        projects.push(project(&world.db, world.account, &format!("bbbbbb{n}")).await.0);
    }
    let claims = projects.iter().map(|project| {
        let (store, claim) = (world.db.store.clone(), world.claim("shop", *project));
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let claimed = subdomain_claim(&mut tx, &claim).await.unwrap();
            tx.commit().await.unwrap();
            claimed
        })
    });
    let claims = futures::future::join_all(claims).await;
    let new: Vec<_> = claims.iter().filter(|c| matches!(c.as_ref().unwrap(), Claim::New(_))).collect();
    assert_eq!(new.len(), 1);
    assert!(claims.iter().all(|c| matches!(c.as_ref().unwrap(), Claim::New(_) | Claim::Taken)));
}

#[tokio::test]
async fn a_name_is_pointed_released_and_kept_back_after_a_purge() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let (other, _) = project(&world.db, world.account, "bbbbbb1").await;
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(
        subdomain_claim(&mut tx, &world.claim("shop", world.project)).await.unwrap(),
        Claim::New(_)
    ));
    let elsewhere = NewClaim { deployment_id: "dpl_2_020202".into(), ..world.claim("shop", world.project) };
    let Claim::Before(pointed) = subdomain_claim(&mut tx, &elsewhere).await.unwrap() else { panic!("ours") };
    assert_eq!(pointed.deployment_id, "dpl_2_020202");
    assert_eq!(subdomain_release(&mut tx, "shop", other).await.unwrap(), Released::NotYours);
    assert_eq!(subdomain_release(&mut tx, "none", other).await.unwrap(), Released::Absent);
    tx.commit().await.unwrap();
    assert_eq!(subdomain_list(store, world.project).await.unwrap().len(), 1);

    // The erasure was decided by the lease's end, so it is a purge.
    sqlx::query(
        "insert into project_purges (project_id, account_id, names_kept_until, decided_at)
         values ($1, $2, $3, $4)",
    )
    .bind(world.project.0)
    .bind(world.account.0)
    .bind(now() + TimeDelta::days(14))
    .bind(now())
    .execute(&world.db.raw)
    .await
    .unwrap();
    let fence = world.fence("project", world.project.0).await;
    let mut tx = store.fenced(&fence).await.unwrap();
    project_subdomains_drop(&mut tx, world.project, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(subdomain_find(store, "shop").await.unwrap(), None);
    let stranger = NewClaim { account: world.db.account(2).await, ..world.claim("shop", other) };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(subdomain_claim(&mut tx, &stranger).await.unwrap(), Claim::Reserved);
    let later = NewClaim { now: now() + TimeDelta::days(15), ..stranger };
    assert!(matches!(subdomain_claim(&mut tx, &later).await.unwrap(), Claim::New(_)));
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(subdomain_claim(&mut tx, &world.claim("shop", other)).await.unwrap(), Claim::New(_)));
}

// Goal: while one deploy has the gate no other goes live, and the one that has it is not overtaken. Method: two
// on one base; the gate for the second, then both try.
#[tokio::test]
async fn a_gate_keeps_other_releases_out_until_its_own_is_live() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let (first_plan, first) = world.staged(None, 1, Value::Null).await;
    let (plan, release) = world.staged(None, 2, Value::Null).await;
    let take = async |plan: &Plan, active_release, blocks_data| {
        let fence = world.fence("deploy", plan.operation.0).await;
        let mut tx = store.fenced(&fence).await.unwrap();
        let (project, operation) = (world.project, plan.operation);
        let ask = GateAsk { project, operation, active_release, blocks_data, now: now() };
        let taken = gate_take(&mut tx, &ask).await.unwrap();
        tx.commit().await.unwrap();
        taken
    };
    assert_eq!(take(&plan, Some(first), true).await, GateTaken::BaseMoved);
    assert_eq!(take(&plan, None, true).await, GateTaken::Ours);
    assert_eq!(take(&plan, None, true).await, GateTaken::Ours, "a repeat changes nothing");
    assert_eq!(take(&first_plan, None, true).await, GateTaken::Held(plan.operation));
    let gate = gate_find(store, world.project).await.unwrap().unwrap();
    assert_eq!((gate.operation, gate.blocks_data), (plan.operation, true));

    let fence = world.fence("deploy", plan.operation.0).await;
    let mut tx = store.fenced(&fence).await.unwrap();
    gate_open(&mut tx, plan.operation).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!gate_find(store, world.project).await.unwrap().unwrap().blocks_data);
    assert!(matches!(world.activate(first).await, Err(ActivateRefused::Gated)));
    world.activate(release).await.unwrap();
    assert_eq!(gate_find(store, world.project).await.unwrap(), None, "given back with the move");
    assert!(matches!(world.activate(first).await, Err(ActivateRefused::BaseMoved)));

    // Whatever ends an operation gives its gate back.
    let (plan, _) = world.staged(Some(release), 3, Value::Null).await;
    assert_eq!(take(&plan, Some(release), true).await, GateTaken::Ours);
    let fence = world.fence("deploy", plan.operation.0).await;
    let mut tx = store.fenced(&fence).await.unwrap();
    operation_step(&mut tx, plan.operation, &Step::new(Status::Activating, Event::Failed, now()))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(gate_find(store, world.project).await.unwrap(), None);
}

#[tokio::test]
async fn the_pointer_moves_once_and_names_follow() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let (_, first) = world.staged(None, 1, json!({ "set": ["shop"] })).await;
    let (_, rival) = world.staged(None, 2, Value::Null).await;
    assert_eq!(site_of_project(store, &world.public_id).await.unwrap().unwrap().release, None);
    let hidden = release_find(store, first).await.unwrap().unwrap().deployment_id;
    assert_eq!(
        site_of_deployment(store, &hidden).await.unwrap(),
        None,
        "nothing is visible before it is live"
    );

    world.activate(first).await.unwrap();
    assert!(matches!(world.activate(first).await, Err(ActivateRefused::Before)));
    assert!(matches!(world.activate(rival).await, Err(ActivateRefused::BaseMoved)));
    for host in [
        site_of_project(store, &world.public_id).await.unwrap(),
        site_of_subdomain(store, "shop").await.unwrap(),
        site_of_deployment(store, &hidden).await.unwrap(),
    ] {
        assert_eq!(host.unwrap().release, Some(first));
    }

    let (_, second) = world.staged(Some(first), 3, Value::Null).await;
    world.activate(second).await.unwrap();
    assert_eq!(site_of_subdomain(store, "shop").await.unwrap().unwrap().release, Some(second));
    assert_eq!(site_of_deployment(store, &hidden).await.unwrap().unwrap().release, Some(first));
    assert_eq!(release_find(store, first).await.unwrap().unwrap().status, "superseded");
    assert!(matches!(world.activate(first).await, Err(ActivateRefused::Before)));
}

#[tokio::test]
async fn a_name_that_another_project_took_stops_the_whole_activation() {
    let world = World::fresh().await;
    let (other, _) = project(&world.db, world.account, "bbbbbb1").await;
    let (_, release) = world.staged(None, 1, json!({ "set": ["shop"] })).await;
    let mut tx = world.db.store.begin().await.unwrap();
    subdomain_claim(&mut tx, &world.claim("shop", other)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(world.activate(release).await, Err(ActivateRefused::NameTaken(name)) if name == "shop"));
    assert_eq!(release_find(&world.db.store, release).await.unwrap().unwrap().status, "staged");
    assert_eq!(site_of_project(&world.db.store, &world.public_id).await.unwrap().unwrap().release, None);
    let fence = world.fence("deploy", OsEntropy.uuid()).await;
    let mut tx = world.db.store.fenced(&fence).await.unwrap();
    release_fail(&mut tx, release).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(world.activate(release).await, Err(ActivateRefused::Gone)));
}

#[tokio::test]
async fn a_step_is_compared_and_set_and_numbers_its_events() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let (plan, release) = world.staged(None, 1, Value::Null).await;
    let operation = operation_find(store, plan.operation).await.unwrap().unwrap();
    assert_eq!((operation.status, operation.target_release), (Status::Activating, Some(release)));
    let fence = world.fence("deploy", plan.operation.0).await;
    let mut tx = store.fenced(&fence).await.unwrap();
    let stale =
        operation_step(&mut tx, plan.operation, &Step::new(Status::Staging, Event::Failed, now())).await;
    assert!(matches!(stale, Err(StoreError::Stale(_))), "{stale:?}");
    drop(tx);
    let mut tx = store.fenced(&fence).await.unwrap();
    let put_off = Step::new(Status::Activating, Event::ActivationDeferred, now());
    operation_step(&mut tx, plan.operation, &put_off).await.unwrap();
    tx.commit().await.unwrap();
    let events = events_list(store, plan.operation).await.unwrap();
    assert_eq!(events, [json!({ "type": "plan.created" }), json!({ "n": 1 }), json!({ "n": 2 })]);

    // Tried again after a pause that grows.
    let due = async |secs| unfinished(store, now() + TimeDelta::seconds(secs), 10).await.unwrap();
    assert_eq!(due(9).await, []);
    assert_eq!(due(11).await, [plan.operation]);
    world.fence("deploy", plan.operation.0).await;
    assert!(matches!(store.fenced(&fence).await, Err(StoreError::Fenced)));
}

#[tokio::test]
async fn the_same_question_finds_its_plan_until_that_failed() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let plan = world.plan(None, 1, Value::Null).await;
    let digest = sha(1);
    let ask = async |replay: Replay<'_>| {
        let mut tx = store.begin().await.unwrap();
        plan_replay_find(&mut tx, &replay).await.unwrap().map(|found| found.id)
    };
    let same = Replay {
        project: world.project,
        base_release: None,
        active_release: None,
        digest: &digest,
        idempotency_key: None,
        ci_binding: None,
        is_noop: true,
        now: now(),
    };
    assert_eq!(ask(same.clone()).await, Some(plan.id));
    assert_eq!(ask(Replay { idempotency_key: Some("k"), ..same.clone() }).await, None);
    let workflow = Some(types::CiBindingId::new(&OsEntropy));
    assert_eq!(ask(Replay { ci_binding: workflow, ..same.clone() }).await, None, "nobody's but its own");
    assert_eq!(ask(Replay { base_release: Some(ReleaseId::new(&OsEntropy)), ..same.clone() }).await, None);
    assert_eq!(ask(Replay { now: now() + TimeDelta::hours(24), ..same.clone() }).await, None);
    // A crash between going live and noticing it: the base has moved, by this very plan.
    let live = ReleaseId(uuid::Uuid::from_u128(7));
    let going = "update deploy_operations set status = 'activation_pending',
        target_release_id = '00000000-0000-0000-0000-000000000007'";
    world.db.sql(going).await.unwrap();
    assert_eq!(ask(Replay { active_release: Some(live), ..same.clone() }).await, Some(plan.id));
    let other = Some(ReleaseId::new(&OsEntropy));
    assert_eq!(ask(Replay { active_release: other, ..same.clone() }).await, None);
    let fail = "update deploy_operations set status = 'failed'";
    world.db.sql(fail).await.unwrap();
    assert_eq!(ask(same).await, None);
}

#[tokio::test]
async fn pages_of_operations_neither_skip_nor_repeat() {
    let world = World::fresh().await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(world.plan(None, n, Value::Null).await.operation);
    }
    made.reverse();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = operation_list(&world.db.store, world.project, None, after, 2).await.unwrap();
        seen.extend(page.operations.iter().map(|operation| operation.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn erasing_a_project_leaves_orphans_that_the_sweep_drops() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let upload = world.upload(sha(1), 10).await;
    let mut tx = store.begin().await.unwrap();
    content_lock(&mut tx, &sha(1), 10, now()).await.unwrap();
    content_take(&mut tx, &upload, &sha(1), Room { bytes_max: 100 }, now()).await.unwrap();
    tx.commit().await.unwrap();
    let open = world.upload(sha(2), 10).await;
    let (_, release) = world.staged(None, 3, json!({ "set": ["shop"] })).await;
    world.activate(release).await.unwrap();
    let later = now() + TimeDelta::hours(47);
    // Announced uploads are looked at once they are over, and what is held stays.
    let settle = async |sha256: &Sha256Hex| {
        let mut tx = store.begin().await.unwrap();
        let garbage = content_due_take(&mut tx, sha256, now() + TimeDelta::days(3)).await.unwrap();
        tx.commit().await.unwrap();
        garbage
    };
    assert!(!settle(&sha(1)).await);
    assert_eq!(content_due_list(store, later, 10).await.unwrap(), []);

    let fence = world.fence("project", world.project.0).await;
    let mut tx = store.fenced(&fence).await.unwrap();
    for _ in 0..2 {
        project_subdomains_drop(&mut tx, world.project, now()).await.unwrap();
        project_releases_drop(&mut tx, world.project, now()).await.unwrap();
        project_content_drop(&mut tx, world.project, now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(subdomain_find(store, "shop").await.unwrap(), None, "free at once: the owner erased it");
    assert_eq!(project_content_bytes(store, world.project).await.unwrap(), 0);
    let expired = uploads_expired(store, now(), 10).await.unwrap();
    assert_eq!(expired.iter().map(|one| one.id).collect::<Vec<_>>(), [open.id]);
    assert_eq!(
        content_due_list(store, now() + TimeDelta::hours(23), 10).await.unwrap(),
        [],
        "kept for a day"
    );
    assert_eq!(content_due_list(store, later, 10).await.unwrap(), [sha(1)]);
    assert!(settle(&sha(1)).await);
    assert!(!settle(&sha(1)).await, "it is off the list");
    let rows: i64 = sqlx::query_scalar("select count(*) from content_objects where sha256 = $1")
        .bind(sha(1).as_str())
        .fetch_one(&world.db.raw)
        .await
        .unwrap();
    assert_eq!(rows, 0, "two sweeps leave nothing behind");
    let used: i64 =
        sqlx::query_scalar("select bytes from content_usage").fetch_one(&world.db.raw).await.unwrap();
    assert_eq!(used, 0);
}

// F05. Goal: a run that the planner wrote while a release with another schedule waited for it does not begin. Method:
// the planner's statements in a transaction that is held open.
#[tokio::test]
async fn a_changed_schedule_wins_over_a_time_that_is_being_written() {
    let world = World::fresh().await;
    let function = async |release: ReleaseId, schedule: &str| {
        let sql =
            "insert into release_functions (release_id, name, runtime, code_hash, timeout_seconds, memory_mb,
               source, schedule) values ($1, 'tick', 'node22', repeat('0', 64), 10, 128, '{}', $2)";
        sqlx::query(sql).bind(release.0).bind(schedule).execute(&world.db.raw).await.unwrap();
    };
    let (_, first) = world.staged(None, 1, Value::Null).await;
    function(first, "*/15 * * * *").await;
    world.activate(first).await.unwrap();
    let (_, second) = world.staged(Some(first), 2, Value::Null).await;
    function(second, "0 12 * * *").await;

    let mut planner = world.db.raw.begin().await.unwrap();
    for sql in [
        "update functions set is_planned = true, next_due_at = next_due_at + interval '15 minutes'",
        "insert into function_runs (function_id, due_at, source, state)
         select id, now(), 'schedule', 'due' from functions",
    ] {
        sqlx::query(sql).execute(&mut *planner).await.unwrap();
    }
    let waits = async {
        let query = "select exists (select from pg_stat_activity
            where wait_event_type = 'Lock' and datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(query).fetch_one(&world.db.raw).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        planner.commit().await.unwrap();
    };
    let waits = tokio::time::timeout(Duration::from_secs(20), waits);
    let (activated, waited) = tokio::join!(world.activate(second), waits);
    activated.unwrap();
    waited.unwrap();
    let runs = sqlx::query_as::<_, (String, Option<String>)>("select state, error from function_runs");
    let runs = runs.fetch_all(&world.db.raw).await.unwrap();
    assert_eq!(runs, [("skipped".to_owned(), Some("the schedule was changed".to_owned()))]);
}
