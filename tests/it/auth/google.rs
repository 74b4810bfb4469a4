//! Signing in with Google, as a browser does it, against a provider of our own.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Answer, Lab, LabOptions};

use super::mail::{mailed_token, redeem};
use super::openid::{Fault, OpenId, Person};
use super::{PASSWORD, anon, as_user, claims_of, login, owner, refresh, refused, signup};

const PAGE: &str = "http://localhost:3000/signed-in?next=1";
/// The secret of the page: 43 to 128 characters.
pub(super) fn verifier() -> String {
    "a-real-page-takes-as-many-random-characters".to_owned()
}

fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

pub(super) async fn lab(openid: &OpenId) -> Lab {
    Lab::start_with(LabOptions { args: openid.args(), ..LabOptions::default() }).await
}

async fn start_with(lab: &Lab, project: &Value, body: Value) -> Answer {
    anon(lab, project, "/auth/v1/oauth/google/start", body).await
}

async fn start(lab: &Lab, project: &Value, page: &str) -> Value {
    let body = json!({
        "redirect_url": page, "mode": "redirect",
        "code_challenge": challenge(&verifier()), "code_challenge_method": "S256",
    });
    let begun = start_with(lab, project, body).await;
    assert_eq!((begun.status, &begun.body["expires_in"]), (200, &json!(600)), "{begun:?}");
    begun.body
}

/// A browser: where one URL sends it, without going there.
async fn follow(url: &str) -> Answer {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

fn location(answer: &Answer) -> String {
    answer.headers["location"].to_str().unwrap().to_owned()
}

/// The URL that the provider sends the browser back to.
async fn consent(begun: &Value) -> String {
    let sent = follow(begun["authorization_url"].as_str().unwrap()).await;
    assert_eq!(sent.status, 302, "{sent:?}");
    location(&sent)
}

/// What the page finds in its fragment.
fn fragment(page: &str) -> HashMap<String, String> {
    let text = page.split_once('#').unwrap_or_else(|| panic!("no fragment in {page}")).1;
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

/// The browser's whole way from a page that began back to it.
async fn return_of(lab: &Lab, begun: &Value) -> HashMap<String, String> {
    let callback = consent(begun).await;
    assert!(callback.starts_with(&lab.url("/auth/v1/oauth/google/callback?")), "{callback}");
    let back = follow(&callback).await;
    assert_eq!(back.status, 303, "{back:?}");
    let found = fragment(&location(&back));
    assert_eq!(found["state"], begun["state"].as_str().unwrap());
    found
}

pub(super) async fn arrive(lab: &Lab, project: &Value) -> HashMap<String, String> {
    return_of(lab, &start(lab, project, PAGE).await).await
}

pub(super) async fn trade(lab: &Lab, project: &Value, code: &str, verifier: &str) -> Answer {
    let body = json!({ "code": code, "code_verifier": verifier });
    anon(lab, project, "/auth/v1/token?grant_type=authorization_code", body).await
}

/// All of it, as the provider's current person.
pub(super) async fn enter(lab: &Lab, project: &Value) -> Answer {
    let found = arrive(lab, project).await;
    let code = found.get("code").unwrap_or_else(|| panic!("{found:?}"));
    trade(lab, project, code, &verifier()).await
}

async fn users(lab: &Lab, project: &Value) -> usize {
    owner(lab, project, "GET", "/auth/v1/admin/users", None).await.body["users"].as_array().unwrap().len()
}

async fn set(lab: &Lab, project: &Value, body: Value) {
    let answer = owner(lab, project, "PATCH", "/auth/v1/settings", Some(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn advance(lab: &Lab, secs: u64) {
    let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }));
    assert_eq!(lab.send(moved).await.status, 200);
}

/// Begins the adding of an account elsewhere to the user of a session.
async fn link_with(lab: &Lab, project: &Value, session: &Value) -> Answer {
    let body = json!({ "redirect_url": PAGE, "code_challenge": challenge(&verifier()), "intent": "link" });
    let request = lab.http.post(lab.url("/auth/v1/oauth/google/start")).json(&body);
    let request = request.header("apikey", project["anon_key"].as_str().unwrap());
    lab.send(request.bearer_auth(session["access_token"].as_str().unwrap())).await
}

// Goal: a page signs its user in with Google. Method: a browser's requests, one by one.
#[tokio::test]
async fn a_page_signs_its_user_in() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (wallet, project) = lab.project().await;
    let offered = anon_get(&lab, &project, "/auth/v1/providers").await.body;
    assert_eq!(offered["google"], json!({ "enabled": true }));
    assert!(offered["providers"].as_array().unwrap().contains(&json!("google")), "{offered}");

    let begun = start(&lab, &project, PAGE).await;
    let url = begun["authorization_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/authorize?", openid.issuer)), "{url}");
    assert!(!url.contains(&challenge(&verifier())), "the page's challenge is between us and the page");
    let back = follow(&consent(&begun).await).await;
    assert_eq!(
        (back.status, &back.headers["cache-control"]),
        (303, &"no-store".parse().unwrap()),
        "{back:?}"
    );
    assert_eq!(back.headers["referrer-policy"], "no-referrer");
    let page = location(&back);
    assert!(page.starts_with(&format!("{PAGE}#code=gc_")), "{page}");
    assert_eq!(users(&lab, &project).await, 0, "nobody is made before the page asks");
    let code = fragment(&page)["code"].clone();
    let session = trade(&lab, &project, &code, &verifier()).await;
    assert_eq!(session.status, 200, "{session:?}");
    let user = session.body["user"].clone();
    assert_eq!((&user["email"], &user["display_name"]), (&json!("ada@b.test"), &json!("Ada Lovelace")));
    assert_eq!(user["avatar_url"], "https://pictures.test/ada.png");
    assert!(user["email_verified_at"].is_string(), "{user}");
    assert_eq!(claims_of(&session.body)["amr"], json!(["oauth_google"]));
    let me = as_user(&lab, "GET", "/auth/v1/user", &session.body).await.body;
    assert_eq!(me["identities"][0]["provider_sub"], "1", "{me}");
    assert_eq!((&me["identities"][0]["provider"], &me["has_password"]), (&json!("google"), &json!(false)));
    assert_eq!(refresh(&lab, &project, &session.body).await.status, 200);

    // A name that the project has claimed is a place to go back to.
    let live = crate::deploys::deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let claim = json!({ "name": "my-app", "deployment_id": live["urls"]["deployment_id"] });
    let claimed = owner(&lab, &project, "POST", "/subdomains/v1", Some(claim)).await;
    let own = format!("{}/in", claimed.body["url"].as_str().unwrap());
    let found = return_of(&lab, &start(&lab, &project, &own).await).await;
    let again = trade(&lab, &project, &found["code"], &verifier()).await;
    assert_eq!(again.body["user"]["id"], user["id"], "the same account is the same user: {again:?}");
    assert_eq!(users(&lab, &project).await, 1);

    // What the provider publishes is asked for once, and again when a key is new.
    assert_eq!((openid.calls("/.well-known/openid-configuration"), openid.calls("/keys")), (1, 1));
    openid.rotate();
    assert_eq!(enter(&lab, &project).await.status, 200);
    assert_eq!((openid.calls("/.well-known/openid-configuration"), openid.calls("/keys")), (1, 2));
}

