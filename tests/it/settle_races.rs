//! Between verify and settle: the payer, the token and strangers change what was checked.

use serde_json::{Value, json};
use tests::{Authorization, Lab, TIER_ROUTE as ROUTE, Wallet, oracle};

use crate::watcher::{
    PRICE, address_bytes, becomes, in_the_pool, let_it_work, number, presented, prove, rich_wallet, scanned,
    text, tier,
};

/// In TestUsdc.sol.
const BLACKLIST_SLOT: u8 = 5;
const PAUSED_SLOT: &str = "0x6";
const STATE: &str = "select state from payments order by created_at desc limit 1";

/// The storage slot of an address in a mapping.
fn mapping_slot(address: &str, slot: u8) -> String {
    let key = format!("{:0>64}{slot:064x}", address.trim_start_matches("0x"));
    alloy::primitives::keccak256(hex::decode(key).unwrap()).to_string()
}

/// Presents while blocks are held, lets `change` happen before the transfer is mined, and expects that nothing
/// was bought and the reason is told.
async fn fails_after(lab: &Lab, what: &str, change: impl AsyncFnOnce(&Wallet, &Authorization)) -> Value {
    let wallet = rich_wallet(lab).await;
    let proof = prove(lab, &wallet).await;
    lab.chain.hold_blocks().await;
    let waiting = presented(lab, &wallet, &proof.payment);
    in_the_pool(lab, 1).await;
    change(&wallet, &proof.authorization).await;
    lab.chain.mine(1).await;
    lab.chain.release_blocks().await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 402, "{what}: {answer:?}");
    assert!(answer.headers.contains_key("payment-required"), "{what}: {answer:?}");
    assert!(tier(lab, &wallet).await["tier"].is_null(), "{what}");
    answer.body
}

// A12, A10, A36: between verify and settle the money leaves, the authorisation is withdrawn, the token is paused
// or the payer blacklisted. Our transaction reverts: no grant, a reason, and the server works on.
#[tokio::test]
async fn what_changes_between_verify_and_settle_buys_nothing() {
    let lab = Lab::start().await;
    let token = lab.token();
    fails_after(&lab, "drained", async |wallet, _| lab.mint(wallet, 0).await).await;
    fails_after(&lab, "cancelled", async |wallet, authorization| {
        lab.chain.send_as(&Wallet::random().address(), &token, &wallet.cancel_data(authorization)).await;
    })
    .await;
    fails_after(&lab, "paused", async |_, _| lab.chain.set_storage(&token, PAUSED_SLOT, 1).await).await;
    let wallet = rich_wallet(&lab).await;
    let refused = lab.pay(&wallet, ROUTE).await;
    assert_eq!(refused.status, 402, "paused before verify: {refused:?}");
    lab.chain.set_storage(&token, PAUSED_SLOT, 0).await;
    fails_after(&lab, "blacklisted", async |wallet, _| {
        lab.chain.set_storage(&token, &mapping_slot(&wallet.address(), BLACKLIST_SLOT), 1).await;
    })
    .await;
    let payee = lab.server.ready["payee"].as_str().unwrap().to_lowercase();
    let payee_slot = mapping_slot(&payee, BLACKLIST_SLOT);
    lab.chain.set_storage(&token, &payee_slot, 1).await;
    assert_eq!(lab.pay(&wallet, ROUTE).await.status, 402, "the payee is blacklisted");
    lab.chain.set_storage(&token, &payee_slot, 0).await;
    assert_eq!(lab.pay(&wallet, ROUTE).await.status, 200, "and all is well again");
    lab.assert_books_agree();
}

/// A contract that hands its calldata to the token, burns gas, and then stops or reverts.
fn wrapper(token: &str, reverts: bool) -> String {
    let mut code = vec![0x36, 0x60, 0x00, 0x60, 0x00, 0x37];
    code.extend([0x60, 0x00, 0x60, 0x00, 0x36, 0x60, 0x00, 0x60, 0x00, 0x73]);
    code.extend(address_bytes(token));
    code.extend([0x5a, 0xf1, 0x50]);
    // for 255 down to 0 {}
    code.extend([0x60, 0xff]);
    let start = u8::try_from(code.len()).unwrap();
    code.extend([0x5b, 0x60, 0x01, 0x90, 0x03, 0x80, 0x60, start, 0x57, 0x50]);
    code.extend(if reverts { vec![0x60, 0x00, 0x60, 0x00, 0xfd] } else { vec![0x00] });
    format!("0x{}", hex::encode(code))
}

