//! A thousand purchases, signed by Stripe's own library and told in any order.

use std::io::Write;
use std::process::{Command, Stdio};

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sqlx::PgPool;
use tests::{Wallet, peers};

use super::{SECRET, Shop};

/// Four purchases of each.
const BUYERS: usize = 250;
const SEED: u64 = 402;
/// Requests that are under way at once.
const AT_ONCE: usize = 12;

/// What everybody ends with, by position: balances in each money, tier, what was bought.
async fn books(database: &PgPool, buyers: &[Wallet]) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    for (n, buyer) in buyers.iter().enumerate() {
        let text: Option<String> = sqlx::query_scalar(
            "select (select string_agg(a.kind || '=' || a.posted || '/' || a.held, ' ' order by a.kind)
               from ledger_accounts a where a.owner = w.account_id)
               || ' ' || coalesce((select l.tier || ' ' || (l.ends_at - l.started_at) from leases l
                 where l.account_id = w.account_id), 'none')
               || ' debt ' || (select card_debt_micros from accounts where id = w.account_id)
             from account_wallets w where w.wallet = $1",
        )
        .bind(buyer.address())
        .fetch_optional(database)
        .await
        .unwrap();
        all.push((n, text.unwrap_or_default()));
    }
    all
}

async fn totals(database: &PgPool) -> String {
    sqlx::query_scalar(
        "select string_agg(kind || ' ' || name || '=' || posted, ', ' order by kind, name)
         from ledger_accounts where owner is null",
    )
    .fetch_one(database)
    .await
    .unwrap()
}

/// Buys the same for everybody, and answers the buyers and what Stripe has to say about it, in order.
async fn purchases(shop: &Shop) -> (Vec<Wallet>, Vec<String>) {
    let buyers: Vec<Wallet> = (0..BUYERS).map(|_| Wallet::random()).collect();
    shop.stripe.go_silent();
    futures::stream::iter(buyers.iter().enumerate())
        .for_each_concurrent(AT_ONCE, |(n, buyer)| purchases_of(shop, n, buyer))
        .await;
    (buyers, shop.stripe.take_held())
}

async fn purchases_of(shop: &Shop, n: usize, buyer: &Wallet) {
    let body = json!({ "wallet": buyer.address() });
    let top_up = shop.top_up(buyer, 5_000_000 + 10_000 * n as i64).await;
    let pack = shop.start("/billing/v1/email-packs/checkout", body.clone()).await;
    let tier = shop.start("/billing/v1/tiers/hobby/checkout", body.clone()).await;
    let renewal = shop.start("/billing/v1/tiers/hobby/checkout", body).await;
    for started in [&top_up, &tier, &renewal] {
        shop.stripe.pay(&started.session);
    }
    shop.stripe.pay_later(&pack.session);
    let end = if n.is_multiple_of(7) { stripe_fake::Settled::Failed } else { stripe_fake::Settled::Paid };
    shop.stripe.settle(&pack.session, end);
    if n.is_multiple_of(5) {
        shop.stripe.refund(&top_up.session, 120);
        shop.stripe.refund(&top_up.session, 80);
    }
    if n.is_multiple_of(6) {
        let dispute = shop.stripe.dispute(&top_up.session, 200);
        shop.stripe.dispute_update(&dispute, if n.is_multiple_of(12) { "won" } else { "lost" });
    }
}

/// The signature headers that npm `stripe` makes for bodies, now.
async fn signed_by_npm(bodies: &[String]) -> Vec<String> {
    let asked = json!({ "secret": SECRET, "bodies": bodies }).to_string();
    let sign = move || {
        let mut node = Command::new("node");
        node.current_dir(peers()).arg("sign.mjs").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut node = node.spawn().unwrap();
        node.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success(), "npm stripe: {}", output.status);
        serde_json::from_slice::<Vec<String>>(&output.stdout).unwrap()
    };
    let headers = tokio::task::spawn_blocking(sign).await.unwrap();
    assert_eq!(headers.len(), bodies.len());
    headers
}

async fn told(shuffled: Option<u64>) -> (Vec<(usize, String)>, String) {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let (buyers, mut bodies) = purchases(&shop).await;
    if let Some(seed) = shuffled {
        let mut rng = StdRng::seed_from_u64(seed);
        let twice: Vec<String> = bodies.iter().filter(|_| rng.random_bool(0.3)).cloned().collect();
        bodies.extend(twice);
        bodies.shuffle(&mut rng);
    }
    let headers = signed_by_npm(&bodies).await;
    let signed: Vec<_> = bodies.iter().zip(&headers).collect();
    for chunk in signed.chunks(AT_ONCE) {
        let shop = &shop;
        let deliveries = chunk.iter().map(|(body, header)| shop.deliver_signed(body, header));
        let answers = futures::future::join_all(deliveries).await;
        assert!(answers.iter().all(|a| a.status == 200), "{answers:?}");
    }
    shop.quiet(&database).await;
    let found = (books(&database, &buyers).await, totals(&database).await);
    shop.lab.assert_books_agree();
    found
}

// C01, C03, C09: 1,000 purchases with refunds, disputes and late money; random order and 30 % duplicates change
// nothing.
#[tokio::test]
async fn a_thousand_purchases_in_random_order_with_duplicates_leave_the_same_books() {
    let (in_order, totals) = told(None).await;
    let (shuffled, totals_shuffled) = told(Some(SEED)).await;
    for (ordered, other) in in_order.iter().zip(&shuffled) {
        assert_eq!(ordered, other);
    }
    assert_eq!(totals, totals_shuffled);
    assert!(in_order.iter().all(|(_, text)| text.contains("hobby")), "{in_order:?}");
}
