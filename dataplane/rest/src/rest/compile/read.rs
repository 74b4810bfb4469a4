//! The query of a resource and of all that is embedded in it.

use super::super::parse::{Field, JsonKey};
use super::super::plan::{Child, Item, Node};
use super::{Builder, SOURCE, ident, where_clause};

/// Where the rows of the root come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rest) enum From {
    Table,
    /// The rows that a change or a function gave.
    Source,
}

impl Builder<'_> {
    pub fn read_root(&mut self, node: &Node, from: From) -> String {
        let table = match from {
            From::Table => format!("{} AS {}", self.qualified(&node.table), ident(&node.alias)),
            From::Source => format!("{} AS {}", ident(SOURCE), ident(&node.alias)),
        };
        self.read(node, &table, &[], from)
    }

    /// How many rows there are without any limit.
    pub fn count_root(&mut self, node: &Node, from: From) -> String {
        let bare = Node { range: Default::default(), order: Vec::new(), ..node.clone() };
        format!("SELECT pg_catalog.count(*) FROM ({}) AS pgrst_count", self.read_root(&bare, from))
    }

    /// `joins`: conditions that tie the rows to the parent's.
    fn read(&mut self, node: &Node, table: &str, joins: &[String], from: From) -> String {
        let mut select: Vec<String> = Vec::new();
        let grouped = node.is_grouped();
        let mut groups: Vec<String> = Vec::new();
        for item in &node.items {
            self.item(node, item, grouped, &mut select, &mut groups);
        }
        let mut laterals = String::new();
        for child in &node.children {
            laterals.push_str(&self.lateral(node, child, from));
            self.child_values(child, grouped, &mut select, &mut groups);
        }
        let mut conditions = joins.to_vec();
        conditions.extend(node.conditions.iter().map(|condition| self.condition(node, condition)));
        let group = if grouped && !groups.is_empty() {
            format!(" GROUP BY {}", groups.join(", "))
        } else {
            String::new()
        };
        let (order, limit) = (self.order(node), self.limit(node));
        let conditions = where_clause(&conditions);
        format!("SELECT {} FROM {table}{laterals}{conditions}{group}{order}{limit}", select.join(", "))
    }

    fn limit(&mut self, node: &Node) -> String {
        let mut out = String::new();
        if let Some(limit) = node.range.limit {
            out.push_str(&format!(" LIMIT {}", self.bind(limit.to_string())));
        }
        if node.range.offset > 0 {
            out.push_str(&format!(" OFFSET {}", self.bind(node.range.offset.to_string())));
        }
        out
    }

    fn item(
        &self,
        node: &Node,
        item: &Item,
        grouped: bool,
        select: &mut Vec<String>,
        groups: &mut Vec<String>,
    ) {
        let alias = ident(&node.alias);
        if item.field.name == "*" && item.aggregate.is_none() && item.alias.is_none() {
            match self.schema.tables.get(&node.table).filter(|_| grouped) {
                Some(table) => {
                    let columns =
                        table.columns.iter().map(|column| format!("{alias}.{}", ident(&column.name)));
                    let columns: Vec<String> = columns.collect();
                    select.extend(columns.clone());
                    groups.extend(columns);
                }
                None => select.push(format!("{alias}.*")),
            }
            return;
        }
        let value = self.value(node, item);
        if item.aggregate.is_none() {
            groups.push(value.clone());
        }
        // A bare column needs no name of its own.
        if item.alias.is_none()
            && item.field.path.is_empty()
            && item.cast.is_none()
            && item.aggregate.is_none()
        {
            select.push(value);
        } else {
            select.push(format!("{value} AS {}", ident(&output_name(item))));
        }
    }

    /// The value of an item, cast and aggregated.
    fn value(&self, node: &Node, item: &Item) -> String {
        let bare = if item.field.name == "*" {
            // Counted here, or later by its presence.
            (if item.aggregate.is_some() { "*" } else { "TRUE" }).to_owned()
        } else {
            self.field(&node.table, &node.alias, &item.field)
        };
        aggregated(&cast(bare, item.cast.as_deref()), item)
    }

    /// What a child puts into the parent's row.
    fn child_values(&self, child: &Child, grouped: bool, select: &mut Vec<String>, groups: &mut Vec<String>) {
        if child.hidden {
            return;
        }
        let (join, name) = (ident(&child.join), ident(&child.name));
        let to_one = child.relation.cardinality.is_to_one();
        // `json` has no equality to group by.
        let comparable = |value: String| if grouped { format!("{value}::jsonb") } else { value };
        let mut put = |value: String, name: &str, aggregated: bool| {
            select.push(if name.is_empty() { value.clone() } else { format!("{value} AS {name}") });
            if !aggregated {
                groups.push(value);
            }
        };
        match (child.spread, to_one) {
            (false, true) => put(comparable(format!("row_to_json({join})")), &name, false),
            (false, false) => put(comparable(format!("COALESCE({join}.{join}, '[]')")), &name, false),
            (true, _) => {
                for output in self.outputs(&child.node) {
                    let column = ident(&output.name);
                    let value = format!("{join}.{column}");
                    match output.aggregated.filter(|_| grouped) {
                        Some(item) => put(aggregated(&value, item), &column, true),
                        None if !to_one => {
                            put(comparable(format!("COALESCE({value}, '[]')")), &column, false)
                        }
                        None if output.json => put(comparable(value), &column, false),
                        // Already of that name.
                        None => put(value, "", false),
                    }
                }
            }
        }
    }

    /// The columns of a node's rows, in order.
    fn outputs<'n>(&self, node: &'n Node) -> Vec<Output<'n>> {
        let plain = |name: String| Output { name, aggregated: None, json: false };
        let json = |name: String| Output { json: true, ..plain(name) };
        let mut out = Vec::new();
        for item in &node.items {
            if item.field.name == "*" && item.aggregate.is_none() && item.alias.is_none() {
                let columns = self.schema.tables.get(&node.table).map_or(&[][..], |table| &table.columns);
                out.extend(columns.iter().map(|column| plain(column.name.clone())));
            } else {
                let aggregated = item.aggregate.map(|_| item);
                out.push(Output { aggregated, ..plain(output_name(item)) });
            }
        }
        for child in node.children.iter().filter(|child| !child.hidden) {
            if child.spread {
                let to_one = child.relation.cardinality.is_to_one();
                let inner = self.outputs(&child.node).into_iter();
                out.extend(inner.map(|one| if to_one { one } else { json(one.name) }));
            } else {
                out.push(json(child.name.clone()));
            }
        }
        out
    }

    fn lateral(&mut self, parent: &Node, child: &Child, from: From) -> String {
        let join = ident(&child.join);
        let (table, joins) = self.source_of(parent, child, from);
        let to_one = child.relation.cardinality.is_to_one();
        let mut node = child.node.clone();
        if child.hidden {
            // Joined for what it has, not for what it shows.
            node.items = vec![star()];
        } else if child.spread && to_one {
            // Put together in the parent, where they stand.
            unaggregate(&mut node);
        }
        let rows = self.read(&node, &table, &joins, From::Table);
        let kind = if child.inner { "INNER" } else { "LEFT" };
        if to_one {
            return format!(" {kind} JOIN LATERAL ({rows}) AS {join} ON TRUE");
        }
        let values = if child.spread && !child.hidden {
            let outputs = self.outputs(&child.node);
            let columns = outputs.iter().map(|one| {
                let name = ident(&one.name);
                format!("json_agg({join}.{name}) AS {name}")
            });
            let mut all: Vec<String> = columns.collect();
            all.push(format!("NULLIF(pg_catalog.count(*), 0) AS {join}"));
            all.join(", ")
        } else {
            format!("json_agg({join}) AS {join}")
        };
        let condition = if child.inner { format!("{join}.{join} IS NOT NULL") } else { "TRUE".to_owned() };
        format!(" {kind} JOIN LATERAL (SELECT {values} FROM ({rows}) AS {join}) AS {join} ON {condition}")
    }

    /// Where a child's rows come from, and how they hang together with the parent's.
    fn source_of(&self, parent: &Node, child: &Child, from: From) -> (String, Vec<String>) {
        let relation = &child.relation;
        let (above, alias) = (ident(&parent.alias), ident(&child.node.alias));
        if let Some(function) = &relation.function {
            // A row out of a change is of no type; it is made one.
            let row = match self.schema.tables.get(&relation.table).filter(|_| from == From::Source) {
                Some(table) => {
                    let columns =
                        table.columns.iter().map(|column| format!("{above}.{}", ident(&column.name)));
                    format!(
                        "ROW({})::{}",
                        columns.collect::<Vec<_>>().join(", "),
                        self.qualified(&relation.table)
                    )
                }
                None => above,
            };
            return (format!("{}({row}) AS {alias}", self.qualified(function)), Vec::new());
        }
        let target = format!("{} AS {alias}", self.qualified(&relation.foreign));
        let Some(junction) = &relation.junction else {
            let equal = |(here, there): &(String, String)| {
                format!("{alias}.{} = {above}.{}", ident(there), ident(here))
            };
            return (target, relation.columns.iter().map(equal).collect());
        };
        let between = ident(&format!("{}_jt", child.join));
        let mut joins: Vec<String> = junction
            .source
            .iter()
            .map(|(own, start)| format!("{between}.{} = {above}.{}", ident(own), ident(start)))
            .collect();
        joins.extend(
            junction
                .target
                .iter()
                .map(|(own, end)| format!("{between}.{} = {alias}.{}", ident(own), ident(end))),
        );
        (format!("{target}, {} AS {between}", self.qualified(&junction.table)), joins)
    }
}

