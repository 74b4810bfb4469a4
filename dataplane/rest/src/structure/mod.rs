//! The structure of a project's schema as SQL that makes it again elsewhere, without a single row.
//!
//! Read from the catalogue as the login that owns the schema, so it knows what migrations made and what was made by
//! hand alike. What the expose manifest made is left to the manifest. Rights are not read: they are the manifest's
//! and the defaults of every schema. Expressions come as the server prints them; where it prints the schema's name,
//! [`renamed`] puts another.

mod order;
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use store::cells::{Cells, Login, Slot};

use crate::expose::{ExposeError, Made, Manifest, made};
use crate::sql::{self, SqlError};

const DEADLINE: Duration = Duration::from_secs(20);
/// The text has to fit into one migration (4 MiB) with what is written around it.
const BYTES_MAX: usize = 7 << 19;
/// Times that a schema may change while it is read.
const ATTEMPTS_MAX: usize = 4;

/// Bodies of functions may name what comes later. As a block, because a reader of migrations then knows that the text
/// can only be judged by running it.
const HEAD: &str = "do $$ begin perform pg_catalog.set_config('check_function_bodies', 'off', true); end $$";

/// What a schema holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Structure {
    /// The schema that `sql` was read from, and may name.
    pub schema: String,
    /// None for an empty schema.
    pub sql: Option<String>,
    /// The last manifest that was applied.
    pub manifest: Option<Manifest>,
    pub tables: usize,
    /// What the text does not make, in words.
    pub left_out: Vec<String>,
}

/// Something that is made by one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    key: String,
    /// As `table items`.
    label: String,
    /// None for what cannot be made again by a project.
    sql: Option<String>,
}

/// A statement about something that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Later {
    key: String,
    /// `table` and `policy` of a policy.
    tag: Option<String>,
    sql: String,
}

/// Reads the structure of a project's schema.
///
/// # Errors
/// `TooLarge` beyond 3.5 MiB of text; what a session can fail with; `Raced` when the schema keeps changing.
pub async fn read(cells: &Cells, slot: &Slot) -> Result<Structure, ExposeError> {
    for _ in 0..ATTEMPTS_MAX {
        let mut session = cells
            .session(slot, Login::Admin, &sql::settings(slot, DEADLINE))
            .await
            .map_err(SqlError::from)?;
        let pid = session.pid;
        let schema = slot.schema();
        let look = tokio::time::timeout(DEADLINE, look(&mut session.conn, &schema)).await;
        let Ok(found) = look else {
            drop(session);
            cells.session_end(slot, Login::Admin, pid).await.map_err(SqlError::from)?;
            return Err(SqlError::Timeout { reads_only: true }.into());
        };
        session.close().await;
        if let Some(found) = found? {
            return Ok(found);
        }
    }
    Err(ExposeError::Raced)
}

/// Nothing when the schema changed meanwhile.
async fn look(conn: &mut PgConnection, schema: &str) -> Result<Option<Structure>, ExposeError> {
    let version = version(conn).await?;
    let mut bytes = 0;
    let made = made(conn).await?;
    let mut nodes = Vec::new();
    for row in rows::<3>(conn, queries::NODES, schema, &mut bytes).await? {
        let [key, label, sql] = row;
        nodes.push(Node { key: key.unwrap_or_default(), label: label.unwrap_or_default(), sql });
    }
    let edges = rows::<2>(conn, queries::EDGES, schema, &mut bytes).await?;
    let edges =
        edges.into_iter().map(|[user, used]| (user.unwrap_or_default(), used.unwrap_or_default())).collect();
    let mut later = Vec::new();
    for query in queries::LATER {
        for [key, tag, sql] in rows::<3>(conn, query, schema, &mut bytes).await? {
            later.push(Later { key: key.unwrap_or_default(), tag, sql: sql.unwrap_or_default() });
        }
    }
    if self::version(conn).await? != version {
        return Ok(None);
    }
    Ok(Some(written(schema, nodes, &edges, later, made)))
}

async fn version(conn: &mut PgConnection) -> Result<String, ExposeError> {
    let query = "select version::pg_catalog.text from r402.schema_version";
    let row = sqlx::raw_sql(query).fetch_one(conn).await.map_err(|e| refused(&e))?;
    row.try_get(0).map_err(|e| refused(&e))
}

