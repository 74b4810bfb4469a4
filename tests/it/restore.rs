//! Restore drills: the control database comes from a backup that is older than some of the money, or of the projects.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Answer, Lab, TIER_ROUTE as ROUTE, Wallet, eventually};

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

/// What projects leave in a database, and what a new one must not find there.
const LEAVE: &str = "create table secrets (s text); insert into secrets values ('of somebody')";
const FIND: &str = "select (select count(*)::int from pg_class where relnamespace = current_schema()::regnamespace \
    and relkind in ('r', 'v', 'S')) tables, (select count(*)::int from auth.users) users";
/// More than are kept warm: some of those that are made after the restore get new numbers.
const PROJECTS: usize = 8;

async fn provision(lab: &Lab, wallet: &Wallet, name: &str) -> Value {
    let made = lab.as_wallet(wallet, "POST", "/projects/v1", Some(json!({ "name": name }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

async fn ask(lab: &Lab, project: &Value, sql: &str) -> Answer {
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    let request = lab.http.post(lab.url(&path)).bearer_auth(project["service_key"].as_str().unwrap());
    lab.send(request.header("content-type", "text/plain").body(sql.to_owned())).await
}

/// Whether the project's anon key still opens a door.
async fn opens(lab: &Lab, project: &Value) -> u16 {
    let request = lab.http.get(lab.url("/rest/v1/secrets"));
    lab.send(request.header("apikey", project["anon_key"].as_str().unwrap())).await.status
}

// G15. Goal: a control database from an older backup gives no project what another holds, and brings no erased project
// back. Method: projects that the backup does not know fill the slots that it knows as warm and more; one that it knows
// is erased; then the backup takes the place of the database, and as many projects are made again.
#[tokio::test]
async fn a_restore_gives_no_project_what_another_holds_and_revives_none_that_was_erased() {
    let mut lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let (kept, erased) = (provision(&lab, &wallet, "kept").await, provision(&lab, &wallet, "erased").await);
    for project in [&kept, &erased] {
        assert_eq!(ask(&lab, project, LEAVE).await.status, 200);
    }
    assert_eq!(lab.server.stop(), Some(0));
    copy(&lab.data.join("control-pg"), &lab.data.join("backup-pg"));
    let mut lab = lab.again().await;
    let mut after = Vec::new();
    for n in 0..PROJECTS {
        let project = provision(&lab, &wallet, &format!("after-{n}")).await;
        assert_eq!(ask(&lab, &project, LEAVE).await.status, 200);
        let user = json!({ "email": "ada@b.test", "password": "correct horse battery" });
        let request = lab.http.post(lab.url("/auth/v1/signup")).json(&user);
        let signed = lab.send(request.header("apikey", project["anon_key"].as_str().unwrap())).await;
        assert!(signed.status < 300, "{signed:?}");
        after.push(project);
    }
    let path = format!("/projects/v1/{}", erased["project_id"].as_str().unwrap());
    let gone = lab.with_key(erased["service_key"].as_str().unwrap(), "DELETE", &path, None).await;
    assert_eq!(gone.status, 200, "{gone:?}");

    assert_eq!(lab.server.stop(), Some(0));
    copy(&lab.data.join("backup-pg"), &lab.data.join("control-pg"));
    let lab = lab.again().await;
    lab.expect_error("a warm slot is another project's");
    lab.expect_error("its database was dropped before");
    let taken: Vec<&str> = after.iter().map(|project| project["schema_slot"].as_str().unwrap()).collect();
    for n in 0..PROJECTS {
        let fresh = provision(&lab, &wallet, &format!("fresh-{n}")).await;
        assert!(!taken.contains(&fresh["schema_slot"].as_str().unwrap()), "{fresh}");
        let found = ask(&lab, &fresh, FIND).await;
        assert_eq!(found.body["rows"], json!([{ "tables": 0, "users": 0 }]), "{found:?}");
    }
    for unknown in &after {
        assert_eq!(opens(&lab, unknown).await, 401, "a project that is not there");
    }
    eventually("the erased project's keys are dead again", 30, || async {
        (opens(&lab, &erased).await == 401).then_some(())
    })
    .await;
    let rows = ask(&lab, &kept, "select s from secrets").await;
    assert_eq!(rows.body["rows"], json!([{ "s": "of somebody" }]), "{rows:?}");
    lab.assert_books_agree();
}
