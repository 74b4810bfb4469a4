//! Which projects have mail to send, and the mail that a lab keeps.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::ProjectId;
use uuid::Uuid;

use crate::{During, Store, StoreError};

/// When a mark is looked at for the first time: soon after the transaction that it announces.
const FIRST_LOOK_SECS: f64 = 1.0;
/// Longer than a request may take.
const LAST_LOOK_SECS: f64 = 60.0;
/// How long one node has to deliver what it took.
const TAKEN_SECS: f64 = 30.0;
/// A lab keeps this many mails.
const LAB_MAILS_MAX: i64 = 10_000;

/// A project that may have mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailMark {
    pub project: ProjectId,
    /// Names this mark: a later one is another.
    pub marked_at: DateTime<Utc>,
}

/// One mail as a lab keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabMail {
    pub seq: i64,
    pub id: Uuid,
    /// None when it is an account's mail.
    pub project: Option<ProjectId>,
    pub sender: String,
    pub recipient: String,
    pub template: String,
    pub subject: String,
    pub body: String,
    pub written_at: DateTime<Utc>,
}

/// Notes that a project is about to write mail. Call it before that transaction.
///
/// # Errors
/// `Db` only: then write no mail.
pub async fn mail_mark(store: &Store, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query(
        "insert into mail_marks (project_id, marked_at, due_at)
         values ($1, clock_timestamp(), clock_timestamp() + make_interval(secs => $2))
         on conflict (project_id) do update set marked_at = excluded.marked_at,
           due_at = least(excluded.due_at, greatest(mail_marks.due_at, clock_timestamp()))",
    )
    .bind(project.0)
    .bind(FIRST_LOOK_SECS)
    .execute(store.pool())
    .await
    .during("mark a project's mail")?;
    Ok(())
}

/// Takes marks that are due, for half a minute; whoever dies meanwhile leaves them to others.
///
/// # Errors
/// `Db` only.
pub async fn mail_marks_take(store: &Store, rows_max: i64) -> Result<Vec<MailMark>, StoreError> {
    let rows = sqlx::query(
        "update mail_marks set due_at = clock_timestamp() + make_interval(secs => $2)
         where project_id in (
           select project_id from mail_marks where due_at <= clock_timestamp()
           order by due_at limit $1 for update skip locked)
         returning project_id, marked_at",
    )
    .bind(rows_max)
    .bind(TAKEN_SECS)
    .fetch_all(store.pool())
    .await
    .during("take marks of mail")?;
    let mark = |row: &PgRow| {
        Ok(MailMark { project: ProjectId(row.try_get("project_id")?), marked_at: row.try_get("marked_at")? })
    };
    rows.iter().map(mark).collect::<Result<_, sqlx::Error>>().during("take marks of mail")
}

/// Ends a look after everything there was has been delivered: the mark is looked at again until a minute is
/// over, and then forgotten.
/// A mark that was renewed meanwhile is left alone.
///
/// # Errors
/// `Db` only.
pub async fn mail_mark_done(store: &Store, mark: &MailMark) -> Result<(), StoreError> {
    let gone = sqlx::query(
        "delete from mail_marks where project_id = $1 and marked_at = $2
           and marked_at < clock_timestamp() - make_interval(secs => $3)",
    )
    .bind(mark.project.0)
    .bind(mark.marked_at)
    .bind(LAST_LOOK_SECS)
    .execute(store.pool())
    .await
    .during("end a mark of mail")?;
    if gone.rows_affected() > 0 {
        return Ok(());
    }
    // Each look is three times as far from the mark as the one before.
    sqlx::query(
        "update mail_marks set due_at = marked_at + make_interval(
           secs => least($3 + 1, 3 * extract(epoch from clock_timestamp() - marked_at)::float8))
         where project_id = $1 and marked_at = $2",
    )
    .bind(mark.project.0)
    .bind(mark.marked_at)
    .bind(LAST_LOOK_SECS)
    .execute(store.pool())
    .await
    .during("end a mark of mail")?;
    Ok(())
}

/// Forgets a project that is gone.
///
/// # Errors
/// `Db` only.
pub async fn mail_mark_drop(store: &Store, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query("delete from mail_marks where project_id = $1")
        .bind(project.0)
        .execute(store.pool())
        .await
        .during("drop a mark of mail")?;
    Ok(())
}

/// Keeps a mail. The same id again changes nothing. `seq` is given by the database.
///
/// # Errors
/// `Db` only.
pub async fn lab_mail_keep(store: &Store, mail: &LabMail) -> Result<(), StoreError> {
    sqlx::query(
        "with kept as (
           insert into lab_mail (id, project_id, sender, recipient, template, subject, body, written_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing returning seq)
         delete from lab_mail where seq <= (select seq from kept) - $9",
    )
    .bind(mail.id)
    .bind(mail.project.map(|id| id.0))
    .bind(&mail.sender)
    .bind(&mail.recipient)
    .bind(&mail.template)
    .bind(&mail.subject)
    .bind(&mail.body)
    .bind(mail.written_at)
    .bind(LAB_MAILS_MAX)
    .execute(store.pool())
    .await
    .during("keep a lab's mail")?;
    Ok(())
}

/// A lab's mail, oldest first, after the `seq` given.
///
/// # Errors
/// `Db` only.
pub async fn lab_mail_list(
    store: &Store,
    to: Option<&str>,
    after: i64,
    rows_max: i64,
) -> Result<Vec<LabMail>, StoreError> {
    let rows = sqlx::query(
        "select * from lab_mail where seq > $1 and ($2::text is null or recipient = $2) order by seq limit $3",
    )
    .bind(after)
    .bind(to)
    .bind(rows_max)
    .fetch_all(store.pool())
    .await
    .during("list a lab's mail")?;
    let mail = |row: &PgRow| {
        Ok(LabMail {
            seq: row.try_get("seq")?,
            id: row.try_get("id")?,
            project: row.try_get::<Option<Uuid>, _>("project_id")?.map(ProjectId),
            sender: row.try_get("sender")?,
            recipient: row.try_get("recipient")?,
            template: row.try_get("template")?,
            subject: row.try_get("subject")?,
            body: row.try_get("body")?,
            written_at: row.try_get("written_at")?,
        })
    };
    rows.iter().map(mail).collect::<Result<_, sqlx::Error>>().during("list a lab's mail")
}