async fn rows<const N: usize>(
    conn: &mut PgConnection,
    query: &str,
    schema: &str,
    bytes: &mut usize,
) -> Result<Vec<[Option<String>; N]>, ExposeError> {
    // A slot's name is letters and digits: it needs no escaping.
    let text = query.replace("$SCHEMA$", &format!("pg_catalog.to_regnamespace('{schema}')"));
    let mut stream = sqlx::raw_sql(AssertSqlSafe(text)).fetch(conn);
    let mut found = Vec::new();
    while let Some(row) = stream.try_next().await.map_err(|e| refused(&e))? {
        let mut values = [const { None }; N];
        for (at, value) in values.iter_mut().enumerate() {
            *value = row.try_get::<Option<String>, _>(at).map_err(|e| refused(&e))?;
            *bytes += value.as_ref().map_or(0, String::len);
        }
        if *bytes > BYTES_MAX {
            return Err(SqlError::TooLarge { rows_max: found.len(), bytes_max: BYTES_MAX }.into());
        }
        found.push(values);
    }
    Ok(found)
}

fn refused(error: &sqlx::Error) -> ExposeError {
    tracing::info!(error = error as &dyn std::error::Error, "read a schema's structure");
    SqlError::Unavailable.into()
}

/// Everything in an order in which it can be made.
fn written(
    schema: &str,
    nodes: Vec<Node>,
    edges: &BTreeSet<(String, String)>,
    later: Vec<Later>,
    made: Option<Made>,
) -> Structure {
    let made = made.unwrap_or_default();
    let by_manifest =
        |node: &Node| node.label.strip_prefix("view ").is_some_and(|view| made.views.contains(view));
    let missing: BTreeMap<String, bool> = nodes
        .iter()
        .filter(|node| node.sql.is_none() || by_manifest(node))
        .map(|node| (node.key.clone(), by_manifest(node)))
        .collect();
    let lost = order::closure(&missing.keys().cloned().collect(), edges);
    let mut left_out: Vec<String> = nodes
        .iter()
        .filter(|node| lost.contains(&node.key) && missing.get(&node.key) != Some(&true))
        .map(|node| node.label.clone())
        .collect();
    left_out.sort();
    let kept: Vec<Node> = nodes.into_iter().filter(|node| !lost.contains(&node.key)).collect();
    let tables = kept.iter().filter(|node| node.label.starts_with("table ")).count();
    let is_manifests = |one: &Later| one.tag.as_ref().is_some_and(|tag| made.policies.contains(tag));
    let later =
        later.into_iter().filter(|one| !lost.contains(&one.key) && !is_manifests(one)).map(|one| one.sql);
    let first = order::sorted(kept, edges).into_iter().filter_map(|node| node.sql);
    let statements: Vec<String> = first.chain(later).collect();
    let sql = (!statements.is_empty()).then(|| format!("{HEAD};\n\n{};\n", statements.join(";\n\n")));
    Structure { schema: schema.to_owned(), sql, manifest: made.manifest, tables, left_out }
}

/// The text with another schema's name wherever it stands as a word of its own: the server qualifies what it prints,
/// and bodies of functions may do as well.
pub fn renamed(text: &str, from: &str, to: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        out.push_str(before);
        let is_word =
            !out.chars().next_back().is_some_and(inside) && !after.chars().next().is_some_and(inside);
        out.push_str(if is_word { to } else { from });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_another_schemas_name() {
        let text = "create function p0007.f() as $$ select \"p0007\".x, p00071.y, ap0007, p0007_z $$; p0007";
        let expected =
            "create function p0012.f() as $$ select \"p0012\".x, p00071.y, ap0007, p0007_z $$; p0012";
        assert_eq!(renamed(text, "p0007", "p0012"), expected);
    }

    #[test]
    fn what_needs_something_that_is_left_out_is_left_out_and_named() {
        let node = |key: &str, label: &str, sql: Option<&str>| Node {
            key: key.into(),
            label: label.into(),
            sql: sql.map(str::to_owned),
        };
        let nodes = vec![
            node("c3", "view sums", Some("create view sums")),
            node("p1", "aggregate mine", None),
            node("c2", "view open", Some("create view open")),
            node("c1", "table t", Some("create table t ()")),
        ];
        let edge = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let edges = BTreeSet::from([edge("c3", "p1"), edge("c3", "c1"), edge("c2", "c1")]);
        let made = Made { views: BTreeSet::from(["open".to_owned()]), ..Made::default() };
        let later = vec![
            Later { key: "c1".into(), tag: None, sql: "alter table t".into() },
            Later { key: "c3".into(), tag: None, sql: "comment on view sums".into() },
        ];
        let found = written("p0007", nodes, &edges, later, Some(made));
        assert_eq!(found.left_out, ["aggregate mine", "view sums"]);
        assert_eq!(found.sql.unwrap(), format!("{HEAD};\n\ncreate table t ();\n\nalter table t;\n"));
        assert_eq!(found.tables, 1);
    }
}
