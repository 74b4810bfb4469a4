//! Links and codes by mail. A token is stored as its SHA-256 and works once; a code as the SHA-256 of the
//! request's id and the code, and five wrong ones burn it.
//!
//! Asking for one does the same work whether the address may come in or not, so that nobody learns who has an
//! account. A link only carries the token: it is used up by the page that sends it back, never by whoever
//! merely looks at the link.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::admission::{Standing, admits, settings_read};
use crate::mail::{self, Mail};
use crate::passkeys;
use crate::rows::{USER, User, user};
use crate::sessions::{self, NewSession, SessionFacts};
use crate::{Users, UsersError};

/// # Source
/// Wire contract 04 section 2.8.
pub const LINK_MINUTES: i64 = 15;
const PER_ADDRESS_MAX: i64 = 5;
const WINDOW_MINUTES: i64 = 60;
const KEPT_HOURS: i64 = 24;
const WRONG_CODES_MAX: i32 = 5;

/// Why a link is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    #[default]
    Signin,
    /// An invitation by the project's owner.
    Invite,
    /// To take over an account that the owner made.
    Claim,
    /// To choose a new password.
    Recovery,
}

impl Intent {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signin => "signin",
            Self::Invite => "invite",
            Self::Claim => "claim",
            Self::Recovery => "recovery",
        }
    }

    /// Makes sense only for an account that is there.
    fn needs_account(self) -> bool {
        matches!(self, Self::Claim | Self::Recovery)
    }
}

/// A link or a code to be mailed.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// The request's own id, by which a code is given back.
    pub id: Uuid,
    pub email: String,
    pub token: Option<String>,
    pub code: Option<String>,
    pub intent: Intent,
    pub client_state: Option<String>,
    /// Asked for with the service key.
    pub trusted: bool,
    pub mail: Mail,
    /// Requests of the whole project in an hour.
    pub per_hour_max: i64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkAsked {
    Mailed,
    /// The address may not come in. Nobody but the owner is told.
    Kept,
    Limited {
        retry_secs: u64,
    },
}

/// What a user gives back.
#[derive(Debug, Clone)]
pub enum LinkProof {
    Token(String),
    Code { id: Uuid, code: String },
}

/// A sign-in by mail.
#[derive(Debug)]
pub struct LinkUsed {
    pub user: User,
    pub facts: SessionFacts,
    pub intent: String,
    pub client_state: Option<String>,
    pub trusted: bool,
}

fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

fn code_hash(id: Uuid, code: &str) -> Vec<u8> {
    Sha256::new().chain_update(id.as_bytes()).chain_update(code).finalize().to_vec()
}

impl Users {
    /// Stores a link and its mail in one transaction.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn link_ask(
        &self,
        slot: &Slot,
        new: &NewLink,
        now: DateTime<Utc>,
    ) -> Result<LinkAsked, UsersError> {
        let mut session = self.open(slot).await?;
        let done = ask(&mut session.conn, new, now).await.during("store a link");
        session.close().await;
        Ok(done?)
    }

    /// Signs in whoever holds a link or a code; the user is made if need be. `None` for one that is unknown,
    /// over, used, or of an address that may not come in.
    ///
    /// # Errors
    /// As [`Users::link_ask`].
    pub async fn link_use(
        &self,
        slot: &Slot,
        proof: &LinkProof,
        new: &NewSession,
        now: DateTime<Utc>,
    ) -> Result<Option<LinkUsed>, UsersError> {
        let mut session = self.open(slot).await?;
        let done = redeem(&mut session.conn, proof, new, now).await.during("use a link");
        session.close().await;
        Ok(done?)
    }
}

async fn ask(conn: &mut PgConnection, new: &NewLink, now: DateTime<Utc>) -> Result<LinkAsked, sqlx::Error> {
    let mut tx = conn.begin().await?;
    // Requests of one project queue here, so that none is counted too late.
    sqlx::raw_sql("lock table auth.magic_links in share row exclusive mode").execute(&mut *tx).await?;
    if let Some(retry_secs) = limited(&mut tx, new, now).await? {
        return Ok(LinkAsked::Limited { retry_secs });
    }
    let standing = standing(&mut tx, &new.email).await?;
    let policy = settings_read(&mut tx).await?.public_signup;
    let comes_in = admits(policy, standing, new.trusted)
        && !(new.intent.needs_account() && standing == Standing::Unknown);
    sqlx::query("delete from auth.magic_links where created_at < $1")
        .bind(now - TimeDelta::hours(KEPT_HOURS))
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into auth.magic_links
           (id, email, token_hash, code_hash, intent, client_state, trusted, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.id)
    .bind(&new.email)
    .bind(new.token.as_deref().filter(|_| comes_in).map(token_hash))
    .bind(new.code.as_deref().filter(|_| comes_in).map(|code| code_hash(new.id, code)))
    .bind(new.intent.as_str())
    .bind(&new.client_state)
    .bind(new.trusted)
    .bind(now)
    .bind(now + TimeDelta::minutes(LINK_MINUTES))
    .execute(&mut *tx)
    .await?;
    if comes_in {
        mail::insert(&mut tx, &new.mail, now).await?;
    }
    tx.commit().await?;
    Ok(if comes_in { LinkAsked::Mailed } else { LinkAsked::Kept })
}

