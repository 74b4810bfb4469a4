//! The sealer: chains the journal's hashes after commit, so that tampering shows and no writer waits.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::merkle;
use crate::{During, Store, StoreError, Tx};

/// Names the lock of the one sealer in `pg_locks`.
const SEALER_LOCK: i64 = 0x6c65_6467_6572;
/// Days whose roots one call makes; a sealer that slept for longer catches up over several calls.
const DAYS_MAX: i64 = 31;

/// Columns of a transfer that its hash covers: all of them. `canonical` reads them in this order.
pub(super) const HASHED: &str =
    "t.id, t.source, t.source_id, t.kind, t.currency, t.debit, t.credit, t.amount,
    t.hold_id, t.reverses, t.link, t.reason, t.reference_type, t.reference_id, t.metadata::text as metadata,
    t.debit_posted_after, t.debit_held_after, t.credit_posted_after, t.credit_held_after, t.created_at";

/// Seals up to `limit` transfers in id order and makes the roots of days that have passed. Returns how many
/// it sealed.
///
/// Any number of callers may try at once: one seals, the others return 0.
///
/// # Errors
/// `Db` only.
pub async fn seal(store: &Store, now: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let ours: bool = sqlx::query("select pg_try_advisory_xact_lock($1)")
        .bind(SEALER_LOCK)
        .fetch_one(tx.conn())
        .await
        .and_then(|row| row.try_get(0))
        .during("become the sealer")?;
    if !ours {
        return Ok(0);
    }
    let (mut seq, mut head, last_at) = chain_head(&mut tx).await?;
    // A clock that was set back must not put a seal into a day whose root is made.
    let at = last_at.map_or(now, |last| last.max(now));
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {HASHED} from ledger_unsealed u join ledger_transfers t on t.id = u.transfer_id
         order by t.id limit $1"
    )))
    .bind(limit)
    .fetch_all(tx.conn())
    .await
    .during("read unsealed transfers")?;
    let (mut seqs, mut ids, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        seq += 1;
        head = chain_hash(head, seq, &canonical(row).during("read unsealed transfers")?);
        seqs.push(seq);
        ids.push(row.try_get::<i64, _>("id").during("read unsealed transfers")?);
        hashes.push(head.to_vec());
    }
    seals_insert(&mut tx, (&seqs, &ids, &hashes), at).await?;
    roots_make(&mut tx, at).await?;
    tx.commit().await?;
    Ok(rows.len() as u64)
}

/// Transfers that wait for the sealer.
///
/// # Errors
/// `Db` only.
pub async fn unsealed_count(store: &Store) -> Result<i64, StoreError> {
    sqlx::query("select count(*) from ledger_unsealed")
        .fetch_one(store.pool())
        .await
        .and_then(|row| row.try_get(0))
        .during("count unsealed transfers")
}

async fn chain_head(tx: &mut Tx) -> Result<(i64, [u8; 32], Option<DateTime<Utc>>), StoreError> {
    let row = sqlx::query("select seq, hash, sealed_at from ledger_seals order by seq desc limit 1")
        .fetch_optional(tx.conn())
        .await
        .during("read the chain's head")?;
    let Some(row) = row else { return Ok((0, [0; 32], None)) };
    let hash: Vec<u8> = row.try_get("hash").during("read the chain's head")?;
    let seq = row.try_get("seq").during("read the chain's head")?;
    let sealed_at = row.try_get("sealed_at").during("read the chain's head")?;
    Ok((seq, digest(hash)?, Some(sealed_at)))
}

async fn seals_insert(
    tx: &mut Tx,
    (seqs, ids, hashes): (&[i64], &[i64], &[Vec<u8>]),
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    if seqs.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into ledger_seals (seq, transfer_id, hash, sealed_at)
         select *, $4 from unnest($1::bigint[], $2::bigint[], $3::bytea[])",
    )
    .bind(seqs)
    .bind(ids)
    .bind(hashes)
    .bind(at)
    .execute(tx.conn())
    .await
    .during("insert seals")?;
    sqlx::query("delete from ledger_unsealed where transfer_id = any($1)")
        .bind(ids)
        .execute(tx.conn())
        .await
        .during("empty the sealer's queue")?;
    Ok(())
}

