//! Signing in by mail, and who may.

use serde_json::{Value, json};
use tests::{Answer, Lab, eventually, target_binary};

use super::{PASSWORD, anon, as_user, claims_of, login, owner, refresh, refused, signup};

const PAGE: &str = "http://localhost:3000/in?next=1";

pub async fn ask(lab: &Lab, project: &Value, body: Value) -> Answer {
    anon(lab, project, "/auth/v1/magic-link", body).await
}

pub async fn redeem(lab: &Lab, project: &Value, token: &str) -> Answer {
    anon(lab, project, "/auth/v1/token?grant_type=magic_link", json!({ "token": token })).await
}

/// The last mail of `count` to an address.
pub async fn mail(lab: &Lab, to: &str, count: usize) -> Value {
    eventually("mail", 20, || async {
        let answer = lab.get(&format!("/lab/mail?to={to}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mails = answer.body["mail"].as_array().unwrap().clone();
        assert!(mails.len() <= count, "{mails:?}");
        (mails.len() == count).then(|| mails[count - 1].clone())
    })
    .await
}

/// The link of a mail.
pub fn link(mail: &Value) -> String {
    let body = mail["text"].as_str().unwrap();
    body.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("{mail}")).to_owned()
}

pub fn token(mail: &Value) -> String {
    link(mail).split("token=").nth(1).unwrap().to_owned()
}

fn code(mail: &Value) -> String {
    let body = mail["text"].as_str().unwrap();
    let is_code = |line: &&str| line.len() == 6 && line.bytes().all(|b| b.is_ascii_digit());
    body.lines().find(is_code).unwrap_or_else(|| panic!("{mail}")).to_owned()
}

/// Asks, and waits for the token.
pub async fn mailed_token(lab: &Lab, project: &Value, body: Value, count: usize) -> String {
    let to = body["email"].as_str().unwrap().to_owned();
    let asked = ask(lab, project, body).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    token(&mail(lab, &to, count).await)
}

async fn users(lab: &Lab, project: &Value) -> usize {
    owner(lab, project, "GET", "/auth/v1/admin/users", None).await.body["users"].as_array().unwrap().len()
}

// H07. Goal: a link works once, for a quarter of an hour, and not by being looked at.
#[tokio::test]
async fn a_link_by_mail_signs_in_once_and_is_not_used_up_by_whoever_looks_at_it() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let body = json!({ "email": "Ada@b.test", "redirect_url": PAGE, "client_state": { "cart": 7 } });
    let asked = ask(&lab, &project, body).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let sent = mail(&lab, "ada@b.test", 1).await;
    assert_eq!((&sent["template"], &sent["project_id"]), (&json!("magic_link"), &project["project_id"]));
    assert!(sent["subject"].as_str().unwrap().contains("my-app"), "{sent}");
    let (url, token) = (link(&sent), token(&sent));
    assert!(url.starts_with("http://localhost:3000/in?next=1&token=ml_"), "{url}");
    assert_eq!(users(&lab, &project).await, 0, "asking makes nobody");

    // A scanner follows whatever looks like a link.
    for method in ["GET", "HEAD"] {
        let path = format!("/auth/v1/token?grant_type=magic_link&token={token}");
        let request = lab.http.request(method.parse().unwrap(), lab.url(&path));
        let looked = lab.send(request.header("apikey", project["anon_key"].as_str().unwrap())).await;
        assert_eq!(looked.status, 405, "{looked:?}");
    }
    let (_, stranger) = lab.project().await;
    let elsewhere = redeem(&lab, &stranger, &token).await;
    refused(&elsewhere, 400, "MAGIC_LINK_INVALID");
    let session = redeem(&lab, &project, &token).await;
    assert_eq!(session.status, 200, "{session:?}");
    let facts = json!({
        "intent": "signin", "client_state": "{\"cart\":7}", "state_source": "anonymous", "state_trusted": false
    });
    assert_eq!(session.body["magic_link"], facts);
    assert!(session.body["user"]["email_verified_at"].is_string(), "{session:?}");
    assert_eq!(claims_of(&session.body)["amr"], json!(["magic_link"]));
    let again = redeem(&lab, &project, &token).await;
    refused(&again, 400, "MAGIC_LINK_INVALID");
    assert_eq!(again.body["message"], elsewhere.body["message"], "used and unknown are alike");

    let late = mailed_token(&lab, &project, json!({ "email": "bob@b.test", "redirect_url": PAGE }), 1).await;
    let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 15 * 60 + 1 }));
    assert_eq!(lab.send(moved).await.status, 200);
    refused(&redeem(&lab, &project, &late).await, 400, "MAGIC_LINK_INVALID");

    // Two tabs at once: one of them is signed in.
    let token = mailed_token(&lab, &project, json!({ "email": "eve@b.test", "redirect_url": PAGE }), 1).await;
    let (one, two) = tokio::join!(redeem(&lab, &project, &token), redeem(&lab, &project, &token));
    assert_eq!(one.status + two.status, 600, "{one:?} {two:?}");
}