/// The seconds until the next request is admitted, when too many came.
async fn limited(
    conn: &mut PgConnection,
    new: &NewLink,
    now: DateTime<Utc>,
) -> Result<Option<u64>, sqlx::Error> {
    let since = now - TimeDelta::minutes(WINDOW_MINUTES);
    let row = sqlx::query(
        "select count(*) filter (where email = $1), count(*),
                min(created_at) filter (where email = $1), min(created_at)
         from auth.magic_links where created_at > $2",
    )
    .bind(&new.email)
    .bind(since)
    .fetch_one(conn)
    .await?;
    let oldest = if row.try_get::<i64, _>(0)? >= PER_ADDRESS_MAX {
        row.try_get::<Option<DateTime<Utc>>, _>(2)?
    } else if row.try_get::<i64, _>(1)? >= new.per_hour_max {
        row.try_get::<Option<DateTime<Utc>>, _>(3)?
    } else {
        return Ok(None);
    };
    let wait = oldest.map_or(TimeDelta::zero(), |oldest| oldest - since).num_seconds();
    Ok(Some(u64::try_from(wait).unwrap_or(0).saturating_add(1)))
}

async fn standing(conn: &mut PgConnection, email: &str) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query("select admitted_at is not null from auth.users where lower(email) = $1")
        .bind(email)
        .fetch_optional(conn)
        .await?;
    Ok(match row.map(|row| row.try_get(0)).transpose()? {
        None => Standing::Unknown,
        Some(false) => Standing::Expected,
        Some(true) => Standing::Admitted,
    })
}

async fn redeem(
    conn: &mut PgConnection,
    proof: &LinkProof,
    new: &NewSession,
    now: DateTime<Utc>,
) -> Result<Option<LinkUsed>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let link = match proof {
        LinkProof::Token(token) => by_token(&mut tx, token, now).await?,
        LinkProof::Code { id, code } => match by_code(&mut tx, *id, code, now).await? {
            Some(link) => Some(link),
            // A wrong code counts.
            None => {
                tx.commit().await?;
                return Ok(None);
            }
        },
    };
    let Some(link) = link else { return Ok(None) };
    let email: String = link.try_get("email")?;
    let trusted: bool = link.try_get("trusted")?;
    let policy = settings_read(&mut tx).await?.public_signup;
    // Asked again: what was allowed when the link was mailed may not be any more.
    if !admits(policy, standing(&mut tx, &email).await?, trusted) {
        return Ok(None);
    }
    let user = proved(&mut tx, new.user, &email, now).await?;
    let new = NewSession { user: user.id, ..new.clone() };
    let facts = sessions::begin(&mut tx, &new, now).await?;
    tx.commit().await?;
    let (intent, client_state) = (link.try_get("intent")?, link.try_get("client_state")?);
    Ok(Some(LinkUsed { user, facts, intent, client_state, trusted }))
}

async fn by_token(
    conn: &mut PgConnection,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<PgRow>, sqlx::Error> {
    sqlx::query(
        "update auth.magic_links set used_at = $2 where token_hash = $1 and used_at is null and expires_at > $2
         returning *",
    )
    .bind(token_hash(token))
    .bind(now)
    .fetch_optional(conn)
    .await
}

async fn by_code(
    conn: &mut PgConnection,
    id: Uuid,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Option<PgRow>, sqlx::Error> {
    // One update, so that codes tried at once count one after the other.
    let row = sqlx::query(
        "update auth.magic_links set
           wrong_codes = wrong_codes + case when code_hash = $2 then 0 else 1 end,
           used_at = case when code_hash = $2 or wrong_codes + 1 >= $4 then $3 end
         where id = $1 and code_hash is not null and used_at is null and expires_at > $3
         returning *, code_hash = $2 as is_right",
    )
    .bind(id)
    .bind(code_hash(id, code))
    .bind(now)
    .bind(WRONG_CODES_MAX)
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        Some(row) if row.try_get("is_right")? => Some(row),
        _ => None,
    })
}

/// The user of an address that somebody has just proved to own; made if there is none.
///
/// A password that was chosen, a passkey that was registered, or an account elsewhere that was linked, before anybody
/// had proved it may be a stranger's, who waits for the owner to come (H04): they are dropped together with everything
/// signed in by them. An address that a provider only vouched for is not proved.
async fn proved(
    conn: &mut PgConnection,
    fresh: Uuid,
    email: &str,
    now: DateTime<Utc>,
) -> Result<User, sqlx::Error> {
    sqlx::query("insert into auth.users (id, email, created_at) values ($1, $2, $3) on conflict do nothing")
        .bind(fresh)
        .bind(email)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    // As `user_lock`.
    sqlx::query("select from auth.users where lower(email) = $1 for no key update")
        .bind(email)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "update auth.sessions set ended_at = $2 where ended_at is null and user_id =
           (select id from auth.users where lower(email) = $1 and (email_verified_at is null or email_vouched))",
    )
    .bind(email)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "delete from auth.identities where user_id =
           (select id from auth.users where lower(email) = $1 and (email_verified_at is null or email_vouched))",
    )
    .bind(email)
    .execute(&mut *conn)
    .await?;
    passkeys::drop_unproved(conn, email).await?;
    let sql = format!(
        "update auth.users as u set
           password_dropped = password_dropped
             or ((email_verified_at is null or email_vouched) and password_hash is not null),
           password_hash = case when email_verified_at is not null and not email_vouched then password_hash end,
           email_verified_at = coalesce(email_verified_at, $2), email_vouched = false,
           admitted_at = coalesce(admitted_at, $2)
         where lower(email) = $1 returning {USER}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(email).bind(now).fetch_one(conn).await?;
    user(&row)
}
