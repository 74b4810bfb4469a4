//! The library that functions import, ours and the published one.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Lab, eventually, tools_folder};

use super::{deploy, invoke, packages, request, send_deploy};
use crate::deploys::kit::sql;

// Contract 03 section 6. Goal: every helper sends what the contract says, and throws what it was refused.
#[test]
fn every_helper_keeps_the_contract() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/functions");
    let tools = std::fs::read_to_string(tools_folder().join("tools.json")).unwrap();
    let tools: Value = serde_json::from_str(&tools).unwrap();
    let done = Command::new(tools_folder().join(tools["node"]["program"].as_str().unwrap()))
        .args(["--test", "test/library.test.mjs"])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("# pass 11"), "{said}");
}

const HELPERS: &str = include_str!("helpers.mjs");

// Goal: what the platform refuses reaches the function's code with its status and code, and what it says of a
// request is what the function reads.
#[tokio::test]
async fn refusals_of_the_platform_reach_the_function_as_they_are() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    deploy(&lab, &project, "helpers", HELPERS).await;
    let answer = invoke(&lab, &project, "helpers").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = &answer.body;
    for (name, status) in [("translated", 503), ("implicit", 404)] {
        assert_eq!((&seen[name]["status"], &seen[name]["is"]), (&json!(status), &json!(true)), "{seen}");
    }
    assert_eq!(seen["translated"]["code"], "AI_PROVIDER_NOT_CONFIGURED");
    // A project without a mailbox, or a server without mail: never a mail that nobody sent.
    assert!(seen["mail"].get("value").is_none(), "{seen}");
    let id = answer.headers["x-run402-request-id"].to_str().unwrap();
    assert_eq!(
        (&seen["context"]["requestId"], &seen["context"]["projectId"]),
        (&json!(id), &project["project_id"])
    );
    let routed = lab.send(request(&lab, &project, "GET", "helpers").header("x-run402-locale", "de")).await;
    assert_eq!(routed.body["context"]["locale"], Value::Null, "nobody else says it");
}

/// The published library asks for the request that is being answered, and finds it in what the platform keeps.
const WITHIN: &str = include_str!("within.mjs");

// Contract 03 section 6.6. Goal: within a request the published library knows whose request it is: tables without a
// request in hand, the user, runs; and after the answer it says no more.
#[tokio::test]
async fn the_published_library_knows_the_request_that_is_answered() {
    let lab = packages::lab().await;
    for version in ["3.13.0", "4.0.0"] {
        let (_, project) = lab.project().await;
        let table =
            "create table notes (id int generated always as identity primary key, text text not null)";
        assert_eq!(sql(&lab, &project, table).await.status, 200);
        let deps = [format!("@run402/functions@{version}")];
        let made =
            send_deploy(&lab, &project, json!({ "name": "within", "code": WITHIN, "deps": deps })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let anon = project["anon_key"].as_str().unwrap();
        let body = json!({ "email": "ada@example.org", "password": "correct horse battery" });
        let signup = lab.http.post(lab.url("/auth/v1/signup")).header("apikey", anon).json(&body);
        assert!(matches!(lab.send(signup).await.status, 200 | 201));
        let login =
            lab.http.post(lab.url("/auth/v1/token?grant_type=password")).header("apikey", anon).json(&body);
        let token = lab.send(login).await.body["access_token"].as_str().unwrap().to_owned();

        let sent = request(&lab, &project, "POST", "within").header("x-custom", "abc");
        let answer = lab.send(sent.header("authorization", format!("Bearer {token}"))).await;
        assert_eq!(answer.status, 200, "{version}: {answer:?}");
        let seen = &answer.body;
        let id = answer.headers["x-run402-request-id"].to_str().unwrap();
        assert_eq!((&seen["kind"], &seen["id"]), (&json!("direct"), &json!(id)), "{seen}");
        assert_eq!(seen["project"], project["project_id"]);
        assert_eq!(seen["asked"], json!(["POST", "/functions/v1/within", "abc"]), "{seen}");
        assert_eq!(seen["notes"], json!([]), "row security holds: {seen}");
        assert_eq!(seen["user"], "ada@example.org", "{version}: {seen}");
        assert_eq!(seen["source"], json!({ "type": "function" }), "{seen}");

        let run = seen["run"].as_str().unwrap().to_owned();
        let text = eventually("the run's note", 20, || async {
            let rows = sql(&lab, &project, "select text from notes").await.body;
            rows["rows"][0]["text"].as_str().map(str::to_owned)
        })
        .await;
        let note: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(note, json!({ "kind": "function_run", "of": { "a": 1 }, "id": run }), "{version}");

        let again = lab.send(request(&lab, &project, "POST", "within")).await;
        let late = again.body["late"].as_str().unwrap_or_else(|| panic!("{again:?}"));
        assert!(
            late.contains("inactive"),
            "{version}: what was left behind is of no request any more: {late}"
        );
    }
}