// A14: an observer wraps the call: once it reverts afterwards, once it burns gas and succeeds. A11: our own
// transaction is mined with status 1 and no event. What counts is the log, whoever sent it.
#[tokio::test]
async fn only_the_log_counts_not_who_sent_it_nor_that_it_succeeded() {
    let lab = Lab::start().await;
    let (database, token) = (lab.database().await, lab.token());
    let wallet = rich_wallet(&lab).await;
    let proof = prove(&lab, &wallet).await;
    let data = wallet.settle_data(&proof.authorization);
    let (reverting, working) = (Wallet::random().address(), Wallet::random().address());
    let code = wrapper(&token, true);
    lab.chain.set_code(&reverting, &code).await;
    lab.chain.set_code(&working, &wrapper(&token, false)).await;
    lab.chain.hold_blocks().await;
    let stranger = Wallet::random().address();
    let hash = lab.chain.send_as(&stranger, &reverting, &data).await;
    lab.chain.mine(1).await;
    assert_eq!(lab.chain.receipt(&hash).await["status"], "0x0");
    scanned(&lab, &database).await;
    assert_eq!(number(&database, "select count(*) from sightings").await, 0);

    let waiting = presented(&lab, &wallet, &proof.payment);
    in_the_pool(&lab, 1).await;
    // Ours would come first otherwise: it is sent again seconds later.
    lab.chain.drop_pool().await;
    let hash = lab.chain.send_as(&stranger, &working, &data).await;
    lab.chain.mine(1).await;
    assert_eq!(lab.chain.receipt(&hash).await["status"], "0x1");
    assert_eq!(waiting.await.unwrap().status, 200, "the stranger's transaction pays");
    let paid_by =
        text(&database, "select '0x' || encode(tx_hash, 'hex') from sightings where canonical").await;
    assert_eq!(paid_by, hash);

    // The token's code is swapped for one that does nothing and succeeds.
    let other = rich_wallet(&lab).await;
    let proof = prove(&lab, &other).await;
    let real = lab.chain.rpc("eth_getCode", json!([token, "latest"])).await;
    let waiting = presented(&lab, &other, &proof.payment);
    in_the_pool(&lab, 1).await;
    lab.chain.set_code(&token, "0x00").await;
    lab.chain.mine(1).await;
    becomes(
        &database,
        1,
        "select count(*) from chain_txs t join payments p on p.id = t.intent
         where t.succeeded and p.state = 'settling'",
    )
    .await;
    lab.chain.set_code(&token, real.as_str().unwrap()).await;
    lab.chain.mine(1).await;
    let_it_work().await;
    assert_eq!(text(&database, STATE).await, "settling", "mined with status 1, and nothing was paid");
    assert!(!waiting.is_finished());
    assert!(tier(&lab, &other).await["tier"].is_null());
    // It ends when the chain says that it can never pay.
    lab.chain.rpc("evm_increaseTime", json!([400])).await;
    lab.chain.mine(1).await;
    lab.chain.release_blocks().await;
    let answer = waiting.await.unwrap();
    assert!(matches!(answer.status, 402 | 409), "{answer:?}");
    becomes(&database, 1, "select count(*) from payments where state = 'expired'").await;
    assert_eq!(lab.chain.usdc_balance(&token, &other.address()).await, 10 * PRICE);
    lab.assert_books_agree();
}

// A32, D03: more payments at once than the pool has connections. A credit that waited for a second connection
// while it held one made all of them wait for each other until they gave up.
#[tokio::test]
async fn many_wallets_pay_at_once_and_none_holds_up_another() {
    let lab = Lab::start().await;
    let mut buyers = Vec::new();
    for _ in 0..48 {
        let wallet = Wallet::random();
        lab.mint(&wallet, 1_000_000).await;
        let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
        let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
        buyers.push((wallet, payment));
    }
    let answers = buyers.iter().map(|(wallet, payment)| lab.present(wallet, ROUTE, payment));
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    oracle(&lab).await;
}
