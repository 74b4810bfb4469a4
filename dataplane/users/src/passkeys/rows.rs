//! Passkeys as they are shown, removed and asked for.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;
use webauthn_rs::prelude::Passkey;

use super::ceremony::backup;
use crate::rows::user_lock;
use crate::{Users, UsersError};

/// The columns that [`record`] reads, of `auth.passkeys p`.
pub(super) const RECORD: &str = "p.id, p.rp_id, p.created_origin, p.last_used_origin, p.transports, p.label, \
    p.credential, p.created_at, p.last_used_at, p.disabled_at";

/// # Source
/// Wire contract 04 section 2.15.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyRecord {
    pub id: Uuid,
    pub rp_id: String,
    pub created_origin: String,
    pub last_used_origin: Option<String>,
    pub transports: Vec<String>,
    pub label: Option<String>,
    /// Such as one that a password manager copies between devices.
    pub is_multi_device: bool,
    pub is_backed_up: bool,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    /// It was copied, and never signs in again.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// What decides whether a sign-in may change its user's passkeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasskeyGuard {
    /// The settings ask project admins for one.
    pub is_required: bool,
    /// How many of the user's sign in.
    pub usable: i64,
}

pub(super) fn record(row: &PgRow) -> Result<PasskeyRecord, sqlx::Error> {
    let Json(passkey): Json<Passkey> = row.try_get("credential")?;
    let (is_multi_device, is_backed_up) = backup(&passkey);
    Ok(PasskeyRecord {
        id: row.try_get("id")?,
        rp_id: row.try_get("rp_id")?,
        created_origin: row.try_get("created_origin")?,
        last_used_origin: row.try_get("last_used_origin")?,
        transports: row.try_get("transports")?,
        label: row.try_get("label")?,
        is_multi_device,
        is_backed_up,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        disabled_at: row.try_get("disabled_at")?,
    })
}

impl Users {
    /// A user's passkeys, the oldest first.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn passkey_list(&self, slot: &Slot, owner: Uuid) -> Result<Vec<PasskeyRecord>, UsersError> {
        let mut session = self.open(slot).await?;
        let sql =
            format!("select {RECORD} from auth.passkeys p where p.user_id = $1 order by p.created_at, p.id");
        let found = sqlx::query(AssertSqlSafe(sql))
            .bind(owner)
            .fetch_all(&mut session.conn)
            .await
            .and_then(|rows| rows.iter().map(record).collect::<Result<_, _>>())
            .during("list passkeys");
        session.close().await;
        Ok(found?)
    }

    /// Removes a user's passkey and ends what it signed in, but not the sign-in that asks. False: the user
    /// has no such passkey.
    ///
    /// # Errors
    /// As [`Users::passkey_list`].
    pub async fn passkey_remove(
        &self,
        slot: &Slot,
        owner: Uuid,
        id: Uuid,
        asking: Uuid,
        now: DateTime<Utc>,
    ) -> Result<bool, UsersError> {
        let mut session = self.open(slot).await?;
        let done = remove(&mut session.conn, owner, id, asking, now).await.during("remove a passkey");
        session.close().await;
        Ok(done?)
    }

    /// # Errors
    /// As [`Users::passkey_list`].
    pub async fn passkey_guard(&self, slot: &Slot, owner: Uuid) -> Result<PasskeyGuard, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query(
            "select s.require_passkey_for_project_admin,
                    (select count(*) from auth.passkeys p where p.user_id = $1 and p.disabled_at is null)
             from auth.settings s",
        )
        .bind(owner)
        .fetch_one(&mut session.conn)
        .await
        .and_then(|row| Ok(PasskeyGuard { is_required: row.try_get(0)?, usable: row.try_get(1)? }))
        .during("read what guards passkeys");
        session.close().await;
        Ok(found?)
    }

    /// Whether the role of a project admin stands: the user has it, the sign-in has not ended, and it was by
    /// passkey where the settings ask for one now.
    ///
    /// # Errors
    /// As [`Users::passkey_list`].
    pub async fn admin_stands(&self, slot: &Slot, user: Uuid, sign_in: Uuid) -> Result<bool, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query(
            "select exists (
               select from auth.users u join auth.sessions s on s.user_id = u.id
               where u.id = $1 and s.id = $2 and u.is_admin and s.ended_at is null
                 and ('passkey' = any(s.amr)
                   or not (select require_passkey_for_project_admin from auth.settings)))",
        )
        .bind(user)
        .bind(sign_in)
        .fetch_one(&mut session.conn)
        .await
        .and_then(|row| row.try_get(0))
        .during("ask whether an admin still is one");
        session.close().await;
        Ok(found?)
    }
}

async fn remove(
    conn: &mut PgConnection,
    owner: Uuid,
    id: Uuid,
    asking: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    user_lock(&mut tx, owner).await?;
    sqlx::query(
        "update auth.sessions set ended_at = $4
         where passkey_id = $2 and user_id = $1 and id <> $3 and ended_at is null",
    )
    .bind(owner)
    .bind(id)
    .bind(asking)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let removed = sqlx::query("delete from auth.passkeys where id = $2 and user_id = $1")
        .bind(owner)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(removed.rows_affected() == 1)
}

/// Forgets what somebody registered for an address before its owner had shown to own it (H04).
pub(crate) async fn drop_unproved(conn: &mut PgConnection, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from auth.passkeys where user_id =
           (select id from auth.users where lower(email) = $1 and (email_verified_at is null or email_vouched))",
    )
    .bind(email)
    .execute(conn)
    .await
    .map(drop)
}
