//! TLS by names: certificates of a local authority, ordered for what is ours and nothing else.

use std::net::SocketAddr;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;
use tests::acme::{Authority, Temper};
use tests::dns::DnsServer;
use tests::{Lab, LabOptions, eventually, fresh_folder};

use super::{add, becomes, key, move_clock, named_site, obey};
use crate::deploys::deploy;

struct World {
    dns: DnsServer,
    authority: Authority,
    lab: Lab,
    tls: SocketAddr,
}

async fn world() -> World {
    let (dns, authority) = (DnsServer::start().await, Authority::start().await);
    let args = ["--dns-resolver", &dns.address.to_string(), "--tls-listen", "127.0.0.1:0"];
    let acme =
        ["--acme-directory", &authority.directory, "--acme-root", authority.root_file.to_str().unwrap()];
    let args = args.into_iter().chain(acme).map(str::to_owned).collect();
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    authority.reach(&lab.api);
    let tls = lab.server.ready["tls"].as_str().unwrap().parse().unwrap();
    World { dns, authority, lab, tls }
}

impl World {
    /// One request over a connection of its own, trusting the authority alone.
    async fn get(&self, named: &str, host: &str) -> Result<(u16, String), reqwest::Error> {
        let root = reqwest::Certificate::from_pem(self.authority.root_pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).resolve(named, self.tls);
        let url = format!("https://{named}:{}/", self.tls.port());
        let answer = client.build().unwrap().get(url).header("host", host).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    async fn page(&self, host: &str) -> Option<String> {
        self.get(host, host).await.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }
}

// Goal: certificates for what is ours, on demand, once, kept sealed, renewed in time; nothing for anybody else.
#[tokio::test]
async fn names_of_ours_get_certificates_and_others_get_none() {
    let world = world().await;
    let lab = &world.lab;
    let (_, project) = named_site(lab, "shop", b"over TLS").await;
    let domain = "www.acme.test";
    // Not proved, and a stranger's: no order, no handshake.
    let added = add(lab, &project, domain, "shop").await;
    assert!(added.body["url"].as_str().unwrap().starts_with("https://www.acme.test:"), "{added:?}");
    for host in [domain, "evil.test", "nobody.localhost", "localhost"] {
        assert!(world.get(host, host).await.is_err(), "{host}");
    }
    assert_eq!(world.authority.orders(), Vec::<String>::new());
    obey(&world.dns, domain, &added.body);
    becomes(lab, &project, domain, "active").await;
    // The refusal of a moment ago is forgotten soon.
    let body = eventually("the first visit", 30, || async { world.page(domain).await }).await;
    assert_eq!(body, "over TLS");
    assert_eq!(world.page("shop.localhost").await.as_deref(), Some("over TLS"));
    for _ in 0..3 {
        assert_eq!(world.page(domain).await.as_deref(), Some("over TLS"));
    }
    assert_eq!(world.authority.orders(), [domain, "shop.localhost"]);
    assert_eq!(world.authority.accounts(), 1);

    // A connection is for the host that it was made for.
    let (status, body) = world.get(domain, "shop.localhost").await.unwrap();
    assert_eq!(status, 421, "{body}");
    // The key is nowhere in the clear.
    let database = lab.database().await;
    let row = sqlx::query("select chain, key_sealed from certificates where host = $1").bind(domain);
    let row = row.fetch_one(&database).await.unwrap();
    assert!(row.get::<String, _>("chain").contains("BEGIN CERTIFICATE"));
    let sealed: Vec<u8> = row.get("key_sealed");
    assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE KEY"));
    // The challenge is answered for its host alone.
    let row =
        sqlx::query("select token, key_authorization from acme_challenges where host = $1").bind(domain);
    let row = row.fetch_one(&database).await.unwrap();
    let path = format!("/.well-known/acme-challenge/{}", row.get::<String, _>("token"));
    let asked = async |host: &str| lab.send(lab.http.get(lab.url(&path)).header("host", host)).await;
    assert_eq!(asked(domain).await.body, json!(row.get::<String, _>("key_authorization")));
    assert_ne!(asked("shop.localhost").await.status, 200);

    // Two thirds of its time are over: a new one, and the old one serves until it is there.
    move_clock(lab, 61 * 86_400).await;
    eventually("the renewal", 30, || async {
        let orders = world.authority.orders();
        (orders.iter().filter(|host| *host == domain).count() == 2).then_some(())
    })
    .await;
    assert_eq!(world.page(domain).await.as_deref(), Some("over TLS"));
    // Given up: the next renewal is none.
    assert_eq!(
        lab.with_key(key(&project), "DELETE", &format!("/domains/v1/{domain}"), None).await.status,
        200
    );
    let orders = world.authority.orders().len();
    move_clock(lab, 61 * 86_400).await;
    eventually("the certificate to be forgotten", 30, || async {
        let row = sqlx::query("select 1 from certificates where host = $1").bind(domain);
        row.fetch_optional(&database).await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(!world.authority.orders()[orders..].iter().any(|host| host == domain));
}

// Goal: an authority that refuses is left alone for longer and longer, and is asked again; one whose certificate does
// not fit its key is not served; a restart keeps what there is.
#[tokio::test]
async fn an_authority_that_fails_is_asked_later_and_later() {
    let world = world().await;
    let lab = &world.lab;
    named_site(lab, "shop", b"at last").await;
    world.authority.temper(Temper::Limiting);
    assert!(world.page("shop.localhost").await.is_none());
    let failures = async || {
        let row = sqlx::query("select failures, last_error from certificates where host = 'shop.localhost'");
        let row = row.fetch_one(&lab.database().await).await.unwrap();
        (row.get::<i32, _>("failures"), row.get::<Option<String>, _>("last_error").unwrap_or_default())
    };
    eventually("the failure to be noted", 30, || async { (failures().await.0 == 1).then_some(()) }).await;
    assert!(failures().await.1.contains("too many certificates"), "{:?}", failures().await);
    // A certificate for another key is not served, and is a failure like another.
    world.authority.temper(Temper::Lying);
    move_clock(lab, 61).await;
    eventually("the second failure", 40, || async { (failures().await.0 == 2).then_some(()) }).await;
    assert!(failures().await.1.contains("another key"), "{:?}", failures().await);
    world.authority.temper(Temper::Even);
    // Handshakes in between order nothing: its time has not come.
    assert!(world.page("shop.localhost").await.is_none());
    assert_eq!(world.authority.orders().len(), 1);
    move_clock(lab, 121).await;
    let body = eventually("the next attempt", 40, || async { world.page("shop.localhost").await }).await;
    assert_eq!(body, "at last");
    assert_eq!(failures().await.0, 0);
    lab.expect_error("no certificate");
}

// Issue 6, done means. Goal: a deployed page on a custom domain over TLS, in a real browser, with a certificate of the
// local authority; its script and image are checked by their SRI hashes, and one that does not fit is not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_a_custom_domain_over_tls_with_sri_in_a_browser() {
    let world = world().await;
    let lab = &world.lab;
    let script =
        b"document.getElementById('h').textContent = 'hello ' + location.protocol + location.hostname";
    let script = script.as_slice();
    let wrong = b"document.title = 'tampered'".as_slice();
    let image = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"7\" height=\"5\"/>".as_slice();
    let sri = |bytes: &[u8]| format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(bytes)));
    let html = format!(
        "<!doctype html><title>t</title><h1 id=h></h1>\
         <link rel=preload as=image href=/i.svg integrity=\"{image_hash}\" crossorigin=anonymous>\
         <img id=i src=/i.svg integrity=\"{image_hash}\" crossorigin=anonymous \
          onload=\"this.setAttribute('data-size', this.naturalWidth + 'x' + this.naturalHeight)\">\
         <script src=/a.js integrity=\"{script_hash}\" crossorigin=anonymous></script>\
         <script src=/b.js integrity=\"{script_hash}\" crossorigin=anonymous></script>",
        image_hash = sri(image),
        script_hash = sri(script),
    );
    let (wallet, project) = named_site(lab, "browser", b"first").await;
    let files = [("index.html", html.as_bytes()), ("a.js", script), ("b.js", wrong), ("i.svg", image)];
    deploy(lab, &wallet, &project, &files).await;
    let domain = "shop.acme.test";
    let added = add(lab, &project, domain, "browser").await;
    obey(&world.dns, domain, &added.body);
    let active = becomes(lab, &project, domain, "active").await;
    eventually("the certificate", 30, || async { world.page(domain).await }).await;

    let profile = fresh_folder();
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--host-resolver-rules=MAP {domain} 127.0.0.1"))
        .arg(format!("--ignore-certificate-errors-spki-list={}", world.authority.root_spki))
        .args(["--virtual-time-budget=5000", "--dump-dom", active["url"].as_str().unwrap()])
        .output()
        .expect("chromium runs; `cargo xtask test` installs it or says how");
    let dom = String::from_utf8_lossy(&browser.stdout);
    let log = String::from_utf8_lossy(&browser.stderr);
    assert!(dom.contains("hello https:shop.acme.test"), "{dom}\n{log}");
    assert!(dom.contains("data-size=\"7x5\""), "{dom}\n{log}");
    assert!(dom.contains("<title>t</title>"), "a script with another hash ran: {dom}");
    let _ = std::fs::remove_dir_all(profile);
    lab.assert_books_agree();
}
