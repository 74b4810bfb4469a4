//! Proofs that an account's transfers are in the sealed books, for somebody who trusts only a daily root.
//!
//! A sealed transfer's leaf is `SHA-256(previous leaf, seq, canonical bytes)`; the day's root is a Merkle tree
//! over its leaves. A proof carries those three and the way up to the root, so that [`check`] needs nothing
//! else, the database least of all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use types::AccountId;

use super::merkle::{Step, climb, way};
use super::seal::{HASHED, canonical, chain_hash, digest, leaves_read};
use crate::{During, Store, StoreError};

/// Transfers of one proof; the newest ones of an account that has more.
const TRANSFERS_MAX: i64 = 10_000;

/// What anybody can check with a root in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `org_...`: whose transfers these are. A claim, like the next: the books name accounts by number.
    pub account: String,
    /// The numbers of its ledger accounts, and what each is for.
    pub ledger_accounts: BTreeMap<i64, String>,
    pub transfers: Vec<Leaf>,
    /// Transfers that no root covers yet: of today, or not sealed.
    pub not_rooted: i64,
}

/// One transfer and its way up to a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// `YYYY-MM-DD`, UTC.
    pub day: String,
    /// Its place in the journal.
    pub seq: i64,
    /// The leaf before it, in hex.
    pub previous: String,
    /// All that was written of it, in hex.
    pub canonical: String,
    /// From the leaf up: `L` or `R`, where the sibling stands, and its hash in hex.
    pub way: Vec<String>,
    /// In hex.
    pub root: String,
}

/// A transfer as its canonical bytes say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    pub day: String,
    pub seq: i64,
    pub id: i64,
    pub source: String,
    pub source_id: String,
    pub kind: String,
    pub currency: String,
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("transfer {0} of the proof is not of the right form")]
    Form(usize),
    #[error("no root of {0} was given")]
    NoRoot(String),
    #[error("transfer {seq} does not lead to the root of {day}")]
    Root { seq: i64, day: String },
    #[error("transfer {0} does not touch the account")]
    Foreign(i64),
}

/// The proof of an account's transfers, as far as roots cover them.
///
/// # Errors
/// `NotFound` for an account without transfers; `Db`, `Corrupt`.
pub async fn prove(store: &Store, owner: AccountId) -> Result<Proof, StoreError> {
    const DURING: &str = "prove an account";
    let mut tx = store.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(tx.conn())
        .await
        .during(DURING)?;
    let accounts = sqlx::query("select id, kind from ledger_accounts where owner = $1 order by id")
        .bind(owner.0)
        .fetch_all(tx.conn())
        .await
        .during(DURING)?;
    let mut ledger_accounts = BTreeMap::new();
    for row in &accounts {
        ledger_accounts.insert(row.try_get(0).during(DURING)?, row.try_get(1).during(DURING)?);
    }
    if ledger_accounts.is_empty() {
        return Err(StoreError::NotFound("ledger account"));
    }
    let sql = format!(
        "select s.seq, p.hash as previous, r.day::text as day, r.first_seq, r.last_seq, r.root, {HASHED}
         from ledger_transfers t join ledger_seals s on s.transfer_id = t.id
         join ledger_roots r on s.seq between r.first_seq and r.last_seq
         left join ledger_seals p on p.seq = s.seq - 1
         where t.debit = any($1) or t.credit = any($1) order by s.seq desc limit {TRANSFERS_MAX}"
    );
    let numbers: Vec<i64> = ledger_accounts.keys().copied().collect();
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&numbers).fetch_all(tx.conn()).await.during(DURING)?;
    let mut days: BTreeMap<String, Vec<[u8; 32]>> = BTreeMap::new();
    let mut transfers = Vec::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let day: String = row.try_get("day").during(DURING)?;
        let (first, last): (i64, i64) =
            (row.try_get("first_seq").during(DURING)?, row.try_get("last_seq").during(DURING)?);
        if !days.contains_key(&day) {
            days.insert(day.clone(), leaves_read(&mut tx, first, last).await?);
        }
        let seq: i64 = row.try_get("seq").during(DURING)?;
        let place = usize::try_from(seq - first).map_err(|_| StoreError::Corrupt("a seal's place".into()))?;
        let way = days.get(&day).map(|leaves| way(leaves, place)).unwrap_or_default();
        let previous: Option<Vec<u8>> = row.try_get("previous").during(DURING)?;
        transfers.push(Leaf {
            day,
            seq,
            previous: hex::encode(previous.map_or(Ok([0; 32]), digest)?),
            canonical: hex::encode(canonical(row).during(DURING)?),
            way: way.into_iter().map(Step::to_text).collect(),
            root: hex::encode(row.try_get::<Vec<u8>, _>("root").during(DURING)?),
        });
    }
    let all: i64 =
        sqlx::query("select count(*) from ledger_transfers where debit = any($1) or credit = any($1)")
            .bind(&numbers)
            .fetch_one(tx.conn())
            .await
            .and_then(|row| row.try_get(0))
            .during(DURING)?;
    tx.rollback().await?;
    let proven = i64::try_from(transfers.len()).unwrap_or(i64::MAX);
    Ok(Proof { account: owner.to_string(), ledger_accounts, transfers, not_rooted: all - proven })
}

/// Checks a proof against roots, by day, that the caller has from elsewhere. Asks nobody anything.
///
/// # Errors
/// The first transfer that does not hold.
pub fn check(proof: &Proof, roots: &BTreeMap<String, [u8; 32]>) -> Result<Vec<Proven>, ProofError> {
    let prove_one = |(place, leaf): (usize, &Leaf)| {
        let form = || ProofError::Form(place);
        let root = roots.get(&leaf.day).ok_or_else(|| ProofError::NoRoot(leaf.day.clone()))?;
        let previous: [u8; 32] =
            hex::decode(&leaf.previous).ok().and_then(|b| b.try_into().ok()).ok_or_else(form)?;
        let canonical = hex::decode(&leaf.canonical).map_err(|_| form())?;
        let way: Option<Vec<Step>> = leaf.way.iter().map(|text| Step::parse(text)).collect();
        let hash = chain_hash(previous, leaf.seq, &canonical);
        if climb(hash, &way.ok_or_else(form)?) != *root {
            return Err(ProofError::Root { seq: leaf.seq, day: leaf.day.clone() });
        }
        let proven = read(&canonical, leaf).ok_or_else(form)?;
        let ours = |number| proof.ledger_accounts.contains_key(number);
        if ours(&proven.debit) || ours(&proven.credit) {
            Ok(proven)
        } else {
            Err(ProofError::Foreign(leaf.seq))
        }
    };
    proof.transfers.iter().enumerate().map(prove_one).collect()
}

/// Reads the first members of a canonical transfer: each has its length before it.
fn read(canonical: &[u8], leaf: &Leaf) -> Option<Proven> {
    let mut rest = canonical;
    let mut bytes = || {
        let (length, after) = rest.split_at_checked(8)?;
        let length = usize::try_from(u64::from_be_bytes(length.try_into().ok()?)).ok()?;
        let (own, after) = after.split_at_checked(length)?;
        rest = after;
        Some(own)
    };
    let number = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(Proven {
        day: leaf.day.clone(),
        seq: leaf.seq,
        id: number(bytes()?)?,
        source: text(bytes()?)?,
        source_id: text(bytes()?)?,
        kind: text(bytes()?)?,
        currency: text(bytes()?)?,
        debit: number(bytes()?)?,
        credit: number(bytes()?)?,
        amount: number(bytes()?)?,
    })
}
