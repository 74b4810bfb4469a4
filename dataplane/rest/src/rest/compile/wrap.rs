//! The one row that every statement answers: counts, body, and what the statement wants in the response.

use super::super::media::Media;
use super::super::plan::Node;
use super::read::From;
use super::{Builder, SOURCE, Statement, ident, literal};

/// How the body is put together.
#[derive(Debug, Clone, Copy)]
pub(in crate::rest) struct Shape<'a> {
    pub media: Media,
    /// Without a body only counts are answered.
    pub body: bool,
    /// The value of a function instead of rows.
    pub scalar: bool,
    /// A function that gives one value or row, not a set.
    pub single: bool,
    pub count: bool,
    /// Columns for the `Location` header.
    pub location: &'a [String],
}

/// A read of a table.
pub(in crate::rest) fn read_statement(mut builder: Builder, node: &Node, shape: &Shape) -> Statement {
    let rows = builder.read_root(node, From::Table);
    let total =
        if shape.count { format!("({})", builder.count_root(node, From::Table)) } else { "null".to_owned() };
    let text = format!("WITH {SOURCE} AS ({rows}) {}", selected(shape, &total, SOURCE));
    builder.finish(text)
}

/// A change or call (`with`), and what is read of its rows.
pub(in crate::rest) fn wrap(
    mut builder: Builder,
    with: &str,
    node: Option<&Node>,
    shape: &Shape,
) -> Statement {
    let total = match node.filter(|_| shape.count) {
        Some(node) => format!("({})", builder.count_root(node, From::Source)),
        None => "null".to_owned(),
    };
    let rows = match node {
        Some(node) => format!("({})", builder.read_root(node, From::Source)),
        None => SOURCE.to_owned(),
    };
    let text = format!("{with} {}", selected(shape, &total, &rows));
    builder.finish(text)
}

fn selected(shape: &Shape, total: &str, rows: &str) -> String {
    let location = if shape.location.is_empty() { "null".to_owned() } else { location(shape.location) };
    format!(
        "SELECT {total}::text, pg_catalog.count(*)::text, {}, \
         nullif(pg_catalog.current_setting('response.headers', true), ''), \
         nullif(pg_catalog.current_setting('response.status', true), ''), {location}, \
         nullif(pg_catalog.current_setting('pgrst.inserted', true), '') FROM {rows} AS _pgrst_t",
        body(shape, rows)
    )
}

fn body(shape: &Shape, rows: &str) -> String {
    if !shape.body {
        return "''".to_owned();
    }
    let row = if shape.scalar { "_pgrst_t.pgrst_scalar" } else { "_pgrst_t" };
    let strip = |json: String| {
        if shape.media.strips() { format!("pg_catalog.json_strip_nulls({json})") } else { json }
    };
    let first = format!("json_agg({row}) -> 0");
    match shape.media {
        Media::Csv => csv(rows),
        Media::Object { .. } => format!("coalesce({}::text, 'null')", strip(format!("({first})"))),
        _ if shape.single => format!("coalesce({}::text, 'null')", strip(format!("({first})"))),
        _ => format!("coalesce({}::text, '[]')", strip(format!("json_agg({row})"))),
    }
}

fn csv(rows: &str) -> String {
    format!(
        "(SELECT coalesce(string_agg(pgrst_key, ','), '') FROM (SELECT json_object_keys(pgrst_row) AS pgrst_key FROM \
         (SELECT row_to_json(pgrst_one) AS pgrst_row FROM {rows} AS pgrst_one LIMIT 1) AS pgrst_first) AS pgrst_keys) \
         || E'\\n' || coalesce(string_agg(substring(_pgrst_t::text, 2, length(_pgrst_t::text) - 2), E'\\n'), '')"
    )
}

/// `[["id","5"]]`: the key of the first row.
fn location(key: &[String]) -> String {
    let pairs: Vec<String> = key
        .iter()
        .map(|column| format!("json_build_array({}, pgrst_one.{}::text)", literal(column), ident(column)))
        .collect();
    format!("(SELECT json_build_array({})::text FROM {SOURCE} AS pgrst_one LIMIT 1)", pairs.join(", "))
}
