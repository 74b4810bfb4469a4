//! The same proof long afterwards.

use serde_json::json;
use tests::{Lab, Wallet};

use super::ROUTE;

// A09. Goal: the answer of a payment is kept: who comes back when the authorisation's window is long over gets it, and
// is charged nothing. Method: pay, let the chain's time pass the window by hours, restart, present it again.
#[tokio::test]
async fn a_proof_that_is_presented_after_its_window_gets_the_stored_answer() {
    let lab = Lab::start().await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    let (challenge, offer) = lab.challenge(&wallet, ROUTE).await;
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer));
    let first = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!(first.status, 200, "{first:?}");

    lab.chain.rpc("evm_increaseTime", json!([6 * 3_600])).await;
    lab.chain.mine(1).await;
    let later = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!((later.status, &later.body), (200, &first.body), "{later:?}");
    assert_eq!(later.headers["payment-response"], first.headers["payment-response"]);
    let lab = lab.crash_and_restart().await;
    let again = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!((again.status, &again.body), (200, &first.body), "{again:?}");
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 900_000);
    lab.assert_books_agree();
}

// D17, D18. Goal: what is acknowledged is on the disk: no setting of the control database trades that for speed.
#[tokio::test]
async fn the_database_that_holds_money_syncs_every_commit() {
    let lab = Lab::start().await;
    let database = lab.database().await;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&database)
            .await
            .unwrap();
        assert_eq!(value, "on", "{setting}");
    }
    // Nor does any login or database of it.
    let lowered: i64 =
        sqlx::query_scalar("select count(*) from pg_db_role_setting where setconfig::text ~ 'sync'")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!(lowered, 0);
}
