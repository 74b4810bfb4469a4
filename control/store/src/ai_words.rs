//! Add-ons of projects, and the words they had translated in a calendar month.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use sqlx::Row;
use types::ProjectId;

use crate::{During, Store, StoreError, Tx};

/// Words of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The add-on is on.
    pub active: bool,
    pub words: i64,
    /// Midnight of the month's first day, UTC.
    pub since: DateTime<Utc>,
}

fn month(at: DateTime<Utc>) -> NaiveDate {
    let day = at.date_naive();
    day.with_day(1).unwrap_or(day)
}

/// Switches translation on or off; what was used in the month stays counted.
///
/// # Errors
/// `Constraint` for a project that does not exist.
pub async fn translation_set(
    store: &Store,
    project: ProjectId,
    on: bool,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    const DURING: &str = "switch an add-on";
    let query = match on {
        true => sqlx::query(
            "insert into ai_addons (project_id, addon, created_at) values ($1, 'translation', $2)
             on conflict do nothing",
        )
        .bind(project.0)
        .bind(now),
        false => sqlx::query("delete from ai_addons where project_id = $1 and addon = 'translation'")
            .bind(project.0),
    };
    query.execute(store.pool()).await.during(DURING).map(drop)
}

/// # Errors
/// `Db` only.
pub async fn translation_usage(
    store: &Store,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<Usage, StoreError> {
    const DURING: &str = "read an add-on's usage";
    let row = sqlx::query(
        "select exists (select from ai_addons where project_id = $1 and addon = 'translation') as active,
           coalesce((select words from ai_words where project_id = $1 and month = $2), 0) as words",
    )
    .bind(project.0)
    .bind(month(now))
    .fetch_one(store.pool())
    .await
    .during(DURING)?;
    Ok(Usage {
        active: row.try_get("active").during(DURING)?,
        words: row.try_get("words").during(DURING)?,
        since: month(now).and_time(chrono::NaiveTime::MIN).and_utc(),
    })
}

/// Counts words before they are translated, unless they do not fit into the month (false). Of many at once none sees
/// room that another takes.
///
/// # Errors
/// `Db` only.
pub async fn words_take(
    tx: &mut Tx,
    (project, words): (ProjectId, i64),
    included: i64,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into ai_words (project_id, month, words) select $1, $2, $3 where $3 <= $4
         on conflict (project_id, month) do update set words = ai_words.words + excluded.words
           where ai_words.words + excluded.words <= $4",
    )
    .bind(project.0)
    .bind(month(now))
    .bind(words)
    .bind(included)
    .execute(tx.conn())
    .await
    .during("count words")?;
    Ok(done.rows_affected() == 1)
}

/// Gives back words of a translation that failed; `at` is when they were taken.
///
/// # Errors
/// `Db` only.
pub async fn words_give_back(
    store: &Store,
    (project, words): (ProjectId, i64),
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("update ai_words set words = greatest(words - $3, 0) where project_id = $1 and month = $2")
        .bind(project.0)
        .bind(month(at))
        .bind(words)
        .execute(store.pool())
        .await
        .during("give words back")
        .map(drop)
}
