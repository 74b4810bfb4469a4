use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use store::accounts::{Pin, account_pin, lease_find, standing_find};
use store::ledger::{AccountRef, Currency, NewTransfer, post};
use store::projects::{NewProject, project_insert};
use types::{AccountId, Entropy, Lifecycle, OsEntropy, ProjectId, Tier, UsdMicros, Wallet};

use super::work;
use crate::lease::Request;
use crate::testing::{Node, PRICE, World};

const CALL: Duration = Duration::from_secs(20);
const DAY: i64 = 86_400;

/// An account with money for many leases.
async fn account(world: &World, byte: u8) -> AccountId {
    let fresh = AccountId::new(&OsEntropy);
    let who = store::accounts::account_of_wallet_ensure(&world.store, Wallet([byte; 20]), fresh, world.now());
    let who = who.await.unwrap();
    let outside = AccountRef::revenue("test", Currency::TestUsd);
    let sides = (outside, AccountRef::customer(who, Currency::TestUsd));
    let mut tx = world.store.begin().await.unwrap();
    let leg = NewTransfer::post(("test", format!("fund/{who}")), sides, UsdMicros(100 * PRICE.0), "test");
    post(&mut tx, OsEntropy.uuid(), &[leg], world.now()).await.unwrap();
    tx.commit().await.unwrap();
    who
}

async fn buy(node: &Node, who: AccountId, tier: Tier, name: &str) -> serde_json::Value {
    let request = Request::Purchase { tier, wallet: Wallet([1; 20]), request_key: name.to_owned() };
    node.actors().lease.call(who, request, CALL).await.unwrap().answer().expect("the balance covers it")
}

