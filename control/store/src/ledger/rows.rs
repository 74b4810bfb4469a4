//! The statements behind posting: one write however large the batch.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, UsdMicros};
use uuid::Uuid;

use super::accounts::{AccountRef, Currency, LedgerKind};
use super::decide::{Accepted, Delta, Facts, Known, Place};
use super::post::{Kind, LedgerError, NewTransfer, Transfer};
use crate::{During, StoreError, Tx};

/// What is on record under the names of these legs.
pub(super) async fn facts_find<'a>(
    tx: &mut Tx,
    legs: impl Iterator<Item = &'a NewTransfer>,
) -> Result<HashMap<(String, String), Known>, StoreError> {
    const DURING: &str = "find transfers";
    let (sources, ids): (Vec<&str>, Vec<&str>) = legs.map(|leg| (leg.source, leg.source_id.as_str())).unzip();
    let rows = sqlx::query(
        "select t.id, t.source, t.source_id, t.kind, t.debit, t.credit, t.amount, t.hold_id, t.reverses,
          t.reason
         from unnest($1::text[], $2::text[]) as w (source, source_id)
         cross join lateral (
           select * from ledger_transfers x where x.source = w.source and x.source_id = w.source_id limit 1) t",
    )
    .bind(sources)
    .bind(ids)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let facts = Facts {
            kind: Kind::parse(row.try_get("kind").during(DURING)?)?.as_str(),
            debit: row.try_get("debit").during(DURING)?,
            credit: row.try_get("credit").during(DURING)?,
            amount: row.try_get("amount").during(DURING)?,
            hold_id: row.try_get("hold_id").during(DURING)?,
            reverses: row.try_get("reverses").during(DURING)?,
            reason: row.try_get("reason").during(DURING)?,
        };
        let name = (row.try_get("source").during(DURING)?, row.try_get("source_id").during(DURING)?);
        known.insert(name, Known { facts, place: Place::Id(row.try_get("id").during(DURING)?) });
    }
    Ok(known)
}

/// All of the batch or, when one of its facts is on record, nothing; the balances move if all was inserted.
/// The check constraints judge the result.
///
/// `lateral .. limit 1`, here and below, asks the index fact by fact. A join would be planned for the size that
/// the table has when the statement is prepared; on a new ledger that is none, and each post would read it all.
const WRITE: &str = "
    with legs as (
      select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::uuid[], $11::text[], $12::text[], $13::text[],
        $14::jsonb[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[]) with ordinality
        as l (source, source_id, kind, currency, debit, credit, amount, hold_id, reverses, link, reason,
          reference_type, reference_id, metadata, dp, dh, cp, ch, place)),
    known as (
      select from unnest($1::text[], $2::text[]) as l (source, source_id)
      cross join lateral (
        select from ledger_transfers x where x.source = l.source and x.source_id = l.source_id limit 1) t),
    added as (
      insert into ledger_transfers (source, source_id, kind, currency, debit, credit, amount, hold_id,
        reverses, link, reason, reference_type, reference_id, metadata, debit_posted_after,
        debit_held_after, credit_posted_after, credit_held_after, created_at)
      select source, source_id, kind, currency, debit, credit, amount, hold_id, reverses, link, reason,
        reference_type, reference_id, metadata, dp, dh, cp, ch, $19
      from legs where not exists (select from known)
      order by place
      on conflict (source, source_id) do nothing
      returning id, source, source_id),
    moved as (
      update ledger_accounts a set posted = a.posted + d.posted, held = a.held + d.held,
        version = a.version + d.count
      from unnest($20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[]) as d (id, posted, held, count)
      where a.id = d.id and (select count(*) from added) = cardinality($1::text[])
      returning 1)
    select id, source, source_id, (select count(*) from moved) as moved from added";

