//! The process dies at every kill point there is; a restart and the same requests make it good.
//!
//! The cases are generated from `run402d kill-points`: a new point is a new case, and one that its flow does
//! not pass fails here. One data directory serves all cases of a flow, each with a customer or a thing of its
//! own.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Customer, Lab, LabOptions, Site, TIER_PRICE, Wallet, command, eventually, fresh_folder, oracle};

use crate::ai::{IMAGE, PRICE, Provider, credit, credited, proof};
use crate::billing::mailbox::subscribed_with_mailbox;
use crate::facilitator::{ask, offer_to};

const DEATH_SECS_MAX: u64 = 30;
const GOOD_SECS_MAX: u64 = 40;
/// The cases of `card` are in `cards`.
const FLOWS: [&str; 11] = [
    "payment",
    "facilitate",
    "provision",
    "fork",
    "erase",
    "deploy",
    "card",
    "image",
    "notice",
    "garbage",
    "blob",
];

/// A lab that can be made to die at a point.
struct Victim {
    lab: Lab,
    customer: Customer,
    file: PathBuf,
    /// What `up` is told besides.
    more: Vec<String>,
}

fn points(flow: &str) -> Vec<String> {
    let output = command("run402d").arg("kill-points").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    for name in &all {
        assert!(FLOWS.iter().any(|flow| name.starts_with(&format!("{flow}."))), "{name} has no flow");
    }
    let own: Vec<String> =
        all.into_iter().filter(|name| name.starts_with(flow)).filter(|name| chosen(name)).collect();
    assert!(!own.is_empty(), "{flow}");
    own
}

/// `RUN402_KILL_POINT=name` runs one case, to look into it.
fn chosen(name: &str) -> bool {
    std::env::var("RUN402_KILL_POINT").map_or(true, |only| name.starts_with(&only))
}

impl Victim {
    async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    async fn start_with(more: Vec<String>) -> Self {
        let file = fresh_folder().with_extension("kill");
        let args = [args(&file), more.clone()].concat();
        let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
        let customer = Customer::new(&lab.api);
        Self { lab, customer, file, more }
    }

    /// Arms the point, and returns once it is armed.
    async fn arm(&self, point: &str) {
        std::fs::write(&self.file, format!("{point}\n")).unwrap();
        eventually(point, 5, || async { (!self.file.exists()).then_some(()) }).await;
    }

    /// Sees it die, and starts another in its place that is not armed.
    async fn die_and_restart(mut self, point: &str) -> Self {
        self.lab.server.died(DEATH_SECS_MAX, point).await;
        let lab = self.lab.again_with([args(&self.file), self.more.clone()].concat()).await;
        Self { customer: Customer::new(&lab.api), lab, file: self.file, more: self.more }
    }

    async fn database(&self) -> PgPool {
        self.lab.database().await
    }
}

fn args(file: &std::path::Path) -> Vec<String> {
    vec!["--kill-at-file".to_owned(), file.display().to_string()]
}

async fn count(database: &PgPool, sql: &'static str, text: &str) -> i64 {
    sqlx::query_scalar(sql).bind(text).fetch_one(database).await.unwrap()
}

/// How far each case has come, for whoever reads a failure.
fn report(point: &str, since: std::time::Instant) {
    eprintln!("{point}: {} ms", since.elapsed().as_millis());
}

// A28, A35: whichever of its own steps a settlement for somebody else dies at, it happens once.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_for_others_survives_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    for point in points("facilitate") {
        let wallet = Wallet::random();
        victim.lab.mint(&wallet, 10 * TIER_PRICE).await;
        let payee = victim.lab.server.ready["payee"].as_str().unwrap().to_owned();
        let body = ask(&wallet, &offer_to(&victim.lab, &payee, "100000"));
        victim.arm(&point).await;
        let asked = victim.lab.http.post(victim.lab.url("/facilitator/settle")).json(&body).send();
        let asked = tokio::spawn(asked);
        victim = victim.die_and_restart(&point).await;
        drop(asked.await.unwrap());
        let lab = &victim.lab;
        eventually(&point, GOOD_SECS_MAX, || async {
            let answer = lab.http.post(lab.url("/facilitator/settle")).json(&body).send().await.ok()?;
            let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            (answer["success"] == true).then_some(())
        })
        .await;
        let left = lab.chain.usdc_balance(&lab.token(), &wallet.address()).await;
        assert_eq!(left, 9 * TIER_PRICE, "{point}: charged once");
    }
    oracle(&victim.lab).await;
}

