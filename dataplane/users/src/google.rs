//! Sign-ins with Google, from the page's request to its session.
//!
//! A flow is one row. The state that travels through the browser works once, and so does the code that the page
//! gets in the end; the code is worth nothing without the page's verifier. Whether somebody may come in is
//! decided twice: when Google has answered, so that the page can be told, and when the page trades its code,
//! which is when anything is made or linked.

mod enter;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use store::During;
use store::cells::Slot;
use uuid::Uuid;

use crate::joining::Refusal;
use crate::oidc::{Proof, challenge};
use crate::rows::User;
use crate::sessions::{NewSession, SessionFacts};
use crate::{Users, UsersError};

use enter::{enter, joining};

/// How long somebody may take at Google.
pub const FLOW_SECS: i64 = 600;
/// # Source
/// Wire contract 04 section 2.12.
const CODE_MINUTES: i64 = 5;
const KEPT_HOURS: i64 = 24;
/// Of one project, begun and not over: a flood ends here.
const FLOWS_OPEN_MAX: i64 = 2_000;

/// A sign-in that a page begins.
#[derive(Debug, Clone)]
pub struct NewFlow {
    pub id: Uuid,
    pub state: String,
    pub redirect_url: String,
    /// Of the page's verifier, method `S256`.
    pub code_challenge: String,
    pub nonce: String,
    pub code_verifier: String,
    /// User and sign-in that the account elsewhere is to be added to.
    pub link: Option<(Uuid, Uuid)>,
}

/// A sign-in that came back from Google.
#[derive(Debug, Clone)]
pub struct Flow {
    pub id: Uuid,
    pub redirect_url: String,
    pub nonce: String,
    pub code_verifier: String,
    link: Option<Uuid>,
}

/// What a page's code was worth.
#[derive(Debug)]
pub enum Traded {
    Session(User, SessionFacts),
    Refused(Refusal),
    /// Unknown, over, used before, or not of this page.
    Invalid,
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

impl Users {
    /// Notes a sign-in that begins. False when too many are under way.
    ///
    /// # Errors
    /// `Busy`, or `Store` when the database refuses.
    pub async fn flow_begin(
        &self,
        slot: &Slot,
        new: &NewFlow,
        now: DateTime<Utc>,
    ) -> Result<bool, UsersError> {
        let mut session = self.open(slot).await?;
        let done = begin(&mut session.conn, new, now).await.during("begin a sign-in elsewhere");
        session.close().await;
        Ok(done?)
    }