/// One column of a node's rows; `aggregated` when it is still to be put together.
struct Output<'n> {
    name: String,
    aggregated: Option<&'n Item>,
    /// Made of other rows.
    json: bool,
}

fn star() -> Item {
    let field = Field { name: "*".to_owned(), path: Vec::new() };
    Item { field, alias: None, cast: None, aggregate: None, aggregate_cast: None }
}

/// Leaves the bare values of aggregates, under the names of their results; those of what is spread into it too.
fn unaggregate(node: &mut Node) {
    for child in node.children.iter_mut().filter(|child| child.spread) {
        unaggregate(&mut child.node);
    }
    for item in &mut node.items {
        if item.aggregate.is_some() {
            item.alias = Some(output_name(item));
            item.aggregate = None;
        }
    }
}

fn aggregated(value: &str, item: &Item) -> String {
    match item.aggregate {
        Some(aggregate) => {
            cast(format!("{}({value})", aggregate.as_str().to_uppercase()), item.aggregate_cast.as_deref())
        }
        None => value.to_owned(),
    }
}

/// The kind was read as letters, digits, `_`, `$` and spaces: nothing that could end the cast.
fn cast(value: String, kind: Option<&str>) -> String {
    match kind {
        Some(kind) => format!("CAST({value} AS {kind})"),
        None => value,
    }
}

/// What a value is called in the answer.
pub(super) fn output_name(item: &Item) -> String {
    if let Some(alias) = &item.alias {
        return alias.clone();
    }
    if let Some(aggregate) = item.aggregate {
        return aggregate.as_str().to_owned();
    }
    let named = item.field.path.iter().rev().find_map(|step| match &step.key {
        JsonKey::Name(name) => Some(name.clone()),
        JsonKey::Index(_) => None,
    });
    named.unwrap_or_else(|| item.field.name.clone())
}
