//! The published library in functions that signed-in users call.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};

use super::{admin, logged, packages, request, send_deploy};
use crate::auth::{PASSWORD, login, signup};
use crate::deploys::kit::{ready, reference, sql};

const SEES: &str = "import { auth, db } from '@run402/functions';
const headOf = (token) => {
    try { return JSON.parse(Buffer.from(token.split('.')[0], 'base64url')); } catch { return {}; }
};
const rows = async (client) => {
    try {
        return (await client.from('notes').select('title')).map((row) => row.title);
    } catch (error) {
        return { status: error.status, code: error.remote_code };
    }
};
export default async (req) => {
    const shown = req.headers.get('authorization')?.replace(/^Bearer /, '') ?? null;
    const actor = req.headers.get('x-run402-actor-token');
    console.log(`shown ${shown} ${actor} end`);
    const user = await auth.user();
    return Response.json({
        user: user && { id: user.id, email: user.email, session: Boolean(user.sessionId) },
        by_request: await rows(db(req)), by_context: await rows(db()),
        shown, alg: headOf(shown).alg ?? null, kid: headOf(shown).kid ?? null, actor,
    });
};";

struct Users {
    wallet: Wallet,
    project: Value,
    ada: Value,
    bob: Value,
}

impl Users {
    /// A project with a table of notes, two users, and a note of each.
    async fn make(lab: &Lab) -> Self {
        let (wallet, project) = lab.project().await;
        let table =
            "create table notes (id serial primary key, user_id uuid references auth.users, title text)";
        assert_eq!(sql(lab, &project, table).await.status, 200);
        let table =
            json!({ "name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "user_id" });
        let path = format!("/projects/v1/admin/{}/expose", text(&project, "project_id"));
        let manifest = json!({ "version": "1", "tables": [table] });
        let exposed = lab.with_key(text(&project, "service_key"), "POST", &path, Some(manifest)).await;
        assert_eq!(exposed.status, 200, "{exposed:?}");
        let mut sessions = Vec::new();
        for (email, title) in [("ada@b.test", "hers"), ("bob@b.test", "his")] {
            assert_eq!(signup(lab, &project, email).await.status, 201);
            let session = login(lab, &project, email, PASSWORD).await.body;
            let note = json!({ "user_id": session["user"]["id"], "title": title });
            let request =
                lab.http.post(lab.url("/rest/v1/notes")).header("apikey", text(&project, "anon_key"));
            let made = lab.send(request.bearer_auth(text(&session, "access_token")).json(&note)).await;
            assert_eq!(made.status, 201, "{made:?}");
            sessions.push(session);
        }
        let (bob, ada) = (sessions.pop().unwrap(), sessions.pop().unwrap());
        Self { wallet, project, ada, bob }
    }

    async fn deploy(&self, lab: &Lab, name: &str, version: &str) {
        let deps = [format!("@run402/functions@{version}")];
        let body = json!({ "name": name, "code": SEES, "deps": deps });
        let made = send_deploy(lab, &self.project, body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

async fn answered(lab: &Lab, request: RequestBuilder) -> Value {
    let answer = lab.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn keys(lab: &Lab, key: &str) -> Answer {
    lab.with_key(key, "GET", "/internal/v1/project-jwt-keys", None).await
}

/// What a visitor without a token is told of the table.
fn nobody() -> Value {
    json!({ "status": 401, "code": "42501" })
}

// Contract 03 sections 6.2 to 6.5. G08, H01. Goal: both generations of the published library know the user who calls
// with the token of the sign-in, and read that user's rows alone; a header that only we may say counts for nothing
// from outside, and no log shows a token.
#[tokio::test]
async fn the_published_library_knows_a_signed_in_user() {
    let lab = packages::lab().await;
    let users = Users::make(&lab).await;
    let (project, ada) = (&users.project, text(&users.ada, "access_token"));
    let whole = |session: &Value| json!({ "id": session["user"]["id"], "email": session["user"]["email"], "session": true });
    let mut exchanged = String::new();
    for (version, name, alg) in [("4.0.0", "new", "ES256"), ("3.13.0", "old", "HS256")] {
        users.deploy(&lab, name, version).await;
        for (session, title) in [(&users.ada, "hers"), (&users.bob, "his")] {
            let call = request(&lab, project, "POST", name).bearer_auth(text(session, "access_token"));
            let seen = answered(&lab, call).await;
            assert_eq!(seen["user"], whole(session), "{version}: {seen}");
            assert_eq!(
                (&seen["by_request"], &seen["by_context"]),
                (&json!([title]), &json!([title])),
                "{seen}"
            );
            assert_eq!(seen["alg"], alg, "{seen}");
            if alg == "ES256" {
                assert_eq!(seen["actor"], seen["shown"], "{seen}");
                exchanged = text(&seen, "shown").to_owned();
            } else {
                assert_eq!(
                    (text(&seen, "shown"), &seen["actor"]),
                    (text(session, "access_token"), &Value::Null)
                );
            }
        }
        let anonymous = answered(&lab, request(&lab, project, "POST", name)).await;
        // A real token in the place where only we may put one.
        let forged = request(&lab, project, "POST", name).header("X-Run402-Actor-Token", &exchanged);
        let forged = answered(&lab, forged).await;
        let nonsense = answered(&lab, request(&lab, project, "POST", name).bearer_auth("a.b.c")).await;
        assert_eq!(nonsense["shown"], "a.b.c", "passed on as it came: {nonsense}");
        for seen in [&anonymous, &forged] {
            assert_eq!(
                (&seen["by_request"], &seen["by_context"]),
                (&nobody(), &nobody()),
                "{version}: {seen}"
            );
        }
        for seen in [&anonymous, &forged, &nonsense] {
            assert_eq!((&seen["user"], &seen["actor"]), (&Value::Null, &Value::Null), "{version}: {seen}");
        }
        logged(&lab, &users.project, name, "shown [redacted]").await;
        let logs = admin(&lab, project, "GET", &format!("/{name}/logs?tail=200"), None).await;
        assert!(!logs.body.to_string().contains("eyJ"), "{logs:?}");
    }

    // The token that the function got is the user's elsewhere too, and nobody's in another project.
    let rest =
        lab.http.get(lab.url("/rest/v1/notes?select=title")).header("apikey", text(project, "anon_key"));
    assert_eq!(answered(&lab, rest.bearer_auth(&exchanged)).await, json!([{ "title": "his" }]));
    let me = lab.with_key(&exchanged, "GET", "/auth/v1/user", None).await;
    assert_eq!((me.status, &me.body["email"]), (200, &json!("bob@b.test")), "{me:?}");
    let (wallet, stranger) = lab.project().await;
    let elsewhere = lab.http.get(lab.url("/rest/v1/notes")).header("apikey", text(&stranger, "anon_key"));
    let elsewhere = lab.send(elsewhere.bearer_auth(&exchanged)).await;
    assert_eq!((elsewhere.status, &elsewhere.body["code"]), (403, &json!("FORBIDDEN")), "{elsewhere:?}");
    let there = Users { wallet, project: stranger, ada: Value::Null, bob: Value::Null };
    there.deploy(&lab, "new", "4.0.0").await;
    for token in [ada, &exchanged] {
        let call = request(&lab, &there.project, "POST", "new").bearer_auth(token);
        let seen = answered(&lab, call).await;
        assert_eq!((&seen["user"], text(&seen, "shown")), (&Value::Null, token), "{seen}");
        assert_eq!(seen["by_request"], json!({ "status": 403, "code": "FORBIDDEN" }), "{seen}");
    }
    routed(&lab, &users, &exchanged).await;
}

/// By a route a bearer token makes no user of a visitor, by the library's own rule; tables take it all the same.
async fn routed(lab: &Lab, users: &Users, exchanged: &str) {
    let Users { wallet, project, ada, .. } = users;
    let parts = json!({
        "site": { "replace": { "index.html": reference("home", "text/html") } },
        "routes": { "replace": [{ "pattern": "/sees", "target": { "type": "function", "name": "new" } }] },
    });
    let done = ready(lab, wallet, project, parts, &["home"]).await;
    let site = reqwest::Url::parse(text(&done["urls"], "project")).unwrap();
    let host = format!("{}:{}", site.host_str().unwrap(), site.port().unwrap());
    let ask = || lab.http.get(lab.url("/sees")).header("host", &host);
    let token = text(ada, "access_token");
    let seen = answered(lab, ask().bearer_auth(token)).await;
    assert_eq!((&seen["user"], &seen["actor"], text(&seen, "shown")), (&Value::Null, &Value::Null, token));
    assert_eq!(seen["by_request"], json!(["hers"]), "{seen}");
    let forged = answered(lab, ask().header("x-run402-actor-token", exchanged)).await;
    assert_eq!(
        (&forged["user"], &forged["actor"], &forged["by_context"]),
        (&Value::Null, &Value::Null, &nobody())
    );
}

// Contract 03 section 6.3. H01. Goal: the keys are public halves, each project's own, and shown to its service key.
#[tokio::test]
async fn the_keys_of_user_tokens_are_shown_to_the_service_key() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let (_, other) = lab.project().await;
    let shown = keys(&lab, text(&project, "service_key")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let [key] = shown.body["keys"].as_array().unwrap().as_slice() else { panic!("{shown:?}") };
    for (name, value) in [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig")] {
        assert_eq!(key[name], value, "{key}");
    }
    assert!(key.get("d").is_none() && text(key, "x").len() == 43 && text(key, "y").len() == 43, "{key}");
    assert_eq!(keys(&lab, text(&project, "service_key")).await.body, shown.body, "always the same");
    let theirs = keys(&lab, text(&other, "service_key")).await;
    assert_ne!(theirs.body["keys"][0]["kid"], key["kid"]);

    assert_eq!(signup(&lab, &project, "ada@b.test").await.status, 201);
    let session = login(&lab, &project, "ada@b.test", PASSWORD).await.body;
    let anon = keys(&lab, text(&project, "anon_key")).await;
    assert_eq!((anon.status, &anon.body["code"]), (403, &json!("FORBIDDEN")), "{anon:?}");
    for refused in [
        lab.get("/internal/v1/project-jwt-keys").await,
        keys(&lab, text(&session, "access_token")).await,
        keys(&lab, "nonsense").await,
    ] {
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!("UNAUTHORIZED")), "{refused:?}");
    }
}
