//! Projects: made, read, queried, erased.

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};

use crate::service::assert_envelope;

struct Project {
    id: String,
    anon: String,
    service: String,
}

fn project(body: &Value) -> Project {
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Project { id: text("project_id"), anon: text("anon_key"), service: text("service_key") }
}

async fn sql(lab: &Lab, project: &Project, text: &str) -> Answer {
    let path = format!("/projects/v1/admin/{}/sql", project.id);
    let request =
        lab.http.post(lab.url(&path)).bearer_auth(&project.service).header("content-type", "text/plain");
    lab.send(request.body(text.to_owned())).await
}

async fn sql_with(lab: &Lab, project: &Project, text: &str, params: Value) -> Answer {
    let path = format!("/projects/v1/admin/{}/sql", project.id);
    lab.with_key(&project.service, "POST", &path, Some(json!({ "sql": text, "params": params }))).await
}

#[tokio::test]
async fn a_project_is_made_listed_measured_and_erased() {
    let lab = Lab::start().await;
    let (wallet, body) = lab.project().await;
    let p = project(&body);
    assert!(p.id.starts_with("prj_") && p.anon != p.service);
    assert!(body["schema_slot"].as_str().unwrap().starts_with('p'));
    assert_eq!(body["tier"], "prototype");

    let list = lab.get(&format!("/wallets/v1/{}/projects", wallet.address())).await;
    assert_eq!(list.body["projects"][0]["id"], p.id.as_str(), "{list:?}");
    assert_eq!(list.body["projects"][0]["project_id"], p.id.as_str());
    assert_eq!(list.body["projects"][0]["name"], "my-app");
    assert_eq!(list.body["projects"][0]["status"], "active");
    assert!(!list.body.to_string().contains(&p.service), "keys are never listed");
    let nobody = lab.get(&format!("/wallets/v1/{}/projects", Wallet::random().address())).await;
    assert_eq!((nobody.status, &nobody.body["projects"]), (200, &json!([])));

    let usage = lab.with_key(&p.service, "GET", &format!("/projects/v1/admin/{}/usage", p.id), None).await;
    assert_eq!(usage.body["api_calls_limit"], 500_000, "{usage:?}");
    assert_eq!(usage.body["storage_limit_bytes"], 262_144_000);
    assert_eq!(usage.body["status"], "active");

    let answer = sql(&lab, &p, "create table items (id serial primary key, title text not null)").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let schema = lab.with_key(&p.service, "GET", &format!("/projects/v1/admin/{}/schema", p.id), None).await;
    assert_eq!(schema.body["schema"], body["schema_slot"], "{schema:?}");
    let table = &schema.body["tables"][0];
    assert_eq!(table["name"], "items");
    assert_eq!(table["rls_enabled"], true, "dark by default");
    assert_eq!(table["columns"][0]["name"], "id");
    assert_eq!(table["columns"][0]["nullable"], false);
    assert!(table["constraints"].is_array() && table["policies"].is_array());

    let path = format!("/projects/v1/{}", p.id);
    assert_eq!(lab.with_key(&p.anon, "DELETE", &path, None).await.status, 403);
    let erased = lab.with_key(&p.service, "DELETE", &path, None).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    assert_eq!(erased.body, json!({ "status": "purged", "project_id": p.id }));
    let again = lab.with_key(&p.service, "DELETE", &path, None).await;
    assert!(matches!(again.status, 401 | 404), "{again:?}");
    assert_eq!(sql(&lab, &p, "select 1").await.status, 401);
    let list = lab.get(&format!("/wallets/v1/{}/projects", wallet.address())).await;
    assert_eq!(list.body["projects"], json!([]), "erased projects are not listed");
}

#[tokio::test]
async fn provisioning_refuses_bad_names_and_bills_a_wallet_without_a_tier() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    for name in ["", "a\u{7}b", &"x".repeat(129)] {
        let answer = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": name }))).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("BAD_PROJECT_NAME")),
            "{name:?}: {answer:?}"
        );
    }
    let answer = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "tier": "pro" }))).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let unnamed = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({}))).await;
    assert_eq!(unnamed.status, 201, "{unnamed:?}");

    // Open question 9: the first call of a new wallet pays for the tier and makes the project.
    let fresh = lab.funded_wallet().await;
    let first = lab.pay(&fresh, "/projects/v1").await;
    assert_eq!(first.status, 201, "{first:?}");
    let list = lab.get(&format!("/wallets/v1/{}/projects", fresh.address())).await;
    assert_eq!(list.body["projects"].as_array().unwrap().len(), 1, "{list:?}");
    lab.assert_books_agree();
}

#[tokio::test]
async fn an_idempotency_key_makes_one_project() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let provision = |name: &str| {
        let request = lab.signed(&wallet, "POST", "/projects/v1", Some(json!({ "name": name })));
        lab.send(request.header("idempotency-key", "k-1"))
    };
    let (one, two) = (provision("a").await, provision("a").await);
    assert_eq!(one.status, 201, "{one:?}");
    assert_eq!(one.body["project_id"], two.body["project_id"], "{two:?}");
    let other = provision("b").await;
    assert_eq!((other.status, &other.body["code"]), (409, &json!("IDEMPOTENCY_KEY_REUSED")), "{other:?}");
}

