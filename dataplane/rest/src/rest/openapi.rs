//! The description of a project's API, limited to what the caller may use.
//!
//! # Source
//! <https://docs.postgrest.org/en/v13/references/api/openapi.html>

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{Column, Function, Schema, Table};

/// `$1` the schema, `$2` the role: names of relations by right, and of functions.
pub(super) const RIGHTS: &str = "
  with c as (select relname, oid from pg_catalog.pg_class where relnamespace = pg_catalog.to_regnamespace($1)
      and relkind in ('r','p','v','m','f')),
  r as (select $2::name as role)
  select json_build_object(
    'select', (select coalesce(json_agg(relname), '[]') from c, r
      where has_table_privilege(r.role, oid, 'select') or has_any_column_privilege(r.role, oid, 'select')),
    'insert', (select coalesce(json_agg(relname), '[]') from c, r
      where has_table_privilege(r.role, oid, 'insert') or has_any_column_privilege(r.role, oid, 'insert')),
    'update', (select coalesce(json_agg(relname), '[]') from c, r
      where has_table_privilege(r.role, oid, 'update') or has_any_column_privilege(r.role, oid, 'update')),
    'delete', (select coalesce(json_agg(relname), '[]') from c, r where has_table_privilege(r.role, oid, 'delete')),
    'execute', (select coalesce(json_agg(distinct p.proname), '[]') from pg_catalog.pg_proc p, r
      where p.pronamespace = pg_catalog.to_regnamespace($1) and has_function_privilege(r.role, p.oid, 'execute'))
  )::text";

struct Rights(Value);

impl Rights {
    fn of(&self, right: &str) -> BTreeSet<&str> {
        self.0[right].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).collect()
    }
}

/// The Swagger 2.0 document. `base` is where the API begins.
pub(super) fn document(schema: &Schema, rights: &str, base: &str) -> Value {
    let rights = Rights(serde_json::from_str(rights).unwrap_or_default());
    let (mut paths, mut definitions, mut parameters) = (Map::new(), Map::new(), common_parameters());
    paths.insert(
        "/".to_owned(),
        json!({ "get": {
            "tags": ["Introspection"],
            "summary": "OpenAPI description (this document)",
            "produces": ["application/openapi+json", "application/json"],
            "responses": { "200": { "description": "OK" } },
        }}),
    );
    let verbs = ["select", "insert", "update", "delete"].map(|right| rights.of(right));
    for (name, table) in &schema.tables {
        let may: Vec<bool> = verbs.iter().map(|names| names.contains(name.as_str())).collect();
        if may.iter().all(|may| !may) {
            continue;
        }
        paths.insert(format!("/{name}"), table_path(table, &may));
        definitions.insert(name.clone(), definition(table));
        for column in &table.columns {
            parameters.insert(
                format!("rowFilter.{name}.{}", column.name),
                json!({
                    "name": column.name, "in": "query", "required": false, "type": "string",
                    "description": column.description.clone().unwrap_or_default(),
                }),
            );
        }
        parameters.insert(
            format!("body.{name}"),
            json!({
                "name": name, "in": "body", "required": false, "description": name,
                "schema": { "$ref": format!("#/definitions/{name}") },
            }),
        );
    }
    for name in rights.of("execute") {
        let Some(function) = schema.functions.get(name).and_then(|all| all.first()) else { continue };
        paths.insert(format!("/rpc/{name}"), function_path(function));
    }
    json!({
        "swagger": "2.0",
        "info": {
            "title": "REST API of this project",
            "description": "Made from the project's own schema; it shows what the caller's role may use.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "basePath": base,
        "consumes": MEDIA,
        "produces": MEDIA,
        "paths": paths,
        "definitions": definitions,
        "parameters": parameters,
    })
}

const MEDIA: [&str; 4] = [
    "application/json",
    "application/vnd.pgrst.object+json;nulls=stripped",
    "application/vnd.pgrst.object+json",
    "text/csv",
];

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/parameters/{name}") })
}

