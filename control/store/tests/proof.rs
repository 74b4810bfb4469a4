//! Proofs of inclusion.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sqlx::Row;
use store::StoreError;
use store::ledger::{ProofError, proof_check, prove, seal};

use crate::common::{Db, customer, now, transfer};

async fn roots(db: &Db) -> BTreeMap<String, [u8; 32]> {
    let rows = sqlx::query("select day::text, root from ledger_roots").fetch_all(&db.raw).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get::<Vec<u8>, _>(1).try_into().unwrap())).collect()
}

// D07, issue 4 part 1: with a root alone anybody can tell that a transfer is in the books, and that a changed
// one is not.
#[tokio::test]
async fn a_proof_needs_nothing_but_the_root_and_holds_for_nothing_else() {
    let db = Db::fresh().await;
    let (ours, theirs) = (db.account(1).await, db.account(2).await);
    for n in 0..9 {
        db.fund(ours, 100 + n).await;
        db.fund(theirs, 100).await;
    }
    db.post(&[transfer("between", (customer(ours), customer(theirs)), 7)]).await.unwrap();
    while seal(&db.store, now(), 5).await.unwrap() > 0 {}
    let waiting = prove(&db.store, ours).await.unwrap();
    assert_eq!((waiting.transfers.len(), waiting.not_rooted), (0, 10), "the day is not over");

    seal(&db.store, now() + TimeDelta::days(1), 5).await.unwrap();
    db.fund(ours, 1).await;
    let (proof, roots) = (prove(&db.store, ours).await.unwrap(), roots(&db).await);
    let proven = proof_check(&proof, &roots).unwrap();
    assert_eq!((proven.len(), proof.not_rooted), (10, 1));
    assert_eq!((proven[9].source_id.as_str(), proven[9].amount), ("between", 7));

    let changed = |change: &dyn Fn(&mut store::ledger::Proof)| {
        let mut other = proof.clone();
        change(&mut other);
        proof_check(&other, &roots).unwrap_err()
    };
    let root = |e: &ProofError| matches!(e, ProofError::Root { .. });
    assert!(root(&changed(&|p| p.transfers[3].seq += 1)));
    assert!(root(&changed(&|p| p.transfers[3].previous = "00".repeat(32))));
    assert!(root(&changed(&|p| drop(p.transfers[3].way.pop()))));
    let amount = |p: &mut store::ledger::Proof| {
        let last = p.transfers[3].canonical.len() - 1;
        p.transfers[3].canonical.replace_range(last.., "f");
        p.transfers[4].canonical.replace_range(last.., "e");
    };
    assert!(root(&changed(&amount)));
    assert!(matches!(changed(&|p| p.transfers[0].day = "1999-01-01".into()), ProofError::NoRoot(_)));
    assert!(matches!(changed(&|p| p.transfers[0].way = vec!["?".into()]), ProofError::Form(0)));
    assert!(matches!(changed(&|p| p.ledger_accounts.clear()), ProofError::Foreign(_)));
    let nobody = prove(&db.store, db.account(3).await).await.unwrap_err();
    assert!(matches!(nobody, StoreError::NotFound(_)), "{nobody}");
}
