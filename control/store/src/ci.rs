//! Bindings of CI workflows to projects, and the sessions that workflows get.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{CiBindingId, ProjectId};

use crate::{During, Store, StoreError, Tx};

/// Rows of the past that one exchange clears away.
const CLEARED_MAX: i64 = 200;

/// Leave for some workflows to deploy to one project.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub id: CiBindingId,
    pub project: ProjectId,
    pub issuer: String,
    pub audience: String,
    /// A subject, or its beginning and a `*`.
    pub subject_match: String,
    pub allowed_events: Vec<String>,
    pub route_scopes: Vec<String>,
    pub github_repository_id: Option<String>,
    /// As it was signed, and what that means.
    pub expires: Option<(String, DateTime<Utc>)>,
    pub nonce: String,
    /// The wallet that signed.
    pub created_by: String,
    /// What was signed, with who and when.
    pub delegation: Value,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub use_count: i64,
}

impl Binding {
    /// Neither revoked nor over.
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires.as_ref().is_none_or(|(_, at)| *at > now)
    }
}

/// The answer to a new binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    New,
    /// Its nonce was used before.
    NonceUsed,
    /// An active binding has this subject.
    Duplicate,
}

/// What a workflow gets for its identity token.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// SHA-256 of the session's token.
    pub token_sha256: [u8; 32],
    pub binding: CiBindingId,
    /// SHA-256 of the identity token, and when it stops verifying.
    pub identity_sha256: [u8; 32],
    pub identity_expires_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// The answer to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchanged {
    Done,
    /// The identity token was exchanged before.
    Reused,
    /// The binding has ended since it was read.
    Ended,
}

/// Writes a binding. One that has run out makes room for the next of its subject. Safe to race.
///
/// # Errors
/// `Constraint` when an id is used twice.
pub async fn binding_create(tx: &mut Tx, binding: &Binding) -> Result<Bound, StoreError> {
    sqlx::query(
        "update ci_bindings set revoked_at = expires_at
         where project_id = $1 and issuer = $2 and subject_match = $3 and revoked_at is null
           and expires_at <= $4",
    )
    .bind(binding.project.0)
    .bind(&binding.issuer)
    .bind(&binding.subject_match)
    .bind(binding.created_at)
    .execute(tx.conn())
    .await
    .during("end bindings that ran out")?;
    let written = sqlx::query(
        "insert into ci_bindings (id, project_id, issuer, audience, subject_match, allowed_events, route_scopes,
           github_repository_id, expires_text, expires_at, nonce, created_by, delegation, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         on conflict do nothing",
    )
    .bind(binding.id.0)
    .bind(binding.project.0)
    .bind(&binding.issuer)
    .bind(&binding.audience)
    .bind(&binding.subject_match)
    .bind(&binding.allowed_events)
    .bind(&binding.route_scopes)
    .bind(&binding.github_repository_id)
    .bind(binding.expires.as_ref().map(|(text, _)| text))
    .bind(binding.expires.as_ref().map(|(_, at)| *at))
    .bind(&binding.nonce)
    .bind(&binding.created_by)
    .bind(&binding.delegation)
    .bind(binding.created_at)
    .execute(tx.conn())
    .await
    .during("create a binding")?;
    if written.rows_affected() == 1 {
        return Ok(Bound::New);
    }
    let replayed = sqlx::query("select 1 from ci_bindings where nonce = $1")
        .bind(&binding.nonce)
        .fetch_optional(tx.conn())
        .await
        .during("look for a nonce")?;
    Ok(if replayed.is_some() { Bound::NonceUsed } else { Bound::Duplicate })
}

/// A project's bindings with the ended ones, the oldest first.
///
/// # Errors
/// `Db` only.
pub async fn binding_list(store: &Store, project: ProjectId) -> Result<Vec<Binding>, StoreError> {
    let rows =
        sqlx::query("select * from ci_bindings where project_id = $1 order by created_at, id limit 1000")
            .bind(project.0)
            .fetch_all(store.pool())
            .await
            .during("list bindings")?;
    rows.iter().map(binding).collect()
}

/// # Errors
/// `Db` only.
pub async fn binding_find(store: &Store, id: CiBindingId) -> Result<Option<Binding>, StoreError> {
    let row = sqlx::query("select * from ci_bindings where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a binding")?;
    row.as_ref().map(binding).transpose()
}

