//! A page that was deployed on the lab, in a real Chromium whose authenticator is virtual.

use serde_json::{Value, json};
use tests::{Browser, Lab, Wallet};

use super::*;
use crate::deploys::deploy;

/// The page as a project's site under a name: its origin.
async fn page(lab: &Lab, wallet: &Wallet, project: &Value, name: &str) -> String {
    let html = include_str!("pages/passkey.html")
        .replace("%API%", &lab.api)
        .replace("%ANON_KEY%", project["anon_key"].as_str().unwrap());
    let live = deploy(lab, wallet, project, &[("index.html", html.as_bytes())]).await;
    super::passkeys::claim(lab, project, name, &live).await["url"]
        .as_str()
        .unwrap()
        .trim_end_matches('/')
        .to_owned()
}

// H, passkeys. Goal: a user of a deployed page registers a passkey and signs in with nothing else, and pages of
// other names get nothing from it. Method: a browser that knows nothing of us, through its public interface.
#[tokio::test]
async fn a_page_on_the_lab_registers_a_passkey_and_signs_in_with_it() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let origin = page(&lab, &wallet, &project, "my-app").await;
    let (other_wallet, other) = lab.project().await;
    let elsewhere = page(&lab, &other_wallet, &other, "other-app").await;
    let mut browser = Browser::start();
    let authenticator = browser.add_authenticator();
    browser.open(&format!("{origin}/")).await;
    assert_eq!(browser.run("isSecureContext"), true);

    let ada = browser.run("signUp('ada@b.test', 'correct horse')");
    assert_eq!(ada["status"], 200, "{ada}");
    let made = browser.run("registerPasskey('this browser')");
    assert_eq!(made["status"], 201, "{made}");
    assert_eq!(
        (&made["body"]["rp_id"], &made["body"]["created_origin"]),
        (&json!("my-app.localhost"), &json!(origin))
    );
    assert_eq!(made["body"]["transports"], json!(["internal"]));
    let kept = browser.ask("WebAuthn.getCredentials", json!({ "authenticatorId": authenticator }));
    assert_eq!(kept["credentials"][0]["isResidentCredential"], true, "{kept}");
    assert_eq!(kept["credentials"][0]["rpId"], "my-app.localhost");

    // A second one on the same authenticator is the same one.
    let twice = browser.run("registerPasskey('again').catch(e => ({ name: e.name }))");
    assert_eq!(twice["name"], "InvalidStateError", "{twice}");
    browser.run("signOut()");
    assert_eq!(browser.run("document.getElementById('who').textContent"), "nobody");
    for _ in 0..2 {
        // As a visitor who comes back.
        browser.open(&format!("{origin}/")).await;
        let session = browser.run("signIn()");
        assert_eq!(session["status"], 200, "{session}");
        assert_eq!(session["body"]["user"]["id"], ada["body"]["user"]["id"]);
        assert_eq!(claims_of(&session["body"])["amr"], json!(["passkey"]));
        assert_eq!(browser.run("document.getElementById('who').textContent"), "ada@b.test");
    }
    let listed = browser.run("call('GET', '/auth/v1/passkeys')");
    assert_eq!(listed["body"]["passkeys"][0]["last_used_origin"], origin, "{listed}");

    // Another project's page is offered no passkey, and is not let in with the first one's origin.
    browser.open(&format!("{elsewhere}/")).await;
    let none = browser.run("signIn().catch(e => ({ name: e.name }))");
    assert_eq!(none["name"], "NotAllowedError", "{none}");
    let posing = browser.run(&format!("signIn('{origin}')"));
    assert_eq!(
        (&posing["status"], &posing["body"]["code"]),
        (&json!(400), &json!("ORIGIN_NOT_ALLOWED")),
        "{posing}"
    );

    // Without the user's verification there is no sign-in.
    browser.ask(
        "WebAuthn.setUserVerified",
        json!({ "authenticatorId": authenticator, "isUserVerified": false }),
    );
    browser.open(&format!("{origin}/")).await;
    let unverified = browser.run("signIn().catch(e => ({ name: e.name }))");
    assert_eq!(unverified["name"], "NotAllowedError", "{unverified}");
}
