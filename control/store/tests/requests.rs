//! Repeats, replays and limits on a real Postgres.

use crate::common::{Db, now, wallet};
use chrono::TimeDelta;
use serde_json::json;
use store::requests::{Begun, DripInsert, DripLimits, IdempotencyKey, NewDrip, NonceUse, drip_insert};
use types::{Entropy, OsEntropy, UsdMicros};

// Contract 01, open question 4. Goal: of many uses of a nonce at once one is first, and only the same request
// repeats it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_nonce_is_first_once_and_then_only_the_same_request() {
    let db = Db::fresh().await;
    let until = now() + TimeDelta::minutes(5);
    let uses = (0..20).map(|_| {
        let store = db.store.clone();
        tokio::spawn(
            async move { store.siwx_nonce_use(wallet(1), "abcdefgh", &[1; 32], until).await.unwrap() },
        )
    });
    let uses = futures::future::join_all(uses).await;
    let firsts = uses.iter().filter(|used| *used.as_ref().unwrap() == NonceUse::First).count();
    assert_eq!(firsts, 1);
    assert!(uses.iter().all(|used| *used.as_ref().unwrap() != NonceUse::Other));
    let other = db.store.siwx_nonce_use(wallet(1), "abcdefgh", &[2; 32], until).await.unwrap();
    assert_eq!(other, NonceUse::Other);
    let same = db.store.siwx_nonce_use(wallet(1), "abcdefgh", &[1; 32], until).await.unwrap();
    assert_eq!(same, NonceUse::Same, "a replay does not take the nonce over");
    let another = db.store.siwx_nonce_use(wallet(2), "abcdefgh", &[2; 32], until).await.unwrap();
    assert_eq!(another, NonceUse::First, "nonces are per wallet");

    assert_eq!(db.store.requests_expire(until, 100).await.unwrap(), 0, "not before it can no longer verify");
    assert_eq!(db.store.requests_expire(until + TimeDelta::minutes(6), 100).await.unwrap(), 2);
}

#[tokio::test]
async fn an_idempotency_key_answers_again_or_refuses() {
    let db = Db::fresh().await;
    let key = IdempotencyKey { scope: "org_1 POST /projects/v1", key: "k" };
    let until = now() + TimeDelta::hours(24);
    let begin = async |hash: u8| db.store.idempotency_begin(key, &[hash; 32], now(), until).await.unwrap();
    assert_eq!(begin(1).await, Begun::New);
    assert_eq!(begin(1).await, Begun::Running);
    assert_eq!(begin(2).await, Begun::Other);
    db.store.idempotency_drop(key).await.unwrap();
    assert_eq!(begin(2).await, Begun::New, "what failed without effect may be tried again");
    db.store.idempotency_finish(key, &json!({ "ok": true })).await.unwrap();
    db.store.idempotency_drop(key).await.unwrap();
    assert_eq!(begin(2).await, Begun::Done(json!({ "ok": true })));
    assert_eq!(begin(1).await, Begun::Other);
    let later = db.store.idempotency_begin(key, &[1; 32], until, until + TimeDelta::hours(24)).await.unwrap();
    assert_eq!(later, Begun::New, "an expired key is free");
}

// Goal: limits count over all nodes, also when drips are asked for at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_faucet_gives_once_a_day_per_address_and_so_often_per_client() {
    let db = Db::fresh().await;
    let limits = DripLimits { wallet_rest: TimeDelta::hours(24), ip_hourly_max: Some(3) };
    let ask = |n: u8, at| {
        let store = db.store.clone();
        async move {
            let id = OsEntropy.uuid();
            let new = NewDrip { id, wallet: wallet(n), client_ip: "192.0.2.1".into(), amount: UsdMicros(1) };
            let mut tx = store.begin().await.unwrap();
            let outcome = drip_insert(&mut tx, &new, limits, at).await.unwrap();
            tx.commit().await.unwrap();
            outcome
        }
    };
    let at_once = futures::future::join_all((0..10).map(|_| tokio::spawn(ask(1, now())))).await;
    let allowed = at_once.iter().filter(|o| *o.as_ref().unwrap() == DripInsert::Allowed).count();
    assert_eq!(allowed, 1);
    let refused = ask(1, now() + TimeDelta::hours(23)).await;
    assert_eq!(refused, DripInsert::WalletLimited { retry_after_secs: 3601 });
    assert_eq!(ask(1, now() + TimeDelta::hours(25)).await, DripInsert::Allowed);

    let later = now() + TimeDelta::hours(50);
    for n in 2..5 {
        assert_eq!(ask(n, later).await, DripInsert::Allowed);
    }
    let limited = ask(5, later + TimeDelta::minutes(1)).await;
    assert_eq!(limited, DripInsert::ClientLimited { retry_after_secs: 59 * 60 + 1 });
    assert_eq!(ask(5, later + TimeDelta::minutes(61)).await, DripInsert::Allowed);
}