fn table_path(table: &Table, may: &[bool]) -> Value {
    let name = &table.name;
    let filters: Vec<Value> =
        table.columns.iter().map(|column| reference(&format!("rowFilter.{name}.{}", column.name))).collect();
    let with = |more: &[&str]| {
        let mut all = filters.clone();
        all.extend(more.iter().map(|one| reference(one)));
        all
    };
    let body = reference(&format!("body.{name}"));
    let operation = |parameters: Vec<Value>, responses: Value| {
        let mut out = json!({ "tags": [name], "parameters": parameters, "responses": responses });
        if let Some(about) = &table.description {
            out["summary"] = about.lines().next().unwrap_or_default().into();
            out["description"] = about.as_str().into();
        }
        out
    };
    let mut path = Map::new();
    if may[0] {
        let read = ["select", "order", "range", "rangeUnit", "offset", "limit", "preferCount"];
        let rows = json!({ "type": "array", "items": { "$ref": format!("#/definitions/{name}") } });
        let responses = json!({
            "200": { "description": "OK", "schema": rows },
            "206": { "description": "Partial Content" },
        });
        path.insert("get".to_owned(), operation(with(&read), responses));
    }
    if may[1] && table.insertable {
        let parameters = vec![body.clone(), reference("select"), reference("preferPost")];
        path.insert("post".to_owned(), operation(parameters, json!({ "201": { "description": "Created" } })));
    }
    let changed = json!({ "204": { "description": "No Content" } });
    if may[2] && table.updatable {
        let mut parameters = with(&["preferReturn"]);
        parameters.push(body);
        path.insert("patch".to_owned(), operation(parameters, changed.clone()));
    }
    if may[3] && table.deletable {
        path.insert("delete".to_owned(), operation(with(&["preferReturn"]), changed));
    }
    Value::Object(path)
}

fn definition(table: &Table) -> Value {
    let required: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| !column.nullable && column.default.is_none())
        .map(|column| column.name.as_str())
        .collect();
    let property = |column: &Column| {
        let mut out = json!({ "format": column.kind });
        if let Some(kind) = json_kind(&column.kind) {
            out["type"] = kind.into();
        }
        let key = table.primary_key.contains(&column.name);
        let note = if key { Some("Note:\nThis is a Primary Key.<pk/>".to_owned()) } else { None };
        let texts: Vec<String> = column.description.clone().into_iter().chain(note).collect();
        if !texts.is_empty() {
            out["description"] = texts.join("\n\n").into();
        }
        if let Some(default) = column.default.as_deref().filter(|default| *default != "@identity") {
            out["default"] = default.into();
        }
        if let Some(length) = column.max_length {
            out["maxLength"] = length.into();
        }
        if !column.labels.is_empty() {
            out["enum"] = json!(column.labels);
        }
        out
    };
    let properties: Map<String, Value> =
        table.columns.iter().map(|column| (column.name.clone(), property(column))).collect();
    let mut out = json!({ "type": "object", "properties": properties, "required": required });
    if let Some(about) = &table.description {
        out["description"] = about.as_str().into();
    }
    out
}

/// The JSON type of a Postgres type; JSON itself may be anything.
fn json_kind(kind: &str) -> Option<&'static str> {
    if kind.ends_with("[]") {
        return Some("array");
    }
    match kind {
        "smallint" | "integer" | "bigint" => Some("integer"),
        "real" | "double precision" => Some("number"),
        _ if kind.starts_with("numeric") => Some("number"),
        "boolean" => Some("boolean"),
        "json" | "jsonb" => None,
        _ => Some("string"),
    }
}

fn function_path(function: &Function) -> Value {
    let properties: Map<String, Value> = function
        .arguments
        .iter()
        .filter(|argument| !argument.name.is_empty())
        .map(|argument| {
            let mut out = json!({ "format": argument.kind });
            if let Some(kind) = json_kind(&argument.kind) {
                out["type"] = kind.into();
            }
            (argument.name.clone(), out)
        })
        .collect();
    let required: Vec<&str> =
        function.arguments.iter().filter(|one| one.required).map(|one| one.name.as_str()).collect();
    json!({ "post": {
        "tags": [format!("(rpc) {}", function.name)],
        "description": function.description.clone().unwrap_or_default(),
        "parameters": [{
            "name": "args", "in": "body", "required": true,
            "schema": { "type": "object", "properties": properties, "required": required },
        }],
        "responses": { "200": { "description": "OK" } },
    }})
}

fn common_parameters() -> Map<String, Value> {
    let mut out = Map::new();
    for (key, name, place, about) in [
        ("select", "select", "query", "Filtering Columns"),
        ("order", "order", "query", "Ordering"),
        ("limit", "limit", "query", "Limiting and Pagination"),
        ("offset", "offset", "query", "Limiting and Pagination"),
        ("on_conflict", "on_conflict", "query", "On Conflict"),
        ("range", "Range", "header", "Limiting and Pagination"),
        ("rangeUnit", "Range-Unit", "header", "Limiting and Pagination"),
        ("preferCount", "Prefer", "header", "Preference: count=exact, count=planned or count=estimated"),
        ("preferPost", "Prefer", "header", "Preference: return, resolution, missing"),
        ("preferReturn", "Prefer", "header", "Preference: return"),
    ] {
        let parameter =
            json!({ "name": name, "in": place, "required": false, "type": "string", "description": about });
        out.insert(key.to_owned(), parameter);
    }
    out
}
