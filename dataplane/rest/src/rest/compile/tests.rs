//! Golden statements: what a request becomes.

use super::super::media::Media;
use super::super::parse::parse;
use super::super::plan::read_tree;
use super::super::schema::{Cardinality, Column, Relation, Schema, Table};
use super::mutate::Returning;
use super::*;

fn schema() -> Schema {
    let column = |(name, kind): &(&str, &str)| Column {
        name: (*name).into(),
        kind: (*kind).into(),
        ..Column::default()
    };
    let table = |name: &str, columns: &[(&str, &str)]| Table {
        name: name.into(),
        columns: columns.iter().map(column).collect(),
        primary_key: vec!["id".into()],
        ..Table::default()
    };
    let relation = |table: &str, foreign: &str, cardinality, columns: (&str, &str)| Relation {
        table: table.into(),
        foreign: foreign.into(),
        foreign_is_view: false,
        cardinality,
        constraint: "fk".into(),
        columns: vec![(columns.0.into(), columns.1.into())],
        junction: None,
        function: None,
    };
    let mut schema = Schema { name: "p1".into(), ..Schema::default() };
    for table in [
        table(
            "films",
            &[("id", "integer"), ("title", "text"), ("data", "jsonb"), ("director_id", "integer")],
        ),
        table("directors", &[("id", "integer"), ("name", "text")]),
    ] {
        schema.tables.insert(table.name.clone(), table);
    }
    let to_one = relation("films", "directors", Cardinality::ManyToOne, ("director_id", "id"));
    let to_many = relation("directors", "films", Cardinality::OneToMany, ("id", "director_id"));
    schema.relations.insert("films".into(), vec![to_one]);
    schema.relations.insert("directors".into(), vec![to_many]);
    schema
}

fn rows_of(table: &str, query: &str) -> (String, Vec<Option<String>>) {
    let schema = schema();
    let query = parse(query, false).unwrap();
    let node = read_tree(&schema, table, &query, false).unwrap();
    let mut builder = Builder::new(&schema);
    (builder.read_root(&node, read::From::Table), builder.params)
}

#[test]
fn a_read_names_columns_and_binds_values() {
    let (text, params) = rows_of(
        "films",
        "select=id,t:data->>title&id=gt.5&or=(title.like.A*,data->n.eq.1)&order=id.desc&limit=2&offset=4",
    );
    assert_eq!(
        text,
        "SELECT \"films\".\"id\", \"films\".\"data\"->>'title' AS \"t\" FROM \"p1\".\"films\" AS \"films\" WHERE \
         \"films\".\"id\" > $1 AND (\"films\".\"title\" like $2 OR \"films\".\"data\"->'n' = $3) ORDER BY \
         \"films\".\"id\" DESC LIMIT $4 OFFSET $5"
    );
    let values: Vec<_> = params.iter().flatten().map(String::as_str).collect();
    assert_eq!(values, ["5", "A%", "1", "2", "4"]);
}

#[test]
fn a_to_one_resource_is_joined_as_an_object() {
    let (text, _) = rows_of("films", "select=title,directors!inner(name)&directors.name=eq.X");
    assert_eq!(
        text,
        "SELECT \"films\".\"title\", row_to_json(\"pgrst_1\") AS \"directors\" FROM \"p1\".\"films\" AS \"films\" \
         INNER JOIN LATERAL (SELECT \"directors_1\".\"name\" FROM \"p1\".\"directors\" AS \"directors_1\" \
         WHERE \"directors_1\".\"id\" = \"films\".\"director_id\" AND \"directors_1\".\"name\" = $1) \
         AS \"pgrst_1\" ON TRUE"
    );
}

#[test]
fn a_to_many_resource_is_an_array_and_may_be_required_or_missing() {
    let (text, _) = rows_of("directors", "select=name,films()&films=is.null");
    assert!(
        text.contains(
            "LEFT JOIN LATERAL (SELECT json_agg(\"pgrst_1\") AS \"pgrst_1\" FROM (SELECT \"films_1\".* FROM"
        ),
        "{text}"
    );
    assert!(text.ends_with("WHERE \"pgrst_1\".\"pgrst_1\" IS NULL") && !text.contains("COALESCE"), "{text}");
}

