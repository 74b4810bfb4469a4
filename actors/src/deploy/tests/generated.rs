//! Every write of every way through the machine, broken in every way. Nothing here is listed by hand but the ways
//! through: what is written, read and passed is found by watching one run of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use store::deploys::{Event, Plan, Status};

use super::kit::{Site, ask, claim, commit};
use super::scenarios::Scenario;
use super::writes::{Death, Watched};
use crate::deploy::{Deploy, Request};
use crate::functions::FunctionHost;
use crate::kit::{ActorError, Kind};
use crate::testing::{Node, World, eventually};

/// A write: in the project's database or in ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    inside: bool,
    pub key: String,
}

/// A project whose every write is watched.
pub(super) struct Bench {
    pub site: Site,
    pub node: Node,
    pub control: Watched,
    inside: Watched,
    n: u32,
    /// Moves of operations that were committed, such as `staging>gating`.
    moves: BTreeSet<String>,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(functions: Option<Arc<FunctionHost>>) -> Self {
        let (site, node) = Site::begin_with(Some(World::cell()), functions).await;
        let control = Watched::start(&site.world.database_url(), &["public"], false).await;
        let (server, _) = site.cell.as_ref().unwrap();
        let slot = store::cells::slot_of(&site.world.store, site.project).await.unwrap().unwrap();
        let inside = Watched::start(&server.url(&slot.schema()), &["internal", "r402"], true).await;
        let mut bench = Self { site, node, control, inside, n: 0, moves: BTreeSet::new() };
        // What a deploy replaces is there.
        for _ in 0..2 {
            let plan = bench.plan(Scenario::Whole).await;
            bench.end(Scenario::Whole, &plan).await;
        }
        bench
    }

    pub async fn plan(&mut self, scenario: Scenario) -> Plan {
        self.n += 1;
        let plan = self.site.scenario(scenario, self.n).await;
        self.look().await;
        plan
    }

    /// Asks until it has ended, and judges the end.
    pub async fn end(&mut self, scenario: Scenario, plan: &Plan) {
        let (site, node) = (&self.site, &self.node);
        let reached = async || {
            let _ = ask(node, plan, commit()).await; // An answer that was lost is not the end.
            let _ = ask(node, plan, Request::Step).await;
            site.status(plan).await.is_terminal()
        };
        assert!(eventually(reached).await, "{scenario:?}: still {:?}", site.status(plan).await);
        self.site.check_end(scenario, self.n, plan).await;
        if scenario.end().0 == Status::Ready && scenario != Scenario::Noop {
            self.site.check(plan).await;
        }
    }

    /// What was written since the last look.
    pub async fn look(&mut self) -> Vec<Write> {
        let own = self.control.seen().await;
        let theirs = self.inside.seen().await;
        let moves = own.iter().filter(|key| key.starts_with("deploy_operations update"));
        let moves = moves.filter_map(|key| Some(key.rsplit_once(' ')?.1.to_owned()));
        self.moves.extend(moves.filter(|step| step.contains('>')));
        let write = |inside, key| Write { inside, key };
        let own = own.into_iter().map(|key| write(false, key));
        own.chain(theirs.into_iter().map(|key| write(true, key))).collect()
    }

    fn place(&mut self, write: &Write) -> &mut Watched {
        if write.inside { &mut self.inside } else { &mut self.control }
    }

    /// What one run writes.
    pub async fn writes_of(&mut self, scenario: Scenario) -> Vec<Write> {
        let plan = self.plan(scenario).await;
        self.end(scenario, &plan).await;
        self.look().await
    }

    /// Breaks a write of a new run, looks, mends, and goes on; every second time on another node.
    pub async fn killed_at(&mut self, scenario: Scenario, write: &Write, death: Death) {
        let plan = self.plan(scenario).await;
        self.place(write).break_at(&write.key, death).await;
        match death {
            Death::Stalled => self.abandon(&plan, write).await,
            _ => {
                for request in [commit(), Request::Step] {
                    let _ = ask(&self.node, &plan, request).await; // Refused, put off or lost: the rows say which.
                }
            }
        }
        let status = self.site.status(&plan).await;
        // Of statements of its author's the project's database may refuse any, for good. And that a bare migration
        // was cut off is known from its mark, whatever came of the words about it.
        let verdict = (write.inside && matches!(status, Status::RolledBack | Status::NeedsRepair))
            || (scenario == Scenario::BadBareSql && status == Status::NeedsRepair);
        assert!(
            !status.is_terminal() || verdict,
            "{scenario:?} {death:?} {write:?}: {status:?}, so it was not hit, or a passing fault was a verdict"
        );
        self.place(write).mend().await;
        if self.n.is_multiple_of(2) {
            let node = self.site.node().await;
            std::mem::replace(&mut self.node, node).stop().await;
        }
        if verdict && scenario.end().0 != status {
            return self.given_up(&plan).await;
        }
        self.end(scenario, &plan).await;
    }

