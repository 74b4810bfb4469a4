//! Images, translation and moderation, with a provider that may go wrong. It answers while
//! the CLI is waited for, so the tests have more threads than one.

mod provider;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, Wallet, decode_challenge, eventually, oracle};

use crate::suspense::run402;
pub use provider::Provider;
use provider::{Fault, PNG};

pub const IMAGE: &str = "/generate-image/v1";
pub const PRICE: i64 = 30_000;
const MADE: &str = "/images/generations";

/// A lab with a provider.
pub async fn lab_with_provider(more: &[String]) -> (Lab, Provider) {
    let provider = Provider::start().await;
    let args = provider.args().into_iter().chain(more.iter().cloned()).collect();
    (Lab::start_with(LabOptions { args, ..LabOptions::default() }).await, provider)
}

fn asked(prompt: &str) -> Value {
    json!({ "prompt": prompt, "aspect": "landscape" })
}

/// Asks as a wallet, with a payment or an idempotency key.
async fn ask(lab: &Lab, who: &Wallet, body: &Value, payment: Option<&Value>, key: Option<&str>) -> Answer {
    let mut request = lab.signed(who, "POST", IMAGE, Some(body.clone()));
    if let Some(payment) = payment {
        request = request.header("payment-signature", BASE64_STANDARD.encode(payment.to_string()));
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    lab.send(request).await
}

/// A payment for what was asked, as the challenge offers it.
pub async fn proof(lab: &Lab, who: &Wallet, body: &Value) -> Value {
    let answer = ask(lab, who, body, None, None).await;
    assert_eq!(answer.status, 402, "{answer:?}");
    let challenge = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
    let offer = challenge["accepts"][0].clone();
    assert_eq!(offer["amount"], PRICE.to_string());
    who.payment(&challenge, &offer, &who.authorize(&offer))
}

/// Test credit of a wallet's account, in micros: on the balance, and what of it is held.
pub async fn credit(lab: &Lab, who: &Wallet) -> (i64, i64) {
    let sql = "select posted, held from ledger_accounts a join account_wallets w on w.account_id = a.owner
               where a.kind = 'customer_test_credit' and w.wallet = $1";
    sqlx::query_as(sql).bind(who.address()).fetch_one(&lab.database().await).await.unwrap()
}

/// Credit out of nothing but a payment whose image failed.
pub async fn credited(lab: &Lab, provider: &Provider, who: &Wallet, images: i64) {
    provider.fault(Some(Fault::Fails));
    for n in 0..images {
        // The credit of the one before would pay for this one, and fail again.
        let body = asked(&format!("credit {n}"));
        let payment = proof_of_new_money(lab, who, &body).await;
        let failed = ask(lab, who, &body, Some(&payment), None).await;
        assert_eq!(failed.body["code"], "AI_PROVIDER_FAILED", "{failed:?}");
    }
    provider.fault(None);
    assert_eq!(credit(lab, who).await, (images * PRICE, 0));
}

/// Like [`proof`], for a wallet whose balance would pay: the challenge comes from somebody else.
async fn proof_of_new_money(lab: &Lab, who: &Wallet, body: &Value) -> Value {
    let answer = ask(lab, &Wallet::random(), body, None, None).await;
    let challenge = decode_challenge(answer.headers["payment-required"].to_str().unwrap());
    let offer = challenge["accepts"][0].clone();
    who.payment(&challenge, &offer, &who.authorize(&offer))
}

// Goal: an image is sold once for each payment, to whoever signs it. Method: the CLI pays; then a proof is shown twice,
// and for another prompt; a stranger sees the offer unsigned.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_paid_for_once_and_given_again() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let wallet = lab.funded_wallet().await;
    let file = lab.data.join("cat.png");
    let file = file.to_str().unwrap();
    let words = ["image", "generate", "a cat", "--aspect", "portrait", "--output", file];
    let told = run402(&lab, &wallet, &words);
    assert_eq!((&told["status"], &told["aspect"]), (&json!("ok"), &json!("portrait")), "{told}");
    assert_eq!(BASE64_STANDARD.encode(std::fs::read(file).unwrap()), PNG);
    let sent = provider.calls(MADE);
    assert_eq!((&sent[0]["prompt"], &sent[0]["size"]), (&json!("a cat"), &json!("1024x1792")), "{sent:?}");

    let body = asked("a dog");
    let payment = proof(&lab, &wallet, &body).await;
    for _ in 0..3 {
        let made = ask(&lab, &wallet, &body, Some(&payment), None).await;
        assert_eq!(made.status, 200, "{made:?}");
        assert_eq!(made.body, json!({ "image": PNG, "content_type": "image/png", "aspect": "landscape" }));
        assert!(made.headers.contains_key("payment-response"));
    }
    let other = ask(&lab, &wallet, &asked("two dogs"), Some(&payment), None).await;
    assert_eq!((other.status, &other.body["code"]), (409, &json!("PAYMENT_REUSED")), "{other:?}");
    assert_eq!(provider.calls(MADE).len(), 2);
    assert_eq!(credit(&lab, &wallet).await, (0, 0));
    let payee = lab.server.ready["payee"].as_str().unwrap();
    assert_eq!(lab.chain.usdc_balance(&lab.token(), payee).await, 2 * PRICE.unsigned_abs() as u128);

    let stranger = lab.send(lab.http.post(lab.url(IMAGE)).json(&body)).await;
    assert_eq!((stranger.status, &stranger.body["code"]), (402, &json!("PAYMENT_REQUIRED")), "{stranger:?}");
    assert_eq!(lab.get(IMAGE).await.body["price_usd_micros"], PRICE);
    for bad in [json!({}), asked(""), json!({ "prompt": "a", "aspect": "wide" }), asked(&"a".repeat(1_001))] {
        let refused = ask(&lab, &wallet, &bad, None, None).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BAD_REQUEST")), "{bad}");
    }
    oracle(&lab).await;
}

