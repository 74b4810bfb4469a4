//! The chain misbehaves: reorganisations, floods, clocks, and a token that changes its mind.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Answer, Authorization, Lab, LabOptions, TIER_ROUTE as ROUTE, Wallet, eventually, fresh_folder};
use tokio::task::JoinHandle;

pub const PRICE: u128 = 100_000;

/// A lab with more words for `up`.
pub async fn lab_with(args: &[&str]) -> Lab {
    let args = args.iter().map(|word| (*word).to_owned()).collect();
    Lab::start_with(LabOptions { args, ..LabOptions::default() }).await
}

/// A wallet with money from nowhere, so that no transaction of ours is in the way.
pub async fn rich_wallet(lab: &Lab) -> Wallet {
    let wallet = Wallet::random();
    lab.mint(&wallet, 10 * PRICE).await;
    wallet
}

/// A proof for the tier that was not presented yet, with what it is a proof of.
pub struct Proof {
    pub authorization: Authorization,
    pub payment: Value,
}

pub async fn prove(lab: &Lab, wallet: &Wallet) -> Proof {
    let (challenge, offer) = lab.challenge(wallet, ROUTE).await;
    let authorization = wallet.authorize(&offer);
    let payment = wallet.payment(&challenge, &offer, &authorization);
    Proof { authorization, payment }
}

/// Presents a proof and lets the request wait for its outcome.
pub fn presented(lab: &Lab, wallet: &Wallet, payment: &Value) -> JoinHandle<Answer> {
    let request = lab
        .signed(wallet, "POST", ROUTE, Some(json!({})))
        .header("payment-signature", STANDARD.encode(payment.to_string()));
    tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.json().await.unwrap_or_default() }
    })
}

