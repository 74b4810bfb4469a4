//! The query string of a request, read into values. Pure: knows no table.
//!
//! # Source
//! <https://docs.postgrest.org/en/v13/references/api/tables_views.html>

mod cursor;
mod filter;
mod logic;
mod order;
mod query;
mod select;

pub use query::{Limits, Query, parse};
pub(super) use query::{pairs, percent_encode};

/// Which embedded resource something is about: names from the root, which itself is empty.
pub type Path = Vec<String>;

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonStep {
    /// `->>`: as text.
    pub text: bool,
    pub key: JsonKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonKey {
    Name(String),
    /// As written, so that a number too large for any array is the server's to refuse.
    Index(String),
}

/// A column, and possibly a place within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub path: Vec<JsonStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Avg,
    Count,
    Max,
    Min,
}

impl Aggregate {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
        }
    }
}

/// One item of `select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectItem {
    Field(FieldItem),
    Embed(EmbedItem),
}

/// A value of the row itself. The name `*` is every column, or the argument of a bare `count()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldItem {
    pub field: Field,
    pub alias: Option<String>,
    pub cast: Option<String>,
    pub aggregate: Option<Aggregate>,
    pub aggregate_cast: Option<String>,
}

/// Rows of another resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedItem {
    pub name: String,
    pub alias: Option<String>,
    pub hint: Option<String>,
    /// `!inner`.
    pub inner: bool,
    /// `...`: its columns stand in the parent.
    pub spread: bool,
    pub items: Vec<SelectItem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub field: Field,
    pub not: bool,
    pub op: Op,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    Null,
    NotNull,
    True,
    False,
    Unknown,
}

/// An operator and what it compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The SQL operator.
    Simple(&'static str, String),
    /// The SQL operator; `like` and its kin read `*` as any text.
    Quantified {
        sql: &'static str,
        stars: bool,
        quantifier: Option<Quantifier>,
        value: String,
    },
    In(Vec<String>),
    Is(Is),
    DistinctFrom(String),
    /// The SQL function that makes a query of the text.
    Search {
        function: &'static str,
        language: Option<String>,
        value: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logic {
    Group { not: bool, all: bool, terms: Vec<Logic> },
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTerm {
    /// Orders by a column of this to-one resource.
    pub relation: Option<String>,
    pub field: Field,
    pub descending: Option<bool>,
    pub nulls_first: Option<bool>,
}
