//! What a project's schema holds, as far as requests need it: tables, columns, keys, relationships,
//! functions. Read from the catalogue by [`load`], then only looked up.

pub(super) mod find;
mod fuzzy;
pub(super) mod load;
mod relations;
mod views;

use std::collections::BTreeMap;

/// What clients call the project's own schema.
pub const PROFILE: &str = "public";

/// Everything of one version.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `p0007`
    pub name: String,
    /// Bumped by every change of the schema; `None` when the database does not count them.
    pub version: Option<i64>,
    pub tables: BTreeMap<String, Table>,
    pub functions: BTreeMap<String, Vec<Function>>,
    /// By the table they start from.
    pub relations: BTreeMap<String, Vec<Relation>>,
}

/// A table, view, materialized view or foreign table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub description: Option<String>,
    pub is_view: bool,
    pub columns: Vec<Column>,
    pub primary_key: Vec<String>,
    pub insertable: bool,
    pub updatable: bool,
    pub deletable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Qualified, as a cast may name it.
    pub kind: String,
    pub nullable: bool,
    pub default: Option<String>,
    pub description: Option<String>,
    pub max_length: Option<i64>,
    /// The values of an enumeration.
    pub labels: Vec<String>,
    pub generated: bool,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    ManyToOne,
    OneToMany,
    OneToOne,
    ManyToMany,
}

impl Cardinality {
    pub fn is_to_one(self) -> bool {
        matches!(self, Self::ManyToOne | Self::OneToOne)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::OneToOne => "one-to-one",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// The table between two others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Junction {
    pub table: String,
    pub constraints: (String, String),
    /// Own column and the column of the start.
    pub source: Vec<(String, String)>,
    /// Own column and the column of the target.
    pub target: Vec<(String, String)>,
}

/// A way from one table to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub table: String,
    pub foreign: String,
    pub foreign_is_view: bool,
    pub cardinality: Cardinality,
    pub constraint: String,
    /// Column here and column there. Empty for many-to-many and computed ones.
    pub columns: Vec<(String, String)>,
    pub junction: Option<Junction>,
    /// A function that takes a row of `table` and gives rows of `foreign`.
    pub function: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    Volatile,
    Stable,
    Immutable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Empty when it has none.
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub variadic: bool,
}

/// What a function gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returns {
    Void,
    Scalar,
    /// Rows of this table, or of a type of its own.
    Composite(Option<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    pub arguments: Vec<Argument>,
    pub returns: Returns,
    pub set: bool,
    pub volatility: Volatility,
}