// H07. Five wrong codes burn the right one; a code is of its own request.
#[tokio::test]
async fn a_code_by_mail_stands_five_tries() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let give = |id: Value, code: String| {
        let body = json!({ "challenge_id": id, "code": code });
        let (lab, project) = (&lab, &project);
        async move { anon(lab, project, "/auth/v1/token?grant_type=email_code", body).await }
    };
    let ask_code = || ask(&lab, &project, json!({ "email": "ada@b.test", "delivery": "code" }));
    let first = ask_code().await.body["challenge_id"].clone();
    let right = code(&mail(&lab, "ada@b.test", 1).await);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let answers = futures::future::join_all((0..5).map(|_| give(first.clone(), wrong.into()))).await;
    for answer in &answers {
        refused(answer, 400, "MAGIC_LINK_INVALID");
    }
    refused(&give(first.clone(), right).await, 400, "MAGIC_LINK_INVALID");

    let second = ask_code().await.body["challenge_id"].clone();
    let right = code(&mail(&lab, "ada@b.test", 2).await);
    refused(&give(first, right.clone()).await, 400, "MAGIC_LINK_INVALID");
    refused(&give(json!("nonsense"), right.clone()).await, 400, "MAGIC_LINK_INVALID");
    let session = give(second.clone(), right.clone()).await;
    assert_eq!(session.status, 200, "{session:?}");
    refused(&give(second, right).await, 400, "MAGIC_LINK_INVALID");

    let both = json!({ "email": "bob@b.test", "delivery": "both", "redirect_url": PAGE });
    assert_eq!(ask(&lab, &project, both).await.status, 200);
    let sent = mail(&lab, "bob@b.test", 1).await;
    assert_eq!((code(&sent).len(), token(&sent).starts_with("ml_")), (6, true));
}

// H07, H10: nobody learns who has an account; floods end; pages and headers of others are refused.
#[tokio::test]
async fn asking_for_links_tells_nothing_and_has_limits() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    signup(&lab, &project, "ada@b.test").await;
    owner(&lab, &project, "PATCH", "/auth/v1/settings", Some(json!({ "public_signup": "invite_only" })))
        .await;
    let shape = |answer: &Answer| {
        let mut body = answer.body.clone();
        assert!(body["challenge_id"].as_str().unwrap().len() == 36, "{body}");
        body["challenge_id"] = Value::Null;
        (answer.status, body)
    };
    let known = ask(&lab, &project, json!({ "email": "ada@b.test", "redirect_url": PAGE })).await;
    let unknown = ask(&lab, &project, json!({ "email": "bob@b.test", "redirect_url": PAGE })).await;
    assert_eq!(shape(&known), shape(&unknown));
    mail(&lab, "ada@b.test", 1).await;
    assert!(lab.get("/lab/mail?to=bob@b.test").await.body["mail"].as_array().unwrap().is_empty());

    for bad in [
        "https://evil.test/",
        "http://localhost.evil.test/",
        "http://my-app.localhost:1/",
        "https://localhost@evil.test/",
        "javascript:alert(1)",
        "//evil.test",
    ] {
        let answer = ask(&lab, &project, json!({ "email": "ada@b.test", "redirect_url": bad })).await;
        refused(&answer, 400, "REDIRECT_NOT_ALLOWED");
    }
    for (email, code) in
        [("a@b.test\r\nBcc: c@d.test", "INVALID_EMAIL"), ("a@b.test,c@d.test", "INVALID_EMAIL")]
    {
        refused(&ask(&lab, &project, json!({ "email": email, "redirect_url": PAGE })).await, 400, code);
    }
    let invite = json!({ "email": "ada@b.test", "redirect_url": PAGE, "intent": "invite" });
    refused(&ask(&lab, &project, invite).await, 403, "FORBIDDEN");
    for email in ["ada@b.test", "bob@b.test"] {
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(ask(&lab, &project, json!({ "email": email, "redirect_url": PAGE })).await);
        }
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 4, "{answers:?}");
        let limited = answers.last().unwrap();
        refused(limited, 429, "RATE_LIMITED");
        assert!((1..=3_600).contains(&limited.body["retry_after"].as_u64().unwrap()), "{limited:?}");
    }
}

