//! Large trees, and names that are nearly the same.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Lab, Wallet, eventually};

use super::kit::{plan, reference, send_commit};
use super::{Files, deploy, fetch, post, sha256, upload};

const FILES: usize = 50_000;
const SIGNED: usize = 10_000;
/// Far above what it takes on a small machine that is busy, and far below what a person would wait for.
const WITHIN: Duration = Duration::from_secs(100);

fn timed(what: &str, began: Instant) {
    let took = began.elapsed();
    eprintln!("{what}: {} ms", took.as_millis());
    assert!(took < WITHIN, "{what} took {took:?}");
}

// Contract 02 section 4.1 (limits). Goal: a site with as many files as there may be is planned, carried out, served and
// changed within reason. Method: a spec that is uploaded, as published clients do with large ones; contents repeat, so
// that this is about the tree and not about uploads; then a patch of one file.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_files_go_live_and_change() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let texts: Vec<String> = (0..20).map(|n| format!("text {n}")).collect();
    let text = |n: usize| texts[n % 20].as_str();
    let path = |n: usize| format!("d{}/page-{n}.html", n / 500);
    let replace: serde_json::Map<String, Value> =
        (0..FILES).map(|n| (path(n), reference(text(n), "text/html"))).collect();
    let spec = json!({ "project": project["project_id"], "site": { "replace": replace } }).to_string();
    let manifest = reference(&spec, "application/vnd.run402.deploy-manifest+json");
    let contents: Vec<(&str, &[u8])> =
        texts.iter().chain([&spec]).map(|text| ("", text.as_bytes())).collect();
    let missing: Vec<Value> =
        contents.iter().map(|(_, bytes)| json!({ "sha256": sha256(bytes), "size": bytes.len() })).collect();
    upload(&lab, &project, &contents, &missing.iter().collect::<Vec<_>>()).await;

    let began = Instant::now();
    let body = json!({ "spec": { "project": project["project_id"] }, "manifest_ref": manifest });
    let planned = lab.as_wallet(&wallet, "POST", "/deploy/v2/plans", Some(body)).await;
    assert_eq!(planned.status, 200, "{planned:?}");
    timed("a plan of fifty thousand files", began);
    let began = Instant::now();
    let live = carried_out(&lab, &wallet, &planned.body).await;
    timed("its commit", began);
    let url = live["urls"]["site"].as_str().unwrap().to_owned();
    for n in [0, 7_777, FILES - 1] {
        let shown = fetch(&lab, &url, &format!("/{}", path(n)), &[]).await;
        assert_eq!((shown.status, shown.body.as_str()), (200, Some(text(n))), "{n}");
    }
    let began = Instant::now();
    let put = json!({ path(3_500): reference("changed", "text/html") });
    let patch = json!({ "site": { "patch": { "put": put } } });
    let planned = plan(&lab, &wallet, &project, patch, &["changed"]).await;
    carried_out(&lab, &wallet, &planned).await;
    timed("a patch of one file", began);
    for (n, text) in [(3_500, "changed"), (3_501, "text 1"), (FILES - 1, text(FILES - 1))] {
        assert_eq!(fetch(&lab, &url, &format!("/{}", path(n)), &[]).await.body, text, "{n}");
    }
}

/// Commits, and waits for longer than small deploys take.
async fn carried_out(lab: &Lab, wallet: &Wallet, plan: &Value) -> Value {
    let committed = send_commit(lab, wallet, plan).await;
    assert!(committed.status < 300, "{committed:?}");
    let path = format!("/deploy/v2/operations/{}", plan["operation_id"].as_str().unwrap());
    eventually("the end of the deploy", WITHIN.as_secs(), || async {
        let answer = lab.as_wallet(wallet, "GET", &path, None).await;
        assert_ne!(answer.body["status"], "failed", "{answer:?}");
        (answer.body["status"] == "ready").then_some(answer.body)
    })
    .await
}

// Contract 02 section 3.1. Goal: one content plan for all of a new site, as published clients ask for it. Method: a
// large site, whose grants an unoptimised build signs within its minute; and one object more than a site may have.
#[tokio::test(flavor = "multi_thread")]
async fn one_content_plan_asks_for_a_whole_new_site() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let anon = project["anon_key"].as_str().unwrap();
    let wanted = |count: usize| -> Value {
        let one = |n: usize| json!({ "sha256": format!("{n:064x}"), "size": 10, "content_type": "text/html; charset=utf-8" });
        json!({ "content": (0..count).map(one).collect::<Vec<_>>() })
    };
    let began = Instant::now();
    let planned = post(&lab, anon, "/content/v1/plans", wanted(SIGNED)).await;
    timed("a plan for ten thousand objects", began);
    assert_eq!(planned.status, 201, "{}", planned.body["code"]);
    assert_eq!(planned.body["missing"].as_array().unwrap().len(), SIGNED);
    let refused = post(&lab, anon, "/content/v1/plans", wanted(FILES + 1)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BAD_REQUEST")));
}

// I02. Goal: names that differ in case are two files, each shown under its own name only. Method: deploy such pairs;
// ask for a third spelling.
#[tokio::test]
async fn names_that_differ_in_case_are_two_files() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let files: Files<'_> = &[
        ("Page.html", b"upper"),
        ("page.html", b"lower"),
        ("dir/a.txt", b"small folder"),
        ("Dir/a.txt", b"large folder"),
        ("stra\u{df}e.txt", b"sharp s"),
        ("strasse.txt", b"double s"),
        ("\u{130}.txt", b"dotted capital i"),
        ("i.txt", b"i"),
    ];
    let live = deploy(&lab, &wallet, &project, files).await;
    let url = live["urls"]["site"].as_str().unwrap().to_owned();
    for (path, text) in files {
        let shown = fetch(&lab, &url, &format!("/{path}"), &[]).await;
        assert_eq!(shown.body.as_str().map(sha), Some(sha256(text)), "{path}");
    }
    for path in ["/PAGE.html", "/DIR/a.txt", "/STRASSE.txt", "/I.txt"] {
        assert_eq!(fetch(&lab, &url, path, &[]).await.status, 404, "{path}");
    }
}

fn sha(text: &str) -> String {
    sha256(text.as_bytes())
}
