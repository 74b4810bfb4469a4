//! What the project's schema holds now, as far as a manifest can concern it.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::{ExposeError, run};
use crate::sql::SqlError;

/// Of all rows together: a catalogue made to be large ends here and not in our memory.
const BYTES_MAX: usize = 32_000_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Live {
    /// Letters and digits: needs no quotes.
    pub schema: String,
    /// By name. Tables, views and whatever else shares their names.
    pub relations: BTreeMap<String, Relation>,
    #[serde(default)]
    pub functions: Vec<Function>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relation {
    /// As in `pg_class.relkind`.
    pub kind: String,
    pub rls: bool,
    pub forced: bool,
    pub columns: Vec<Column>,
    pub policies: BTreeMap<String, LivePolicy>,
    /// What visitors' roles may do, by role; `PUBLIC` is the empty name. Rights on single columns are listed
    /// as `column`.
    pub grants: BTreeMap<String, Vec<String>>,
    /// Definitions by name.
    pub triggers: BTreeMap<String, String>,
    /// Columns that lead a whole, valid b-tree.
    pub indexed: Vec<String>,
    /// Those that fill columns by default, with the roles that may use them.
    pub sequences: BTreeMap<String, Vec<String>>,
    pub definition: Option<String>,
    /// Tables and views that a view reads.
    pub reads: Vec<String>,
}

impl Relation {
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p")
    }

    pub(super) fn is_view(&self) -> bool {
        self.kind == "v"
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(super) fn rights(&self, role: &str) -> &[String] {
        self.grants.get(role).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
}

/// A policy as the server prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePolicy {
    /// `SELECT`, `INSERT`, `UPDATE`, `DELETE` or `ALL`.
    pub command: String,
    pub permissive: bool,
    pub roles: Vec<String>,
    pub using: Option<String>,
    pub check: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// Types of the arguments that a caller gives.
    pub arguments: Vec<String>,
    /// The same by their short names, such as `int4`.
    pub short: Vec<String>,
    /// Roles that may call it; `PUBLIC` is the empty name.
    pub grants: Vec<String>,
}

const RELATIONS: &str = "
  select c.relname::text, json_build_object(
    'kind', c.relkind, 'rls', c.relrowsecurity, 'forced', c.relforcerowsecurity,
    'columns', (select coalesce(json_agg(json_build_object('name', a.attname,
        'type', format_type(a.atttypid, null)) order by a.attnum), '[]')
      from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    'policies', (select coalesce(json_object_agg(p.polname, json_build_object(
        'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE'
          when 'd' then 'DELETE' else 'ALL' end,
        'permissive', p.polpermissive,
        'roles', (select json_agg(case r when 0 then 'public' else r::regrole::text end order by r)
          from unnest(p.polroles) r),
        'using', pg_get_expr(p.polqual, p.polrelid),
        'check', pg_get_expr(p.polwithcheck, p.polrelid))), '{}')
      from pg_policy p where p.polrelid = c.oid),
    'grants', (select coalesce(json_object_agg(role, rights), '{}') from (
        select role, json_agg(distinct lower(g.right) order by lower(g.right)) as rights from (
          select x.grantee, x.privilege_type as right from aclexplode(c.relacl) x
          union select x.grantee, 'column' from pg_attribute a, aclexplode(a.attacl) x
            where a.attrelid = c.oid) g,
        lateral (select case g.grantee when 0 then '' else g.grantee::regrole::text end as role) n
        where role in ('', 'anon', 'authenticated', 'project_admin') group by role) by_role),
    'triggers', (select coalesce(json_object_agg(t.tgname, t.tgenabled::text || pg_get_triggerdef(t.oid)), '{}')
      from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal),
    'indexed', (select coalesce(json_agg(distinct a.attname), '[]')
      from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am m on m.oid = ic.relam
        join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
      where i.indrelid = c.oid and i.indisvalid and i.indpred is null and m.amname = 'btree'),
    'sequences', (select coalesce(json_object_agg(s.relname, (
        select coalesce(json_agg(distinct x.grantee::regrole::text order by x.grantee::regrole::text), '[]')
        from aclexplode(s.relacl) x where x.grantee <> 0 and x.privilege_type = 'USAGE')), '{}')
      from pg_class s where s.relkind = 'S' and s.relnamespace = c.relnamespace and c.relkind in ('r', 'p')
        and s.oid in (select d.refobjid from pg_attrdef f join pg_depend d
          on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid and d.refclassid = 'pg_class'::regclass
          where f.adrelid = c.oid)),
    'definition', case c.relkind when 'v' then coalesce(c.reloptions::text, '') || pg_get_viewdef(c.oid) end,
    'reads', case c.relkind when 'v' then (select coalesce(json_agg(distinct b.relname), '[]')
      from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_class'::regclass
      join pg_class b on b.oid = d.refobjid and b.oid <> c.oid
      where w.ev_class = c.oid) else '[]'::json end)::text
  from pg_class c
  where c.relnamespace = to_regnamespace($SCHEMA$) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')";

const FUNCTIONS: &str = "
  select p.proname::text, json_build_object('name', p.proname,
    'arguments', (select coalesce(json_agg(format_type(t, null) order by n), '[]')
      from unnest(p.proargtypes) with ordinality a (t, n)),
    'short', (select coalesce(json_agg(y.typname order by n), '[]')
      from unnest(p.proargtypes) with ordinality a (t, n) join pg_type y on y.oid = a.t),
    'grants', (select coalesce(json_agg(distinct case x.grantee when 0 then '' else x.grantee::regrole::text end), '[]')
      from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
      where x.grantee = 0 or x.grantee::regrole::text
        in ('anon', 'authenticated', 'project_admin', 'service_role')))::text
  from pg_proc p where p.pronamespace = to_regnamespace($SCHEMA$) and p.prokind in ('f', 'p')
  order by p.oid";

/// Reads the catalogue on a session of the schema's owner.
///
/// # Errors
/// `Raced` when something was dropped while it was read; `TooLarge`, `Unavailable`.
pub(super) async fn read(conn: &mut PgConnection, schema: &str) -> Result<Live, ExposeError> {
    let mut live = Live { schema: schema.to_owned(), ..Live::default() };
    let mut bytes = 0;
    for (name, text) in rows(conn, RELATIONS, schema, &mut bytes).await? {
        live.relations.insert(name, serde_json::from_str(&text).map_err(broken)?);
    }
    for (_, text) in rows(conn, FUNCTIONS, schema, &mut bytes).await? {
        live.functions.push(serde_json::from_str(&text).map_err(broken)?);
    }
    Ok(live)
}

async fn rows(
    conn: &mut PgConnection,
    query: &str,
    schema: &str,
    bytes: &mut usize,
) -> Result<Vec<(String, String)>, ExposeError> {
    // Names that the tenant shadows would run with no rights but its own, and spoil only its own answer.
    let text = query.replace("$SCHEMA$", &format!("'{schema}'"));
    let mut stream = sqlx::raw_sql(AssertSqlSafe(text)).fetch(conn);
    let mut found = Vec::new();
    while let Some(row) = stream.try_next().await.map_err(|e| run::refusal(&e, None))? {
        let (name, text): (String, String) =
            (row.try_get(0).map_err(broken)?, row.try_get(1).map_err(broken)?);
        *bytes += name.len() + text.len();
        if *bytes > BYTES_MAX {
            return Err(SqlError::TooLarge { rows_max: found.len(), bytes_max: BYTES_MAX }.into());
        }
        found.push((name, text));
    }
    Ok(found)
}

fn broken(error: impl std::error::Error + 'static) -> ExposeError {
    tracing::info!(error = &error as &dyn std::error::Error, "read what a schema exposes");
    SqlError::Unavailable.into()
}
