//! A project's own outbox: mail is written in the transaction of what it tells, and taken by the platform's
//! relay.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::{Users, UsersError};

const SUBJECT_CHARS_MAX: usize = 150;

/// A mail to be sent to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub id: Uuid,
    pub recipient: String,
    /// What it is about, such as `magic_link`.
    pub template: &'static str,
    pub subject: String,
    pub body: String,
}

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingMail {
    pub id: Uuid,
    pub recipient: String,
    pub template: String,
    pub subject: String,
    pub body: String,
    pub written_at: DateTime<Utc>,
}

/// Text of somebody else's in one line of a header: no line of its own can begin in it.
pub fn header_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
    text.chars().map(plain).take(SUBJECT_CHARS_MAX).collect::<String>().trim().to_owned()
}

pub(crate) async fn insert(
    conn: &mut PgConnection,
    mail: &Mail,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into auth.mail_outbox (id, recipient, template, subject, body, written_at)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(mail.id)
    .bind(&mail.recipient)
    .bind(mail.template)
    .bind(&mail.subject)
    .bind(&mail.body)
    .bind(now)
    .execute(conn)
    .await
    .map(drop)
}

impl Users {
    /// The oldest mails that wait. They stay until [`Users::mail_done`].
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn mail_waiting(&self, slot: &Slot, rows_max: i64) -> Result<Vec<WaitingMail>, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query("select * from auth.mail_outbox order by written_at, id limit $1")
            .bind(rows_max)
            .fetch_all(&mut session.conn)
            .await
            .and_then(|rows| rows.iter().map(waiting).collect::<Result<_, _>>())
            .during("read the outbox of mail");
        session.close().await;
        Ok(found?)
    }

    /// Forgets mails that were delivered. Idempotent.
    ///
    /// # Errors
    /// As [`Users::mail_waiting`].
    pub async fn mail_done(&self, slot: &Slot, ids: &[Uuid]) -> Result<(), UsersError> {
        let mut session = self.open(slot).await?;
        let done = sqlx::query("delete from auth.mail_outbox where id = any($1)")
            .bind(ids)
            .execute(&mut session.conn)
            .await
            .during("empty the outbox of mail");
        session.close().await;
        done?;
        Ok(())
    }
}

fn waiting(row: &PgRow) -> Result<WaitingMail, sqlx::Error> {
    Ok(WaitingMail {
        id: row.try_get("id")?,
        recipient: row.try_get("recipient")?,
        template: row.try_get("template")?,
        subject: row.try_get("subject")?,
        body: row.try_get("body")?,
        written_at: row.try_get("written_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // H10: a name cannot begin another header.
    #[test]
    fn a_subject_is_one_line() {
        assert_eq!(header_line("My app\r\nBcc: a@b.test"), "My app  Bcc: a@b.test");
        assert_eq!(header_line("\u{2028}a\0b\u{85}"), "a b");
        assert_eq!(header_line(&"ü".repeat(200)).chars().count(), SUBJECT_CHARS_MAX);
    }
}
