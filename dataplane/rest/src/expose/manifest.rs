//! The manifest as a value, read from JSON with every mistake named at once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::issue::{IssueKind, Issues};

/// Entries of each list. A project holds at most 5,000 relations.
const ENTRIES_MAX: usize = 5000;
const SQL_BYTES_MAX: usize = 65_536;
/// Longer names do not exist in Postgres.
const NAME_BYTES_MAX: usize = 63;

/// Who may do what with a project's tables, views and functions.
///
/// # Source
/// Wire contract 01 section 7.1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub version: String,
    #[serde(default)]
    pub tables: Vec<Table>,
    #[serde(default)]
    pub views: Vec<View>,
    #[serde(default)]
    pub rpcs: Vec<Rpc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    UserOwnsRows,
    PublicReadAuthenticatedWrite,
    #[serde(rename = "public_read_write_UNRESTRICTED")]
    Unrestricted,
    Custom,
}

const POLICIES: &str =
    "user_owns_rows, public_read_authenticated_write, public_read_write_UNRESTRICTED or custom";

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    pub expose: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_column: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_owner_on_insert: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub i_understand_this_is_unrestricted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_sql: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub name: String,
    pub base: String,
    pub select: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Always true.
    pub security_invoker: bool,
    pub expose: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpc {
    pub name: String,
    /// The argument list in parentheses.
    pub signature: String,
    pub grant_to: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Anon,
    Authenticated,
    #[serde(rename = "service_role")]
    Service,
    #[serde(rename = "project_admin")]
    Admin,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::Service => "service_role",
            Self::Admin => "project_admin",
        }
    }
}

/// Reads a manifest; what could not be read is left out of it and named in `issues`.
pub(super) fn read(body: &Value, issues: &mut Issues) -> Manifest {
    let Some(top) = body.as_object() else {
        issues.shape(
            "",
            "expected a JSON object",
            "Send {\"version\":\"1\",\"tables\":[],\"views\":[],\"rpcs\":[]}.",
        );
        return Manifest::default();
    };
    if top.get("version").and_then(Value::as_str) != Some("1") {
        issues.shape("version", "expected \"1\"", "Set \"version\" to the text \"1\".");
    }
    Manifest {
        version: "1".to_owned(),
        tables: entries(top, "tables", issues, table),
        views: entries(top, "views", issues, view),
        rpcs: entries(top, "rpcs", issues, rpc),
    }
}

/// One list of the manifest. A name that stands twice is refused: which of them would count?
fn entries<T>(
    top: &Map<String, Value>,
    list: &'static str,
    issues: &mut Issues,
    read: fn(&mut Fields<'_>) -> Option<(String, T)>,
) -> Vec<T> {
    let items = match top.get(list) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            issues.shape(list, "expected an array", "Make it a list of objects, or leave it out.");
            return Vec::new();
        }
    };
    if items.len() > ENTRIES_MAX {
        let detail = format!("{} entries are more than {ENTRIES_MAX}", items.len());
        issues.shape(list, detail, "List only tables, views and functions that the project has.");
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{list}[{index}]");
        let Some(map) = item.as_object() else {
            issues.shape(&path, "expected an object", "Make each entry an object with a name.");
            continue;
        };
        let mut fields = Fields { map, path, issues, known: Vec::new() };
        let entry = read(&mut fields);
        fields.unknown();
        let Some((key, entry)) = entry else { continue };
        if seen.insert(key.clone()) {
            found.push(entry);
            issues.stood(list, index);
        } else {
            let path = format!("{list}[{index}].name");
            issues.shape(&path, format!("{key:?} stands twice"), "Keep one entry for each name.");
        }
    }
    found
}

fn table(fields: &mut Fields<'_>) -> Option<(String, Table)> {
    let name = fields.name("name");
    let expose = fields.flag("expose");
    if !fields.map.contains_key("expose") {
        fields.wrong("expose", "expected true or false", "Say whether visitors may reach this table.");
    }
    let policy = fields.policy();
    let owner_column = fields.optional("owner_column");
    let force_owner_on_insert = fields.flag("force_owner_on_insert").unwrap_or(false);
    let acknowledged = fields.flag("i_understand_this_is_unrestricted").unwrap_or(false);
    let custom_sql = fields.optional("custom_sql");
    let expose = expose.unwrap_or(false);
    if expose {
        exposed(fields, policy, owner_column.is_some(), acknowledged, custom_sql.as_deref());
    }
    if force_owner_on_insert && owner_column.is_none() {
        let path = fields.at("force_owner_on_insert");
        let fix = "Name the column in owner_column, or remove force_owner_on_insert.";
        fields.issues.error(IssueKind::ForceOwnerWithoutOwnerColumn, &path, "needs an owner_column", fix);
    }
    let name = name?;
    let entry = Table {
        name: name.clone(),
        expose,
        policy,
        owner_column,
        force_owner_on_insert,
        i_understand_this_is_unrestricted: acknowledged,
        custom_sql,
    };
    Some((name, entry))
}