// I11. Goal: whatever the provider does, nothing is charged without an image, and what was paid pays for the next one.
// Method: every fault once, with a payment; then once more out of the balance, healed.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_goes_wrong_costs_nobody_anything() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    for fault in Fault::ALL {
        let body = asked(&format!("{fault:?}"));
        let payment = proof(&lab, &wallet, &body).await;
        provider.fault(Some(fault));
        let failed = ask(&lab, &wallet, &body, Some(&payment), None).await;
        let code = if fault == Fault::Refuses { "AI_REQUEST_REFUSED" } else { "AI_PROVIDER_FAILED" };
        assert_eq!(failed.body["code"], code, "{fault:?}: {failed:?}");
        assert_eq!(failed.body["details"]["credit_usd_micros"], PRICE, "{failed:?}");
        assert!(failed.headers.contains_key("payment-response"), "it was settled: {failed:?}");
        assert_eq!(credit(&lab, &wallet).await, (PRICE, 0), "{fault:?}");
        // Shown again, it tells the same; a new request is paid by what is there.
        assert_eq!(ask(&lab, &wallet, &body, Some(&payment), None).await.body["code"], code);
        provider.fault(None);
        let made = ask(&lab, &wallet, &body, None, None).await;
        assert_eq!(made.status, 200, "{fault:?}: {made:?}");
        assert_eq!(credit(&lab, &wallet).await, (0, 0), "{fault:?}");
    }
    oracle(&lab).await;
}

