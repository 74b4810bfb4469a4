//! A manifest and a schema in, statements out. Pure: the same three values give the same statements.
//!
//! Only what differs is stated, so applying the same manifest again states nothing. Policies, triggers and
//! views are compared with what the server printed after the last time, because it prints expressions its own
//! way; rights are compared with the rights there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::check::{self, OURS};
use super::live::{Live, LivePolicy, Relation};
use super::manifest::{Manifest, Policy, Role, Table, View};
use super::text::{ident, literal, policy_head};
use crate::sql::lex;

const VISITORS: [&str; 4] = ["", "anon", "authenticated", "project_admin"];
const ALL: [&str; 4] = ["delete", "insert", "select", "update"];
const READ: [&str; 1] = ["select"];
/// Tables of one GRANT.
const TOGETHER_MAX: usize = 100;

pub(super) const TRIGGER: &str = "r402_force_owner";

/// What the last application left, as read back after it. Written by us but kept where the tenant can reach
/// it, so it is believed only where the schema agrees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    pub manifest: Manifest,
    pub tables: BTreeMap<String, AppliedTable>,
    /// Definitions of views.
    pub views: BTreeMap<String, String>,
    /// As `name(integer, text)`.
    pub rpcs: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedTable {
    pub policies: BTreeMap<String, LivePolicy>,
    pub trigger: Option<String>,
}

/// One thing to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ours through and through: may travel with others.
    Own(String),
    /// Holds words of the tenant: travels alone, as exactly one statement.
    Theirs { sql: String, path: String },
}

#[cfg(test)]
impl Step {
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Own(sql) | Self::Theirs { sql, .. } => sql,
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub changed: Names,
    pub dropped: Names,
}

/// Names of an answer, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub tables: BTreeSet<String>,
    pub views: BTreeSet<String>,
    pub rpcs: BTreeSet<String>,
}

/// The statements that bring `live` to what a checked manifest says.
pub fn compile(manifest: &Manifest, applied: &Applied, live: &Live) -> Plan {
    let mut work = Work { live, applied, rights: Rights::default(), plan: Plan::default() };
    // First everything that goes, then everything that comes.
    work.absent(manifest);
    for (index, table) in manifest.tables.iter().enumerate() {
        work.table(table, index);
    }
    let (live, plan) = (work.live, work.plan);
    let mut plan = Plan { steps: work.rights.steps(&live.schema, plan.steps), ..plan };
    views(manifest, applied, live, &mut plan);
    functions(manifest, applied, live, &mut plan);
    plan
}

/// What `live` shows of the objects of a manifest that was just applied.
pub fn remember(manifest: &Manifest, live: &Live) -> Applied {
    let mut applied = Applied { manifest: manifest.clone(), ..Applied::default() };
    for table in &manifest.tables {
        let Some(found) = live.relations.get(&table.name) else { continue };
        let own = own_policies(table);
        let policies = found.policies.iter().filter(|(name, _)| own.contains(*name));
        let policies = policies.map(|(name, policy)| (name.clone(), policy.clone())).collect();
        let entry = AppliedTable { policies, trigger: found.triggers.get(TRIGGER).cloned() };
        applied.tables.insert(table.name.clone(), entry);
    }
    for view in manifest.views.iter().filter(|view| view.expose) {
        let definition = live.relations.get(&view.name).and_then(|found| found.definition.clone());
        applied.views.extend(definition.map(|text| (view.name.clone(), text)));
    }
    for rpc in &manifest.rpcs {
        applied.rpcs.extend(check::found(rpc, live).first().map(|f| call(&f.name, &f.arguments)));
    }
    applied
}

/// Names of the policies that an entry makes.
fn own_policies(table: &Table) -> BTreeSet<String> {
    if check::is_custom(table) {
        let sql = table.custom_sql.as_deref().unwrap_or("");
        let heads = lex::statements(sql).into_iter().filter_map(|s| policy_head(&sql[s.range]));
        return heads.filter(|head| head.verb == "create").map(|head| head.policy).collect();
    }
    standard(table, &Relation::default()).into_iter().map(|(name, _)| name.to_owned()).collect()
}

struct Work<'a> {
    live: &'a Live,
    applied: &'a Applied,
    rights: Rights,
    plan: Plan,
}