// I11: whichever of its steps the making of an image dies at, it is charged once and given to whoever paid.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_survives_a_death_at_every_point() {
    let provider = Provider::start().await;
    let mut victim = Victim::start_with(provider.args()).await;
    for point in points("image") {
        let wallet = Wallet::random();
        victim.lab.mint(&wallet, 10 * TIER_PRICE).await;
        credited(&victim.lab, &provider, &wallet, 1).await;
        let body = json!({ "prompt": point });
        let request = |lab: &Lab| {
            let request = lab.signed(&wallet, "POST", IMAGE, Some(body.clone()));
            request.header("idempotency-key", &point).send()
        };
        victim.arm(&point).await;
        let asked = tokio::spawn(request(&victim.lab));
        victim = victim.die_and_restart(&point).await;
        drop(asked.await.unwrap());
        let since = std::time::Instant::now();
        eventually(&point, GOOD_SECS_MAX, || async {
            let answer = request(&victim.lab).await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        report(&point, since);
        assert_eq!(credit(&victim.lab, &wallet).await, (0, 0), "{point}: charged once");
    }
    oracle(&victim.lab).await;
}

// I11: an image that nobody asks for again after its server died is given up, and its price is on the balance.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_waits_for_is_given_up() {
    let provider = Provider::start().await;
    let mut victim = Victim::start_with(provider.args()).await;
    let wallet = Wallet::random();
    victim.lab.mint(&wallet, 10 * TIER_PRICE).await;
    let body = json!({ "prompt": "a cat" });
    let payment = proof(&victim.lab, &wallet, &body).await;
    victim.arm("image.attempted").await;
    let request = victim
        .lab
        .signed(&wallet, "POST", IMAGE, Some(body))
        .header("payment-signature", BASE64_STANDARD.encode(payment.to_string()));
    let asked = tokio::spawn(request.send());
    victim = victim.die_and_restart("image.attempted").await;
    drop(asked.await.unwrap());
    let hour = json!({ "advance_secs": 3_600 });
    let moved = victim.lab.http.post(victim.lab.url("/lab/clock")).json(&hour);
    assert_eq!(victim.lab.send(moved).await.status, 200);
    eventually("the price on the balance", GOOD_SECS_MAX, || async {
        (credit(&victim.lab, &wallet).await == (PRICE, 0)).then_some(())
    })
    .await;
    oracle(&victim.lab).await;
}

// D11: whichever step of telling an owner the server dies at, each mail is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_survives_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    subscribed_with_mailbox(&victim.lab, "ada@b.test").await;
    let steps = [("lease_past_due", 8), ("lease_frozen", 14), ("lease_dormant", 30)];
    let points = points("notice");
    assert!(points.len() <= steps.len(), "one step of a lease for each point");
    for (point, (template, days)) in points.iter().zip(steps) {
        victim.arm(point).await;
        let body = json!({ "advance_secs": days * 86_400 });
        assert_eq!(
            victim.lab.send(victim.lab.http.post(victim.lab.url("/lab/clock")).json(&body)).await.status,
            200
        );
        victim = victim.die_and_restart(point).await;
        let sent = async || {
            let answer = victim.lab.http.get(victim.lab.url("/lab/mail?to=ada@b.test")).send().await.ok()?;
            let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            let mails = answer["mail"].as_array()?;
            Some(mails.iter().filter(|mail| mail["template"] == template).count())
        };
        eventually(point, GOOD_SECS_MAX, async || (sent().await? == 1).then_some(())).await;
        let waiting = "select count(*) from account_mail where template = $1";
        let database = victim.database().await;
        eventually(point, GOOD_SECS_MAX, async || {
            (count(&database, waiting, template).await == 0).then_some(())
        })
        .await;
        assert_eq!(sent().await, Some(1), "{point}");
    }
    oracle(&victim.lab).await;
}

