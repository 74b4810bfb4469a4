//! The tree of resources that a query string describes.

use super::super::error::RestError;
use super::super::parse::{EmbedItem, Filter, Logic, Op, Path, Query, SelectItem};
use super::super::range::RowRange;
use super::super::schema::Schema;
use super::{Child, Condition, Item, Node};

/// Terms of which all or any must hold.
#[derive(Debug, Clone)]
pub struct Group {
    pub not: bool,
    pub all: bool,
    pub terms: Vec<Condition>,
}

/// Resources of one request; more are refused rather than joined.
const RESOURCES_MAX: usize = 100;

/// Resolves `query` on `table`. `mutation`: conditions, order and limits of the root belong to the change and
/// are left out here.
///
/// # Errors
/// `PGRST200`, `PGRST201`, `PGRST108`, `PGRST118`, `PGRST120`, `PGRST127`, `PGRST103`, `42712`.
pub fn read_tree(schema: &Schema, table: &str, query: &Query, mutation: bool) -> Result<Node, RestError> {
    let mut count = 0;
    let mut root = node(schema, table, table.to_owned(), &query.select, 0, &mut count)?;
    for (path, filter) in &query.filters {
        if path.is_empty() && mutation {
            continue;
        }
        let place = find(&mut root, path)?;
        let condition = condition(place, filter)?;
        place.conditions.push(condition);
    }
    for (path, logic) in &query.logic {
        if path.is_empty() && mutation {
            continue;
        }
        let place = find(&mut root, path)?;
        let condition = tree(place, logic)?;
        place.conditions.push(condition);
    }
    for (path, terms) in &query.order {
        let place = find(&mut root, path)?;
        for term in terms {
            if let Some(name) = &term.relation {
                let child = child_of(place, name).ok_or_else(|| RestError::not_embedded(name))?;
                if !place.children[child].relation.cardinality.is_to_one() {
                    return Err(related_order(&place.table, name));
                }
            }
        }
        place.order.extend(terms.iter().cloned());
    }
    for (path, limits) in &query.limits {
        find(&mut root, path)?.range = RowRange::of(*limits)?;
    }
    Ok(root)
}

fn related_order(origin: &str, target: &str) -> RestError {
    RestError::new(400, "PGRST118", format!("A related order on '{target}' is not possible"))
        .details(format!("'{origin}' and '{target}' do not form a many-to-one or one-to-one relationship"))
}

fn node(
    schema: &Schema,
    table: &str,
    alias: String,
    items: &[SelectItem],
    depth: usize,
    count: &mut usize,
) -> Result<Node, RestError> {
    let mut out = Node { table: table.to_owned(), alias, ..Node::default() };
    for item in items {
        match item {
            SelectItem::Field(item) => out.items.push(Item {
                field: item.field.clone(),
                alias: item.alias.clone(),
                cast: item.cast.clone(),
                aggregate: item.aggregate,
                aggregate_cast: item.aggregate_cast.clone(),
            }),
            SelectItem::Embed(item) => {
                let child = child(schema, table, item, depth, count)?;
                if out.children.iter().any(|one| one.name == child.name) {
                    return Err(twice(table, &child.name, depth + 1));
                }
                out.children.push(child);
            }
        }
    }
    Ok(out)
}

/// As the server words it of PostgREST's names.
fn twice(table: &str, name: &str, depth: usize) -> RestError {
    RestError::new(400, "42712", format!("table name \"{table}_{name}_{depth}\" specified more than once"))
}

fn child(
    schema: &Schema,
    table: &str,
    item: &EmbedItem,
    depth: usize,
    count: &mut usize,
) -> Result<Child, RestError> {
    *count += 1;
    if *count > RESOURCES_MAX {
        return Err(RestError::parse(
            "failed to parse select parameter",
            1,
            "too many embedded resources".to_owned(),
        ));
    }
    let join = format!("pgrst_{count}");
    let relation = schema.relation(table, &item.name, item.hint.as_deref())?.clone();
    let alias = format!("{}_{}", relation.foreign, depth + 1);
    let node = node(schema, &relation.foreign, alias, &item.items, depth + 1, count)?;
    if item.spread && !relation.cardinality.is_to_one() && node.is_grouped() {
        return Err(RestError::new(400, "PGRST127", "Feature not implemented")
            .details("Aggregates are not implemented for one-to-many or many-to-many spreads."));
    }
    Ok(Child {
        name: item.alias.clone().unwrap_or_else(|| item.name.clone()),
        target: item.name.clone(),
        inner: item.inner,
        spread: item.spread,
        hidden: item.items.is_empty(),
        relation,
        node,
        join,
    })
}

fn child_of(node: &Node, name: &str) -> Option<usize> {
    let by_name = node.children.iter().position(|child| child.name == name);
    by_name.or_else(|| node.children.iter().position(|child| child.target == name))
}

fn find<'a>(root: &'a mut Node, path: &Path) -> Result<&'a mut Node, RestError> {
    let mut place = root;
    for name in path {
        let index = child_of(place, name).ok_or_else(|| RestError::not_embedded(name))?;
        place = &mut place.children[index].node;
    }
    Ok(place)
}

fn tree(node: &Node, logic: &Logic) -> Result<Condition, RestError> {
    Ok(match logic {
        Logic::Filter(filter) => condition(node, filter)?,
        Logic::Group { not, all, terms } => {
            let terms = terms.iter().map(|term| tree(node, term)).collect::<Result<_, _>>()?;
            Condition::Group(Group { not: *not, all: *all, terms })
        }
    })
}

/// A filter whose name is an embedded resource's asks whether that has rows.
fn condition(node: &Node, filter: &Filter) -> Result<Condition, RestError> {
    let named = |child: &Child| filter.field.path.is_empty() && child.name == filter.field.name;
    let child = node.children.iter().position(named);
    let Some(child) = child else { return Ok(Condition::Filter(filter.clone())) };
    match filter.op {
        Op::Is(is @ (super::Is::Null | super::Is::NotNull)) => {
            Ok(Condition::Embed { child, is, not: filter.not })
        }
        _ => Err(RestError::new(
            400,
            "PGRST120",
            format!("Bad operator on the '{}' embedded resource", filter.field.name),
        )
        .details("Only is null or not is null filters are allowed on embedded resources")),
    }
}
