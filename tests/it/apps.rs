//! The marketplace: what a version has, who sees it, and what a fork becomes.

mod attacks;
mod words;

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};

use crate::deploys::{fetch, kit};

pub const PAGE: &str = "<h1>app</h1>";
/// What the forks of these tests are made of: everything that a schema can hold, made by hand and by a migration.
pub const MIGRATION: &str =
    "create table items (id bigint generated always as identity primary key, title text not null,
  kind text default 'note', owner uuid, constraint short check (length(title) < 100))";
const BY_HAND: &str = "
create type mood as enum ('it''s fine', 'bad');
create domain positive as int check (value > 0);
create table \"Odd name; drop\" (\"a \"\"b\" mood default 'bad', n positive);
create table parts (day date not null, item bigint references items on delete cascade) partition by range (day);
create table parts_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create sequence numbers start with 7;
create table counted (id int default nextval('numbers') primary key, twice int generated always as (id * 2) stored);
create function shout(t text) returns text language plpgsql immutable as $$ begin return upper(t) || '!'; end $$;
create function all_items() returns setof items language sql stable as 'select * from items';
create function stamped() returns trigger language plpgsql as $$
  begin new.title := shout(new.title); return new; end $$;
create view loud as select id, shout(title) as title from items;
create materialized view totals as select count(*) as n from items;
create index on items (lower(title));
create unique index one_day on parts (day);
create trigger stamp before insert on items for each row execute function stamped();
create policy hand_made on items for select to authenticated using (title <> 'secret');
comment on table items is 'what there is';
insert into items (title) values ('row of the publisher');
insert into counted default values;
select count(*) from loud";
const BOOTSTRAP: &str = "import { adminDb } from '@run402/functions';
export default async (req) => {
  const { title } = await req.json();
  if (title === 'fail') return Response.json({ message: 'no such title' }, { status: 422 });
  const [made] = await adminDb().from('items').insert({ title });
  return Response.json({ made: made.title, secret: process.env.API_KEY ?? null });
};";

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

fn manifest() -> Value {
    json!({ "version": "1",
        "tables": [{ "name": "items", "expose": true, "policy": "public_read_authenticated_write" }],
        "views": [{ "name": "titles", "base": "items", "select": ["title"] }],
        "rpcs": [{ "name": "shout", "signature": "(t text)", "grant_to": ["anon"] }] })
}

/// A request below a project's admin paths, with its service key.
pub async fn admin(lab: &Lab, project: &Value, method: &str, rest: &str, body: Option<Value>) -> Answer {
    let path = format!("/projects/v1/admin/{}/{rest}", text(project, "project_id"));
    lab.with_key(text(project, "service_key"), method, &path, body).await
}

pub async fn sql(lab: &Lab, project: &Value, text: &str) -> Value {
    let answer = admin(lab, project, "POST", "sql", Some(json!({ "sql": text }))).await;
    assert_eq!(answer.status, 200, "{text}: {answer:?}");
    answer.body["rows"].clone()
}

