//! Deploys by workflows: what an owner signs, what a workflow's identity is exchanged for, and what that may do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, Wallet, eventually, fresh_folder, target_binary};
use types::delegation::{CI_AUDIENCE, Delegation};
use types::{Clock, SystemClock};

use crate::auth::openid::{Fault, OpenId};
use crate::deploys::{deploy, fetch, plan, put, sha256};

const MAIN: &str = "repo:acme/shop:ref:refs/heads/main";

async fn lab() -> (OpenId, Lab) {
    let issuer = OpenId::start().await;
    issuer.serve_workflows(json!({}));
    let args = vec!["--ci-issuer".to_owned(), issuer.issuer.clone()];
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    (issuer, lab)
}

fn delegation(issuer: &OpenId, project: &Value, subject: &str) -> Delegation {
    Delegation {
        project_id: project["project_id"].as_str().unwrap().to_owned(),
        issuer: issuer.issuer.clone(),
        audience: CI_AUDIENCE.to_owned(),
        subject_match: subject.to_owned(),
        allowed_actions: vec!["deploy".to_owned()],
        allowed_events: vec!["push".to_owned(), "workflow_dispatch".to_owned()],
        route_scopes: Vec::new(),
        expires_at: None,
        github_repository_id: Some("4711".to_owned()),
        nonce: hex::encode(rand::random::<[u8; 16]>()),
    }
}

/// The fields that a wallet signs for a delegation.
fn fields(lab: &Lab, wallet: &Wallet, delegation: &Delegation) -> Value {
    let now = SystemClock.now();
    json!({
        "domain": "127.0.0.1",
        "address": wallet.checksummed(),
        "statement": delegation.statement(),
        "uri": format!("{}/ci/v1/bindings", lab.api),
        "version": "1",
        "chainId": "eip155:84532",
        "type": "eip191",
        "nonce": delegation.nonce[..16],
        "issuedAt": types::rfc3339(now),
        "expirationTime": types::rfc3339(now + TimeDelta::minutes(5)),
        "resources": [delegation.resource_uri()],
    })
}

fn body(delegation: &Delegation, signed: &Value) -> Value {
    json!({
        "project_id": delegation.project_id,
        "provider": "github-actions",
        "subject_match": delegation.subject_match,
        "allowed_actions": delegation.allowed_actions,
        "allowed_events": delegation.allowed_events,
        "route_scopes": delegation.route_scopes,
        "github_repository_id": delegation.github_repository_id,
        "expires_at": delegation.expires_at,
        "nonce": delegation.nonce,
        "signed_delegation": STANDARD.encode(signed.to_string()),
    })
}

async fn hand_in(lab: &Lab, wallet: &Wallet, body: Value) -> Answer {
    lab.as_wallet(wallet, "POST", "/ci/v1/bindings", Some(body)).await
}

async fn link(lab: &Lab, wallet: &Wallet, delegation: &Delegation) -> Value {
    let signed = wallet.sign_in_fields(fields(lab, wallet, delegation));
    let answer = hand_in(lab, wallet, body(delegation, &signed)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

/// What GitHub says of a push to the main branch.
fn claims(issuer: &OpenId) -> Value {
    let now = SystemClock.now().timestamp();
    json!({
        "iss": issuer.issuer, "aud": CI_AUDIENCE, "sub": MAIN, "jti": hex::encode(rand::random::<[u8; 16]>()),
        "exp": now + 300, "iat": now, "nbf": now - 60, "repository": "acme/shop", "repository_id": "4711",
        "ref": "refs/heads/main", "event_name": "push", "job_workflow_ref": "acme/shop/.github/workflows/d.yml@x",
    })
}

fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn exchange(lab: &Lab, project: &Value, token: &str) -> Answer {
    let body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "project_id": project["project_id"],
    });
    lab.send(lab.http.post(lab.url("/ci/v1/token-exchange")).json(&body)).await
}

async fn session(lab: &Lab, issuer: &OpenId, project: &Value) -> String {
    let answer = exchange(lab, project, &issuer.mint(&claims(issuer))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["token_type"], &answer.body["scope"]), (&json!("Bearer"), &json!("deploy")));
    answer.body["access_token"].as_str().unwrap().to_owned()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{answer:?}");
}

fn site(project: &Value, page: &[u8]) -> Value {
    json!({ "project": project["project_id"], "site": { "replace": {
        "index.html": { "sha256": sha256(page), "size": page.len(), "contentType": "text/html" } } } })
}

