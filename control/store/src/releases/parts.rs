//! Functions and routes of a release.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::Row;
use types::{AccountId, ProjectId, ReleaseId, Sha256Hex};

use super::Trigger;
use crate::{During, FencedTx, Store, StoreError};

/// A function as a release declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFunction {
    /// 1 to 64 of `A-Za-z0-9_-`.
    pub name: String,
    pub runtime: String,
    pub code_hash: Sha256Hex,
    pub timeout_seconds: i32,
    pub memory_mb: i32,
    /// Five fields of cron.
    pub schedule: Option<String>,
    /// In place of a schedule, sorted by id.
    pub triggers: Vec<Trigger>,
    /// Where its source is in the project's content.
    pub source: Value,
}

/// Paths of a site that a function answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// `/path`, or `/path/*` for everything below.
    pub pattern: String,
    /// Sorted; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// A function's name.
    pub target: String,
}

impl Route {
    /// `/api/` of `/api/*`.
    pub fn prefix(&self) -> Option<&str> {
        self.pattern.strip_suffix('*')
    }

    /// Whether it answers this method. A route for GET answers HEAD too.
    pub fn takes(&self, method: &str) -> bool {
        let Some(methods) = &self.methods else { return true };
        methods.iter().any(|m| m == method || (m == "GET" && method == "HEAD"))
    }
}

/// Exact patterns first, then longer prefixes before shorter ones, then by text.
pub fn sort_routes(routes: &mut [Route]) {
    routes.sort_by(|a, b| {
        let key = |route: &Route| (route.prefix().is_some(), std::cmp::Reverse(route.prefix().map(str::len)));
        key(a).cmp(&key(b)).then_with(|| a.pattern.cmp(&b.pattern)).then_with(|| a.methods.cmp(&b.methods))
    });
}

/// The functions of a release by name.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_functions(store: &Store, id: ReleaseId) -> Result<Vec<ReleaseFunction>, StoreError> {
    let rows =
        sqlx::query("select * from release_functions where release_id = $1 order by name collate \"C\"")
            .bind(id.0)
            .fetch_all(store.pool())
            .await
            .during("list functions")?;
    rows.iter().map(release_function).collect()
}

/// A row of `release_functions`, whatever else is in it.
pub(crate) fn release_function(row: &sqlx::postgres::PgRow) -> Result<ReleaseFunction, StoreError> {
    let code_hash = crate::content::digest(row, "code_hash")?;
    let triggers: Value = row.try_get("triggers").during("read a function")?;
    let triggers =
        serde_json::from_value(triggers).map_err(|e| StoreError::Corrupt(format!("triggers: {e}")))?;
    let read = || -> Result<ReleaseFunction, sqlx::Error> {
        Ok(ReleaseFunction {
            name: row.try_get("name")?,
            runtime: row.try_get("runtime")?,
            code_hash,
            timeout_seconds: row.try_get("timeout_seconds")?,
            memory_mb: row.try_get("memory_mb")?,
            schedule: row.try_get("schedule")?,
            triggers,
            source: row.try_get("source")?,
        })
    };
    read().during("read a function")
}

/// The routes of a release, sorted.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_routes(store: &Store, id: ReleaseId) -> Result<Vec<Route>, StoreError> {
    let row = sqlx::query("select routes from releases where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find routes")?;
    let routes: Option<Value> = row.map(|row| row.try_get(0)).transpose().during("read routes")?;
    routes.map_or(Ok(Vec::new()), |routes| {
        serde_json::from_value(routes).map_err(|e| StoreError::Corrupt(format!("routes: {e}")))
    })
}

/// How many functions, and how many schedules and triggers of functions, the account's other projects have live.
///
/// # Errors
/// `Db` only.
pub async fn functions_elsewhere(
    store: &Store,
    account: AccountId,
    project: ProjectId,
) -> Result<(i64, i64), StoreError> {
    let row = sqlx::query(
        "select count(*), count(f.schedule) + coalesce(sum(jsonb_array_length(f.triggers)), 0)::bigint from projects p
         join release_functions f on f.release_id = p.active_release
         where p.account_id = $1 and p.id <> $2",
    )
    .bind(account.0)
    .bind(project.0)
    .fetch_one(store.pool())
    .await
    .during("count functions")?;
    Ok((row.try_get(0).during("count functions")?, row.try_get(1).during("count functions")?))
}

pub(super) async fn stage(
    tx: &mut FencedTx,
    release: ReleaseId,
    functions: &[ReleaseFunction],
) -> Result<(), StoreError> {
    let names: BTreeSet<&str> = functions.iter().map(|f| f.name.as_str()).collect();
    debug_assert_eq!(names.len(), functions.len());
    sqlx::query(
        "insert into release_functions (release_id, name, runtime, code_hash, timeout_seconds, memory_mb,
           schedule, source, triggers)
         select $1, name, runtime, code_hash, timeout_seconds, memory_mb, schedule, source, triggers
         from unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::text[], $8::jsonb[],
           $9::jsonb[]) as f (name, runtime, code_hash, timeout_seconds, memory_mb, schedule, source, triggers)",
    )
    .bind(release.0)
    .bind(functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.runtime.as_str()).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.code_hash.as_str()).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.timeout_seconds).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.memory_mb).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.schedule.as_deref()).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| f.source.clone()).collect::<Vec<_>>())
    .bind(functions.iter().map(|f| serde_json::json!(f.triggers)).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("stage functions")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(pattern: &str, methods: Option<&[&str]>) -> Route {
        let methods = methods.map(|list| list.iter().map(|m| (*m).to_owned()).collect());
        Route { pattern: pattern.into(), methods, target: "f".into() }
    }

    #[test]
    fn exact_routes_come_first_and_longer_prefixes_before_shorter_ones() {
        let mut routes = [route("/a/*", None), route("/z", None), route("/a/b/*", None), route("/b", None)];
        sort_routes(&mut routes);
        let order: Vec<&str> = routes.iter().map(|r| r.pattern.as_str()).collect();
        assert_eq!(order, ["/b", "/z", "/a/b/*", "/a/*"]);
    }

    #[test]
    fn a_route_for_get_takes_head() {
        let get = route("/a", Some(&["GET"]));
        assert!(get.takes("GET") && get.takes("HEAD") && !get.takes("POST"));
        assert!(route("/a", None).takes("PATCH"));
        assert!(!route("/a", Some(&["POST"])).takes("HEAD"));
    }
}
