//! Re-derives everything the ledger claims from its transfers alone.

use sqlx::Row;

use super::seal::{HASHED, canonical, chain_hash, digest, leaves_read};
use super::{audit, audit_cards, merkle};
use crate::{During, Store, StoreError, Tx};

/// Transfers read at once.
const PAGE: i64 = 5_000;
/// Findings told one by one; the rest are only counted.
const FINDINGS_MAX: usize = 100;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// A constant word, such as `balance` or `seal`.
    pub check: &'static str,
    pub what: String,
}

/// What a verification saw.
#[derive(Debug, Clone, Default)]
pub struct LedgerReport {
    pub transfers: i64,
    pub accounts: i64,
    pub sealed: i64,
    pub unsealed: i64,
    pub roots: i64,
    /// Live deposits from chains.
    pub deposits: i64,
    /// Payments whose outcome is open, and what Stripe said that is not posted yet: not a difference.
    pub in_flight: i64,
    /// How many differences there are; `findings` tells the first of them.
    pub differences: u64,
    pub findings: Vec<Finding>,
}

impl LedgerReport {
    /// Counts a difference, and keeps it while there is room.
    pub fn add(&mut self, check: &'static str, what: String) {
        self.differences += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { check, what });
        }
    }
}

/// Verifies balances, holds, the seal chain and the daily roots against the transfers, and payments,
/// purchases and sightings against one another, in one snapshot: it may run beside a working server.
///
/// # Errors
/// `Db` when the books cannot be read. What is wrong with them is in the report.
pub async fn verify(store: &Store) -> Result<LedgerReport, StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(tx.conn())
        .await
        .during("take a snapshot of the books")?;
    let mut report = LedgerReport::default();
    counts(&mut tx, &mut report).await?;
    for (check, sql) in QUERIES.into_iter().chain(audit::QUERIES).chain(audit_cards::QUERIES) {
        let rows = sqlx::query(sql).fetch_all(tx.conn()).await.during("compare the books")?;
        for row in rows {
            report.add(check, row.try_get(0).during("compare the books")?);
        }
    }
    chain(&mut tx, &mut report).await?;
    roots(&mut tx, &mut report).await?;
    tx.rollback().await?;
    Ok(report)
}

/// Each answers one line of text per difference.
const QUERIES: [(&str, &str); 7] = [
    (
        "balance",
        "with moved as (
           select account, sum(posted)::numeric as posted, sum(held)::numeric as held from (
             select debit as account, case when kind in ('post', 'capture') then -amount else 0 end as posted,
               case kind when 'hold' then amount when 'capture' then -amount when 'void' then -amount else 0
                 end as held
             from ledger_transfers
             union all
             select credit, case when kind in ('post', 'capture') then amount else 0 end, 0 from
               ledger_transfers) m
           group by account)
         select format('account %s (%s %s): columns say %s posted, %s held; transfers say %s posted, %s held',
           a.id, a.kind, a.currency, a.posted, a.held, coalesce(m.posted, 0), coalesce(m.held, 0))
         from ledger_accounts a left join moved m on m.account = a.id
         where a.posted <> coalesce(m.posted, 0) or a.held <> coalesce(m.held, 0) limit 1000",
    ),
    (
        "sum",
        "select format('%s accounts sum to %s instead of 0', currency, sum(posted))
         from ledger_accounts group by currency having sum(posted) <> 0",
    ),
    (
        "overdraft",
        "select format('account %s (%s): %s posted, %s held', id, kind, posted, held)
         from ledger_accounts where held < 0 or (not may_be_negative and posted - held < 0) limit 1000",
    ),
    (
        "currency",
        "select format('transfer %s in %s between %s and %s', t.id, t.currency, d.currency, c.currency)
         from ledger_transfers t join ledger_accounts d on d.id = t.debit join ledger_accounts c on c.id =
           t.credit
         where d.currency <> t.currency or c.currency <> t.currency limit 1000",
    ),
    (
        "hold",
        "select format('hold %s of %s: %s captured and voided', h.id, h.amount, sum(t.amount))
         from ledger_transfers h join ledger_transfers t on t.hold_id = h.id
         group by h.id, h.amount, h.kind having sum(t.amount) > h.amount or h.kind <> 'hold' limit 1000",
    ),
    (
        "reversal",
        "select format('transfer %s does not mirror %s, which it undoes', r.id, o.id)
         from ledger_transfers r join ledger_transfers o on o.id = r.reverses
         where r.debit <> o.credit or r.credit <> o.debit or r.amount <> o.amount limit 1000",
    ),
    (
        "unsealed",
        "select format('transfer %s is neither sealed nor waiting for the sealer', t.id) from
          ledger_transfers t
         where not exists (select from ledger_seals s where s.transfer_id = t.id)
           and not exists (select from ledger_unsealed u where u.transfer_id = t.id) limit 1000",
    ),
];