// I11. Goal: an attempt that lasted too long has no say about the one that followed it. Method: the first attempt's
// time passes by the lab's clock while the provider still works on it; another is under way when the first one fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_up_does_not_end_the_next_one() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    credited(&lab, &provider, &wallet, 2).await;
    let before = provider.calls(MADE).len();
    let body = asked("a cat");
    let another = async |fault: Fault, count: usize| {
        provider.fault(Some(fault));
        let request = lab.signed(&wallet, "POST", IMAGE, Some(body.clone())).header("idempotency-key", "one");
        let waiting = tokio::spawn(request.send());
        eventually("the provider to be asked", 5, || async {
            (provider.calls(MADE).len() == before + count).then_some(())
        })
        .await;
        [waiting]
    };
    let [first] = another(Fault::FailsLate, 1).await;
    // Past the attempt's time, and not yet given up for good.
    let secs = json!({ "advance_secs": 20 });
    assert_eq!(lab.send(lab.http.post(lab.url("/lab/clock")).json(&secs)).await.status, 200);
    let [second] = another(Fault::Late, 2).await;
    let made = second.await.unwrap().unwrap();
    assert_eq!(made.status(), 200, "{}", made.text().await.unwrap());
    drop(first.await.unwrap().unwrap());
    assert_eq!(credit(&lab, &wallet).await, (PRICE, 0), "one image, one price");
    provider.fault(None);
    let again = ask(&lab, &wallet, &body, None, Some("one")).await;
    assert_eq!((again.status, &again.body["image"]), (200, &json!(PNG)), "{again:?}");
    oracle(&lab).await;
}

// Goal: of many requests at once each name is charged once, and the balance is never overdrawn. Method: twenty times
// one key; then twenty keys against a balance for two.
#[tokio::test(flavor = "multi_thread")]
async fn a_balance_pays_for_as_many_images_as_it_covers() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    credited(&lab, &provider, &wallet, 3).await;
    let before = provider.calls(MADE).len();
    let body = asked("a cat");
    let same = (0..20).map(|_| ask(&lab, &wallet, &body, None, Some("one")));
    for made in futures::future::join_all(same).await {
        assert_eq!((made.status, &made.body["image"]), (200, &json!(PNG)), "{made:?}");
    }
    assert_eq!(provider.calls(MADE).len(), before + 1);
    assert_eq!(credit(&lab, &wallet).await, (2 * PRICE, 0));
    let reused = ask(&lab, &wallet, &asked("a dog"), None, Some("one")).await;
    assert_eq!(reused.body["code"], "IDEMPOTENCY_KEY_REUSED", "{reused:?}");

    let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
    let each = keys.iter().map(|key| ask(&lab, &wallet, &body, None, Some(key)));
    let answers = futures::future::join_all(each).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.body["code"] == "PAYMENT_REQUIRED").count(), 18);
    assert_eq!(credit(&lab, &wallet).await, (0, 0));
    // A day later the bytes are gone, and the order is not made again.
    let day = json!({ "advance_secs": 86_500 });
    assert_eq!(lab.send(lab.http.post(lab.url("/lab/clock")).json(&day)).await.status, 200);
    eventually("forgotten images", 30, || async {
        let late = ask(&lab, &wallet, &body, None, Some("one")).await;
        (late.body["code"] == "IMAGE_EXPIRED").then_some(())
    })
    .await;
    oracle(&lab).await;
}

// Goal: a service key's images are its account's affair: no challenge, budgets hold, and what fails is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_key_spends_its_accounts_balance_within_its_budget() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let (owner, project) = lab.project().await;
    let (key, id) = (project["service_key"].as_str().unwrap(), project["project_id"].as_str().unwrap());
    let by_key = |body: Value| lab.with_key(key, "POST", IMAGE, Some(body));
    let poor = by_key(asked("a cat")).await;
    assert_eq!((poor.status, &poor.body["code"]), (403, &json!("QUOTA_EXCEEDED")), "{poor:?}");
    assert!(!poor.headers.contains_key("payment-required") && poor.body["x402"].is_null(), "{poor:?}");
    let anon = lab.with_key(project["anon_key"].as_str().unwrap(), "POST", IMAGE, Some(asked("a cat"))).await;
    assert_eq!(anon.status, 403, "{anon:?}");

    lab.mint(&owner, 1_000_000).await;
    credited(&lab, &provider, &owner, 3).await;
    let budget = json!({ "project_id": id, "limit_usd_micros": PRICE });
    assert_eq!(lab.as_wallet(&owner, "POST", "/billing/v1/budgets", Some(budget)).await.status, 200);
    provider.fault(Some(Fault::Fails));
    assert_eq!(by_key(asked("a cat")).await.body["code"], "AI_PROVIDER_FAILED");
    provider.fault(None);
    let made = by_key(json!({ "prompt": "a cat" })).await;
    assert_eq!(
        (made.status, &made.body["aspect"]),
        (200, &json!("square")),
        "what failed is not counted: {made:?}"
    );
    let over = by_key(asked("a cat")).await;
    assert_eq!((over.status, &over.body["code"]), (403, &json!("BUDGET_EXCEEDED")), "{over:?}");
    assert_eq!(credit(&lab, &owner).await, (2 * PRICE, 0));
    oracle(&lab).await;
}