// A26, A27, A28, B14, D12: whichever step of a purchase the server dies at, the same proof buys once.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_survives_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    for point in points("payment") {
        let since = std::time::Instant::now();
        let wallet = Wallet::random();
        victim.lab.mint(&wallet, 10 * TIER_PRICE).await;
        let proof = victim.customer.proof(&wallet).await.unwrap();
        victim.arm(&point).await;
        let buying = {
            let (customer, wallet, proof, key) =
                (victim.customer.clone(), wallet.clone(), proof.clone(), point.clone());
            tokio::spawn(async move { customer.purchase(&wallet, &proof, &key).await })
        };
        victim = victim.die_and_restart(&point).await;
        let before = buying.await.unwrap();

        let customer = &victim.customer;
        let receipt = eventually(&point, GOOD_SECS_MAX, || customer.purchase(&wallet, &proof, &point)).await;
        assert_eq!(receipt["action"], "subscribe", "{point}: {receipt}");
        assert!(before.is_none_or(|before| before == receipt), "{point}: two answers");
        let (database, address) = (victim.database().await, wallet.address());
        let purchases = count(
            &database,
            "select count(*) from purchases p join account_wallets w using (account_id) where w.wallet = $1",
            &address,
        )
        .await;
        assert_eq!(purchases, 1, "{point}");
        let signed = count(
            &database,
            "select count(distinct c.nonce) from chain_txs c join payments p on p.id = c.intent
             where p.payer = $1 and c.purpose = 'settle'",
            &address,
        )
        .await;
        assert_eq!(signed, 1, "{point}: one nonce");
        let left = victim.lab.chain.usdc_balance(&victim.lab.token(), &wallet.address()).await;
        assert_eq!(left, 9 * TIER_PRICE, "{point}: charged once");
        victim.lab.assert_books_agree();
        report(&point, since);
    }
    oracle(&victim.lab).await;
}

/// A wallet with the tier.
async fn subscribed(victim: &Victim) -> Wallet {
    let wallet = Wallet::random();
    victim.lab.mint(&wallet, 10 * TIER_PRICE).await;
    let proof = victim.customer.proof(&wallet).await.unwrap();
    eventually("the tier", GOOD_SECS_MAX, || victim.customer.purchase(&wallet, &proof, "tier")).await;
    wallet
}

// E08, A28: one key, one project, however often the server dies while making it; and erasure ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_once_and_erased_whole_despite_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    let wallet = subscribed(&victim).await;
    let mut projects: Vec<Value> = Vec::new();
    for point in points("provision") {
        let since = std::time::Instant::now();
        victim.arm(&point).await;
        let making = {
            let (customer, wallet, point) = (victim.customer.clone(), wallet.clone(), point.clone());
            tokio::spawn(async move { customer.provision(&wallet, &point, &point).await })
        };
        victim = victim.die_and_restart(&point).await;
        let before = making.await.unwrap();
        let customer = &victim.customer;
        let project = eventually(&point, GOOD_SECS_MAX, || customer.provision(&wallet, &point, &point)).await;
        assert!(before.is_none_or(|b| b["project_id"] == project["project_id"]), "{point}: two projects");
        let named = "select count(*) from projects where name = $1 and phase = 'ready'";
        assert_eq!(count(&victim.database().await, named, &point).await, 1, "{point}");
        let rows = eventually(&point, GOOD_SECS_MAX, || customer.sql(&project)).await;
        assert_eq!(rows, json!([{ "n": 1 }]), "{point}");
        projects.push(project);
        report(&point, since);
    }
    while projects.len() < points("erase").len() {
        let name = format!("more-{}", projects.len());
        projects.push(victim.customer.provision(&wallet, &name, &name).await.unwrap());
    }
    for (point, project) in points("erase").into_iter().zip(projects) {
        let since = std::time::Instant::now();
        victim.arm(&point).await;
        let erasing = {
            let (customer, project) = (victim.customer.clone(), project.clone());
            tokio::spawn(async move { customer.erase(&project).await })
        };
        victim = victim.die_and_restart(&point).await;
        let _ = erasing.await.unwrap();
        let customer = &victim.customer;
        eventually(&point, GOOD_SECS_MAX, || customer.erase(&project)).await;
        let database = victim.database().await;
        let erased = "select count(*) from projects where phase = 'erased' and name = $1";
        let name = project["name"].as_str().unwrap_or(&point).to_owned();
        eventually(&point, GOOD_SECS_MAX, || async {
            (count(&database, erased, &name).await == 1).then_some(())
        })
        .await;
        report(&point, since);
    }
    oracle(&victim.lab).await;
}