#[tokio::test]
async fn sql_answers_rows_counts_and_types() {
    let lab = Lab::start().await;
    let (_, body) = lab.project().await;
    let p = project(&body);
    let ddl = sql(&lab, &p, "create table items (id serial primary key, title text not null)").await;
    assert_eq!(ddl.body["rows"], json!([]));
    assert!(ddl.body["rowCount"].is_null() && ddl.body["row_count"].is_null(), "{ddl:?}");
    assert_eq!(ddl.body["schema"], body["schema_slot"]);
    let insert = sql(&lab, &p, "insert into items (title) values ('a'), ('b;--')").await;
    assert_eq!((&insert.body["rowCount"], &insert.body["rows"]), (&json!(2), &json!([])), "{insert:?}");
    let select = sql(
        &lab,
        &p,
        "select id, title, 9007199254740993::int8 as big, 7::int8 as small, 1.5::numeric as n, true as yes,
                null as nothing, '{\"a\":[1]}'::jsonb as doc, '2030-01-02T03:04:05.678Z'::timestamptz as at,
                array[1,2] as list from items order by id",
    )
    .await;
    assert_eq!(select.status, 200, "{select:?}");
    let row = &select.body["rows"][1];
    assert_eq!(row["title"], "b;--");
    assert_eq!(row["big"], "9007199254740993", "beyond 2^53 as text");
    assert_eq!(row["small"], 7);
    assert_eq!(row["yes"], true);
    assert!(row["nothing"].is_null());
    assert_eq!(row["doc"], json!({ "a": [1] }));
    assert_eq!(row["at"], "2030-01-02T03:04:05.678Z");
    assert_eq!(row["list"], json!([1, 2]));
    assert_eq!(select.body["fields"][0], json!({ "name": "id", "type": "int4" }));

    let several =
        sql(&lab, &p, "insert into items (title) values ('c'); select count(*)::int as n from items").await;
    assert_eq!(several.body["rows"], json!([{ "n": 3 }]), "{several:?}");
    let params =
        sql_with(&lab, &p, "select $1::text as a, $2::int + 1 as b, $3 as c", json!(["x'; drop", 41, null]))
            .await;
    assert_eq!(params.body["rows"], json!([{ "a": "x'; drop", "b": 42, "c": null }]), "{params:?}");
}

#[tokio::test]
async fn sql_that_is_wrong_forbidden_or_endless_is_refused_and_changes_nothing() {
    let lab = Lab::start().await;
    let (_, body) = lab.project().await;
    let p = project(&body);
    assert_eq!(sql(&lab, &p, "create table t (n int)").await.status, 200);

    let wrong = sql(&lab, &p, "selec 1").await;
    assert_eq!((wrong.status, &wrong.body["code"]), (400, &json!("SQL_ERROR")), "{wrong:?}");
    assert_eq!(wrong.body["details"]["sqlstate"], "42601");
    assert_envelope(&wrong.body);
    // The whole text is one transaction.
    let half = sql(&lab, &p, "insert into t values (1); select 1/0").await;
    assert_eq!(half.body["details"]["sqlstate"], "22012", "{half:?}");
    assert_eq!(sql(&lab, &p, "select count(*)::int as n from t").await.body["rows"], json!([{ "n": 0 }]));

    for blocked in [
        "grant select on t to anon",
        "create extension hstore",
        "set search_path = x",
        "create schema s",
        "drop role x",
        "/**/ReVoKe all on t from anon",
        "alter system set x = 1",
        "set role postgres",
    ] {
        let answer = sql(&lab, &p, blocked).await;
        assert_eq!(answer.status, 403, "{blocked}: {answer:?}");
        assert!(answer.body["message"].as_str().unwrap().starts_with("Blocked SQL pattern"), "{answer:?}");
    }
    let literal = sql(&lab, &p, "select 'grant all' as a, $$ create schema x $$ as b -- revoke").await;
    assert_eq!(literal.status, 200, "words inside literals are data: {literal:?}");

    for outside in [
        "select * from pg_read_file('/etc/passwd')",
        "copy (select 1) to '/tmp/x'",
        "select pg_terminate_backend(1)",
        "select lo_create(0)",
        "select pg_advisory_lock(1)",
    ] {
        let answer = sql(&lab, &p, outside).await;
        assert!(matches!(answer.status, 400 | 403), "{outside}: {answer:?}");
    }
    let many = sql(&lab, &p, "select * from generate_series(1, 10001)").await;
    assert_eq!((many.status, &many.body["code"]), (413, &json!("RESULT_TOO_LARGE")), "{many:?}");
    for empty in ["", "   ", "-- nothing"] {
        let answer = sql(&lab, &p, empty).await;
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    }
    let odd = sql_with(&lab, &p, "select $1; select 2", json!([1])).await;
    assert_eq!(odd.status, 400, "{odd:?}");
}

// G01: whatever its SQL says, a project stays in its own database.
#[tokio::test]
async fn hostile_sql_cannot_leave_its_project() {
    let lab = Lab::start().await;
    let (wallet, body) = lab.project().await;
    let other = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "victim" }))).await.body;
    let (p, victim) = (project(&body), project(&other));
    assert_eq!(sql(&lab, &victim, "create table secrets (s text)").await.status, 200);
    let slot = other["schema_slot"].as_str().unwrap();
    for attack in [
        format!("select * from {slot}.secrets"),
        format!("do $$ begin execute 'set role {slot}_admin'; end $$"),
        "do $$ begin execute 'set session authorization postgres'; end $$".to_owned(),
        "select rolname, rolpassword from pg_authid".to_owned(),
        "select datname from pg_database".to_owned(),
        "create function f() returns int language c as 'x', 'y'".to_owned(),
        "do $$ begin execute 'copy (select 1) to program ''id'''; end $$".to_owned(),
        "do $$ begin execute 'create extension dblink'; end $$".to_owned(),
    ] {
        let answer = sql(&lab, &p, &attack).await;
        assert!(matches!(answer.status, 400 | 403), "{attack}: {answer:?}");
    }
    assert_eq!(sql(&lab, &victim, "select 1 as ok").await.status, 200);
}
