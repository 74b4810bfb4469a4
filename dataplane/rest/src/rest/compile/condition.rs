//! Conditions on rows.

use super::super::parse::{Field, Filter, Is, Logic, Op, OrderTerm, Quantifier};
use super::super::plan::{Condition, Node};
use super::{Builder, array, ident};

impl Builder<'_> {
    /// The condition on rows of `node`, in parentheses where that matters.
    pub fn condition(&mut self, node: &Node, condition: &Condition) -> String {
        match condition {
            Condition::Filter(filter) => self.filter(&node.table, &node.alias, filter),
            Condition::Embed { child, is, not } => {
                let child = &node.children[*child];
                let join = ident(&child.join);
                let missing = (*is == Is::Null) != *not;
                // A row of nulls is a row all the same.
                match (child.relation.cardinality.is_to_one(), missing) {
                    (true, true) => format!("{join} IS NOT DISTINCT FROM NULL"),
                    (true, false) => format!("{join} IS DISTINCT FROM NULL"),
                    (false, true) => format!("{join}.{join} IS NULL"),
                    (false, false) => format!("{join}.{join} IS NOT NULL"),
                }
            }
            Condition::Group(group) => {
                let terms: Vec<String> = group.terms.iter().map(|term| self.condition(node, term)).collect();
                join(group.not, group.all, &terms)
            }
        }
    }

    /// The same on rows without embedded resources.
    pub fn logic(&mut self, table: &str, alias: &str, logic: &Logic) -> String {
        match logic {
            Logic::Filter(filter) => self.filter(table, alias, filter),
            Logic::Group { not, all, terms } => {
                let terms: Vec<String> = terms.iter().map(|term| self.logic(table, alias, term)).collect();
                join(*not, *all, &terms)
            }
        }
    }

    pub fn filter(&mut self, table: &str, alias: &str, filter: &Filter) -> String {
        let left = self.field(table, alias, &filter.field);
        let sql = match &filter.op {
            Op::Simple(sql, value) => format!("{left} {sql} {}", self.bind(value.as_str())),
            Op::Quantified { sql, stars, quantifier, value } => {
                let value = if *stars { value.replace('*', "%") } else { value.clone() };
                let place = self.bind(value);
                match quantifier {
                    None => format!("{left} {sql} {place}"),
                    Some(Quantifier::Any) => format!("{left} {sql} ANY ({place})"),
                    Some(Quantifier::All) => format!("{left} {sql} ALL ({place})"),
                }
            }
            Op::In(items) => {
                // `in.()` is no value, not one empty text.
                let items: &[String] = if items.as_slice() == [""] { &[] } else { items };
                format!("{left} = ANY ({})", self.bind(array(items)))
            }
            Op::Is(is) => format!("{left} IS {}", is_word(*is)),
            Op::DistinctFrom(value) => format!("{left} IS DISTINCT FROM {}", self.bind(value.as_str())),
            Op::Search { function, language, value } => {
                let language =
                    language.as_ref().map(|language| format!("{}, ", self.bind(language.as_str())));
                let language = language.unwrap_or_default();
                let left = match self.is_text(table, &filter.field) {
                    true => format!("pg_catalog.to_tsvector({language}{left})"),
                    false => left,
                };
                format!("{left} @@ pg_catalog.{function}({language}{})", self.bind(value.as_str()))
            }
        };
        if filter.not { format!("NOT ({sql})") } else { sql }
    }

    /// Whether a search must first make a vector of the value.
    fn is_text(&self, table: &str, field: &Field) -> bool {
        if !field.path.is_empty() {
            return true;
        }
        self.kind(table, &field.name).is_some_and(|kind| {
            matches!(kind, "text" | "json" | "jsonb")
                || kind.starts_with("character")
                || kind.starts_with("varchar")
        })
    }

    /// ` ORDER BY ...`, or nothing.
    pub fn order(&self, node: &Node) -> String {
        if node.order.is_empty() {
            return String::new();
        }
        let terms: Vec<String> = node.order.iter().map(|term| self.order_term(node, term)).collect();
        format!(" ORDER BY {}", terms.join(", "))
    }

    fn order_term(&self, node: &Node, term: &OrderTerm) -> String {
        let of_child = |name: &String| node.children.iter().find(|c| c.name == *name || c.target == *name);
        let mut sql = match term.relation.as_ref().and_then(of_child) {
            Some(child) => self.field(&child.node.table, &child.join, &term.field),
            None => self.field(&node.table, &node.alias, &term.field),
        };
        match term.descending {
            Some(true) => sql.push_str(" DESC"),
            Some(false) => sql.push_str(" ASC"),
            None => {}
        }
        match term.nulls_first {
            Some(true) => sql.push_str(" NULLS FIRST"),
            Some(false) => sql.push_str(" NULLS LAST"),
            None => {}
        }
        sql
    }
}

fn join(not: bool, all: bool, terms: &[String]) -> String {
    let joined = terms.join(if all { " AND " } else { " OR " });
    if not { format!("NOT ({joined})") } else { format!("({joined})") }
}

fn is_word(is: Is) -> &'static str {
    match is {
        Is::Null => "NULL",
        Is::NotNull => "NOT NULL",
        Is::True => "TRUE",
        Is::False => "FALSE",
        Is::Unknown => "UNKNOWN",
    }
}