// E08, I10: one key, one fork, however often the server dies while making it; its bootstrap function runs once at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_made_once_despite_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    let (_, source, _) = crate::apps::small_app(&victim.lab).await;
    let code = "export default async () => Response.json('ran')";
    let function = json!({ "name": "bootstrap", "code": code, "config": { "timeout": 2 } });
    let made = crate::apps::admin(&victim.lab, &source, "POST", "functions", Some(function)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let open = json!({ "visibility": "public", "fork_allowed": true });
    let with_function = crate::apps::publish(&victim.lab, &source, open).await;
    let wallet = subscribed(&victim).await;
    for point in points("fork") {
        let since = std::time::Instant::now();
        let body = json!({ "version_id": with_function["id"], "name": point });
        let send = |lab: &Lab| {
            let request = lab.signed(&wallet, "POST", "/fork/v1", Some(body.clone()));
            request.header("idempotency-key", &point).send()
        };
        victim.arm(&point).await;
        let forking = tokio::spawn(send(&victim.lab));
        victim = victim.die_and_restart(&point).await;
        drop(forking.await.unwrap());
        let lab = &victim.lab;
        let fork = eventually(&point, GOOD_SECS_MAX, || async {
            let answer = send(lab).await.ok()?;
            let status = answer.status().as_u16();
            let body: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            assert!(status == 201 || status >= 500 || status == 429, "{point}: {status} {body}");
            (status == 201).then_some(body)
        })
        .await;
        let named = "select count(*) from projects where name = $1 and phase = 'ready'";
        assert_eq!(count(&victim.database().await, named, &point).await, 1, "{point}");
        let died_calling = matches!(point.as_str(), "fork.calling" | "fork.called");
        assert_eq!(fork["bootstrap_error"].is_string(), died_calling, "{point}: {fork}");
        assert_eq!(fork["bootstrap_result"] == "ran", !died_calling, "{point}: {fork}");
        let rows = crate::apps::sql(lab, &fork, "select count(*)::int as n from items").await;
        assert_eq!(rows, json!([{ "n": 0 }]), "{point}");
        report(&point, since);
    }
    oracle(&victim.lab).await;
}

