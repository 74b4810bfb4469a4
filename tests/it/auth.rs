//! End users of a project: signing up, signing in, staying signed in.

mod browser;
mod elevation;
mod google;
pub mod mail;
pub mod openid;
mod passkeys;
mod tables;
mod takeover;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::{Answer, Lab};

pub const PASSWORD: &str = "correct horse";

async fn anon(lab: &Lab, project: &Value, path: &str, body: Value) -> Answer {
    let key = project["anon_key"].as_str().unwrap();
    lab.send(reqwest::Client::new().post(lab.url(path)).header("apikey", key).json(&body)).await
}

pub async fn signup(lab: &Lab, project: &Value, email: &str) -> Answer {
    anon(lab, project, "/auth/v1/signup", json!({ "email": email, "password": PASSWORD })).await
}

pub async fn login(lab: &Lab, project: &Value, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    anon(lab, project, "/auth/v1/token?grant_type=password", body).await
}

async fn refresh(lab: &Lab, project: &Value, session: &Value) -> Answer {
    let body = json!({ "refresh_token": session["refresh_token"] });
    anon(lab, project, "/auth/v1/token?grant_type=refresh_token", body).await
}

async fn as_user(lab: &Lab, method: &str, path: &str, session: &Value) -> Answer {
    lab.with_key(session["access_token"].as_str().unwrap(), method, path, None).await
}

/// A request with the service key.
async fn owner(lab: &Lab, project: &Value, method: &str, path: &str, body: Option<Value>) -> Answer {
    lab.with_key(project["service_key"].as_str().unwrap(), method, path, body).await
}

/// What a session's access token says.
fn claims_of(session: &Value) -> Value {
    let claims = session["access_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{answer:?}");
}

#[tokio::test]
async fn a_user_signs_up_signs_in_stays_and_leaves() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let made = signup(&lab, &project, " Ada@Example.org ").await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["email"], "ada@example.org");
    assert!(made.body.get("access_token").is_none(), "signing up does not sign in");
    refused(&signup(&lab, &project, "ADA@example.org").await, 409, "USER_EXISTS");

    let first = login(&lab, &project, "ada@example.org", PASSWORD).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!((&first.body["token_type"], &first.body["expires_in"]), (&json!("bearer"), &json!(3600)));
    assert_eq!(first.body["user"]["id"], made.body["id"]);
    let claims = claims_of(&first.body);
    assert_eq!(claims["sub"], made.body["id"]);
    assert_eq!(claims["project_id"], project["project_id"]);
    assert_eq!((&claims["role"], &claims["amr"]), (&json!("authenticated"), &json!(["password"])));
    let me = as_user(&lab, "GET", "/auth/v1/user", &first.body).await;
    assert_eq!((me.status, &me.body["email"]), (200, &json!("ada@example.org")), "{me:?}");

    let second = refresh(&lab, &project, &first.body).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(as_user(&lab, "POST", "/auth/v1/logout", &second.body).await.status, 200);
    refused(&refresh(&lab, &project, &second.body).await, 400, "INVALID_GRANT");
    refused(&as_user(&lab, "GET", "/auth/v1/user", &second.body).await, 401, "AUTHENTICATION_REQUIRED");
}

// H06: a used refresh token ends its whole sign-in, also when two tabs race, and no other sign-in.
#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_its_sign_in() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    signup(&lab, &project, "ada@b.test").await;
    let copied = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let other = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let next = refresh(&lab, &project, &copied).await.body;
    refused(&refresh(&lab, &project, &copied).await, 400, "INVALID_GRANT");
    refused(&refresh(&lab, &project, &next).await, 400, "INVALID_GRANT");
    refused(&as_user(&lab, "GET", "/auth/v1/user", &next).await, 401, "AUTHENTICATION_REQUIRED");

    let (one, two) = tokio::join!(refresh(&lab, &project, &other), refresh(&lab, &project, &other));
    let won: Vec<_> = [&one, &two].into_iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{one:?} {two:?}");
    refused(&refresh(&lab, &project, &won[0].body).await, 400, "INVALID_GRANT");
    assert_eq!(login(&lab, &project, "ada@b.test", PASSWORD).await.status, 200);

    let (_, stranger) = lab.project().await;
    let live = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    refused(&refresh(&lab, &stranger, &live).await, 400, "INVALID_GRANT");
    assert_eq!(refresh(&lab, &project, &live).await.status, 200, "another project did not use it up");
}

