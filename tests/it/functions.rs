//! Functions: deployed, called by key and by route, logged; their world and their limits.

mod aborts;
mod calls;
mod cron_torture;
mod deaths;
mod library;
mod load;
mod machine;
mod packages;
mod rebuild;
mod runs;
mod schedules;
mod signed_in;
mod triggers;
mod words;

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually};

/// Deploys one module and expects it to go live.
async fn deploy(lab: &Lab, project: &Value, name: &str, code: &str) -> Value {
    let answer = send_deploy(lab, project, json!({ "name": name, "code": code })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

/// A project of a tier that allows several functions by schedule.
async fn hobby_project(lab: &Lab) -> Value {
    let wallet = Wallet::random();
    lab.mint(&wallet, 10_000_000).await;
    let paid = lab.pay(&wallet, "/tiers/v1/hobby").await;
    assert_eq!(paid.status, 200, "{paid:?}");
    let made = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "my-app" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

async fn send_deploy(lab: &Lab, project: &Value, body: Value) -> Answer {
    admin(lab, project, "POST", "", Some(body)).await
}

/// A request below a project's functions, with its service key.
async fn admin(lab: &Lab, project: &Value, method: &str, rest: &str, body: Option<Value>) -> Answer {
    let path = format!("/projects/v1/admin/{}/functions{rest}", project["project_id"].as_str().unwrap());
    lab.with_key(project["service_key"].as_str().unwrap(), method, &path, body).await
}

fn request(lab: &Lab, project: &Value, method: &str, path: &str) -> reqwest::RequestBuilder {
    let request = lab.http.request(method.parse().unwrap(), lab.url(&format!("/functions/v1/{path}")));
    request.header("apikey", project["anon_key"].as_str().unwrap())
}

async fn invoke(lab: &Lab, project: &Value, path: &str) -> Answer {
    lab.send(request(lab, project, "POST", path)).await
}

/// The log of a function, once it holds this text.
async fn logged(lab: &Lab, project: &Value, name: &str, text: &str) -> Value {
    eventually(&format!("{text:?} in the log of {name}"), 10, || async {
        let logs = admin(lab, project, "GET", &format!("/{name}/logs?tail=200"), None).await;
        assert_eq!(logs.status, 200, "{logs:?}");
        let found = logs.body["logs"].as_array().unwrap().iter();
        found.clone().find(|entry| entry["message"].as_str().unwrap().contains(text)).cloned()
    })
    .await
}
