//! Domains of tenants' own: proved in DNS, asked about again, one owner each; and TLS for every name of ours.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::{Value, json};
use tests::dns::{DnsServer, Mood};
use tests::{Answer, Lab, LabOptions, Wallet, eventually, fresh_folder, target_binary};

use crate::deploys::deploy;

mod tls;

async fn lab(dns: &DnsServer) -> Lab {
    lab_with(dns, &[]).await
}

async fn lab_with(dns: &DnsServer, more: &[&str]) -> Lab {
    let mut args = vec!["--dns-resolver".to_owned(), dns.address.to_string()];
    args.extend(more.iter().map(|word| (*word).to_owned()));
    Lab::start_with(LabOptions { args, ..LabOptions::default() }).await
}

/// A project whose page is under a claimed name.
async fn named_site(lab: &Lab, name: &str, page: &[u8]) -> (Wallet, Value) {
    let (wallet, project) = lab.project().await;
    let live = deploy(lab, &wallet, &project, &[("index.html", page)]).await;
    let body = json!({ "name": name, "deployment_id": live["urls"]["deployment_id"] });
    let claimed = lab.with_key(key(&project), "POST", "/subdomains/v1", Some(body)).await;
    assert_eq!(claimed.status, 201, "{claimed:?}");
    (wallet, project)
}

fn key(project: &Value) -> &str {
    project["service_key"].as_str().unwrap()
}

async fn add(lab: &Lab, project: &Value, domain: &str, name: &str) -> Answer {
    let body = json!({ "domain": domain, "subdomain_name": name });
    lab.with_key(key(project), "POST", "/domains/v1", Some(body)).await
}

async fn status(lab: &Lab, project: &Value, domain: &str) -> Value {
    let answer = lab.with_key(key(project), "GET", &format!("/domains/v1/{domain}"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn becomes(lab: &Lab, project: &Value, domain: &str, wanted: &str) -> Value {
    eventually(&format!("{domain} to be {wanted}"), 30, || async {
        let body = status(lab, project, domain).await;
        (body["status"] == wanted).then_some(body)
    })
    .await
}

async fn page(lab: &Lab, domain: &str) -> Answer {
    lab.send(lab.http.get(lab.url("/")).header("host", domain)).await
}

/// Puts into DNS what the answer asked for.
fn obey(dns: &DnsServer, domain: &str, answer: &Value) {
    let asked = &answer["dns_instructions"];
    dns.txt(asked["txt_name"].as_str().unwrap(), asked["txt_value"].as_str().unwrap());
    dns.cname(domain, asked["cname_target"].as_str().unwrap());
}

async fn move_clock(lab: &Lab, secs: i64) {
    let moved = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }))).await;
    assert_eq!(moved.status, 200, "{moved:?}");
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{answer:?}");
}

// Goal: a domain shows its name's site once DNS proves it, follows deploys, and is nobody's once DNS moves away.
#[tokio::test]
async fn a_domain_is_proved_served_followed_and_lost() {
    let dns = DnsServer::start().await;
    let lab = lab(&dns).await;
    let (wallet, project) = named_site(&lab, "shop", b"one").await;
    let domain = "www.acme.test";
    let added = add(&lab, &project, "WWW.Acme.Test.", "shop").await;
    assert_eq!(
        (added.status, &added.body["domain"], &added.body["status"]),
        (201, &json!(domain), &json!("pending"))
    );
    assert_eq!(added.body["dns_instructions"]["cname_target"], "domains.localhost", "{added:?}");
    assert_eq!(added.body["dns_instructions"]["txt_name"], "_run402-challenge.www.acme.test");
    assert_eq!(add(&lab, &project, domain, "shop").await.status, 200, "idempotent");
    // Not proved: the API answers, as for any stranger's host.
    assert_ne!(page(&lab, domain).await.body, "one");

    // A CNAME alone proves nothing: whoever had the domain before may have left it there.
    dns.cname(domain, "domains.localhost");
    let half = status(&lab, &project, domain).await;
    assert_eq!(half["status"], "pending");
    assert!(half["reason"].as_str().unwrap().contains("TXT"), "{half}");
    obey(&dns, domain, &added.body);
    let active = becomes(&lab, &project, domain, "active").await;
    assert_eq!(active["dns_instructions"], Value::Null);
    assert_eq!(page(&lab, domain).await.body, "one");
    assert_eq!(page(&lab, "WWW.ACME.test.:80").await.body, "one");
    assert_ne!(page(&lab, "acme.test").await.body, "one", "another name");

    deploy(&lab, &wallet, &project, &[("index.html", b"two")]).await;
    let follows = || async { (page(&lab, domain).await.body == "two").then_some(()) };
    eventually("the domain to follow", 10, follows).await;
    let list = lab.with_key(key(&project), "GET", "/domains/v1", None).await;
    assert_eq!(list.body["domains"][0]["domain"], domain, "{list:?}");

    // The record may be tidied away, and silence is no answer.
    dns.forget("_run402-challenge.www.acme.test");
    assert_eq!(status(&lab, &project, domain).await["status"], "active");
    dns.mood(Mood::Failing);
    move_clock(&lab, 3 * 86_400).await;
    assert_eq!(status(&lab, &project, domain).await["status"], "active");
    dns.mood(Mood::Well);
    // Moved away: kept for a day, then nobody's, without anybody asking.
    dns.forget(domain);
    dns.a(domain, Ipv4Addr::new(192, 0, 2, 1));
    move_clock(&lab, 7 * 3_600).await;
    eventually("the sweep to notice", 30, || async {
        let body = lab.with_key(key(&project), "GET", "/domains/v1", None).await.body;
        body["domains"][0]["reason"].is_string().then_some(())
    })
    .await;
    assert_eq!(page(&lab, domain).await.body, "two");
    move_clock(&lab, 25 * 3_600).await;
    eventually("the domain to be nobody's", 30, || async {
        (page(&lab, domain).await.body != "two").then_some(())
    })
    .await;
    assert_eq!(
        lab.with_key(key(&project), "GET", "/domains/v1", None).await.body["domains"][0]["status"],
        "failed"
    );
    lab.assert_books_agree();
}

