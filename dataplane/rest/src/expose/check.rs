//! A manifest against what the schema holds: everything named must exist.

use super::issue::{IssueKind, Issues};
use super::live::{Function, Live, Relation};
use super::manifest::{Manifest, Policy, Rpc, Table, View};
use super::signature;
use super::text::{is_enclosed, policy_head};
use crate::sql::lex;

/// Names of what this mechanism makes itself.
pub(super) const OURS: &str = "r402_";

/// Adds what does not fit the schema. With `incomplete` a migration may bring columns that nobody can see
/// yet, so nothing is said of them.
pub(super) fn check(
    manifest: &Manifest,
    live: &Live,
    incomplete: &dyn Fn(&str) -> bool,
    issues: &mut Issues,
) {
    for (index, table) in manifest.tables.iter().enumerate() {
        let path = issues.path("tables", index);
        custom(table, live, &path, issues);
        match live.relations.get(&table.name) {
            Some(found) if found.is_table() => {
                if !incomplete(&table.name) {
                    columns(table, found, &path, issues);
                }
            }
            found => {
                let detail = match found {
                    None => format!("there is no table {:?}", table.name),
                    Some(_) => format!("{:?} is no table", table.name),
                };
                let fix = "Create the table first, or remove this entry.";
                issues.error(IssueKind::MissingTable, &format!("{path}.name"), detail, fix);
            }
        }
    }
    for (index, view) in manifest.views.iter().enumerate() {
        let path = issues.path("views", index);
        self::view(view, manifest, live, incomplete, &path, issues);
    }
    for (index, rpc) in manifest.rpcs.iter().enumerate() {
        let path = issues.path("rpcs", index);
        self::rpc(rpc, live, &path, issues);
    }
}

fn columns(table: &Table, found: &Relation, path: &str, issues: &mut Issues) {
    if let Some(owner) = &table.owner_column {
        let path = format!("{path}.owner_column");
        match found.column(owner) {
            None => {
                let detail = format!("table {:?} has no column {owner:?}", table.name);
                issues.error(IssueKind::MissingColumn, &path, detail, "Name a column of this table.");
            }
            Some(column) if column.type_name != "uuid" && table.policy == Some(Policy::UserOwnsRows) => {
                let detail = format!("{owner:?} is {} and not uuid: compared as text", column.type_name);
                let fix = "Make the column uuid, so that its index serves the policy.";
                issues.warn(IssueKind::OwnerColumnTextCast, &path, detail, fix);
            }
            Some(_) => {}
        }
    }
    const SENSITIVE: [&str; 6] = ["password", "token", "secret", "api_key", "apikey", "private_key"];
    let open = table.expose
        && matches!(table.policy, Some(Policy::Unrestricted | Policy::PublicReadAuthenticatedWrite));
    for column in found.columns.iter().filter(|_| open) {
        let name = column.name.to_lowercase();
        if SENSITIVE.iter().any(|word| name.contains(word)) {
            let detail = format!("column {:?} is readable by everybody", column.name);
            let fix = "Move it to a table that is not exposed, or expose a view without it.";
            issues.warn(IssueKind::SensitiveColumnPublicWrite, &format!("{path}.name"), detail, fix);
        }
    }
}

/// The statements of a custom policy may be about policies of this very table, and about nothing else.
fn custom(table: &Table, live: &Live, path: &str, issues: &mut Issues) {
    let Some(sql) = table.custom_sql.as_deref().filter(|_| is_custom(table)) else { return };
    let path = format!("{path}.custom_sql");
    let statements = lex::statements(sql);
    if statements.is_empty() {
        issues.shape(&path, "holds no statement", "Write CREATE POLICY statements.");
    }
    for statement in statements {
        let text = &sql[statement.range];
        let Some(head) = policy_head(text) else {
            let start: String = text.chars().take(40).collect();
            let fix = "Only CREATE POLICY, ALTER POLICY and DROP POLICY may stand here; run the rest as SQL.";
            issues.shape(&path, format!("{start:?} is no statement about a policy"), fix);
            continue;
        };
        if head.table != table.name || head.schema.is_some_and(|schema| schema != live.schema) {
            let detail = format!("policy {:?} is on {:?}, not on {:?}", head.policy, head.table, table.name);
            issues.shape(&path, detail, "Put each policy into the entry of its own table.");
        }
        if head.policy.starts_with(OURS) {
            let detail = format!("names that start with {OURS} are taken: {:?}", head.policy);
            issues.shape(&path, detail, "Choose another name for the policy.");
        }
    }
}

