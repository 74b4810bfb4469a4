//! Reading the catalogue: one statement, one JSON value.

use std::collections::BTreeMap;

use serde_json::Value;

use super::relations::{self, Fk};
use super::{Argument, Column, Function, Returns, Schema, Table, Volatility, views};

/// `$1` is the schema's name. Types are shown qualified, because nothing but the catalogue is on the path.
pub(in crate::rest) const STATEMENT: &str = r"
with s as (select oid from pg_catalog.pg_namespace where nspname = $1),
rel as (
  select c.oid, c.relname, c.relkind, c.relpartbound is not null as part,
    pg_catalog.obj_description(c.oid, 'pg_class') as about,
    pg_catalog.pg_relation_is_updatable(c.oid, true) as can
  from pg_catalog.pg_class c join s on c.relnamespace = s.oid where c.relkind in ('r','p','v','m','f')),
col as (
  select a.attrelid, json_agg(json_build_array(
      a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), not (a.attnotnull or t.typnotnull),
      case when a.attgenerated <> '' then null when a.attidentity <> '' then '@identity'
        else coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typdefault) end,
      pg_catalog.col_description(a.attrelid, a.attnum),
      pg_catalog.information_schema_length(a.atttypid, a.atttypmod),
      (select json_agg(e.enumlabel order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid),
      a.attgenerated <> '' or a.attidentity = 'a', a.attnum) order by a.attnum) as list
  from pg_catalog.pg_attribute a join rel on rel.oid = a.attrelid
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attnum > 0 and not a.attisdropped group by a.attrelid),
con as (
  select k.conname, k.contype, k.conrelid, k.confrelid, k.conkey, k.confkey
  from pg_catalog.pg_constraint k join rel on rel.oid = k.conrelid
  where k.contype in ('p','u','f') and k.conparentid = 0),
fun as (
  select p.proname, pg_catalog.obj_description(p.oid, 'pg_proc') as about, p.proretset, p.provolatile, p.prorows,
    p.pronargs, p.pronargdefaults, p.provariadic <> 0 as variadic, p.proargnames, p.proargmodes,
    array(select pg_catalog.format_type(x, null) from pg_catalog.unnest(p.proargtypes) with ordinality as u(x, n)
      order by n) as types,
    array(select r.typrelid::int8 from pg_catalog.unnest(p.proargtypes) with ordinality as u(x, n)
      join pg_catalog.pg_type r on r.oid = x order by n) as rows_of,
    coalesce(b.typtype, t.typtype) as kind, pg_catalog.format_type(p.prorettype, null) as gives,
    coalesce(nullif(t.typrelid, 0), b.typrelid, 0)::int8 as gives_rel, t.typname
  from pg_catalog.pg_proc p join s on p.pronamespace = s.oid
  join pg_catalog.pg_type t on t.oid = p.prorettype
  left join pg_catalog.pg_type b on b.oid = t.typbasetype and t.typbasetype <> 0
  where p.prokind = 'f' and p.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype))
select json_build_object(
  'tables', (select coalesce(json_agg(json_build_array(rel.oid::int8, rel.relname, rel.relkind, rel.about, rel.can,
      rel.part, coalesce(col.list, '[]')) order by rel.relname), '[]')
    from rel left join col on col.attrelid = rel.oid),
  'keys', (select coalesce(json_agg(json_build_array(conname, contype, conrelid::int8, confrelid::int8, conkey,
      coalesce(confkey, '{}')) order by conname), '[]') from con),
  'views', (select coalesce(json_agg(json_build_array(r.ev_class::int8, r.ev_action::text)), '[]')
    from pg_catalog.pg_rewrite r join rel on rel.oid = r.ev_class
    where rel.relkind in ('v','m') and r.rulename = '_RETURN'),
  'functions', (select coalesce(json_agg(row_to_json(fun) order by proname), '[]') from fun)
)::text";

/// The statement itself: the length of a character type is told without `information_schema`, which depends
/// on rights.
pub(in crate::rest) fn statement() -> String {
    const LENGTH: &str = "case when a.atttypid in ('pg_catalog.bpchar'::regtype, 'pg_catalog.varchar'::regtype) \
                          and a.atttypmod > 4 then a.atttypmod - 4 end";
    STATEMENT.replace("pg_catalog.information_schema_length(a.atttypid, a.atttypmod)", LENGTH)
}

