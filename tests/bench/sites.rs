//! Static files of a site, beside nginx with the same files, the same load and the same connections.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bench::{Load, SEED, Table, load, median, missing, program, resident_kib};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::{Customer, Lab, Site, eventually};

const PAGES: [(&str, usize); 2] = [("1 KiB", 1 << 10), ("100 KiB", 100 << 10)];
const CONNECTIONS: usize = 32;
const TURNS: usize = 3;
const SITES: usize = 10_000;

#[tokio::main]
async fn main() {
    let (Some(wrk), Some(nginx)) = (program("wrk"), program("nginx")) else {
        return missing("wrk or nginx", "wrk nginx-light");
    };
    let mut table = Table::new("sites");
    let folder = tempfile::tempdir().unwrap();
    let peer = Nginx::start(&nginx, folder.path());
    let lab = Lab::start().await;
    let mut random = StdRng::seed_from_u64(SEED);
    for (name, size) in PAGES {
        let page: String = (0..size).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        std::fs::write(folder.path().join(format!("{size}.html")), &page).unwrap();
        let host = deploy(&lab, &page).await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(load(&wrk, &lab.url("/"), CONNECTIONS, &[&format!("Host: {host}")], None));
            let (url, header) = (format!("{}/{size}.html", peer.base), ["Host: localhost"]);
            theirs.push(load(&wrk, &url, CONNECTIONS, &header, None));
        }
        let (our_rate, their_rate) = (rate(&ours), rate(&theirs));
        let what = format!("{name}, {CONNECTIONS} connections");
        table.rate(&what, "requests/s", our_rate, Some(("nginx", their_rate)), &ours[TURNS - 1].text());
        table.row([&format!("{name} of nginx"), "", "", "", "", "", &theirs[TURNS - 1].text()]);
    }
    many(&lab, &wrk, &mut table, folder.path()).await;
    let own = resident_kib(u32::try_from(lab.server.pid()).unwrap()) as f64 / 1024.0;
    table.rate(
        "resident after the load",
        "MiB",
        own,
        Some(("nginx, all processes", peer.resident_mib())),
        "",
    );
    table.finish(
        "1 KiB: per request, a router, a span and twelve headers where nginx has a parser and seven; 100 KiB: copying \
         from memory to the socket where nginx lets the kernel send the file. Ours is the whole platform in one \
         process",
    );
}

fn rate(loads: &[Load]) -> f64 {
    median(&mut loads.iter().map(|load| load.rate).collect::<Vec<_>>())
}

/// Ten thousand sites in turn, each with a name and a release of its own, beside the first of them alone.
async fn many(lab: &Lab, wrk: &Path, table: &mut Table, folder: &Path) {
    let host = deploy(lab, "one page of many").await;
    let public_id = host.trim_start_matches("pr-").split('.').next().unwrap();
    let script = format!(
        "begin;
         create temporary table made on commit drop as
           select gen_random_uuid() as id, n, p.id as project_id, p.active_release as release_id
           from projects p, generate_series(0, {SITES} - 1) n where p.public_id = '{public_id}';
         insert into releases (id, project_id, operation_id, plan_id, status, digest, deployment_id, created_by,
             created_at)
           select m.id, m.project_id, r.operation_id, r.plan_id, 'superseded', r.digest,
             'dpl_many_' || lpad(to_hex(m.n), 6, '0'), r.created_by, r.created_at
           from made m join releases r on r.id = m.release_id;
         insert into release_files (release_id, path, sha256, size_bytes, content_type)
           select m.id, f.path, f.sha256, f.size_bytes, f.content_type
           from made m join release_files f on f.release_id = m.release_id;
         insert into subdomains (name, project_id, deployment_id, created_at, updated_at)
           select 'many-' || n, project_id, 'dpl_many_' || lpad(to_hex(n), 6, '0'), now(), now() from made;
         commit;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&lab.database().await).await.unwrap();
    let port = lab.api.rsplit(':').next().unwrap();
    // Far apart from one request to the next, so that nothing near is found again by chance.
    let file = |name: &str, sites: usize| {
        let path = folder.join(name);
        let host = format!("'many-' .. (n * 7919 % {sites}) .. '.localhost:{port}'");
        let text = format!(
            "local n = 0
             request = function() n = n + 1; return wrk.format('GET', '/', {{ Host = {host} }}) end"
        );
        std::fs::write(&path, text).unwrap();
        path
    };
    let (one, all) = (file("one.lua", 1), file("all.lua", SITES));
    let ask = |script: &Path| load(wrk, &lab.url("/"), CONNECTIONS, &[], Some(script));
    ask(&all);
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.push(ask(&one));
        ours.push(ask(&all));
    }
    let beside = Some(("one site", rate(&alone)));
    table.rate("10,000 sites in turn", "requests/s", rate(&ours), beside, &ours[TURNS - 1].text());
    table.row(["one site alone", "", "", "", "", "", &alone[TURNS - 1].text()]);
}

/// A server on a free loopback port. Ended when dropped.
struct Nginx {
    child: Child,
    base: String,
}

impl Nginx {
    fn start(program: &Path, folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration: PathBuf = folder.join("nginx.conf");
        let place = folder.display();
        // As root its workers would lower themselves to an account that cannot enter the folder.
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} daemon off; worker_processes auto; pid {place}/pid; error_log {place}/error.log;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; etag on;
               open_file_cache max=100; default_type text/html;
               client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
               fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
               server {{ listen 127.0.0.1:{port}; root {place}; }}
             }}"
        );
        std::fs::write(&configuration, text).unwrap();
        let child =
            Command::new(program).arg("-c").arg(&configuration).arg("-p").arg(folder).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            assert!(Instant::now() < until, "nginx does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, base: format!("http://127.0.0.1:{port}") }
    }

    /// Its master and its workers.
    fn resident_mib(&self) -> f64 {
        let (id, mut kib) = (self.child.id(), resident_kib(self.child.id()));
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        kib += children.split_whitespace().filter_map(|id| id.parse().ok()).map(resident_kib).sum::<u64>();
        kib as f64 / 1024.0
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Makes the page the front page of a project of its own and answers the site's host.
async fn deploy(lab: &Lab, page: &str) -> String {
    let (customer, (wallet, project)) = (Customer::new(&lab.api), lab.project().await);
    let site =
        Site { page: page.to_owned(), idempotency_key: format!("page-{}", page.len()), migration: None };
    let live = eventually("the deploy", 30, || customer.deploy(&wallet, &project, &site)).await;
    let url = reqwest::Url::parse(live["urls"]["project"].as_str().unwrap()).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(80))
}
