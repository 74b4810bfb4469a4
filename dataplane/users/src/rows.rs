//! Users as rows.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::{Users, UsersError};

const EMAIL_BYTES_MAX: usize = 254;

/// The columns that [`user`] reads, of `auth.users u`.
pub(crate) const USER: &str =
    "u.id, u.email, u.display_name, u.avatar_url, u.email_verified_at, u.is_admin, u.created_at";

/// One end user of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub email_verified_at: Option<DateTime<Utc>>,
    pub is_admin: bool,
    pub created_at: DateTime<Utc>,
}

/// A user to be made. `email` is normal.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: Uuid,
    pub email: String,
    pub password_hash: Option<String>,
    pub created_at: DateTime<Utc>,
}

pub(crate) fn user(row: &PgRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get::<Option<String>, _>("email")?.unwrap_or_default(),
        display_name: row.try_get("display_name")?,
        avatar_url: row.try_get("avatar_url")?,
        email_verified_at: row.try_get("email_verified_at")?,
        is_admin: row.try_get("is_admin")?,
        created_at: row.try_get("created_at")?,
    })
}

/// The one spelling an address is stored and looked up under: trimmed and lower case. `None`: no address.
pub fn email_normal(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let (name, host) = email.rsplit_once('@')?;
    // What would be several addresses, or a name before one, in the header of a mail.
    let plain = !email.contains(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '<' | '>' | '"' | '\\')
    });
    let sound = !name.is_empty() && !name.contains('@') && !host.is_empty() && email.len() <= EMAIL_BYTES_MAX;
    (plain && sound).then_some(email)
}

/// Whoever takes away what signs a user in, and whoever signs in or adds to it, holds this first: neither sees
/// the other's half (H04, H06). False: there is no such user.
pub(crate) async fn user_lock(conn: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query("select from auth.users where id = $1 for no key update")
        .bind(id)
        .fetch_optional(conn)
        .await
        .map(|row| row.is_some())
}

impl Users {
    /// Makes a user. `None`: the address has one already.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn user_insert(&self, slot: &Slot, new: &NewUser) -> Result<Option<User>, UsersError> {
        let mut session = self.open(slot).await?;
        let made = sqlx::query(
            "insert into auth.users as u (id, email, password_hash, created_at, admitted_at) values ($1, $2, $3, $4, $4)
             on conflict do nothing
             returning u.id, u.email, u.display_name, u.avatar_url, u.email_verified_at, u.is_admin, u.created_at",
        )
        .bind(new.id)
        .bind(&new.email)
        .bind(&new.password_hash)
        .bind(new.created_at)
        .fetch_optional(&mut session.conn)
        .await
        .and_then(|row| row.as_ref().map(user).transpose())
        .during("make a user");
        session.close().await;
        Ok(made?)
    }

    /// The user of an address, with the hash of the password if there is one.
    ///
    /// # Errors
    /// As [`Users::user_insert`].
    pub async fn user_find(
        &self,
        slot: &Slot,
        email: &str,
    ) -> Result<Option<(User, Option<String>)>, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query(
            "select u.id, u.email, u.display_name, u.avatar_url, u.email_verified_at, u.is_admin, u.created_at,
                    u.password_hash
             from auth.users u where lower(u.email) = $1",
        )
        .bind(email)
        .fetch_optional(&mut session.conn)
        .await
        .and_then(|row| {
            row.as_ref().map(|row| Ok((user(row)?, row.try_get("password_hash")?))).transpose()
        })
        .during("find a user");
        session.close().await;
        Ok(found?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        assert_eq!(email_normal(" Ada@Example.ORG ").as_deref(), Some("ada@example.org"));
        for bad in [
            "",
            "ada",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a\0@b",
            "a@b,c",
            "a<b@c>",
            "\"a\"@b",
            &format!("{}@b", "x".repeat(254)),
        ] {
            assert_eq!(email_normal(bad), None, "{bad:?}");
        }
    }
}
