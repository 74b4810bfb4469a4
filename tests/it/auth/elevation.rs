//! Project admins whose role needs a passkey, and the command line's words for passkeys.

use serde_json::{Value, json};
use tests::{Authenticator, Lab, target_binary};

use super::passkeys::{PAGE, register, register_options, sign_in, user};
use super::*;

/// What reading a table with this token is answered.
async fn rest(lab: &Lab, project: &Value, session: &Value) -> u16 {
    let request =
        lab.http.get(lab.url("/rest/v1/items")).header("apikey", project["anon_key"].as_str().unwrap());
    lab.send(request.bearer_auth(session["access_token"].as_str().unwrap())).await.status
}

async fn require_passkey(lab: &Lab, project: &Value, wanted: bool) {
    let body = json!({ "require_passkey_for_project_admin": wanted });
    let set = owner(lab, project, "PATCH", "/auth/v1/settings", Some(body)).await;
    assert_eq!(set.body["require_passkey_for_project_admin"], wanted, "{set:?}");
}

async fn promote(lab: &Lab, project: &Value, verb: &str) {
    let path = format!("/projects/v1/admin/{}/{verb}-user", project["project_id"].as_str().unwrap());
    let done = owner(lab, project, "POST", &path, Some(json!({ "email": "ada@b.test" }))).await;
    assert_eq!(done.status, 200, "{done:?}");
}

// G13. H, passkeys. Goal: where the owner asks for it, the role of an admin comes by a passkey only, also for tokens
// from before; and whoever has a password or a mailbox but no passkey does not make one.
#[tokio::test]
async fn an_admins_role_comes_by_passkey_where_the_owner_asks_for_one() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let sql = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    owner(&lab, &project, "POST", &sql, Some(json!({ "sql": "create table items (id int)" }))).await;
    user(&lab, &project, "ada@b.test").await;
    promote(&lab, &project, "promote").await;
    let before = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    assert_eq!(claims_of(&before)["role"], "project_admin");
    assert_eq!(rest(&lab, &project, &before).await, 200);

    require_passkey(&lab, &project, true).await;
    assert_eq!(rest(&lab, &project, &before).await, 401, "minted before the owner asked for a passkey");
    let plain = refresh(&lab, &project, &before).await.body;
    assert_eq!(claims_of(&plain)["role"], "authenticated");
    assert_eq!((&plain["elevation_required"], &plain["required_method"]), (&json!(true), &json!("passkey")));
    assert_eq!(rest(&lab, &project, &plain).await, 200, "an ordinary user");

    // The first passkey is free: there is nothing yet that could vouch for it.
    let (mut passkey, made) = register(&lab, &plain, PAGE).await;
    let admin = sign_in(&lab, &project, &mut passkey).await.body;
    assert_eq!(claims_of(&admin)["role"], "project_admin");
    assert!(admin.get("elevation_required").is_none(), "{admin}");
    assert_eq!(rest(&lab, &project, &admin).await, 200);
    let admin = refresh(&lab, &project, &admin).await.body;
    assert_eq!(claims_of(&admin)["role"], "project_admin", "a refresh keeps how the user came");

    // From then on a password changes no passkeys.
    let thief = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    refused(&register_options(&lab, &thief, PAGE).await, 403, "PASSKEY_REQUIRED");
    let path = format!("/auth/v1/passkeys/{}", made["id"].as_str().unwrap());
    refused(&as_user(&lab, "DELETE", &path, &thief).await, 403, "PASSKEY_REQUIRED");
    // Begun before, ended after.
    let (mut second, _) = register(&lab, &admin, PAGE).await;
    let by_second = sign_in(&lab, &project, &mut second).await.body;
    assert_eq!(as_user(&lab, "DELETE", &path, &by_second).await.status, 200);
    assert_eq!(rest(&lab, &project, &admin).await, 401, "its passkey is gone");
    assert_eq!(rest(&lab, &project, &by_second).await, 200);

    promote(&lab, &project, "demote").await;
    assert_eq!(rest(&lab, &project, &by_second).await, 401);
    let demoted = sign_in(&lab, &project, &mut second).await.body;
    assert_eq!(claims_of(&demoted)["role"], "authenticated");
    promote(&lab, &project, "promote").await;
    require_passkey(&lab, &project, false).await;
    let again = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    assert_eq!(
        (claims_of(&again)["role"].as_str(), rest(&lab, &project, &again).await),
        (Some("project_admin"), 200)
    );
}

// H, passkeys. Goal: a registration that began before the rule cannot end under it.
#[tokio::test]
async fn a_registration_under_way_ends_by_the_rules_of_its_end() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
    register(&lab, &ada, PAGE).await;
    let begun = register_options(&lab, &ada, PAGE).await.body;
    promote(&lab, &project, "promote").await;
    require_passkey(&lab, &project, true).await;
    let mut authenticator = Authenticator::new(&begun["options"]);
    let say = authenticator.say(&begun["options"], PAGE);
    let answer = super::passkeys::register_verify(&lab, &ada, &begun, authenticator.create(&say)).await;
    refused(&answer, 403, "PASSKEY_REQUIRED");
}

// Goal: the words of the published command line.
#[tokio::test]
async fn the_command_line_registers_signs_in_lists_and_removes() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let ada = user(&lab, &project, "ada@b.test").await;
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
    let token = ada["access_token"].as_str().unwrap();
    let begun = run402(&["auth", "passkey-register-options", "--token", token, "--app-origin", PAGE]);
    let mut authenticator = Authenticator::new(&begun["options"]);
    let say = authenticator.say(&begun["options"], PAGE);
    let (challenge, response) =
        (begun["challenge_id"].as_str().unwrap(), authenticator.create(&say).to_string());
    let words = ["auth", "passkey-register-verify", "--token", token, "--challenge", challenge];
    let made = run402(&[words.as_slice(), &["--response", &response, "--label", "key"]].concat());
    assert_eq!((&made["status"], &made["label"]), (&json!("ok"), &json!("key")), "{made}");
    let email = ["auth", "passkey-login-options", "--app-origin", PAGE, "--email", "ada@b.test"];
    let begun = run402(&email);
    let say = authenticator.say(&begun["options"], PAGE);
    let (challenge, response) =
        (begun["challenge_id"].as_str().unwrap(), authenticator.get(&say).to_string());
    let session =
        run402(&["auth", "passkey-login-verify", "--challenge", challenge, "--response", &response]);
    assert_eq!(session["user"]["email"], "ada@b.test", "{session}");
    let token = session["access_token"].as_str().unwrap();
    let list = run402(&["auth", "passkeys", "--token", token]);
    assert_eq!(list["passkeys"][0]["id"], made["id"], "{list}");
    let removed = run402(&["auth", "delete-passkey", "--token", token, made["id"].as_str().unwrap()]);
    assert_eq!(removed["status"], "ok", "{removed}");
    assert_eq!(run402(&["auth", "passkeys", "--token", token])["passkeys"], json!([]));
}
