//! Passkeys, answered by an authenticator of our own that can say anything.

use serde_json::{Value, json};
use tests::{Answer, Authenticator, Lab, Say};

use super::*;

/// A page of every project.
pub(super) const PAGE: &str = "http://localhost:3000";

async fn with_token(lab: &Lab, session: &Value, method: &str, path: &str, body: Option<Value>) -> Answer {
    lab.with_key(session["access_token"].as_str().unwrap(), method, path, body).await
}

/// What is wrong, and how it comes to be said.
type Bend = (&'static str, fn(Say) -> Say);

/// A user with a password, signed in.
pub(super) async fn user(lab: &Lab, project: &Value, email: &str) -> Value {
    assert_eq!(signup(lab, project, email).await.status, 201);
    login(lab, project, email, PASSWORD).await.body
}

pub(super) async fn register_options(lab: &Lab, session: &Value, origin: &str) -> Answer {
    let body = json!({ "app_origin": origin });
    with_token(lab, session, "POST", "/auth/v1/passkeys/register/options", Some(body)).await
}

pub(super) async fn register_verify(lab: &Lab, session: &Value, begun: &Value, response: Value) -> Answer {
    let body = json!({ "challenge_id": begun["challenge_id"], "response": response, "label": " My phone " });
    with_token(lab, session, "POST", "/auth/v1/passkeys/register/verify", Some(body)).await
}

/// A passkey of this user on that page.
pub(super) async fn register(lab: &Lab, session: &Value, origin: &str) -> (Authenticator, Value) {
    let begun = register_options(lab, session, origin).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let mut authenticator = Authenticator::new(&begun.body["options"]);
    let say = authenticator.say(&begun.body["options"], origin);
    let made = register_verify(lab, session, &begun.body, authenticator.create(&say)).await;
    assert_eq!(made.status, 201, "{made:?}");
    (authenticator, made.body)
}

async fn login_options(lab: &Lab, project: &Value, origin: &str) -> Answer {
    anon(lab, project, "/auth/v1/passkeys/login/options", json!({ "app_origin": origin })).await
}

async fn login_verify(lab: &Lab, project: &Value, begun: &Value, response: Value) -> Answer {
    let body = json!({ "challenge_id": begun["challenge_id"], "response": response });
    anon(lab, project, "/auth/v1/passkeys/login/verify", body).await
}

/// Signs in after `bend` has had its way.
async fn sign_in_bent(
    lab: &Lab,
    project: &Value,
    authenticator: &mut Authenticator,
    bend: impl FnOnce(Say) -> Say,
) -> Answer {
    let begun = login_options(lab, project, PAGE).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let say = bend(authenticator.say(&begun.body["options"], PAGE));
    login_verify(lab, project, &begun.body, authenticator.get(&say)).await
}

pub(super) async fn sign_in(lab: &Lab, project: &Value, authenticator: &mut Authenticator) -> Answer {
    sign_in_bent(lab, project, authenticator, |say| say).await
}

#[tokio::test]
async fn a_passkey_is_registered_signs_in_is_listed_and_removed() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
    let (mut passkey, made) = register(&lab, &ada, PAGE).await;
    assert_eq!((&made["rp_id"], &made["created_origin"]), (&json!("localhost"), &json!(PAGE)));
    assert_eq!((&made["label"], &made["transports"]), (&json!("My phone"), &json!(["internal", "hybrid"])));
    assert_eq!(made["credential_device_type"], "singleDevice");
    assert_eq!((&made["credential_backed_up"], &made["last_used_at"]), (&json!(false), &Value::Null));
    let again = register_options(&lab, &ada, PAGE).await.body;
    assert_eq!(again["options"]["excludeCredentials"].as_array().unwrap().len(), 1, "{again}");
    assert_ne!(again["options"]["user"]["id"], ada["user"]["id"]);

    let me = as_user(&lab, "GET", "/auth/v1/user", &ada).await.body;
    assert_eq!((&me["has_passkeys"], &me["passkey_count"]), (&json!(true), &json!(1)), "{me}");

    let session = sign_in(&lab, &project, &mut passkey).await;
    assert_eq!(session.status, 200, "{session:?}");
    assert_eq!(session.body["user"]["id"], ada["user"]["id"]);
    assert_eq!(claims_of(&session.body)["amr"], json!(["passkey"]));
    let fresh = refresh(&lab, &project, &session.body).await.body;
    assert_eq!(claims_of(&fresh)["amr"], json!(["passkey"]));
    let list = as_user(&lab, "GET", "/auth/v1/passkeys", &ada).await.body;
    assert_eq!(list["passkeys"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["passkeys"][0]["last_used_origin"], PAGE);
    let offered = lab.http.get(lab.url("/auth/v1/providers")).header("apikey", anon_key(&project));
    assert_eq!(lab.send(offered).await.body["passkey"], json!({ "enabled": true }));

    let bob = user(&lab, &project, "bob@b.test").await;
    let path = format!("/auth/v1/passkeys/{}", made["id"].as_str().unwrap());
    refused(&as_user(&lab, "DELETE", &path, &bob).await, 404, "RESOURCE_NOT_FOUND");
    refused(&as_user(&lab, "DELETE", "/auth/v1/passkeys/x", &ada).await, 404, "RESOURCE_NOT_FOUND");
    assert_eq!(as_user(&lab, "DELETE", &path, &ada).await.status, 200);
    refused(&sign_in(&lab, &project, &mut passkey).await, 401, "PASSKEY_VERIFICATION_FAILED");
    refused(&refresh(&lab, &project, &fresh).await, 400, "INVALID_GRANT");
    assert_eq!(as_user(&lab, "GET", "/auth/v1/user", &ada).await.status, 200, "who asked stays");
    for path in ["/auth/v1/passkeys/register/options", "/auth/v1/passkeys/register/verify"] {
        let body = json!({ "app_origin": PAGE, "challenge_id": "x", "response": {} });
        refused(&anon(&lab, &project, path, body).await, 401, "AUTHENTICATION_REQUIRED");
    }
    let nobody = lab.http.post(lab.url("/auth/v1/passkeys/login/options"));
    refused(&lab.send(nobody.json(&json!({ "app_origin": PAGE }))).await, 401, "UNAUTHORIZED");
}

fn anon_key(project: &Value) -> &str {
    project["anon_key"].as_str().unwrap()
}

// H, passkeys. Goal: nothing but what an authenticator made for this challenge, on this page, with its user present and
// verified, registers; and a ceremony takes one answer.
#[tokio::test]
async fn registrations_that_do_not_fit_are_refused_and_over() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
    let bob = user(&lab, &project, "bob@b.test").await;
    let bends: &[Bend] = &[
        ("another port", |say| Say { origin: "http://localhost:3001".into(), ..say }),
        ("another scheme", |say| Say { origin: "https://localhost:3000".into(), ..say }),
        ("a name below", |say| Say { origin: "http://evil.localhost:3000".into(), ..say }),
        ("no origin", |say| Say { origin: "null".into(), ..say }),
        ("a frame", |say| Say { cross_origin: true, ..say }),
        ("another host", |say| Say { rp_id: "evil.localhost".into(), ..say }),
        ("a sign-in", |say| Say { kind: "webauthn.get", ..say }),
        ("another challenge", |say| Say { challenge: "AAAA".into(), ..say }),
        ("nobody present", |say| say.flip(Authenticator::PRESENT)),
        ("nobody verified", |say| say.flip(Authenticator::VERIFIED)),
        ("not kept", |say| Say { resident: false, ..say }),
    ];
    for (what, bend) in bends {
        let begun = register_options(&lab, &ada, PAGE).await.body;
        let mut authenticator = Authenticator::new(&begun["options"]);
        let right = authenticator.say(&begun["options"], PAGE);
        let wrong = authenticator.create(&bend(right.clone()));
        let answer = register_verify(&lab, &ada, &begun, wrong).await;
        assert!(answer.body["details"]["reason"].is_string(), "{what}: {answer:?}");
        refused(&answer, 400, "PASSKEY_VERIFICATION_FAILED");
        let late = register_verify(&lab, &ada, &begun, authenticator.create(&right)).await;
        refused(&late, 400, "PASSKEY_CHALLENGE_INVALID");
    }
    for garbage in [json!(null), json!("x"), json!({}), json!([[[]]]), json!({ "rawId": 7 })] {
        let begun = register_options(&lab, &ada, PAGE).await.body;
        let answer = register_verify(&lab, &ada, &begun, garbage).await;
        refused(&answer, 400, "PASSKEY_VERIFICATION_FAILED");
    }

    // Another user's, another kind's, one that ran out, one that never was.
    let begun = register_options(&lab, &ada, PAGE).await.body;
    let mut authenticator = Authenticator::new(&begun["options"]);
    let say = authenticator.say(&begun["options"], PAGE);
    let response = authenticator.create(&say);
    refused(&register_verify(&lab, &bob, &begun, response.clone()).await, 400, "PASSKEY_CHALLENGE_INVALID");
    refused(&login_verify(&lab, &project, &begun, response.clone()).await, 400, "PASSKEY_CHALLENGE_INVALID");
    let for_login = login_options(&lab, &project, PAGE).await.body;
    refused(
        &register_verify(&lab, &ada, &for_login, response.clone()).await,
        400,
        "PASSKEY_CHALLENGE_INVALID",
    );
    let (one, two) = tokio::join!(
        register_verify(&lab, &ada, &begun, response.clone()),
        register_verify(&lab, &ada, &begun, response.clone())
    );
    assert_eq!(one.status + two.status, 601, "one of two at once: {one:?} {two:?}");
    for id in ["nonsense", "00000000-0000-0000-0000-000000000000"] {
        let none = json!({ "challenge_id": id });
        refused(
            &register_verify(&lab, &ada, &none, response.clone()).await,
            400,
            "PASSKEY_CHALLENGE_INVALID",
        );
    }
    // A credential has one owner: whoever shows it again, even with the same key, is told.
    let theirs = register_options(&lab, &bob, PAGE).await.body;
    let say = authenticator.say(&theirs["options"], PAGE);
    let stolen = register_verify(&lab, &bob, &theirs, authenticator.create(&say)).await;
    refused(&stolen, 409, "PASSKEY_EXISTS");
    let late = register_options(&lab, &ada, PAGE).await.body;
    lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 301 }))).await;
    let say = authenticator.say(&late["options"], PAGE);
    let answer = register_verify(&lab, &ada, &late, authenticator.create(&say)).await;
    refused(&answer, 400, "PASSKEY_CHALLENGE_INVALID");
}