// H07, G13. Goal: an invitation admits, and a demoted admin's token stops at the next request.
#[tokio::test]
async fn an_owner_invites_promotes_and_demotes() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let set = |body: Value| owner(&lab, &project, "PATCH", "/auth/v1/settings", Some(body));
    set(json!({ "public_signup": "invite_only" })).await;
    let want = |body: Value| owner(&lab, &project, "POST", "/auth/v1/admin/users", Some(body));
    refused(&want(json!({ "email": "ada@b.test", "send_invite": true })).await, 400, "REDIRECT_REQUIRED");
    let quiet = want(json!({ "email": "bob@b.test" })).await;
    assert_eq!((quiet.status, &quiet.body["invite_sent"]), (201, &json!(false)), "{quiet:?}");
    ask(&lab, &project, json!({ "email": "bob@b.test", "redirect_url": PAGE })).await;
    let body = json!({
        "email": "Ada@b.test", "send_invite": true, "redirect_url": PAGE, "is_admin": true, "client_state": "team-7"
    });
    let made = want(body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    for (name, value) in [("created", true), ("invite_sent", true), ("is_admin", true)] {
        assert_eq!(made.body[name], json!(value), "{made:?}");
    }
    let sent = mail(&lab, "ada@b.test", 1).await;
    assert!(
        lab.get("/lab/mail?to=bob@b.test").await.body["mail"].as_array().unwrap().is_empty(),
        "only expected"
    );
    let session = redeem(&lab, &project, &token(&sent)).await;
    assert_eq!(session.status, 200, "{session:?}");
    assert_eq!(session.body["magic_link"]["client_state"], "team-7");
    assert_eq!(
        (&session.body["magic_link"]["intent"], &session.body["magic_link"]["state_trusted"]),
        (&json!("invite"), &json!(true))
    );
    assert_eq!(claims_of(&session.body)["role"], "project_admin");
    let again = want(json!({ "email": "ada@b.test" })).await;
    assert_eq!(
        (again.status, &again.body["created"], &again.body["is_admin"]),
        (200, &json!(false), &json!(true))
    );

    let rest = |session: Value| {
        let (lab, project) = (&lab, &project);
        async move {
            let request = lab
                .http
                .get(lab.url("/rest/v1/items"))
                .header("apikey", project["anon_key"].as_str().unwrap());
            lab.send(request.bearer_auth(session["access_token"].as_str().unwrap())).await.status
        }
    };
    let sql = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    owner(&lab, &project, "POST", &sql, Some(json!({ "sql": "create table items (id int)" }))).await;
    assert_eq!(rest(session.body.clone()).await, 200);
    let role =
        |verb: &str| format!("/projects/v1/admin/{}/{verb}-user", project["project_id"].as_str().unwrap());
    let demoted =
        owner(&lab, &project, "POST", &role("demote"), Some(json!({ "email": "ADA@b.test" }))).await;
    assert_eq!(
        demoted.body,
        json!({ "status": "ok", "email": "ada@b.test", "is_admin": false }),
        "{demoted:?}"
    );
    assert_eq!(rest(session.body.clone()).await, 401, "minted before");
    let fresh = refresh(&lab, &project, &session.body).await.body;
    assert_eq!(claims_of(&fresh)["role"], "authenticated");
    assert_eq!(rest(fresh).await, 200);
    let missing =
        owner(&lab, &project, "POST", &role("promote"), Some(json!({ "email": "no@b.test" }))).await;
    refused(&missing, 404, "USER_NOT_FOUND");
    let promoted =
        owner(&lab, &project, "POST", &role("promote"), Some(json!({ "email": "ada@b.test" }))).await;
    assert_eq!(promoted.body["is_admin"], true, "{promoted:?}");

    // An admin without a passkey is told so, and has an ordinary role.
    set(json!({ "require_passkey_for_project_admin": true })).await;
    let invited = want(body).await;
    assert_eq!(invited.status, 200, "{invited:?}");
    let plain = redeem(&lab, &project, &token(&mail(&lab, "ada@b.test", 2).await)).await.body;
    assert_eq!(claims_of(&plain)["role"], "authenticated");
    assert_eq!((&plain["elevation_required"], &plain["required_method"]), (&json!(true), &json!("passkey")));
    assert_eq!(
        (&plain["effective_role"], &plain["intended_role"]),
        (&json!("authenticated"), &json!("project_admin"))
    );

    let list = owner(&lab, &project, "GET", "/auth/v1/admin/users?limit=1", None).await;
    let next = list.body["next"].as_str().unwrap();
    let rest =
        owner(&lab, &project, "GET", &format!("/auth/v1/admin/users?limit=1&after={next}"), None).await;
    let ids: Vec<&Value> = [&list, &rest].iter().map(|page| &page.body["users"][0]["id"]).collect();
    assert_ne!(ids[0], ids[1]);
    let one =
        owner(&lab, &project, "GET", &format!("/auth/v1/admin/users/{}", ids[0].as_str().unwrap()), None)
            .await;
    assert_eq!(&one.body["id"], ids[0], "{one:?}");
    refused(&owner(&lab, &project, "GET", "/auth/v1/admin/users/x", None).await, 404, "USER_NOT_FOUND");
    let key = project["anon_key"].as_str().unwrap();
    refused(&lab.with_key(key, "GET", "/auth/v1/admin/users", None).await, 403, "FORBIDDEN");
}

