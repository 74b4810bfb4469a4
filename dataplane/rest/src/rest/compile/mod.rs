//! From a resolved request to one statement. Pure.
//!
//! Every value a client sends is a parameter; names are quoted, and only they and keys of JSON paths become
//! part of the text, so that a text names a *shape* and can stay prepared.

mod call;
mod condition;
mod mutate;
mod read;
mod wrap;

pub(in crate::rest) use call::{CallBody, call};
pub(in crate::rest) use mutate::{Change, Returning, change};
pub(in crate::rest) use read::From;
pub(in crate::rest) use wrap::{Shape, read_statement, wrap};

use super::parse::{Field, JsonKey};
use super::schema::Schema;

/// The rows that a change or a function gives.
pub(in crate::rest) const SOURCE: &str = "pgrst_source";

/// A text and the values of `$1`, `$2`, ...
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::rest) struct Statement {
    pub text: String,
    pub params: Vec<Option<String>>,
}

/// What the parts of one statement share.
pub(in crate::rest) struct Builder<'a> {
    pub schema: &'a Schema,
    pub params: Vec<Option<String>>,
}

impl<'a> Builder<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        Self { schema, params: Vec::new() }
    }

    /// The place holder of a value.
    pub fn bind(&mut self, value: impl Into<String>) -> String {
        self.params.push(Some(value.into()));
        format!("${}", self.params.len())
    }

    pub fn finish(self, text: String) -> Statement {
        Statement { text, params: self.params }
    }

    /// `"p0007"."items"`
    pub fn qualified(&self, name: &str) -> String {
        format!("{}.{}", ident(&self.schema.name), ident(name))
    }

    /// A column of `alias`, which are rows of `table`, and the place within it.
    pub fn field(&self, table: &str, alias: &str, field: &Field) -> String {
        let column = format!("{}.{}", ident(alias), ident(&field.name));
        if field.path.is_empty() {
            return column;
        }
        let kind = self.kind(table, &field.name);
        let mut out = match kind {
            Some("json" | "jsonb") => column,
            _ => format!("pg_catalog.to_jsonb({column})"),
        };
        for step in &field.path {
            let arrow = if step.text { "->>" } else { "->" };
            match &step.key {
                JsonKey::Name(name) => out.push_str(&format!("{arrow}{}", literal(name))),
                JsonKey::Index(index) => out.push_str(&format!("{arrow}({index})")),
            }
        }
        out
    }

    /// The type of a column, when it is one.
    pub fn kind(&self, table: &str, column: &str) -> Option<&'a str> {
        let table = self.schema.tables.get(table)?;
        Some(table.column(column)?.kind.as_str())
    }
}

/// A quoted name.
pub(in crate::rest) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted text.
pub(in crate::rest) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// `{"a","b"}`
pub(in crate::rest) fn array(items: &[String]) -> String {
    let quoted: Vec<String> =
        items.iter().map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

/// ` WHERE a AND b`, or nothing.
pub(in crate::rest) fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
}

#[cfg(test)]
mod tests;