/// Presents until the answer is final.
pub async fn credited(lab: &Lab, wallet: &Wallet, payment: &Value) -> Value {
    eventually("the credit", 40, || async {
        let answer = lab.present(wallet, ROUTE, payment).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

pub async fn number(database: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar::<_, Option<i64>>(sql).fetch_one(database).await.unwrap().unwrap_or_default()
}

pub async fn text(database: &PgPool, sql: &'static str) -> String {
    sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(database).await.unwrap().unwrap_or_default()
}

/// Waits until a query answers `wanted`.
pub async fn becomes(database: &PgPool, wanted: i64, sql: &'static str) {
    eventually(&format!("{wanted} from: {sql}"), 30, || async {
        (number(database, sql).await == wanted).then_some(())
    })
    .await;
}

/// Time in which a wrong credit would have come: several ticks and sweeps.
pub async fn let_it_work() {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

/// Waits until the watcher has scanned the chain as it is now.
pub async fn scanned(lab: &Lab, database: &PgPool) {
    let head = i64::try_from(lab.chain.block_number().await).unwrap();
    eventually("the watcher", 30, || async {
        (number(database, "select next_block from chain_cursors").await > head).then_some(())
    })
    .await;
}

const STATE: &str = "select state from payments order by created_at desc limit 1";
const CREDITED: &str = "select count(*) from payments where state = 'credited'";
const SUSPENSE: &str = "select sum(posted)::bigint from ledger_accounts where kind = 'suspense'";

pub async fn tier(lab: &Lab, wallet: &Wallet) -> Value {
    lab.as_wallet(wallet, "GET", "/tiers/v1/status", None).await.body
}

/// Pays while blocks are held: the transfer is in the newest block, alone.
async fn pay_in_a_held_block(lab: &Lab, wallet: &Wallet) -> (Proof, Answer) {
    let proof = prove(lab, wallet).await;
    lab.chain.hold_blocks().await;
    let waiting = presented(lab, wallet, &proof.payment);
    in_the_pool(lab, 1).await;
    lab.chain.mine(1).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    (proof, answer)
}

pub async fn in_the_pool(lab: &Lab, count: u64) {
    eventually("transactions in the pool", 20, || async {
        (lab.chain.pending().await >= count).then_some(())
    })
    .await;
}

// B01: blocks are replaced 1, 2 and 5 deep and the payment is mined again in another block each time.
#[tokio::test]
async fn a_payment_that_changes_blocks_keeps_its_one_journal() {
    let lab = Lab::start().await;
    let database = lab.database().await;
    let wallet = rich_wallet(&lab).await;
    let (proof, first) = pay_in_a_held_block(&lab, &wallet).await;
    let raw =
        text(&database, "select '0x' || encode(raw, 'hex') from chain_txs where purpose = 'settle'").await;
    let hash =
        text(&database, "select '0x' || encode(hash, 'hex') from chain_txs where purpose = 'settle'").await;
    let before = tier(&lab, &wallet).await;
    for depth in [1, 2, 5_u64] {
        lab.chain.mine(depth - 1).await;
        scanned(&lab, &database).await;
        let old = lab.chain.receipt(&hash).await["blockHash"].clone();
        lab.chain.reorg(depth, &[(raw.clone(), depth / 2)]).await;
        let new = lab.chain.receipt(&hash).await["blockHash"].as_str().unwrap().to_owned();
        assert_ne!(json!(new), old, "depth {depth}");
        eventually("the payment's new block", 20, || async {
            let noted = text(&database, "select '0x' || encode(block_hash, 'hex') from payments").await;
            (noted == new).then_some(())
        })
        .await;
    }
    lab.chain.release_blocks().await;
    assert_eq!(number(&database, "select credits::bigint from payments").await, 1);
    assert_eq!(number(&database, "select count(*) from ledger_transfers where source = 'x402'").await, 1);
    assert_eq!(
        number(&database, "select count(*) from ledger_transfers where reverses is not null").await,
        0
    );
    assert_eq!(number(&database, "select count(*) from sightings").await, 4, "each block's, marked");
    assert_eq!(number(&database, "select count(*) from sightings where canonical").await, 1);
    assert_eq!(tier(&lab, &wallet).await["lease_expires_at"], before["lease_expires_at"]);
    assert_eq!(lab.present(&wallet, ROUTE, &proof.payment).await.body, first.body);
    lab.assert_books_agree();
}

// B03, A10: the block is replaced, the payment is gone, and later a stranger submits the authorisation.
#[tokio::test]
async fn a_payment_that_was_dropped_and_submitted_by_a_stranger_is_credited_again_once() {
    let lab = Lab::start().await;
    let database = lab.database().await;
    let wallet = rich_wallet(&lab).await;
    let (proof, first) = pay_in_a_held_block(&lab, &wallet).await;
    let before = tier(&lab, &wallet).await;
    lab.chain.mine(1).await;
    scanned(&lab, &database).await;
    lab.chain.reorg(2, &[]).await;
    becomes(&database, 0, CREDITED).await;
    assert!(tier(&lab, &wallet).await["tier"].is_null(), "nothing was paid");
    assert_eq!(number(&database, "select count(*) from sightings where canonical").await, 0);
    let clearing = "select sum(posted)::bigint from ledger_accounts where kind = 'x402_clearing'";
    assert_eq!(number(&database, clearing).await, 0);

    // Whatever our lane has sent again by now comes after the stranger's bid and fails.
    let stranger = Wallet::random().address();
    let hash = lab.chain.send_as(&stranger, &lab.token(), &wallet.settle_data(&proof.authorization)).await;
    lab.chain.mine(1).await;
    assert_eq!(lab.chain.receipt(&hash).await["status"], "0x1");
    becomes(&database, 1, CREDITED).await;
    lab.chain.release_blocks().await;
    assert_eq!(number(&database, "select credits::bigint from payments").await, 2);
    let again = tier(&lab, &wallet).await;
    for field in ["tier", "lease_started_at", "lease_expires_at"] {
        assert_eq!(again[field], before[field], "{field}");
    }
    assert_eq!(lab.present(&wallet, ROUTE, &proof.payment).await.body, first.body);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 9 * PRICE);
    lab.assert_books_agree();
}

// B04: a reorganisation below the retained blocks. The watcher stops, says so, and guesses nothing.
#[tokio::test]
async fn a_reorganisation_deeper_than_retained_halts_and_nothing_is_credited_after_it() {
    let lab = lab_with(&["--retained-blocks", "4"]).await;
    let database = lab.database().await;
    let wallet = rich_wallet(&lab).await;
    pay_in_a_held_block(&lab, &wallet).await;
    for _ in 0..8 {
        lab.chain.mine(1).await;
    }
    scanned(&lab, &database).await;
    assert_eq!(lab.get("/health").await.status, 200);
    lab.chain.reorg(9, &[]).await;
    lab.chain.mine(1).await;
    let health = eventually("the halt", 20, || async {
        let health = lab.get("/health").await;
        (health.status == 503).then_some(health.body)
    })
    .await;
    assert_eq!(health["checks"]["watcher eip155:84532"], "fail", "{health}");
    let status = eventually("the reason", 10, || async {
        let status = lab.get("/status").await.body;
        status["watchers"]["eip155:84532"]["halted_reason"].is_string().then_some(status)
    })
    .await;
    let place = status["watchers"]["eip155:84532"].clone();
    assert!(place["halted_reason"].as_str().unwrap().contains("reorganisation"), "{place}");
    assert_eq!(text(&database, STATE).await, "credited", "what was credited is not guessed at");

    lab.chain.release_blocks().await;
    let other = rich_wallet(&lab).await;
    let proof = prove(&lab, &other).await;
    let waiting = presented(&lab, &other, &proof.payment);
    eventually("the money", 20, || async {
        (lab.chain.usdc_balance(&lab.token(), &other.address()).await == 9 * PRICE).then_some(())
    })
    .await;
    let_it_work().await;
    assert_eq!(number(&database, CREDITED).await, 1, "nothing is credited while it is halted");
    assert!(!waiting.is_finished());

    // A restart is no operator.
    drop(waiting);
    let lab = lab.restart().await;
    let after = lab.get("/status").await.body["watchers"]["eip155:84532"].clone();
    assert_eq!(
        (&after["next_block"], &after["halted_reason"]),
        (&place["next_block"], &place["halted_reason"])
    );
    assert_eq!(lab.get("/health").await.status, 503);
    let database = lab.database().await;
    let_it_work().await;
    assert_eq!(number(&database, CREDITED).await, 1);
}

// B05: above the instant limit a block that was seen is not enough; it must be safe, and exposure ends when it
// is final.
#[tokio::test]
async fn an_amount_above_the_instant_limit_waits_for_a_safe_block() {
    let lab = lab_with(&["--instant-micros-max", "99999"]).await;
    let database = lab.database().await;
    let wallet = rich_wallet(&lab).await;
    let proof = prove(&lab, &wallet).await;
    lab.chain.hold_blocks().await;
    let waiting = presented(&lab, &wallet, &proof.payment);
    in_the_pool(&lab, 1).await;
    lab.chain.mine(1).await;
    becomes(&database, 1, "select count(*) from sightings where canonical").await;
    let_it_work().await;
    assert_eq!(text(&database, STATE).await, "settling", "seen, and not spendable");
    assert!(tier(&lab, &wallet).await["tier"].is_null());
    let unpaid = tokio::time::timeout(Duration::from_secs(1), lab.challenge(&wallet, ROUTE)).await;
    assert!(unpaid.is_err(), "no second bill while it is open: the request waits");
    // The node calls a block safe 32 blocks and final 64 blocks below the newest.
    lab.chain.mine(20).await;
    scanned(&lab, &database).await;
    let_it_work().await;
    assert_eq!(text(&database, STATE).await, "settling");
    lab.chain.mine(20).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let open = "select count(*) from payments where finalized_at is null";
    let exposed = "select sum(posted)::bigint from ledger_accounts where kind = 'exposure'";
    assert_eq!((number(&database, open).await, number(&database, exposed).await), (1, PRICE as i64));
    lab.chain.mine(40).await;
    becomes(&database, 0, open).await;
    becomes(&database, 0, exposed).await;
    lab.chain.release_blocks().await;
    lab.assert_books_agree();
}

pub fn address_bytes(address: &str) -> Vec<u8> {
    hex::decode(address.trim_start_matches("0x")).unwrap()
}

/// A contract that sends `amount` of the token to `to` as often as its first word of calldata says.
fn batcher(token: &str, to: &str, amount: u8) -> String {
    // mem[0..68] = transfer(to, amount)
    let mut code = vec![0x63, 0xa9, 0x05, 0x9c, 0xbb, 0x60, 0xe0, 0x1b, 0x60, 0x00, 0x52, 0x73];
    code.extend(address_bytes(to));
    code.extend([0x60, 0x04, 0x52, 0x60, amount, 0x60, 0x24, 0x52]);
    // n = calldata[0]; while n != 0 { token.call(mem[0..68]); n -= 1 }
    code.extend([0x60, 0x00, 0x35]);
    let start = u8::try_from(code.len()).unwrap();
    let end = start + 47;
    code.extend([0x5b, 0x80, 0x15, 0x60, end, 0x57]);
    code.extend([0x60, 0x00, 0x60, 0x00, 0x60, 0x44, 0x60, 0x00, 0x60, 0x00, 0x73]);
    code.extend(address_bytes(token));
    code.extend([0x5a, 0xf1, 0x50, 0x60, 0x01, 0x90, 0x03, 0x60, start, 0x56]);
    assert_eq!(code.len(), usize::from(end), "the jump is to the end");
    code.extend([0x5b, 0x00]);
    format!("0x{}", hex::encode(code))
}

// B16, B15: hundreds of transfers in one block and in one transaction, while the server does not look; and a
// restart replays nothing twice. B18: a retired payee is still watched.
#[tokio::test]
async fn a_flood_of_transfers_is_counted_once_each_and_so_is_money_to_a_retired_payee() {
    let retired = Wallet::random().address();
    let config = fresh_folder().with_extension("toml");
    let config_text = config.display().to_string();
    let lab = lab_with(&["--retired-payee", &retired, "--write-serve-config", &config_text]).await;
    let database = lab.database().await;
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    let (single, batch) = (rich_wallet(&lab).await.address(), Wallet::random());
    lab.mint(&batch, PRICE).await;
    lab.chain.set_code(&batch.address(), &batcher(&lab.token(), &payee, 3)).await;

    // The server is off, as far as the chain can tell.
    lab.server.signal(Signal::SIGSTOP);
    lab.chain.hold_blocks().await;
    let transfer = |to: &str, amount: u64| {
        format!("0xa9059cbb{:0>64}{amount:064x}", to.trim_start_matches("0x").to_lowercase())
    };
    lab.chain.impersonate(&single).await;
    for _ in 0..250 {
        lab.chain.send_with_gas(&single, &lab.token(), &transfer(&payee, 2), 250_000).await;
    }
    lab.chain.send_as(&single, &lab.token(), &transfer(&retired, 77)).await;
    let stranger = Wallet::random().address();
    lab.chain.impersonate(&stranger).await;
    lab.chain.send_with_gas(&stranger, &batch.address(), &format!("0x{:064x}", 400), 10_000_000).await;
    lab.chain.mine(1).await;
    assert_eq!(lab.chain.pending().await, 0, "all of it is in one block");
    lab.chain.mine(2_500).await;
    lab.server.signal(Signal::SIGCONT);
    lab.chain.release_blocks().await;
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &payee).await, 250 * 2 + 400 * 3);

    becomes(&database, 651, "select count(*) from sightings").await;
    becomes(&database, 250 * 2 + 400 * 3 + 77, SUSPENSE).await;
    scanned(&lab, &database).await;
    assert_eq!(number(&database, "select count(distinct block_number) from sightings").await, 1);
    let books = tests::run(tests::command("run402d").args(["books", "verify", "--config", &config_text]));
    let report: Value = serde_json::from_slice(&books.stdout).unwrap();
    assert_eq!((&report["differences"], &report["deposits_checked"]), (&json!(0), &json!(651)), "{report}");

    // What the watcher missed: a reader of every block finds it, and so does who adds up what was seen.
    sqlx::query("delete from sightings where pay_to = $1").bind(&retired).execute(&database).await.unwrap();
    let books =
        tests::command("run402d").args(["books", "verify", "--config", &config_text]).output().unwrap();
    let report: Value = serde_json::from_slice(&books.stdout).unwrap();
    assert!(!books.status.success() && report["differences"] == 2, "{report}");
    let found = |what: &str| report["findings"].to_string().contains(what);
    assert!(
        found("77 micros that were never seen") && found("1777 on the account, 1700 by what was seen"),
        "{report}"
    );
    let _ = std::fs::remove_file(config);

    let lab = lab.again_with(vec!["--retired-payee".to_owned(), retired]).await;
    let database = lab.database().await;
    scanned(&lab, &database).await;
    assert_eq!(number(&database, "select count(*) from sightings").await, 650, "nothing is replayed twice");
    assert_eq!(number(&database, SUSPENSE).await, 250 * 2 + 400 * 3 + 77);
}

// B19: the chain's clock is an hour ahead of ours. It judges validity, ours does not.
#[tokio::test]
async fn validity_is_judged_by_the_clock_of_the_chain() {
    let lab = Lab::start().await;
    let wallet = rich_wallet(&lab).await;
    lab.chain.rpc("evm_increaseTime", json!([3_600])).await;
    lab.chain.mine(1).await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    // Good for five minutes by our clock: over since long by the chain's.
    let ours = wallet.authorize(&offer);
    let answer = lab.present(&wallet, ROUTE, &wallet.payment(&challenge, &offer, &ours)).await;
    assert_eq!(answer.status, 402, "{answer:?}");
    assert_eq!(answer.body["code"], "PAYMENT_INVALID", "{answer:?}");
    // Not valid for another 50 minutes by our clock: valid by the chain's.
    let mut theirs = wallet.authorize(&offer);
    theirs.valid_after += 3_600;
    theirs.valid_before += 3_600;
    let answer = lab.present(&wallet, ROUTE, &wallet.payment(&challenge, &offer, &theirs)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 9 * PRICE);
    lab.assert_books_agree();
}

// D11: a process that was paused for longer than the period of its loops (a snapshot, a laptop's lid) goes on
// where it was.
#[tokio::test]
async fn a_paused_server_watches_on() {
    let lab = Lab::start().await;
    let database = lab.database().await;
    for pause_secs in [2, 4, 6] {
        scanned(&lab, &database).await;
        lab.server.signal(Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_secs(pause_secs)).await;
        lab.server.signal(Signal::SIGCONT);
        lab.chain.mine(1).await;
        scanned(&lab, &database).await;
    }
}