impl Work<'_> {
    /// Takes back what an earlier manifest gave and this one does not name.
    fn absent(&mut self, manifest: &Manifest) {
        let named: BTreeSet<&str> = manifest.tables.iter().map(|table| table.name.as_str()).collect();
        for table in self.applied.manifest.tables.iter().filter(|old| !named.contains(old.name.as_str())) {
            self.plan.dropped.tables.insert(table.name.clone());
            self.close(&table.name);
        }
    }

    /// No rights, no policies or trigger of ours.
    fn close(&mut self, name: &str) {
        let Some(found) = self.live.relations.get(name).filter(|found| found.is_table()) else { return };
        let before = self.plan.steps.len();
        let gone: Vec<String> = self.ours(name, found).into_iter().collect();
        for policy in gone {
            self.drop_policy(name, &policy);
        }
        self.trigger(name, found, None);
        let changed = self.rights.want(name, found, &[]);
        if changed || self.plan.steps.len() > before {
            self.plan.changed.tables.insert(name.to_owned());
        }
    }

    /// Policies on a table that this mechanism made, by their names or by what it remembers.
    fn ours(&self, name: &str, found: &Relation) -> BTreeSet<String> {
        let remembered = self.applied.tables.get(name);
        let known = |policy: &str| remembered.is_some_and(|table| table.policies.contains_key(policy));
        found.policies.keys().filter(|policy| policy.starts_with(OURS) || known(policy)).cloned().collect()
    }

    fn table(&mut self, table: &Table, index: usize) {
        let name = &table.name;
        let Some(found) = self.live.relations.get(name) else { return };
        if !table.expose {
            return self.close(name);
        }
        let before = self.plan.steps.len();
        if !(found.rls && found.forced) {
            let sql =
                format!("alter table {} enable row level security, force row level security", self.at(name));
            self.own(sql);
        }
        self.policies(table, found, index);
        let owner = table.owner_column.as_deref();
        self.trigger(name, found, owner.filter(|_| table.force_owner_on_insert));
        if let Some(owner) = owner.filter(|_| table.policy == Some(Policy::UserOwnsRows))
            && found.column(owner).is_some_and(|column| matches!(column.type_name.as_str(), "uuid" | "text"))
            && !found.indexed.iter().any(|column| column == owner)
        {
            let sql = format!("create index on {} ({})", self.at(name), ident(owner));
            self.own(sql);
        }
        let changed = self.rights.want(name, found, wanted(table));
        if changed || self.plan.steps.len() > before {
            self.plan.changed.tables.insert(name.clone());
        }
    }

    fn policies(&mut self, table: &Table, found: &Relation, index: usize) {
        let name = &table.name;
        let ours = self.ours(name, found);
        let own = own_policies(table);
        if self.is_unchanged(table, found, &ours, &own) {
            return;
        }
        // A custom policy may stand under a name that a hand-made one has: Postgres refuses that, and says so.
        for policy in &ours {
            self.drop_policy(name, policy);
        }
        if check::is_custom(table) {
            let sql = table.custom_sql.as_deref().unwrap_or("");
            let path = format!("tables[{index}].custom_sql");
            for statement in lex::statements(sql) {
                let sql = sql[statement.range].to_owned();
                self.plan.steps.push(Step::Theirs { sql, path: path.clone() });
            }
            return;
        }
        for (policy, rest) in standard(table, found) {
            let sql = format!("create policy {policy} on {} {rest}", self.at(name));
            self.own(sql);
        }
    }

    /// The entry is the one that was applied, and its policies stand as they were read back then.
    fn is_unchanged(
        &self,
        table: &Table,
        found: &Relation,
        ours: &BTreeSet<String>,
        own: &BTreeSet<String>,
    ) -> bool {
        let rules = |t: &Table| (t.expose, t.policy, t.owner_column.clone(), t.custom_sql.clone());
        let before = self.applied.manifest.tables.iter().find(|old| old.name == table.name);
        let is_same = before.is_some_and(|old| rules(old) == rules(table));
        let Some(remembered) = self.applied.tables.get(&table.name).filter(|_| is_same) else { return false };
        // A custom text may alter or drop what it makes: what was left counts, not what was named.
        let complete = check::is_custom(table) || remembered.policies.keys().eq(own.iter());
        complete
            && ours.len() == remembered.policies.len()
            && remembered.policies.iter().all(|(name, policy)| found.policies.get(name) == Some(policy))
    }

    fn drop_policy(&mut self, table: &str, policy: &str) {
        let sql = format!("drop policy {} on {}", ident(policy), self.at(table));
        self.own(sql);
    }

    fn trigger(&mut self, name: &str, found: &Relation, column: Option<&str>) {
        let remembered = self.applied.tables.get(name).and_then(|table| table.trigger.as_ref());
        let old = self.applied.manifest.tables.iter().find(|old| old.name == name);
        let old_column =
            old.filter(|old| old.force_owner_on_insert).and_then(|old| old.owner_column.as_deref());
        let there = found.triggers.get(TRIGGER);
        if there.is_some() && there == remembered && column.is_some() && column == old_column {
            return;
        }
        if there.is_some() {
            let sql = format!("drop trigger {TRIGGER} on {}", self.at(name));
            self.own(sql);
        }
        if let Some(column) = column {
            // The condition keeps rows that name their owner out of the function.
            let sql = format!(
                "create trigger {TRIGGER} before insert on {} for each row when (new.{} is null) \
                 execute function r402.force_owner({})",
                self.at(name),
                ident(column),
                literal(column)
            );
            self.own(sql);
        }
    }

    fn at(&self, name: &str) -> String {
        format!("{}.{}", self.live.schema, ident(name))
    }

    fn own(&mut self, sql: String) {
        self.plan.steps.push(Step::Own(sql));
    }
}

