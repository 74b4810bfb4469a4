//! What makes a repeated request the same request: SIWX nonces, idempotency keys, and the faucet's limits.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::Row;
use types::{UsdMicros, Wallet};
use uuid::Uuid;

use crate::{During, Store, StoreError, Tx};

/// What a signed-in request's nonce says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUse {
    /// Never seen.
    First,
    /// Seen with the identical request: the paid repeat of it.
    Same,
    /// Seen with another request: a replay.
    Other,
}

/// A faucet drip to be made.
#[derive(Debug, Clone)]
pub struct NewDrip {
    pub id: Uuid,
    pub wallet: Wallet,
    pub client_ip: String,
    pub amount: UsdMicros,
}

/// A faucet drip as stored.
#[derive(Debug, Clone)]
pub struct DripRow {
    pub id: Uuid,
    pub wallet: Wallet,
    pub amount: UsdMicros,
    pub tx_hash: Option<Vec<u8>>,
    pub created_at: DateTime<Utc>,
}

/// How much the faucet gives.
#[derive(Debug, Clone, Copy)]
pub struct DripLimits {
    /// One drip per address in this time.
    pub wallet_rest: TimeDelta,
    /// Drips per client address and hour; none where the client is this machine.
    pub ip_hourly_max: Option<i64>,
}

/// Whether a drip was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DripInsert {
    Allowed,
    /// This address had one: wait.
    WalletLimited {
        retry_after_secs: i64,
    },
    /// This client asked too often: wait.
    ClientLimited {
        retry_after_secs: i64,
    },
}

/// Every drip takes this lock: its limits count rows, and two that count at once would both pass.
const FAUCET_LOCK: i64 = 0x7275_6e34_3032_0001;

/// Inserts a drip when the limits allow it. Counting and inserting are one step over all nodes.
///
/// # Errors
/// `Db` only.
pub async fn drip_insert(
    tx: &mut Tx,
    new: &NewDrip,
    limits: DripLimits,
    now: DateTime<Utc>,
) -> Result<DripInsert, StoreError> {
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(FAUCET_LOCK)
        .execute(tx.conn())
        .await
        .during("lock faucet")?;
    let last: Option<DateTime<Utc>> =
        sqlx::query("select max(created_at) from faucet_drips where wallet = $1")
            .bind(new.wallet.to_string())
            .fetch_one(tx.conn())
            .await
            .and_then(|row| row.try_get(0))
            .during("find last drip")?;
    if let Some(free_at) = last.map(|at| at + limits.wallet_rest).filter(|at| *at > now) {
        return Ok(DripInsert::WalletLimited { retry_after_secs: secs_until(free_at, now) });
    }
    if let Some(max) = limits.ip_hourly_max {
        let row = sqlx::query(
            "select count(*), min(created_at) from faucet_drips where client_ip = $1 and created_at > $2",
        )
        .bind(&new.client_ip)
        .bind(now - TimeDelta::hours(1))
        .fetch_one(tx.conn())
        .await
        .during("count drips")?;
        let count: i64 = row.try_get(0).during("count drips")?;
        let oldest: Option<DateTime<Utc>> = row.try_get(1).during("count drips")?;
        if count >= max {
            let free_at = oldest.unwrap_or(now) + TimeDelta::hours(1);
            return Ok(DripInsert::ClientLimited { retry_after_secs: secs_until(free_at, now) });
        }
    }
    sqlx::query(
        "insert into faucet_drips (id, wallet, client_ip, amount_micros, created_at) values ($1, $2, $3, $4, $5)",
    )
    .bind(new.id)
    .bind(new.wallet.to_string())
    .bind(&new.client_ip)
    .bind(new.amount.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("insert drip")?;
    Ok(DripInsert::Allowed)
}

/// Records the transaction that carries a drip.
///
/// # Errors
/// `Db` only.
pub async fn drip_sent(tx: &mut Tx, id: Uuid, tx_hash: [u8; 32]) -> Result<(), StoreError> {
    sqlx::query("update faucet_drips set tx_hash = $2 where id = $1")
        .bind(id)
        .bind(tx_hash.as_slice())
        .execute(tx.conn())
        .await
        .during("mark drip sent")?;
    Ok(())
}

/// Forgets a drip for which nothing was ever signed, so that it does not count. False when something was.
///
/// # Errors
/// `Db` only.
pub async fn drip_dropped(tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "delete from faucet_drips d where d.id = $1 and d.tx_hash is null
           and not exists (select from chain_txs t where t.intent = d.id)",
    )
    .bind(id)
    .execute(tx.conn())
    .await
    .during("drop drip")?;
    Ok(done.rows_affected() == 1)
}

/// What an idempotency key says about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Ours: do it, then finish it.
    New,
    /// The same request is under way.
    Running,
    /// The same request was done: this was its answer.
    Done(Value),
    /// The key was used for another request.
    Other,
}

/// An idempotency key in its scope: one caller and one operation.
#[derive(Debug, Clone, Copy)]
pub struct IdempotencyKey<'a> {
    pub scope: &'a str,
    pub key: &'a str,
}