// Goal: one owner per domain, whoever proves it; a dangling record gives nothing away; erased with the project.
#[tokio::test]
async fn a_domain_has_one_owner_and_the_proof_decides_who() {
    let dns = DnsServer::start().await;
    let lab = lab(&dns).await;
    let (wallet, first) = named_site(&lab, "first", b"first").await;
    let (_, second) = named_site(&lab, "second", b"second").await;
    let domain = "shop.acme.test";
    let squatter = add(&lab, &second, domain, "second").await;
    assert_eq!(squatter.status, 201, "a claim without a proof keeps nobody away");
    let added = add(&lab, &first, domain, "first").await;
    assert_eq!(added.status, 201);
    obey(&dns, domain, &added.body);
    becomes(&lab, &first, domain, "active").await;
    assert_eq!(status(&lab, &second, domain).await["status"], "pending");
    assert_eq!(page(&lab, domain).await.body, "first");
    let other = add(&lab, &second, "other.acme.test", "first").await;
    refused(&other, 404, "RESOURCE_NOT_FOUND");
    let (_, third) = named_site(&lab, "third", b"third").await;
    refused(&add(&lab, &third, domain, "third").await, 409, "DOMAIN_TAKEN");
    let theirs = lab.with_key(key(&third), "GET", &format!("/domains/v1/{domain}"), None).await;
    refused(&theirs, 404, "RESOURCE_NOT_FOUND");
    let theirs = lab.with_key(key(&third), "DELETE", &format!("/domains/v1/{domain}"), None).await;
    refused(&theirs, 404, "RESOURCE_NOT_FOUND");

    // Both proofs are there: whoever holds it keeps it.
    let asked = &squatter.body["dns_instructions"];
    dns.txt_too(asked["txt_name"].as_str().unwrap(), asked["txt_value"].as_str().unwrap());
    let told = eventually("the second to be told", 20, || async {
        let body = status(&lab, &second, domain).await;
        (body["reason"] == "another project holds it").then_some(body)
    })
    .await;
    assert_eq!(told["status"], "pending");
    assert_eq!(page(&lab, domain).await.body, "first");

    // The domain was sold: its new owner's record stands there instead, and the traffic still leads here.
    obey(&dns, domain, &squatter.body);
    becomes(&lab, &second, domain, "active").await;
    assert_eq!(
        lab.with_key(key(&first), "GET", "/domains/v1", None).await.body["domains"][0]["status"],
        "failed"
    );
    let shown = || async { (page(&lab, domain).await.body == "second").then_some(()) };
    eventually("the new owner's site", 10, shown).await;

    // A name that is given back shows nothing, also when somebody else claims it.
    let gone = lab.with_key(key(&second), "DELETE", "/subdomains/v1/second", None).await;
    assert_eq!(gone.status, 200);
    eventually("nothing to be shown", 10, || async {
        (page(&lab, domain).await.status == 404).then_some(())
    })
    .await;
    let live = deploy(&lab, &wallet, &first, &[("index.html", b"thief")]).await;
    let body = json!({ "name": "second", "deployment_id": live["urls"]["deployment_id"] });
    assert_eq!(lab.with_key(key(&first), "POST", "/subdomains/v1", Some(body)).await.status, 201);
    assert_eq!(page(&lab, domain).await.status, 404);

    // By the owner's signature alone, and with the project.
    let path = format!("/domains/v1/{domain}");
    let by_wallet = lab.as_wallet(&wallet, "DELETE", &path, None).await;
    assert_eq!((by_wallet.status, &by_wallet.body), (200, &json!({ "status": "deleted", "domain": domain })));
    refused(&lab.as_wallet(&wallet, "DELETE", &path, None).await, 404, "RESOURCE_NOT_FOUND");
    let added = add(&lab, &first, "gone.acme.test", "first").await;
    obey(&dns, "gone.acme.test", &added.body);
    becomes(&lab, &first, "gone.acme.test", "active").await;
    let project = first["project_id"].as_str().unwrap();
    let erased = lab.with_key(key(&first), "DELETE", &format!("/projects/v1/{project}"), None).await;
    assert!(erased.status < 300, "{erased:?}");
    eventually("the domain to go with its project", 30, || async {
        let row = sqlx::query("select 1 from custom_domains where domain = 'gone.acme.test'");
        row.fetch_optional(&lab.database().await).await.unwrap().is_none().then_some(())
    })
    .await;
    lab.assert_books_agree();
}