// E08: never half live, never live twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_survives_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    let wallet = subscribed(&victim).await;
    let project = victim.customer.provision(&wallet, "site", "site").await.unwrap();
    let id =
        uuid::Uuid::parse_str(project["project_id"].as_str().unwrap().trim_start_matches("prj_")).unwrap();
    for (deploys, point) in (1..).zip(points("deploy")) {
        let since = std::time::Instant::now();
        // Not repeatable by itself: it runs once or the second run fails.
        let table = format!("t_{deploys}");
        let site = Site {
            page: format!("<h1>{point}</h1>"),
            idempotency_key: point.clone(),
            migration: Some(format!("create table {table} (n int); insert into {table} values (1)")),
        };
        victim.arm(&point).await;
        let deploying = {
            let (customer, wallet, project, site) =
                (victim.customer.clone(), wallet.clone(), project.clone(), site.clone());
            tokio::spawn(async move { customer.deploy(&wallet, &project, &site).await })
        };
        victim = victim.die_and_restart(&point).await;
        let before = deploying.await.unwrap();
        let customer = &victim.customer;
        let live = eventually(&point, GOOD_SECS_MAX, || customer.deploy(&wallet, &project, &site)).await;
        assert!(before.is_none_or(|b| b["release_id"] == live["release_id"]), "{point}: two releases");
        let url = live["urls"]["project"].as_str().unwrap();
        assert_eq!(customer.page(url).await.as_ref(), Some(&site.page), "{point}");
        let (active, all): (i64, i64) = sqlx::query_as(
            "select count(*) filter (where status = 'active'), count(*) from releases where project_id = $1",
        )
        .bind(id)
        .fetch_one(&victim.database().await)
        .await
        .unwrap();
        assert_eq!((active, all), (1, deploys), "{point}: one release for each deploy, one of them live");
        let gates: i64 = sqlx::query_scalar("select count(*) from deploy_gates where project_id = $1")
            .bind(id)
            .fetch_one(&victim.database().await)
            .await
            .unwrap();
        assert_eq!(gates, 0, "{point}: the gate was given back");
        let rows = eventually(&point, GOOD_SECS_MAX, || {
            customer.query(&project, format!("select count(*)::int as n from {table}"))
        });
        assert_eq!(rows.await, json!([{ "n": 1 }]), "{point}: the migration ran once");
        report(&point, since);
    }
    oracle(&victim.lab).await;
}

// E08. Goal: an upload that is cut off at its end ends later, once; bytes that were given up go once their day is over,
// and may come back. Method: die where parts are joined and where garbage is cleared away; ask again.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_their_garbage_survive_a_death_at_every_point() {
    let parts = ["--single-put-bytes-max", "1048576"].map(str::to_owned);
    let mut victim = Victim::start_with(parts.into()).await;
    let wallet = subscribed(&victim).await;
    let project = victim.customer.provision(&wallet, "blobs", "blobs").await.unwrap();
    let bytes = vec![7; 2 << 20];
    let begun = crate::blobs::begin(&victim.lab, &project, "big", bytes.len(), json!({})).await.body;
    assert!(crate::blobs::put_part(&victim.lab, &begun["parts"][0], &bytes).await.status < 300);
    let complete = format!("/storage/v1/uploads/{}/complete", begun["upload_id"].as_str().unwrap());
    for point in points("blob") {
        let since = std::time::Instant::now();
        victim.arm(&point).await;
        let (customer, owner, path) = (victim.customer.clone(), project.clone(), complete.clone());
        let ending = tokio::spawn(async move { customer.post(&owner, &path, &json!({})).await });
        victim = victim.die_and_restart(&point).await;
        let _ = ending.await.unwrap();
        let customer = &victim.customer;
        let nothing = json!({});
        let done = eventually(&point, GOOD_SECS_MAX, || customer.post(&project, &complete, &nothing)).await;
        assert_eq!((done.status, &done.body["size_bytes"]), (200, &json!(bytes.len())), "{point}");
        report(&point, since);
    }
    for (n, point) in (1_u8..).zip(points("garbage")) {
        let since = std::time::Instant::now();
        let own = vec![n; 100];
        crate::blobs::upload(&victim.lab, &project, "small", &own, json!({})).await;
        assert_eq!(crate::blobs::delete(&victim.lab, &project, "small").await.status, 200, "{point}");
        victim.arm(&point).await;
        let tomorrow = victim.lab.http.post(victim.lab.url("/lab/clock"));
        let _ = tomorrow.json(&json!({ "advance_secs": 90_000 })).send().await;
        victim = victim.die_and_restart(&point).await;
        let database = victim.database().await;
        let rows = "select count(*) from content_objects o where o.sha256 = $1";
        let sha256 = crate::deploys::sha256(&own);
        eventually(&point, GOOD_SECS_MAX, || async {
            (count(&database, rows, &sha256).await == 0).then_some(())
        })
        .await;
        let again = crate::blobs::upload(&victim.lab, &project, "again", &own, json!({})).await;
        assert_eq!(
            crate::blobs::get(&victim.lab, &project, "/storage/v1/blob/again").await.status,
            200,
            "{again}"
        );
        report(&point, since);
    }
    oracle(&victim.lab).await;
}