async fn counts(tx: &mut Tx, report: &mut LedgerReport) -> Result<(), StoreError> {
    const DURING: &str = "count the books";
    let row = sqlx::query(
        "select (select count(*) from ledger_transfers) as transfers, (select count(*) from ledger_accounts)
          as accounts,
           (select count(*) from ledger_seals) as sealed, (select count(*) from ledger_unsealed) as unsealed,
           (select count(*) from ledger_roots) as roots,
           (select count(*) from payments where state in ('verified', 'settling'))
             + (select count(*) from card_checkouts where facts_revision > posted_revision)
             + (select count(*) from stripe_events where state = 'pending') as in_flight,
           (select count(*) from ledger_transfers t where t.source = 'x402'
              and not exists (select from ledger_transfers r where r.reverses = t.id)) as deposits",
    )
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    report.transfers = row.try_get("transfers").during(DURING)?;
    report.accounts = row.try_get("accounts").during(DURING)?;
    report.sealed = row.try_get("sealed").during(DURING)?;
    report.unsealed = row.try_get("unsealed").during(DURING)?;
    report.roots = row.try_get("roots").during(DURING)?;
    report.in_flight = row.try_get("in_flight").during(DURING)?;
    report.deposits = row.try_get("deposits").during(DURING)?;
    Ok(())
}

/// Walks the chain from its first seal.
async fn chain(tx: &mut Tx, report: &mut LedgerReport) -> Result<(), StoreError> {
    const DURING: &str = "walk the seals";
    let sql = format!(
        "select s.seq, s.hash, {HASHED} from ledger_seals s join ledger_transfers t on t.id = s.transfer_id
         where s.seq > $1 order by s.seq limit {PAGE}"
    );
    let (mut seq, mut head) = (0_i64, [0_u8; 32]);
    loop {
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
            .bind(seq)
            .fetch_all(tx.conn())
            .await
            .during(DURING)?;
        let Some(last) = rows.last() else { break };
        let last_seq: i64 = last.try_get("seq").during(DURING)?;
        for row in &rows {
            let here: i64 = row.try_get("seq").during(DURING)?;
            if here != seq + 1 {
                report.add("seal", format!("seal {} is missing before {here}", seq + 1));
            }
            let stored = digest(row.try_get("hash").during(DURING)?)?;
            if chain_hash(head, here, &canonical(row).during(DURING)?) != stored {
                let id: i64 = row.try_get("id").during(DURING)?;
                report.add("seal", format!("seal {here} does not fit transfer {id} and the seal before it"));
            }
            // On from what is stored, so that one altered row is one finding.
            (seq, head) = (here, stored);
        }
        seq = last_seq;
    }
    Ok(())
}

/// Recomputes every daily root.
async fn roots(tx: &mut Tx, report: &mut LedgerReport) -> Result<(), StoreError> {
    const DURING: &str = "check daily roots";
    let rows =
        sqlx::query("select day::text as day, first_seq, last_seq, root from ledger_roots order by day")
            .fetch_all(tx.conn())
            .await
            .during(DURING)?;
    for row in rows {
        let (first, last) =
            (row.try_get("first_seq").during(DURING)?, row.try_get("last_seq").during(DURING)?);
        let stored = digest(row.try_get("root").during(DURING)?)?;
        if merkle::root(&leaves_read(tx, first, last).await?) != stored {
            let day: String = row.try_get("day").during(DURING)?;
            report.add("root", format!("the root of {day} does not fit its seals"));
        }
    }
    Ok(())
}
