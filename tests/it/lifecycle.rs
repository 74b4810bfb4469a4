//! Leases age: the lab's clock, the gates, the notices, the purge, the pin.

use std::time::Duration;

use catalogue::{Auth, Gate, Method, OPERATIONS, Operation};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, Wallet, eventually};
use types::{Clock, SystemClock};

use crate::deploys;
use crate::nodes::two_servers;

const DAY: i64 = 86_400;

async fn advance(lab: &Lab, secs: i64) -> Answer {
    lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }))).await
}

async fn advance_days(lab: &Lab, days: i64) {
    let answer = advance(lab, days * DAY).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn state(lab: &Lab, wallet: &Wallet) -> String {
    let answer = lab.as_wallet(wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["status"].as_str().unwrap_or("none").to_owned()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

#[tokio::test]
async fn the_labs_clock_moves_forwards_for_its_own_machine_and_stays_moved() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    assert_eq!(state(&lab, &wallet).await, "active");
    for (secs, status) in [(json!(-1), 400), (json!(400_000_000_000_i64), 400), (json!("8d"), 400)] {
        let body = json!({ "advance_secs": secs });
        let answer = lab.send(lab.http.post(lab.url("/lab/clock")).json(&body)).await;
        assert_eq!(answer.status, status, "{secs}: {answer:?}");
    }
    for header in ["origin", "x-forwarded-for"] {
        let request =
            lab.http.post(lab.url("/lab/clock")).header(header, "http://evil.test").json(&json!({}));
        assert_eq!(lab.send(request).await.status, 403, "{header}");
    }
    let moved = advance(&lab, 8 * DAY).await;
    assert_eq!((moved.status, &moved.body["shift_secs"]), (200, &json!(8 * DAY)), "{moved:?}");
    assert_eq!(moved.body["chain_moved"], false);
    // Signatures are judged by the time they were made at, so the wallet still gets in.
    assert_eq!(state(&lab, &wallet).await, "past_due");
    let status = lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.body["active"], false);
    let lab = lab.restart().await;
    assert_eq!(state(&lab, &wallet).await, "past_due", "a restart does not bring the days back");
    let renewed = lab.pay(&wallet, "/tiers/v1/prototype").await;
    assert_eq!((renewed.status, &renewed.body["action"]), (200, &json!("subscribe")), "{renewed:?}");
    assert_eq!(state(&lab, &wallet).await, "active");
    lab.assert_books_agree();
}

const NO_VERSION: &str = "ver_01890000000070008000000000000000";

/// What the operations of the catalogue are asked about.
struct Things {
    wallet: Wallet,
    project: Value,
    plan: String,
    operation: String,
    release: String,
    content_plan: String,
    upload: String,
    name: String,
}

impl Things {
    async fn make(lab: &Lab) -> Self {
        let (wallet, project) = lab.project().await;
        let live = deploys::deploy(lab, &wallet, &project, &[("index.html", b"one")]).await;
        let name = format!("n{}", &text(&project, "project_id")[30..]).replace('_', "-");
        let claim = json!({ "name": name, "deployment_id": live["urls"]["deployment_id"] });
        let key = text(&project, "service_key");
        let claimed = lab.with_key(key, "POST", "/subdomains/v1", Some(claim)).await;
        assert_eq!(claimed.status, 201, "{claimed:?}");
        let plan = deploys::plan(lab, &wallet, &project, &[("index.html", b"two")]).await;
        let wanted = json!({ "content": [{ "sha256": "ab".repeat(32), "size": 3 }] });
        let content = lab.with_key(key, "POST", "/content/v1/plans", Some(wanted)).await;
        assert_eq!(content.status, 201, "{content:?}");
        Self {
            wallet,
            plan: text(&plan, "plan_id").to_owned(),
            operation: text(&live, "operation_id").to_owned(),
            release: text(&live, "release_id").to_owned(),
            content_plan: text(&content.body, "plan_id").to_owned(),
            upload: text(&content.body["missing"][0], "upload_id").to_owned(),
            name,
            project,
        }
    }

    fn path(&self, operation: &Operation) -> String {
        let id = match operation.id {
            "auth.users.promote" | "auth.users.demote" => text(&self.project, "project_id"),
            id if ["projects.", "secrets.", "functions.", "apps."]
                .iter()
                .any(|begin| id.starts_with(begin)) =>
            {
                text(&self.project, "project_id")
            }
            id if id.starts_with("deploy.releases") => &self.release,
            id if id.starts_with("deploy.") => &self.operation,
            id if id.starts_with("content.") => &self.content_plan,
            _ => &self.upload,
        };
        let path = operation.path.replace("{id}", id).replace("{plan_id}", &self.plan);
        let path = path.replace("{key}", "API_KEY").replace("{table}", "items").replace("{function}", "f");
        let path = path.replace("{tier}", "prototype").replace("{name}", &self.name);
        let path = path.replace("{version_id}", NO_VERSION);
        let path = path.replace("{domain}", "www.acme.test").replace("{token}", "a.b");
        let path = path.replace("{run_id}", "fnrun_00000000000000000000000000000000");
        let path = path.replace("{trigger_id}", "nightly");
        let wallet = self.wallet.address();
        let path = path.replace("{wallet}", &wallet).replace("{identifier}", &wallet);
        assert!(!path.replace("{payment_id}", "").contains('{'), "{path}: teach this test the parameter");
        path.replace("{payment_id}", "pay_00000000000000000000000000000000")
    }

    fn body(&self, operation: &Operation) -> Option<Value> {
        let wanted = json!([{ "sha256": "cd".repeat(32), "size": 3 }]);
        Some(match operation.id {
            "projects.create" => json!({ "name": "another" }),
            "apps.fork" => json!({ "version_id": NO_VERSION, "name": "another" }),
            "projects.sql" => json!({ "sql": "select 1" }),
            "functions.deploy" => json!({ "name": "f", "code": "export default () => new Response()" }),
            "content.plans.create" => json!({ "content": wanted }),
            "storage.uploads.create" => json!({ "key": "a.txt", "size_bytes": 3 }),
            "deploy.plans.create" => json!({ "spec": { "project": self.project["project_id"],
                "site": { "replace": { "index.html": { "sha256": "cd".repeat(32), "size": 3 } } } } }),
            "deploy.releases.promote" => json!({ "project": self.project["project_id"] }),
            "secrets.set" | "secrets.set_named" => json!({ "key": "API_KEY", "value": "v" }),
            "auth.users.want" | "auth.users.promote" | "auth.users.demote" => json!({ "email": "a@b.test" }),
            "ai.addon_enable" | "ai.addon_disable" => json!({ "addon": "translation" }),
            "ci.bindings.create" => json!({
                "project_id": self.project["project_id"], "provider": "github-actions", "subject_match": "repo:a/b:*",
                "allowed_actions": ["deploy"], "allowed_events": ["push"], "nonce": "n", "signed_delegation": "d",
            }),
            "subdomains.claim" => json!({ "name": "another-name", "deployment_id": self.release }),
            "domains.add" => json!({ "domain": "www.acme.test", "subdomain_name": self.name }),
            "faucet.request" => json!({ "address": Wallet::random().checksummed() }),
            _ if operation.method == Method::Get => return None,
            _ => json!({}),
        })
    }

    async fn ask(&self, lab: &Lab, operation: &Operation) -> Answer {
        let (path, body) = (self.path(operation), self.body(operation));
        let method = operation.method.as_str();
        match operation.auth {
            Auth::Wallet | Auth::Admin | Auth::AnonOrWallet => {
                lab.as_wallet(&self.wallet, method, &path, body).await
            }
            Auth::ServiceKey => lab.with_key(text(&self.project, "service_key"), method, &path, body).await,
            // Nobody signed in: refused, but not for the lease.
            Auth::User => lab.with_key(text(&self.project, "anon_key"), method, &path, body).await,
            Auth::AnonKey | Auth::AnonOrUser => {
                lab.with_key(text(&self.project, "anon_key"), method, &path, body).await
            }
            Auth::None => {
                let request = lab.http.request(method.parse().unwrap(), lab.url(&path));
                lab.send(match body {
                    Some(body) => request.json(&body),
                    None => request,
                })
                .await
            }
        }
    }
}

fn is_lifecycle(answer: &Answer) -> bool {
    answer.body["category"] == "lifecycle"
}

// Contract 5.5, 5.6, open questions 1 and 10. Goal: exactly the operations that the catalogue calls gated are
// refused. Method: every operation there is, in every state; erasing comes last.
#[tokio::test]
async fn every_gated_operation_is_refused_once_frozen_and_no_other_ever() {
    let lab = Lab::start().await;
    let things = Things::make(&lab).await;
    let mut operations: Vec<&Operation> = OPERATIONS.iter().collect();
    operations.sort_by_key(|operation| (operation.gate == Gate::Open, operation.id == "projects.delete"));

    for (days, state_word, code) in [
        (8, "past_due", None),
        (14, "frozen", Some("PROJECT_FROZEN")),
        (30, "dormant", Some("PROJECT_DORMANT")),
    ] {
        advance_days(&lab, days).await;
        assert_eq!(state(&lab, &things.wallet).await, state_word);
        for operation in &operations {
            let last = state_word == "dormant";
            if operation.id == "projects.delete" && !last {
                continue;
            }
            // What is allowed while past due would be done: the same thing cannot be asked for again then.
            if operation.gate == Gate::Lifecycle && code.is_none() && operation.id != "content.plans.create" {
                continue;
            }
            // Gives up what the gated ones are asked about.
            if operation.id == "storage.uploads.abort" && !last {
                continue;
            }
            let answer = things.ask(&lab, operation).await;
            match (operation.gate, code) {
                (Gate::Lifecycle, Some(code)) => {
                    assert_eq!(
                        (answer.status, &answer.body["code"]),
                        (403, &json!(code)),
                        "{}: {answer:?}",
                        operation.id
                    );
                    assert!(is_lifecycle(&answer), "{answer:?}");
                    assert_eq!(answer.body["lifecycle_state"], state_word);
                    for time in ["entered_state_at", "next_transition_at", "scheduled_purge_at"] {
                        assert!(
                            text(&answer.body, time).parse::<DateTime<Utc>>().is_ok(),
                            "{time}: {answer:?}"
                        );
                    }
                    assert_eq!(answer.body["renew_url"], "/tiers/v1/prototype");
                }
                _ => assert!(!is_lifecycle(&answer), "{} in {state_word}: {answer:?}", operation.id),
            }
            if matches!(operation.id, "projects.sql" | "projects.usage" | "projects.delete") {
                assert_eq!(answer.status, 200, "{}: {answer:?}", operation.id);
            }
        }
    }
    lab.assert_books_agree();
}

// Goal: a renewal revives everything, at any age before the purge.
#[tokio::test]
async fn a_renewal_in_grace_revives_the_account() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    advance_days(&lab, 7 + 50).await;
    assert_eq!(state(&lab, &wallet).await, "dormant");
    let renewed = lab.pay(&wallet, "/tiers/v1/prototype").await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let again = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "second" }))).await;
    assert_eq!(again.status, 201, "{again:?}");
    deploys::deploy(&lab, &wallet, &project, &[("index.html", b"alive")]).await;
    lab.assert_books_agree();
}

