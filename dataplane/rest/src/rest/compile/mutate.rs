//! Statements that change rows.

use std::collections::BTreeSet;

use super::super::parse::{Filter, Logic};
use super::super::plan::Node;
use super::super::prefer::Resolution;
use super::super::schema::Table;
use super::{Builder, SOURCE, ident, literal, where_clause};

/// A change of one table.
#[derive(Debug, Clone)]
pub(in crate::rest) enum Change {
    Insert {
        /// One object or an array of them.
        json: String,
        columns: Vec<String>,
        /// Columns that an object leaves out get their default instead of null.
        defaults: bool,
        conflict: Option<(Vec<String>, Resolution)>,
        /// The key of the one row that is put.
        key: Vec<Filter>,
    },
    Update {
        json: String,
        columns: Vec<String>,
        /// As of an insert.
        defaults: bool,
        filters: Vec<Filter>,
        logic: Vec<Logic>,
    },
    Delete {
        filters: Vec<Filter>,
        logic: Vec<Logic>,
    },
    /// A body without any row, or without any value.
    Nothing,
}

/// What of the changed rows is needed afterwards.
#[derive(Debug, Clone, Copy)]
pub(in crate::rest) enum Returning<'a> {
    /// Only how many there are, which takes no right to read them.
    Count,
    Key,
    Rows(&'a Node),
}

const COUNTER: &str = "coalesce(nullif(pg_catalog.current_setting('pgrst.inserted', true), '')::int, 0)";

/// The common table expression that makes the change.
pub(in crate::rest) fn change(
    builder: &mut Builder,
    table: &Table,
    change: &Change,
    returning: Returning,
) -> String {
    let (name, returned) = (builder.qualified(&table.name), columns_of(table, returning));
    let body = match change {
        Change::Nothing => {
            let list = if returned == "1" { "1".to_owned() } else { returned };
            return format!(
                "WITH {SOURCE} AS (SELECT {list} FROM {name} AS {} WHERE false)",
                ident(&table.name)
            );
        }
        Change::Insert { json, columns, defaults, conflict, key } => {
            insert(builder, table, (json, columns, *defaults), conflict.as_ref(), key)
        }
        Change::Update { json, columns, defaults, filters, logic } => {
            let payload = payload(builder, table, json, columns, *defaults, true);
            let set: Vec<String> =
                columns.iter().map(|column| format!("{0} = pgrst_body.{0}", ident(column))).collect();
            let conditions = conditions(builder, table, filters, logic);
            format!("UPDATE {name} SET {} FROM {payload}{conditions}", set.join(", "))
        }
        Change::Delete { filters, logic } => {
            format!("DELETE FROM {name}{}", conditions(builder, table, filters, logic))
        }
    };
    format!("WITH {SOURCE} AS ({body} RETURNING {returned})")
}

fn conditions(builder: &mut Builder, table: &Table, filters: &[Filter], logic: &[Logic]) -> String {
    let mut all: Vec<String> =
        filters.iter().map(|filter| builder.filter(&table.name, &table.name, filter)).collect();
    all.extend(logic.iter().map(|logic| builder.logic(&table.name, &table.name, logic)));
    where_clause(&all)
}

fn insert(
    builder: &mut Builder,
    table: &Table,
    (json, columns, defaults): (&str, &[String], bool),
    conflict: Option<&(Vec<String>, Resolution)>,
    key: &[Filter],
) -> String {
    let name = builder.qualified(&table.name);
    if columns.is_empty() {
        // As many rows of defaults as there are objects without keys.
        let place = builder.bind(json);
        return format!(
            "INSERT INTO {name} SELECT FROM (SELECT {place}::json AS json_data) pgrst_payload, LATERAL \
             json_array_elements(CASE WHEN json_typeof(json_data) = 'array' THEN json_data ELSE \
             json_build_array(json_data) END) AS pgrst_body"
        );
    }
    let list: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    let values: Vec<String> = list.iter().map(|column| format!("pgrst_body.{column}")).collect();
    let payload = payload(builder, table, json, columns, defaults, false);
    let mut conditions: Vec<String> =
        key.iter().map(|filter| builder.filter(&table.name, "pgrst_body", filter)).collect();
    let merges = conflict.is_some_and(|(target, how)| !target.is_empty() && *how == Resolution::Merge);
    if merges {
        // Counts what is inserted: conflicts count back below. Decides between 201 and 200.
        conditions
            .push(format!("pg_catalog.set_config('pgrst.inserted', ({COUNTER} + 1)::text, true) <> '0'"));
    }
    let mut out = format!(
        "INSERT INTO {name} ({}) SELECT {} FROM {payload}{}",
        list.join(", "),
        values.join(", "),
        where_clause(&conditions)
    );
    if let Some((target, how)) = conflict.filter(|(target, _)| !target.is_empty()) {
        let target: Vec<String> = target.iter().map(|column| ident(column)).collect();
        out.push_str(&format!(" ON CONFLICT ({})", target.join(", ")));
        match how {
            Resolution::Ignore => out.push_str(" DO NOTHING"),
            Resolution::Merge => {
                let set: Vec<String> =
                    list.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
                out.push_str(&format!(
                    " DO UPDATE SET {} WHERE pg_catalog.set_config('pgrst.inserted', ({COUNTER} - 1)::text, true) \
                     <> '-1'",
                    set.join(", ")
                ));
            }
        }
    }
    out
}

