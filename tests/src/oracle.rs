//! What must hold after every case, whatever was done before.
//!
//! ATTACKS, universal oracle: (1) and (6) are `books verify`, which re-derives every balance; (2) is that plus
//! the payee's balance on the chain; (4) and (5) are the purchases without legs and the payments without
//! purchases; and beyond them nothing is left unfinished, and nothing was logged as an error.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::PgPool;

use crate::{Chain, Lab, books};

/// Work that is under way may take this long to end: the sweeps run every 5 seconds.
const QUIET_SECS_MAX: u64 = 45;

/// Rows that say that something is not finished.
const UNFINISHED: &[(&str, &str)] = &[
    ("outbox rows", "select count(*) from outbox"),
    ("payments", "select count(*) from payments where state in ('verified', 'settling')"),
    ("events of Stripe", "select count(*) from stripe_events where state = 'pending'"),
    ("card payments", "select count(*) from card_checkouts where facts_revision > posted_revision"),
    ("projects", "select count(*) from projects where phase in ('provisioning', 'erasing')"),
    (
        "deploys",
        "select count(*) from deploy_operations
         where status not in ('planning', 'uploading', 'ready', 'failed', 'rolled_back', 'needs_repair')",
    ),
];
/// The lanes' own rows: their sweep runs every 5 seconds, so only scenarios about money wait for it.
const UNSETTLED: &[(&str, &str)] =
    &[("transactions", "select count(*) from chain_txs where state in ('intended', 'sent')")];

/// Rows that contradict each other.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "purchases without legs",
        "select count(*) from purchases p
         where price_micros > 0 and not exists (select from ledger_transfers t where t.link = p.link)",
    ),
    (
        "credited payments without a live purchase",
        "select count(*) from payments y where state = 'credited' and product <> 'image' and not exists (
           select from purchases p where p.payment_id = y.id and p.action <> 'revoke'
             and not exists (select from purchases r where r.revokes = p.id))",
    ),
    (
        "payments with two live purchases",
        "select count(*) from (select payment_id from purchases p
           where payment_id is not null and action <> 'revoke'
             and not exists (select from purchases r where r.revokes = p.id)
           group by 1 having count(*) > 1) twice",
    ),
    (
        "leases without a purchase",
        "select count(*) from leases l
         where not exists (select from purchases p where p.account_id = l.account_id)",
    ),
    (
        "intents with two nonces that both worked",
        "select count(*) from (select intent from chain_txs where succeeded and purpose <> 'cancel'
           group by 1 having count(distinct nonce) > 1) twice",
    ),
    (
        "ready projects without slot or secrets",
        "select count(*) from projects p where phase = 'ready' and (slot is null or
           (select count(*) from project_secrets s where s.project_id = p.id and retired_at is null) <> 2)",
    ),
    (
        "projects in one slot, or slots bound to none",
        "select count(*) from slots s where state = 'bound'
           and (select count(*) from projects p where p.slot = s.number) <> 1",
    ),
    (
        "erased projects that hold something",
        "select count(*) from projects p where phase = 'erased' and (
           exists (select from project_secrets s where s.project_id = p.id)
           or exists (select from slots s where s.number = p.slot and s.state <> 'dropped'))",
    ),
    (
        "projects whose pointer is not their active release",
        "select count(*) from projects p
         left join releases r on r.project_id = p.id and r.status = 'active'
         where p.phase = 'ready' and p.active_release is distinct from r.id",
    ),
    (
        "finished deploys whose release never went live",
        "select count(*) from deploy_operations o left join releases r on r.id = o.release_id
         where o.status = 'ready' and coalesce(r.status, '') not in ('active', 'superseded')",
    ),
];

/// All that the oracle needs to know about a lab.
struct Facts {
    data: PathBuf,
    postgres: String,
    chain: Chain,
    token: String,
    payee: String,
    log: String,
    expected_errors: Vec<String>,
}

/// The whole oracle. Panics with what does not hold.
pub async fn oracle(lab: &Lab) {
    let facts = facts(lab);
    let database = PgPool::connect(&facts.postgres).await.unwrap();
    wait_for_none(&database, UNSETTLED).await;
    check(&facts, &database).await;
    database.close().await;
}

/// The oracle without the lanes' rest, for a caller that cannot wait: it blocks the thread.
pub(crate) fn oracle_blocking(lab: &Lab) {
    let facts = facts(lab);
    // A runtime of its own: the caller's is blocked meanwhile, and its connections with it.
    let check = move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let database = PgPool::connect(&facts.postgres).await.unwrap();
            check(&facts, &database).await;
            database.close().await;
        });
    };
    if let Err(panic) = std::thread::spawn(check).join() {
        std::panic::resume_unwind(panic);
    }
}

fn facts(lab: &Lab) -> Facts {
    let text = |name: &str| lab.server.ready[name].as_str().unwrap().to_owned();
    Facts {
        data: lab.data.clone(),
        postgres: text("postgres"),
        chain: Chain::new(&text("chain_rpc")),
        token: lab.token(),
        payee: text("payee"),
        log: lab.server.log.lock().unwrap().clone(),
        expected_errors: lab.expected_errors(),
    }
}

async fn check(facts: &Facts, database: &PgPool) {
    wait_for_none(database, UNFINISHED).await;
    for (what, sql) in CONTRADICTIONS {
        assert_eq!(count(database, sql).await, 0, "{what}");
    }
    payee_has_what_the_books_say(facts, database).await;
    let (report, good) = books(&facts.data);
    assert!(good && report["differences"] == 0, "{report:#}");
    assert_eq!(report["in_flight"], 0, "{report:#}");
    let declared = |line: &str| facts.expected_errors.iter().any(|known| line.contains(known.as_str()));
    let errors: Vec<&str> = errors(&facts.log).filter(|line| !declared(line)).collect();
    assert!(errors.is_empty(), "undeclared errors in the log:\n{}", errors.join("\n"));
}

/// The lines that the server logged as errors.
fn errors(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.split_whitespace().nth(1) == Some("ERROR"))
}

async fn count(database: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database).await.unwrap_or_else(|e| panic!("{e}: {sql}"))
}

async fn wait_for_none(database: &PgPool, kinds: &'static [(&'static str, &'static str)]) {
    let until = std::time::Instant::now() + Duration::from_secs(QUIET_SECS_MAX);
    loop {
        let mut left = Vec::new();
        for (what, sql) in kinds {
            match count(database, sql).await {
                0 => {}
                rows => left.push(format!("{rows} {what}")),
            }
        }
        if left.is_empty() {
            return;
        }
        assert!(
            std::time::Instant::now() < until,
            "unfinished after {QUIET_SECS_MAX} s: {}",
            left.join(", ")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Deposits and suspense are what the clearing accounts gave; the chain must show the same at the payee.
async fn payee_has_what_the_books_say(facts: &Facts, database: &PgPool) {
    const BOOKED: &str =
        "select coalesce(sum(abs(posted)), 0)::bigint from ledger_accounts where kind = 'x402_clearing'";
    let until = std::time::Instant::now() + Duration::from_secs(QUIET_SECS_MAX);
    loop {
        let on_chain = facts.chain.usdc_balance(&facts.token, &facts.payee).await;
        let booked = count(database, BOOKED).await;
        if u128::try_from(booked) == Ok(on_chain) {
            return;
        }
        assert!(std::time::Instant::now() < until, "the payee has {on_chain} micros, the books say {booked}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
