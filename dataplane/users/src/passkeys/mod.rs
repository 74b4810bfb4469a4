//! Passkeys: registering one, signing in with one, listing and removing them.
//!
//! A ceremony is a row of the project's own database that the first answer takes away, right or wrong; it
//! keeps the challenge, the origin it was asked for and, of a registration, the user. Signing in names no
//! account before it has succeeded. A counter that goes back tells of a copied authenticator: that passkey
//! never signs in again.

mod ceremony;
mod rows;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;
use webauthn_rs::prelude::Passkey;

pub use ceremony::Realm;
use ceremony::{Assertion, Refused, Registrant};
pub(crate) use rows::drop_unproved;
pub use rows::{PasskeyGuard, PasskeyRecord};
use rows::{RECORD, record};

use crate::rows::{USER, User, user, user_lock};
use crate::sessions::{self, NewSession, SessionFacts};
use crate::{Users, UsersError};

/// # Source
/// Wire contract 04 section 2.15.
const CHALLENGE_MINUTES: i64 = 5;
/// Ceremonies under way in one project.
const CHALLENGES_MAX: i64 = 10_000;
/// Passkeys of one user.
const PASSKEYS_MAX: i64 = 50;

/// Why something with a passkey was not done. Nothing was changed but the ceremony, which is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasskeyRefusal {
    /// Unknown, over, used, another user's or another kind's.
    Challenge,
    /// The reason is for the page's developer; of a sign-in nobody is told.
    Verification(String),
    /// The project has this credential already.
    Exists,
    TooMany,
    /// The sign-in that registers it has ended.
    SignedOut,
    /// Too many ceremonies are under way.
    Busy,
}

impl From<Refused> for PasskeyRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failed(why) => Self::Verification(why),
            Refused::Copied => Self::Verification("the counter went back".to_owned()),
        }
    }
}

/// Refusals inside, faults outside.
pub type Outcome<T> = Result<Result<T, PasskeyRefusal>, UsersError>;
type Inner<T> = Result<Result<T, PasskeyRefusal>, sqlx::Error>;

/// Which ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremony {
    /// Of this user.
    Register(Uuid),
    Login,
}

impl Ceremony {
    fn as_str(self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Login => "login",
        }
    }

    fn user(self) -> Option<Uuid> {
        match self {
            Self::Register(user) => Some(user),
            Self::Login => None,
        }
    }
}

/// A ceremony that was taken: it cannot be answered again.
#[derive(Debug)]
pub struct Challenge {
    pub ceremony: Ceremony,
    pub origin: String,
    state: Value,
}

/// A passkey to be kept.
#[derive(Debug, Clone)]
pub struct NewPasskey {
    pub id: Uuid,
    /// The sign-in that registers it.
    pub asking: Uuid,
    pub label: Option<String>,
}

