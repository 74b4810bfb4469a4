//! Whole release specs: references, uploads, the way to the end of an operation.

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually};

use super::{Files, send_plan, sha256, upload};

/// A reference to these bytes.
pub fn reference(bytes: &str, content_type: &str) -> Value {
    json!({ "sha256": sha256(bytes.as_bytes()), "size": bytes.len(), "contentType": content_type })
}

pub fn migration(id: &str, sql: &str) -> Value {
    json!({ "id": id, "checksum": sha256(sql.as_bytes()), "sql_ref": reference(sql, "application/sql") })
}

/// A migration that runs outside of a transaction.
pub fn bare_migration(id: &str, sql: &str) -> Value {
    let mut migration = migration(id, sql);
    migration["transaction"] = json!("none");
    migration
}

pub fn function(code: &str) -> Value {
    json!({ "runtime": "node22", "source": reference(code, "text/javascript") })
}

/// The parts with the project in them.
pub fn spec(project: &Value, parts: Value) -> Value {
    let mut spec = json!({ "project": project["project_id"] });
    spec.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    spec
}

/// Plans and uploads what is missing.
pub async fn plan(lab: &Lab, wallet: &Wallet, project: &Value, parts: Value, texts: &[&str]) -> Value {
    let answer = send_plan(lab, wallet, spec(project, parts)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let files: Vec<(&str, &[u8])> = texts.iter().map(|text| ("", text.as_bytes())).collect();
    let files: Files<'_> = &files;
    let missing: Vec<&Value> =
        answer.body["missing_content"].as_array().unwrap().iter().filter(|m| m["present"] == false).collect();
    if !missing.is_empty() {
        upload(lab, project, files, &missing).await;
    }
    answer.body
}

pub async fn send_commit(lab: &Lab, wallet: &Wallet, plan: &Value) -> Answer {
    let path = format!("/deploy/v2/plans/{}/commit", plan["plan_id"].as_str().unwrap());
    lab.as_wallet(wallet, "POST", &path, Some(json!({}))).await
}

/// Plan, upload, commit, and the operation as it ended.
pub async fn release(lab: &Lab, wallet: &Wallet, project: &Value, parts: Value, texts: &[&str]) -> Value {
    let plan = plan(lab, wallet, project, parts, texts).await;
    let committed = send_commit(lab, wallet, &plan).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    ended(lab, wallet, &plan).await
}

/// The operation of a plan, once it has ended.
pub async fn ended(lab: &Lab, wallet: &Wallet, plan: &Value) -> Value {
    let path = format!("/deploy/v2/operations/{}", plan["operation_id"].as_str().unwrap());
    eventually("the end of the deploy", 60, || async {
        let answer = lab.as_wallet(wallet, "GET", &path, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let status = answer.body["status"].as_str().unwrap().to_owned();
        matches!(status.as_str(), "ready" | "failed" | "rolled_back" | "needs_repair").then_some(answer.body)
    })
    .await
}

pub async fn ready(lab: &Lab, wallet: &Wallet, project: &Value, parts: Value, texts: &[&str]) -> Value {
    let done = release(lab, wallet, project, parts, texts).await;
    assert_eq!(done["status"], "ready", "{done}");
    done
}

/// A GET with the project's public key.
pub async fn read(lab: &Lab, project: &Value, path: &str) -> Answer {
    let anon = project["anon_key"].as_str().unwrap();
    lab.send(lab.http.get(lab.url(path)).header("apikey", anon)).await
}

pub async fn sql(lab: &Lab, project: &Value, text: &str) -> Answer {
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    let key = project["service_key"].as_str().unwrap();
    lab.with_key(key, "POST", &path, Some(json!({ "sql": text }))).await
}

pub async fn set_secret(lab: &Lab, project: &Value, key: &str, value: &str) -> Answer {
    let path = format!("/projects/v1/admin/{}/secrets/{key}", project["project_id"].as_str().unwrap());
    let service = project["service_key"].as_str().unwrap();
    lab.with_key(service, "POST", &path, Some(json!({ "value": value }))).await
}
