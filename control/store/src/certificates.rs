//! Certificates, the authority's account, and what it asks for while it checks a name.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Row;
use types::Entropy;

use crate::{During, MasterKey, Sealed, Store, StoreError};

/// While one node orders a certificate, the others leave the row alone for as long.
const CLAIMED_SECS: i64 = 300;
/// How long a challenge may be asked for.
const CHALLENGE_SECS: i64 = 900;

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    pub host: String,
    /// The host's own first.
    pub chain: String,
    pub key: String,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} until {})", self.host, self.not_after)
    }
}

/// A row to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub host: String,
    /// Attempts in a row that failed.
    pub failures: i32,
    /// When the certificate ends that is there.
    pub not_after: Option<DateTime<Utc>>,
}

/// Asks for a certificate; a row that is there stays as it is. Answers whether it is new.
///
/// # Errors
/// `Db` only.
pub async fn certificate_want(store: &Store, host: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into certificates (host, requested_at, next_attempt_at) values ($1, $2, $2)
         on conflict (host) do nothing",
    )
    .bind(host)
    .bind(now)
    .execute(store.pool())
    .await
    .during("want a certificate")?;
    Ok(done.rows_affected() == 1)
}

/// # Errors
/// `Corrupt` when the key was sealed under another master key.
pub async fn certificate_find(
    store: &Store,
    master: &MasterKey,
    host: &str,
) -> Result<Option<Certificate>, StoreError> {
    const DURING: &str = "find a certificate";
    let row = sqlx::query(
        "select chain, key_sealed, not_before, not_after from certificates where host = $1 and chain is not null",
    )
    .bind(host)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    let Some(row) = row else { return Ok(None) };
    let sealed = Sealed(row.try_get("key_sealed").during(DURING)?);
    let key = String::from_utf8(master.open(&key_label(host), &sealed)?);
    Ok(Some(Certificate {
        host: host.to_owned(),
        chain: row.try_get("chain").during(DURING)?,
        key: key.map_err(|_| StoreError::Corrupt("a certificate's key".to_owned()))?,
        not_before: row.try_get("not_before").during(DURING)?,
        not_after: row.try_get("not_after").during(DURING)?,
    }))
}