impl Store {
    /// Notes that a wallet's nonce was used for a request, and says whether it was before.
    ///
    /// # Errors
    /// `Db` only.
    ///
    /// # Source
    /// Wire contract 01 section 2.3 and open question 4.
    pub async fn siwx_nonce_use(
        &self,
        wallet: Wallet,
        nonce: &str,
        request_hash: &[u8; 32],
        expires_at: DateTime<Utc>,
    ) -> Result<NonceUse, StoreError> {
        // The no-op update makes the losing insert wait for and return the winner's row.
        let row = sqlx::query(
            "insert into siwx_nonces as n (wallet, nonce, request_hash, expires_at) values ($1, $2, $3, $4)
             on conflict (wallet, nonce) do update set request_hash = n.request_hash
             returning request_hash, xmax = 0 as first",
        )
        .bind(wallet.to_string())
        .bind(nonce)
        .bind(request_hash.as_slice())
        .bind(expires_at)
        .fetch_one(self.pool())
        .await
        .during("use SIWX nonce")?;
        let first: bool = row.try_get("first").during("use SIWX nonce")?;
        let stored: Vec<u8> = row.try_get("request_hash").during("use SIWX nonce")?;
        Ok(match (first, stored == request_hash) {
            (true, _) => NonceUse::First,
            (false, true) => NonceUse::Same,
            (false, false) => NonceUse::Other,
        })
    }

    /// Claims an idempotency key for a request. An expired key is free again.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn idempotency_begin(
        &self,
        key: IdempotencyKey<'_>,
        request_hash: &[u8; 32],
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<Begun, StoreError> {
        let inserted = sqlx::query(
            "insert into idempotency_keys as k (scope, key, request_hash, created_at, expires_at)
             values ($1, $2, $3, $4, $5)
             on conflict (scope, key) do update set request_hash = excluded.request_hash, response = null,
               created_at = excluded.created_at, expires_at = excluded.expires_at
             where k.expires_at <= $4",
        )
        .bind(key.scope)
        .bind(key.key)
        .bind(request_hash.as_slice())
        .bind(now)
        .bind(expires_at)
        .execute(self.pool())
        .await
        .during("begin idempotent request")?;
        if inserted.rows_affected() == 1 {
            return Ok(Begun::New);
        }
        let row =
            sqlx::query("select request_hash, response from idempotency_keys where scope = $1 and key = $2")
                .bind(key.scope)
                .bind(key.key)
                .fetch_optional(self.pool())
                .await
                .during("read idempotency key")?
                // Dropped in between: the caller tries again.
                .ok_or(StoreError::Stale("idempotency key"))?;
        let stored: Vec<u8> = row.try_get("request_hash").during("read idempotency key")?;
        let response: Option<Value> = row.try_get("response").during("read idempotency key")?;
        Ok(match response {
            _ if stored != request_hash => Begun::Other,
            Some(response) => Begun::Done(response),
            None => Begun::Running,
        })
    }

    /// Stores the answer that repeats get.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn idempotency_finish(
        &self,
        key: IdempotencyKey<'_>,
        response: &Value,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        idempotency_finished(&mut tx, key, response).await?;
        tx.commit().await
    }

    /// Frees a key whose request failed without effect, so that it may be tried again.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn idempotency_drop(&self, key: IdempotencyKey<'_>) -> Result<(), StoreError> {
        sqlx::query("delete from idempotency_keys where scope = $1 and key = $2 and response is null")
            .bind(key.scope)
            .bind(key.key)
            .execute(self.pool())
            .await
            .during("drop idempotency key")?;
        Ok(())
    }

    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn drip_find(&self, id: Uuid) -> Result<Option<DripRow>, StoreError> {
        let row = sqlx::query(
            "select id, wallet, amount_micros, tx_hash, created_at from faucet_drips where id = $1",
        )
        .bind(id)
        .fetch_optional(self.pool())
        .await
        .during("find drip")?;
        row.as_ref()
            .map(|row| {
                let read = crate::sightings::Reader { row };
                Ok(DripRow {
                    id: read.get("id")?,
                    wallet: read.wallet("wallet")?,
                    amount: UsdMicros(read.get("amount_micros")?),
                    tx_hash: read.get("tx_hash")?,
                    created_at: read.get("created_at")?,
                })
            })
            .transpose()
    }

    /// Deletes nonces and keys that have expired, up to `limit` of each. Answers how many.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn requests_expire(&self, now: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        // A little late: a request that was verified just before its nonce expired may still be on its way
        // here.
        let before = now - TimeDelta::minutes(5);
        let nonces = sqlx::query(
            "delete from siwx_nonces where (wallet, nonce) in
               (select wallet, nonce from siwx_nonces where expires_at < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(self.pool())
        .await
        .during("expire nonces")?;
        let keys = sqlx::query(
            "delete from idempotency_keys where (scope, key) in
               (select scope, key from idempotency_keys where expires_at < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(self.pool())
        .await
        .during("expire idempotency keys")?;
        Ok(nonces.rows_affected() + keys.rows_affected())
    }
}

/// Stores the answer in the transaction that makes it true.
///
/// # Errors
/// `Db` only.
pub async fn idempotency_finished(
    tx: &mut Tx,
    key: IdempotencyKey<'_>,
    response: &Value,
) -> Result<(), StoreError> {
    sqlx::query("update idempotency_keys set response = $3 where scope = $1 and key = $2")
        .bind(key.scope)
        .bind(key.key)
        .bind(response)
        .execute(tx.conn())
        .await
        .during("finish idempotent request")?;
    Ok(())
}

fn secs_until(at: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    (at - now).num_seconds().max(0) + 1
}