async fn set_password(lab: &Lab, session: &Value, body: Value) -> Answer {
    let token = session["access_token"].as_str().unwrap();
    lab.with_key(token, "PUT", "/auth/v1/user/password", Some(body)).await
}

// H04, H06. Goal: who signs up with somebody else's address keeps nothing once the owner of it comes; a new
// password ends every other sign-in.
#[tokio::test]
async fn a_password_is_changed_and_reset_and_a_strangers_is_dropped() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let at = |email: &str| json!({ "email": email, "redirect_url": PAGE, "intent": "recovery" });
    signup(&lab, &project, "ada@b.test").await;
    let strangers = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let mine = redeem(&lab, &project, &mailed_token(&lab, &project, at("ada@b.test"), 1).await).await.body;
    refused(&refresh(&lab, &project, &strangers).await, 400, "INVALID_GRANT");
    refused(&login(&lab, &project, "ada@b.test", PASSWORD).await, 401, "INVALID_CREDENTIALS");

    refused(&set_password(&lab, &mine, json!({ "new_password": "short" })).await, 400, "WEAK_PASSWORD");
    let reset = set_password(&lab, &mine, json!({ "new_password": "my own words" })).await;
    assert_eq!(reset.status, 200, "{reset:?}");
    let first = login(&lab, &project, "ada@b.test", "my own words").await.body;
    let second = login(&lab, &project, "ada@b.test", "my own words").await.body;
    let change = |current: Value| json!({ "new_password": "other words", "current_password": current });
    refused(
        &set_password(&lab, &first, json!({ "new_password": "other words" })).await,
        400,
        "CURRENT_PASSWORD_REQUIRED",
    );
    refused(&set_password(&lab, &first, change(json!("wrong words"))).await, 401, "INVALID_CREDENTIALS");
    assert_eq!(set_password(&lab, &first, change(json!("my own words"))).await.status, 200);
    refused(&refresh(&lab, &project, &second).await, 400, "INVALID_GRANT");
    refused(&refresh(&lab, &project, &mine).await, 400, "INVALID_GRANT");
    assert_eq!(refresh(&lab, &project, &first).await.status, 200, "the one that changed it stays");

    // A sign-in by mail is fresh for a quarter of an hour.
    let old = redeem(&lab, &project, &mailed_token(&lab, &project, at("ada@b.test"), 2).await).await.body;
    lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 901 }))).await;
    refused(
        &set_password(&lab, &old, json!({ "new_password": "third words" })).await,
        400,
        "CURRENT_PASSWORD_REQUIRED",
    );

    // Who never had a password gets one only where the owner allows it.
    let body = json!({ "email": "bob@b.test", "redirect_url": PAGE });
    let bob = redeem(&lab, &project, &mailed_token(&lab, &project, body, 1).await).await.body;
    let words = json!({ "new_password": "bob's own words" });
    refused(&set_password(&lab, &bob, words.clone()).await, 403, "PASSWORD_SET_DISABLED");
    owner(&lab, &project, "PATCH", "/auth/v1/settings", Some(json!({ "allow_password_set": true }))).await;
    assert_eq!(set_password(&lab, &bob, words).await.status, 200);
    assert_eq!(login(&lab, &project, "bob@b.test", "bob's own words").await.status, 200);
    // A recovery for nobody mails nothing.
    assert_eq!(ask(&lab, &project, at("nobody@b.test")).await.status, 200);
    let everywhere = login(&lab, &project, "bob@b.test", "bob's own words").await.body;
    let token = everywhere["access_token"].as_str().unwrap();
    let left = lab.with_key(token, "POST", "/auth/v1/logout", Some(json!({ "everywhere": true }))).await;
    assert_eq!(left.status, 200, "{left:?}");
    refused(&refresh(&lab, &project, &bob).await, 400, "INVALID_GRANT");
    refused(&as_user(&lab, "GET", "/auth/v1/user", &bob).await, 401, "AUTHENTICATION_REQUIRED");
    assert!(lab.get("/lab/mail?to=nobody@b.test").await.body["mail"].as_array().unwrap().is_empty());
}