// H, passkeys. Goal: a signature is good for one challenge, one page, one project; nobody learns what was wrong
// or who has an account; what is replayed is refused.
#[tokio::test]
async fn sign_ins_that_do_not_fit_are_refused_alike() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let (_, stranger) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
    let bob = user(&lab, &project, "bob@b.test").await;
    let (mut passkey, _) = register(&lab, &ada, PAGE).await;
    let (mut bobs, _) = register(&lab, &bob, PAGE).await;
    let mallory = user(&lab, &stranger, "ada@b.test").await;
    let (mut theirs, _) = register(&lab, &mallory, PAGE).await;

    let bends: &[Bend] = &[
        ("another port", |say| Say { origin: "http://localhost:3001".into(), ..say }),
        ("a name below", |say| Say { origin: "http://evil.localhost:3000".into(), ..say }),
        ("a frame", |say| Say { cross_origin: true, ..say }),
        ("another host", |say| Say { rp_id: "evil.localhost".into(), ..say }),
        ("a registration", |say| Say { kind: "webauthn.create", ..say }),
        ("another challenge", |say| Say { challenge: "AAAA".into(), ..say }),
        ("nobody present", |say| say.flip(Authenticator::PRESENT)),
        ("nobody verified", |say| say.flip(Authenticator::VERIFIED)),
        ("a kind that it was not", |say| say.flip(Authenticator::BACKUP_ELIGIBLE)),
        ("a copy that cannot be", |say| say.flip(Authenticator::BACKED_UP)),
        ("another user", |say| Say { handle: vec![7; 16], ..say }),
        ("no user", |say| Say { handle: vec![], ..say }),
    ];
    let mut messages = Vec::new();
    for (what, bend) in bends {
        let answer = sign_in_bent(&lab, &project, &mut passkey, bend).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        messages.push((*what, answer));
    }
    // Another user's handle, and another credential's id under one's own key.
    let handle = bobs.handle.clone();
    messages.push(("bob", sign_in_bent(&lab, &project, &mut passkey, |say| Say { handle, ..say }).await));
    let own = std::mem::replace(&mut theirs.id, passkey.id.clone());
    let handle = passkey.handle.clone();
    messages.push(("key", sign_in_bent(&lab, &project, &mut theirs, |say| Say { handle, ..say }).await));
    theirs.id = own;
    messages.push(("another project's", sign_in(&lab, &project, &mut theirs).await));
    for (what, answer) in &messages {
        refused(answer, 401, "PASSKEY_VERIFICATION_FAILED");
        assert_eq!(answer.body["message"], messages[0].1.body["message"], "{what}");
        assert_eq!(answer.body["details"], json!({}), "{what}: {answer:?}");
    }

    // The options tell nothing, whoever is meant by them.
    let shape = |answer: Answer| {
        let mut body = answer.body;
        assert!(body["options"]["challenge"].as_str().unwrap().len() >= 43, "{body}");
        (body["challenge_id"], body["options"]["challenge"]) = (Value::Null, Value::Null);
        (answer.status, body)
    };
    let hint = |email: &str| {
        let body = json!({ "app_origin": PAGE, "email": email });
        let (lab, project) = (&lab, &project);
        async move { anon(lab, project, "/auth/v1/passkeys/login/options", body).await }
    };
    let known = shape(hint("ada@b.test").await);
    assert_eq!(known, shape(hint("nobody@b.test").await));
    assert_eq!(known, shape(login_options(&lab, &project, PAGE).await));
    assert!(known.1["options"].get("allowCredentials").is_none());

    // Replayed, at once, in another project, too late.
    let begun = login_options(&lab, &project, PAGE).await.body;
    let say = passkey.say(&begun["options"], PAGE);
    let response = passkey.get(&say);
    let elsewhere = login_verify(&lab, &stranger, &begun, response.clone()).await;
    refused(&elsewhere, 400, "PASSKEY_CHALLENGE_INVALID");
    let (one, two) = tokio::join!(
        login_verify(&lab, &project, &begun, response.clone()),
        login_verify(&lab, &project, &begun, response.clone())
    );
    assert_eq!(one.status + two.status, 600, "{one:?} {two:?}");
    let replayed = login_verify(&lab, &project, &begun, response.clone()).await;
    refused(&replayed, 400, "PASSKEY_CHALLENGE_INVALID");
    // The same signature under a challenge that is open.
    let open = login_options(&lab, &project, PAGE).await.body;
    refused(&login_verify(&lab, &project, &open, response).await, 401, "PASSKEY_VERIFICATION_FAILED");
    let late = login_options(&lab, &project, PAGE).await.body;
    lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 301 }))).await;
    let say = passkey.say(&late["options"], PAGE);
    refused(&login_verify(&lab, &project, &late, passkey.get(&say)).await, 400, "PASSKEY_CHALLENGE_INVALID");
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.status, 200, "nothing of this burnt the passkey");
    assert_eq!(sign_in(&lab, &project, &mut bobs).await.status, 200);
}

