//! Money that no payment explains, and the operator's way out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Answer, Lab, TIER_ROUTE as ROUTE, Wallet, eventually};

use crate::watcher::{PRICE, Proof, becomes, lab_with, number, prove, rich_wallet, scanned};

const LIST: &str = "/admin/api/suspense";
const RESOLVE: &str = "/admin/api/suspense/resolve";
const SUSPENSE: &str = "select coalesce(sum(posted), 0)::bigint from ledger_accounts where kind = 'suspense'";
/// More blocks than the lab's chain takes to call one final.
const FINAL_BLOCKS: u64 = 100;

/// A lab, its operator, and a payer with money.
pub async fn operated() -> (Lab, Wallet, PgPool) {
    let admin = Wallet::random();
    let lab = lab_with(&["--admin-wallet", &admin.address()]).await;
    let database = lab.database().await;
    (lab, admin, database)
}

pub async fn as_admin(lab: &Lab, who: &Wallet, method: &str, path: &str, body: Option<Value>) -> Answer {
    lab.send(lab.signed(who, method, path, body).header("x-admin-mode", "1")).await
}

/// An authorisation that a stranger submits before we ever see its proof.
async fn submitted_by_a_stranger(lab: &Lab, payer: &Wallet) -> Proof {
    let proof = prove(lab, payer).await;
    let data = payer.settle_data(&proof.authorization);
    lab.chain.send_as(&Wallet::random().address(), &lab.token(), &data).await;
    proof
}

pub fn transfer_data(to: &str, micros: u128) -> String {
    format!("0xa9059cbb{:0>64}{micros:064x}", to.trim_start_matches("0x"))
}

