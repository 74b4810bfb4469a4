//! A manifest that describes what a schema's rights and policies already allow.

use super::live::{Function, Live, LivePolicy, Relation};
use super::manifest::{Manifest, Policy, Role, Rpc, Table, View};
use super::text::ident;

/// Tables with a policy or with rights to write, views and functions that visitors may use.
pub(super) fn manifest(live: &Live) -> Manifest {
    let tables = live.relations.iter().filter_map(|(name, found)| table(name, found));
    let views = live.relations.iter().filter_map(|(name, found)| view(name, found));
    Manifest {
        version: "1".to_owned(),
        tables: tables.collect(),
        views: views.collect(),
        rpcs: live.functions.iter().filter_map(rpc).collect(),
    }
}

fn table(name: &str, found: &Relation) -> Option<Table> {
    if !found.is_table() || found.policies.is_empty() {
        return None;
    }
    let of = |policy| Table { name: name.to_owned(), expose: true, policy: Some(policy), ..Table::default() };
    let writes = |role: &str| found.rights(role).iter().any(|right| right == "insert");
    let everything = |policy: &LivePolicy, role: &str| {
        policy.permissive
            && policy.using.as_deref().is_none_or(|sql| sql == "true")
            && policy.check.as_deref().is_none_or(|sql| sql == "true")
            && policy.roles.iter().any(|r| r == role || r == "public")
    };
    let all = |role: &str| {
        found.policies.values().any(|p| p.command == "ALL" && everything(p, role)) && writes(role)
    };
    if all("anon") && all("authenticated") {
        let open = of(Policy::Unrestricted);
        return Some(Table { i_understand_this_is_unrestricted: true, ..open });
    }
    let reads = found.policies.values().any(|p| p.command == "SELECT" && everything(p, "anon"));
    if reads && all("authenticated") && !writes("anon") {
        return Some(of(Policy::PublicReadAuthenticatedWrite));
    }
    if let Some(owner) = owner(found).filter(|_| writes("authenticated")) {
        let force = found.triggers.contains_key(super::compile::TRIGGER);
        let owned = of(Policy::UserOwnsRows);
        return Some(Table { owner_column: Some(owner), force_owner_on_insert: force, ..owned });
    }
    let statements: Vec<String> =
        found.policies.iter().map(|(policy, rule)| statement(name, policy, rule)).collect();
    Some(Table { custom_sql: Some(statements.join("\n")), ..of(Policy::Custom) })
}

/// The column, when the only policy is that a user owns what bears its id.
fn owner(found: &Relation) -> Option<String> {
    let mut policies = found.policies.values();
    let (policy, None) = (policies.next()?, policies.next()) else { return None };
    let (using, check) = (policy.using.as_deref()?, policy.check.as_deref()?);
    if policy.command != "ALL" || policy.roles != ["authenticated"] || using != check {
        return None;
    }
    let compared = using.strip_prefix('(')?.split_once(" = ")?;
    let is_user = matches!(compared.1, "auth.uid())" | "(auth.uid())::text)");
    let column = compared.0.trim_start_matches('(').trim_end_matches(")::text");
    let plain = |name: &str| name == column || ident(name) == column;
    found.columns.iter().find(|c| is_user && plain(&c.name)).map(|c| c.name.clone())
}

fn statement(table: &str, name: &str, policy: &LivePolicy) -> String {
    let kind = if policy.permissive { "permissive" } else { "restrictive" };
    let roles: Vec<String> =
        policy.roles.iter().map(|role| if role == "public" { role.clone() } else { ident(role) }).collect();
    let using = policy.using.as_ref().map(|sql| format!(" using ({sql})")).unwrap_or_default();
    let check = policy.check.as_ref().map(|sql| format!(" with check ({sql})")).unwrap_or_default();
    let (name, table, roles) = (ident(name), ident(table), roles.join(", "));
    let command = policy.command.to_lowercase();
    format!("create policy {name} on {table} as {kind} for {command} to {roles}{using}{check};")
}

fn view(name: &str, found: &Relation) -> Option<View> {
    let [base] = found.reads.as_slice() else { return None };
    let reads = |role: &str| found.rights(role).iter().any(|right| right == "select");
    if !found.is_view() || !reads("anon") || !reads("authenticated") {
        return None;
    }
    let select = found.columns.iter().map(|column| column.name.clone()).collect();
    Some(View {
        name: name.to_owned(),
        base: base.clone(),
        select,
        filter: None,
        security_invoker: true,
        expose: true,
    })
}

fn rpc(function: &Function) -> Option<Rpc> {
    let given = |role: Role| function.grants.iter().any(|g| g.is_empty() || g == role.as_str());
    let visitors: Vec<Role> =
        [Role::Anon, Role::Authenticated, Role::Admin].into_iter().filter(|r| given(*r)).collect();
    let signature = format!("({})", function.arguments.join(", "));
    (!visitors.is_empty()).then(|| Rpc { name: function.name.clone(), signature, grant_to: visitors })
}