/// One root for each past day (UTC) that has seals and no root yet.
async fn roots_make(tx: &mut Tx, now: DateTime<Utc>) -> Result<(), StoreError> {
    const DURING: &str = "make daily roots";
    let days = sqlx::query(
        "select (sealed_at at time zone 'UTC')::date as day, min(seq) as first_seq, max(seq) as last_seq
         from ledger_seals
         where seq > coalesce((select max(last_seq) from ledger_roots), 0)
           and sealed_at < date_trunc('day', $1::timestamptz at time zone 'UTC') at time zone 'UTC'
         group by 1 order by 1 limit $2",
    )
    .bind(now)
    .bind(DAYS_MAX)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    for day in days {
        let (first, last): (i64, i64) =
            (day.try_get("first_seq").during(DURING)?, day.try_get("last_seq").during(DURING)?);
        let root = merkle::root(&leaves_read(tx, first, last).await?);
        sqlx::query("insert into ledger_roots (day, first_seq, last_seq, root) values ($1, $2, $3, $4)")
            .bind(day.try_get::<chrono::NaiveDate, _>("day").during(DURING)?)
            .bind(first)
            .bind(last)
            .bind(root.as_slice())
            .execute(tx.conn())
            .await
            .during(DURING)?;
    }
    Ok(())
}

/// The hashes of a range of the chain.
pub(super) async fn leaves_read(tx: &mut Tx, first: i64, last: i64) -> Result<Vec<[u8; 32]>, StoreError> {
    let rows = sqlx::query("select hash from ledger_seals where seq between $1 and $2 order by seq")
        .bind(first)
        .bind(last)
        .fetch_all(tx.conn())
        .await
        .during("read seals")?;
    rows.into_iter().map(|row| row.try_get(0).during("read seals").and_then(digest)).collect()
}

pub(super) fn digest(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that is not 32 bytes".into()))
}

/// The next link of the chain.
pub(super) fn chain_hash(previous: [u8; 32], seq: i64, canonical: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(previous)
        .chain_update(seq.to_be_bytes())
        .chain_update(canonical)
        .finalize()
        .into()
}

/// A transfer as bytes: every field, each with its length before it, so that no two transfers share a form.
pub(super) fn canonical(row: &PgRow) -> Result<Vec<u8>, sqlx::Error> {
    let mut out = Canonical(Vec::with_capacity(400));
    out.number(row.try_get("id")?);
    for name in ["source", "source_id", "kind", "currency"] {
        out.text(row.try_get(name)?);
    }
    for name in ["debit", "credit", "amount"] {
        out.number(row.try_get(name)?);
    }
    for name in ["hold_id", "reverses"] {
        out.maybe(row.try_get::<Option<i64>, _>(name)?.map(|n| n.to_be_bytes().to_vec()).as_deref());
    }
    out.bytes(row.try_get::<uuid::Uuid, _>("link")?.as_bytes());
    out.text(row.try_get("reason")?);
    for name in ["reference_type", "reference_id"] {
        out.maybe(row.try_get::<Option<&str>, _>(name)?.map(str::as_bytes));
    }
    out.text(row.try_get("metadata")?);
    for name in ["debit_posted_after", "debit_held_after", "credit_posted_after", "credit_held_after"] {
        out.number(row.try_get(name)?);
    }
    out.number(row.try_get::<DateTime<Utc>, _>("created_at")?.timestamp_micros());
    Ok(out.0)
}

struct Canonical(Vec<u8>);

impl Canonical {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u64).to_be_bytes());
        self.0.extend(bytes);
    }
    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    fn number(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }
    fn maybe(&mut self, bytes: Option<&[u8]>) {
        self.0.push(u8::from(bytes.is_some()));
        self.bytes(bytes.unwrap_or_default());
    }
}