/// Names of policies with what follows the table.
fn standard(table: &Table, found: &Relation) -> Vec<(&'static str, String)> {
    if !table.expose {
        return Vec::new();
    }
    match table.policy {
        Some(Policy::UserOwnsRows) => {
            let owner = table.owner_column.as_deref().unwrap_or_default();
            let is_uuid = found.column(owner).is_some_and(|column| column.type_name == "uuid");
            let own = match is_uuid {
                true => format!("{} = auth.uid()", ident(owner)),
                false => format!("{}::text = auth.uid()::text", ident(owner)),
            };
            vec![("r402_owner", format!("for all to authenticated using ({own}) with check ({own})"))]
        }
        Some(Policy::PublicReadAuthenticatedWrite) => vec![
            ("r402_read", "for select to anon, authenticated using (true)".to_owned()),
            ("r402_write", "for all to authenticated using (true) with check (true)".to_owned()),
        ],
        Some(Policy::Unrestricted) => {
            vec![("r402_open", "for all to anon, authenticated using (true) with check (true)".to_owned())]
        }
        Some(Policy::Custom) | None => Vec::new(),
    }
}

/// Rights by role. A project admin has those of `authenticated` by membership.
fn wanted(table: &Table) -> &'static [(&'static str, &'static [&'static str])] {
    match table.policy {
        Some(Policy::UserOwnsRows) => &[("authenticated", &ALL)],
        Some(Policy::PublicReadAuthenticatedWrite) => &[("anon", &READ), ("authenticated", &ALL)],
        Some(Policy::Unrestricted | Policy::Custom) => &[("anon", &ALL), ("authenticated", &ALL)],
        None => &[],
    }
}

