//! What was earned, what it cost and what is at risk: sums over transfers, nothing kept beside them.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, Network, ProjectId, UsdMicros};

use super::accounts::{Currency, LedgerKind};
use crate::{During, Store, StoreError};

/// From, inclusive, to, exclusive.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// What one of the platform's accounts took in, less what it gave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub kind: LedgerKind,
    /// The product or network where a kind has several.
    pub name: String,
    pub currency: Currency,
    /// Credits less debits: revenue is positive, a cost negative.
    pub net: UsdMicros,
}

/// All accounts of one kind and name, as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub kind: LedgerKind,
    pub name: String,
    pub currency: Currency,
    pub posted: UsdMicros,
    pub held: UsdMicros,
    pub accounts: i64,
}

/// How far a credited payment's block is from being there for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Unsafe,
    Safe,
    /// Final on the chain, and its exposure is about to be ended.
    Finalized,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsafe => "unsafe",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// Credited money that a reorganisation could still take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    pub network: Network,
    pub currency: Currency,
    /// None for what the exposure account holds beyond the payments' transfers: zero unless the books are wrong.
    pub level: Option<Level>,
    pub amount: UsdMicros,
    pub payments: i64,
}

impl Store {
    /// Revenue and costs of a span, by account.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn flows(&self, (from, to): Span) -> Result<Vec<Flow>, StoreError> {
        let rows = sqlx::query(
            "select a.kind, a.name, a.currency, sum(m.amount)::bigint as net from (
               select credit as account, amount from ledger_transfers
               where kind in ('post', 'capture') and created_at >= $1 and created_at < $2
               union all
               select debit, -amount from ledger_transfers
               where kind in ('post', 'capture') and created_at >= $1 and created_at < $2) m
             join ledger_accounts a on a.id = m.account and a.kind in ('revenue', 'gas_expense', 'bad_debt')
             group by a.kind, a.name, a.currency order by a.currency desc, a.kind, a.name",
        )
        .bind(from)
        .bind(to)
        .fetch_all(self.pool())
        .await
        .during("sum the flows")?;
        rows.iter().map(flow_row).collect()
    }

    /// The part of [`Store::flows`] that one customer's account had to do with.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn flows_of(&self, owner: AccountId, (from, to): Span) -> Result<Vec<Flow>, StoreError> {
        let rows = sqlx::query(
            "select a.kind, a.name, a.currency, sum(m.amount)::bigint as net
             from ledger_accounts mine cross join lateral (
               select credit as other, amount from ledger_transfers where debit = mine.id
                 and kind in ('post', 'capture') and created_at >= $2 and created_at < $3
               union all
               select debit, -amount from ledger_transfers where credit = mine.id
                 and kind in ('post', 'capture') and created_at >= $2 and created_at < $3) m
             join ledger_accounts a on a.id = m.other and a.kind in ('revenue', 'gas_expense', 'bad_debt')
             where mine.owner = $1
             group by a.kind, a.name, a.currency order by a.currency desc, a.kind, a.name",
        )
        .bind(owner.0)
        .bind(from)
        .bind(to)
        .fetch_all(self.pool())
        .await
        .during("sum an account's flows")?;
        rows.iter().map(flow_row).collect()
    }

    /// What every kind of account holds now.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn standings(&self) -> Result<Vec<Standing>, StoreError> {
        const DURING: &str = "sum the balances";
        let rows = sqlx::query(
            "select kind, name, currency, sum(posted)::bigint as posted, sum(held)::bigint as held, count(*) as
               accounts
             from ledger_accounts group by kind, name, currency order by currency desc, kind, name",
        )
        .fetch_all(self.pool())
        .await
        .during(DURING)?;
        let read = |row: &PgRow| {
            Ok(Standing {
                kind: LedgerKind::parse(row.try_get("kind").during(DURING)?)?,
                name: row.try_get("name").during(DURING)?,
                currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
                posted: UsdMicros(row.try_get("posted").during(DURING)?),
                held: UsdMicros(row.try_get("held").during(DURING)?),
                accounts: row.try_get("accounts").during(DURING)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Exposure by chain and level, with what the account holds beyond it: one statement, so one moment.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn exposure(&self) -> Result<Vec<Exposed>, StoreError> {
        let rows = sqlx::query(
            "with open as (
               select p.network, t.currency, t.amount, case
                 when p.block_number <= c.finalized_block then 'finalized'
                 when p.block_number <= c.safe_block then 'safe' else 'unsafe' end as level
               from payments p
               join ledger_transfers t on t.source = 'exposure' and t.source_id = p.network || '/' || p.asset
                 || '/' || p.payer || '/0x' || encode(p.nonce, 'hex') || '/#' || p.credits
               left join chain_cursors c on c.network = p.network
               where p.state = 'credited' and p.finalized_at is null
                 and not exists (select from ledger_transfers r where r.reverses = t.id))
             select network, currency, level, sum(amount)::bigint as amount, count(*) as payments from open
             group by network, currency, level
             union all
             select a.name, a.currency, null, a.posted - coalesce((select sum(o.amount)::bigint from open o
               where o.network = a.name and o.currency = a.currency), 0), 0
             from ledger_accounts a where a.kind = 'exposure'
             order by 1, 2, 3",
        )
        .fetch_all(self.pool())
        .await
        .during("sum the exposure")?;
        rows.iter().map(exposed_row).collect()
    }

    /// How many projects of an account lived in a span, and which of them one is in the order of their making;
    /// none when it did not live then.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn project_among(
        &self,
        (account, project): (AccountId, ProjectId),
        (from, to): Span,
    ) -> Result<(i64, Option<i64>), StoreError> {
        let row = sqlx::query(
            "with lived as (
               select id, row_number() over (order by created_at, id) - 1 as place from projects
               where account_id = $1 and created_at < $4 and (erased_at is null or erased_at >= $3))
             select (select count(*) from lived) as lived, (select place from lived where id = $2) as place",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(from)
        .bind(to)
        .fetch_one(self.pool())
        .await
        .during("count projects")?;
        Ok((row.try_get(0).during("count projects")?, row.try_get(1).during("count projects")?))
    }
}

fn flow_row(row: &PgRow) -> Result<Flow, StoreError> {
    const DURING: &str = "read a flow";
    Ok(Flow {
        kind: LedgerKind::parse(row.try_get("kind").during(DURING)?)?,
        name: row.try_get("name").during(DURING)?,
        currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
        net: UsdMicros(row.try_get("net").during(DURING)?),
    })
}

fn exposed_row(row: &PgRow) -> Result<Exposed, StoreError> {
    const DURING: &str = "read the exposure";
    let (network, level): (String, Option<String>) =
        (row.try_get("network").during(DURING)?, row.try_get("level").during(DURING)?);
    let level = match level.as_deref() {
        Some("unsafe") => Some(Level::Unsafe),
        Some("safe") => Some(Level::Safe),
        Some("finalized") => Some(Level::Finalized),
        _ => None,
    };
    Ok(Exposed {
        network: network.parse().map_err(|_| StoreError::Corrupt(format!("network {network}")))?,
        currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
        level,
        amount: UsdMicros(row.try_get("amount").during(DURING)?),
        payments: row.try_get("payments").during(DURING)?,
    })
}
