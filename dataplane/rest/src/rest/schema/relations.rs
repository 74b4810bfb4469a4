//! Relationships: foreign keys both ways, many-to-many over a table between, the same for views, and those
//! that a function computes.

use std::collections::BTreeMap;

use super::views::Source;
use super::{Cardinality, Junction, Relation, Schema, Table};

/// A foreign key. `columns`: here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fk {
    pub name: String,
    pub table: String,
    pub target: String,
    pub columns: Vec<(String, String)>,
}

/// Ways by which one view shows a table; more than these are not followed.
const APPEARANCES_MAX: usize = 8;

pub(super) fn all(
    tables: &BTreeMap<String, Table>,
    keys: &[Fk],
    unique: &[(String, Vec<String>)],
    sources: &[Source],
) -> BTreeMap<String, Vec<Relation>> {
    let mut out: BTreeMap<String, Vec<Relation>> = BTreeMap::new();
    let mut shown: Vec<(Fk, bool)> = Vec::new();
    for key in keys {
        let one = is_one_to_one(key, unique);
        shown.push((key.clone(), one));
        shown.extend(seen_through_views(key, sources).into_iter().map(|seen| (seen, one)));
    }
    let is_view = |name: &str| tables.get(name).is_some_and(|table| table.is_view);
    for (key, one) in &shown {
        let (to, back) = if *one {
            (Cardinality::OneToOne, Cardinality::OneToOne)
        } else {
            (Cardinality::ManyToOne, Cardinality::OneToMany)
        };
        let swapped: Vec<_> = key.columns.iter().map(|(a, b)| (b.clone(), a.clone())).collect();
        add(
            &mut out,
            simple(&key.table, &key.target, is_view(&key.target), to, &key.name, key.columns.clone()),
        );
        add(&mut out, simple(&key.target, &key.table, is_view(&key.table), back, &key.name, swapped));
    }
    many_to_many(tables, &shown, &mut out, is_view);
    out
}

fn add(out: &mut BTreeMap<String, Vec<Relation>>, relation: Relation) {
    out.entry(relation.table.clone()).or_default().push(relation);
}

fn simple(
    table: &str,
    foreign: &str,
    foreign_is_view: bool,
    cardinality: Cardinality,
    constraint: &str,
    columns: Vec<(String, String)>,
) -> Relation {
    Relation {
        table: table.to_owned(),
        foreign: foreign.to_owned(),
        foreign_is_view,
        cardinality,
        constraint: constraint.to_owned(),
        columns,
        junction: None,
        function: None,
    }
}

/// The referring columns are unique, so that at most one row refers.
fn is_one_to_one(key: &Fk, unique: &[(String, Vec<String>)]) -> bool {
    let mut own: Vec<&str> = key.columns.iter().map(|(column, _)| column.as_str()).collect();
    own.sort_unstable();
    unique.iter().filter(|(table, _)| *table == key.table).any(|(_, columns)| {
        let mut columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        columns.sort_unstable();
        columns == own
    })
}

/// The same key with either end, or both, replaced by a view that shows all of its columns.
fn seen_through_views(key: &Fk, sources: &[Source]) -> Vec<Fk> {
    let here: Vec<&str> = key.columns.iter().map(|(column, _)| column.as_str()).collect();
    let there: Vec<&str> = key.columns.iter().map(|(_, column)| column.as_str()).collect();
    let starts = appearances(&key.table, &here, sources);
    let ends = appearances(&key.target, &there, sources);
    let own = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
    let mut all_starts = vec![(key.table.clone(), own(&here))];
    all_starts.extend(starts);
    let mut all_ends = vec![(key.target.clone(), own(&there))];
    all_ends.extend(ends);
    let mut out = Vec::new();
    for (table, columns) in &all_starts {
        for (target, referred) in &all_ends {
            let columns = columns.iter().cloned().zip(referred.iter().cloned()).collect();
            out.push(Fk { name: key.name.clone(), table: table.clone(), target: target.clone(), columns });
        }
    }
    // The first is the key itself.
    out.remove(0);
    out
}

/// Views that show all of these columns, and how they call them. A view that shows a column twice does so in
/// several ways.
fn appearances(table: &str, columns: &[&str], sources: &[Source]) -> Vec<(String, Vec<String>)> {
    let mut by_view: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.table == table) {
        by_view.entry(&source.view).or_default().push(source);
    }
    let mut out = Vec::new();
    for (view, own) in by_view {
        let mut ways: Vec<Vec<String>> = vec![Vec::new()];
        for column in columns {
            let names: Vec<&str> =
                own.iter().filter(|s| s.column == *column).map(|s| s.view_column.as_str()).collect();
            ways = ways
                .into_iter()
                .flat_map(|way| {
                    names.iter().map(move |name| [way.clone(), vec![(*name).to_owned()]].concat())
                })
                .take(APPEARANCES_MAX)
                .collect();
        }
        out.extend(ways.into_iter().map(|way| (view.to_owned(), way)));
    }
    out
}

