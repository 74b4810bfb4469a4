//! Sign-ins and their refresh tokens. A token is stored as its SHA-256 and works once; when a used one comes
//! again, somebody copied it, and the whole sign-in ends.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::rows::{User, user};
use crate::{Users, UsersError};

const REFRESH_DAYS: i64 = 30;

/// A sign-in to be recorded.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: Uuid,
    pub user: Uuid,
    /// How the user proved who they are, such as `password`.
    pub amr: &'static str,
    pub refresh_token: String,
}

/// What a sign-in keeps over refreshes.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    pub id: Uuid,
    pub amr: Vec<String>,
    pub signed_in_at: DateTime<Utc>,
}

/// What a refresh token was worth.
#[derive(Debug)]
pub enum Refreshed {
    New(User, SessionFacts),
    /// Unknown, expired, of an ended sign-in, or used before: that sign-in is over now.
    Refused,
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

async fn token_insert(
    conn: &mut PgConnection,
    session: Uuid,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into auth.refresh_tokens (hash, session_id, expires_at) values ($1, $2, $3)")
        .bind(hash(token))
        .bind(session)
        .bind(now + TimeDelta::days(REFRESH_DAYS))
        .execute(conn)
        .await
        .map(drop)
}

async fn session_end(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query("update auth.sessions set ended_at = $2 where id = $1 and ended_at is null")
        .bind(id)
        .bind(now)
        .execute(conn)
        .await
        .map(drop)
}

impl Users {
    /// Records a sign-in by a password that was compared with `password_hash`. `None`: it is another one by
    /// now, since comparing takes long enough for that.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn session_begin(
        &self,
        slot: &Slot,
        new: &NewSession,
        password_hash: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionFacts>, UsersError> {
        let mut session = self.open(slot).await?;
        let done = by_password(&mut session.conn, new, password_hash, now).await;
        let done = done.during("begin a user's session");
        session.close().await;
        Ok(done?)
    }

    /// Trades a refresh token for `fresh`.
    ///
    /// # Errors
    /// As [`Users::session_begin`].
    pub async fn session_refresh(
        &self,
        slot: &Slot,
        old: &str,
        fresh: &str,
        now: DateTime<Utc>,
    ) -> Result<Refreshed, UsersError> {
        let mut session = self.open(slot).await?;
        let done = refresh(&mut session.conn, old, fresh, now).await.during("refresh a user's session");
        session.close().await;
        Ok(done?)
    }

    /// Ends a sign-in, with all its refresh tokens. Idempotent.
    ///
    /// # Errors
    /// As [`Users::session_begin`].
    pub async fn session_end(&self, slot: &Slot, id: Uuid, now: DateTime<Utc>) -> Result<(), UsersError> {
        let mut session = self.open(slot).await?;
        let done = session_end(&mut session.conn, id, now).await.during("end a user's session");
        session.close().await;
        Ok(done?)
    }
}

async fn by_password(
    conn: &mut PgConnection,
    new: &NewSession,
    password_hash: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<SessionFacts>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let still = sqlx::query("select from auth.users where id = $1 and password_hash = $2 for no key update")
        .bind(new.user)
        .bind(password_hash)
        .fetch_optional(&mut *tx)
        .await?;
    if still.is_none() {
        return Ok(None);
    }
    let facts = begin(&mut tx, new, now).await?;
    tx.commit().await?;
    Ok(Some(facts))
}

/// Whether this sign-in of the user goes on, asked under the user's lock by what it is about to change.
pub(crate) async fn stands(conn: &mut PgConnection, user: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query("select from auth.sessions where id = $1 and user_id = $2 and ended_at is null for share")
        .bind(id)
        .bind(user)
        .fetch_optional(conn)
        .await
        .map(|row| row.is_some())
}

/// Records a sign-in, and forgets those of the same user that can never be refreshed again.
pub(crate) async fn begin(
    conn: &mut PgConnection,
    new: &NewSession,
    now: DateTime<Utc>,
) -> Result<SessionFacts, sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query(
        "delete from auth.sessions s where s.user_id = $1 and not exists (
           select from auth.refresh_tokens t where t.session_id = s.id and t.expires_at > $2)",
    )
    .bind(new.user)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    sqlx::query("insert into auth.sessions (id, user_id, amr, signed_in_at) values ($1, $2, array[$3], $4)")
        .bind(new.id)
        .bind(new.user)
        .bind(new.amr)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    token_insert(&mut tx, new.id, &new.refresh_token, now).await?;
    tx.commit().await?;
    Ok(SessionFacts { id: new.id, amr: vec![new.amr.to_owned()], signed_in_at: now })
}

async fn refresh(
    conn: &mut PgConnection,
    old: &str,
    fresh: &str,
    now: DateTime<Utc>,
) -> Result<Refreshed, sqlx::Error> {
    let mut tx = conn.begin().await?;
    // Two that come at once queue for this row, and the second finds it used.
    let token = sqlx::query(
        "select session_id, expires_at, used_at from auth.refresh_tokens where hash = $1 for update",
    )
    .bind(hash(old))
    .fetch_optional(&mut *tx)
    .await?;
    let Some(token) = token else { return Ok(Refreshed::Refused) };
    let id: Uuid = token.try_get(0)?;
    if token.try_get::<Option<DateTime<Utc>>, _>(2)?.is_some() {
        session_end(&mut tx, id, now).await?;
        tx.commit().await?;
        return Ok(Refreshed::Refused);
    }
    let owner = sqlx::query(
        "select u.id, u.email, u.display_name, u.avatar_url, u.email_verified_at, u.is_admin, u.created_at,
                s.amr, s.signed_in_at
         from auth.sessions s join auth.users u on u.id = s.user_id where s.id = $1 and s.ended_at is null",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let expired = token.try_get::<DateTime<Utc>, _>(1)? <= now;
    let Some(owner) = owner.filter(|_| !expired) else { return Ok(Refreshed::Refused) };
    sqlx::query("update auth.refresh_tokens set used_at = $2 where hash = $1")
        .bind(hash(old))
        .bind(now)
        .execute(&mut *tx)
        .await?;
    token_insert(&mut tx, id, fresh, now).await?;
    tx.commit().await?;
    let facts = SessionFacts { id, amr: owner.try_get("amr")?, signed_in_at: owner.try_get("signed_in_at")? };
    Ok(Refreshed::New(user(&owner)?, facts))
}
