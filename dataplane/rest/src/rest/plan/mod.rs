//! What a request asks for, resolved against a schema: which table, which joins, which conditions where.

mod read;

pub use read::{Group, read_tree};

use super::parse::{Aggregate, Field, Filter, Is, OrderTerm};
use super::range::RowRange;
use super::schema::Relation;

/// A resource with everything that is asked of it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Table, or the table whose rows a function gives; empty for rows of no table.
    pub table: String,
    /// What its rows are called in the statement.
    pub alias: String,
    pub items: Vec<Item>,
    pub conditions: Vec<Condition>,
    pub order: Vec<OrderTerm>,
    pub range: RowRange,
    pub children: Vec<Child>,
}

/// One value of the row.
#[derive(Debug, Clone)]
pub struct Item {
    pub field: Field,
    pub alias: Option<String>,
    pub cast: Option<String>,
    pub aggregate: Option<Aggregate>,
    pub aggregate_cast: Option<String>,
}

/// An embedded resource.
#[derive(Debug, Clone)]
pub struct Child {
    pub relation: Relation,
    /// What the client calls it: the key in the answer and in paths of filters.
    pub name: String,
    /// The resource's name, by which paths may also call it.
    pub target: String,
    pub inner: bool,
    pub spread: bool,
    /// Nothing is selected: it is only joined.
    pub hidden: bool,
    pub node: Node,
    /// What the joined rows are called.
    pub join: String,
}

/// A condition on rows.
#[derive(Debug, Clone)]
pub enum Condition {
    Filter(Filter),
    /// Whether the child of that index has rows.
    Embed {
        child: usize,
        is: Is,
        not: bool,
    },
    Group(Group),
}

impl Node {
    /// Whether rows are put together.
    pub fn is_grouped(&self) -> bool {
        self.items.iter().any(|item| item.aggregate.is_some())
            || self.children.iter().any(|child| {
                child.spread && child.relation.cardinality.is_to_one() && child.node.is_grouped()
            })
    }

    pub fn selects_all(&self) -> bool {
        self.items.iter().any(|item| item.field.name == "*" && item.aggregate.is_none())
    }
}