// Goal: at +104 days everything goes as if it had been deleted, and its names are free at +118 days, not
// before. Method: age an account with a site; a stranger asks for the name.
#[tokio::test]
async fn a_purge_erases_like_a_deletion_and_keeps_the_names_for_a_while() {
    let lab = Lab::start().await;
    let things = Things::make(&lab).await;
    let key = text(&things.project, "service_key").to_owned();
    let database = lab.database().await;
    let notices = async || -> Vec<String> {
        sqlx::query_scalar("select step from notices order by id").fetch_all(&database).await.unwrap()
    };
    for (days, told) in [(7, 1), (14, 2), (30, 3)] {
        advance_days(&lab, days).await;
        eventually("the notice", 20, || async { (notices().await.len() == told).then_some(()) }).await;
    }
    assert_eq!(notices().await, ["past_due", "frozen", "dormant"]);
    assert_eq!(lab.with_key(&key, "GET", "/subdomains/v1", None).await.status, 200, "still there");
    advance_days(&lab, 60).await;
    eventually("the erasure", 30, || async {
        let phase: String =
            sqlx::query_scalar("select phase from projects").fetch_one(&database).await.unwrap();
        (phase == "erased").then_some(())
    })
    .await;
    assert_eq!(lab.with_key(&key, "GET", "/subdomains/v1", None).await.status, 401, "the key is dead");
    let (stranger, other) = lab.project().await;
    let live = deploys::deploy(&lab, &stranger, &other, &[("index.html", b"other")]).await;
    let claim = async |project: &Value, live: &Value| {
        let body = json!({ "name": things.name, "deployment_id": live["urls"]["deployment_id"] });
        lab.with_key(text(project, "service_key"), "POST", "/subdomains/v1", Some(body)).await
    };
    let early = claim(&other, &live).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("SUBDOMAIN_RESERVED")), "{early:?}");
    advance_days(&lab, 6).await;
    assert_eq!(claim(&other, &live).await.status, 409, "a week early");
    advance_days(&lab, 8).await;
    let late = claim(&other, &live).await;
    // The stranger's own week is over by then, which only makes him past due.
    assert_eq!(late.status, 201, "{late:?}");
    lab.assert_books_agree();
}

