//! Making and dropping slots.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPool};
use types::Clock;

use super::rows::{self, SlotState};
use super::template::{run, template_name};
use super::{Cell, Cells, Login, Slot, SlotName, TEMPLATE_VERSION, logins, upgrade};
use crate::{During, Store, StoreError};

const SLOT: &str = include_str!("../../../../migrations/tenant/slot.sql");

/// Making a slot takes a tenth of a second; one that is older was abandoned by a crash.
const ABANDONED_AFTER: TimeDelta = TimeDelta::minutes(2);
const CLEAN_MAX: i64 = 20;

impl Cells {
    /// Makes one slot on a cell and leaves it `warm`. What fails half-way is dropped, at once or by
    /// `slots_clean`.
    ///
    /// # Errors
    /// `Db` when either database refuses; `NotFound` for a cell this node does not know.
    pub async fn slot_make(&self, store: &Store, cell: &str, clock: &dyn Clock) -> Result<Slot, StoreError> {
        let cell = self.cell(cell)?;
        let _permit = cell.work.acquire().await.map_err(|_| StoreError::NotFound("cell"))?;
        let above = self.highest_number().await?;
        let number = rows::slot_insert(store, (&cell.name, above), TEMPLATE_VERSION, clock.now()).await?;
        let slot = Slot { number, cell: cell.name.clone() };
        let made = match self.slot_build(cell, slot.name()).await {
            // Whoever thought it abandoned is dropping it now.
            Ok(()) => {
                rows::slot_move(store, number, &[SlotState::Making], SlotState::Warm, clock.now()).await
            }
            Err(e) => Err(e),
        };
        if let Err(e) = made {
            // What cannot be cleaned now is cleaned by `slots_clean`.
            let _ = self.drop_now(store, cell, &slot, clock.now()).await;
            return Err(e);
        }
        tracing::debug!(slot = %slot.name(), cell = cell.name, "slot made");
        Ok(slot)
    }

    /// Drops a slot's database and logins, ending whatever is connected. Idempotent and resumable.
    ///
    /// # Errors
    /// `Db` when the cell refuses: the row stays `dropping` and the next call goes on.
    pub async fn slot_drop(&self, store: &Store, slot: &Slot, now: DateTime<Utc>) -> Result<(), StoreError> {
        let cell = self.cell(&slot.cell)?;
        let _permit = cell.work.acquire().await.map_err(|_| StoreError::NotFound("cell"))?;
        self.drop_now(store, cell, slot, now).await
    }

    /// Brings the warm slots of a cell up to `target` and drops what crashes left behind. Returns how many
    /// were made.
    ///
    /// # Errors
    /// `Db` when either database refuses.
    pub async fn slots_fill(
        &self,
        store: &Store,
        cell: &str,
        target: usize,
        clock: &dyn Clock,
    ) -> Result<usize, StoreError> {
        let Ok(_filling) = self.cell(cell)?.filling.try_lock() else { return Ok(0) };
        let abandoned = rows::slots_abandoned(store, cell, clock.now() - ABANDONED_AFTER, CLEAN_MAX).await?;
        for slot in abandoned {
            tracing::info!(slot = %slot.name(), cell, "dropping an abandoned slot");
            self.slot_drop(store, &slot, clock.now()).await?;
        }
        let (warm, accepts) = rows::warm_count(store, cell).await?;
        let missing = if accepts { target.saturating_sub(usize::try_from(warm).unwrap_or(0)) } else { 0 };
        for _ in 0..missing {
            self.slot_make(store, cell, clock).await?;
        }
        Ok(missing)
    }

    async fn slot_build(&self, cell: &Cell, name: SlotName) -> Result<(), StoreError> {
        let mut conn = cell.superuser.acquire().await.during("connect to a cell")?;
        // `p0007` and hexadecimal passwords: nothing in these statements comes from outside.
        for login in Login::ALL {
            let role = name.role(login);
            let bypass = if login == Login::Admin { "bypassrls" } else { "nobypassrls" };
            let (limit, password) = (login.connections_max(), logins::password(&self.inner.key, name, login));
            run(
                &mut conn,
                format!(
                    "create role {role} login noinherit nosuperuser nocreatedb nocreaterole noreplication \
                     {bypass} connection limit {limit} password '{password}'"
                ),
            )
            .await?;
            for sql in logins::bounds(&role) {
                run(&mut conn, sql).await?;
            }
        }
        let grant = |what: &str, to: Login| {
            format!("grant {what} to {} with inherit false, set true, admin false", name.role(to))
        };
        run(&mut conn, grant("anon, authenticated", Login::Api)).await?;
        run(&mut conn, grant("project_admin", Login::Staff)).await?;
        run(&mut conn, grant("service_role", Login::Admin)).await?;
        // Born with rights for PUBLIC, so nobody is let in until they are gone: neither another slot's login, nor
        // the check of a node that starts meanwhile, which would take it for a hole.
        let template = template_name();
        run(
            &mut conn,
            format!("create database {name} template {template} strategy wal_log allow_connections false"),
        )
        .await?;
        run(&mut conn, format!("revoke all on database {name} from public")).await?;
        run(&mut conn, format!("grant connect on database {name} to {name}_api, {name}_staff, {name}_auth"))
            .await?;
        run(&mut conn, format!("grant connect, temporary on database {name} to {name}_admin")).await?;
        run(&mut conn, format!("alter database {name} allow_connections true")).await?;
        drop(conn);
        // The last time that a superuser enters this database, but for upgrades of our own objects.
        let mut inside = PgConnection::connect_with(&cell.options.clone().database(&name.to_string()))
            .await
            .during("connect to a new slot")?;
        run(&mut inside, SLOT.replace("p0000", &name.to_string())).await?;
        upgrade::run_since(&mut inside, name, upgrade::MADE_VERSION).await?;
        inside.close().await.during("leave a new slot")
    }

    async fn drop_now(
        &self,
        store: &Store,
        cell: &Cell,
        slot: &Slot,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let before = [SlotState::Making, SlotState::Warm, SlotState::Bound, SlotState::Dropping];
        match rows::slot_move(store, slot.number, &before, SlotState::Dropping, now).await {
            // Dropped before.
            Err(StoreError::Stale(_)) => return Ok(()),
            other => other?,
        }
        drop_objects(&cell.superuser, slot.name()).await?;
        cell.mark_dropped(slot).await?;
        rows::slot_move(store, slot.number, &[SlotState::Dropping], SlotState::Dropped, now).await
    }
}

async fn drop_objects(superuser: &PgPool, name: SlotName) -> Result<(), StoreError> {
    let mut conn = superuser.acquire().await.during("connect to a cell")?;
    // First nobody can come back in, then nobody is in.
    for login in Login::ALL {
        let role = name.role(login);
        run(
            &mut conn,
            format!(
                "do $$ begin if exists (select from pg_roles where rolname = '{role}') then \
                 alter role {role} nologin; end if; end $$"
            ),
        )
        .await?;
    }
    run(&mut conn, format!("drop database if exists {name} with (force)")).await?;
    for login in Login::ALL {
        run(&mut conn, format!("drop role if exists {}", name.role(login))).await?;
    }
    Ok(())
}
