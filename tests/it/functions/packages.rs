//! npm packages in functions: of the registry that npm itself uses here.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Lab, LabOptions};

use super::{admin, invoke, send_deploy};
use crate::deploys::kit::sql;

fn npm_config(key: &str) -> String {
    let done = Command::new("npm").args(["config", "get", key]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A lab that installs packages from where npm does.
pub(super) async fn lab() -> Lab {
    let mut args = vec!["--npm-registry".to_owned(), npm_config("registry")];
    let ca_file = npm_config("cafile");
    if Path::new(&ca_file).is_file() {
        args.extend(["--npm-ca-file".to_owned(), ca_file]);
    }
    Lab::start_with(LabOptions { args, ..LabOptions::default() }).await
}

const COUNTING: &str = "import { z } from 'zod';
export default async (req) => Response.json(z.object({ n: z.coerce.number() }).parse(await req.json()));";

// Contract 03 section 3.6. F10. Goal: named packages become versions, which are shown, and stay when only limits
// change; what is no package of the registry is refused before anything is built, and what was live still is.
#[tokio::test]
async fn named_packages_are_pinned_installed_and_shown() {
    let lab = lab().await;
    let (_, project) = lab.project().await;
    let body = json!({ "name": "counts", "code": COUNTING, "deps": ["zod@~3.23.0"] });
    let made = send_deploy(&lab, &project, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["deps_resolved"], json!({ "zod": "3.23.8" }));
    let call = || async {
        lab.send(super::request(&lab, &project, "POST", "counts").json(&json!({ "n": "7" }))).await
    };
    assert_eq!(call().await.body, json!({ "n": 7 }));
    let patch = json!({ "config": { "timeout": 5 } });
    let changed = admin(&lab, &project, "PATCH", "/counts", Some(patch)).await;
    assert_eq!(changed.body["deps_resolved"], json!({ "zod": "3.23.8" }), "{changed:?}");

    let many: Vec<String> = (0..31).map(|n| format!("package-{n}")).collect();
    for (deps, status, code) in [
        (json!(["zod@file:../x"]), 400, "BAD_FUNCTION"),
        (json!(["https://host.example/x.tgz"]), 400, "BAD_FUNCTION"),
        (json!(["@run402/functions"]), 400, "BAD_FUNCTION"),
        (json!(["zod", "zod@3.23.8"]), 400, "BAD_FUNCTION"),
        (json!(many), 400, "BAD_FUNCTION"),
        (json!(["zod@999.0.0"]), 422, "FUNCTION_BUILD_FAILED"),
    ] {
        let body = json!({ "name": "counts", "code": COUNTING, "deps": deps });
        let refused = send_deploy(&lab, &project, body.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)), "{body}: {refused:?}");
    }
    let body = json!({ "name": "counts", "code": COUNTING });
    let undeclared = send_deploy(&lab, &project, body).await;
    assert_eq!(undeclared.body["code"], "FUNCTION_BUILD_FAILED", "none named is none: {undeclared:?}");
    assert_eq!(call().await.body, json!({ "n": 7 }), "what was live still is");
}

const NOTES: &str = "import { adminDb } from '@run402/functions';
export default async () => {
    const made = await adminDb().from('notes').insert({ text: 'from the published library' });
    const found = await adminDb().from('notes').select('id,text').eq('id', made[0].id);
    const counted = await adminDb().sql('select count(*)::int as n from notes where id = $1', [made[0].id]);
    return Response.json({ found, counted });
};";

// Contract 03 sections 6.2 and 6.3. Goal: the published library, unmodified, works in a function that names it.
#[tokio::test]
async fn the_published_library_works_in_a_function() {
    let lab = lab().await;
    let (_, project) = lab.project().await;
    let table = "create table notes (id int generated always as identity primary key, text text not null)";
    assert_eq!(sql(&lab, &project, table).await.status, 200);
    for version in ["3.13.0", "4.0.0"] {
        let deps = [format!("@run402/functions@{version}")];
        let body = json!({ "name": "notes", "code": NOTES, "deps": deps });
        let made = send_deploy(&lab, &project, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.body["deps_resolved"], json!({ "@run402/functions": version }));
        let answer = invoke(&lab, &project, "notes").await;
        assert_eq!(answer.status, 200, "{version}: {answer:?}");
        assert_eq!(answer.body["found"][0]["text"], "from the published library", "{answer:?}");
        let rows: &Value = answer.body["counted"].get("rows").unwrap_or(&answer.body["counted"]);
        assert_eq!(rows[0]["n"], 1, "{answer:?}");
    }
}