async fn anon_get(lab: &Lab, project: &Value, path: &str) -> Answer {
    lab.send(lab.http.get(lab.url(path)).header("apikey", project["anon_key"].as_str().unwrap())).await
}

// Goal: state, code and verifier each work once, for their own sign-in, in their own time.
#[tokio::test]
async fn what_travels_through_the_browser_works_once() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (_, project) = lab.project().await;
    let (_, other) = lab.project().await;

    // The state: not twice, not changed, not of another project, not late.
    let begun = start(&lab, &project, PAGE).await;
    let callback = consent(&begun).await;
    assert_eq!(follow(&callback).await.status, 303);
    refused(&follow(&callback).await, 400, "OAUTH_STATE_INVALID");
    let state = begun["state"].as_str().unwrap();
    let secret = state.split_once('.').unwrap().1;
    let elsewhere = format!("{}.{secret}", other["project_id"].as_str().unwrap());
    for bad in ["", "x", "prj_1.2", secret, elsewhere.as_str(), &state[..state.len() - 1]] {
        let url = reqwest::Url::parse_with_params(
            &lab.url("/auth/v1/oauth/google/callback"),
            [("code", "x"), ("state", bad)],
        );
        refused(&follow(url.unwrap().as_str()).await, 400, "OAUTH_STATE_INVALID");
    }
    let denied = start(&lab, &project, PAGE).await;
    let callback = lab.url("/auth/v1/oauth/google/callback?error=access_denied&state=");
    let back = follow(&format!("{callback}{}", denied["state"].as_str().unwrap())).await;
    assert_eq!(fragment(&location(&back))["error"], "access_denied");
    let late = consent(&start(&lab, &project, PAGE).await).await;
    advance(&lab, 601).await;
    refused(&follow(&late).await, 400, "OAUTH_STATE_INVALID");

    // The code: not with another verifier (which uses it up), not in another project, not twice, not late.
    let code = arrive(&lab, &project).await["code"].clone();
    let stranger = "b".repeat(43);
    refused(&trade(&lab, &other, &code, &verifier()).await, 400, "INVALID_GRANT");
    refused(&trade(&lab, &project, &code, &stranger).await, 400, "INVALID_GRANT");
    refused(&trade(&lab, &project, &code, &verifier()).await, 400, "INVALID_GRANT");
    let code = arrive(&lab, &project).await["code"].clone();
    for bad in ["", "short", &challenge(&verifier()), &"c".repeat(129)] {
        refused(&trade(&lab, &project, "gc_0", bad).await, 400, "INVALID_GRANT");
    }
    let verifier = verifier();
    let both = tokio::join!(trade(&lab, &project, &code, &verifier), trade(&lab, &project, &code, &verifier));
    assert_eq!(both.0.status + both.1.status, 600, "one tab wins: {both:?}");
    let code = arrive(&lab, &project).await["code"].clone();
    advance(&lab, 301).await;
    refused(&trade(&lab, &project, &code, &verifier).await, 400, "INVALID_GRANT");
    assert_eq!(users(&lab, &project).await, 1);

    // Two browsers of one person at once: one user.
    openid.sign_in(Person::hosted("2", "bob@b.test"));
    let (one, two) =
        (arrive(&lab, &project).await["code"].clone(), arrive(&lab, &project).await["code"].clone());
    let both = tokio::join!(trade(&lab, &project, &one, &verifier), trade(&lab, &project, &two, &verifier));
    assert_eq!((both.0.status, both.1.status), (200, 200), "{both:?}");
    assert_eq!(both.0.body["user"]["id"], both.1.body["user"]["id"]);
}