// Goal: mail that was promised is delivered, whatever dies in between, and once.
#[tokio::test]
async fn mail_survives_the_server() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    for n in 0..3 {
        let body = json!({ "email": format!("u{n}@b.test"), "redirect_url": PAGE });
        assert_eq!(ask(&lab, &project, body).await.status, 200);
    }
    let lab = lab.crash_and_restart().await;
    for n in 0..3 {
        let to = format!("u{n}@b.test");
        let token = token(&mail(&lab, &to, 1).await);
        assert_eq!(redeem(&lab, &project, &token).await.status, 200);
    }
    let database = lab.database().await;
    let count: i64 = sqlx::query_scalar("select count(*) from lab_mail").fetch_one(&database).await.unwrap();
    assert_eq!(count, 3);
    database.close().await;
    let page = lab.http.get(lab.url("/lab/mail")).header("origin", "http://evil.test");
    assert_eq!(lab.send(page).await.status, 403, "not for pages");
}

// Goal: the command line does all of it. Method: the words of the published one, and `lab mail`.
#[tokio::test]
async fn the_command_line_invites_signs_in_and_reads_a_labs_mail() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let home = lab.data.join("home");
    std::fs::create_dir_all(&home).unwrap();
    let id = project["project_id"].as_str().unwrap();
    let keys = json!({ "anon_key": project["anon_key"], "service_key": project["service_key"] });
    let file = json!({ "active_project_id": id, "projects": { id: keys } });
    std::fs::write(home.join("projects.json"), file.to_string()).unwrap();
    let run402 = |words: &[&str]| {
        let mut command = std::process::Command::new(target_binary("run402"));
        command.args(words).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", &home);
        let output = command.output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    };
    let set = run402(&["auth", "settings", "--public-signup", "invite_only", "--allow-password-set", "true"]);
    assert_eq!((&set["status"], &set["public_signup"]), (&json!("ok"), &json!("invite_only")), "{set}");
    let invited = run402(&["auth", "invite-user", "--email", "ada@b.test", "--redirect", PAGE]);
    assert_eq!((&invited["created"], &invited["invite_sent"]), (&json!(true), &json!(true)), "{invited}");
    mail(&lab, "ada@b.test", 1).await;
    let shown = run402(&["lab", "mail", "--to", "ada@b.test"]);
    let session = run402(&["auth", "verify", "--token", &token(&shown["mail"][0])]);
    assert_eq!(session["magic_link"]["intent"], "invite", "{session}");
    let access = session["access_token"].as_str().unwrap();
    let words = run402(&["auth", "set-password", "--token", access, "--new", PASSWORD]);
    assert_eq!(words["status"], "ok", "{words}");
    assert_eq!(run402(&["projects", "promote-user", "ada@b.test"])["is_admin"], true);
    assert_eq!(run402(&["auth", "users"])["users"].as_array().unwrap().len(), 1);
    let user = run402(&["auth", "user", session["user"]["id"].as_str().unwrap()]);
    assert_eq!(user["is_admin"], true, "{user}");
    assert_eq!(run402(&["projects", "demote-user", "ada@b.test"])["is_admin"], false);
    let offered = run402(&["auth", "providers"]);
    assert_eq!(offered["providers"], json!(["password", "magic_link", "passkey"]), "{offered}");
    let keys = run402(&["auth", "jwt-keys"]);
    assert_eq!(keys["keys"][0]["alg"], "ES256", "{keys}");
    let asked = run402(&["auth", "magic-link", "--email", "ada@b.test", "--delivery", "code"]);
    assert!(asked["challenge_id"].is_string(), "{asked}");
}
