//! Passwords set later, and what the project's owner does with users.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::admission::settings_read;
use crate::rows::{USER, User, user, user_lock};
use crate::sessions::{self, SessionFacts};
use crate::{Users, UsersError};

/// How long a sign-in by mail may choose a new password without the old one.
const RESET_MINUTES: i64 = 15;

/// What a user who is signed in knows about the own password.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: User,
    pub facts: SessionFacts,
    pub password_hash: Option<String>,
    /// There was one, chosen before the address was verified.
    pub password_dropped: bool,
    pub allow_password_set: bool,
    /// How many sign in.
    pub passkeys: i64,
    /// `(provider, provider_sub, provider_email, created_at)` of each.
    pub identities: Vec<Identity>,
}

/// A user's account elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub provider: String,
    pub provider_sub: String,
    pub provider_email: String,
    pub created_at: DateTime<Utc>,
}

/// Which right somebody has to choose a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordRight {
    /// After the old one was compared.
    Change,
    /// A fresh sign-in by mail stands for the old one.
    Reset,
    /// The first one.
    Set,
    NeedsCurrent,
    Disabled,
}

impl Account {
    /// # Source
    /// Wire contract 04 section 2.9.
    pub fn password_right(&self, gives_current: bool, now: DateTime<Utc>) -> PasswordRight {
        let by_mail = self.facts.amr.iter().any(|method| method == "magic_link");
        let fresh = now - self.facts.signed_in_at <= TimeDelta::minutes(RESET_MINUTES);
        match (self.password_hash.is_some(), gives_current) {
            (true, true) => PasswordRight::Change,
            _ if by_mail && fresh && (self.password_hash.is_some() || self.password_dropped) => {
                PasswordRight::Reset
            }
            (true, false) => PasswordRight::NeedsCurrent,
            (false, _) if self.allow_password_set => PasswordRight::Set,
            (false, _) => PasswordRight::Disabled,
        }
    }
}

/// A user as the owner wants it.
#[derive(Debug, Clone)]
pub struct WantedUser {
    pub fresh: Uuid,
    pub email: String,
    /// Unchanged when absent.
    pub is_admin: Option<bool>,
}

impl Users {
    /// The account of a sign-in that has not ended.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn account_find(
        &self,
        slot: &Slot,
        user_id: Uuid,
        session_id: Uuid,
    ) -> Result<Option<Account>, UsersError> {
        let mut session = self.open(slot).await?;
        let found = account(&mut session.conn, user_id, session_id).await.during("find an account");
        session.close().await;
        Ok(found?)
    }

    /// Stores a new password, if the old one still is what was compared and the sign-in goes on, and ends the
    /// user's other sign-ins (H06). False when not: nothing was changed.
    ///
    /// # Errors
    /// As [`Users::account_find`].
    pub async fn password_set(
        &self,
        slot: &Slot,
        account: &Account,
        password_hash: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, UsersError> {
        let mut session = self.open(slot).await?;
        let done = password_set(&mut session.conn, account, password_hash, now).await;
        let done = done.during("set a password");
        session.close().await;
        Ok(done?)
    }

    /// Ends every sign-in of a user. Idempotent.
    ///
    /// # Errors
    /// As [`Users::account_find`].
    pub async fn sessions_end(&self, slot: &Slot, user: Uuid, now: DateTime<Utc>) -> Result<(), UsersError> {
        let mut session = self.open(slot).await?;
        let done =
            sqlx::query("update auth.sessions set ended_at = $2 where user_id = $1 and ended_at is null")
                .bind(user)
                .bind(now)
                .execute(&mut session.conn)
                .await
                .during("end a user's sessions");
        session.close().await;
        done?;
        Ok(())
    }

    /// Makes a user, or changes the one of that address. The bool says that it is new.
    ///
    /// # Errors
    /// As [`Users::account_find`].
    pub async fn user_want(
        &self,
        slot: &Slot,
        wanted: &WantedUser,
        now: DateTime<Utc>,
    ) -> Result<(User, bool), UsersError> {
        let mut session = self.open(slot).await?;
        let sql = format!(
            "insert into auth.users as u (id, email, is_admin, created_at) values ($1, $2, coalesce($3, false), $4)
             on conflict (lower(email)) do update set is_admin = coalesce($3, u.is_admin)
             returning {USER}"
        );
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(wanted.fresh)
            .bind(&wanted.email)
            .bind(wanted.is_admin)
            .bind(now)
            .fetch_one(&mut session.conn)
            .await
            .and_then(|row| user(&row))
            .during("make or change a user");
        session.close().await;
        let done = done?;
        let is_new = done.id == wanted.fresh;
        Ok((done, is_new))
    }

    /// Makes the user of an address a project admin, or no longer one. `None`: there is no such user.
    ///
    /// # Errors
    /// As [`Users::account_find`].
    pub async fn admin_set(
        &self,
        slot: &Slot,
        email: &str,
        is_admin: bool,
    ) -> Result<Option<User>, UsersError> {
        let mut session = self.open(slot).await?;
        let sql = format!("update auth.users u set is_admin = $2 where lower(email) = $1 returning {USER}");
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(email)
            .bind(is_admin)
            .fetch_optional(&mut session.conn)
            .await
            .and_then(|row| row.as_ref().map(user).transpose())
            .during("promote or demote a user");
        session.close().await;
        Ok(done?)
    }

    /// Users by id, after the one given.
    ///
    /// # Errors
    /// As [`Users::account_find`].
    pub async fn user_list(
        &self,
        slot: &Slot,
        after: Option<Uuid>,
        rows_max: i64,
    ) -> Result<Vec<User>, UsersError> {
        let mut session = self.open(slot).await?;
        let sql = format!(
            "select {USER} from auth.users u where $1::uuid is null or u.id > $1 order by u.id limit $2"
        );
        let found = sqlx::query(AssertSqlSafe(sql))
            .bind(after)
            .bind(rows_max)
            .fetch_all(&mut session.conn)
            .await
            .and_then(|rows| rows.iter().map(user).collect::<Result<_, _>>())
            .during("list users");
        session.close().await;
        Ok(found?)
    }

    /// # Errors
    /// As [`Users::account_find`].
    pub async fn user_get(&self, slot: &Slot, id: Uuid) -> Result<Option<User>, UsersError> {
        let mut session = self.open(slot).await?;
        let sql = format!("select {USER} from auth.users u where u.id = $1");
        let found = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&mut session.conn)
            .await
            .and_then(|row| row.as_ref().map(user).transpose())
            .during("find a user");
        session.close().await;
        Ok(found?)
    }
}