// H01, H03. Goal: a provider's answer counts only if all of it is right. Method: one fault at a time.
#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_signs_nobody_in() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (_, project) = lab.project().await;
    for (fault, error) in [
        (Fault::WrongNonce, "oauth_failed"),
        (Fault::WrongAudience, "oauth_failed"),
        (Fault::WrongIssuer, "oauth_failed"),
        (Fault::Expired, "oauth_failed"),
        (Fault::UnknownKey, "oauth_failed"),
        (Fault::ForgedKey, "oauth_failed"),
        (Fault::Confused, "oauth_failed"),
        (Fault::Unsigned, "oauth_failed"),
        (Fault::Unverified, "email_not_verified"),
        (Fault::Refuses, "oauth_failed"),
        (Fault::Down, "provider_unavailable"),
    ] {
        openid.fault(Some(fault));
        let found = arrive(&lab, &project).await;
        assert_eq!(
            (found.get("error").map(String::as_str), found.get("code")),
            (Some(error), None),
            "{fault:?}"
        );
    }
    openid.fault(None);
    assert_eq!(users(&lab, &project).await, 0);

    // A code of another sign-in at the provider: it was asked for with another challenge.
    let mine = start(&lab, &project, PAGE).await;
    let theirs = start(&lab, &project, PAGE).await;
    let url = reqwest::Url::parse_with_params(
        &lab.url("/auth/v1/oauth/google/callback"),
        [
            ("code", openid.code(theirs["authorization_url"].as_str().unwrap())),
            ("state", mine["state"].as_str().unwrap().to_owned()),
        ],
    );
    assert_eq!(fragment(&location(&follow(url.unwrap().as_str()).await))["error"], "oauth_failed");
    assert_eq!(enter(&lab, &project).await.status, 200);
}