    /// Nothing of a deploy that its project's database refused is left, and another one goes live.
    async fn given_up(&mut self, plan: &Plan) {
        let id = plan.operation.0;
        let left = format!("releases where operation_id = '{id}' and status <> 'failed'");
        assert_eq!(self.site.count(&left).await, 0);
        assert_eq!(self.site.count("deploy_gates").await, 0);
        let plan = self.plan(Scenario::Whole).await;
        self.end(Scenario::Whole, &plan).await;
    }

    /// Whoever carries the deploy out is gone while a write hangs: dropped, as a process that dies drops it.
    async fn abandon(&mut self, plan: &Plan, write: &Write) {
        let fence = claim(&self.node, "deploy", plan.operation.0).await;
        let mut state = self.site.load(&self.node, plan, &fence).await;
        let deps = self.node.deps.clone();
        let place = if write.inside { &mut self.inside } else { &mut self.control };
        let place = tokio::sync::Mutex::new(place);
        let stalls = eventually(async || place.lock().await.stalls().await);
        tokio::pin!(stalls);
        tokio::select! {
            // The relay may have asked the deploy's actor meanwhile, which then is the one that hangs.
            _ = Deploy::handle(&deps, &mut state, commit()) => assert!(stalls.await, "{write:?} was not hit"),
            stalls = &mut stalls => assert!(stalls, "{write:?} was not hit"),
        }
    }

    /// Stops before a write, loads the state twice, lets one go on and then the other.
    async fn repeated_at(&mut self, scenario: Scenario, writes: &[Write], write: &Write, older_claim: bool) {
        let plan = self.plan(scenario).await;
        self.place(write).break_at(&write.key, Death::Refused).await;
        let entity = plan.operation.0;
        let fence = claim(&self.node, "deploy", entity).await;
        let mut first = self.site.load(&self.node, &plan, &fence).await;
        let deps = self.node.deps.clone();
        let _ = Deploy::handle(&deps, &mut first, commit()).await;
        self.place(write).mend().await;

        let older = claim(&self.node, "deploy", entity).await;
        let mut stale = self.site.load(&self.node, &plan, &older).await;
        let fence = if older_claim { claim(&self.node, "deploy", entity).await } else { older };
        let mut fresh = self.site.load(&self.node, &plan, &fence).await;
        let went = Deploy::handle(&deps, &mut fresh, commit()).await;
        if went.is_ok() && fresh.operation.status.is_terminal() {
            self.site.check_end(scenario, self.n, &plan).await;
        } else {
            // On a hint of the relay the deploy's actor has taken it over.
            self.end(scenario, &plan).await;
        }
        let facts = self.facts(writes).await;
        let repeated = Deploy::handle(&deps, &mut stale, commit()).await;
        let known = match &repeated {
            Ok(()) => stale.operation.status.is_terminal(),
            Err(e) => e.doubts_memory() && matches!(e, ActorError::Store(_)),
        };
        assert!(known, "{scenario:?} {write:?}, older claim {older_claim}: {repeated:?}");
        assert_eq!(self.facts(writes).await, facts, "{scenario:?} {write:?}, older claim {older_claim}");
        for request in [commit(), Request::Step] {
            ask(&self.node, &plan, request).await.unwrap();
        }
        assert_eq!(self.facts(writes).await, facts, "{scenario:?} {write:?}: asked again");
    }

    async fn facts(&mut self, writes: &[Write]) -> String {
        let keys = |inside| -> Vec<String> {
            writes.iter().filter(|write| write.inside == inside).map(|write| write.key.clone()).collect()
        };
        let (own, theirs) = (keys(false), keys(true));
        self.control.facts(&own).await + &self.inside.facts(&theirs).await
    }
}

// E08. Goal: dying at any write of a deploy that brings everything, in any way, costs nothing but time. Method: watch
// one such deploy, then break each of its writes, in the database of ours and in the project's.
async fn killed_at_each_write(death: Death) {
    let mut bench = Bench::start().await;
    let writes = bench.writes_of(Scenario::Whole).await;
    let places: BTreeSet<&str> = writes.iter().filter_map(|write| write.key.split(' ').next()).collect();
    for part in PARTS {
        assert!(places.contains(part), "a whole deploy writes {part}: {writes:#?}");
    }
    for write in &writes {
        bench.killed_at(Scenario::Whole, write, death).await;
    }
    bench.node.stop().await;
}