/// A table whose primary key holds two foreign keys joins the tables they refer to.
fn many_to_many(
    tables: &BTreeMap<String, Table>,
    keys: &[(Fk, bool)],
    out: &mut BTreeMap<String, Vec<Relation>>,
    is_view: impl Fn(&str) -> bool,
) {
    let mut by_table: BTreeMap<&str, Vec<&Fk>> = BTreeMap::new();
    for (key, _) in keys {
        by_table.entry(&key.table).or_default().push(key);
    }
    for (name, keys) in by_table {
        let Some(table) = tables.get(name).filter(|table| !table.is_view) else { continue };
        let in_primary = |key: &Fk| key.columns.iter().all(|(column, _)| table.primary_key.contains(column));
        let keys: Vec<&Fk> = keys.into_iter().filter(|key| in_primary(key)).collect();
        for first in &keys {
            for second in
                keys.iter().filter(|second| second.name != first.name || second.columns != first.columns)
            {
                if first.name == second.name {
                    continue;
                }
                add(
                    out,
                    Relation {
                        junction: Some(Junction {
                            table: name.to_owned(),
                            constraints: (first.name.clone(), second.name.clone()),
                            source: first.columns.clone(),
                            target: second.columns.clone(),
                        }),
                        ..simple(
                            &first.target,
                            &second.target,
                            is_view(&second.target),
                            Cardinality::ManyToMany,
                            "",
                            Vec::new(),
                        )
                    },
                );
            }
        }
    }
}

/// A function from a row of one table to rows of another.
pub(super) fn computed(function: &str, table: String, foreign: String, one: bool) -> Relation {
    let cardinality = if one { Cardinality::ManyToOne } else { Cardinality::OneToMany };
    Relation {
        function: Some(function.to_owned()),
        ..simple(&table, &foreign, false, cardinality, function, Vec::new())
    }
}

impl Schema {
    /// A computed relationship takes the place of what the keys say about the same two tables.
    pub(super) fn relations_add(&mut self, computed: Option<Relation>) {
        let Some(computed) = computed else { return };
        self.relations.entry(computed.table.clone()).or_default().push(computed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fk(name: &str, table: &str, target: &str, columns: &[(&str, &str)]) -> Fk {
        let columns = columns.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Fk { name: name.into(), table: table.into(), target: target.into(), columns }
    }

    fn tables(list: &[(&str, &[&str])]) -> BTreeMap<String, Table> {
        let table = |(name, key): &(&str, &[&str])| {
            let primary_key = key.iter().map(|k| (*k).to_owned()).collect();
            ((*name).to_owned(), Table { name: (*name).to_owned(), primary_key, ..Table::default() })
        };
        list.iter().map(table).collect()
    }

    #[test]
    fn keys_give_both_ways_and_junctions_a_third() {
        let tables = tables(&[("a", &["id"]), ("b", &["id"]), ("ab", &["a_id", "b_id"])]);
        let keys = [fk("ab_a", "ab", "a", &[("a_id", "id")]), fk("ab_b", "ab", "b", &[("b_id", "id")])];
        let unique = [("ab".to_owned(), vec!["a_id".to_owned(), "b_id".to_owned()])];
        let found = all(&tables, &keys, &unique, &[]);
        let kinds =
            |name: &str| found[name].iter().map(|r| (r.foreign.as_str(), r.cardinality)).collect::<Vec<_>>();
        assert_eq!(kinds("a"), [("ab", Cardinality::OneToMany), ("b", Cardinality::ManyToMany)]);
        assert_eq!(kinds("ab").len(), 2);
    }

    #[test]
    fn a_unique_reference_is_one_to_one() {
        let tables = tables(&[("a", &["id"]), ("b", &["id"])]);
        let keys = [fk("b_a", "b", "a", &[("id", "id")])];
        let found = all(&tables, &keys, &[("b".to_owned(), vec!["id".to_owned()])], &[]);
        assert_eq!(found["a"][0].cardinality, Cardinality::OneToOne);
        assert_eq!(found["b"][0].cardinality, Cardinality::OneToOne);
    }

    #[test]
    fn views_inherit_relations_of_the_columns_they_show() {
        let mut tables = tables(&[("a", &["id"]), ("b", &["id"])]);
        tables.insert("v".into(), Table { name: "v".into(), is_view: true, ..Table::default() });
        let source = |view_column: &str, column: &str| Source {
            view: "v".into(),
            view_column: view_column.into(),
            table: "b".into(),
            column: column.into(),
        };
        let keys = [fk("b_a", "b", "a", &[("a_id", "id")])];
        let found = all(&tables, &keys, &[], &[source("owner", "a_id")]);
        assert_eq!(found["v"][0].columns, [("owner".to_owned(), "id".to_owned())]);
        assert!(found["a"].iter().any(|r| r.foreign == "v" && r.foreign_is_view));
    }
}