// H04. Goal: nobody enters an account because the address looks the same.
#[tokio::test]
async fn an_account_is_joined_only_by_its_owner() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (_, project) = lab.project().await;
    let exists = "account_exists_requires_link";

    // A password user: never merged, whoever says so; added by the user who is signed in.
    signup(&lab, &project, "ada@b.test").await;
    assert_eq!(arrive(&lab, &project).await["error"], exists);
    let session = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let body = json!({
        "redirect_url": PAGE, "code_challenge": challenge(&verifier()), "intent": "link",
    });
    refused(&start_with(&lab, &project, body).await, 401, "AUTHENTICATION_REQUIRED");
    let linked = return_of(&lab, &link_with(&lab, &project, &session).await.body).await;
    let linked = trade(&lab, &project, &linked["code"], &verifier()).await;
    assert_eq!(linked.body["user"]["id"], session["user"]["id"], "{linked:?}");
    assert_eq!(enter(&lab, &project).await.body["user"]["id"], session["user"]["id"]);
    // Not after the sign-in that asked for it has ended.
    openid.sign_in(Person::hosted("11", "else@b.test"));
    let over = return_of(&lab, &link_with(&lab, &project, &session).await.body).await;
    assert_eq!(as_user(&lab, "POST", "/auth/v1/logout", &session).await.status, 200);
    refused(&trade(&lab, &project, &over["code"], &verifier()).await, 400, "INVALID_GRANT");
    refused(&link_with(&lab, &project, &session).await, 401, "AUTHENTICATION_REQUIRED");

    // An account elsewhere has one owner.
    signup(&lab, &project, "bob@b.test").await;
    let bob = login(&lab, &project, "bob@b.test", PASSWORD).await.body;
    openid.sign_in(Person::hosted("1", "ada@b.test"));
    assert_eq!(
        return_of(&lab, &link_with(&lab, &project, &bob).await.body).await["error"],
        "identity_already_linked"
    );

    // A user who has proved the address by mail and has no password: who runs the domain may say who it is.
    let body = json!({ "email": "eve@b.test", "redirect_url": PAGE });
    let eve = redeem(&lab, &project, &mailed_token(&lab, &project, body, 1).await).await.body;
    openid.sign_in(Person::vouched("3", "eve@b.test"));
    assert_eq!(arrive(&lab, &project).await["error"], exists, "who only saw it once may not");
    openid.sign_in(Person::hosted("4", "Eve@B.test"));
    assert_eq!(enter(&lab, &project).await.body["user"]["id"], eve["user"]["id"]);
}

// H04. Goal: an address that a provider only vouched for is given back to whoever receives its mail.
#[tokio::test]
async fn a_vouched_address_goes_to_whoever_receives_its_mail() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (_, project) = lab.project().await;
    openid.sign_in(Person::vouched("5", "zoe@b.test"));
    let early = enter(&lab, &project).await.body;
    assert!(early["user"]["email_verified_at"].is_string(), "{early}");
    let body = json!({ "email": "zoe@b.test", "redirect_url": PAGE });
    let zoe = redeem(&lab, &project, &mailed_token(&lab, &project, body, 1).await).await.body;
    assert_eq!(zoe["user"]["id"], early["user"]["id"]);
    refused(&refresh(&lab, &project, &early).await, 400, "INVALID_GRANT");
    let me = as_user(&lab, "GET", "/auth/v1/user", &zoe).await.body;
    assert_eq!(me["identities"], json!([]), "the earlier account elsewhere is gone: {me}");
    assert_eq!(arrive(&lab, &project).await["error"], "account_exists_requires_link");

    // The same with what a stranger linked to an account with a password and the address of another.
    signup(&lab, &project, "kim@b.test").await;
    let stranger = login(&lab, &project, "kim@b.test", PASSWORD).await.body;
    openid.sign_in(Person::hosted("6", "stranger@b.test"));
    let begun = link_with(&lab, &project, &stranger);
    let found = return_of(&lab, &begun.await.body).await;
    assert_eq!(trade(&lab, &project, &found["code"], &verifier()).await.status, 200);
    let body = json!({ "email": "kim@b.test", "redirect_url": PAGE });
    let kim = redeem(&lab, &project, &mailed_token(&lab, &project, body, 1).await).await.body;
    let theirs = enter(&lab, &project).await.body;
    assert_ne!(theirs["user"]["id"], kim["user"]["id"], "{theirs}");
}