/// Without these a deploy is not whole, and what is generated from it neither.
const PARTS: [&str; 15] = [
    "deploy_operations",
    "deploy_gates",
    "releases",
    "release_files",
    "release_functions",
    "functions",
    "function_runs",
    "function_secrets",
    "subdomains",
    "blobs",
    "blob_versions",
    "project_migrations",
    "internal.deploy_migrations",
    "internal.project_manifest",
    "ddl",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deploy_goes_live_once_whichever_of_its_writes_is_refused() {
    killed_at_each_write(Death::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deploy_goes_live_once_wherever_its_connection_is_cut() {
    killed_at_each_write(Death::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deploy_goes_live_once_whichever_of_its_commits_is_refused() {
    killed_at_each_write(Death::CommitRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deploy_goes_live_once_whichever_of_its_commits_is_cut() {
    killed_at_each_write(Death::CommitCut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deploy_goes_live_once_wherever_it_is_abandoned() {
    killed_at_each_write(Death::Stalled).await;
}

// E08. Goal: every move that the machine knows is made, and dying at any write of any of them changes no end.
// Method: all ways through, each of their writes broken; then compare the moves with the machine's own table.
#[tokio::test(flavor = "multi_thread")]
async fn every_move_of_the_machine_survives_a_death_at_its_writes() {
    let mut bench = Bench::start().await;
    // What a whole deploy writes is broken above.
    let mut broken = bench.writes_of(Scenario::Whole).await;
    for scenario in Scenario::ALL {
        let writes = fresh(&mut broken, bench.writes_of(scenario).await);
        for death in Death::ALL {
            for write in &writes {
                bench.killed_at(scenario, write, death).await;
            }
        }
    }
    settle_deferred(&mut bench).await;
    refused_after_a_wait(&mut bench).await;
    bench.look().await;
    let mut legal = BTreeSet::new();
    for from in Status::ALL {
        for to in Event::ALL.into_iter().filter_map(|event| from.apply(event).ok()) {
            // A column that keeps its value is no move; nobody uploads under an operation.
            if from != to && from != Status::Uploading {
                legal.insert(format!("{}>{}", from.as_str(), to.as_str()));
            }
        }
    }
    assert_eq!(bench.moves, legal, "what was seen, and what the machine knows");
    bench.node.stop().await;
}

/// The writes that are not known yet; from now on they are.
fn fresh(known: &mut Vec<Write>, writes: Vec<Write>) -> Vec<Write> {
    let fresh: Vec<Write> = writes.into_iter().filter(|write| !known.contains(write)).collect();
    known.extend(fresh.iter().cloned());
    fresh
}

/// The schema cannot be read for a while after the migration.
async fn settle_deferred(bench: &mut Bench) {
    let writes = bench.writes_of(Scenario::Whole).await;
    let key = key_of(&writes, |key| key.ends_with("schema_settling>activating"));
    let plan = bench.plan(Scenario::Whole).await;
    bench.control.break_at(&key, Death::Refused).await;
    let _ = ask(&bench.node, &plan, commit()).await;
    assert_eq!(bench.site.status(&plan).await, Status::SchemaSettling);
    bench.control.mend().await;
    let mut inside = bench.site.inside().await;
    // Whoever reads the schema's version waits for longer than it is waited for.
    sqlx::raw_sql("begin; lock table r402.schema_version in access exclusive mode")
        .execute(&mut inside)
        .await
        .unwrap();
    for _ in 0..2 {
        let _ = ask(&bench.node, &plan, Request::Step).await;
        assert_eq!(bench.site.status(&plan).await, Status::SchemaSettling);
    }
    let told = format!(
        "deploy_events where operation_id = '{}' and event->>'phase' = 'schema-settle' and event->>'status' = 'failed'",
        plan.operation.0
    );
    assert_eq!(bench.site.count(&told).await, 1, "said once");
    sqlx::raw_sql("rollback").execute(&mut inside).await.unwrap();
    bench.end(Scenario::Whole, &plan).await;
}

/// The pointer could not be moved, and by the time that it could, the name was gone.
async fn refused_after_a_wait(bench: &mut Bench) {
    let writes = bench.writes_of(Scenario::Site).await;
    let key = key_of(&writes, |key| key.starts_with("projects update active_release"));
    let plan = bench.plan(Scenario::NameTaken).await;
    let n = bench.n;
    bench.site.run(format!("delete from subdomains where name = 'taken-{n}'")).await;
    bench.control.break_at(&key, Death::Refused).await;
    let _ = ask(&bench.node, &plan, commit()).await;
    assert_eq!(bench.site.status(&plan).await, Status::ActivationPending);
    bench
        .site
        .run(format!(
            "insert into subdomains (name, project_id, deployment_id, created_at, updated_at)
             select 'taken-{n}', id, 'dpl_x', now(), now() from projects where public_id = 'bbbbb{n}'"
        ))
        .await;
    bench.control.mend().await;
    bench.end(Scenario::NameTaken, &plan).await;
}

fn key_of(writes: &[Write], is_it: impl Fn(&str) -> bool) -> String {
    writes.iter().find(|write| is_it(&write.key)).expect("it is written").key.clone()
}

// E08, E06. Goal: what was done is not done again, and an older owner or an older memory writes nothing. Method: stop
// before each write of each way through; go on under the same and under a newer claim; then let the old one act.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_any_write_is_stale_after_it() {
    let mut bench = Bench::start().await;
    let mut stopped = Vec::new();
    for scenario in Scenario::ALL {
        let writes = bench.writes_of(scenario).await;
        let stops = fresh(&mut stopped, writes.clone());
        for older_claim in [false, true] {
            for write in stops.iter().filter(|write| !write.inside) {
                bench.repeated_at(scenario, &writes, write, older_claim).await;
            }
        }
    }
    bench.node.stop().await;
}
