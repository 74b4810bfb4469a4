//! A restore drill: the control database comes from a backup that is older than some of the money.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tests::{TIER_ROUTE as ROUTE, Wallet, eventually};

use crate::cards::Shop;
use crate::watcher::{PRICE, becomes, prove, rich_wallet};

const SUSPENSE: &str = "select coalesce(sum(posted), 0)::bigint from ledger_accounts where kind = 'suspense'";

/// Copies a folder with its owners and modes, over whatever was there.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "{from:?} to {to:?}");
}

/// Stops the server, copies its control database one way, starts it again.
async fn while_stopped(mut shop: Shop, from: &str, to: &str) -> Shop {
    assert_eq!(shop.lab.server.stop(), Some(0));
    copy(&shop.lab.data.join(from), &shop.lab.data.join(to));
    shop.reopen().await
}

// D15. Goal: a restore loses no money. Method: payments of both kinds before and after the backup, one card
// payment and a refund across it; then the backup takes the place of the database. Oracle: every balance of
// before the restore, by the reconciler for cards, and for the chain by suspense and the payer's own proof.
#[tokio::test]
async fn a_restore_from_an_older_backup_ends_in_the_same_balances() {
    let shop = Shop::open().await;
    let before = rich_wallet(&shop.lab).await;
    assert_eq!(shop.lab.pay(&before, ROUTE).await.status, 200);
    let (known, unknown, across) = (Wallet::random(), Wallet::random(), Wallet::random());
    let refunded = shop.top_up(&known, 5_000_000).await;
    shop.stripe.pay(&refunded.session);
    shop.until(&known.address(), 5_000_000).await;
    let open = shop.top_up(&across, 7_000_000).await;

    let shop = while_stopped(shop, "control-pg", "backup-pg").await;
    let after = rich_wallet(&shop.lab).await;
    let proof = prove(&shop.lab, &after).await.payment;
    let bought = shop.lab.present(&after, ROUTE, &proof).await;
    assert_eq!(bought.status, 200, "{bought:?}");
    shop.stripe.pay(&open.session);
    shop.stripe.refund(&refunded.session, 100);
    // Two of whom the backup knows nothing: a new customer, and a new quote of a customer that it knows.
    let (fresh, more) = (shop.top_up(&unknown, 6_000_000).await, shop.top_up(&known, 2_000_000).await);
    shop.stripe.pay(&fresh.session);
    shop.stripe.pay(&more.session);
    let balances = [(&known, 6_000_000), (&across, 7_000_000), (&unknown, 6_000_000)];
    for (wallet, micros) in balances {
        shop.until(&wallet.address(), micros).await;
    }

    let shop = while_stopped(shop, "backup-pg", "control-pg").await;
    for (wallet, micros) in balances {
        shop.until(&wallet.address(), micros).await;
    }
    shop.lab.expect_error("nonces of this lane were used by somebody else");
    let database = shop.lab.database().await;
    becomes(&database, PRICE.try_into().unwrap(), SUSPENSE).await;
    let again = shop.lab.present(&after, ROUTE, &proof).await;
    assert_eq!((again.status, &again.body["action"]), (200, &json!("subscribe")), "{again:?}");
    becomes(&database, 0, SUSPENSE).await;
    // The lane's next nonce in the backup was used since: the chain says which is next.
    let new = rich_wallet(&shop.lab).await;
    assert_eq!(shop.lab.pay(&new, ROUTE).await.status, 200);
    for wallet in [&before, &after, &new] {
        let status = shop.lab.as_wallet(wallet, "GET", "/tiers/v1/status", None).await;
        assert_eq!(status.body["tier"], "prototype", "{status:?}");
        let left = shop.lab.chain.usdc_balance(&shop.lab.token(), &wallet.address()).await;
        assert_eq!(left, 9 * PRICE, "paid once");
    }
    eventually("every fact is posted", 30, || async {
        let sql = "select count(*) from card_checkouts where facts_revision > posted_revision";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(&database).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    shop.lab.assert_books_agree();
}
