//! Preparing a cell: shared roles, settings, and the template that slots are copied from.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::{Cell, marks};
use crate::{During, StoreError};

/// Goes up with every change of what a slot starts with. Older slots are migrated, not rebuilt: see
/// [`super::upgrade`].
pub const TEMPLATE_VERSION: i32 = 4;

const CLUSTER: &str = include_str!("../../../../migrations/tenant/cluster.sql");
const SETTINGS: &str = include_str!("../../../../migrations/tenant/settings.sql");
const TEMPLATE: &str = include_str!("../../../../migrations/tenant/template.sql");

/// Any constant: keeps two nodes that start at once from preparing the same cell together.
const PREPARE_LOCK: i64 = 0x7234_3032;

pub(super) fn template_name() -> String {
    format!("r402_tpl_v{TEMPLATE_VERSION}")
}

impl Cell {
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        // Its own connection: closing it gives the lock back whatever happens in between.
        let mut conn = PgConnection::connect_with(&self.options).await.during("connect to a cell")?;
        sqlx::query("select pg_advisory_lock($1)")
            .bind(PREPARE_LOCK)
            .execute(&mut conn)
            .await
            .during("lock a cell")?;
        let outcome = self.prepare_locked(&mut conn).await;
        let _ = conn.close().await; // The lock goes with the connection either way.
        outcome?;
        match self.public_rights().await?.as_slice() {
            [] => Ok(()),
            open => {
                Err(StoreError::Corrupt(format!("PUBLIC may use databases {open:?} of cell {}", self.name)))
            }
        }
    }

    async fn prepare_locked(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::raw_sql(CLUSTER).execute(&mut *conn).await.during("prepare a cell")?;
        sqlx::raw_sql(marks::TABLE).execute(&mut *conn).await.during("prepare a cell")?;
        // ALTER SYSTEM refuses to run beside other statements, so each line goes alone.
        for line in SETTINGS.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
            sqlx::raw_sql(line).execute(&mut *conn).await.during("set up a cell")?;
        }
        sqlx::query("select pg_reload_conf()").execute(&mut *conn).await.during("reload a cell")?;
        self.template_ensure(conn).await
    }

    /// A template is complete once it is marked as one; anything less is made anew.
    async fn template_ensure(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        let name = template_name();
        let complete = sqlx::query("select datistemplate from pg_database where datname = $1")
            .bind(&name)
            .fetch_optional(&mut *conn)
            .await
            .during("find the template")?;
        match complete {
            Some(row) if row.try_get(0).during("find the template")? => return Ok(()),
            Some(_) => run(conn, format!("drop database {name} with (force)")).await?,
            None => {}
        }
        run(
            conn,
            format!(
                "create database {name} template template0 encoding 'UTF8' locale_provider builtin \
                 builtin_locale 'C.UTF-8' locale 'C'"
            ),
        )
        .await?;
        run(conn, format!("revoke all on database {name} from public")).await?;
        let mut inside = PgConnection::connect_with(&self.options.clone().database(&name))
            .await
            .during("connect to the template")?;
        sqlx::raw_sql(TEMPLATE).execute(&mut inside).await.during("fill the template")?;
        sqlx::raw_sql("vacuum (freeze, analyze)").execute(&mut inside).await.during("fill the template")?;
        inside.close().await.during("leave the template")?;
        run(conn, format!("alter database {name} with is_template true allow_connections false")).await?;
        tracing::info!(cell = self.name, template = name, "template made");
        Ok(())
    }

    /// Databases of this cell on which PUBLIC still holds a right. `template0` takes no connections.
    pub(super) async fn public_rights(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "select datname::text from pg_database d
             where datallowconn and exists (
               select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a where a.grantee = 0)
             order by 1",
        )
        .fetch_all(&self.superuser)
        .await
        .during("check PUBLIC")?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during("check PUBLIC")
    }
}

/// Runs one statement made of our own names.
pub(super) async fn run(conn: &mut PgConnection, sql: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.during("prepare a cell")?;
    Ok(())
}
