//! The same by the words of the command line.

use std::process::Command;

use serde_json::Value;
use tests::{Lab, fresh_folder, target_binary};

use super::{PAGE, text};
use crate::deploys::fetch;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_published_browsed_changed_and_forked_by_words() {
    let lab = Lab::start().await;
    let home = fresh_folder();
    std::fs::create_dir_all(home.join("site")).unwrap();
    std::fs::write(home.join("site/index.html"), PAGE).unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        command.output().unwrap()
    };
    let run = |args: &[&str]| -> Value {
        let done = output(args);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("run402 {args:?}: {e}\n{out}"))
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "app"]);
    let project = text(&project, "project_id").to_owned();
    run(&["projects", "sql", &project, "create table items (id int primary key)"]);
    run(&["sites", "deploy-dir", home.join("site").to_str().unwrap(), "--confirm-prune"]);
    let published = run(&[
        "apps",
        "publish",
        &project,
        "--description",
        "An app",
        "--tags",
        "a,b",
        "--visibility",
        "public",
    ]);
    let version = text(&published, "id").to_owned();
    assert_eq!(run(&["apps", "browse", "--tag", "b", "--tag", "c"])["total"], 1);
    assert_eq!(run(&["apps", "inspect", &version])["fork_allowed"], false);
    let refused = output(&["apps", "fork", &version, "mine"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("FORK_NOT_ALLOWED"));
    assert_eq!(run(&["apps", "update", &project, &version, "--fork-allowed"])["fork_allowed"], true);
    assert_eq!(run(&["apps", "versions"])["versions"][0]["id"], version.as_str());
    let fork = run(&["apps", "fork", &version, "mine", "--subdomain", "by-words"]);
    assert_eq!(run(&["projects", "list"])["active_project_id"], fork["project_id"]);
    assert_eq!(fetch(&lab, text(&fork, "subdomain_url"), "/", &[]).await.body, PAGE);
    let tables = run(&["projects", "schema"]);
    assert_eq!(tables["tables"][0]["name"], "items", "{tables}");
    assert!(!output(&["apps", "delete", &project, &version]).status.success(), "it asks first");
    run(&["apps", "delete", &project, &version, "--confirm"]);
    assert_eq!(run(&["apps", "browse"])["total"], 0);
}