pub async fn many(lab: &Lab, project: &Value, text: &str) {
    let path = format!("/projects/v1/admin/{}/sql", self::text(project, "project_id"));
    let request = lab.http.post(lab.url(&path)).bearer_auth(self::text(project, "service_key"));
    let answer = lab.send(request.body(text.to_owned())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn publish(lab: &Lab, project: &Value, body: Value) -> Value {
    let answer = admin(lab, project, "POST", "publish", Some(body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

pub async fn fork(lab: &Lab, wallet: &Wallet, body: Value) -> Answer {
    lab.as_wallet(wallet, "POST", "/fork/v1", Some(body)).await
}

pub async fn forked(lab: &Lab, wallet: &Wallet, body: Value) -> Value {
    let answer = fork(lab, wallet, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

/// A small app that may be forked: a table, a page.
pub async fn small_app(lab: &Lab) -> (Wallet, Value, Value) {
    let (wallet, project) = lab.project().await;
    let parts = json!({ "site": { "replace": { "index.html": kit::reference(PAGE, "text/html; charset=utf-8") } },
        "database": { "migrations": [kit::migration("001", MIGRATION)] } });
    kit::ready(lab, &wallet, &project, parts, &[PAGE, MIGRATION]).await;
    let version = publish(lab, &project, json!({ "visibility": "public", "fork_allowed": true })).await;
    (wallet, project, version)
}

/// The whole of it: functions, routes, a manifest, a secret, rows, a user.
async fn large_app(lab: &Lab) -> (Wallet, Value) {
    let (wallet, project) = lab.project().await;
    let api = "export default () => Response.json({ secret: process.env.API_KEY ?? null })";
    let set = json!({ "key": "API_KEY", "value": "of-the-publisher" });
    assert!(admin(lab, &project, "POST", "secrets", Some(set)).await.status < 300);
    let function = |code: &str| {
        let mut function = kit::function(code);
        function["schedule"] = json!("0 0 1 1 *");
        function
    };
    let variables = r#"[{"name": "title", "required": true}]"#;
    let bootstrap = json!({ "runtime": "node22", "entrypoint": "index.mjs", "files": {
        "index.mjs": kit::reference(BOOTSTRAP, "text/javascript"),
        "bootstrap.json": kit::reference(variables, "application/json") } });
    let parts = json!({
        "site": { "replace": { "index.html": kit::reference(PAGE, "text/html; charset=utf-8") } },
        "database": { "migrations": [kit::migration("001", MIGRATION)] },
        "functions": { "replace": { "api": function(api), "bootstrap": bootstrap } },
        "routes": { "replace": [{ "pattern": "/api", "target": { "type": "function", "name": "api" } }] },
    });
    kit::ready(lab, &wallet, &project, parts, &[PAGE, MIGRATION, api, BOOTSTRAP, variables]).await;
    many(lab, &project, BY_HAND).await;
    let exposed = admin(lab, &project, "POST", "expose", Some(manifest())).await;
    assert_eq!(exposed.status, 200, "{exposed:?}");
    let user = json!({ "email": "ada@publisher.test", "password": "correct horse battery" });
    let signed_up = lab.http.post(lab.url("/auth/v1/signup")).header("apikey", text(&project, "anon_key"));
    let signed_up = lab.send(signed_up.json(&user)).await;
    assert!(signed_up.status < 300, "{signed_up:?}");
    (wallet, project)
}

// Contract 02 section 9. G15, I10. Goal: a fork has all of the structure and nothing of the data. Method: a
// project with tables by migration and by hand, a manifest, functions, a route, a secret, a user and rows is
// published, found by its tag, and forked by a stranger with a name and variables.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_the_schema_functions_and_site_and_no_rows_users_or_secrets() {
    let lab = Lab::start().await;
    let (_, source) = large_app(&lab).await;
    let tags = json!(["todo", "crm"]);
    let body =
        json!({ "description": "An app.", "tags": tags, "visibility": "public", "fork_allowed": true });
    let version = publish(&lab, &source, body).await;
    for (name, value) in [
        ("version", json!(1)),
        ("table_count", json!(5)),
        ("function_count", json!(2)),
        ("site_file_count", json!(1)),
        ("site_total_bytes", json!(PAGE.len())),
        ("required_secrets", json!([{ "key": "API_KEY" }])),
        ("tags", json!(["crm", "todo"])),
        ("compatibility_warnings", json!([])),
        ("bootstrap_variables", json!([{ "name": "title", "required": true }])),
        ("min_tier", json!("prototype")),
        ("name", json!("my-app")),
        ("status", json!("published")),
    ] {
        assert_eq!(version[name], value, "{name}: {version}");
    }
    let found = lab.get("/apps/v1?tag=none&tag=crm").await;
    assert_eq!((&found.body["total"], &found.body["apps"][0]), (&json!(1), &version), "{found:?}");
    assert_eq!(lab.get("/apps/v1?tag=none").await.body["total"], 0);
    let seen = lab.get(&format!("/apps/v1/{}", text(&version, "id"))).await;
    assert_eq!(seen.body, version);
    assert!(!seen.body.to_string().contains("of-the-publisher"));

    let stranger = lab.subscribed_wallet().await;
    let wanted = json!({ "version_id": version["id"], "name": "mine", "subdomain": "forked-app",
        "bootstrap": { "title": "hello" } });
    let fork = forked(&lab, &stranger, wanted).await;
    assert_ne!(fork["project_id"], source["project_id"]);
    assert_eq!(fork["bootstrap_error"], Value::Null, "{fork}");
    assert_eq!(fork["bootstrap_result"], json!({ "made": "HELLO!", "secret": null }), "{fork}");
    assert_eq!(fork["functions"].as_array().unwrap().len(), 2, "{fork}");
    assert!(text(&fork, "subdomain_url").contains("forked-app."), "{fork}");
    for url in ["site_url", "subdomain_url"] {
        assert_eq!(fetch(&lab, text(&fork, url), "/", &[]).await.body, PAGE);
    }
    let routed = fetch(&lab, text(&fork, "site_url"), "/api", &[]).await;
    assert_eq!(routed.body, json!({ "secret": null }), "{routed:?}");

    // The structure: each line fails if its object is not there.
    let rows = sql(&lab, &fork, "select id, title, kind from items").await;
    assert_eq!(rows, json!([{ "id": 1, "title": "HELLO!", "kind": "note" }]), "no row but its own");
    many(
        &lab,
        &fork,
        "insert into parts values ('2026-02-03', 1); insert into counted default values;
        refresh materialized view totals; insert into \"Odd name; drop\" (n) values (3)",
    )
    .await;
    let made = "select (select n from totals) as totals, (select twice from counted) as twice,
        (select \"a \"\"b\"::text from \"Odd name; drop\") as mood, (select title from loud) as loud,
        (select count(*)::int from all_items()) as listed, obj_description('items'::regclass) as said,
        (select count(*)::int from pg_indexes where schemaname = current_schema) as indexes,
        (select count(*)::int from pg_policies where policyname in ('hand_made', 'r402_read', 'r402_write'))
          as policies,
        (select count(*)::int from auth.users) as users";
    let expected = json!([{ "totals": 1, "twice": 14, "mood": "bad", "loud": "HELLO!!", "listed": 1,
        "said": "what there is", "indexes": 5, "policies": 3, "users": 0 }]);
    assert_eq!(sql(&lab, &fork, made).await, expected);
    for refused in [
        "insert into items (title) values (repeat('x', 100))",
        "insert into parts values ('2026-02-03', 1)",
        "insert into parts values ('2026-02-04', 99)",
        "insert into \"Odd name; drop\" (n) values (-1)",
    ] {
        let answer = admin(&lab, &fork, "POST", "sql", Some(json!({ "sql": refused }))).await;
        assert_eq!(answer.status, 400, "{refused}: {answer:?}");
    }
    let read = |path: &str| lab.http.get(lab.url(path)).header("apikey", text(&fork, "anon_key"));
    let visible = lab.send(read("/rest/v1/titles")).await;
    assert_eq!(visible.body, json!([{ "title": "HELLO!" }]), "the manifest came along: {visible:?}");
    let called = lab.http.post(lab.url("/rest/v1/rpc/shout")).header("apikey", text(&fork, "anon_key"));
    assert_eq!(lab.send(called.json(&json!({ "t": "a" }))).await.body, "A!");

    // Nothing of the publisher's opens it, and the reverse.
    let path = format!("/projects/v1/admin/{}/usage", text(&fork, "project_id"));
    assert_eq!(lab.with_key(text(&source, "service_key"), "GET", &path, None).await.status, 403);
    let secrets = admin(&lab, &fork, "GET", "secrets", None).await;
    assert_eq!(secrets.body, json!([]), "{secrets:?}");
    let runs = admin(&lab, &fork, "GET", "functions/api/runs", None).await;
    assert_eq!(runs.body["runs"], json!([]), "{runs:?}");
    // A fork can be published and forked in turn.
    let version = publish(&lab, &fork, json!({ "visibility": "unlisted", "fork_allowed": true })).await;
    let wanted = json!({ "version_id": version["id"], "name": "again", "bootstrap": { "title": "fail" } });
    let another = lab.subscribed_wallet().await;
    let again = forked(&lab, &another, wanted).await;
    assert_eq!(
        again["bootstrap_error"], "bootstrap answered 422: no such title",
        "the fork stands all the same"
    );
    assert_eq!(sql(&lab, &again, "select count(*)::int as n from items").await, json!([{ "n": 0 }]));
    lab.assert_books_agree();
}

// Contract 02 section 9. Goal: a version is what the project was, and what is said of it can change.
#[tokio::test(flavor = "multi_thread")]
async fn versions_count_up_keep_their_parts_and_change_their_words() {
    let lab = Lab::start().await;
    let (wallet, project, first) = small_app(&lab).await;
    many(&lab, &project, "create table later (id int)").await;
    crate::deploys::deploy(&lab, &wallet, &project, &[("index.html", b"two"), ("b.html", b"b")]).await;
    let second = publish(&lab, &project, json!({ "description": "second" })).await;
    assert_eq!(
        (&second["version"], &second["table_count"], &second["site_file_count"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!((&second["visibility"], &second["fork_allowed"]), (&json!("private"), &json!(false)));
    let listed = admin(&lab, &project, "GET", "versions", None).await;
    let numbers: Vec<&Value> =
        listed.body["versions"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
    assert_eq!(numbers, [2, 1], "{listed:?}");

    let path = format!("versions/{}", text(&second, "id"));
    let change = json!({ "description": null, "tags": ["x"], "visibility": "public", "fork_allowed": true });
    let changed = admin(&lab, &project, "PATCH", &path, Some(change)).await;
    assert_eq!((changed.status, &changed.body["tags"]), (200, &json!(["x"])), "{changed:?}");
    assert_eq!(changed.body["description"], Value::Null);
    let kept = admin(&lab, &project, "PATCH", &path, Some(json!({}))).await;
    assert_eq!(kept.body, changed.body, "what is not named stays");
    let fork = forked(&lab, &wallet, json!({ "version_id": first["id"], "name": "old" })).await;
    assert_eq!(fetch(&lab, text(&fork, "site_url"), "/", &[]).await.body, PAGE, "the first is what it was");
    let schema = admin(&lab, &fork, "GET", "schema", None).await;
    assert_eq!(schema.body["tables"].as_array().unwrap().len(), 1, "{schema:?}");

    assert_eq!(admin(&lab, &project, "DELETE", &path, None).await.status, 200);
    assert_eq!(admin(&lab, &project, "DELETE", &path, None).await.status, 404);
    let third = publish(&lab, &project, json!({})).await;
    assert_eq!(third["version"], 3, "a number is never used again");
    let terms = lab.get("/fork/v1").await;
    assert_eq!((terms.status, &terms.body["fork_pricing"]), (200, &Value::Null), "{terms:?}");
}

// Contract 02 section 9, 01 section 3.4. A01. Goal: a wallet without a tier forks by one payment, and a repeat of
// it is the same fork.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_without_a_tier_pays_for_it_and_forks_in_one_request() {
    use base64::Engine;
    let lab = Lab::start().await;
    let (_, _, version) = small_app(&lab).await;
    let wallet = lab.funded_wallet().await;
    let body = json!({ "version_id": version["id"], "name": "paid" });
    let asked = fork(&lab, &wallet, body.clone()).await;
    assert_eq!(asked.status, 402, "{asked:?}");
    let challenge = tests::decode_challenge(asked.headers["payment-required"].to_str().unwrap());
    let offer = challenge["accepts"][0].clone();
    let payment = wallet.payment(&challenge, &offer, &wallet.authorize(&offer)).to_string();
    let proof = base64::prelude::BASE64_STANDARD.encode(payment);
    let send = || {
        let request = lab.signed(&wallet, "POST", "/fork/v1", Some(body.clone()));
        lab.send(request.header("payment-signature", proof.clone()))
    };
    let (one, two) = tokio::join!(send(), send());
    let again = send().await;
    assert_eq!(again.status, 201, "{again:?}");
    assert!(again.headers.contains_key("payment-response"));
    for answer in [one, two].iter().filter(|answer| answer.status == 201) {
        assert_eq!(answer.body["project_id"], again.body["project_id"]);
    }
    let projects = lab.as_wallet(&wallet, "GET", "/projects/v1", None).await;
    assert_eq!(projects.body["projects"].as_array().unwrap().len(), 1, "{projects:?}");
    lab.assert_books_agree();
}
