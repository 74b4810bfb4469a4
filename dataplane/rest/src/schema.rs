//! What a project's schema holds: tables, columns, constraints, policies. Reads the catalogue only, as the
//! login that owns the schema.

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use store::cells::{Cells, Login, Slot};

use crate::sql::{self, SqlError};

const DEADLINE: Duration = Duration::from_secs(10);

/// Names are resolved in the project's schema, so its tables show unqualified, as the owner would write them.
const TABLES: &str = "
  select coalesce(json_agg(t order by t.name), '[]')::text from (
    select c.relname as name, c.relrowsecurity as rls_enabled,
      case when c.reltuples >= 0 then c.reltuples::int8 end as row_estimate,
      (select coalesce(json_agg(json_build_object(
           'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'nullable', not a.attnotnull,
           'default_value', pg_get_expr(d.adbin, d.adrelid)) order by a.attnum), '[]')
         from pg_catalog.pg_attribute a
         left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select coalesce(json_agg(json_build_object(
           'name', k.conname, 'type', case k.contype when 'p' then 'PRIMARY KEY' when 'f' then 'FOREIGN KEY'
             when 'u' then 'UNIQUE' when 'c' then 'CHECK' when 'x' then 'EXCLUDE' else k.contype::text end,
           'definition', pg_get_constraintdef(k.oid)) order by k.conname), '[]')
         from pg_catalog.pg_constraint k
         where k.conrelid = c.oid and k.contype in ('p', 'f', 'u', 'c', 'x')) as constraints,
      (select coalesce(json_agg(json_build_object(
           'name', p.polname, 'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT'
             when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
           'using_expression', pg_get_expr(p.polqual, p.polrelid),
           'check_expression', pg_get_expr(p.polwithcheck, p.polrelid)) order by p.polname), '[]')
         from pg_catalog.pg_policy p where p.polrelid = c.oid) as policies
    from pg_catalog.pg_class c
    where c.relnamespace = pg_catalog.to_regnamespace($SCHEMA$) and c.relkind in ('r', 'p')) t";

/// The tables as the array that clients read, in name order.
///
/// # Errors
/// `Busy`, `Unavailable`, `Timeout`.
///
/// # Source
/// Wire contract 01 section 6.5.
pub async fn read(cells: &Cells, slot: &Slot) -> Result<Value, SqlError> {
    let mut session = cells.session(slot, Login::Admin, &sql::settings(slot, DEADLINE)).await?;
    let pid = session.pid;
    // A slot's name is letters and digits: it needs no escaping.
    let text = TABLES.replace("$SCHEMA$", &format!("'{}'", slot.schema()));
    let found = {
        let query = sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(&mut session.conn);
        tokio::time::timeout(DEADLINE + Duration::from_secs(1), query).await
    };
    let Ok(found) = found else {
        drop(session);
        cells.session_end(slot, Login::Admin, pid).await?;
        return Err(SqlError::Timeout { reads_only: true });
    };
    let row = found.map_err(|e| {
        tracing::info!(slot = %slot.name(), error = &e as &dyn std::error::Error, "read schema");
        SqlError::Unavailable
    })?;
    session.close().await;
    let text: String = row.try_get(0).map_err(|_| SqlError::Unavailable)?;
    serde_json::from_str(&text).map_err(|_| SqlError::Unavailable)
}
