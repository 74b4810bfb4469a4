//! Events of Stripe as they came. A row is durable before its delivery is acknowledged, and stays: the same
//! event is the same row, however often and whenever it comes.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Row;

use crate::{During, Store, StoreError, Tx};

/// By which way an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Webhook,
    Reconciler,
}

impl Via {
    fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Reconciler => "reconciler",
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// Its fact is on record.
    Recorded,
    /// Not for us: another mode, another account, a type that we do not act on.
    Ignored(&'static str),
    /// It contradicts what we know. A person must look.
    Refused(&'static str),
}

/// An event to store.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    pub livemode: bool,
    pub said_at: DateTime<Utc>,
    pub body: &'a [u8],
}

/// Stores an event, or counts one more delivery of it; what the reconciler reads again is no delivery. `true`
/// when it is new.
///
/// # Errors
/// `Db` only.
pub async fn event_store(
    store: &Store,
    event: &NewEvent<'_>,
    via: Via,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    const DURING: &str = "store an event of Stripe";
    let row = sqlx::query(
        "insert into stripe_events as e (id, type, livemode, said_at, body, via, state, received_at)
         values ($1, $2, $3, $4, $5, $6, 'pending', $7)
         on conflict (id) do update set deliveries = e.deliveries + 1 where excluded.via = 'webhook'
         returning xmax = 0 as fresh",
    )
    .bind(event.id)
    .bind(event.kind)
    .bind(event.livemode)
    .bind(event.said_at)
    .bind(event.body)
    .bind(via.as_str())
    .bind(now)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    row.map_or(Ok(false), |row| row.try_get("fresh")).during(DURING)
}

/// Events that nobody has handled yet, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn events_pending(store: &Store, limit: i64) -> Result<Vec<String>, StoreError> {
    const DURING: &str = "list events of Stripe";
    let rows =
        sqlx::query("select id from stripe_events where state = 'pending' order by received_at limit $1")
            .bind(limit)
            .fetch_all(store.pool())
            .await
            .during(DURING)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during(DURING)
}

/// The body of a pending event, locked until the transaction ends; none when it is handled, or being handled.
///
/// # Errors
/// `Db` only.
pub async fn event_locked(tx: &mut Tx, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    const DURING: &str = "lock an event of Stripe";
    let row = sqlx::query(
        "select body from stripe_events where id = $1 and state = 'pending' for update skip locked",
    )
    .bind(id)
    .fetch_optional(tx.conn())
    .await
    .during(DURING)?;
    row.map(|row| row.try_get(0)).transpose().during(DURING)
}

/// Notes what became of an event, in the commit that records its fact; `about` is the session or payment that a
/// recorded one tells of.
///
/// # Errors
/// `Db` only.
pub async fn event_handled(
    tx: &mut Tx,
    id: &str,
    (handled, about): (Handled, Option<&str>),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (state, reason) = match handled {
        Handled::Recorded => ("recorded", None),
        Handled::Ignored(why) => ("ignored", Some(why)),
        Handled::Refused(why) => ("refused", Some(why)),
    };
    sqlx::query(
        "update stripe_events set state = $2, reason = $3, handled_at = $4, about = $5 where id = $1",
    )
    .bind(id)
    .bind(state)
    .bind(reason)
    .bind(now)
    .bind(about.filter(|_| handled == Handled::Recorded))
    .execute(tx.conn())
    .await
    .during("note what became of an event")?;
    Ok(())
}

/// Takes the reconciler's turn: from when to read, or none when another node had it within `rest`. `first` is
/// where a server that never read begins.
///
/// # Errors
/// `Db` only.
pub async fn cursor_take(
    store: &Store,
    first: DateTime<Utc>,
    rest: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    const DURING: &str = "take the reconciler's turn";
    let row = sqlx::query(
        "insert into stripe_cursor as c (read_until, next_at) values ($1, $2)
         on conflict (one) do update set next_at = excluded.next_at where c.next_at <= $3
         returning read_until",
    )
    .bind(first)
    .bind(now + rest)
    .bind(now)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    row.map(|row| row.try_get(0)).transpose().during(DURING)
}

/// Moves the reconciler's place forward, never back.
///
/// # Errors
/// `Db` only.
pub async fn cursor_move(store: &Store, read_until: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query("update stripe_cursor set read_until = greatest(read_until, $1)")
        .bind(read_until)
        .execute(store.pool())
        .await
        .during("move the reconciler's place")?;
    Ok(())
}
