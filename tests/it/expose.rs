//! The expose manifest over the wire: applied, shown, checked, refused.

use serde_json::{Value, json};
use tests::{Answer, Lab};

use crate::service::assert_envelope;

fn at(project: &Value, what: &str) -> String {
    format!("/projects/v1/admin/{}/{what}", project["project_id"].as_str().unwrap())
}

async fn ask(lab: &Lab, project: &Value, method: &str, what: &str, body: Option<Value>) -> Answer {
    lab.with_key(project["service_key"].as_str().unwrap(), method, &at(project, what), body).await
}

// Contract 01 sections 7.2 to 7.4, G08. Goal: the bodies that clients read. Method: apply, read back, post back
// what was read, check, break; keys that must not.
#[tokio::test(flavor = "multi_thread")]
async fn expose_manifests_are_applied_shown_and_checked() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let sql = json!({ "sql": "create table items (id serial primary key, owner uuid, title text)" });
    assert_eq!(ask(&lab, &project, "POST", "sql", Some(sql)).await.status, 200);

    let shown = ask(&lab, &project, "GET", "expose", None).await;
    assert_eq!((shown.status, &shown.body["source"]), (200, &json!("introspected")), "{shown:?}");
    assert_eq!(shown.body["manifest"], json!({"version": "1", "tables": [], "views": [], "rpcs": []}));

    let manifest = json!({"version": "1", "tables": [
        {"name": "items", "expose": true, "policy": "user_owns_rows", "owner_column": "owner"}]});
    let done = ask(&lab, &project, "POST", "expose", Some(manifest.clone())).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.body["applied"], json!({"tables": ["items"], "views": [], "rpcs": []}));
    assert_eq!(done.body["dropped"], json!({"tables": [], "views": [], "rpcs": []}));
    let shown = ask(&lab, &project, "GET", "expose", None).await;
    assert_eq!(shown.body["source"], "applied");
    assert_eq!(
        (&shown.body["tables"], &shown.body["manifest"]["tables"]),
        (&manifest["tables"], &manifest["tables"])
    );
    let again = ask(&lab, &project, "POST", "expose", Some(shown.body.clone())).await;
    assert_eq!((again.status, &again.body["statements"]), (200, &json!(0)), "{again:?}");
    let schema = ask(&lab, &project, "GET", "schema", None).await;
    assert_eq!(schema.body["tables"][0]["policies"][0]["name"], "r402_owner", "{schema:?}");

    let wrong = json!({"tables": [{"name": "nope", "expose": true}, {"name": "items", "expose": true,
        "policy": "public_read_write_UNRESTRICTED"}], "rpcs": [{"name": "f", "signature": "()", "grant_to": ["root"]}]});
    let refused = ask(&lab, &project, "POST", "expose", Some(wrong.clone())).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("INVALID_MANIFEST")), "{refused:?}");
    assert_envelope(&refused.body);
    let kinds: Vec<&str> = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| issue["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "schema-shape",
            "schema-shape",
            "unrestricted-ack-required",
            "grant-to-role-unknown",
            "missing-table",
            "missing-rpc"
        ],
        "{refused:?}"
    );
    checked(&lab, &project, &wrong, &manifest).await;

    let alone = lab
        .as_wallet(
            &wallet,
            "POST",
            "/projects/v1/expose/validate",
            Some(json!({ "manifest": manifest,
        "migration_sql": "create table items (id int, owner uuid)" })),
        )
        .await;
    assert_eq!((alone.status, &alone.body["has_errors"]), (200, &json!(false)), "{alone:?}");
    keys(&lab, &project, &manifest).await;
}

async fn checked(lab: &Lab, project: &Value, wrong: &Value, manifest: &Value) {
    let found = ask(lab, project, "POST", "expose/validate", Some(json!({ "manifest": wrong }))).await;
    assert_eq!((found.status, &found.body["has_errors"]), (200, &json!(true)), "{found:?}");
    assert_eq!(found.body["errors"].as_array().unwrap().len(), 6);
    let later = json!({"version": "1", "tables": [
        {"name": "later", "expose": true, "policy": "user_owns_rows", "owner_column": "who"}]});
    let body = json!({ "manifest": later, "migration_sql": "create table later (id int, who uuid)" });
    let found = ask(lab, project, "POST", "expose/validate", Some(body)).await;
    assert_eq!((found.status, &found.body["has_errors"]), (200, &json!(false)), "{found:?}");
    let tables = ask(lab, project, "GET", "schema", None).await;
    assert_eq!(tables.body["tables"].as_array().unwrap().len(), 1, "the migration was read and not run");
    let shown = ask(lab, project, "GET", "expose", None).await;
    assert_eq!(shown.body["tables"], manifest["tables"], "and the manifest stands");
}

/// Keys that may not, and bodies of every size and shape.
async fn keys(lab: &Lab, project: &Value, manifest: &Value) {
    let (_, other) = lab.project().await;
    for (key, status) in [(&project["anon_key"], 403), (&other["service_key"], 403), (&json!("x"), 401)] {
        for (method, what) in [("POST", "expose"), ("GET", "expose"), ("POST", "expose/validate")] {
            let body = (method == "POST").then(|| manifest.clone());
            let refused = lab.with_key(key.as_str().unwrap(), method, &at(project, what), body).await;
            assert_eq!(refused.status, status, "{method} {what}: {refused:?}");
        }
    }
    for body in [
        json!(7),
        json!([]),
        json!("x"),
        json!({"version": "1", "tables": {}}),
        json!({"version": "1", "tables": [{"name": "n".repeat(1_000_000), "expose": true}]}),
    ] {
        let refused = ask(lab, project, "POST", "expose", Some(body)).await;
        assert!(matches!(refused.status, 400 | 413), "{}", refused.status);
        assert_envelope(&refused.body);
    }
    // Megabytes of entries that name nothing: refused, and the answer stays small.
    let many: Vec<Value> =
        (0..4_000).map(|n| json!({"name": format!("{n:0>60}"), "expose": false})).collect();
    let refused = ask(lab, project, "POST", "expose", Some(json!({"version": "1", "tables": many}))).await;
    assert!(matches!(refused.status, 400 | 413), "{}", refused.status);
    assert!(refused.body.to_string().len() < 500_000);
}
