//! What a user's token is worth on the project's own tables, and schemas of projects from before.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tests::{Answer, Lab};

use super::mail::{mailed_token, redeem};
use super::{PASSWORD, as_user, claims_of, login, owner, refresh, refused, signup};

/// The tables of `auth` as each version made them.
const STEPS: [&str; 3] = [
    include_str!("../../../migrations/tenant/auth/0001_sessions.sql"),
    include_str!("../../../migrations/tenant/auth/0002_mail.sql"),
    include_str!("../../../migrations/tenant/auth/0003_google.sql"),
];

fn at(project: &Value, what: &str) -> String {
    format!("/projects/v1/admin/{}/{what}", project["project_id"].as_str().unwrap())
}

async fn rest(lab: &Lab, project: &Value, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = lab.http.request(method.parse().unwrap(), lab.url(&format!("/rest/v1/{path}")));
    let request = request.header("apikey", project["anon_key"].as_str().unwrap()).bearer_auth(token);
    let request = request.header("prefer", "return=representation");
    lab.send(if body.is_null() { request } else { request.json(&body) }).await
}

fn token(session: &Value) -> &str {
    session["access_token"].as_str().unwrap()
}

async fn notes(lab: &Lab, project: &Value) {
    let sql = "create table notes (id serial primary key, owner uuid references auth.users, title text)";
    let made = owner(lab, project, "POST", &at(project, "sql"), Some(json!({ "sql": sql }))).await;
    assert_eq!(made.status, 200, "{made:?}");
    let table = json!({
        "name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
        "force_owner_on_insert": true,
    });
    let manifest = json!({ "version": "1", "tables": [table] });
    let exposed = owner(lab, project, "POST", &at(project, "expose"), Some(manifest)).await;
    assert_eq!(exposed.status, 200, "{exposed:?}");
}

// G08, G13, H01. Goal: a user reads and writes the own rows, no others, until the token's hour, the role, the secret or
// the project is over. Method: two users of one table, over the wire.
#[tokio::test]
async fn a_user_works_on_the_own_rows_until_the_right_to_ends() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    notes(&lab, &project).await;
    let mut sessions = Vec::new();
    for email in ["ada@b.test", "bob@b.test"] {
        assert_eq!(signup(&lab, &project, email).await.status, 201);
        sessions.push(login(&lab, &project, email, PASSWORD).await.body);
    }
    let [ada, bob] = [token(&sessions[0]), token(&sessions[1])];
    let go = |token, method, path, body| rest(&lab, &project, token, method, path, body);
    let made = go(ada, "POST", "notes", json!({ "title": "hers" })).await;
    assert_eq!((made.status, &made.body[0]["owner"]), (201, &sessions[0]["user"]["id"]), "{made:?}");
    assert_eq!(go(bob, "POST", "notes", json!({ "title": "his" })).await.status, 201);
    let forged = json!({ "title": "not hers", "owner": sessions[1]["user"]["id"] });
    assert_eq!(go(ada, "POST", "notes", forged).await.status, 403);
    for (token, title) in [(ada, "hers"), (bob, "his")] {
        let seen = go(token, "GET", "notes?select=title", Value::Null).await;
        assert_eq!(seen.body, json!([{ "title": title }]), "{seen:?}");
        let changed = go(token, "PATCH", "notes?id=gt.0", json!({ "title": title })).await;
        assert_eq!(changed.body.as_array().map(Vec::len), Some(1), "{changed:?}");
        let others = format!("notes?title=neq.{title}");
        let gone = rest(&lab, &project, token, "DELETE", &others, Value::Null).await;
        assert_eq!(gone.body, json!([]), "{gone:?}");
    }
    let anon_key = project["anon_key"].as_str().unwrap();
    let anyone = go(anon_key, "GET", "notes", Value::Null).await;
    assert_eq!((anyone.status, &anyone.body["code"]), (401, &json!("42501")), "{anyone:?}");

    // A sign-in that ended is over for the account at once. Tables take its token until its hour is over, unless
    // it is an admin's, which is asked again.
    assert_eq!(as_user(&lab, "POST", "/auth/v1/logout", &sessions[1]).await.status, 200);
    refused(&as_user(&lab, "GET", "/auth/v1/user", &sessions[1]).await, 401, "AUTHENTICATION_REQUIRED");
    refused(&refresh(&lab, &project, &sessions[1]).await, 400, "INVALID_GRANT");
    assert_eq!(go(bob, "GET", "notes", Value::Null).await.status, 200);
    let promote = Some(json!({ "email": "bob@b.test" }));
    owner(&lab, &project, "POST", &at(&project, "promote-user"), promote).await;
    let admin = login(&lab, &project, "bob@b.test", PASSWORD).await.body;
    assert_eq!(claims_of(&admin)["role"], "project_admin");
    assert_eq!(go(token(&admin), "GET", "notes", Value::Null).await.status, 200);
    assert_eq!(as_user(&lab, "POST", "/auth/v1/logout", &admin).await.status, 200);
    refused(&go(token(&admin), "GET", "notes", Value::Null).await, 401, "UNAUTHORIZED");

    // The secret that signed it is retired while the connection stays open.
    let control = lab.database().await;
    let retire = "update project_secrets set retired_at = now() where purpose = $1";
    sqlx::query(retire).bind("users").execute(&control).await.unwrap();
    refused(&go(ada, "GET", "notes", Value::Null).await, 401, "UNAUTHORIZED");
    refused(&as_user(&lab, "GET", "/auth/v1/user", &sessions[0]).await, 401, "AUTHENTICATION_REQUIRED");
    let visitor = go(anon_key, "GET", "notes", Value::Null).await;
    assert_eq!(visitor.body["code"], "42501", "keys have a secret of their own: {visitor:?}");
    sqlx::query(retire).bind("keys").execute(&control).await.unwrap();
    refused(&go(anon_key, "GET", "notes", Value::Null).await, 401, "UNAUTHORIZED");
    sqlx::query("update project_secrets set retired_at = null").execute(&control).await.unwrap();
    control.close().await;
    assert_eq!(go(ada, "GET", "notes", Value::Null).await.status, 200);

    // And the project itself.
    let path = format!("/projects/v1/{}", project["project_id"].as_str().unwrap());
    let erased = owner(&lab, &project, "DELETE", &path, None).await;
    assert!(erased.status < 300, "{erased:?}");
    refused(&go(ada, "GET", "notes", Value::Null).await, 401, "UNAUTHORIZED");
}