/// Takes rows to work on, unless `per_hour_max` orders were begun within the hour. Whoever takes one has it for
/// a while, and nobody else.
///
/// # Errors
/// `Db` only.
pub async fn certificates_due(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
    per_hour_max: i64,
) -> Result<Vec<Due>, StoreError> {
    const DURING: &str = "take due certificates";
    let rows = sqlx::query(
        "with room as (
           select greatest(0, least($3, $4 - count(*))) as n from certificates
           where started_at > $1 - interval '1 hour')
         update certificates set next_attempt_at = $2, started_at = $1
         where host in (select host from certificates where next_attempt_at <= $1
           order by next_attempt_at limit (select n from room) for update skip locked)
         returning host, failures, not_after",
    )
    .bind(now)
    .bind(now + TimeDelta::seconds(CLAIMED_SECS))
    .bind(limit)
    .bind(per_hour_max)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    rows.iter()
        .map(|row| {
            Ok(Due {
                host: row.try_get("host")?,
                failures: row.try_get("failures")?,
                not_after: row.try_get("not_after")?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(DURING)
}

/// Keeps a new certificate, and says when the next one is due.
///
/// # Errors
/// `Db` only.
pub async fn certificate_keep(
    store: &Store,
    master: &MasterKey,
    entropy: &dyn Entropy,
    certificate: &Certificate,
    next_attempt_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sealed = master.seal(&key_label(&certificate.host), entropy.secret(), certificate.key.as_bytes())?;
    sqlx::query(
        "update certificates set chain = $2, key_sealed = $3, not_before = $4, not_after = $5, failures = 0,
           last_error = null, next_attempt_at = $6
         where host = $1",
    )
    .bind(&certificate.host)
    .bind(&certificate.chain)
    .bind(sealed.0)
    .bind(certificate.not_before)
    .bind(certificate.not_after)
    .bind(next_attempt_at)
    .execute(store.pool())
    .await
    .during("keep a certificate")?;
    Ok(())
}

/// Notes that an attempt failed; the certificate that is there stays.
///
/// # Errors
/// `Db` only.
pub async fn certificate_failed(
    store: &Store,
    host: &str,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update certificates set failures = failures + 1, last_error = $2, next_attempt_at = $3 where host = $1",
    )
    .bind(host)
    .bind(error)
    .bind(next_attempt_at)
    .execute(store.pool())
    .await
    .during("note a failed order")?;
    Ok(())
}

/// Forgets the certificate of a name that is nobody's any more.
///
/// # Errors
/// `Db` only.
pub async fn certificate_drop(store: &Store, host: &str) -> Result<(), StoreError> {
    sqlx::query("delete from certificates where host = $1")
        .bind(host)
        .execute(store.pool())
        .await
        .during("drop a certificate")?;
    Ok(())
}

/// Our account at an authority, as it was kept.
///
/// # Errors
/// `Corrupt` when it was sealed under another master key.
pub async fn acme_account_find(
    store: &Store,
    master: &MasterKey,
    directory: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    const DURING: &str = "find an ACME account";
    let row = sqlx::query("select credentials from acme_accounts where directory = $1")
        .bind(directory)
        .fetch_optional(store.pool())
        .await
        .during(DURING)?;
    let sealed = row.map(|row| row.try_get("credentials").map(Sealed)).transpose().during(DURING)?;
    sealed.map(|sealed| master.open(&account_label(directory), &sealed)).transpose()
}

/// Keeps our account; one that is there already stays.
///
/// # Errors
/// `Db` only.
pub async fn acme_account_keep(
    store: &Store,
    master: &MasterKey,
    entropy: &dyn Entropy,
    directory: &str,
    credentials: &[u8],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sealed = master.seal(&account_label(directory), entropy.secret(), credentials)?;
    sqlx::query(
        "insert into acme_accounts (directory, credentials, created_at) values ($1, $2, $3)
         on conflict (directory) do nothing",
    )
    .bind(directory)
    .bind(sealed.0)
    .bind(now)
    .execute(store.pool())
    .await
    .during("keep an ACME account")?;
    Ok(())
}

/// Publishes what the authority will ask for, and clears away what it has asked for before.
///
/// # Errors
/// `Db` only.
pub async fn challenge_put(
    store: &Store,
    host: &str,
    token: &str,
    key_authorization: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("delete from acme_challenges where expires_at < $1")
        .bind(now)
        .execute(store.pool())
        .await
        .during("clear challenges away")?;
    sqlx::query(
        "insert into acme_challenges (token, host, key_authorization, expires_at) values ($1, $2, $3, $4)
         on conflict (token) do update set key_authorization = excluded.key_authorization,
           host = excluded.host, expires_at = excluded.expires_at",
    )
    .bind(token)
    .bind(host)
    .bind(key_authorization)
    .bind(now + TimeDelta::seconds(CHALLENGE_SECS))
    .execute(store.pool())
    .await
    .during("publish a challenge")?;
    Ok(())
}

/// What a host answers the authority with.
///
/// # Errors
/// `Db` only.
pub async fn challenge_find(store: &Store, host: &str, token: &str) -> Result<Option<String>, StoreError> {
    const DURING: &str = "find a challenge";
    let row = sqlx::query("select key_authorization from acme_challenges where token = $1 and host = $2")
        .bind(token)
        .bind(host)
        .fetch_optional(store.pool())
        .await
        .during(DURING)?;
    row.map(|row| row.try_get("key_authorization")).transpose().during(DURING)
}

fn key_label(host: &str) -> String {
    format!("certificate/{host}")
}

fn account_label(directory: &str) -> String {
    format!("acme/{directory}")
}