/// The project takes a name for what is live.
pub(super) async fn claim(lab: &Lab, project: &Value, name: &str, live: &Value) -> Value {
    let body = json!({ "name": name, "deployment_id": live["urls"]["deployment_id"] });
    let claimed = owner(lab, project, "POST", "/subdomains/v1", Some(body)).await;
    assert_eq!(claimed.status, 201, "{claimed:?}");
    claimed.body
}

// H, passkeys. Goal: a page has its own passkeys, on hosts of its own project only, for as long as the name is its own.
#[tokio::test]
async fn a_passkey_belongs_to_one_host_of_its_project() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let (other_wallet, other) = lab.project().await;
    let page: crate::deploys::Files<'_> = &[("index.html", b"<h1>home</h1>")];
    let live = crate::deploys::deploy(&lab, &wallet, &project, page).await;
    let own = live["urls"]["project"].as_str().unwrap().trim_end_matches('/').to_owned();
    let claimed = claim(&lab, &project, "one", &live).await;
    let one = claimed["url"].as_str().unwrap().trim_end_matches('/').to_owned();
    let live = crate::deploys::deploy(&lab, &other_wallet, &other, page).await;
    let foreign = claim(&lab, &other, "two", &live).await["url"].as_str().unwrap().to_owned();

    let ada = user(&lab, &project, "ada@b.test").await;
    let port = one.rsplit_once(':').unwrap().1.to_owned();
    let bad = [
        foreign.trim_end_matches('/').to_owned(),
        lab.api.clone(),
        one.replace("localhost:", "localhost.:"),
        format!("{one}/"),
        format!("{one}/page"),
        one.replace("http:", "https:"),
        one.to_uppercase(),
        "http://one.localhost:1".to_owned(),
        "http://one.localhost".to_owned(),
        format!("http://api.localhost:{port}"),
        format!("http://x@{}", &one[7..]),
        "http://localhost".to_owned() + "/x",
        "https://localhost:3000".to_owned(),
        "null".to_owned(),
        String::new(),
        "android:apk-key-hash:x".to_owned(),
    ];
    for origin in bad.iter().filter(|origin| !origin.starts_with("http://localhost:")) {
        let answer = register_options(&lab, &ada, origin).await;
        assert_eq!(answer.body["code"], "ORIGIN_NOT_ALLOWED", "{origin}: {answer:?}");
        refused(&login_options(&lab, &project, origin).await, 400, "ORIGIN_NOT_ALLOWED");
    }
    let (mut passkey, made) = register(&lab, &ada, &one).await;
    assert_eq!(made["rp_id"], "one.localhost");
    let (_, on_own) = register(&lab, &ada, &own).await;
    assert!(on_own["rp_id"].as_str().unwrap().starts_with("pr-"), "{on_own}");
    let at_one = login_options(&lab, &project, &one).await.body;
    let say = passkey.say(&at_one["options"], &one);
    assert_eq!(login_verify(&lab, &project, &at_one, passkey.get(&say)).await.status, 200);
    // The right key on another page of the same project is no key.
    let at_own = login_options(&lab, &project, &own).await.body;
    let say = passkey.say(&at_own["options"], &own);
    let crossed = login_verify(&lab, &project, &at_own, passkey.get(&say)).await;
    refused(&crossed, 401, "PASSKEY_VERIFICATION_FAILED");
    // Given up between question and answer.
    let begun = login_options(&lab, &project, &one).await.body;
    let say = passkey.say(&begun["options"], &one);
    let key = project["service_key"].as_str().unwrap();
    let gone = lab.with_key(key, "DELETE", "/subdomains/v1/one", None).await;
    assert!(gone.status < 300, "{gone:?}");
    refused(&login_verify(&lab, &project, &begun, passkey.get(&say)).await, 400, "ORIGIN_NOT_ALLOWED");
}