// B03. Goal: money that a reorganisation takes and brings back pays for its one image. Method: the block that holds
// the payment is replaced after the image was given; our lane sends the payment again.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_payment_left_the_chain_is_paid_when_it_is_back() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    let body = asked("a cat");
    let payment = proof(&lab, &wallet, &body).await;
    lab.chain.hold_blocks().await;
    let request = lab
        .signed(&wallet, "POST", IMAGE, Some(body.clone()))
        .header("payment-signature", BASE64_STANDARD.encode(payment.to_string()));
    let waiting = tokio::spawn(request.send());
    crate::watcher::in_the_pool(&lab, 1).await;
    lab.chain.mine(1).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    let database = lab.database().await;
    let debt = "select coalesce(sum(posted), 0)::bigint from ledger_accounts where kind = 'bad_debt'";
    let owed = async || sqlx::query_scalar::<_, i64>(debt).fetch_one(&database).await.unwrap();
    lab.chain.reorg(1, &[]).await;
    eventually("bad debt", 30, || async { (owed().await == -PRICE).then_some(()) }).await;
    lab.chain.release_blocks().await;
    eventually("the debt's end", 60, || async { (owed().await == 0).then_some(()) }).await;
    let again = ask(&lab, &wallet, &body, Some(&payment), None).await;
    assert_eq!((again.status, &again.body["image"]), (200, &json!(PNG)), "{again:?}");
    assert_eq!((provider.calls(MADE).len(), credit(&lab, &wallet).await), (1, (0, 0)));
    oracle(&lab).await;
}

