//! The isolation matrix over REST: two projects, every role, every kind of access; and hostile SQL through a
//! function that runs whatever it is given.

use rest::expose;
use serde_json::{Value, json};
use store::cells::Slot;

use super::{Case, Got, Role, Tables};
use crate::hostile::ON_A_TABLE;

const ROLES: [Role; 4] = [Role::Anon, Role::Authenticated, Role::ProjectAdmin, Role::Service];

/// Both projects have the same names; only the secret differs. `act` is an injectable function at its worst.
fn tables(secret: &str) -> String {
    format!(
        "create table notes (id int primary key, s text); insert into notes values (1, '{secret}');
         create table hidden (id int primary key, s text); insert into hidden values (1, '{secret} hidden');
         create function act(first text, second text) returns text language plpgsql as $$
           declare answer text; begin execute first; execute second into answer; return answer; end $$;"
    )
}

/// Ways to become more than one is, each tried before a read of what must not show.
const RAISES: [&str; 16] = [
    "select 1",
    "set role service_role",
    "set role project_admin",
    "set local role service_role",
    "reset role",
    "set role none",
    "set session authorization default",
    "reset session authorization",
    "set session authorization ADMIN",
    "set role ADMIN",
    "set role postgres",
    "set row_security = off",
    "select set_config('role', 'none', false)",
    "select set_config('role', 'service_role', true)",
    "select set_config('session_authorization', 'ADMIN', true)",
    "discard all",
];

struct Matrix {
    t: Tables,
    other: Slot,
}

impl Matrix {
    async fn start() -> Self {
        let t = Tables::holding(&tables("of mine")).await;
        let (_, other) = t.world.provision().await;
        t.world.sql(&other, &tables("of theirs")).await.unwrap();
        let manifest = json!({"version": "1",
            "tables": [{"name": "notes", "expose": true, "policy": "public_read_authenticated_write"}],
            "rpcs": [{"name": "act", "signature": "(text, text)",
                      "grant_to": ["anon", "authenticated", "project_admin", "service_role"]}]});
        for slot in [&t.slot, &other] {
            expose::apply(&t.world.cells, slot, &manifest).await.unwrap();
        }
        Self { t, other }
    }

    async fn act(&self, role: Role, first: &str, second: &str) -> Got {
        let body = Some(json!({"first": first, "second": second}));
        let headers = [("content-type", "application/json")];
        self.t.ask(role, Case { method: "POST", path: "/rpc/act", headers: &headers, body }).await
    }
}

/// G01, G04, G05, G08. Goal: whoever asks a project, in whatever way, gets nothing of another's and nothing
/// above its role. Method: the product of roles, requests and hostile texts; nowhere may the other's secret
/// or the hidden row show; then the other counts its rows.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_and_no_function_reaches_what_is_not_its_own() {
    let m = Matrix::start().await;
    let theirs = m.other.schema();
    let mut tried = 0;
    for role in ROLES {
        tried += requests(&m, role, &theirs).await;
        for name in [format!("{theirs}.notes"), format!("{theirs}.{theirs}.notes")] {
            for statement in ON_A_TABLE {
                let sql = statement.replace('T', &name);
                let got = m.act(role, &sql, "select 'done'").await;
                assert!(got.status >= 400 && !got.text.contains("done"), "{role:?} {sql}: {got:?}");
                tried += 1;
            }
        }
        if role != Role::Service {
            tried += raises(&m, role).await;
        }
    }
    assert_eq!(tried, 4 * (11 * 3 + 2 * ON_A_TABLE.len()) + 3 * 2 * RAISES.len());
    let left = m.t.world.rows(&m.other, "select id, s from notes").await;
    assert_eq!(left, json!([{"id": 1, "s": "of theirs"}]));
    m.t.world.stop().await;
}

/// Every verb on names that could mean the other project, with and without a profile that names it.
async fn requests(m: &Matrix, role: Role, theirs: &str) -> usize {
    let row = Some(json!({"id": 7, "s": "x"}));
    let cases: [(&str, String, Option<Value>); 11] = [
        ("GET", "/notes".to_owned(), None),
        ("HEAD", format!("/{theirs}.notes"), None),
        ("GET", format!("/{theirs}.notes"), None),
        ("GET", format!("/\"{theirs}\".\"notes\""), None),
        ("GET", format!("/notes?select=*,{theirs}(*)"), None),
        ("GET", format!("/notes?select=*,{theirs}.notes(*)"), None),
        ("POST", format!("/{theirs}.notes"), row.clone()),
        ("PATCH", format!("/{theirs}.notes?id=eq.1"), Some(json!({"s": "x"}))),
        ("PUT", format!("/{theirs}.notes?id=eq.7"), row.clone()),
        ("DELETE", format!("/{theirs}.notes?id=eq.1"), None),
        ("POST", format!("/rpc/{theirs}.act"), Some(json!({"first": "select 1", "second": "select 'done'"}))),
    ];
    for (method, path, body) in &cases {
        let json_body = ("content-type", "application/json");
        for headers in [
            vec![json_body],
            vec![json_body, ("accept-profile", theirs)],
            vec![json_body, ("content-profile", theirs)],
        ] {
            let got = m.t.ask(role, Case { method, path, headers: &headers, body: body.clone() }).await;
            assert!(!got.text.contains("theirs"), "{role:?} {method} {path}: {got:?}");
            assert!(got.status < 500, "{role:?} {method} {path}: {got:?}");
            assert!(path == "/notes" || got.status >= 400, "{role:?} {method} {path}: {got:?}");
        }
    }
    cases.len() * 3
}

/// Within one project: a visitor's or user's function does not become more than its caller.
async fn raises(m: &Matrix, role: Role) -> usize {
    let admin = format!("{}_admin", m.t.slot.schema());
    let reads =
        ["select string_agg(s, ',') from hidden", "update hidden set s = 'of mine hidden, gone' returning s"];
    for first in RAISES {
        for read in reads {
            let got = m.act(role, &first.replace("ADMIN", &admin), read).await;
            assert!(!got.text.contains("mine hidden"), "{role:?} {first}; {read}: {got:?}");
        }
    }
    let kept = m.t.world.rows(&m.t.slot, "select s from hidden").await;
    assert_eq!(kept, json!([{"s": "of mine hidden"}]), "{role:?}");
    RAISES.len() * reads.len()
}