async fn account(
    conn: &mut PgConnection,
    user_id: Uuid,
    session_id: Uuid,
) -> Result<Option<Account>, sqlx::Error> {
    let sql = format!(
        "select {USER}, u.password_hash, u.password_dropped, s.id as session_id, s.amr, s.signed_in_at,
           (select count(*) from auth.passkeys p where p.user_id = u.id and p.disabled_at is null) as passkeys
         from auth.users u join auth.sessions s on s.user_id = u.id
         where u.id = $1 and s.id = $2 and s.ended_at is null"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(user_id).bind(session_id).fetch_optional(&mut *conn);
    let Some(row) = row.await? else { return Ok(None) };
    let facts = SessionFacts {
        id: row.try_get("session_id")?,
        amr: row.try_get("amr")?,
        signed_in_at: row.try_get("signed_in_at")?,
    };
    let identities = identities(conn, user_id).await?;
    Ok(Some(Account {
        user: user(&row)?,
        facts,
        password_hash: row.try_get("password_hash")?,
        password_dropped: row.try_get("password_dropped")?,
        passkeys: row.try_get("passkeys")?,
        allow_password_set: settings_read(conn).await?.allow_password_set,
        identities,
    }))
}

async fn identities(conn: &mut PgConnection, user: Uuid) -> Result<Vec<Identity>, sqlx::Error> {
    let rows =
        sqlx::query("select * from auth.identities where user_id = $1 order by created_at, provider_sub")
            .bind(user)
            .fetch_all(conn)
            .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok(Identity {
            provider: row.try_get("provider")?,
            provider_sub: row.try_get("provider_sub")?,
            provider_email: row.try_get("provider_email")?,
            created_at: row.try_get("created_at")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn password_set(
    conn: &mut PgConnection,
    account: &Account,
    password_hash: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    user_lock(&mut tx, account.user.id).await?;
    if !sessions::stands(&mut tx, account.user.id, account.facts.id).await? {
        return Ok(false);
    }
    let changed = sqlx::query(
        "update auth.users set password_hash = $2, password_dropped = false
         where id = $1 and password_hash is not distinct from $3",
    )
    .bind(account.user.id)
    .bind(password_hash)
    .bind(&account.password_hash)
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "update auth.sessions set ended_at = $3 where user_id = $1 and id <> $2 and ended_at is null",
    )
    .bind(account.user.id)
    .bind(account.facts.id)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(has_password: bool, amr: &str, age_minutes: i64, now: DateTime<Utc>) -> Account {
        let user = User {
            id: Uuid::nil(),
            email: "a@b.test".into(),
            display_name: None,
            avatar_url: None,
            email_verified_at: None,
            is_admin: false,
            created_at: now,
        };
        let signed_in_at = now - TimeDelta::minutes(age_minutes);
        Account {
            user,
            facts: SessionFacts { id: Uuid::nil(), amr: vec![amr.into()], signed_in_at },
            password_hash: has_password.then(String::new),
            password_dropped: false,
            allow_password_set: false,
            passkeys: 0,
            identities: Vec::new(),
        }
    }

    #[test]
    fn a_password_is_changed_reset_or_set_by_rule() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        for (account, gives, right) in [
            (account(true, "password", 1, now), true, PasswordRight::Change),
            (account(true, "password", 1, now), false, PasswordRight::NeedsCurrent),
            (account(true, "magic_link", 1, now), false, PasswordRight::Reset),
            (account(true, "magic_link", RESET_MINUTES + 1, now), false, PasswordRight::NeedsCurrent),
            (account(false, "magic_link", 1, now), false, PasswordRight::Disabled),
            (
                Account { password_dropped: true, ..account(false, "magic_link", 1, now) },
                false,
                PasswordRight::Reset,
            ),
            (
                Account { allow_password_set: true, ..account(false, "passkey", 1, now) },
                true,
                PasswordRight::Set,
            ),
        ] {
            assert_eq!(account.password_right(gives, now), right, "{account:?}");
        }
    }
}
