//! TLS by names: certificates of a local authority, ordered for what is ours and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Row;
use tests::acme::{Authority, Temper};
use tests::dns::DnsServer;
use tests::{Lab, LabOptions, eventually};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{add, becomes, key, move_clock, named_site, obey};
use crate::nodes::two_servers_of;

mod browser;

struct World {
    dns: DnsServer,
    authority: Authority,
    lab: Lab,
    tls: SocketAddr,
}

/// Words for a server that asks these two.
fn words(dns: &DnsServer, authority: &Authority) -> Vec<String> {
    let names = ["--dns-resolver", &dns.address.to_string(), "--tls-listen", "127.0.0.1:0"];
    let root = authority.root_file.to_str().unwrap();
    let acme = ["--acme-directory", &authority.directory, "--acme-root", root];
    names.into_iter().chain(acme).map(str::to_owned).collect()
}

async fn world() -> World {
    let (dns, authority) = (DnsServer::start().await, Authority::start().await);
    let args = words(&dns, &authority);
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    World::new(dns, authority, lab)
}

impl World {
    fn new(dns: DnsServer, authority: Authority, lab: Lab) -> Self {
        authority.reach(&lab.api);
        let tls = lab.server.ready["tls"].as_str().unwrap().parse().unwrap();
        Self { dns, authority, lab, tls }
    }

    /// One request over a connection of its own, trusting the authority alone.
    async fn get(&self, named: &str, host: &str) -> Result<(u16, String), reqwest::Error> {
        self.get_at(self.tls, named, host).await
    }