#[tokio::test]
async fn an_operator_pins_a_project_and_it_stops_ageing() {
    let admin = Wallet::random();
    let args = vec!["--admin-wallet".to_owned(), admin.address()];
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let (wallet, project) = lab.project().await;
    let path = format!("/projects/v1/admin/{}/pin", text(&project, "project_id"));
    let pin = async |who: &Wallet, mode: Option<&str>| {
        let mut request = lab.http.post(lab.url(&path)).header("sign-in-with-x", who.siwx(&lab.api, &path));
        if let Some(mode) = mode {
            request = request.header("x-admin-mode", mode);
        }
        lab.send(request).await
    };
    for (who, mode) in [(&wallet, Some("1")), (&admin, None), (&admin, Some("0")), (&wallet, None)] {
        let refused = pin(who, mode).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("ADMIN_REQUIRED")), "{refused:?}");
        assert_eq!(refused.body["admin_required"], true);
    }
    let pinned = pin(&admin, Some("1")).await;
    assert_eq!((pinned.status, &pinned.body["status"]), (200, &json!("pinned")), "{pinned:?}");
    assert_eq!(pin(&admin, Some("1")).await.status, 200, "again");
    advance_days(&lab, 300).await;
    assert_eq!(state(&lab, &wallet).await, "active");
    let again = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "second" }))).await;
    assert_eq!(again.status, 201, "{again:?}");
    let database = lab.database().await;
    let told: i64 = sqlx::query_scalar("select count(*) from notices").fetch_one(&database).await.unwrap();
    assert_eq!(told, 0);
    lab.assert_books_agree();
}

