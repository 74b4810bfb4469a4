//! Functions, routes, secrets, names and checks as parts of a release; going back to one.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::kit::{ended, function, plan, read, ready, reference, send_commit, set_secret, spec};
use super::{fetch, send_plan};
use crate::service::assert_envelope;

const CODE: &str = "export default () => new Response('hi')";

fn route(pattern: &str, methods: Value, name: &str) -> Value {
    json!({ "pattern": pattern, "methods": methods, "target": { "type": "function", "name": name } })
}

async fn codes(plan: &Value) -> Vec<String> {
    plan["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned()).collect()
}

// Contract 02 sections 4.1, 4.2, 10.2. Goal: functions and routes are declared, told apart, carried forward and
// cleared; a routed path never falls through to a file.
#[tokio::test]
async fn functions_and_routes_are_declared_compared_and_answered() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({
        "site": { "replace": { "index.html": reference("home", "text/html"),
            "login.html": reference("login", "text/html") } },
        "functions": { "replace": { "api": function(CODE), "auth": function(CODE) } },
        "routes": { "replace": [route("/api/*", Value::Null, "api"), route("/login", json!(["POST"]), "auth")] },
        "checks": [{ "name": "home", "http": { "path": "/", "expect": { "status": 200 } } },
            { "name": "api", "http": { "path": "/api/x", "expect": { "status": 200 } } }],
    });
    let planned = plan(&lab, &wallet, &project, parts.clone(), &["home", "login", CODE]).await;
    assert_eq!(planned["functions"]["added"], json!(["api", "auth"]));
    assert_eq!(planned["routes"]["added"][0]["pattern"], "/login", "exact first: {planned}");
    assert_eq!(planned["routes"]["added"][1]["prefix"], "/api/");
    let told = codes(&planned).await;
    assert!(told.contains(&"PUBLIC_ROUTED_FUNCTION".to_owned()), "{told:?}");
    assert!(told.contains(&"METHOD_SPECIFIC_ROUTE_ALLOWS_GET_STATIC_FALLBACK".to_owned()), "{told:?}");
    send_commit(&lab, &wallet, &planned).await;
    let first = ended(&lab, &wallet, &planned).await;
    assert_eq!(first["status"], "ready", "{first}");

    let url = first["urls"]["project"].as_str().unwrap();
    let api = fetch(&lab, url, "/api/x", &[]).await;
    assert_eq!((api.status, &api.body), (200, &json!("hi")), "{api:?}");
    assert_eq!(
        (&api.headers["cache-control"], &api.headers["x-run402-cache"]),
        (&"private, no-store".parse().unwrap(), &"dynamic-bypass".parse().unwrap())
    );
    assert_eq!(fetch(&lab, url, "/api", &[]).await.body, "home", "the prefix itself is a page");
    assert_eq!(fetch(&lab, url, "/login", &[]).await.body, "login");
    let host = reqwest::Url::parse(url).unwrap();
    let host = format!("{}:{}", host.host_str().unwrap(), host.port().unwrap());
    let ask = |method: &str, path: &str| {
        let request = lab.http.request(method.parse().unwrap(), lab.url(path)).header("host", &host);
        lab.send(request)
    };
    assert_eq!(ask("POST", "/login").await.body, "hi");
    let refused = ask("DELETE", "/login").await;
    assert_eq!((refused.status, &refused.headers["allow"]), (405, &"GET, HEAD, POST".parse().unwrap()));

    let events = format!("/deploy/v2/operations/{}/events", first["operation_id"].as_str().unwrap());
    let events = read(&lab, &project, &events).await.body;
    let logs: Vec<&Value> =
        events["events"].as_array().unwrap().iter().filter(|e| e["type"] == "log").collect();
    assert_eq!(
        (&logs[0]["resource"], &logs[0]["stream"]),
        (&json!("checks.home"), &json!("stdout")),
        "{events}"
    );
    assert_eq!(logs[1]["stream"], "stdout", "a routed function is asked for real");

    let again = plan(&lab, &wallet, &project, parts, &[]).await;
    assert_eq!(again["is_noop"], true, "{again}");

    let patch =
        json!({ "functions": { "patch": { "set": { "api": { "config": { "timeoutSeconds": 5 } } } } } });
    let planned = plan(&lab, &wallet, &project, patch, &[]).await;
    let changed = json!([{ "name": "api", "fields_changed": ["timeout_seconds"] }]);
    assert_eq!(planned["functions"]["changed"], changed);
    assert!(codes(&planned).await.contains(&"ROUTE_TARGET_CARRIED_FORWARD".to_owned()));
    send_commit(&lab, &wallet, &planned).await;
    let second = ended(&lab, &wallet, &planned).await;
    assert_eq!(second["status"], "ready", "{second}");
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    assert_eq!(active["functions"][0]["timeout_seconds"], 5);
    assert_eq!(active["functions"][0]["code_hash"], reference(CODE, "")["sha256"]);
    assert_eq!(active["routes"]["entries"].as_array().unwrap().len(), 2);
    assert_eq!(active["routes"]["manifest_sha256"].as_str().unwrap().len(), 64);

    let lost = json!({ "functions": { "patch": { "delete": ["auth"] } } });
    let refused = send_plan(&lab, &wallet, spec(&project, lost)).await;
    assert_eq!((refused.status, &refused.body["resource"]), (400, &json!("routes")), "{refused:?}");
    let cleared = json!({ "functions": { "patch": { "delete": ["auth"] } }, "routes": { "replace": [] } });
    let third = ready(&lab, &wallet, &project, cleared, &[]).await;
    let shown = eventually("the file", 10, || async {
        let shown = fetch(&lab, url, "/api/x", &[]).await;
        (shown.status == 200).then_some(shown)
    })
    .await;
    assert_eq!(shown.body, "home");
    let (from, to) = (first["release_id"].as_str().unwrap(), third["release_id"].as_str().unwrap());
    let diff = read(&lab, &project, &format!("/deploy/v2/releases/diff?from={from}&to={to}")).await.body;
    assert_eq!(diff["functions"]["removed"], json!(["auth"]), "{diff}");
    assert_eq!(diff["routes"]["removed"].as_array().unwrap().len(), 2);
}