// H07. Goal: the owner's policy and domains hold for Google as well.
#[tokio::test]
async fn the_owner_decides_whom_google_brings() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (_, project) = lab.project().await;
    let known = enter(&lab, &project).await.body;
    openid.sign_in(Person::hosted("2", "bob@b.test"));
    set(&lab, &project, json!({ "public_signup": "invite_only" })).await;
    assert_eq!(arrive(&lab, &project).await["error"], "signup_not_allowed");
    set(&lab, &project, json!({ "public_signup": "known_email" })).await;
    assert_eq!(arrive(&lab, &project).await["error"], "signup_not_allowed");
    // Closed after Google has answered: asked again at the end.
    set(&lab, &project, json!({ "public_signup": "open" })).await;
    let found = arrive(&lab, &project).await;
    set(&lab, &project, json!({ "public_signup": "known_email" })).await;
    refused(&trade(&lab, &project, &found["code"], &verifier()).await, 403, "SIGNUP_NOT_ALLOWED");
    let made = json!({ "email": "bob@b.test", "is_admin": true });
    let made = owner(&lab, &project, "POST", "/auth/v1/admin/users", Some(made)).await.body;
    openid.sign_in(Person::vouched("9", "bob@b.test"));
    assert_eq!(
        arrive(&lab, &project).await["error"],
        "account_exists_requires_link",
        "an admin least of all"
    );
    openid.sign_in(Person::hosted("2", "bob@b.test"));
    let bob = enter(&lab, &project).await.body;
    assert_eq!((&bob["user"]["id"], &claims_of(&bob)["role"]), (&made["id"], &json!("project_admin")));
    openid.sign_in(Person::hosted("1", "ada@b.test"));
    assert_eq!(enter(&lab, &project).await.body["user"]["id"], known["user"]["id"], "who is in stays in");

    set(&lab, &project, json!({ "public_signup": "open", "allowed_email_domains": ["c.test"] })).await;
    assert_eq!(arrive(&lab, &project).await["error"], "domain_not_allowed");
    openid.sign_in(Person::vouched("7", "kim@c.test"));
    assert_eq!(arrive(&lab, &project).await["error"], "domain_not_allowed", "once is not now");
    openid.sign_in(Person::hosted("8", "kim@c.test"));
    assert_eq!(enter(&lab, &project).await.status, 200);
    for bad in [json!([1]), json!(["@c.test"]), json!(["c test"]), json!([""]), json!(vec!["c.test"; 101])] {
        let body = Some(json!({ "allowed_email_domains": bad }));
        refused(&owner(&lab, &project, "PATCH", "/auth/v1/settings", body).await, 400, "BAD_REQUEST");
    }
}

// H03, H07. Goal: the answer goes to the project's own pages alone.
#[tokio::test]
async fn pages_of_others_get_no_answer() {
    let openid = OpenId::start().await;
    let lab = lab(&openid).await;
    let (wallet, project) = lab.project().await;
    let (_, other) = lab.project().await;
    let live = crate::deploys::deploy(&lab, &wallet, &project, &[("index.html", b"one")]).await;
    let claim = json!({ "name": "my-app", "deployment_id": live["urls"]["deployment_id"] });
    let claimed = owner(&lab, &project, "POST", "/subdomains/v1", Some(claim)).await;
    let own = claimed.body["url"].as_str().unwrap().to_owned();
    let ask = |project: &Value, page: &str| {
        let body = json!({ "redirect_url": page, "code_challenge": challenge(&verifier()) });
        let project = project.clone();
        let lab = &lab;
        async move { start_with(lab, &project, body).await }
    };
    for bad in [
        "https://evil.test/",
        "http://localhost.evil.test/",
        "http://localhost:1@evil.test/",
        "javascript:alert(1)",
        "http://localhost/#code=1",
        &lab.api,
        live["urls"]["project"].as_str().unwrap(),
        &own.replacen("my-app", "other", 1),
        &own.replacen("http:", "https:", 1),
    ] {
        refused(&ask(&project, bad).await, 400, "ORIGIN_NOT_ALLOWED");
    }
    refused(&ask(&other, &own).await, 400, "ORIGIN_NOT_ALLOWED");
    for bad in [
        json!({ "redirect_url": PAGE, "code_challenge": "short" }),
        json!({ "redirect_url": PAGE, "code_challenge": "=".repeat(43) }),
        json!({ "redirect_url": PAGE, "code_challenge": verifier(), "code_challenge_method": "plain" }),
        json!({ "redirect_url": PAGE, "code_challenge": verifier(), "mode": "frame" }),
        json!({ "redirect_url": PAGE }),
    ] {
        refused(&start_with(&lab, &project, bad).await, 400, "BAD_REQUEST");
    }

    // The name was given back while somebody was at Google.
    let callback = consent(&ask(&project, &own).await.body).await;
    assert_eq!(owner(&lab, &project, "DELETE", "/subdomains/v1/my-app", None).await.status, 200);
    refused(&follow(&callback).await, 400, "ORIGIN_NOT_ALLOWED");

    // A server without a client says so, and keeps what it had.
    let lab = lab.restart().await;
    let body = json!({ "redirect_url": PAGE, "code_challenge": challenge(&verifier()) });
    refused(&start_with(&lab, &project, body).await, 501, "OAUTH_NOT_CONFIGURED");
    let offered = anon_get(&lab, &project, "/auth/v1/providers").await.body;
    assert_eq!(offered["google"], json!({ "enabled": false }));
}