    /// Takes the flow of a state, once. `None` for one that is unknown, over or taken.
    ///
    /// # Errors
    /// As [`Users::flow_begin`].
    pub async fn flow_answer(
        &self,
        slot: &Slot,
        state: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, UsersError> {
        let mut session = self.open(slot).await?;
        let found = sqlx::query(
            "update auth.oauth_flows set answered_at = $2
             where state_hash = $1 and answered_at is null and expires_at > $2 returning *",
        )
        .bind(hash(state))
        .bind(now)
        .fetch_optional(&mut session.conn)
        .await
        .and_then(|row| row.as_ref().map(flow).transpose())
        .during("take a sign-in elsewhere");
        session.close().await;
        Ok(found?)
    }

    /// Stores what Google said and the code that the page will trade for it, unless whoever it is may not come
    /// in: then nothing.
    ///
    /// # Errors
    /// As [`Users::flow_begin`].
    pub async fn flow_settle(
        &self,
        slot: &Slot,
        flow: &Flow,
        proof: &Proof,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refusal>, UsersError> {
        let mut session = self.open(slot).await?;
        let done = settle(&mut session.conn, flow, proof, code, now).await;
        let done = done.during("settle a sign-in elsewhere");
        session.close().await;
        Ok(done?)
    }

    /// Trades a page's code for a sign-in. The user is made, or the account linked, if need be. A code works
    /// once, whoever tries it.
    ///
    /// # Errors
    /// As [`Users::flow_begin`].
    pub async fn flow_trade(
        &self,
        slot: &Slot,
        (code, code_verifier): (&str, &str),
        new: &NewSession,
        now: DateTime<Utc>,
    ) -> Result<Traded, UsersError> {
        let mut session = self.open(slot).await?;
        let done = trade(&mut session.conn, (code, code_verifier), new, now).await;
        let done = done.during("end a sign-in elsewhere");
        session.close().await;
        Ok(done?)
    }
}

async fn begin(conn: &mut PgConnection, new: &NewFlow, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("delete from auth.oauth_flows where created_at < $1")
        .bind(now - TimeDelta::hours(KEPT_HOURS))
        .execute(&mut *tx)
        .await?;
    let open: i64 = sqlx::query(
        "select count(*) from auth.oauth_flows where created_at > $1 and answered_at is null and expires_at > $2",
    )
    .bind(now - TimeDelta::seconds(FLOW_SECS))
    .bind(now)
    .fetch_one(&mut *tx)
    .await
    .and_then(|row| row.try_get(0))?;
    if open >= FLOWS_OPEN_MAX {
        return Ok(false);
    }
    let (link_user, link_session) = new.link.unzip();
    sqlx::query(
        "insert into auth.oauth_flows (id, state_hash, redirect_url, code_challenge, nonce, code_verifier,
           link_user, link_session, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new.id)
    .bind(hash(&new.state))
    .bind(&new.redirect_url)
    .bind(&new.code_challenge)
    .bind(&new.nonce)
    .bind(&new.code_verifier)
    .bind(link_user)
    .bind(link_session)
    .bind(now)
    .bind(now + TimeDelta::seconds(FLOW_SECS))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

async fn settle(
    conn: &mut PgConnection,
    flow: &Flow,
    proof: &Proof,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Result<(), Refusal>, sqlx::Error> {
    if let Err(refusal) = joining(conn, proof, flow.link).await? {
        return Ok(Err(refusal));
    }
    sqlx::query(
        "update auth.oauth_flows set provider_sub = $2, provider_email = $3, email_strong = $4, display_name = $5,
           avatar_url = $6, code_hash = $7, code_expires_at = $8
         where id = $1 and code_hash is null",
    )
    .bind(flow.id)
    .bind(&proof.sub)
    .bind(&proof.email)
    .bind(proof.email_strong)
    .bind(&proof.display_name)
    .bind(&proof.avatar_url)
    .bind(hash(code))
    .bind(now + TimeDelta::minutes(CODE_MINUTES))
    .execute(conn)
    .await?;
    Ok(Ok(()))
}

async fn trade(
    conn: &mut PgConnection,
    (code, code_verifier): (&str, &str),
    new: &NewSession,
    now: DateTime<Utc>,
) -> Result<Traded, sqlx::Error> {
    let mut tx = conn.begin().await?;
    // Sign-ins of one project queue here, so that two with one account make one user.
    sqlx::raw_sql("lock table auth.identities in share row exclusive mode").execute(&mut *tx).await?;
    let Some(row) = code_use(&mut tx, code, now).await? else { return Ok(Traded::Invalid) };
    let traded = match row.try_get::<String, _>("code_challenge")? == challenge(code_verifier) {
        true => enter(&mut tx, &row, new, now).await?,
        false => Traded::Invalid,
    };
    // Also what was refused: a code works once.
    tx.commit().await?;
    Ok(traded)
}

async fn code_use(
    conn: &mut PgConnection,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Option<PgRow>, sqlx::Error> {
    sqlx::query(
        "update auth.oauth_flows set code_used_at = $2
         where code_hash = $1 and code_used_at is null and code_expires_at > $2 returning *",
    )
    .bind(hash(code))
    .bind(now)
    .fetch_optional(conn)
    .await
}

fn flow(row: &PgRow) -> Result<Flow, sqlx::Error> {
    Ok(Flow {
        id: row.try_get("id")?,
        redirect_url: row.try_get("redirect_url")?,
        nonce: row.try_get("nonce")?,
        code_verifier: row.try_get("code_verifier")?,
        link: row.try_get("link_user")?,
    })
}