// Contract 02 sections 4.1 and 4.7. Goal: what the tier does not allow is told with the number, before anything
// is uploaded.
#[tokio::test]
async fn functions_beyond_the_tier_are_refused_with_the_limit() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let many: serde_json::Map<String, Value> = (0..16).map(|n| (format!("f{n}"), function(CODE))).collect();
    let with = |key: &str, value: Value| {
        let mut one = function(CODE);
        one[key] = value;
        json!({ "f": one })
    };
    for (functions, code, limit) in [
        (Value::from(many), "TIER_LIMIT_EXCEEDED", 15),
        (with("config", json!({ "timeoutSeconds": 11 })), "FUNCTION_TIMEOUT_EXCEEDS_TIER", 10),
        (with("config", json!({ "memoryMb": 256 })), "FUNCTION_MEMORY_EXCEEDS_TIER", 128),
        (with("schedule", json!("*/5 * * * *")), "FUNCTION_SCHEDULE_EXCEEDS_TIER", 15),
    ] {
        let parts = json!({ "functions": { "replace": functions } });
        let refused = send_plan(&lab, &wallet, spec(&project, parts)).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!(code)), "{refused:?}");
        assert_eq!(refused.body["details"]["limit"], limit);
        assert_envelope(&refused.body);
    }
}

// Contract 02 sections 4.6 and 4.7, 03 section 4. Goal: a required secret is asked for before the upload and at
// the commit; a deleted one goes with the pointer; no value ever comes back.
#[tokio::test]
async fn secrets_are_required_by_key_and_deleted_at_activation() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({ "secrets": { "require": ["API_KEY"] },
        "site": { "replace": { "index.html": reference("home", "text/html") } } });
    let planned = plan(&lab, &wallet, &project, parts.clone(), &["home"]).await;
    let warning =
        planned["warnings"].as_array().unwrap().iter().find(|w| w["code"] == "MISSING_REQUIRED_SECRET");
    let warning = warning.unwrap();
    assert_eq!(
        (&warning["requires_confirmation"], &warning["affected"]),
        (&json!(true), &json!(["API_KEY"]))
    );
    let refused = send_commit(&lab, &wallet, &planned).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("MISSING_REQUIRED_SECRET")),
        "{refused:?}"
    );
    assert_eq!(refused.body["details"]["keys"], json!(["API_KEY"]));

    for (key, value) in [("lower", "x"), ("API_KEY", ""), ("API_KEY", &"x".repeat(4_097))] {
        assert_eq!(set_secret(&lab, &project, key, value).await.body["code"], "BAD_SECRET");
    }
    assert_eq!(set_secret(&lab, &project, "API_KEY", "s3cret").await.status, 200);
    assert_eq!(send_commit(&lab, &wallet, &planned).await.status, 200, "the same plan goes ahead");
    let done = ended(&lab, &wallet, &planned).await;
    assert_eq!(done["status"], "ready", "{done}");
    let path = format!("/projects/v1/admin/{}/secrets", project["project_id"].as_str().unwrap());
    let service = project["service_key"].as_str().unwrap();
    let listed = lab.with_key(service, "GET", &path, None).await;
    assert_eq!((listed.status, &listed.body[0]["key"]), (200, &json!("API_KEY")), "{listed:?}");
    assert!(!listed.body.to_string().contains("s3cret"));
    let anon = project["anon_key"].as_str().unwrap();
    assert_eq!(lab.with_key(anon, "GET", &path, None).await.status, 403);
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    assert_eq!(active["secrets"], json!({ "keys": ["API_KEY"] }));

    let unknown = json!({ "secrets": { "delete": ["NEVER_SET"] } });
    let planned = plan(&lab, &wallet, &project, unknown, &[]).await;
    let refused = send_commit(&lab, &wallet, &planned).await;
    assert_eq!((refused.status, &refused.body["resource"]), (409, &json!("secrets.delete")), "{refused:?}");
    let deletes = json!({ "secrets": { "delete": ["API_KEY"] } });
    let planned = plan(&lab, &wallet, &project, deletes, &[]).await;
    assert_eq!(planned["secrets"]["removed"], json!(["API_KEY"]));
    assert_eq!(lab.with_key(service, "GET", &path, None).await.body.as_array().unwrap().len(), 1, "not yet");
    send_commit(&lab, &wallet, &planned).await;
    assert_eq!(ended(&lab, &wallet, &planned).await["status"], "ready");
    assert_eq!(lab.with_key(service, "GET", &path, None).await.body, json!([]));

    for n in 0..10 {
        assert_eq!(set_secret(&lab, &project, &format!("KEY_{n}"), "v").await.status, 200);
    }
    let full = set_secret(&lab, &project, "KEY_10", "v").await;
    assert_eq!((full.status, &full.body["code"]), (403, &json!("SECRET_LIMIT_EXCEEDED")), "{full:?}");
    assert_eq!(set_secret(&lab, &project, "KEY_9", "again").await.status, 200, "overwriting does not count");
    let delete = format!("{path}/KEY_9");
    assert_eq!(lab.with_key(service, "DELETE", &delete, None).await.status, 200);
    assert_eq!(lab.with_key(service, "DELETE", &delete, None).await.body["code"], "SECRET_NOT_FOUND");
}

