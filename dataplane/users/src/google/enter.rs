//! What a sign-in with Google makes or changes, in the transaction that uses up its code.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::Traded;
use crate::admission::settings_read;
use crate::joining::{Arrival, Holder, Joining, Refusal, decide};
use crate::oidc::Proof;
use crate::rows::{USER, User, user, user_lock};
use crate::sessions::{self, NewSession};

const PROVIDER: &str = "google";

/// Carries out what was decided, and signs the user in.
pub(super) async fn enter(
    conn: &mut PgConnection,
    row: &PgRow,
    new: &NewSession,
    now: DateTime<Utc>,
) -> Result<Traded, sqlx::Error> {
    let proof = Proof {
        sub: row.try_get("provider_sub")?,
        email: row.try_get("provider_email")?,
        email_strong: row.try_get("email_strong")?,
        display_name: row.try_get("display_name")?,
        avatar_url: row.try_get("avatar_url")?,
    };
    let link: Option<Uuid> = row.try_get("link_user")?;
    if let Some(link) = link
        && !is_signed_in(conn, link, row.try_get("link_session")?).await?
    {
        return Ok(Traded::Invalid);
    }
    let user = match joining(conn, &proof, link).await? {
        Err(refusal) => return Ok(Traded::Refused(refusal)),
        Ok(Joining::Known(id)) => id,
        Ok(Joining::Link(id)) => {
            identity_insert(conn, id, &proof, now).await?;
            id
        }
        Ok(Joining::Adopt(id)) => {
            adopt(conn, id, now).await?;
            identity_insert(conn, id, &proof, now).await?;
            id
        }
        Ok(Joining::Fresh) => {
            // Somebody may have signed up with the address at this moment.
            if !user_insert(conn, new.user, &proof, now).await? {
                return Ok(Traded::Refused(Refusal::AccountExists));
            }
            identity_insert(conn, new.user, &proof, now).await?;
            new.user
        }
    };
    let user = described(conn, user, &proof).await?;
    let new = NewSession { user: user.id, ..new.clone() };
    let facts = sessions::begin(conn, &new, now).await?;
    Ok(Traded::Session(user, facts))
}

/// What is known of whoever the proof is about, judged.
pub(super) async fn joining(
    conn: &mut PgConnection,
    proof: &Proof,
    link: Option<Uuid>,
) -> Result<Result<Joining, Refusal>, sqlx::Error> {
    let settings = settings_read(conn).await?;
    let owner = sqlx::query("select user_id from auth.identities where provider = $1 and provider_sub = $2")
        .bind(PROVIDER)
        .bind(&proof.sub)
        .fetch_optional(&mut *conn)
        .await?
        .map(|row| row.try_get(0))
        .transpose()?;
    let holder = sqlx::query(
        "select id, password_hash is not null or exists (select from auth.passkeys k where k.user_id = u.id),
                email_verified_at is not null and not email_vouched,
                admitted_at is not null,
                exists (select from auth.identities i where i.user_id = u.id and i.provider = $2)
         from auth.users u where lower(email) = $1",
    )
    .bind(&proof.email)
    .bind(PROVIDER)
    .fetch_optional(conn)
    .await?
    .map(|row| {
        Ok::<_, sqlx::Error>(Holder {
            user: row.try_get(0)?,
            has_secret: row.try_get(1)?,
            is_proved: row.try_get(2)?,
            is_admitted: row.try_get(3)?,
            has_identity: row.try_get(4)?,
        })
    })
    .transpose()?;
    let arrival = Arrival { email: &proof.email, email_strong: proof.email_strong, owner, holder, link };
    Ok(decide(&settings, &arrival))
}

async fn is_signed_in(
    conn: &mut PgConnection,
    user: Uuid,
    session: Option<Uuid>,
) -> Result<bool, sqlx::Error> {
    let Some(session) = session else { return Ok(false) };
    Ok(user_lock(conn, user).await? && sessions::stands(conn, user, session).await?)
}

async fn user_insert(
    conn: &mut PgConnection,
    id: Uuid,
    proof: &Proof,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query(
        "insert into auth.users (id, email, created_at, admitted_at, email_verified_at, email_vouched)
         values ($1, $2, $3, $3, $3, $4) on conflict do nothing",
    )
    .bind(id)
    .bind(&proof.email)
    .bind(now)
    .bind(!proof.email_strong)
    .execute(conn)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Lets in a user of that address who has no other way in, or has proved it before.
async fn adopt(conn: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update auth.users set admitted_at = coalesce(admitted_at, $2),
           email_verified_at = coalesce(email_verified_at, $2)
         where id = $1",
    )
    .bind(id)
    .bind(now)
    .execute(conn)
    .await
    .map(drop)
}

async fn identity_insert(
    conn: &mut PgConnection,
    user: Uuid,
    proof: &Proof,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into auth.identities (provider, provider_sub, user_id, provider_email, created_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(PROVIDER)
    .bind(&proof.sub)
    .bind(user)
    .bind(&proof.email)
    .bind(now)
    .execute(conn)
    .await
    .map(drop)
}

/// The user, with name and picture where there were none.
async fn described(conn: &mut PgConnection, id: Uuid, proof: &Proof) -> Result<User, sqlx::Error> {
    let sql = format!(
        "update auth.users u set display_name = coalesce(display_name, $2), avatar_url = coalesce(avatar_url, $3)
         where id = $1 returning {USER}"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .bind(&proof.display_name)
        .bind(&proof.avatar_url)
        .fetch_one(conn)
        .await?;
    user(&row)
}