async fn project(world: &World, who: AccountId) -> ProjectId {
    let id = ProjectId::new(&OsEntropy);
    let public_id = id.0.simple().to_string()[..20].to_owned();
    let new = NewProject { id, account: who, name: "app".to_owned(), public_id };
    let mut tx = world.store.begin().await.unwrap();
    project_insert(&mut tx, &new, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn raw(world: &World) -> PgPool {
    PgPool::connect(&world.database_url()).await.unwrap()
}

async fn notices(raw: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select step from notices order by id").fetch_all(raw).await.unwrap()
}

async fn count(raw: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(raw).await.unwrap()
}

async fn ends_at(world: &World, who: AccountId) -> DateTime<Utc> {
    lease_find(&world.store, who).await.unwrap().unwrap().ends_at
}

async fn erased(world: &World, id: ProjectId) -> bool {
    let phase = store::projects::project_fetch(&world.store, id).await.unwrap().phase;
    phase == store::projects::Phase::Erased
}

// D10, D11. Goal: each step is done once, at its second, whatever the clock does. Method: a second before and
// at each boundary, with the clock an hour back and forth in between, on two nodes at once.
#[tokio::test]
async fn a_lease_ages_once_through_every_step_while_the_clock_jumps() {
    let world = World::start().await;
    let (node, other) = (world.node().await, world.node().await);
    let raw = raw(&world).await;
    let who = account(&world, 1).await;
    buy(&node, who, Tier::Prototype, "first").await;
    let app = project(&world, who).await;
    let mut seen = Vec::new();
    let mut days = 0;
    for (after, step) in [(7, Some("past_due")), (14, Some("frozen")), (30, Some("dormant")), (60, None)] {
        days += after;
        let due = ends_at(&world, who).await + TimeDelta::days(days - 7);
        world.clock.advance(due - world.now() - TimeDelta::seconds(1));
        work(&node.deps).await.unwrap();
        assert_eq!(notices(&raw).await, seen, "a second early, day {days}");
        world.advance_secs(1);
        for jump in [0, -3_600, 3_600, 3_600, -3_600] {
            world.advance_secs(jump);
            let (a, b) = tokio::join!(work(&node.deps), work(&other.deps));
            a.and(b).unwrap();
        }
        seen.extend(step.map(str::to_owned));
        assert_eq!(notices(&raw).await, seen, "day {days}");
    }
    assert!(crate::testing::eventually(|| erased(&world, app)).await, "the purge reached the project");
    assert_eq!(count(&raw, "select count(*) from project_purges").await, 0, "the decision was carried out");
    assert_eq!(count(&raw, "select count(*) from lifecycle_steps where worked_at is not null").await, 4);
    let facts: serde_json::Value =
        sqlx::query_scalar("select facts from notices where step = 'frozen'").fetch_one(&raw).await.unwrap();
    assert_eq!(
        (facts["lifecycle_state"].as_str(), facts["renew_url"].as_str()),
        (Some("frozen"), Some("/tiers/v1/prototype"))
    );
    node.stop().await;
    other.stop().await;
    world.stop().await;
}

// Goal: a renewal before the row is worked cancels it, one that is under way is waited for, one that comes
// after the decision does not undo it. Method: each of the three, the second with a writer's locks held open.
#[tokio::test]
async fn a_purge_and_a_renewal_happen_in_one_order() {
    let world = World::start().await;
    let node = world.node().await;
    let raw = raw(&world).await;
    let (early, open, late) = (account(&world, 1).await, account(&world, 2).await, account(&world, 3).await);
    let mut apps = Vec::new();
    for (who, name) in [(early, "a"), (open, "b"), (late, "c")] {
        buy(&node, who, Tier::Prototype, name).await;
        apps.push(project(&world, who).await);
    }
    world.advance_secs(112 * DAY);
    buy(&node, early, Tier::Prototype, "early again").await;

    // What a renewal does to the lease, with the commit still to come.
    let mut renewal = raw.begin().await.unwrap();
    sqlx::query("update leases set ends_at = ends_at + interval '400 days' where account_id = $1")
        .bind(open.0)
        .execute(&mut *renewal)
        .await
        .unwrap();
    work(&node.deps).await.unwrap();
    renewal.commit().await.unwrap();
    work(&node.deps).await.unwrap();
    buy(&node, late, Tier::Prototype, "late again").await;
    work(&node.deps).await.unwrap();

    assert!(crate::testing::eventually(|| erased(&world, apps[2])).await, "decided before the renewal");
    for (app, who) in [(apps[0], early), (apps[1], open)] {
        assert!(!erased(&world, app).await, "renewed in time");
        let told: i64 = sqlx::query_scalar("select count(*) from notices where account_id = $1")
            .bind(who.0)
            .fetch_one(&raw)
            .await
            .unwrap();
        assert_eq!(told, 0, "nobody is told of a lease that he renewed");
    }
    assert_eq!(count(&raw, "select count(*) from project_purges").await, 0);
    node.stop().await;
    world.stop().await;
}

// Goal: many renewals and sweeps at once never purge a renewed account. Method: 40 accounts, renewals against
// two sweepers, then the books of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_renewals_are_purged_before_or_cancelled_never_both() {
    let world = World::start().await;
    let (node, other) = (world.node().await, world.node().await);
    let raw = raw(&world).await;
    let mut all = Vec::new();
    for byte in 1..=40 {
        let who = account(&world, byte).await;
        buy(&node, who, Tier::Prototype, "first").await;
        project(&world, who).await;
        all.push(who);
    }
    world.advance_secs(112 * DAY);
    let renewals = all.iter().map(|who| buy(&node, *who, Tier::Prototype, "again"));
    let sweeps = async {
        for _ in 0..5 {
            let (a, b) = tokio::join!(work(&node.deps), work(&other.deps));
            a.and(b).unwrap();
        }
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(renewals), sweeps);
    assert!(answers.iter().all(|answer| answer["action"] == "subscribe"));
    let unworked = "select count(*) from lifecycle_steps s join leases l using (account_id)
        where s.worked_at is null and s.lease_ends_at <> l.ends_at";
    assert_eq!(count(&raw, unworked).await, 0, "what was replaced is gone");
    let purged = "select count(distinct account_id) from lifecycle_steps
        where step = 'purge' and worked_at is not null";
    let purged = count(&raw, purged).await;
    let told = count(&raw, "select count(*) from notices").await;
    assert_eq!(told, 3 * purged, "an account went through all of it or none of it");
    let erasing = "select count(*) from projects where phase = 'erased'";
    assert!(crate::testing::eventually(|| async { count(&raw, erasing).await == purged }).await);
    node.stop().await;
    other.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_pinned_account_does_not_age() {
    let world = World::start().await;
    let node = world.node().await;
    let raw = raw(&world).await;
    let who = account(&world, 1).await;
    buy(&node, who, Tier::Prototype, "first").await;
    let app = project(&world, who).await;
    let mut tx = world.store.begin().await.unwrap();
    account_pin(&mut tx, who, Pin::Set).await.unwrap();
    tx.commit().await.unwrap();
    world.advance_secs(200 * DAY);
    work(&node.deps).await.unwrap();
    assert_eq!(notices(&raw).await, Vec::<String>::new());
    assert!(!erased(&world, app).await);
    let standing = standing_find(&world.store, who).await.unwrap();
    assert_eq!(billing::lapse::lifecycle_of(&standing, world.now()), Some(Lifecycle::Active));
    node.stop().await;
    world.stop().await;
}

// B08. Goal: nobody is frozen, or even told, because he could not pay. Method: the chain makes no block while
// the lease ends; it comes back; an hour later the lease lapses.
#[tokio::test]
async fn a_lease_that_ends_while_the_chain_stands_still_waits_for_it() {
    let world = World::start().await;
    let node = world.node().await;
    let raw = raw(&world).await;
    let who = account(&world, 1).await;
    buy(&node, who, Tier::Prototype, "first").await;
    let state = async || {
        let standing = standing_find(&world.store, who).await.unwrap();
        billing::lapse::lifecycle_of(&standing, world.now())
    };
    // Blocks until half an hour before the end, then none.
    world.advance_secs(7 * DAY - 1_800);
    world.chain.skip_secs((7 * DAY - 1_800).unsigned_abs());
    world.chain.mine();
    node.tick().await;
    world.advance_secs(1_200);
    node.tick().await;
    world.advance_secs(1_200);
    assert_eq!(state().await, Some(Lifecycle::Active), "ten minutes after its end");
    work(&node.deps).await.unwrap();
    world.advance_secs(3 * 3_600);
    work(&node.deps).await.unwrap();
    assert_eq!(notices(&raw).await, Vec::<String>::new(), "nobody is told during the halt");
    world.chain.skip_secs((world.now().timestamp() - 1_900_000_000 - (7 * DAY - 1_800)).unsigned_abs());
    world.chain.mine();
    node.tick().await;
    node.tick().await;
    world.advance_secs(3_599);
    work(&node.deps).await.unwrap();
    assert_eq!((state().await, notices(&raw).await.len()), (Some(Lifecycle::Active), 0));
    world.advance_secs(301);
    work(&node.deps).await.unwrap();
    assert_eq!(state().await, Some(Lifecycle::PastDue));
    assert_eq!(notices(&raw).await, ["past_due"]);
    assert_eq!(count(&raw, "select count(*) from chain_stalls where ended_at is not null").await, 1);
    node.stop().await;
    world.stop().await;
}

// The sweep must stay cheap: 100,000 accounts whose leases end together, three quarters of their steps not
// due. Prints what it took.
#[tokio::test]
async fn a_hundred_thousand_leases_that_end_together_are_told_in_under_a_minute() {
    const ACCOUNTS: i64 = 100_000;
    let world = World::start().await;
    let node = world.node().await;
    let raw = raw(&world).await;
    let ends = world.now() + TimeDelta::days(7);
    for sql in [
        "insert into accounts (id, created_at) select gen_random_uuid(), $1 from generate_series(1, $2)",
        "insert into leases (account_id, tier, started_at, ends_at)
         select id, 'prototype', $1 - interval '168 hours', $1 from accounts where $2 > 0",
        "insert into lifecycle_steps (account_id, lease_ends_at, step, due_at)
         select id, $1, s.step, $1 + make_interval(hours => 24 * s.days) from accounts,
           (values ('past_due', 0), ('frozen', 14), ('dormant', 44), ('purge', 104)) as s (step, days)
         where $2 > 0",
    ] {
        sqlx::query(sql).bind(ends).bind(ACCOUNTS).execute(&raw).await.unwrap();
    }
    sqlx::query("analyze").execute(&raw).await.unwrap();
    let deps: &Arc<crate::Deps> = &node.deps;
    let idle = Instant::now();
    work(deps).await.unwrap();
    let idle = idle.elapsed();
    world.advance_secs(7 * DAY);
    let since = Instant::now();
    work(deps).await.unwrap();
    let took = since.elapsed();
    eprintln!("a sweep with nothing due took {idle:?}; {ACCOUNTS} notices took {took:?}");
    assert_eq!(count(&raw, "select count(*) from notices").await, ACCOUNTS);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(idle < Duration::from_secs(1), "{idle:?}");
    node.stop().await;
    world.stop().await;
}
