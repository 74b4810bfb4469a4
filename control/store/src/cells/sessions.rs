//! Connections to tenant databases: few per slot and login, bounded over all, ended from outside when
//! overdue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::relay::{self, Relay};
use super::{Cells, Login, Slot, logins};
use crate::{During, StoreError};

/// Tenant connections of this process over all cells.
const SESSIONS_MAX: usize = 120;
/// Of one slot and login; one below the role's own limit, so that a second node gets in too.
const SESSIONS_PER_LOGIN_MAX: usize = 3;
const WAIT_SECS_MAX: u64 = 5;
const CONNECT_SECS_MAX: u64 = 10;
/// After this a cancelled session is ended for good.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// Backends get new process ids all the time, so the login and the database must match as well.
const CANCEL: &str = "select pg_cancel_backend(pid) from pg_stat_activity
  where pid = $1 and usename = $2 and datname = $3";
const TERMINATE: &str = "select pg_terminate_backend(pid) from pg_stat_activity
  where pid = $1 and usename = $2 and datname = $3";

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// All connections of this project or of this node are in use.
    #[error("too many connections in use")]
    Busy,
    #[error("tenant database")]
    Store(#[from] StoreError),
}

/// A fresh connection of one login. Whatever ran on it may have changed its settings, so it is never used
/// again: dropping it closes it.
pub struct Session {
    pub conn: PgConnection,
    /// The backend's process id, for `session_end`.
    pub pid: i32,
    // After the connection and before the permits: fields are dropped in this order.
    relay: Relay,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

type PerLogin = HashMap<(i32, Login), Weak<Semaphore>>;

pub(super) struct Gate {
    all: Arc<Semaphore>,
    per_login: Mutex<PerLogin>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(SESSIONS_MAX)), per_login: Mutex::default() }
    }
}

impl Gate {
    async fn enter(
        &self,
        slot: i32,
        login: Login,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), SessionError> {
        let own = self.of(slot, login);
        let both = async {
            let own = own.acquire_owned().await.map_err(|_| SessionError::Busy)?;
            let all = self.all.clone().acquire_owned().await.map_err(|_| SessionError::Busy)?;
            Ok((own, all))
        };
        tokio::time::timeout(Duration::from_secs(WAIT_SECS_MAX), both)
            .await
            .map_err(|_| SessionError::Busy)?
    }

    /// Lives as long as somebody uses it or waits for it.
    fn of(&self, slot: i32, login: Login) -> Arc<Semaphore> {
        let mut map = self.per_login.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(found) = map.get(&(slot, login)).and_then(Weak::upgrade) {
            return found;
        }
        if map.len() > SESSIONS_MAX {
            map.retain(|_, weak| weak.strong_count() > 0);
        }
        let made = Arc::new(Semaphore::new(SESSIONS_PER_LOGIN_MAX));
        map.insert((slot, login), Arc::downgrade(&made));
        made
    }
}

impl Cells {
    /// Opens a session of `login` on a slot, with `settings` as start-up options: these outrank whatever
    /// defaults the tenant gave its own role.
    ///
    /// # Errors
    /// `Busy` when no connection is free in time; `Db` when the database does not let us in.
    pub async fn session(
        &self,
        slot: &Slot,
        login: Login,
        settings: &[(&str, String)],
    ) -> Result<Session, SessionError> {
        let permits = self.inner.sessions.enter(slot.number, login).await?;
        let options = self.options_for(slot, login)?.options(settings.iter().map(|(k, v)| (*k, v.as_str())));
        let open = || async {
            let wait = Duration::from_secs(CONNECT_SECS_MAX);
            match tokio::time::timeout(wait, relay::connect(&options)).await {
                Ok(done) => done,
                Err(_) => Err(sqlx::Error::PoolTimedOut),
            }
        };
        let (mut conn, relay) = match open().await {
            // A tenant may change the password of the login its SQL runs as; it locks out only itself, until
            // now.
            Err(e) if is_sqlstate(&e, &["28P01", "28000"]) => {
                self.login_reset(slot, login).await?;
                open().await.during("connect to a tenant database")?
            }
            Err(e) if is_sqlstate(&e, &["53300"]) => return Err(SessionError::Busy),
            other => other.during("connect to a tenant database")?,
        };
        let pid = sqlx::Row::try_get(
            &sqlx::raw_sql("set role none; select pg_catalog.pg_backend_pid()::text")
                .fetch_one(&mut conn)
                .await
                .during("open a tenant session")?,
            0,
        )
        .during("open a tenant session")
        .and_then(|pid: String| pid.parse().map_err(|_| StoreError::Corrupt("backend pid".into())))?;
        Ok(Session { conn, pid, relay, _permits: permits })
    }

    /// Ends what a session is doing: cancels, then terminates. Works from the maintenance database, and only
    /// on a backend that still is this login's.
    ///
    /// # Errors
    /// `Db` when the cell does not answer.
    pub async fn session_end(&self, slot: &Slot, login: Login, pid: i32) -> Result<(), StoreError> {
        let cell = self.cell(&slot.cell)?;
        for (act, wait) in [(CANCEL, CANCEL_GRACE), (TERMINATE, Duration::ZERO)] {
            let done = sqlx::query(act)
                .bind(pid)
                .bind(slot.name().role(login))
                .bind(slot.schema())
                .fetch_optional(&cell.superuser)
                .await
                .during("end a tenant session")?;
            if done.is_none() {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// The size of a slot's files in bytes, read from outside.
    ///
    /// # Errors
    /// `Db` when the cell does not answer.
    pub async fn slot_bytes(&self, slot: &Slot) -> Result<i64, StoreError> {
        let cell = self.cell(&slot.cell)?;
        sqlx::query("select pg_database_size($1::name)")
            .bind(slot.schema())
            .fetch_one(&cell.superuser)
            .await
            .and_then(|row| sqlx::Row::try_get(&row, 0))
            .during("measure a slot")
    }

    /// Gives a login its password and defaults back.
    ///
    /// # Errors
    /// `Db` when the cell does not answer.
    pub async fn login_reset(&self, slot: &Slot, login: Login) -> Result<(), StoreError> {
        let cell = self.cell(&slot.cell)?;
        let role = slot.name().role(login);
        let password = logins::password(&self.inner.key, slot.name(), login);
        let mut conn = cell.superuser.acquire().await.during("connect to a cell")?;
        let reset = [
            format!("alter role {role} password '{password}' valid until 'infinity'"),
            format!("alter role {role} reset all"),
        ];
        for sql in reset.into_iter().chain(logins::bounds(&role)) {
            super::template::run(&mut conn, sql).await?;
        }
        tracing::info!(slot = %slot.name(), login = login.as_str(), "login reset");
        Ok(())
    }
}

impl Session {
    /// Closes politely, so that the server frees the connection before its permit is given back.
    pub async fn close(self) {
        let _ = self.conn.close().await; // Dropping it does the same, only later.
        self.relay.finish().await;
    }
}

fn is_sqlstate(error: &sqlx::Error, states: &[&str]) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| states.contains(&code.as_ref()))
}