// Goal: a project's claims are bounded, also when they come at once. Method: all but one are there; eight more are
// asked for at the same instant.
#[tokio::test]
async fn a_project_may_claim_so_many_and_no_more() {
    let dns = DnsServer::start().await;
    let lab = lab(&dns).await;
    let (_, project) = named_site(&lab, "shop", b"one").await;
    let database = lab.database().await;
    let added = add(&lab, &project, "a.acme.test", "shop").await;
    assert_eq!(added.status, 201, "{added:?}");
    let more = "insert into custom_domains (domain, project_id, subdomain_name, token, status, created_at, updated_at,
           next_check_at)
         select n || '.acme.test', project_id, subdomain_name, token, 'failed', created_at, updated_at, next_check_at
         from custom_domains, generate_series(2, 49) n";
    sqlx::query(more).execute(&database).await.unwrap();
    let names: Vec<String> = (0..8).map(|n| format!("late-{n}.acme.test")).collect();
    let asked = futures::future::join_all(names.iter().map(|name| add(&lab, &project, name, "shop"))).await;
    assert_eq!(asked.iter().filter(|answer| answer.status == 201).count(), 1, "{asked:?}");
    for answer in asked.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.body["code"], "QUOTA_EXCEEDED", "{answer:?}");
    }
    assert_eq!(
        add(&lab, &project, "a.acme.test", "shop").await.status,
        200,
        "what is there may point elsewhere"
    );
    lab.assert_books_agree();
}

// Goal: the rules of names (reserved, punycode, homographs, the platform's own and their twins), an apex by its
// addresses, and the words of the CLI.
#[tokio::test(flavor = "multi_thread")]
async fn names_have_rules_and_words() {
    let dns = DnsServer::start().await;
    let lab = lab_with(&dns, &["--apex", "lab402.test", "--siwx-domain", "api.acme402.test"]).await;
    dns.a("domains.lab402.test", Ipv4Addr::LOCALHOST);
    let (_, project) = named_site(&lab, "shop", b"one").await;
    let special = ["localhost", "x.localhost", "127.0.0.1", "*.acme.test", "xn--a.dev", ""];
    let alike = ["аррӏе.com", "pаypal.com"];
    let own = ["lab402.test", "x.lab402.test", "API.acme402.test", "x.api.acme402.test."];
    let twins = ["1ab402.test", "x.lab4o2.test", "xn--lb402-4ve.test", "api.асme402.test"];
    for domain in special.into_iter().chain(alike).chain(own).chain(twins) {
        refused(&add(&lab, &project, domain, "shop").await, 400, "BAD_DOMAIN");
    }
    refused(&add(&lab, &project, "a.acme.test", "nobodys").await, 404, "RESOURCE_NOT_FOUND");
    let anon = project["anon_key"].as_str().unwrap();
    let body = json!({ "domain": "a.acme.test", "subdomain_name": "shop" });
    assert_eq!(lab.with_key(anon, "POST", "/domains/v1", Some(body)).await.status, 403);

    // An apex has no CNAME: its addresses must be those of the target, all of them.
    let added = add(&lab, &project, "bücher.test", "shop").await;
    let domain = "xn--bcher-kva.test";
    assert_eq!((added.status, &added.body["domain"]), (201, &json!(domain)));
    let asked = &added.body["dns_instructions"];
    dns.txt(asked["txt_name"].as_str().unwrap(), asked["txt_value"].as_str().unwrap());
    dns.a(domain, Ipv4Addr::new(192, 0, 2, 99));
    assert_eq!(status(&lab, &project, domain).await["status"], "pending");
    dns.a(domain, Ipv4Addr::LOCALHOST);
    becomes(&lab, &project, domain, "active").await;

    let home = fresh_folder();
    let run = |args: &[&str]| -> Value {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", &home);
        let done = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    run(&["projects", "provision", "--name", "app"]);
    let dist = home.join("dist");
    std::fs::create_dir_all(&dist).unwrap();
    std::fs::write(dist.join("index.html"), "by words").unwrap();
    run(&["sites", "deploy-dir", dist.to_str().unwrap()]);
    run(&["subdomains", "claim", "words"]);
    let added = run(&["domains", "add", "words.acme.test", "words"]);
    obey(&dns, "words.acme.test", &added);
    eventually("the domain by words", 30, || async {
        (run(&["domains", "status", "words.acme.test"])["status"] == "active").then_some(())
    })
    .await;
    assert_eq!(page(&lab, "words.acme.test").await.body, "by words");
    assert_eq!(run(&["domains", "list"])["domains"][0]["status"], "active");
    assert_eq!(run(&["domains", "delete", "words.acme.test", "--confirm"])["status"], "deleted");
}
