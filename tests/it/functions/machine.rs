//! What functions ask of the machine: a sandbox for whoever runs the server, or a server that says that there is none.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Lab, LabOptions, Server, again_without_rights, fresh_folder, target_binary, up_command};

const START_SECS_MAX: u64 = 60;

// F07, F08, F11, F12, F14. Goal: all of it holds on a server of an account without rights. Method: root runs the
// scenarios again as `nobody`.
#[test]
fn calls_are_as_safe_on_a_server_without_rights() {
    again_without_rights(
        &[
            "functions::calls::a_call_by_key_reaches_the_handler_and_nothing_of_ours_leaks",
            "functions::calls::a_function_that_fails_answers_with_a_code_and_the_next_call_is_fine",
            "functions::calls::a_function_reaches_its_own_project_and_nothing_else_here",
            "functions::calls::functions_live_through_a_restart",
        ],
        &["run402d"],
    );
}

#[test]
fn packages_are_installed_by_a_server_without_rights() {
    again_without_rights(
        &["functions::packages::named_packages_are_pinned_installed_and_shown"],
        &["run402d"],
    );
}

/// The same command on a machine that gives nobody a namespace.
fn without_namespaces(inner: &Command) -> Command {
    let mut command = Command::new(target_binary("examples/launcher"));
    command.arg("without-namespaces").arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

async fn status(api: &str) -> Value {
    reqwest::get(format!("{api}/status")).await.unwrap().json().await.unwrap()
}

/// What a server that does not start says.
async fn refusal(command: &mut Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let (ended, kept) = (tokio::task::spawn_blocking(move || std::io::read_to_string(stderr)), &mut child);
    let said = tokio::time::timeout(Duration::from_secs(START_SECS_MAX), ended).await;
    let Ok(said) = said else {
        let _ = kept.kill();
        panic!("it started");
    };
    assert!(!kept.wait().unwrap().success());
    said.unwrap().unwrap()
}

/// The configuration of a lab for servers beside it.
async fn lab_and_config() -> (Lab, PathBuf) {
    let config = fresh_folder().with_extension("toml");
    let args = vec!["--write-serve-config".to_owned(), config.display().to_string()];
    (Lab::start_with(LabOptions { args, ..LabOptions::default() }).await, config)
}

// F08. Goal: no tenant's code runs where it cannot be kept in: `serve` does not start, unless it is told that all
// code is the operator's own, and then it says so.
#[tokio::test]
async fn a_server_on_a_machine_without_a_sandbox_does_not_serve_functions() {
    let (lab, config) = lab_and_config().await;
    let serve = |config: &PathBuf| {
        let mut command = Command::new(target_binary("run402d"));
        command.arg("serve").arg("--config").arg(config);
        command
    };
    let said = refusal(&mut without_namespaces(&serve(&config))).await;
    assert!(said.contains("this machine gives no sandbox"), "{said}");
    assert!(said.contains("namespaces: EPERM") && said.contains("functions.isolation"), "{said}");

    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("\n[functions]\n"), "{text}");
    let bare: String =
        text.lines().filter(|line| !line.starts_with("isolation")).map(|l| format!("{l}\n")).collect();
    std::fs::write(&config, bare.replace("\n[functions]\n", "\n[functions]\nisolation = \"none\"\n"))
        .unwrap();
    let server = Server::start(&mut without_namespaces(&serve(&config))).await;
    let seen = status(&format!("http://{}", server.ready["listen"].as_str().unwrap())).await;
    let why = json!({ "by": "rlimit", "why": "functions run without a sandbox" });
    assert_eq!((&seen["functions"]["running"], &seen["functions"]["limits"]), (&json!(true), &why), "{seen}");
    let _ = std::fs::remove_file(config);
    drop(server);
    drop(lab);
}

// F08. Goal: `up` starts on such a machine, runs nobody's code, and says why.
#[tokio::test]
async fn a_lab_on_a_machine_without_a_sandbox_runs_no_functions_and_says_so() {
    let data = fresh_folder();
    let up = up_command(&data, &LabOptions::default());
    let server = Server::start(&mut without_namespaces(&up)).await;
    let seen = status(server.ready["api"].as_str().unwrap()).await;
    assert_eq!(seen["functions"]["running"], false, "{seen}");
    assert!(seen["functions"]["refused"].as_str().unwrap().contains("namespaces: EPERM"), "{seen}");
    assert!(!seen["capabilities"].as_array().unwrap().contains(&json!("functions")), "{seen}");
    assert!(server.log.lock().unwrap().contains("this machine gives no sandbox"));
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}

// Goal: `/status` tells by what sandboxes are held to their limits, and why not by more.
#[tokio::test]
async fn the_status_tells_what_holds_functions_to_their_limits() {
    let lab = Lab::start().await;
    let limits = status(&lab.api).await["functions"]["limits"].clone();
    match limits["by"].as_str().unwrap() {
        "cgroup" => assert_eq!(limits["why"], Value::Null, "{limits}"),
        "rlimit" => assert!(limits["why"].as_str().unwrap().contains("control group"), "{limits}"),
        other => panic!("{other}"),
    }
}