    async fn get_at(
        &self,
        tls: SocketAddr,
        named: &str,
        host: &str,
    ) -> Result<(u16, String), reqwest::Error> {
        let root = reqwest::Certificate::from_pem(self.authority.root_pem.as_bytes()).unwrap();
        // By HTTP/1.1, where the header may name another host than the handshake did.
        let client = reqwest::Client::builder().no_proxy().http1_only();
        let client = client.tls_certs_only([root]).resolve(named, tls);
        let url = format!("https://{named}:{}/", tls.port());
        let answer = client.build().unwrap().get(url).header("host", host).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    async fn page(&self, host: &str) -> Option<String> {
        self.page_at(self.tls, host).await
    }

    async fn page_at(&self, tls: SocketAddr, host: &str) -> Option<String> {
        self.get_at(tls, host, host).await.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }

    /// Shakes hands for a host, trusting the authority's root alone. The public key that was shown, as browsers name
    /// it: base64 of its SHA-256.
    async fn key_shown(&self, host: &str) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.root_pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(self.tls).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (_, session) = stream.get_ref();
        let (_, leaf) =
            x509_parser::parse_x509_certificate(&session.peer_certificates().unwrap()[0]).unwrap();
        assert_ne!(leaf.issuer(), leaf.subject(), "signed by itself");
        BASE64_STANDARD.encode(Sha256::digest(leaf.public_key().raw))
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
    let answer = json!(row.get::<String, _>("key_authorization"));
    assert_eq!(asked(domain).await.body, answer);
    // A site may have a page at any path.
    assert_eq!(asked("shop.localhost").await.body, "over TLS");

    // Two thirds of its time are over: a new one, and the old one serves until it is there.
    let chain = async || -> Option<String> {
        let row = sqlx::query_scalar("select chain from certificates where host = $1").bind(domain);
        row.fetch_optional(&database).await.unwrap()
    };
    let first = chain().await;
    move_clock(lab, 61 * 86_400).await;
    eventually("the renewal", 30, || async { (chain().await != first).then_some(()) }).await;
    assert_eq!(world.authority.orders().iter().filter(|host| *host == domain).count(), 2);
    assert_eq!(world.page(domain).await.as_deref(), Some("over TLS"));
    // Given up: the next renewal is none.
    assert_eq!(
        lab.with_key(key(&project), "DELETE", &format!("/domains/v1/{domain}"), None).await.status,
        200
    );
    let orders = world.authority.orders().len();
    let due =
        sqlx::query("update certificates set next_attempt_at = requested_at where host = $1").bind(domain);
    assert_eq!(due.execute(&database).await.unwrap().rows_affected(), 1);
    eventually("the certificate to be forgotten", 30, || async { chain().await.is_none().then_some(()) })
        .await;
    assert!(!world.authority.orders()[orders..].iter().any(|host| host == domain));
}

// I04, I05. Goal: readers without TLS are sent to it once the host has a certificate, and nobody else ever is.
// Method: one site before and after its certificate; what is no read, a challenge, the API's address, a proxy's
// request; a path that looks like another host; and a server that was not told to.
#[tokio::test]
async fn readers_are_sent_to_tls_once_there_is_a_certificate() {
    let (dns, authority) = (DnsServer::start().await, Authority::start().await);
    let args = [words(&dns, &authority), vec!["--tls-redirect".to_owned()]].concat();
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let world = World::new(dns, authority, lab);
    let lab = &world.lab;
    named_site(lab, "shop", b"page").await;
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        // Sent as it is: a client would tidy the path up.
        let mut url = reqwest::Url::parse(&lab.api).unwrap();
        url.set_path(path);
        let mut request = http.request(method.parse().unwrap(), url).header("host", "shop.localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location)
    };
    assert_eq!(ask("GET", "/", &[]).await.0, 200, "no certificate yet, so it is served");
    eventually("the redirect", 40, || async { (ask("GET", "/", &[]).await.0 == 308).then_some(()) }).await;
    let origin = format!("https://shop.localhost:{}", world.tls.port());
    for (path, to) in [("/", "/"), ("/a%20b", "/a%20b"), ("//evil.test/x", "/evil.test/x")] {
        for method in ["GET", "HEAD"] {
            assert_eq!(ask(method, path, &[]).await, (308, Some(format!("{origin}{to}"))), "{method} {path}");
        }
    }
    assert_eq!(ask("POST", "/", &[]).await.0, 405, "what is not read is not sent on");
    assert_eq!(ask("GET", "/.well-known/acme-challenge/abc", &[]).await.0, 200);
    assert_eq!(ask("GET", "/", &[("x-forwarded-proto", "https")]).await.0, 200, "no circle with a proxy");
    assert_eq!(lab.get("/health").await.status, 200, "an address has no certificate");
    assert_eq!(world.page("shop.localhost").await.as_deref(), Some("page"), "and over TLS it is there");
    assert_eq!(world.authority.orders(), ["shop.localhost"]);
    // Whoever cannot have a certificate is not sent anywhere.
    let stranger = http.get(&lab.api).header("host", "evil.test").send().await.unwrap();
    assert_ne!(stranger.status().as_u16(), 308);
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

// Goal: two servers order a certificate once, whoever is asked, and the order of one that died is taken up by the
// other. Method: both are visited for three new names at the same instant; then one is killed while the authority lets
// it wait.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_order_once_and_one_takes_up_what_the_other_lost() {
    let (dns, authority) = (DnsServer::start().await, Authority::start().await);
    let root = authority.root_file.display();
    let section = format!(
        "\n[tls]\nlisten = \"127.0.0.1:0\"\nacme_directory = \"{}\"\nacme_root = \"{root}\"\n",
        authority.directory
    );
    let (lab, mut second, _) = two_servers_of(words(&dns, &authority), |config| config + &section).await;
    let other: SocketAddr = second.ready["tls"].as_str().unwrap().parse().unwrap();
    let world = World::new(dns, authority, lab);
    let lab = &world.lab;
    let names = ["one", "two", "three", "late"];
    let (_, project) = named_site(lab, names[0], b"shared").await;
    let live = lab.with_key(key(&project), "GET", "/subdomains/v1", None).await;
    let deployment = &live.body["subdomains"][0]["deployment_id"];
    for name in &names[1..] {
        let body = json!({ "name": name, "deployment_id": deployment });
        let claimed = lab.with_key(key(&project), "POST", "/subdomains/v1", Some(body)).await;
        assert_eq!(claimed.status, 201, "{claimed:?}");
    }
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.localhost")).collect();
    let (new, late) = (&hosts[..3], hosts[3].as_str());
    let visits = new.iter().flat_map(|host| [world.page_at(world.tls, host), world.page_at(other, host)]);
    for page in futures::future::join_all(visits).await {
        assert_eq!(page.as_deref(), Some("shared"));
    }
    let mut ordered = world.authority.orders();
    ordered.sort();
    assert_eq!(ordered, ["one.localhost", "three.localhost", "two.localhost"]);

    world.authority.temper(Temper::Stalling);
    let visit = world.page_at(other, late);
    let stalls = eventually("the order", 20, || async { (world.authority.stalled() > 0).then_some(()) });
    let (visited, ()) = tokio::join!(tokio::time::timeout(std::time::Duration::from_secs(5), visit), stalls);
    assert!(visited.is_err(), "it waits for the order: {visited:?}");
    second.kill();
    world.authority.temper(Temper::Even);
    // The dead one's time is not over: nobody else may be at it.
    let database = lab.database().await;
    let has_chain = "select chain is not null from certificates where host = $1";
    let has_chain: bool = sqlx::query_scalar(has_chain).bind(late).fetch_one(&database).await.unwrap();
    assert!(!has_chain);
    move_clock(lab, 301).await;
    let page = eventually("the order to be taken up", 40, || async { world.page(late).await }).await;
    assert_eq!(page, "shared");
    lab.assert_books_agree();
}