/// Everything that a workflow sends to put a page live, with its session's token alone.
async fn workflow_deploys(lab: &Lab, token: &str, spec: Value, page: &[u8]) -> Value {
    let planned = lab.with_key(token, "POST", "/deploy/v2/plans", Some(json!({ "spec": spec }))).await;
    assert_eq!(planned.status, 200, "{planned:?}");
    let wanted =
        json!({ "project_id": spec["project"], "content": [{ "sha256": sha256(page), "size": page.len() }] });
    let content = lab.with_key(token, "POST", "/content/v1/plans", Some(wanted)).await;
    assert_eq!(content.status, 201, "{content:?}");
    for upload in content.body["missing"].as_array().unwrap() {
        assert!(put(lab, upload, page).await.status < 300);
    }
    let path = format!("/content/v1/plans/{}/commit", content.body["plan_id"].as_str().unwrap());
    let taken = lab.with_key(token, "POST", &path, Some(json!({}))).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let path = format!("/deploy/v2/plans/{}/commit", planned.body["plan_id"].as_str().unwrap());
    eventually("the workflow's deploy", 30, || async {
        let answer = lab.with_key(token, "POST", &path, Some(json!({}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.body["status"] == "ready").then_some(answer.body)
    })
    .await
}

// H03. Goal: a workflow deploys, sees only its own, and reaches nothing else of the whole catalogue.
#[tokio::test]
async fn a_workflow_deploys_and_does_nothing_else() {
    let (issuer, lab) = lab().await;
    let (wallet, project) = lab.project().await;
    let binding = link(&lab, &wallet, &delegation(&issuer, &project, MAIN)).await;
    assert!(binding["id"].as_str().unwrap().starts_with("cib_"), "{binding}");
    let token = session(&lab, &issuer, &project).await;
    let live = workflow_deploys(&lab, &token, site(&project, b"by a workflow"), b"by a workflow").await;
    let url = live["urls"]["project"].as_str().unwrap();
    assert_eq!(fetch(&lab, url, "/", &[]).await.body, "by a workflow");

    // Its own operation, and nobody else's.
    let owners = plan(&lab, &wallet, &project, &[("index.html", b"by the owner")]).await;
    for path in [
        format!("/deploy/v2/plans/{}/commit", owners["plan_id"].as_str().unwrap()),
        format!("/apply/v1/operations/{}/resume", owners["operation_id"].as_str().unwrap()),
    ] {
        refused(&lab.with_key(&token, "POST", &path, Some(json!({}))).await, 403, "forbidden_plan");
    }
    let path = format!("/deploy/v2/operations/{}", owners["operation_id"].as_str().unwrap());
    refused(&lab.with_key(&token, "GET", &path, None).await, 403, "forbidden_plan");
    refused(&lab.with_key(&token, "GET", &format!("{path}/events"), None).await, 403, "forbidden_plan");
    let own = format!("/deploy/v2/operations/{}", live["operation_id"].as_str().unwrap());
    assert_eq!(lab.with_key(&token, "GET", &own, None).await.body["status"], "ready");
    assert_eq!(lab.with_key(&token, "GET", &format!("{own}/events"), None).await.status, 200);
    let list = lab.with_key(&token, "GET", "/deploy/v2/operations", None).await;
    assert_eq!(list.body["operations"].as_array().unwrap().len(), 1, "{list:?}");
    // The same spec asked for by the owner is the owner's plan, not the workflow's.
    let same = plan(&lab, &wallet, &project, &[("index.html", b"by a workflow")]).await;
    assert_ne!(same["operation_id"], live["operation_id"]);

    // Deny by default: every other operation there is.
    for operation in catalogue::OPERATIONS.iter().filter(|operation| !operation.ci) {
        let path: String = operation
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { project["project_id"].as_str().unwrap() } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let answer = lab.with_key(&token, operation.method.as_str(), &path, None).await;
        refused(&answer, 403, "insufficient_scope");
    }
    // Nor with a wallet's signature beside it, nor in the other header.
    let both = lab.signed(&wallet, "GET", "/tiers/v1/status", None).bearer_auth(&token);
    refused(&lab.send(both).await, 403, "insufficient_scope");
    let apikey = lab.http.get(lab.url("/deploy/v2/releases/active")).header("apikey", &token);
    refused(&lab.send(apikey).await, 403, "insufficient_scope");

    // Another project, and parts that are the owner's.
    let (_, other) = lab.project().await;
    let foreign =
        lab.with_key(&token, "POST", "/deploy/v2/plans", Some(json!({ "spec": site(&other, b"x") }))).await;
    refused(&foreign, 403, "insufficient_scope");
    let body = json!({ "project_id": other["project_id"], "content": [] });
    refused(&lab.with_key(&token, "POST", "/content/v1/plans", Some(body)).await, 403, "insufficient_scope");
    for (field, value) in
        [("routes", Value::Null), ("checks", json!([])), ("base", json!({ "release": "empty" }))]
    {
        let spec = with(site(&project, b"x"), json!({ field: value }));
        let answer = lab.with_key(&token, "POST", "/deploy/v2/plans", Some(json!({ "spec": spec }))).await;
        refused(&answer, 403, "forbidden_spec_field");
        assert_eq!(answer.body["resource"], field);
    }

    // Trouble with the lease is one code; nothing is left of the session after 15 minutes.
    let row = lab
        .as_wallet(&wallet, "GET", &format!("/ci/v1/bindings/{}", binding["id"].as_str().unwrap()), None)
        .await;
    assert_eq!((&row.body["use_count"], row.body["last_used_at"].is_string()), (&json!(1), true), "{row:?}");
    assert_eq!(row.body["created_sig"]["signer"], json!(wallet.address()), "{row:?}");
    move_clock(&lab, 901).await;
    refused(&lab.with_key(&token, "GET", &own, None).await, 401, "invalid_token");
    move_clock(&lab, 50 * 86_400).await;
    let late = session(&lab, &issuer, &project).await;
    let frozen =
        lab.with_key(&late, "POST", "/deploy/v2/plans", Some(json!({ "spec": site(&project, b"y") }))).await;
    refused(&frozen, 402, "payment_required");
    lab.assert_books_agree();
}

async fn move_clock(lab: &Lab, secs: i64) {
    let moved = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }))).await;
    assert_eq!(moved.status, 200, "{moved:?}");
}