#[test]
fn aggregates_group_by_what_stands_beside_them() {
    let (text, _) = rows_of("films", "select=title,id.sum(),n:count()");
    assert_eq!(
        text,
        "SELECT \"films\".\"title\", SUM(\"films\".\"id\") AS \"sum\", COUNT(*) AS \"n\" \
         FROM \"p1\".\"films\" AS \"films\" GROUP BY \"films\".\"title\""
    );
}

#[test]
fn spread_columns_stand_in_the_parent() {
    let (text, _) = rows_of("films", "select=title,...directors(director:name)");
    assert!(text.starts_with("SELECT \"films\".\"title\", \"pgrst_1\".\"director\" FROM"), "{text}");
    let (text, _) = rows_of("directors", "select=name,...films(titles:title)");
    assert!(text.contains("COALESCE(\"pgrst_1\".\"titles\", '[]') AS \"titles\""), "{text}");
}

#[test]
fn aggregates_of_what_is_spread_are_made_at_the_top() {
    let (text, _) = rows_of("films", "select=n:count(),...directors(m:count(),name)");
    assert_eq!(
        text,
        "SELECT COUNT(*) AS \"n\", COUNT(\"pgrst_1\".\"m\") AS \"m\", \"pgrst_1\".\"name\" FROM \"p1\".\"films\" AS \
         \"films\" LEFT JOIN LATERAL (SELECT TRUE AS \"m\", \"directors_1\".\"name\" FROM \"p1\".\"directors\" AS \
         \"directors_1\" WHERE \"directors_1\".\"id\" = \"films\".\"director_id\") AS \"pgrst_1\" ON TRUE GROUP BY \
         \"pgrst_1\".\"name\""
    );
    let (text, _) = rows_of("films", "select=count(),directors(name)");
    assert!(
        text.contains("row_to_json(\"pgrst_1\")::jsonb AS \"directors\"") && text.ends_with("::jsonb"),
        "{text}"
    );
    let refused =
        read_tree(&schema(), "directors", &parse("select=...films(count())", false).unwrap(), false);
    assert_eq!(refused.unwrap_err().code, "PGRST127");
}

#[test]
fn names_and_keys_cannot_end_their_quotes() {
    let (text, _) = rows_of("films", "select=\"a\\\"b\",data->x'y&\"q\\\"r\"=eq.1");
    assert!(
        text.contains("\"films\".\"a\"\"b\"")
            && text.contains("->'x''y'")
            && text.contains("\"q\"\"r\" = $1"),
        "{text}"
    );
    assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    assert_eq!(array(&["a\"b".into(), "c\\".into()]), r#"{"a\"b","c\\"}"#);
}

#[test]
fn an_insert_types_its_columns_and_counts_merges() {
    let schema = schema();
    let mut builder = Builder::new(&schema);
    let change_ = Change::Insert {
        json: "[]".into(),
        columns: vec!["id".into(), "title".into()],
        defaults: false,
        conflict: Some((vec!["id".into()], super::super::prefer::Resolution::Merge)),
        key: Vec::new(),
    };
    let text = change(&mut builder, &schema.tables["films"], &change_, Returning::Count);
    assert!(
        text.starts_with(
            "WITH pgrst_source AS (INSERT INTO \"p1\".\"films\" (\"id\", \"title\") SELECT pgrst_body.\"id\""
        ),
        "{text}"
    );
    assert!(
        text.contains("AS _(\"id\" integer, \"title\" text)")
            && text.contains("ON CONFLICT (\"id\") DO UPDATE SET"),
        "{text}"
    );
    assert!(text.ends_with("RETURNING 1)"), "{text}");
}

#[test]
fn a_change_returns_only_what_is_read() {
    let schema = schema();
    let query = parse("select=title,directors(name)", false).unwrap();
    let node = read_tree(&schema, "films", &query, true).unwrap();
    let mut builder = Builder::new(&schema);
    let delete = Change::Delete { filters: Vec::new(), logic: Vec::new() };
    let with = change(&mut builder, &schema.tables["films"], &delete, Returning::Rows(&node));
    assert_eq!(
        with,
        "WITH pgrst_source AS (DELETE FROM \"p1\".\"films\" RETURNING \"films\".\"director_id\", \"films\".\"title\")"
    );
    let shape =
        Shape { media: Media::Json, body: true, scalar: false, single: false, count: false, location: &[] };
    let text = wrap(builder, &with, Some(&node), &shape).text;
    assert!(text.contains("FROM \"pgrst_source\" AS \"films\" LEFT JOIN LATERAL"), "{text}");
}
