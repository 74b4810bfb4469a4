//! The seven lines of the README, by the real command line, and the page in a real browser.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{Lab, fresh_folder, target_binary};

/// One `run402` command with its own configuration folder: its JSON.
fn run402(lab: &Lab, home: &Path, args: &[&str]) -> Value {
    let output = command(lab, home, args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "run402 {args:?}\n{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("run402 {args:?}: {e}\n{out}"))
}

fn command(lab: &Lab, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(target_binary("run402"));
    command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home);
    command
}

/// Keys are for their owner's eyes.
fn assert_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", file.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seven_lines_end_with_a_page_in_a_browser() {
    let lab = Lab::start().await;
    let (home, dist) = (fresh_folder(), fresh_folder());
    std::fs::create_dir_all(dist.join("assets")).unwrap();
    std::fs::write(
        dist.join("index.html"),
        "<!doctype html><title>t</title><h1 id=h></h1><script src=assets/a.js></script>",
    )
    .unwrap();
    std::fs::write(
        dist.join("assets/a.js"),
        "document.getElementById('h').textContent = 'hello ' + location.hostname",
    )
    .unwrap();

    run402(&lab, &home, &["init"]);
    assert_private(&home.join("allowance.json"));
    let tier = run402(&lab, &home, &["tier", "set", "prototype"]);
    assert_eq!(tier["action"], "subscribe", "{tier}");
    let project = run402(&lab, &home, &["projects", "provision", "--name", "my-app"]);
    let id = project["project_id"].as_str().unwrap();
    assert_private(&home.join("projects.json"));
    let sql = "create table items (id serial primary key, title text not null)";
    let made = run402(&lab, &home, &["projects", "sql", id, sql]);
    assert_eq!(made["rows"], serde_json::json!([]), "{made}");
    let deployed = run402(&lab, &home, &["sites", "deploy-dir", dist.to_str().unwrap()]);
    assert!(deployed["deployment_id"].as_str().unwrap().starts_with("dpl_"), "{deployed}");
    let claimed = run402(&lab, &home, &["subdomains", "claim", "my-app"]);
    let url = claimed["url"].as_str().unwrap();
    assert!(url.starts_with("http://my-app.localhost:"), "{claimed}");

    let profile = fresh_folder();
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=5000", "--dump-dom", url])
        .output()
        .expect("chromium runs; `cargo xtask test` installs it or says how");
    let dom = String::from_utf8_lossy(&browser.stdout);
    assert!(dom.contains("hello my-app.localhost"), "{dom}\n{}", String::from_utf8_lossy(&browser.stderr));
    lab.assert_books_agree();

    // Errors are one JSON object on stderr, and the exit code is 1.
    let refused = command(&lab, &home, &["subdomains", "claim", "api"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((&error["status"], &error["http"]), (&"error".into(), &400.into()), "{error}");
    assert_eq!(error["code"], "BAD_SUBDOMAIN");
    for folder in [home, dist, profile] {
        let _ = std::fs::remove_dir_all(folder);
    }
}