// H03: issuer, audience, signature, algorithm, repository, ref, environment, forks, replays, key rotation.
#[tokio::test]
async fn an_identity_is_believed_only_when_all_of_it_fits() {
    let (issuer, lab) = lab().await;
    let (wallet, project) = lab.project().await;
    refused(&exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await, 403, "access_denied");
    link(&lab, &wallet, &delegation(&issuer, &project, MAIN)).await;
    let prod = "repo:acme/shop:environment:prod";
    link(&lab, &wallet, &Delegation { github_repository_id: None, ..delegation(&issuer, &project, prod) })
        .await;
    for fault in [Fault::UnknownKey, Fault::ForgedKey, Fault::Confused, Fault::Unsigned] {
        issuer.fault(Some(fault));
        let answer = exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await;
        refused(&answer, 401, "invalid_token");
    }
    issuer.fault(None);
    let asked_before = issuer.calls("/keys");
    for _ in 0..5 {
        issuer.fault(Some(Fault::UnknownKey));
        refused(&exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await, 401, "invalid_token");
    }
    assert!(
        issuer.calls("/keys") <= asked_before + 1,
        "a stranger's token is no reason to ask again and again"
    );
    issuer.fault(None);
    let now = SystemClock.now().timestamp();
    for (changes, status, code) in [
        (json!({ "iss": "https://token.actions.githubusercontent.com" }), 401, "invalid_token"),
        (json!({ "iss": format!("{}/", issuer.issuer) }), 401, "invalid_token"),
        (json!({ "aud": "https://github.com/acme" }), 401, "invalid_token"),
        (json!({ "aud": [CI_AUDIENCE, "https://evil.test"] }), 401, "invalid_token"),
        (json!({ "exp": now - 120 }), 401, "invalid_token"),
        (json!({ "iat": now + 600 }), 401, "invalid_token"),
        (json!({ "nbf": now + 600 }), 401, "invalid_token"),
        (json!({ "jti": null }), 401, "invalid_token"),
        (json!({ "sub": "repo:acme/shop:ref:refs/heads/evil" }), 403, "access_denied"),
        (json!({ "sub": "repo:acme/shop:ref:refs/heads/main2" }), 403, "access_denied"),
        (json!({ "sub": "repo:evil/shop:ref:refs/heads/main" }), 403, "access_denied"),
        // A subject of the owner's choice that says what the other claims do not.
        (json!({ "repository": "evil/shop" }), 403, "access_denied"),
        (json!({ "ref": "refs/heads/evil" }), 403, "access_denied"),
        (json!({ "sub": prod, "environment": "dev" }), 403, "access_denied"),
        // A fork's pull request.
        (json!({ "sub": "repo:acme/shop:pull_request", "event_name": "pull_request" }), 403, "access_denied"),
        (json!({ "event_name": "pull_request_target" }), 403, "event_not_allowed"),
        (json!({ "repository_id": "4712" }), 403, "repository_id_mismatch"),
    ] {
        let answer = exchange(&lab, &project, &issuer.mint(&with(claims(&issuer), changes.clone()))).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (status, Some(code)),
            "{changes} {answer:?}"
        );
    }
    for (field, value) in [("grant_type", "password"), ("subject_token_type", "x"), ("project_id", "nobody")]
    {
        let body = with(
            json!({ "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "project_id": project["project_id"] }),
            json!({ field: value }),
        );
        let answer = lab.send(lab.http.post(lab.url("/ci/v1/token-exchange")).json(&body)).await;
        refused(&answer, 400, "invalid_request");
    }
    // Once.
    let token = issuer.mint(&claims(&issuer));
    assert_eq!(exchange(&lab, &project, &token).await.status, 200);
    refused(&exchange(&lab, &project, &token).await, 401, "invalid_token");
    let named = with(claims(&issuer), json!({ "sub": prod, "environment": "prod", "repository_id": "1" }));
    assert_eq!(exchange(&lab, &project, &issuer.mint(&named)).await.status, 200);
    // Another project has no binding, and one that never was answers the same.
    let (_, other) = lab.project().await;
    refused(&exchange(&lab, &other, &issuer.mint(&claims(&issuer))).await, 403, "access_denied");
    let never = json!({ "project_id": format!("prj_{}", "0".repeat(32)) });
    refused(&exchange(&lab, &never, &issuer.mint(&claims(&issuer))).await, 403, "access_denied");
    // A new key signs: the old ones are asked for again, once the last look was a while ago.
    issuer.rotate();
    eventually("the new key to be seen", 20, || async {
        let answer = exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await;
        (answer.status == 200).then_some(())
    })
    .await;
    lab.assert_books_agree();
}

// H03. Goal: a binding is what was signed, by whom it concerns, once, and ends when it is told to.
#[tokio::test]
async fn a_delegation_is_exactly_what_its_owner_signed() {
    let (issuer, lab) = lab().await;
    let (wallet, project) = lab.project().await;
    let good = delegation(&issuer, &project, MAIN);
    let signed = |fields: Value| wallet.sign_in_fields(fields);
    let base = || fields(&lab, &wallet, &good);
    let other = Delegation { subject_match: "repo:evil/shop:*".to_owned(), ..good.clone() };
    for (fields, code) in [
        (with(base(), json!({ "statement": other.statement() })), "delegation_statement_mismatch"),
        (with(base(), json!({ "statement": "Sign in to Run402" })), "delegation_statement_mismatch"),
        (with(base(), json!({ "resources": [other.resource_uri()] })), "delegation_resource_uri_mismatch"),
        (with(base(), json!({ "resources": [] })), "delegation_resource_uri_mismatch"),
        (
            with(base(), json!({ "resources": [good.resource_uri(), other.resource_uri()] })),
            "delegation_resource_uri_mismatch",
        ),
        (with(base(), json!({ "nonce": "0000000000000000" })), "delegation_nonce_invalid"),
        (with(base(), json!({ "uri": format!("{}/tiers/v1/hobby", lab.api) })), "delegation_parse_failed"),
        (with(base(), json!({ "uri": "https://evil.test/ci/v1/bindings" })), "delegation_parse_failed"),
        (with(base(), json!({ "chainId": "eip155:1" })), "delegation_parse_failed"),
    ] {
        refused(&hand_in(&lab, &wallet, body(&good, &signed(fields))).await, 400, code);
    }
    let tampered = with(signed(base()), json!({ "statement": other.statement() }));
    refused(&hand_in(&lab, &wallet, body(&good, &tampered)).await, 400, "delegation_signature_invalid");
    // The body may not say more than the text.
    let wider = with(body(&good, &signed(base())), json!({ "subject_match": "repo:acme/shop:*" }));
    refused(&hand_in(&lab, &wallet, wider).await, 400, "delegation_resource_uri_mismatch");
    let routes = with(body(&good, &signed(base())), json!({ "route_scopes": ["/api/*"] }));
    refused(&hand_in(&lab, &wallet, routes).await, 400, "delegation_resource_uri_mismatch");
    let bare = Delegation { subject_match: "repo:acme*".to_owned(), ..good.clone() };
    let bare = body(&bare, &signed(fields(&lab, &wallet, &bare)));
    refused(&hand_in(&lab, &wallet, bare).await, 400, "invalid_request");
    let long = with(body(&good, &json!({})), json!({ "signed_delegation": "A".repeat(9_000) }));
    refused(&hand_in(&lab, &wallet, long).await, 400, "delegation_oversized");
    // Another wallet's signature, and another wallet's project.
    let (stranger, theirs) = lab.project().await;
    let by_stranger = stranger.sign_in_fields(fields(&lab, &stranger, &good));
    refused(&hand_in(&lab, &wallet, body(&good, &by_stranger)).await, 403, "signer_mismatch");
    let foreign = delegation(&issuer, &theirs, MAIN);
    let foreign = body(&foreign, &signed(fields(&lab, &wallet, &foreign)));
    assert_eq!(hand_in(&lab, &wallet, foreign).await.status, 403);

    let made = link(&lab, &wallet, &good).await;
    let again = hand_in(&lab, &wallet, body(&good, &signed(base()))).await;
    refused(&again, 400, "nonce_replay");
    let twin = delegation(&issuer, &project, MAIN);
    let twin = hand_in(&lab, &wallet, body(&twin, &signed(fields(&lab, &wallet, &twin)))).await;
    refused(&twin, 409, "duplicate");
    assert_eq!(twin.body["details"]["subject_match"], MAIN);

    // Revoked in the middle of a session: the next request is refused, and what was committed stays.
    let token = session(&lab, &issuer, &project).await;
    let live = workflow_deploys(&lab, &token, site(&project, b"one"), b"one").await;
    let path = format!("/ci/v1/bindings/{}", made["id"].as_str().unwrap());
    assert_eq!(lab.as_wallet(&stranger, "GET", &path, None).await.status, 404);
    assert_eq!(lab.as_wallet(&stranger, "POST", &format!("{path}/revoke"), None).await.status, 404);
    let ended = lab.as_wallet(&wallet, "POST", &format!("{path}/revoke"), None).await;
    assert!(ended.status == 200 && ended.body["revoked_at"].is_string(), "{ended:?}");
    let twice = lab.as_wallet(&wallet, "POST", &format!("{path}/revoke"), None).await;
    assert_eq!(twice.body["revoked_at"], ended.body["revoked_at"]);
    let own = format!("/deploy/v2/operations/{}", live["operation_id"].as_str().unwrap());
    refused(&lab.with_key(&token, "GET", &own, None).await, 401, "invalid_token");
    refused(&exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await, 403, "access_denied");
    assert_eq!(fetch(&lab, live["urls"]["project"].as_str().unwrap(), "/", &[]).await.body, "one");

    // A binding with an end: sessions end with it, and its subject is free again.
    let end = types::rfc3339(SystemClock.now() + TimeDelta::minutes(10));
    let brief = Delegation { expires_at: Some(end.clone()), ..delegation(&issuer, &project, MAIN) };
    assert_eq!(link(&lab, &wallet, &brief).await["expires_at"], json!(end));
    let answer = exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await;
    assert!((1..=600).contains(&answer.body["expires_in"].as_i64().unwrap()), "{answer:?}");
    move_clock(&lab, 601).await;
    refused(&exchange(&lab, &project, &issuer.mint(&claims(&issuer))).await, 403, "access_denied");
    link(&lab, &wallet, &delegation(&issuer, &project, MAIN)).await;
    let list =
        lab.as_wallet(&wallet, "GET", &format!("/ci/v1/bindings?project={}", good.project_id), None).await;
    assert_eq!(list.body["bindings"].as_array().unwrap().len(), 3, "{list:?}");
    // A session that opened in the moment of the revocation, so that nobody ended it: its binding is looked at with
    // each request.
    let crossing = session(&lab, &issuer, &project).await;
    let plan = || json!({ "spec": site(&project, b"two") });
    let allowed = lab.with_key(&crossing, "POST", "/deploy/v2/plans", Some(plan())).await;
    assert!(allowed.status < 300, "{allowed:?}");
    sqlx::query("update ci_bindings set revoked_at = now()").execute(&lab.database().await).await.unwrap();
    let late = lab.with_key(&crossing, "POST", "/deploy/v2/plans", Some(plan())).await;
    refused(&late, 403, "access_denied");
    lab.assert_books_agree();
}

// H03: routes change within the scopes that were signed, and what lies outside stays as it is.
#[tokio::test]
async fn a_workflow_changes_routes_within_its_scopes() {
    let (issuer, lab) = lab().await;
    let (wallet, project) = lab.project().await;
    let scoped =
        Delegation { route_scopes: vec!["/api/*".to_owned()], ..delegation(&issuer, &project, MAIN) };
    assert_eq!(link(&lab, &wallet, &scoped).await["route_scopes"], json!(["/api/*"]));
    deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let token = session(&lab, &issuer, &project).await;
    let ask = async |routes: Value| {
        let text = b"export default () => new Response()";
        let source = json!({ "sha256": sha256(text), "size": text.len() });
        let spec = json!({ "project": project["project_id"], "routes": routes,
            "functions": { "replace": { "api": { "source": source } } } });
        lab.with_key(&token, "POST", "/deploy/v2/plans?dry_run=true", Some(json!({ "spec": spec }))).await
    };
    let route =
        |pattern: &str| json!({ "pattern": pattern, "target": { "type": "function", "name": "api" } });
    let outside = ask(json!({ "replace": [route("/admin/*")] })).await;
    refused(&outside, 403, "forbidden_spec_field");
    assert_eq!(outside.body["details"]["pattern"], "/admin/*");
    let within = ask(json!({ "replace": [route("/api/v1/*"), route("/api/*")] })).await;
    assert_eq!(within.status, 200, "{within:?}");
    refused(&ask(json!({ "replace": null })).await, 403, "forbidden_spec_field");
    lab.assert_books_agree();
}

// Goal: an owner links by words, and a workflow with nothing but its runner's identity deploys by words.
#[tokio::test(flavor = "multi_thread")]
async fn linking_and_deploying_by_words() {
    let (issuer, lab) = lab().await;
    let home = fresh_folder();
    std::fs::create_dir_all(&home).unwrap();
    let command = |config: &str, args: &[&str]| {
        let mut command = std::process::Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join(config));
        command.env_remove("GITHUB_ACTIONS");
        command
    };
    let json_of = |mut command: std::process::Command| -> Value {
        let done = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{command:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    };
    let run = |args: &[&str]| json_of(command("owner", args));
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "app"]);
    let id = project["project_id"].as_str().unwrap();
    let workflow = home.join("repo/.github/workflows/deploy.yml");
    let link = [
        "ci",
        "link",
        "github",
        "--repo",
        "acme/shop",
        "--branch",
        "main",
        "--repository-id",
        "4711",
        "--issuer",
        &issuer.issuer,
        "--workflow",
        workflow.to_str().unwrap(),
    ];
    let linked = run(&link);
    assert_eq!(
        (&linked["binding"]["subject_match"], &linked["workflow"]["written"]),
        (&json!(MAIN), &json!(true))
    );
    assert!(std::fs::read_to_string(&workflow).unwrap().contains("id-token: write"));
    let binding = linked["binding"]["id"].as_str().unwrap();
    assert_eq!(run(&["ci", "list"])["bindings"][0]["id"], binding);

    issuer.serve_workflows(claims(&issuer));
    let manifest = home.join("release.json");
    std::fs::write(
        &manifest,
        json!({ "project": id, "site": { "replace": { "index.html": "from CI" } } }).to_string(),
    )
    .unwrap();
    let in_workflow = || {
        let mut command = command("runner", &["deploy", "apply", "--manifest", manifest.to_str().unwrap()]);
        command
            .env("GITHUB_ACTIONS", "true")
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/identity?api-version=2", issuer.issuer))
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner-secret");
        command
    };
    let deployed = json_of(in_workflow());
    assert_eq!(fetch(&lab, deployed["url"].as_str().unwrap(), "/", &[]).await.body, "from CI");
    assert!(run(&["ci", "revoke", binding])["revoked_at"].is_string());
    let refused = in_workflow().output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("access_denied"), "{refused:?}");
}