/// Rights that change, gathered so that tables which change alike share a statement.
#[derive(Default)]
struct Rights {
    /// Takes everything from every visitor.
    revoke: Vec<String>,
    grant: BTreeMap<(&'static str, &'static [&'static str]), Vec<String>>,
    revoke_sequences: Vec<String>,
    grant_sequences: BTreeMap<&'static str, Vec<String>>,
}

impl Rights {
    /// Whether anything changes.
    fn want(
        &mut self,
        name: &str,
        found: &Relation,
        wanted: &[(&'static str, &'static [&'static str])],
    ) -> bool {
        let has_exactly = |role: &str| {
            let rights = wanted.iter().find(|(to, _)| *to == role).map_or(&[][..], |(_, rights)| *rights);
            found.rights(role).iter().map(String::as_str).eq(rights.iter().copied())
        };
        let mut changed = !VISITORS.iter().all(|role| has_exactly(role));
        if changed {
            self.revoke.push(name.to_owned());
            for (role, rights) in wanted {
                self.grant.entry((*role, *rights)).or_default().push(name.to_owned());
            }
        }
        // A column filled by a sequence cannot be written without the right to use that.
        let writers = wanted.iter().filter(|(_, rights)| rights.len() > 1).map(|(role, _)| *role);
        let writers: BTreeSet<&'static str> = writers.collect();
        for (sequence, users) in &found.sequences {
            let users: BTreeSet<&str> =
                users.iter().map(String::as_str).filter(|user| VISITORS.contains(user)).collect();
            if users != writers {
                changed = true;
                self.revoke_sequences.push(sequence.clone());
                for role in &writers {
                    self.grant_sequences.entry(*role).or_default().push(sequence.clone());
                }
            }
        }
        changed
    }

    fn steps(self, schema: &str, mut steps: Vec<Step>) -> Vec<Step> {
        let mut each = |names: &[String], before: &str, after: &str| {
            for some in names.chunks(TOGETHER_MAX) {
                let names: Vec<String> =
                    some.iter().map(|name| format!("{schema}.{}", ident(name))).collect();
                steps.push(Step::Own(format!("{before} {} {after}", names.join(", "))));
            }
        };
        let from = "from public, anon, authenticated, project_admin";
        each(&self.revoke, "revoke all on table", from);
        each(&self.revoke_sequences, "revoke all on sequence", from);
        for ((role, rights), names) in &self.grant {
            each(names, &format!("grant {} on table", rights.join(", ")), &format!("to {role}"));
        }
        for (role, names) in &self.grant_sequences {
            each(names, "grant usage on sequence", &format!("to {role}"));
        }
        steps
    }
}

fn views(manifest: &Manifest, applied: &Applied, live: &Live, plan: &mut Plan) {
    let wanted = |name: &str| manifest.views.iter().find(|view| view.name == name && view.expose);
    for name in applied.views.keys() {
        if wanted(name).is_none() {
            plan.dropped.views.insert(name.clone());
            if live.relations.get(name).is_some_and(Relation::is_view) {
                plan.changed.views.insert(name.clone());
                plan.steps.push(Step::Own(format!("drop view {}.{}", live.schema, ident(name))));
            }
        }
    }
    for (index, view) in manifest.views.iter().enumerate().filter(|(_, view)| view.expose) {
        let before = plan.steps.len();
        self::view(view, index, applied, live, plan);
        if plan.steps.len() > before {
            plan.changed.views.insert(view.name.clone());
        }
    }
}

fn view(view: &View, index: usize, applied: &Applied, live: &Live, plan: &mut Plan) {
    let at = format!("{}.{}", live.schema, ident(&view.name));
    let found = live.relations.get(&view.name).filter(|found| found.is_view());
    let old = applied.manifest.views.iter().find(|old| old.name == view.name);
    let remembered = applied.views.get(&view.name);
    let stands = found.is_some_and(|found| found.definition.as_ref() == remembered) && old == Some(view);
    if !stands {
        // One of the tenant's own keeps its name: `create view` is refused, and says so.
        if found.is_some() && remembered.is_some() {
            plan.steps.push(Step::Own(format!("drop view {at}")));
        }
        let columns: Vec<String> = view.select.iter().map(|column| ident(column)).collect();
        // The line break ends a comment within the filter.
        let filter = view.filter.as_ref().map(|sql| format!(" where ({sql}\n)")).unwrap_or_default();
        let (columns, base) = (columns.join(", "), ident(&view.base));
        let sql = format!(
            "create view {at} with (security_invoker = true) as select {columns} from {}.{base}{filter}",
            live.schema
        );
        plan.steps.push(Step::Theirs { sql, path: format!("views[{index}]") });
    }
    let mut rights = Rights::default();
    // A new view is born with the rights that the schema gives by default, as far as anybody can tell here.
    let before = if stands { found.cloned().unwrap_or_default() } else { Relation::default() };
    rights.want(&view.name, &before, &[("anon", &READ), ("authenticated", &READ)]);
    plan.steps = rights.steps(&live.schema, std::mem::take(&mut plan.steps));
}

fn functions(manifest: &Manifest, applied: &Applied, live: &Live, plan: &mut Plan) {
    let mut kept = BTreeSet::new();
    for rpc in &manifest.rpcs {
        let Some(found) = check::found(rpc, live).first().copied() else { continue };
        let key = call(&found.name, &found.arguments);
        let at = target(live, &found.name, &found.arguments);
        let mut wanted: BTreeSet<&str> = rpc.grant_to.iter().map(|role| role.as_str()).collect();
        // The project's own key may call everything, named or not.
        wanted.insert(Role::Service.as_str());
        let has: BTreeSet<&str> = found.grants.iter().map(String::as_str).collect();
        if has != wanted {
            plan.changed.rpcs.insert(rpc.name.clone());
            plan.steps.push(Step::Own(revoke_function(&at)));
            let roles: Vec<&str> = wanted.into_iter().collect();
            plan.steps.push(Step::Own(format!("grant execute on routine {at} to {}", roles.join(", "))));
        }
        kept.insert(key);
    }
    for key in applied.rpcs.difference(&kept) {
        let name = key.split_once('(').map_or(key.as_str(), |(name, _)| name);
        if !manifest.rpcs.iter().any(|rpc| rpc.name == name) {
            plan.dropped.rpcs.insert(name.to_owned());
        }
        let Some(found) = live.functions.iter().find(|f| call(&f.name, &f.arguments) == *key) else {
            continue;
        };
        if found.grants.iter().any(|role| VISITORS.contains(&role.as_str())) {
            plan.changed.rpcs.insert(name.to_owned());
            plan.steps.push(Step::Own(revoke_function(&target(live, &found.name, &found.arguments))));
        }
    }
}

fn revoke_function(at: &str) -> String {
    format!("revoke execute on routine {at} from public, anon, authenticated, project_admin")
}

fn call(name: &str, arguments: &[String]) -> String {
    format!("{name}({})", arguments.join(", "))
}

/// Types come as the server prints them, which it also reads.
fn target(live: &Live, name: &str, arguments: &[String]) -> String {
    format!("{}.{}({})", live.schema, ident(name), arguments.join(", "))
}