// Goal: an earlier release comes back whole, as a deploy like another; migrations stay. Method: two releases,
// promote the first, then build on the second by its id.
#[tokio::test]
async fn an_earlier_release_comes_back_as_a_deploy_like_another() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let site = |page: &str| {
        json!({ "site": { "replace": { "index.html": reference(page, "text/html") } },
            "functions": { "replace": { (page): function(CODE) } } })
    };
    let one = ready(&lab, &wallet, &project, site("one"), &["one", CODE]).await;
    let two = ready(&lab, &wallet, &project, site("two"), &["two"]).await;
    let url = one["urls"]["project"].as_str().unwrap();
    let (one, two) = (one["release_id"].as_str().unwrap(), two["release_id"].as_str().unwrap());

    let path = format!("/deploy/v2/releases/{one}/promote");
    let body = json!({ "project": project["project_id"] });
    let back = lab.as_wallet(&wallet, "POST", &path, Some(body.clone())).await;
    assert_eq!((back.status, &back.body["status"]), (200, &json!("ready")), "{back:?}");
    assert_ne!(back.body["release_id"], one, "it is a release of its own");
    let shown = eventually("the first page", 10, || async {
        let shown = fetch(&lab, url, "/", &[]).await;
        (shown.body == "one").then_some(shown)
    });
    shown.await;
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    assert_eq!((&active["parent_id"], &active["functions"][0]["name"]), (&json!(one), &json!("one")));
    let nobody = lab.as_wallet(&lab.subscribed_wallet().await, "POST", &path, Some(body.clone())).await;
    assert!(matches!(nobody.status, 403 | 404), "{nobody:?}");
    let absent = "/deploy/v2/releases/rel_00000000000000000000000000000000/promote";
    let absent = lab.as_wallet(&wallet, "POST", absent, Some(body)).await;
    assert_eq!((absent.status, &absent.body["code"]), (404, &json!("RESOURCE_NOT_FOUND")));

    let parts = json!({ "base": { "release_id": two },
        "site": { "patch": { "put": { "more.html": reference("more", "text/html") } } } });
    ready(&lab, &wallet, &project, parts, &["more"]).await;
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    assert_eq!((&active["parent_id"], active["site"]["paths"].as_array().unwrap().len()), (&json!(two), 2));
    let empty = json!({ "base": { "release": "empty" }, "site": { "patch": { "delete": ["more.html"] } } });
    let refused = send_plan(&lab, &wallet, spec(&project, empty)).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("BASE_RELEASE_CONFLICT")));
}

// Goal: a dry run tells the same and leaves nothing behind.
#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({ "functions": { "replace": { "api": function(CODE) } },
        "database": { "migrations": [super::kit::migration("1", "create table t ()")] } });
    let body = json!({ "spec": spec(&project, parts) });
    let dry = lab.as_wallet(&wallet, "POST", "/deploy/v2/plans?dry_run=true", Some(body)).await;
    assert_eq!((dry.status, &dry.body["plan_id"]), (200, &Value::Null), "{dry:?}");
    assert_eq!(dry.body["migrations"]["new"][0]["id"], "1");
    assert_eq!(dry.body["missing_content"].as_array().unwrap().len(), 2);
    let plans: i64 = sqlx::query_scalar("select count(*) from deploy_plans")
        .fetch_one(&lab.database().await)
        .await
        .unwrap();
    assert_eq!(plans, 0);
}

// Goal: every mistake of a spec comes in one answer.
#[tokio::test]
async fn every_mistake_of_a_spec_is_listed() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({ "site": { "replace": { "../x": reference("x", "text/html") } },
        "secrets": { "require": ["lower"] }, "nonsense": 1 });
    let refused = send_plan(&lab, &wallet, spec(&project, parts)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("INVALID_SPEC")), "{refused:?}");
    assert_eq!(refused.body["errors"].as_array().unwrap().len(), 3);
    assert_envelope(&refused.body);
}