// H01, H07: what is no token, no address, no password; and nobody is told which addresses have an account.
#[tokio::test]
async fn wrong_credentials_are_refused_alike() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let (_, other) = lab.project().await;
    signup(&lab, &project, "ada@b.test").await;
    let wrong = login(&lab, &project, "ada@b.test", "not her password").await;
    let nobody = login(&lab, &project, "bob@b.test", "not her password").await;
    refused(&wrong, 401, "INVALID_CREDENTIALS");
    refused(&nobody, 401, "INVALID_CREDENTIALS");
    assert_eq!(wrong.body["message"], nobody.body["message"]);
    refused(&login(&lab, &other, "ada@b.test", PASSWORD).await, 401, "INVALID_CREDENTIALS");
    let huge = "x".repeat(500_000);
    refused(&login(&lab, &project, "ada@b.test", &huge).await, 401, "INVALID_CREDENTIALS");
    for (email, password, code) in [
        ("ada", PASSWORD, "INVALID_EMAIL"),
        ("a\0@b.test", PASSWORD, "INVALID_EMAIL"),
        ("new@b.test", "short", "WEAK_PASSWORD"),
        ("new@b.test", huge.as_str(), "WEAK_PASSWORD"),
    ] {
        let body = json!({ "email": email, "password": password });
        refused(&anon(&lab, &project, "/auth/v1/signup", body).await, 400, code);
    }
    let session = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let token = session["access_token"].as_str().unwrap();
    for bearer in [
        project["anon_key"].as_str().unwrap(),
        project["service_key"].as_str().unwrap(),
        &token[..token.len() - 2],
        "nonsense",
    ] {
        let answer = lab.with_key(bearer, "GET", "/auth/v1/user", None).await;
        refused(&answer, 401, "AUTHENTICATION_REQUIRED");
    }
    let request = reqwest::Client::new().get(lab.url("/auth/v1/user")).bearer_auth(token);
    let mixed = lab.send(request.header("apikey", other["anon_key"].as_str().unwrap())).await;
    refused(&mixed, 401, "AUTHENTICATION_REQUIRED");
    let path = format!("/projects/v1/admin/{}/schema", project["project_id"].as_str().unwrap());
    assert_eq!(lab.with_key(token, "GET", &path, None).await.status, 401, "a user's token is no key");

    // One address is not tried without end, and the answer says how long to wait.
    let limited = tests::eventually("the limit of one address", 20, || async {
        let answer = login(&lab, &project, "eve@b.test", "not her password").await;
        (answer.status == 429).then_some(answer)
    });
    let limited = tokio::time::timeout(Duration::from_secs(25), limited).await.unwrap();
    assert!(limited.body["retry_after"].as_u64().unwrap() >= 1, "{limited:?}");
}

// H07: the sign-up policy.
#[tokio::test]
async fn the_owner_decides_who_may_sign_up() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let key = project["service_key"].as_str().unwrap();
    let set = |body: Value| lab.with_key(key, "PATCH", "/auth/v1/settings", Some(body));
    signup(&lab, &project, "ada@b.test").await;
    let closed = set(json!({ "public_signup": "invite_only", "preferred_sign_in_method": "passkey" })).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(closed.body["public_signup"], "invite_only");
    assert_eq!(closed.body["allow_password_set"], false, "all settings are answered");
    for email in ["ada@b.test", "bob@b.test"] {
        refused(&signup(&lab, &project, email).await, 403, "SIGNUP_NOT_ALLOWED");
    }
    assert_eq!(login(&lab, &project, "ada@b.test", PASSWORD).await.status, 200);
    let cleared = set(json!({ "preferred_sign_in_method": null })).await;
    assert_eq!(cleared.body["preferred_sign_in_method"], Value::Null, "{cleared:?}");
    assert_eq!(cleared.body["public_signup"], "invite_only", "what is left out stays");
    for bad in [json!({ "public_signup": "all" }), json!({ "unknown": 1 })] {
        refused(&set(bad).await, 400, "BAD_REQUEST");
    }
    let anon_key = project["anon_key"].as_str().unwrap();
    let answer = lab.with_key(anon_key, "PATCH", "/auth/v1/settings", Some(json!({}))).await;
    refused(&answer, 403, "FORBIDDEN");
}

// H06. Goal: of two changes of one password, one counts. Method: both know the old one, and come at once.
#[tokio::test]
async fn a_password_is_changed_once_by_two_who_knew_it() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    signup(&lab, &project, "ada@b.test").await;
    let session = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let set = |new: &str| {
        let body = json!({ "new_password": new, "current_password": PASSWORD });
        let token = session["access_token"].as_str().unwrap();
        lab.with_key(token, "PUT", "/auth/v1/user/password", Some(body))
    };
    let words = ["one of two words", "two of two words"];
    let (one, two) = tokio::join!(set(words[0]), set(words[1]));
    assert_eq!(one.status + two.status, 601, "{one:?} {two:?}");
    let (kept, lost) = if one.status == 200 { (words[0], words[1]) } else { (words[1], words[0]) };
    assert_eq!(login(&lab, &project, "ada@b.test", kept).await.status, 200);
    refused(&login(&lab, &project, "ada@b.test", lost).await, 401, "INVALID_CREDENTIALS");
}
