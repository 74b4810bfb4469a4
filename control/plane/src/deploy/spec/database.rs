//! `database`: migrations, and the authorisation manifest.

use std::collections::BTreeSet;

use actors::deploy::{Database, Migration, SQL_BYTES_MAX, Transaction};
use serde_json::Value;

use super::content::content;
use super::read::{Fields, Mistakes, boolean, list, object, only};

const MIGRATIONS_MAX: usize = 1_000;
const ID_BYTES_MAX: usize = 200;
const CHECKSUM_BYTES_MAX: usize = 200;

pub(super) fn database(value: Option<&Value>, bad: &mut Mistakes) -> Option<Database> {
    let fields = object(value, "database", bad)?;
    only(fields, "database", &["migrations", "expose", "zero_downtime"], bad);
    let items = list(fields.get("migrations"), "database.migrations", bad);
    if items.len() > MIGRATIONS_MAX {
        bad.add("database.migrations", &format!("at most {MIGRATIONS_MAX} migrations are possible"));
        return None;
    }
    let mut ids = BTreeSet::new();
    let mut migrations = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let place = format!("database.migrations[{i}]");
        let Some(migration) = migration(item, &place, bad) else { continue };
        if !ids.insert(migration.id.clone()) {
            bad.add(&format!("{place}.id"), "another migration has this id");
        }
        migrations.push(migration);
    }
    let expose = object(fields.get("expose"), "database.expose", bad).cloned().map(Value::Object);
    let zero_downtime = boolean(fields, "zero_downtime", "database", bad);
    let database = Database { migrations, expose, zero_downtime };
    (!database.migrations.is_empty() || database.expose.is_some()).then_some(database)
}

fn migration(item: &Value, place: &str, bad: &mut Mistakes) -> Option<Migration> {
    let Some(fields) = object(Some(item), place, bad) else {
        if item.is_null() {
            bad.add(place, "an object is needed here");
        }
        return None;
    };
    only(fields, place, &["id", "checksum", "sql_ref", "transaction"], bad);
    let id = text(fields, "id", ID_BYTES_MAX, place, bad);
    let checksum = text(fields, "checksum", CHECKSUM_BYTES_MAX, place, bad);
    let sql_ref = content(fields.get("sql_ref"), &format!("{place}.sql_ref"), "x.sql", bad);
    if sql_ref.as_ref().is_some_and(|sql| sql.size > SQL_BYTES_MAX) {
        bad.add(&format!("{place}.sql_ref.size"), "a migration has at most 4 MiB");
    }
    let transaction = match fields.get("transaction") {
        None | Some(Value::Null) => Some(Transaction::Required),
        Some(Value::String(text)) if text == "required" => Some(Transaction::Required),
        Some(Value::String(text)) if text == "none" => Some(Transaction::None),
        Some(_) => {
            bad.add(&format!("{place}.transaction"), "use required or none");
            None
        }
    };
    Some(Migration { id: id?, checksum: checksum?, sql_ref: sql_ref?, transaction: transaction? })
}

/// Printable text without spaces at its ends.
fn text(fields: &Fields, name: &str, bytes_max: usize, place: &str, bad: &mut Mistakes) -> Option<String> {
    let found = fields.get(name).and_then(Value::as_str).filter(|text| {
        (1..=bytes_max).contains(&text.len()) && text.trim() == *text && !text.chars().any(char::is_control)
    });
    if found.is_none() {
        let why = format!("a text of 1 to {bytes_max} bytes without control characters is needed");
        bad.add(&format!("{place}.{name}"), &why);
    }
    found.map(str::to_owned)
}