/// Writes the accepted legs and moves the balances by the batch's net deltas. Answers the ids in the order of
/// the legs, or `None` if one of the facts is on record already: then nothing was written.
///
/// # Errors
/// `Raced` when one of the facts was posted in the same moment by somebody on other accounts; `Overdraft`
/// from the constraint, should the code above it be wrong.
pub(super) async fn write(
    tx: &mut Tx,
    legs: &[Accepted],
    deltas: &[(i64, Delta)],
    now: DateTime<Utc>,
) -> Result<Option<Vec<i64>>, LedgerError> {
    const DURING: &str = "write transfers";
    if legs.is_empty() {
        return Ok(Some(Vec::new()));
    }
    fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let rows = sqlx::query(WRITE)
        .bind(column(legs, |l| l.leg.source))
        .bind(column(legs, |l| l.leg.source_id.as_str()))
        .bind(column(legs, |l| l.leg.kind.as_str()))
        .bind(column(legs, |l| l.currency.as_str()))
        .bind(column(legs, |l| l.debit))
        .bind(column(legs, |l| l.credit))
        .bind(column(legs, |l| l.leg.amount.0))
        .bind(column(legs, |l| l.leg.hold_id))
        .bind(column(legs, |l| l.leg.reverses))
        .bind(column(legs, |l| l.link))
        .bind(column(legs, |l| l.leg.reason))
        .bind(column(legs, |l| l.leg.reference.as_ref().map(|r| r.0.as_str())))
        .bind(column(legs, |l| l.leg.reference.as_ref().map(|r| r.1.as_str())))
        .bind(column(legs, |l| &l.leg.metadata))
        .bind(column(legs, |l| l.debit_after.0))
        .bind(column(legs, |l| l.debit_after.1))
        .bind(column(legs, |l| l.credit_after.0))
        .bind(column(legs, |l| l.credit_after.1))
        .bind(now)
        .bind(column(deltas, |(id, _)| *id))
        .bind(column(deltas, |(_, d)| d.posted))
        .bind(column(deltas, |(_, d)| d.held))
        .bind(column(deltas, |(_, d)| d.count))
        .fetch_all(tx.conn())
        .await
        .during(DURING)?;
    let Some(first) = rows.first() else { return Ok(None) };
    if rows.len() != legs.len() {
        return Err(LedgerError::Raced);
    }
    let moved: i64 = first.try_get("moved").during(DURING)?;
    if usize::try_from(moved) != Ok(deltas.len()) {
        return Err(LedgerError::Store(StoreError::Stale("ledger account")));
    }
    let mut ids: HashMap<(String, String), i64> = HashMap::with_capacity(rows.len());
    for row in rows {
        let name = (row.try_get(1).during(DURING)?, row.try_get(2).during(DURING)?);
        ids.insert(name, row.try_get(0).during(DURING)?);
    }
    let found = legs.iter().map(|l| ids.get(&(l.leg.source.to_owned(), l.leg.source_id.clone())).copied());
    found.collect::<Option<Vec<i64>>>().map(Some).ok_or(LedgerError::Raced)
}

const TRANSFER: &str = "
    select t.id, t.source, t.source_id, t.kind, t.amount, t.hold_id, t.reverses, t.link, t.reason,
      t.reference_type, t.reference_id, r.id as reversed_by, t.currency,
      d.kind as debit_kind, d.owner as debit_owner, d.name as debit_name,
      c.kind as credit_kind, c.owner as credit_owner, c.name as credit_name
    from ledger_transfers t
    join ledger_accounts d on d.id = t.debit
    join ledger_accounts c on c.id = t.credit
    left join ledger_transfers r on r.reverses = t.id";

pub(super) async fn transfer_find(
    tx: &mut Tx,
    source: &str,
    source_id: &str,
) -> Result<Option<Transfer>, StoreError> {
    let sql = format!("{TRANSFER} where t.source = $1 and t.source_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(source)
        .bind(source_id)
        .fetch_optional(tx.conn())
        .await
        .during("find transfer")?;
    row.map(|row| read_transfer(&row)).transpose()
}

pub(super) async fn transfers_of_link(tx: &mut Tx, link: Uuid) -> Result<Vec<Transfer>, StoreError> {
    let sql = format!("{TRANSFER} where t.link = $1 order by t.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(link)
        .fetch_all(tx.conn())
        .await
        .during("list transfers")?;
    rows.iter().map(read_transfer).collect()
}

fn read_transfer(row: &PgRow) -> Result<Transfer, StoreError> {
    const DURING: &str = "read transfer";
    let currency = Currency::parse(row.try_get("currency").during(DURING)?)?;
    let side = |kind: &str, owner: &str, name: &str| -> Result<AccountRef, StoreError> {
        Ok(AccountRef {
            kind: LedgerKind::parse(row.try_get(kind).during(DURING)?)?,
            currency,
            owner: row.try_get::<Option<Uuid>, _>(owner).during(DURING)?.map(AccountId),
            name: row.try_get(name).during(DURING)?,
        })
    };
    let reference: (Option<String>, Option<String>) =
        (row.try_get("reference_type").during(DURING)?, row.try_get("reference_id").during(DURING)?);
    Ok(Transfer {
        id: row.try_get("id").during(DURING)?,
        source: row.try_get("source").during(DURING)?,
        source_id: row.try_get("source_id").during(DURING)?,
        kind: Kind::parse(row.try_get("kind").during(DURING)?)?,
        debit: side("debit_kind", "debit_owner", "debit_name")?,
        credit: side("credit_kind", "credit_owner", "credit_name")?,
        amount: UsdMicros(row.try_get("amount").during(DURING)?),
        hold_id: row.try_get("hold_id").during(DURING)?,
        reverses: row.try_get("reverses").during(DURING)?,
        link: row.try_get("link").during(DURING)?,
        reason: row.try_get("reason").during(DURING)?,
        reference: reference.0.zip(reference.1),
        reversed_by: row.try_get("reversed_by").during(DURING)?,
    })
}