pub(super) fn is_custom(table: &Table) -> bool {
    table.expose && table.policy == Some(Policy::Custom)
}

fn view(
    view: &View,
    manifest: &Manifest,
    live: &Live,
    incomplete: &dyn Fn(&str) -> bool,
    path: &str,
    issues: &mut Issues,
) {
    if let Some(found) = live.relations.get(&view.name).filter(|found| !found.is_view()) {
        let what = if found.is_table() { "a table" } else { "something else" };
        let detail = format!("{:?} is {what} already", view.name);
        issues.shape(&format!("{path}.name"), detail, "Choose another name for the view.");
    }
    if manifest.views.iter().any(|other| other.name == view.base) {
        let detail = format!("{:?} is a view of this manifest", view.base);
        let fix = "Base each view on a table, or on a view that you made with SQL.";
        issues.error(IssueKind::MissingViewBase, &format!("{path}.base"), detail, fix);
        return;
    }
    if let Some(filter) = view.filter.as_deref().filter(|filter| !is_enclosed(filter)) {
        let start: String = filter.chars().take(40).collect();
        let fix = "Write one boolean expression, with its quotes and parentheses closed.";
        issues.shape(&format!("{path}.filter"), format!("{start:?} is not one expression"), fix);
    }
    let Some(base) = live.relations.get(&view.base).filter(|base| base.is_table() || base.is_view()) else {
        let detail = format!("there is no table {:?}", view.base);
        issues.error(IssueKind::MissingViewBase, &format!("{path}.base"), detail, "Create the table first.");
        return;
    };
    if incomplete(&view.base) {
        return;
    }
    for (at, name) in view.select.iter().enumerate() {
        if base.column(name).is_none() {
            let detail = format!("{:?} has no column {name:?}", view.base);
            let path = format!("{path}.select[{at}]");
            issues.error(IssueKind::MissingColumn, &path, detail, "Name columns of the base, one each.");
        }
    }
}

fn rpc(rpc: &Rpc, live: &Live, path: &str, issues: &mut Issues) {
    match found(rpc, live).as_slice() {
        [_] => {}
        [] => {
            let others: Vec<String> =
                live.functions.iter().filter(|f| f.name == rpc.name).map(shown).take(5).collect();
            let fix = match others.is_empty() {
                true => "Create the function first; a manifest only grants.".to_owned(),
                false => format!("There is {}.", others.join(", ")),
            };
            let detail = format!("there is no function {}{}", rpc.name, rpc.signature);
            issues.error(IssueKind::MissingRpc, &format!("{path}.name"), detail, &fix);
        }
        several => {
            let several: Vec<String> = several.iter().map(|f| shown(f)).collect();
            let detail = format!("{}{} may be {}", rpc.name, rpc.signature, several.join(" or "));
            let fix = "Write the types as Postgres prints them, without names of arguments.";
            issues.error(IssueKind::AmbiguousRpc, &format!("{path}.signature"), detail, fix);
        }
    }
}

/// Functions that an entry may mean.
pub(super) fn found<'a>(rpc: &Rpc, live: &'a Live) -> Vec<&'a Function> {
    let named = live.functions.iter().filter(|function| function.name == rpc.name);
    named.filter(|function| signature::fits(&rpc.signature, function)).collect()
}

fn shown(function: &Function) -> String {
    format!("{}({})", function.name, function.arguments.join(", "))
}