// Goal: texts are translated and judged for the project that asks, words are metered, and a provider that fails costs
// none. Method: the CLI's words; every fault; the month's end of words.
#[tokio::test(flavor = "multi_thread")]
async fn texts_are_translated_within_the_months_words_and_judged() {
    let (lab, provider) = lab_with_provider(&[]).await;
    let (owner, project) = lab.project().await;
    let (key, id) = (project["service_key"].as_str().unwrap(), project["project_id"].as_str().unwrap());
    keep(&lab, &owner, &project);
    let off =
        lab.with_key(key, "POST", "/ai/v1/translate", Some(json!({ "text": "Hello", "to": "es" }))).await;
    assert_eq!((off.status, &off.body["code"]), (403, &json!("ADDON_REQUIRED")), "{off:?}");
    assert_eq!(
        run402(&lab, &owner, &["ai", "addon", "enable", "translation", "--project", id])["active"],
        true
    );
    let told =
        run402(&lab, &owner, &["ai", "translate", id, "Hello, world", "--to", "es", "--context", "formal"]);
    assert_eq!(told, json!({ "status": "ok", "text": "Hola, mundo", "from": "en", "to": "es" }));
    let sent = provider.calls("/chat/completions");
    assert!(sent[0]["messages"][0]["content"].as_str().unwrap().contains("formal"), "{sent:?}");
    let told = run402(&lab, &owner, &["ai", "moderate", id, "grr"]);
    assert_eq!((&told["flagged"], &told["category_scores"]["spam"]), (&json!(true), &json!(0.01)), "{told}");

    let translate = |body: Value| lab.with_key(key, "POST", "/ai/v1/translate", Some(body));
    // As published examples call it.
    let wrapped = translate(json!({ "text": "Hello", "to": { "to": "de", "context": "a letter" } })).await;
    assert_eq!((wrapped.status, &wrapped.body["to"]), (200, &json!("de")), "{wrapped:?}");
    for fault in Fault::ALL {
        provider.fault(Some(fault));
        let failed = translate(json!({ "text": "Hello, world", "to": "es" })).await;
        let status = if fault == Fault::Refuses { 422 } else { 502 };
        assert_eq!(failed.status, status, "{fault:?}: {failed:?}");
        let failed = lab.with_key(key, "POST", "/ai/v1/moderate", Some(json!({ "text": "grr" }))).await;
        assert_eq!(failed.status, status, "{fault:?}: {failed:?}");
    }
    provider.fault(None);
    let usage = run402(&lab, &owner, &["ai", "usage", id])["translation"].clone();
    assert_eq!((&usage["used_words"], &usage["included_words"]), (&json!(3), &json!(10_000)), "{usage}");
    assert_eq!(usage["remaining_words"], 9_997);

    let many = format!("{}word", "word ".repeat(1_999));
    for _ in 0..4 {
        assert_eq!(translate(json!({ "text": many, "to": "es" })).await.status, 200);
    }
    let over = translate(json!({ "text": many, "to": "es" })).await;
    assert_eq!((over.status, &over.body["code"]), (403, &json!("QUOTA_EXCEEDED")), "{over:?}");
    assert!(!over.headers.contains_key("payment-required"));
    for bad in [
        json!({ "text": "", "to": "es" }),
        json!({ "text": "a", "to": "spanish" }),
        json!({ "text": "a", "to": "es", "from": "xx" }),
        json!({ "text": "a", "to": "es", "context": "c".repeat(201) }),
        json!({ "text": "a".repeat(10_001), "to": "es" }),
        json!({ "to": "es" }),
    ] {
        let refused = translate(bad.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BAD_REQUEST")), "{bad}");
    }
    run402(&lab, &owner, &["ai", "addon", "disable", "translation", "--project", id]);
    assert_eq!(translate(json!({ "text": "a", "to": "es" })).await.body["code"], "ADDON_REQUIRED");
    oracle(&lab).await;
}

/// Puts a project into the files of a wallet's CLI.
fn keep(lab: &Lab, owner: &Wallet, project: &Value) {
    let home = lab.data.join(format!("home-{}", owner.address()));
    std::fs::create_dir_all(&home).unwrap();
    let id = project["project_id"].as_str().unwrap();
    let keys = json!({ "anon_key": project["anon_key"], "service_key": project["service_key"] });
    let file = json!({ "active_project_id": id, "projects": { id: keys } });
    std::fs::write(home.join("projects.json"), file.to_string()).unwrap();
}

// A server without a provider says so before it asks for money.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_nothing_is_sold() {
    let lab = Lab::start().await;
    let (owner, project) = lab.project().await;
    let missing = ask(&lab, &owner, &asked("a cat"), None, None).await;
    assert_eq!(
        (missing.status, &missing.body["code"]),
        (503, &json!("AI_PROVIDER_NOT_CONFIGURED")),
        "{missing:?}"
    );
    assert!(!missing.headers.contains_key("payment-required"));
    let key = project["service_key"].as_str().unwrap();
    for (path, body) in [
        ("/ai/v1/translate", json!({ "text": "a", "to": "es" })),
        ("/ai/v1/moderate", json!({ "text": "a" })),
    ] {
        let missing = lab.with_key(key, "POST", path, Some(body)).await;
        assert_eq!(missing.body["code"], "AI_PROVIDER_NOT_CONFIGURED", "{missing:?}");
    }
}