impl Users {
    /// Begins a registration: the options for the browser. `fresh` is the user's handle on this host unless
    /// there is one.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn passkey_register_begin(
        &self,
        slot: &Slot,
        user: &User,
        realm: &Realm,
        (id, fresh): (Uuid, Uuid),
        now: DateTime<Utc>,
    ) -> Outcome<Value> {
        let mut session = self.open(slot).await?;
        let done = register_begin(&mut session.conn, user, realm, (id, fresh), now).await;
        session.close().await;
        Ok(done.during("begin to register a passkey")?)
    }

    /// Begins a sign-in: the options for the browser, the same whoever asks.
    ///
    /// # Errors
    /// As [`Users::passkey_register_begin`].
    pub async fn passkey_login_begin(
        &self,
        slot: &Slot,
        realm: &Realm,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Outcome<Value> {
        let begun = match ceremony::login_begin(realm) {
            Ok(begun) => begun,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let mut session = self.open(slot).await?;
        let kept = keep(&mut session.conn, id, Ceremony::Login, realm, &begun.state, now).await;
        session.close().await;
        Ok(kept.during("begin a sign-in by passkey")?.map(|()| begun.options))
    }

    /// Takes a ceremony, which is over by that.
    ///
    /// # Errors
    /// As [`Users::passkey_register_begin`].
    pub async fn passkey_challenge_take(
        &self,
        slot: &Slot,
        id: Uuid,
        ceremony: Ceremony,
        now: DateTime<Utc>,
    ) -> Outcome<Challenge> {
        let mut session = self.open(slot).await?;
        // One statement: of two answers at once, one finds the row.
        let row = sqlx::query(
            "delete from auth.passkey_challenges
             where id = $1 and kind = $2 and user_id is not distinct from $3 and expires_at > $4
             returning origin, state",
        )
        .bind(id)
        .bind(ceremony.as_str())
        .bind(ceremony.user())
        .bind(now)
        .fetch_optional(&mut session.conn)
        .await;
        session.close().await;
        let taken = row.and_then(|row| {
            let Some(row) = row else { return Ok(Err(PasskeyRefusal::Challenge)) };
            let Json(state) = row.try_get("state")?;
            Ok(Ok(Challenge { ceremony, origin: row.try_get("origin")?, state }))
        });
        Ok(taken.during("take a passkey ceremony")?)
    }

    /// Keeps the passkey that answers a registration.
    ///
    /// # Errors
    /// As [`Users::passkey_register_begin`].
    pub async fn passkey_register_end(
        &self,
        slot: &Slot,
        (challenge, realm): (Challenge, &Realm),
        response: &Value,
        new: &NewPasskey,
        now: DateTime<Utc>,
    ) -> Outcome<PasskeyRecord> {
        let Some(owner) = challenge.ceremony.user() else { return Ok(Err(PasskeyRefusal::Challenge)) };
        let made = match ceremony::register_end(realm, challenge.state, response) {
            Ok(made) => made,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let mut session = self.open(slot).await?;
        let done = insert(&mut session.conn, owner, realm, &made, new, now).await;
        session.close().await;
        Ok(done.during("keep a passkey")?)
    }

    /// Signs in whoever holds the passkey that answers a ceremony.
    ///
    /// # Errors
    /// As [`Users::passkey_register_begin`].
    pub async fn passkey_login_end(
        &self,
        slot: &Slot,
        (challenge, realm): (Challenge, &Realm),
        response: &Value,
        new: &NewSession,
        now: DateTime<Utc>,
    ) -> Outcome<(User, SessionFacts)> {
        let assertion = match Assertion::read(response) {
            Ok(assertion) => assertion,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let mut session = self.open(slot).await?;
        let done = sign_in(&mut session.conn, (challenge, realm), &assertion, new, now).await;
        session.close().await;
        Ok(done.during("sign in by passkey")?)
    }
}

/// Stores a ceremony, and forgets those that are over.
async fn keep(
    conn: &mut PgConnection,
    id: Uuid,
    ceremony: Ceremony,
    realm: &Realm,
    state: &Value,
    now: DateTime<Utc>,
) -> Inner<()> {
    sqlx::query("delete from auth.passkey_challenges where expires_at <= $1")
        .bind(now)
        .execute(&mut *conn)
        .await?;
    let kept = sqlx::query(
        "insert into auth.passkey_challenges (id, kind, user_id, origin, state, expires_at)
         select $1, $2, $3, $4, $5, $6 where (select count(*) from auth.passkey_challenges) < $7",
    )
    .bind(id)
    .bind(ceremony.as_str())
    .bind(ceremony.user())
    .bind(realm.origin_text())
    .bind(Json(state))
    .bind(now + TimeDelta::minutes(CHALLENGE_MINUTES))
    .bind(CHALLENGES_MAX)
    .execute(conn)
    .await?;
    Ok(if kept.rows_affected() == 1 { Ok(()) } else { Err(PasskeyRefusal::Busy) })
}

async fn register_begin(
    conn: &mut PgConnection,
    user: &User,
    realm: &Realm,
    (id, fresh): (Uuid, Uuid),
    now: DateTime<Utc>,
) -> Inner<Value> {
    let handle = handle(conn, user.id, realm.rp_id(), fresh).await?;
    let known = sqlx::query("select credential_id from auth.passkeys where user_id = $1 and rp_id = $2")
        .bind(user.id)
        .bind(realm.rp_id())
        .fetch_all(&mut *conn)
        .await?;
    let known = known.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>, _>>()?;
    // The standard has no place for an empty name.
    let id_text = user.id.to_string();
    let name = if user.email.is_empty() { &id_text } else { &user.email };
    let shown = user.display_name.as_ref().filter(|name| !name.trim().is_empty()).unwrap_or(name);
    let begun = ceremony::register_begin(realm, Registrant { handle, name, display_name: shown, known });
    let begun = match begun {
        Ok(begun) => begun,
        Err(refused) => return Ok(Err(refused.into())),
    };
    let kept = keep(conn, id, Ceremony::Register(user.id), realm, &begun.state, now).await?;
    Ok(kept.map(|()| begun.options))
}

/// What authenticators keep for this user on this host.
async fn handle(conn: &mut PgConnection, user: Uuid, rp_id: &str, fresh: Uuid) -> Result<Uuid, sqlx::Error> {
    sqlx::query(
        "insert into auth.passkey_handles (handle, user_id, rp_id) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(fresh)
    .bind(user)
    .bind(rp_id)
    .execute(&mut *conn)
    .await?;
    sqlx::query("select handle from auth.passkey_handles where user_id = $1 and rp_id = $2")
        .bind(user)
        .bind(rp_id)
        .fetch_one(conn)
        .await?
        .try_get(0)
}

async fn insert(
    conn: &mut PgConnection,
    owner: Uuid,
    realm: &Realm,
    made: &ceremony::Registered,
    new: &NewPasskey,
    now: DateTime<Utc>,
) -> Inner<PasskeyRecord> {
    let mut tx = conn.begin().await?;
    // Registrations of one user queue here, so that none is counted too late.
    user_lock(&mut tx, owner).await?;
    if !sessions::stands(&mut tx, owner, new.asking).await? {
        return Ok(Err(PasskeyRefusal::SignedOut));
    }
    let count: i64 = sqlx::query("select count(*) from auth.passkeys where user_id = $1")
        .bind(owner)
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if count >= PASSKEYS_MAX {
        return Ok(Err(PasskeyRefusal::TooMany));
    }
    let sql = format!(
        "insert into auth.passkeys as p
           (id, user_id, rp_id, credential_id, credential, label, transports, created_origin, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (credential_id) do nothing returning {RECORD}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(new.id)
        .bind(owner)
        .bind(realm.rp_id())
        .bind(made.passkey.cred_id().as_slice())
        .bind(Json(&made.passkey))
        .bind(&new.label)
        .bind(&made.transports)
        .bind(realm.origin_text())
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(Err(PasskeyRefusal::Exists)) };
    let record = record(&row)?;
    tx.commit().await?;
    Ok(Ok(record))
}

async fn sign_in(
    conn: &mut PgConnection,
    (challenge, realm): (Challenge, &Realm),
    assertion: &Assertion,
    new: &NewSession,
    now: DateTime<Utc>,
) -> Inner<(User, SessionFacts)> {
    let mut tx = conn.begin().await?;
    let owner = sqlx::query("select user_id from auth.passkeys where credential_id = $1")
        .bind(assertion.credential_id())
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(owner) = owner {
        user_lock(&mut tx, owner.try_get(0)?).await?;
    }
    let sql = format!(
        "select p.id as passkey_id, p.credential, {USER} from auth.passkeys p
           join auth.passkey_handles h on h.user_id = p.user_id and h.rp_id = p.rp_id
           join auth.users u on u.id = p.user_id
         where p.credential_id = $1 and p.rp_id = $2 and h.handle = $3 and p.disabled_at is null
         for update of p"
    );
    // Locked: a counter is compared with the one that the answer before it left.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(assertion.credential_id())
        .bind(realm.rp_id())
        .bind(assertion.handle)
        .fetch_optional(&mut *tx)
        .await?;
    let unknown = || PasskeyRefusal::Verification("no such passkey here".to_owned());
    let Some(row) = row else { return Ok(Err(unknown())) };
    let (id, user): (Uuid, User) = (row.try_get("passkey_id")?, user(&row)?);
    let Json(mut passkey): Json<Passkey> = row.try_get("credential")?;
    if let Err(refused) = ceremony::login_end(realm, challenge.state, assertion, &mut passkey) {
        if refused == Refused::Copied {
            sqlx::query("update auth.passkeys set disabled_at = $2 where id = $1")
                .bind(id)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        return Ok(Err(refused.into()));
    }
    sqlx::query(
        "update auth.passkeys set credential = $2, last_used_at = $3, last_used_origin = $4 where id = $1",
    )
    .bind(id)
    .bind(Json(&passkey))
    .bind(now)
    .bind(realm.origin_text())
    .execute(&mut *tx)
    .await?;
    let new = NewSession { user: user.id, ..new.clone() };
    let facts = sessions::begin(&mut tx, &new, now).await?;
    sqlx::query("update auth.sessions set passkey_id = $2 where id = $1")
        .bind(facts.id)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Ok((user, facts)))
}
