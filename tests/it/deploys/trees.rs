//! Large trees, and names that are nearly the same.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Lab, fresh_folder, target_binary};

use super::{Files, deploy, fetch, post, sha256};

const FILES: usize = 50_000;
/// Far above what it takes on a small machine that is busy, and far below what a person would wait for.
const WITHIN: Duration = Duration::from_secs(100);

// Contract 02 section 4.1 (limits). Goal: a site with as many files as there may be is planned, carried out, served
// and changed within reason, and one file more is refused. Method: the words, on a folder; contents repeat, so that
// this is about the tree and not about uploads.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_files_go_live_and_change_by_words() {
    let lab = Lab::start().await;
    let home = fresh_folder();
    let site = home.join("site");
    for n in 0..FILES - 1 {
        if n % 500 == 0 {
            std::fs::create_dir_all(site.join(format!("d{}", n / 500))).unwrap();
        }
        let path = site.join(format!("d{}/page-{n}.html", n / 500));
        std::fs::write(path, format!("text {}", n % 20)).unwrap();
    }
    std::fs::write(site.join("index.html"), "home").unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        command.output().unwrap()
    };
    let run = |args: &[&str]| -> Value {
        let done = output(args);
        assert!(done.status.success(), "run402 {args:?}\n{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "large"]);
    let folder = site.to_str().unwrap();
    let timed = |what: &str| {
        let began = Instant::now();
        run(&["sites", "deploy-dir", folder]);
        let took = began.elapsed();
        eprintln!("{what}: {} ms", took.as_millis());
        assert!(took < WITHIN, "{what} took {took:?}");
    };
    timed("fifty thousand files");
    let pool = lab.database().await;
    let public_id: String =
        sqlx::query_scalar("select public_id from projects where active_release is not null")
            .fetch_one(&pool)
            .await
            .unwrap_or_else(|e| panic!("{e}: {project}"));
    let port = lab.api.rsplit(':').next().unwrap();
    let url = format!("http://pr-{public_id}.localhost:{port}");
    for (path, text) in [("/", "home"), ("/d0/page-0.html", "text 0"), ("/d99/page-49998.html", "text 18")] {
        let shown = fetch(&lab, &url, path, &[]).await;
        assert_eq!((shown.status, shown.body.as_str()), (200, Some(text)), "{path}");
    }
    std::fs::write(site.join("d7/page-3500.html"), "changed").unwrap();
    timed("one file of them changed");
    assert_eq!(fetch(&lab, &url, "/d7/page-3500.html", &[]).await.body, "changed");
    assert_eq!(fetch(&lab, &url, "/d7/page-3501.html", &[]).await.body, "text 1");
    std::fs::write(site.join("more.html"), "one more").unwrap();
    let refused = output(&["sites", "deploy-dir", folder]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("50000"), "{refused:?}");
    let _ = std::fs::remove_dir_all(&home);
}

// Contract 02 section 3.1. Goal: one content plan for all of a new site, as published clients ask for it. Method: as many
// objects as a site may have files; and one more.
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
    let planned = post(&lab, anon, "/content/v1/plans", wanted(FILES)).await;
    let took = began.elapsed();
    eprintln!("a plan for {FILES} objects: {} ms", took.as_millis());
    assert_eq!(planned.status, 201, "{}", planned.body["code"]);
    assert_eq!(planned.body["missing"].as_array().unwrap().len(), FILES);
    assert!(took < WITHIN, "{took:?}");
    let refused = post(&lab, anon, "/content/v1/plans", wanted(FILES + 1)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BAD_REQUEST")));
}

// I02. Goal: names that differ in case are two files, each shown under its own name only. Method: deploy such pairs; ask
// for a third spelling.
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