/// The database of a project's slot, as a superuser.
pub(super) async fn slot(lab: &Lab, project: &Value) -> (PgConnection, String) {
    let control = lab.database().await;
    let id: types::ProjectId = project["project_id"].as_str().unwrap().parse().unwrap();
    let slots = sqlx::query_scalar("select slot from projects where id = $1").bind(id.0);
    let number: i32 = slots.fetch_one(&control).await.unwrap();
    control.close().await;
    let name = format!("p{number:04}");
    let mut url = reqwest::Url::parse(lab.server.ready["cell_postgres"].as_str().unwrap()).unwrap();
    url.set_path(&name);
    (PgConnection::connect(url.as_str()).await.unwrap(), name)
}

// Goal: a project of an earlier version is brought up by its first use and keeps its users. Method: make the schema as
// that version did, put a user and a sign-in in it, sign in.
#[tokio::test]
async fn a_project_of_an_earlier_version_keeps_its_users() {
    let lab = Lab::start().await;
    // Only its hash is copied: of a password that this test knows.
    let (_, source) = lab.project().await;
    assert_eq!(signup(&lab, &source, "ada@b.test").await.status, 201);
    let (mut conn, _) = slot(&lab, &source).await;
    let hash: String =
        sqlx::query_scalar("select password_hash from auth.users").fetch_one(&mut conn).await.unwrap();
    for steps in 1..=STEPS.len() {
        let (_, project) = lab.project().await;
        let (mut conn, name) = slot(&lab, &project).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set role {name}_auth"))).execute(&mut conn).await.unwrap();
        for step in &STEPS[..steps] {
            sqlx::raw_sql(*step).execute(&mut conn).await.unwrap();
        }
        let version = i32::try_from(steps).unwrap();
        sqlx::query("update auth.version set version = $1").bind(version).execute(&mut conn).await.unwrap();
        sqlx::query("insert into auth.users (email, password_hash) values ('ada@b.test', $1)")
            .bind(&hash)
            .execute(&mut conn)
            .await
            .unwrap();
        // As that version did: it admitted whoever signed up.
        if steps > 1 {
            sqlx::raw_sql("update auth.users set admitted_at = created_at").execute(&mut conn).await.unwrap();
        }

        // Two first uses at once.
        let both = tokio::join!(
            login(&lab, &project, "ada@b.test", PASSWORD),
            login(&lab, &project, "ada@b.test", PASSWORD)
        );
        assert_eq!((both.0.status, both.1.status), (200, 200), "from {steps}: {both:?}");
        let body = json!({ "email": "ada@b.test", "redirect_url": "http://localhost:3000/" });
        let by_mail = redeem(&lab, &project, &mailed_token(&lab, &project, body, steps).await).await;
        assert_eq!(by_mail.body["user"]["id"], both.0.body["user"]["id"], "from {steps}: {by_mail:?}");
        let newest = sqlx::query_scalar("select version from auth.version").fetch_one(&mut conn).await;
        let newest: i32 = newest.unwrap();
        assert!(newest >= 4, "from {steps}: {newest}");
        // What was added later has an owner and is seen by nobody else.
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_class where relnamespace = 'auth'::regnamespace and relkind = 'r'
             and (not relforcerowsecurity or has_table_privilege('anon', oid, 'select, insert, update, delete'))",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        assert_eq!(open, 0, "from {steps}");
    }
}