/// What an exposed table needs beside its policy.
fn exposed(
    fields: &mut Fields<'_>,
    policy: Option<Policy>,
    has_owner: bool,
    acknowledged: bool,
    custom_sql: Option<&str>,
) {
    match policy {
        None if !fields.map.contains_key("policy") => {
            fields.wrong("policy", "is required when expose is true", &format!("Choose {POLICIES}."));
        }
        Some(Policy::UserOwnsRows) if !has_owner => {
            let fix = "Name the column that holds the user's id.";
            fields.wrong("owner_column", "is required for user_owns_rows", fix);
        }
        Some(Policy::Unrestricted) if !acknowledged => {
            let path = fields.at("i_understand_this_is_unrestricted");
            let fix = "Set it to true if everybody may write every row, or choose another policy.";
            fields.issues.error(IssueKind::UnrestrictedAckRequired, &path, "must be true", fix);
        }
        Some(Policy::Custom) => match custom_sql {
            None => fields.wrong("custom_sql", "is required for custom", "Write CREATE POLICY statements."),
            Some(sql) if sql.len() > SQL_BYTES_MAX => {
                let detail = format!("is longer than {SQL_BYTES_MAX} bytes");
                fields.wrong("custom_sql", &detail, "Move logic into a function that the policies call.");
            }
            Some(_) => {}
        },
        _ => {}
    }
}

fn view(fields: &mut Fields<'_>) -> Option<(String, View)> {
    let name = fields.name("name");
    let base = fields.name("base");
    let select = fields.texts("select");
    let filter = fields.optional("filter");
    if filter.as_ref().is_some_and(|sql| sql.len() > SQL_BYTES_MAX) {
        fields.wrong("filter", "is too long", "Move logic into a function that the filter calls.");
    }
    // Coerced, not refused: a view that ran with its owner's rights would read past every policy.
    fields.flag("security_invoker");
    let expose = fields.flag("expose").unwrap_or(true);
    let name = name?;
    let entry =
        View { name: name.clone(), base: base?, select: select?, filter, security_invoker: true, expose };
    Some((name, entry))
}

fn rpc(fields: &mut Fields<'_>) -> Option<(String, Rpc)> {
    let name = fields.name("name");
    let signature = fields.required("signature").filter(|text| {
        let text = text.trim();
        let fits = text.starts_with('(') && text.ends_with(')') && !text.contains(';');
        if !fits {
            let fix = "Write the argument list in parentheses, such as (a integer, b text), or ().";
            fields.wrong("signature", "expected a list of arguments in parentheses", fix);
        }
        fits
    });
    let named = fields.texts("grant_to");
    let grant_to = named.map(|roles| roles.iter().filter_map(|role| fields.role(role)).collect::<Vec<_>>());
    let (name, signature) = (name?, signature?);
    let key = format!("{name}{signature}");
    Some((key, Rpc { name, signature, grant_to: grant_to? }))
}

/// The fields of one entry.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    issues: &'a mut Issues,
    known: Vec<&'static str>,
}

impl Fields<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn wrong(&mut self, field: &str, detail: &str, fix: &str) {
        let path = self.at(field);
        self.issues.shape(&path, detail, fix);
    }

    /// Null is as good as absent.
    fn get(&mut self, field: &'static str) -> Option<&Value> {
        self.known.push(field);
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn optional(&mut self, field: &'static str) -> Option<String> {
        match self.get(field)? {
            Value::String(text) if !text.trim().is_empty() && !text.contains('\0') => Some(text.clone()),
            _ => {
                self.wrong(field, "expected text that is not empty", "Send a JSON string, or leave it out.");
                None
            }
        }
    }

    fn required(&mut self, field: &'static str) -> Option<String> {
        if self.get(field).is_none() {
            self.wrong(field, "is missing", "Add it.");
            return None;
        }
        self.optional(field)
    }

    fn name(&mut self, field: &'static str) -> Option<String> {
        let name = self.required(field)?;
        if name.len() > NAME_BYTES_MAX {
            self.wrong(field, "is longer than 63 bytes", "Postgres has no longer names; use the real one.");
            return None;
        }
        Some(name)
    }

    fn flag(&mut self, field: &'static str) -> Option<bool> {
        match self.get(field)? {
            Value::Bool(yes) => Some(*yes),
            _ => {
                self.wrong(field, "expected true or false", "Send a JSON boolean, not text.");
                None
            }
        }
    }

    fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let texts = self.get(field).and_then(Value::as_array).and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty())
        });
        if texts.is_none() {
            self.wrong(field, "expected a list of texts that is not empty", "Name at least one.");
        }
        texts
    }

    fn policy(&mut self) -> Option<Policy> {
        let named = self.get("policy")?.clone();
        let policy = serde_json::from_value(named.clone()).ok();
        if policy.is_none() {
            self.wrong("policy", &format!("{named} is no policy"), &format!("Choose {POLICIES}."));
        }
        policy
    }

    fn role(&mut self, name: &str) -> Option<Role> {
        let role = serde_json::from_value(Value::from(name)).ok();
        if role.is_none() {
            let path = self.at("grant_to");
            let fix = "Choose from anon, authenticated, service_role, project_admin.";
            self.issues.error(IssueKind::GrantToRoleUnknown, &path, format!("{name:?} is no role"), fix);
        }
        role
    }

    /// A field that nobody reads may be one that was meant otherwise.
    fn unknown(&mut self) {
        let unknown = self.map.keys().filter(|key| !self.known.contains(&key.as_str()));
        for key in unknown.cloned().collect::<Vec<_>>() {
            let path = self.at(&key);
            let fix = "Check its spelling, or remove it.";
            self.issues.warn(IssueKind::SchemaShape, &path, "is no field of the manifest and ignored", fix);
        }
    }
}
