//! Agent budgets: how much of an account's credit may go in a day, by wallet and by project.
//!
//! A debit counts itself in its own transaction, before it posts: the budgets it falls under are locked, so of many
//! at once none sees room that another takes. What is rolled back was never counted.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, ProjectId, UsdMicros, Wallet};
use uuid::Uuid;

use crate::ledger::Currency;
use crate::sightings::Reader;
use crate::{During, Store, StoreError, Tx};

/// Budgets of one account. A debit locks those it falls under, so there must not be many.
pub const BUDGETS_MAX: i64 = 100;

/// Whose debits a budget counts; none of either counts all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    pub wallet: Option<Wallet>,
    pub project: Option<ProjectId>,
}

/// A limit, and what was spent of it on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub scope: Scope,
    /// In a day, in each money on its own.
    pub limit: UsdMicros,
    pub spent_cash: UsdMicros,
    pub spent_test: UsdMicros,
    pub set_by: Wallet,
    pub updated_at: DateTime<Utc>,
}

/// A debit that is about to be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    pub account: AccountId,
    /// Who asked for it, and which project it is for; none counts only where no such thing is named.
    pub scope: Scope,
    pub currency: Currency,
    pub amount: UsdMicros,
    pub at: DateTime<Utc>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Within,
    /// This budget has less left. The transaction is to be rolled back.
    Exceeded {
        scope: Scope,
        limit: UsdMicros,
        spent: UsdMicros,
    },
}

/// Counts a debit against every budget that it falls under. Locks them until the transaction ends: after claims,
/// before leases.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn budget_spend(tx: &mut Tx, spend: &Spend) -> Result<Counted, StoreError> {
    const DURING: &str = "count a debit";
    let locked = sqlx::query(
        "select id, wallet, project_id, limit_micros from budgets where account_id = $1
           and (wallet is null or wallet = $2) and (project_id is null or project_id = $3)
         order by id for update",
    )
    .bind(spend.account.0)
    .bind(spend.scope.wallet.map(|w| w.to_string()))
    .bind(spend.scope.project.map(|p| p.0))
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    for row in &locked {
        let read = Reader { row };
        let (id, limit): (i64, i64) = (read.get("id")?, read.get("limit_micros")?);
        let spent = spent_on(tx, id, spend).await?;
        let after = spent.checked_add(spend.amount.0).filter(|after| *after <= limit);
        if after.is_none() {
            let (limit, spent) = (UsdMicros(limit), UsdMicros(spent));
            return Ok(Counted::Exceeded { scope: scope_of(row)?, limit, spent });
        }
        sqlx::query(
            "insert into budget_days (budget_id, day, currency, spent_micros) values ($1, $2, $3, $4)
             on conflict (budget_id, day, currency) do update
               set spent_micros = budget_days.spent_micros + excluded.spent_micros",
        )
        .bind(id)
        .bind(day(spend.at))
        .bind(spend.currency.as_str())
        .bind(spend.amount.0)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    }
    Ok(Counted::Within)
}

/// Takes back a debit whose hold was voided, on the day on which it was counted.
///
/// # Errors
/// `Db` only.
pub async fn budget_unspend(tx: &mut Tx, spend: &Spend) -> Result<(), StoreError> {
    // A budget that was set since then has not counted it.
    sqlx::query(
        "update budget_days d set spent_micros = greatest(d.spent_micros - $6, 0) from budgets b
         where b.id = d.budget_id and b.account_id = $1 and (b.wallet is null or b.wallet = $2)
           and (b.project_id is null or b.project_id = $3) and d.day = $4 and d.currency = $5",
    )
    .bind(spend.account.0)
    .bind(spend.scope.wallet.map(|w| w.to_string()))
    .bind(spend.scope.project.map(|p| p.0))
    .bind(day(spend.at))
    .bind(spend.currency.as_str())
    .bind(spend.amount.0)
    .execute(tx.conn())
    .await
    .during("take a debit back")
    .map(drop)
}

/// A statement of its own, after the lock: what others committed while we waited is seen.
async fn spent_on(tx: &mut Tx, budget: i64, spend: &Spend) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "select spent_micros from budget_days where budget_id = $1 and day = $2 and currency = $3",
    )
    .bind(budget)
    .bind(day(spend.at))
    .bind(spend.currency.as_str())
    .fetch_optional(tx.conn())
    .await
    .during("read what was spent")?;
    row.map_or(Ok(0), |row| row.try_get(0)).during("read what was spent")
}

/// Sets a limit, or takes it away. What was spent today counts against the new one.
///
/// # Errors
/// `Constraint` for a project that does not exist.
pub async fn budget_set(
    tx: &mut Tx,
    (account, scope): (AccountId, Scope),
    limit: Option<UsdMicros>,
    (set_by, now): (Wallet, DateTime<Utc>),
) -> Result<(), StoreError> {
    const DURING: &str = "set a budget";
    let (wallet, project) = (scope.wallet.map(|w| w.to_string()), scope.project.map(|p| p.0));
    let Some(limit) = limit else {
        sqlx::query(
            "delete from budgets where account_id = $1 and wallet is not distinct from $2
               and project_id is not distinct from $3",
        )
        .bind(account.0)
        .bind(wallet)
        .bind(project)
        .execute(tx.conn())
        .await
        .during(DURING)?;
        return Ok(());
    };
    sqlx::query(
        "insert into budgets (account_id, wallet, project_id, limit_micros, set_by, updated_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict on constraint budget_once do update set limit_micros = excluded.limit_micros,
           set_by = excluded.set_by, updated_at = excluded.updated_at",
    )
    .bind(account.0)
    .bind(wallet)
    .bind(project)
    .bind(limit.0)
    .bind(set_by.to_string())
    .bind(now)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    Ok(())
}

impl Store {
    /// The account's budgets, with what was spent on the day of `now`.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn budget_list(
        &self,
        account: AccountId,
        now: DateTime<Utc>,
    ) -> Result<Vec<Budget>, StoreError> {
        let rows = sqlx::query(
            "select b.wallet, b.project_id, b.limit_micros, b.set_by, b.updated_at,
               coalesce((select spent_micros from budget_days d where d.budget_id = b.id and d.day = $2
                 and d.currency = 'usd'), 0) as cash,
               coalesce((select spent_micros from budget_days d where d.budget_id = b.id and d.day = $2
                 and d.currency = 'test_usd'), 0) as test
             from budgets b where b.account_id = $1 order by b.id limit $3",
        )
        .bind(account.0)
        .bind(day(now))
        .bind(BUDGETS_MAX)
        .fetch_all(self.pool())
        .await
        .during("list budgets")?;
        let read = |row: &PgRow| {
            let read = Reader { row };
            Ok(Budget {
                scope: scope_of(row)?,
                limit: UsdMicros(read.get("limit_micros")?),
                spent_cash: UsdMicros(read.get("cash")?),
                spent_test: UsdMicros(read.get("test")?),
                set_by: read.wallet("set_by")?,
                updated_at: read.get("updated_at")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

fn scope_of(row: &PgRow) -> Result<Scope, StoreError> {
    let read = Reader { row };
    let wallet: Option<String> = read.get("wallet")?;
    let wallet = wallet.map(|text| text.parse()).transpose();
    let project: Option<Uuid> = read.get("project_id")?;
    Ok(Scope {
        wallet: wallet.map_err(|_| StoreError::Corrupt("wallet of a budget".into()))?,
        project: project.map(ProjectId),
    })
}

/// Days are UTC, whatever the leap seconds and summer times of others.
fn day(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive()
}