/// What [`statement`] answered, as a schema.
pub(in crate::rest) fn read(
    name: &str,
    version: Option<i64>,
    text: &str,
) -> Result<Schema, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    let mut schema = Schema { name: name.to_owned(), version, ..Schema::default() };
    // By object id: the name, and columns by their number.
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    let mut numbered: BTreeMap<(i64, i64), String> = BTreeMap::new();
    for row in list(&value["tables"]) {
        let (oid, table) = table(row);
        for column in list(&row[6]) {
            numbered.insert((oid, int(&column[8])), text_of(&column[0]));
        }
        names.insert(oid, table.name.clone());
        schema.tables.insert(table.name.clone(), table);
    }
    let columns = |oid: i64, numbers: &Value| -> Vec<String> {
        list(numbers).iter().filter_map(|n| numbered.get(&(oid, int(n))).cloned()).collect()
    };
    let (mut unique, mut foreign) = (Vec::new(), Vec::new());
    for row in list(&value["keys"]) {
        let (here, there) = (int(&row[2]), int(&row[3]));
        let Some(table) = names.get(&here).cloned() else { continue };
        let own = columns(here, &row[4]);
        match row[1].as_str() {
            Some("f") => {
                let Some(target) = names.get(&there).cloned() else { continue };
                let pairs = own.into_iter().zip(columns(there, &row[5])).collect();
                foreign.push(Fk { name: text_of(&row[0]), table, target, columns: pairs });
            }
            kind => {
                if kind == Some("p")
                    && let Some(found) = schema.tables.get_mut(&table)
                {
                    found.primary_key.clone_from(&own);
                }
                unique.push((table, own));
            }
        }
    }
    let sources = views::sources(list(&value["views"]), &names, &numbered);
    views::primary_keys(&mut schema.tables, &sources);
    schema.relations = relations::all(&schema.tables, &foreign, &unique, &sources);
    for row in list(&value["functions"]) {
        let (function, computed) = function(row, &names);
        schema.relations_add(computed);
        if is_callable(&function) {
            schema.functions.entry(function.name.clone()).or_default().push(function);
        }
    }
    for overloads in schema.functions.values_mut() {
        // In the order in which they are told when a call fits several.
        overloads.sort_by_cached_key(|one| {
            let arguments =
                one.arguments.iter().map(|argument| (argument.name.clone(), argument.kind.clone()));
            (one.arguments.len(), one.description.clone(), arguments.collect::<Vec<_>>())
        });
    }
    Ok(schema)
}

fn table(row: &Value) -> (i64, Table) {
    let kind = text_of(&row[2]);
    let can = int(&row[4]);
    // Bits of `pg_relation_is_updatable`: CmdType UPDATE, INSERT, DELETE.
    let is = |bit: i64| can & (1 << bit) != 0;
    let column = |column: &Value| Column {
        name: text_of(&column[0]),
        kind: text_of(&column[1]),
        nullable: column[2].as_bool().unwrap_or(true),
        default: column[3].as_str().map(str::to_owned),
        description: column[4].as_str().map(str::to_owned),
        max_length: column[5].as_i64(),
        labels: list(&column[6]).iter().map(text_of).collect(),
        generated: column[7].as_bool().unwrap_or(false),
    };
    let table = Table {
        name: text_of(&row[1]),
        description: row[3].as_str().map(str::to_owned),
        is_view: matches!(kind.as_str(), "v" | "m"),
        columns: list(&row[6]).iter().map(column).collect(),
        primary_key: Vec::new(),
        updatable: is(2),
        insertable: is(3),
        deletable: is(4),
    };
    (int(&row[0]), table)
}

/// A function, and the relationship it computes if it is made for that.
fn function(row: &Value, names: &BTreeMap<i64, String>) -> (Function, Option<super::Relation>) {
    let types = list(&row["types"]);
    let modes = list(&row["proargmodes"]);
    let all_names = list(&row["proargnames"]);
    // Without modes every argument goes in; with modes only some do, and their names stand between others.
    let named: Vec<String> = if modes.is_empty() {
        all_names.iter().map(text_of).collect()
    } else {
        let goes_in = |mode: &Value| matches!(mode.as_str(), Some("i" | "b" | "v"));
        modes.iter().zip(all_names).filter(|(mode, _)| goes_in(mode)).map(|(_, name)| text_of(name)).collect()
    };
    let required = types.len().saturating_sub(usize::try_from(int(&row["pronargdefaults"])).unwrap_or(0));
    let variadic = row["variadic"].as_bool().unwrap_or(false);
    let arguments: Vec<Argument> = types
        .iter()
        .enumerate()
        .map(|(i, kind)| Argument {
            name: named.get(i).cloned().unwrap_or_default(),
            kind: text_of(kind),
            required: i < required && !(variadic && i + 1 == types.len()),
            variadic: variadic && i + 1 == types.len(),
        })
        .collect();
    let set = row["proretset"].as_bool().unwrap_or(false);
    let target = names.get(&int(&row["gives_rel"])).cloned();
    let names_columns = modes.iter().any(|mode| matches!(mode.as_str(), Some("o" | "b" | "t")));
    let returns = match (row["kind"].as_str(), row["typname"].as_str()) {
        (_, Some("void")) => Returns::Void,
        (Some("c"), _) => Returns::Composite(target.clone()),
        // One column is a row all the same; a record of columns that nobody has named is a value.
        _ if names_columns => Returns::Composite(None),
        _ => Returns::Scalar,
    };
    let name = text_of(&row["proname"]);
    let starts = (arguments.len() == 1).then(|| names.get(&int(&row["rows_of"][0])).cloned()).flatten();
    let one = !set || row["prorows"].as_f64() == Some(1.0);
    let computed = starts.zip(target).map(|(table, foreign)| relations::computed(&name, table, foreign, one));
    let volatility = match row["provolatile"].as_str() {
        Some("i") => Volatility::Immutable,
        Some("s") => Volatility::Stable,
        _ => Volatility::Volatile,
    };
    let description = row["about"].as_str().map(str::to_owned);
    (Function { name, description, arguments, returns, set, volatility }, computed)
}

/// Arguments are given by name, or one without a name is the whole body; its type says how that is read.
fn is_callable(function: &Function) -> bool {
    let mut unnamed = function.arguments.iter().filter(|argument| argument.name.is_empty());
    match (unnamed.next(), unnamed.next()) {
        (None, _) => true,
        (Some(one), None) => matches!(one.kind.as_str(), "bytea" | "json" | "jsonb" | "text" | "xml"),
        (Some(_), Some(_)) => false,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}
