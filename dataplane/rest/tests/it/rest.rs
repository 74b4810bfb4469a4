//! The REST engine on a real cell: the dialect, and what keeps tenants' code in its place.

mod dialect;
mod faults;
mod isolation;
mod leavings;
mod manifest;
mod matrix;
mod schema;

use bytes::Bytes;
use rest::Rest;
use rest::rest::{Answer, Ask, Role, Target, Who};
use serde_json::{Value, json};
use store::cells::Slot;

use crate::harness::World;

/// A cell with one project that holds [`schema::SCHEMA`].
pub struct Tables {
    pub world: World,
    pub slot: Slot,
    pub rest: Rest,
}

/// What was answered, read.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value)
    }
}

/// One request and what its answer must be.
pub struct Case<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<Value>,
}

impl Tables {
    pub async fn start() -> Self {
        Self::holding(schema::SCHEMA).await
    }

    /// One project that holds what `sql` makes.
    pub async fn holding(sql: &str) -> Self {
        let world = World::start().await;
        let (_, slot) = world.provision().await;
        world.sql(&slot, sql).await.unwrap();
        let rest = Rest::new(world.cells.clone());
        Self { world, slot, rest }
    }

    pub async fn ask(&self, role: Role, case: Case<'_>) -> Got {
        self.ask_as(role, "00000000-0000-7000-8000-000000000001", case).await
    }

    /// The same for the user with that id.
    pub async fn ask_as(&self, role: Role, user: &str, case: Case<'_>) -> Got {
        let answer = self.try_ask(&self.slot, role, user, case).await;
        answer.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same of any project, and what the platform says when it has no answer.
    pub async fn try_ask(
        &self,
        slot: &Slot,
        role: Role,
        user: &str,
        case: Case<'_>,
    ) -> Result<Got, Box<types::Problem>> {
        let (path, query) = case.path.split_once('?').unwrap_or((case.path, ""));
        let target = match path.strip_prefix("/rpc/") {
            Some(name) => Target::Function(name.to_owned()),
            None if path == "/" => Target::Root,
            None => Target::Table(path.trim_start_matches('/').to_owned()),
        };
        let claims = match role {
            Role::Anon | Role::Service => json!({ "role": role.as_str() }),
            _ => json!({ "role": role.as_str(), "sub": user }),
        }
        .to_string();
        let ask = Ask {
            method: case.method.to_owned(),
            path: path.to_owned(),
            base: "/rest/v1".to_owned(),
            target,
            query: query.to_owned(),
            headers: case.headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body: case.body.map_or_else(Bytes::new, |body| match body {
                Value::String(text) => Bytes::from(text),
                other => Bytes::from(other.to_string()),
            }),
        };
        let Answer { status, headers, body } = self.rest.answer(slot, Who { role, claims }, ask).await?;
        let value = serde_json::from_str(&body).unwrap_or(Value::Null);
        Ok(Got { status, headers, body: value, text: body })
    }

    pub async fn get(&self, path: &str) -> Got {
        self.ask(Role::Service, Case { method: "GET", path, headers: &[], body: None }).await
    }

    /// The rows of a read that must succeed.
    pub async fn rows(&self, path: &str) -> Value {
        let got = self.get(path).await;
        assert!(matches!(got.status, 200 | 206), "{path}: {got:?}");
        got.body
    }

    pub async fn send(&self, method: &str, path: &str, prefer: &str, body: Value) -> Got {
        let headers = [("prefer", prefer), ("content-type", "application/json")];
        self.ask(Role::Service, Case { method, path, headers: &headers, body: Some(body) }).await
    }
}
