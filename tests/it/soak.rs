//! E14: nothing grows while the same work is done over and over. a minute of it runs always, and
//! `cargo xtask soak MINUTES` runs longer.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Lab, Wallet};

use crate::deploys::{deploy, fetch};

const MINUTES_VAR: &str = "RUN402_SOAK_MINUTES";
const MINUTES_DEFAULT: u64 = 1;
/// Caches fill and pools open in the beginning; what counts is growth after that.
const WARM_UP_SHARE: u32 = 3;
const GROWTH_KIB_MAX: u64 = 24 * 1024;
const GROWTH_FDS_MAX: usize = 16;

/// Resident KiB and open descriptors of a process.
fn size(pid: i32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (kib, std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

/// One of everything that customers do.
async fn round(lab: &Lab, n: u64) {
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    let project = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "soak" }))).await;
    if project.status == 503 {
        return; // The pool of databases is being refilled.
    }
    assert_eq!(project.status, 201, "{project:?}");
    let (id, key) =
        (project.body["project_id"].as_str().unwrap(), project.body["service_key"].as_str().unwrap());
    let path = format!("/projects/v1/admin/{id}/sql");
    for _ in 0..5 {
        let answer = lab.send(lab.http.post(lab.url(&path)).bearer_auth(key).body("select 1 as n")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let page = format!("<h1>{n}</h1>");
    let live = deploy(lab, &wallet, &project.body, &[("index.html", page.as_bytes())]).await;
    if let Some(url) = live["urls"]["project"].as_str() {
        for _ in 0..20 {
            assert_eq!(fetch(lab, url, "/", &[]).await.body, page.as_str());
        }
    }
    let gone = lab.as_wallet(&wallet, "DELETE", &format!("/projects/v1/{id}"), None).await;
    assert!(gone.status < 500, "{gone:?}");
}

#[tokio::test]
async fn memory_and_descriptors_stay_flat() {
    let minutes =
        std::env::var(MINUTES_VAR).ok().and_then(|text| text.parse().ok()).unwrap_or(MINUTES_DEFAULT);
    let whole = Duration::from_secs(60 * minutes);
    let lab = Lab::start().await;
    let started = Instant::now();
    let mut rounds = 0;
    let mut warm = None;
    while started.elapsed() < whole {
        round(&lab, rounds).await;
        rounds += 1;
        let (kib, fds) = size(lab.server.pid());
        println!("{:>6.1} s  round {rounds}  {kib} KiB  {fds} descriptors", started.elapsed().as_secs_f32());
        if warm.is_none() && started.elapsed() > whole / WARM_UP_SHARE {
            warm = Some((kib, fds));
        }
    }
    let (warm_kib, warm_fds) = warm.expect("more than one round");
    let (kib, fds) = size(lab.server.pid());
    println!(
        "{rounds} rounds in {minutes} minutes: {warm_kib} -> {kib} KiB, {warm_fds} -> {fds} descriptors"
    );
    assert!(kib < warm_kib + GROWTH_KIB_MAX, "memory grew from {warm_kib} to {kib} KiB");
    assert!(fds < warm_fds + GROWTH_FDS_MAX, "descriptors grew from {warm_fds} to {fds}");
    lab.assert_books_agree();
}
