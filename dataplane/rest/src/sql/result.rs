//! What a request answers, and how it is collected from the stream under the caps.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::Value;
use sqlx::postgres::{PgColumn, PgRow};
use sqlx::{Column, Row, TypeInfo, ValueRef};

use super::lex::Statement;
use super::{Limits, SqlError, decode};

/// The last statement's rows, and how many rows all statements touched.
#[derive(Debug, Clone)]
pub struct SqlOutcome {
    /// The project's schema.
    pub schema: String,
    pub rows: Vec<SqlRow>,
    /// `None` when no statement counts rows, as with DDL.
    pub count: Option<u64>,
    pub fields: Vec<Field>,
}

/// A column of the last statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
}

/// One row, shown as an object in the order of the select list. Of columns with the same name the last is
/// shown.
#[derive(Debug, Clone)]
pub struct SqlRow {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl SqlRow {
    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.names.iter().rposition(|own| own == name)?;
        self.values.get(at)
    }
}

impl Serialize for SqlRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, (name, value)) in self.names.iter().zip(&self.values).enumerate() {
            if !self.names[at + 1..].contains(name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// A column before its type is named.
#[derive(Debug, Clone)]
pub(super) struct RawField {
    pub name: String,
    pub oid: u32,
}

/// What has come so far.
pub(super) struct Collected {
    limits: Limits,
    /// Statements that ended.
    pub completed: usize,
    pub count: Option<u64>,
    pub rows: Vec<SqlRow>,
    pub fields: Vec<RawField>,
    names: Arc<[String]>,
    bytes: usize,
    /// The running statement has sent nothing yet: what is held belongs to the one before.
    fresh: bool,
}

impl Collected {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            completed: 0,
            count: None,
            rows: Vec::new(),
            fields: Vec::new(),
            names: Arc::new([]),
            bytes: 0,
            fresh: true,
        }
    }

    pub(super) fn row(&mut self, row: &PgRow) -> Result<(), SqlError> {
        if self.fresh {
            self.begin(row.columns());
        }
        if self.rows.len() >= self.limits.rows_max {
            return Err(self.too_large());
        }
        let mut values = Vec::with_capacity(self.fields.len());
        for (at, field) in self.fields.iter().enumerate() {
            let raw = row.try_get_raw(at).map_err(|_| SqlError::Unavailable)?;
            if raw.is_null() {
                values.push(Value::Null);
                continue;
            }
            let text = raw.as_str().map_err(|_| SqlError::Unavailable)?;
            self.bytes += text.len() + field.name.len();
            values.push(decode::value(field.oid, text));
        }
        if self.bytes > self.limits.bytes_max {
            return Err(self.too_large());
        }
        self.rows.push(SqlRow { names: self.names.clone(), values });
        Ok(())
    }

    /// A statement ended.
    pub(super) fn complete(&mut self, statement: Option<&Statement>, affected: u64) {
        if self.fresh {
            self.begin(&[]);
        }
        let shown = self.rows.len() as u64;
        if statement.is_some_and(counts_rows) || shown > 0 {
            self.count = Some(self.count.unwrap_or(0) + affected.max(shown));
        }
        self.completed += 1;
        self.fresh = true;
    }

    fn begin(&mut self, columns: &[PgColumn]) {
        self.fresh = false;
        self.bytes = 0;
        self.rows.clear();
        self.fields = raw_fields(columns);
        self.names = self.fields.iter().map(|field| field.name.clone()).collect();
    }

    pub(super) fn too_large(&self) -> SqlError {
        SqlError::TooLarge { rows_max: self.limits.rows_max, bytes_max: self.limits.bytes_max }
    }
}

pub(super) fn raw_fields(columns: &[PgColumn]) -> Vec<RawField> {
    let field = |column: &PgColumn| RawField {
        name: column.name().to_owned(),
        oid: column.type_info().oid().map_or(0, |oid| oid.0),
    };
    columns.iter().map(field).collect()
}

/// Type names that only the database knows are looked up there first; without an answer sqlx's name has to
/// do.
pub(super) fn named(fields: &[RawField], known: &[(u32, String)]) -> Vec<Field> {
    let name = |oid: u32| {
        decode::type_name(oid)
            .map(|name| name.into_owned())
            .or_else(|| known.iter().find(|(known, _)| *known == oid).map(|(_, name)| name.clone()))
    };
    let field = |raw: &RawField| Field {
        name: raw.name.clone(),
        type_name: name(raw.oid).unwrap_or_else(|| {
            sqlx::postgres::PgTypeInfo::with_oid(sqlx::postgres::types::Oid(raw.oid)).name().to_lowercase()
        }),
    };
    fields.iter().map(field).collect()
}

/// Statements whose tag carries a number of rows.
fn counts_rows(statement: &Statement) -> bool {
    const COUNTING: [&str; 14] = [
        "SELECT", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "FETCH", "MOVE", "COPY",
        "EXECUTE", "SHOW", "EXPLAIN",
    ];
    COUNTING.contains(&statement.verb())
}

/// Statements that may send rows.
pub(super) fn may_return_rows(statement: &Statement) -> bool {
    match statement.verb() {
        "SELECT" | "VALUES" | "TABLE" | "WITH" => !statement.has("INTO") || statement.word(0) == "WITH",
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" => statement.has("RETURNING"),
        _ => false,
    }
}

/// Nothing but plain reads, as far as the words tell.
pub(super) fn reads_only(statements: &[Statement]) -> bool {
    const WRITES: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO"];
    statements.iter().all(|statement| {
        matches!(statement.word(0), "SELECT" | "VALUES" | "TABLE" | "SHOW" | "WITH")
            && !statement.words.iter().any(|word| WRITES.contains(&word.text.as_str()))
    })
}
