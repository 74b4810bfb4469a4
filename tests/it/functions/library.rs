//! The library that functions import, ours and the published one.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Lab, tools_folder};

use super::{deploy, invoke, request};

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

const HELPERS: &str = "import { ai, assets, db, email, getRun402Context, Run402Error } from '@run402/functions';
    const told = (promise) => promise.then((value) => ({ value }), (e) => ({ status: e.status, code: e.code, is: e instanceof Run402Error }));
    export default async (req) => Response.json({
        mail: await told(email.send({ to: 'ada@example.com', subject: 'hello', html: '<p>hello' })),
        translated: await told(ai.translate('hello', 'es')),
        implicit: await told(db().from('nothing').select('id')),
        context: getRun402Context(req),
    });";

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