/// `... pgrst_body`: the rows of the JSON, typed as the table's columns are.
fn payload(
    builder: &mut Builder,
    table: &Table,
    json: &str,
    columns: &[String],
    defaults: bool,
    one: bool,
) -> String {
    let place = builder.bind(json);
    let typed: Vec<String> = columns
        .iter()
        .map(|name| {
            format!("{} {}", ident(name), table.column(name).map_or("text", |column| column.kind.as_str()))
        })
        .collect();
    let list: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    let (list, typed, limit) = (list.join(", "), typed.join(", "), if one { " LIMIT 1" } else { "" });
    if defaults {
        let pairs: Vec<String> = columns
            .iter()
            .filter_map(|name| Some((name, default_of(builder, table, name)?)))
            .map(|(name, default)| format!("{}, {default}", literal(name)))
            .collect();
        return format!(
            "(SELECT {place}::jsonb AS json_data) pgrst_payload, LATERAL (SELECT jsonb_agg(\
             jsonb_build_object({}) || pgrst_item) AS rows FROM jsonb_array_elements(CASE WHEN \
             jsonb_typeof(json_data) = 'array' THEN json_data ELSE jsonb_build_array(json_data) END) AS pgrst_item) \
             pgrst_filled, LATERAL (SELECT {list} FROM jsonb_to_recordset(pgrst_filled.rows) AS _({typed}){limit}) \
             pgrst_body",
            pairs.join(", ")
        );
    }
    format!(
        "(SELECT {place}::json AS json_data) pgrst_payload, LATERAL (SELECT {list} FROM json_to_recordset(\
         CASE WHEN json_typeof(json_data) = 'array' THEN json_data ELSE json_build_array(json_data) END) AS \
         _({typed}){limit}) pgrst_body"
    )
}

/// The default of a column as it is stored in the catalogue.
fn default_of(builder: &Builder, table: &Table, name: &str) -> Option<String> {
    let default = table.column(name)?.default.as_deref()?;
    Some(if default == "@identity" {
        let qualified = literal(&builder.qualified(&table.name));
        format!("pg_catalog.nextval(pg_catalog.pg_get_serial_sequence({qualified}, {}))", literal(name))
    } else {
        default.to_owned()
    })
}

/// Only what the answer needs: a caller may have no right to read more.
fn columns_of(table: &Table, returning: Returning) -> String {
    let of = |column: &str| format!("{}.{}", ident(&table.name), ident(column));
    match returning {
        Returning::Count => "1".to_owned(),
        Returning::Key if table.primary_key.is_empty() => "1".to_owned(),
        Returning::Key => table.primary_key.iter().map(|column| of(column)).collect::<Vec<_>>().join(", "),
        Returning::Rows(node) => {
            let computes = node.children.iter().any(|child| child.relation.function.is_some());
            let mut names: BTreeSet<&str> = BTreeSet::new();
            let counts = |name: &str| name == "*";
            let items = node.items.iter().map(|item| item.field.name.as_str());
            names.extend(items.filter(|name| !counts(name)));
            names.extend(
                node.order.iter().filter(|term| term.relation.is_none()).map(|term| term.field.name.as_str()),
            );
            for child in &node.children {
                names.extend(child.relation.columns.iter().map(|(here, _)| here.as_str()));
                let junction = child.relation.junction.iter().flat_map(|junction| &junction.source);
                names.extend(junction.map(|(_, start)| start.as_str()));
            }
            let mut out = Vec::new();
            if node.selects_all() || computes || names.is_empty() {
                out.push(format!("{}.*", ident(&table.name)));
                // Computed columns are not among them.
                names.retain(|name| table.column(name).is_none());
            }
            out.extend(names.iter().map(|name| of(name)));
            out.join(", ")
        }
    }
}