// D10. Goal: a lease ends at one instant, on every server. Method: both servers are asked all the time around
// it; an answer that was given wholly before it says active, one wholly after it does not.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_agree_on_the_second_at_which_a_lease_ends() {
    let (lab, _second, other) = two_servers().await;
    let wallet = lab.subscribed_wallet().await;
    let path = "/tiers/v1/status";
    let status = lab.as_wallet(&wallet, "GET", path, None).await;
    let ends: DateTime<Utc> = text(&status.body, "lease_expires_at").parse().unwrap();
    let lead = (ends - SystemClock.now()).num_seconds() - 4;
    let moved = advance(&lab, lead).await;
    let shift = TimeDelta::seconds(moved.body["shift_secs"].as_i64().unwrap());
    // The other server follows within a second or two.
    let now = || SystemClock.now() + shift;
    let mut seen = [[0; 2]; 2];
    while now() < ends + TimeDelta::seconds(2) {
        for (at, base) in [&lab.api, &other].into_iter().enumerate() {
            let before = now();
            let answer = lab
                .send(lab.http.get(format!("{base}{path}")).header("sign-in-with-x", wallet.siwx(base, path)))
                .await;
            let after = now();
            assert_eq!(answer.status, 200, "{answer:?}");
            let active = answer.body["active"].as_bool().unwrap();
            // The wire shows milliseconds, the lease has micros.
            if after < ends {
                assert!(active, "server {at} at {before}, before {ends}");
                seen[at][0] += 1;
            } else if before > ends + TimeDelta::milliseconds(1) {
                assert!(!active, "server {at} at {after}, after {ends}");
                seen[at][1] += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen.iter().flatten().all(|count| *count > 5), "both sides of it, on both servers: {seen:?}");
}