// H, passkeys. Goal: two holders of one key do not both go on.
#[tokio::test]
async fn a_counter_that_goes_back_ends_a_passkey() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
    let (mut passkey, _) = register(&lab, &ada, PAGE).await;
    passkey.counter = 41;
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.status, 200);
    // Whoever cannot sign burns nothing.
    let forged = sign_in(&lab, &project, &mut other(&passkey)).await;
    refused(&forged, 401, "PASSKEY_VERIFICATION_FAILED");
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.status, 200);
    let same = passkey.counter;
    let copy = sign_in_bent(&lab, &project, &mut passkey, |say| Say { counter: same, ..say }).await;
    refused(&copy, 401, "PASSKEY_VERIFICATION_FAILED");
    passkey.counter = 1_000;
    refused(&sign_in(&lab, &project, &mut passkey).await, 401, "PASSKEY_VERIFICATION_FAILED");
    let list = as_user(&lab, "GET", "/auth/v1/passkeys", &ada).await.body;
    assert!(list["passkeys"][0]["disabled_at"].is_string(), "{list}");

    // Authenticators that copy themselves on purpose do not count.
    let begun = register_options(&lab, &ada, PAGE).await.body;
    let mut synced = Authenticator::new(&begun["options"]);
    let flags = Authenticator::BACKUP_ELIGIBLE | Authenticator::BACKED_UP;
    let still = |say: Say| Say { counter: 0, ..say.flip(flags) };
    let say = still(synced.say(&begun["options"], PAGE));
    let made = register_verify(&lab, &ada, &begun, synced.create(&say)).await;
    assert_eq!(
        (&made.body["credential_device_type"], &made.body["credential_backed_up"]),
        (&json!("multiDevice"), &json!(true)),
        "{made:?}"
    );
    for _ in 0..2 {
        assert_eq!(sign_in_bent(&lab, &project, &mut synced, still).await.status, 200);
    }
}