pub async fn suspended(lab: &Lab, admin: &Wallet) -> Vec<Value> {
    let answer = as_admin(lab, admin, "GET", LIST, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["suspended"].as_array().unwrap().clone()
}

/// Mines until everything that is in suspense is final.
async fn all_final(lab: &Lab, admin: &Wallet) {
    lab.chain.mine(FINAL_BLOCKS).await;
    eventually("final blocks", 30, || async {
        suspended(lab, admin).await.iter().all(|row| row["final"] == true).then_some(())
    })
    .await;
}

async fn test_money(lab: &Lab, wallet: &Wallet) -> i64 {
    let account = lab.get(&format!("/billing/v1/accounts/{}", wallet.address())).await;
    account.body["test_available_usd_micros"].as_i64().unwrap()
}

// A15, A42, oracle (2) and (5). Goal: suspense has one way out, taken once. Method: a stranger submits an
// authorisation; the operator decides before it is final, twice at once for two owners, again after a crash; then
// the proof is presented.
#[tokio::test]
async fn an_operator_gives_suspended_money_to_one_account_once() {
    let (lab, admin, database) = operated().await;
    let payer = rich_wallet(&lab).await;
    let proof = submitted_by_a_stranger(&lab, &payer).await;
    becomes(&database, PRICE.try_into().unwrap(), SUSPENSE).await;
    let rows = suspended(&lab, &admin).await;
    assert_eq!((rows.len(), &rows[0]["final"], &rows[0]["claimed"]), (1, &json!(false), &json!(false)));
    assert_eq!(rows[0]["payer"], payer.address());
    let name = rows[0]["sighting"].as_str().unwrap().to_owned();
    let owners = [Wallet::random(), Wallet::random()];
    let ask = |owner: &Wallet| json!({ "sighting": name, "wallet": owner.address(), "note": "by phone" });

    let early = as_admin(&lab, &admin, "POST", RESOLVE, Some(ask(&owners[0]))).await;
    assert_eq!((early.status, &early.body["details"]["reason"]), (409, &json!("not_final")), "{early:?}");
    all_final(&lab, &admin).await;
    refusals(&lab, &admin, &payer, &name).await;

    let asks = (0..16).map(|n| as_admin(&lab, &admin, "POST", RESOLVE, Some(ask(&owners[n % 2]))));
    let answers = futures::future::join_all(asks).await;
    let done: Vec<&Answer> = answers.iter().filter(|a| a.status == 200).collect();
    assert!(!done.is_empty() && done.iter().all(|a| a.body == done[0].body), "{answers:?}");
    for refused in answers.iter().filter(|a| a.status != 200) {
        assert_eq!(refused.body["code"], "SUSPENSE_NOT_RESOLVABLE", "{refused:?}");
        assert_eq!(refused.body["details"]["reason"], "resolved");
    }
    let (a, b) = (test_money(&lab, &owners[0]).await, test_money(&lab, &owners[1]).await);
    assert_eq!((a + b, a * b), (PRICE.try_into().unwrap(), 0));
    let owner = &owners[usize::from(a == 0)];
    assert_eq!(number(&database, SUSPENSE).await, 0);
    lab.assert_books_agree();

    // The proof comes after all: it buys nothing, and leaves no row.
    let late = lab.present(&payer, ROUTE, &proof.payment).await;
    assert_eq!((late.status, &late.body["code"]), (402, &json!("PAYMENT_INVALID")), "{late:?}");
    assert_eq!(number(&database, "select count(*) from payments").await, 0);
    database.close().await;

    let mut lab = lab;
    lab.server.kill();
    let lab = lab.again_with(vec!["--admin-wallet".to_owned(), admin.address()]).await;
    let again = as_admin(&lab, &admin, "POST", RESOLVE, Some(ask(owner))).await;
    assert_eq!((again.status, &again.body), (200, &done[0].body), "{again:?}");
    assert!(suspended(&lab, &admin).await.is_empty());
    let bought = lab.as_wallet(owner, "POST", ROUTE, Some(json!({}))).await;
    assert_eq!((bought.status, &bought.body["action"]), (200, &json!("subscribe")), "{bought:?}");
    lab.assert_books_agree();
}

/// What is no decision, and who may not make one.
async fn refusals(lab: &Lab, admin: &Wallet, stranger: &Wallet, name: &str) {
    let good = json!({ "sighting": name, "wallet": stranger.address() });
    for (who, mode) in [(stranger, Some("1")), (admin, None)] {
        for (method, path, body) in [("GET", LIST, None), ("POST", RESOLVE, Some(good.clone()))] {
            let mut request = lab.signed(who, method, path, body);
            if let Some(mode) = mode {
                request = request.header("x-admin-mode", mode);
            }
            let refused = lab.send(request).await;
            assert_eq!((refused.status, &refused.body["code"]), (403, &json!("ADMIN_REQUIRED")));
        }
    }
    let nobody = format!("org_{}", "0".repeat(32));
    let elsewhere = name.replace("/#1", "/#2");
    let bad = [
        (400, json!({ "sighting": name })),
        (400, json!({ "sighting": name, "wallet": stranger.address(), "account": nobody })),
        (400, json!({ "sighting": name, "returned_tx": "0x12" })),
        (400, json!({ "sighting": "x", "wallet": stranger.address() })),
        (400, json!({ "sighting": name, "wallet": stranger.address(), "note": "x".repeat(501) })),
        (404, json!({ "sighting": name, "account": nobody })),
        (404, json!({ "sighting": elsewhere, "wallet": stranger.address() })),
    ];
    for (status, body) in bad {
        let answer = as_admin(lab, admin, "POST", RESOLVE, Some(body.clone())).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    for query in ["?limit=0", "?limit=x", "?after=x"] {
        let path = format!("{LIST}{query}");
        assert_eq!(as_admin(lab, admin, "GET", &path, None).await.status, 400, "{query}");
    }
}

// Oracle (2). Goal: what an operator sent back is neither suspense nor clearing any more, and money that a payment
// claims stays the payment's. Method: three plain transfers and a presented proof; the command line lists them
// page by page.
#[tokio::test]
async fn money_that_was_sent_back_leaves_the_books_and_claimed_money_does_not() {
    let (lab, admin, database) = operated().await;
    let payer = rich_wallet(&lab).await;
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    for micros in [5, 6, 7] {
        lab.chain.send_as(&payer.address(), &lab.token(), &transfer_data(&payee, micros)).await;
    }
    becomes(&database, 18, SUSPENSE).await;
    let proof = submitted_by_a_stranger(&lab, &payer).await;
    becomes(&database, 18 + i64::try_from(PRICE).unwrap(), SUSPENSE).await;
    let rows = suspended(&lab, &admin).await;
    let claimed = rows.iter().find(|row| row["amount_usd_micros"] == json!(PRICE)).unwrap();
    let name = |row: &Value| row["sighting"].as_str().unwrap().to_owned();
    let claimed = name(claimed);
    assert_eq!(lab.present(&payer, ROUTE, &proof.payment).await.status, 200);
    all_final(&lab, &admin).await;
    let taken = json!({ "sighting": claimed, "wallet": payer.address() });
    let refused = as_admin(&lab, &admin, "POST", RESOLVE, Some(taken)).await;
    assert_eq!((refused.status, &refused.body["details"]["reason"]), (409, &json!("claimed")), "{refused:?}");

    let pages = pages(&lab, &admin);
    let listed = suspended(&lab, &admin).await;
    assert_eq!((listed.len(), &pages), (3, &listed), "the command shows the same, page by page");
    let six = listed.iter().find(|row| row["amount_usd_micros"] == 6).unwrap();
    let back = lab.chain.send_as(&payee, &lab.token(), &transfer_data(&payer.address(), 6)).await;
    let words =
        ["admin", "suspense", "resolve", &name(six), "--returned-tx", &back, "--note", "sent by error"];
    let told = run402(&lab, &admin, &words);
    assert_eq!((&told["outcome"], &told["returned_tx"]), (&json!("returned"), &json!(back)), "{told}");
    assert_eq!(number(&database, SUSPENSE).await, 12);
    scanned(&lab, &database).await;
    lab.assert_books_agree();

    // An auditor finds a decision that nobody made, and one whose money is gone.
    sqlx::raw_sql(
        "begin; set local session_replication_role = replica; update suspense_resolutions set amount_micros = 5;
         commit",
    )
    .execute(&database)
    .await
    .unwrap();
    let (report, good) = lab.books();
    assert!(!good && report["findings"][0]["check"] == "suspense_resolution", "{report}");
}

/// `run402` with a wallet of its own.
pub fn run402(lab: &Lab, who: &Wallet, words: &[&str]) -> Value {
    let home = lab.data.join(format!("home-{}", who.address()));
    std::fs::create_dir_all(&home).unwrap();
    let allowance = json!({ "address": who.checksummed(), "privateKey": who.key_hex() });
    std::fs::write(home.join("allowance.json"), allowance.to_string()).unwrap();
    let mut command = tests::command("run402");
    command.args(words).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", &home);
    serde_json::from_slice(&tests::run(&mut command).stdout).unwrap()
}

fn pages(lab: &Lab, admin: &Wallet) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut words = vec!["admin", "suspense", "list", "--limit", "1"];
        if let Some(after) = &after {
            words.extend(["--after", after]);
        }
        let page = run402(lab, admin, &words);
        rows.extend(page["suspended"].as_array().unwrap().iter().cloned());
        after = page["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(page["has_more"], json!(after.is_some()));
        if after.is_none() {
            return rows;
        }
    }
}

// The signed header is what decides; it is worth its few minutes for its own path only.
#[tokio::test]
async fn a_signature_for_the_list_decides_nothing() {
    let (lab, admin, _) = operated().await;
    let header = STANDARD.encode(admin.sign_in(&lab.api, LIST).to_string());
    let body = json!({ "sighting": "x", "wallet": admin.address() });
    let request =
        lab.http.post(lab.url(RESOLVE)).header("sign-in-with-x", header).header("x-admin-mode", "1");
    let answer = lab.send(request.json(&body)).await;
    assert_eq!((answer.status, &answer.body["code"]), (402, &json!("AUTHENTICATION_REQUIRED")), "{answer:?}");
}