/// Ends a binding and every session of it. Repeating it changes nothing.
///
/// # Errors
/// `NotFound`.
pub async fn binding_revoke(tx: &mut Tx, id: CiBindingId, now: DateTime<Utc>) -> Result<Binding, StoreError> {
    let row =
        sqlx::query("update ci_bindings set revoked_at = coalesce(revoked_at, $2) where id = $1 returning *")
            .bind(id.0)
            .bind(now)
            .fetch_optional(tx.conn())
            .await
            .during("revoke a binding")?
            .ok_or(StoreError::NotFound("binding"))?;
    sqlx::query("delete from ci_sessions where binding_id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await
        .during("end a binding's sessions")?;
    binding(&row)
}

/// Opens a session under the binding's lock, so that none outlives a revocation that was answered before. An
/// identity token opens one session only.
///
/// # Errors
/// `Db` only.
pub async fn session_open(tx: &mut Tx, session: &NewSession) -> Result<Exchanged, StoreError> {
    let used = sqlx::query(
        "update ci_bindings set last_used_at = $2, use_count = use_count + 1
         where id = $1 and revoked_at is null and (expires_at is null or expires_at > $2)",
    )
    .bind(session.binding.0)
    .bind(session.now)
    .execute(tx.conn())
    .await
    .during("use a binding")?;
    if used.rows_affected() != 1 {
        return Ok(Exchanged::Ended);
    }
    let first = sqlx::query(
        "insert into ci_tokens_used (token_sha256, expires_at) values ($1, $2) on conflict do nothing",
    )
    .bind(session.identity_sha256.as_slice())
    .bind(session.identity_expires_at)
    .execute(tx.conn())
    .await
    .during("use an identity token")?;
    if first.rows_affected() != 1 {
        return Ok(Exchanged::Reused);
    }
    sqlx::query(
        "insert into ci_sessions (token_sha256, binding_id, created_at, expires_at) values ($1, $2, $3, $4)",
    )
    .bind(session.token_sha256.as_slice())
    .bind(session.binding.0)
    .bind(session.now)
    .bind(session.expires_at)
    .execute(tx.conn())
    .await
    .during("open a CI session")?;
    for sql in [
        "delete from ci_sessions where token_sha256 in
           (select token_sha256 from ci_sessions where expires_at < $1 limit $2 for update skip locked)",
        "delete from ci_tokens_used where token_sha256 in
           (select token_sha256 from ci_tokens_used where expires_at < $1 limit $2 for update skip locked)",
    ] {
        sqlx::query(sql)
            .bind(session.now - chrono::TimeDelta::hours(1))
            .bind(CLEARED_MAX)
            .execute(tx.conn())
            .await
            .during("clear CI sessions away")?;
    }
    Ok(Exchanged::Done)
}

/// The binding of a session that is not over. Whether the binding is still active is the caller's to ask.
///
/// # Errors
/// `Db` only.
pub async fn session_binding(
    store: &Store,
    token_sha256: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<Binding>, StoreError> {
    let row = sqlx::query(
        "select b.* from ci_sessions s join ci_bindings b on b.id = s.binding_id
         where s.token_sha256 = $1 and s.expires_at > $2",
    )
    .bind(token_sha256.as_slice())
    .bind(now)
    .fetch_optional(store.pool())
    .await
    .during("find a CI session")?;
    row.as_ref().map(binding).transpose()
}

fn binding(row: &PgRow) -> Result<Binding, StoreError> {
    let read = || -> Result<Binding, sqlx::Error> {
        let expires: (Option<String>, Option<DateTime<Utc>>) =
            (row.try_get("expires_text")?, row.try_get("expires_at")?);
        Ok(Binding {
            id: CiBindingId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            issuer: row.try_get("issuer")?,
            audience: row.try_get("audience")?,
            subject_match: row.try_get("subject_match")?,
            allowed_events: row.try_get("allowed_events")?,
            route_scopes: row.try_get("route_scopes")?,
            github_repository_id: row.try_get("github_repository_id")?,
            expires: expires.0.zip(expires.1),
            nonce: row.try_get("nonce")?,
            created_by: row.try_get("created_by")?,
            delegation: row.try_get("delegation")?,
            created_at: row.try_get("created_at")?,
            revoked_at: row.try_get("revoked_at")?,
            last_used_at: row.try_get("last_used_at")?,
            use_count: row.try_get("use_count")?,
        })
    };
    read().during("read a binding")
}