/// Another key under the same id.
fn other(passkey: &Authenticator) -> Authenticator {
    let handle = BASE64_URL_SAFE_NO_PAD.encode(&passkey.handle);
    let mut other = Authenticator::new(&json!({ "user": { "id": handle } }));
    other.id = passkey.id.clone();
    other.counter = 0;
    other
}

// H04. Goal: who signs up with somebody else's address leaves no passkey behind.
#[tokio::test]
async fn a_strangers_passkey_goes_when_the_owner_of_the_address_comes() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let stranger = user(&lab, &project, "ada@b.test").await;
    let (mut passkey, _) = register(&lab, &stranger, PAGE).await;
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.status, 200);
    let body = json!({ "email": "ada@b.test", "redirect_url": format!("{PAGE}/in") });
    let token = mail::mailed_token(&lab, &project, body.clone(), 1).await;
    let owner = mail::redeem(&lab, &project, &token).await.body;
    let list = as_user(&lab, "GET", "/auth/v1/passkeys", &owner).await.body;
    assert_eq!(list, json!({ "passkeys": [] }));
    refused(&sign_in(&lab, &project, &mut passkey).await, 401, "PASSKEY_VERIFICATION_FAILED");
    // What the owner registers stays over the next link.
    let (mut passkey, _) = register(&lab, &owner, PAGE).await;
    let token = mail::mailed_token(&lab, &project, body, 2).await;
    assert_eq!(mail::redeem(&lab, &project, &token).await.status, 200);
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.status, 200);
}
