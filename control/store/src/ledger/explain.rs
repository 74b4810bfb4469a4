//! Walks from a balance to where each cent came from: the log of a chain, the event of a card, the request.
//!
//! One snapshot, page by page, each page told before the next is read: memory does not grow with the account.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, UsdMicros};
use uuid::Uuid;

use super::accounts::LedgerKind;
use super::post::Kind;
use crate::{During, Store, StoreError, Tx};

/// Transfers read at once.
const PAGE: i64 = 500;

/// Which accounts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of a customer's.
    Owner(AccountId),
    /// The platform's of one kind, in every currency; of one name, when it is given.
    Platform { kind: LedgerKind, name: Option<String> },
}

/// A text that names no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an account: expected org_ and 32 hex digits, or KIND[/NAME] such as suspense or revenue/tier")]
pub struct BadAccount;

impl std::str::FromStr for Which {
    type Err = BadAccount;

    fn from_str(text: &str) -> Result<Self, BadAccount> {
        if let Ok(owner) = text.parse() {
            return Ok(Self::Owner(owner));
        }
        let (kind, name) = text.split_once('/').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let kind = LedgerKind::parse(kind).map_err(|_| BadAccount)?;
        Ok(Self::Platform { kind, name: name.map(str::to_owned) })
    }
}

/// An account that is explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: i64,
    pub kind: String,
    pub currency: String,
    pub name: String,
    pub owner: Option<AccountId>,
}

/// Where a transfer comes from, as far down as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A log of a chain.
    Log {
        network: String,
        block: i64,
        block_hash: String,
        tx: String,
        log_index: i32,
        /// The block is on the chain.
        canonical: bool,
    },
    /// A card's payment, by Stripe's own names, and the events that told of it, oldest first.
    Card { session: String, payment_intent: Option<String>, events: Vec<String> },
    /// A request that was paid from the balance, by its name.
    Request(String),
    /// A fact of another kind, such as a card's event: what it refers to.
    Fact(String),
}

/// One transfer, as the account sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub kind: Kind,
    pub reason: String,
    /// `source/source_id`: the name of the fact.
    pub fact: String,
    /// What it did to the balance, and to what is held of it.
    pub posted: UsdMicros,
    pub held: UsdMicros,
    /// The other side, as `kind name`.
    pub other: String,
    /// The transfer that it undoes: the origin is that one's.
    pub undoes: Option<i64>,
    pub payment: Option<types::PaymentId>,
    pub origin: Origin,
    /// The row's own word on the balance right after it agrees with the sum up to here.
    pub agrees: bool,
}

/// The end of an account's walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub transfers: u64,
    pub posted: UsdMicros,
    pub held: UsdMicros,
    /// What the books say: the account's columns, or its last row of that time.
    pub said_posted: UsdMicros,
    pub said_held: UsdMicros,
    /// The sums are the books', and every line agreed.
    pub adds_up: bool,
}

/// What the walk comes past.
#[derive(Debug)]
pub enum Told<'a> {
    Account(&'a Account),
    Line(&'a Account, &'a Line),
    Sum(&'a Account, &'a Sum),
}

/// Walks every account that is meant, as it stands or stood at `at`, and tells what it comes past. True when all of
/// it adds up; `None` when there is no such account.
///
/// At a time means: after the last transfer of the account that is not younger.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn explain(
    store: &Store,
    which: &Which,
    at: Option<DateTime<Utc>>,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Option<bool>, StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(tx.conn())
        .await
        .during("take a snapshot of the books")?;
    let accounts = accounts(&mut tx, which).await?;
    let mut good = true;
    for (account, columns) in &accounts {
        tell(Told::Account(account));
        let sum = walk(&mut tx, account, (at, *columns), tell).await?;
        tell(Told::Sum(account, &sum));
        good &= sum.adds_up;
    }
    tx.rollback().await?;
    Ok((!accounts.is_empty()).then_some(good))
}

type Columns = (i64, i64);

async fn accounts(tx: &mut Tx, which: &Which) -> Result<Vec<(Account, Columns)>, StoreError> {
    const DURING: &str = "find the accounts to explain";
    let (owner, kind, name) = match which {
        Which::Owner(owner) => (Some(owner.0), None, None),
        Which::Platform { kind, name } => (None, Some(kind.as_str()), name.as_deref()),
    };
    let rows = sqlx::query(
        "select id, kind, currency, name, owner, posted, held from ledger_accounts
         where ($1::uuid is null or owner = $1) and ($2::text is null or (kind = $2 and owner is null))
           and ($3::text is null or name = $3) order by kind, name, currency desc",
    )
    .bind(owner)
    .bind(kind)
    .bind(name)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let account = Account {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            currency: row.try_get("currency")?,
            name: row.try_get("name")?,
            owner: row.try_get::<Option<Uuid>, _>("owner")?.map(AccountId),
        };
        Ok((account, (row.try_get("posted")?, row.try_get("held")?)))
    };
    rows.iter().map(read).collect::<Result<_, _>>().during(DURING)
}

async fn walk(
    tx: &mut Tx,
    account: &Account,
    (at, columns): (Option<DateTime<Utc>>, Columns),
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Sum, StoreError> {
    let last = match at {
        None => i64::MAX,
        Some(at) => last_before(tx, account.id, at).await?,
    };
    let (mut sum, mut running, mut after) = (Sum { adds_up: true, ..Sum::default() }, (0_i64, 0_i64), 0);
    let mut said = (0, 0);
    loop {
        let rows = sqlx::query(LINES)
            .bind(account.id)
            .bind(after)
            .bind(last)
            .bind(PAGE)
            .fetch_all(tx.conn())
            .await
            .during("walk an account")?;
        for row in &rows {
            let mut line = line(row)?;
            said = (row.try_get("posted_after").during(READ)?, row.try_get("held_after").during(READ)?);
            running = (running.0.saturating_add(line.posted.0), running.1.saturating_add(line.held.0));
            line.agrees = running == said;
            sum.adds_up &= line.agrees;
            sum.transfers += 1;
            after = line.id;
            tell(Told::Line(account, &line));
        }
        if rows.is_empty() {
            break;
        }
    }
    let said = if at.is_none() { columns } else { said };
    (sum.posted, sum.held) = (UsdMicros(running.0), UsdMicros(running.1));
    (sum.said_posted, sum.said_held) = (UsdMicros(said.0), UsdMicros(said.1));
    sum.adds_up &= running == said;
    Ok(sum)
}

/// The account's last transfer at a time; 0 before the first.
async fn last_before(tx: &mut Tx, account: i64, at: DateTime<Utc>) -> Result<i64, StoreError> {
    sqlx::query(
        "select coalesce(max(id), 0) from (
           (select id from ledger_transfers where debit = $1 and created_at <= $2 order by id desc limit 1)
           union all
           (select id from ledger_transfers where credit = $1 and created_at <= $2 order by id desc limit 1)) t",
    )
    .bind(account)
    .bind(at)
    .fetch_one(tx.conn())
    .await
    .and_then(|row| row.try_get(0))
    .during("find the last transfer of a time")
}

/// The account's transfers in order. `o` is the transfer itself, or the one that it undoes: whatever explains that
/// one explains this one. The casts are guarded, because other sources name their facts otherwise.
const LINES: &str = "
    select t.id, t.created_at, t.kind, t.reason, t.source, t.source_id, t.amount, t.reverses,
      t.credit = $1 as credits, x.kind as other_kind, x.name as other_name, x.owner as other_owner,
      case when t.credit = $1 then t.credit_posted_after else t.debit_posted_after end as posted_after,
      case when t.credit = $1 then t.credit_held_after else t.debit_held_after end as held_after,
      o.source as origin_source, o.source_id as origin_id, o.reference_type, o.reference_id, b.request_key,
      k.session_id, k.payment_intent, e.events, p.id as payment, s.network, s.block_number, s.block_hash, s.tx_hash,
      s.log_index, s.canonical
    from (
      (select * from ledger_transfers where debit = $1 and id > $2 and id <= $3 order by id limit $4)
      union all
      (select * from ledger_transfers where credit = $1 and id > $2 and id <= $3 order by id limit $4)
      order by id limit $4) t
    join ledger_accounts x on x.id = case when t.credit = $1 then t.debit else t.credit end
    join ledger_transfers o on o.id = coalesce(t.reverses, t.id)
    left join purchases b on b.link = o.link
    left join card_checkouts k on o.reference_type = 'stripe_session' and k.session_id = o.reference_id
    left join lateral (
      select coalesce(array_agg(v.id order by v.said_at, v.id), '{}') as events
      from stripe_events v where v.about in (k.session_id, k.payment_intent)) e on k.id is not null
    left join lateral (
      select q.* from payments q where o.source in ('x402', 'exposure')
        and q.network = split_part(o.source_id, '/', 1) and q.asset = split_part(o.source_id, '/', 2)
        and q.payer = split_part(o.source_id, '/', 3) and q.nonce = case when o.source in ('x402', 'exposure')
          then decode(substr(split_part(o.source_id, '/', 4), 3), 'hex') end
      union all
      select q.* from payments q where o.source not in ('x402', 'exposure') and q.id = b.payment_id
      limit 1) p on true
    left join lateral (
      select q.* from sightings q where o.source in ('sighting', 'suspense_resolution')
        and q.network = split_part(o.source_id, '/', 1)
        and q.block_hash = case when o.source in ('sighting', 'suspense_resolution')
          then decode(substr(split_part(o.source_id, '/', 2), 3), 'hex') end
        and q.log_index = case when o.source in ('sighting', 'suspense_resolution')
          then split_part(o.source_id, '/', 3)::integer end
      union all
      (select q.* from sightings q where o.source not in ('sighting', 'suspense_resolution')
        and q.network = p.network and q.asset = p.asset and q.payer = p.payer and q.nonce = p.nonce
        and q.pay_to = p.pay_to and q.amount_micros = p.amount_micros
       order by q.canonical desc, q.block_number desc limit 1)
      limit 1) s on true
    order by t.id";

const READ: &str = "read a line of an account";

fn line(row: &PgRow) -> Result<Line, StoreError> {
    let kind = Kind::parse(row.try_get("kind").during(READ)?)?;
    let amount: i64 = row.try_get("amount").during(READ)?;
    let credits: bool = row.try_get("credits").during(READ)?;
    let (posted, held) = match (kind, credits) {
        (Kind::Post | Kind::Capture, true) => (amount, 0),
        (Kind::Post, false) => (-amount, 0),
        (Kind::Capture, false) => (-amount, -amount),
        (Kind::Hold, false) => (0, amount),
        (Kind::Void, false) => (0, -amount),
        // Reserved for this account, and not here yet.
        (Kind::Hold | Kind::Void, true) => (0, 0),
    };
    let text = |name: &str| row.try_get::<String, _>(name).during(READ);
    let owner = row.try_get::<Option<Uuid>, _>("other_owner").during(READ)?.map(AccountId);
    let other_name = owner.map_or(text("other_name")?, |owner| owner.to_string());
    let other = format!("{} {other_name}", text("other_kind")?);
    Ok(Line {
        id: row.try_get("id").during(READ)?,
        at: row.try_get("created_at").during(READ)?,
        kind,
        reason: text("reason")?,
        fact: format!("{}/{}", text("source")?, text("source_id")?),
        posted: UsdMicros(posted),
        held: UsdMicros(held),
        other: other.trim_end().to_owned(),
        undoes: row.try_get("reverses").during(READ)?,
        payment: row.try_get::<Option<Uuid>, _>("payment").during(READ)?.map(types::PaymentId),
        origin: origin(row)?,
        agrees: true,
    })
}

fn origin(row: &PgRow) -> Result<Origin, StoreError> {
    let text = |name: &str| row.try_get::<Option<String>, _>(name).during(READ);
    let hex = |name: &str| -> Result<String, StoreError> {
        Ok(format!("0x{}", hex::encode(row.try_get::<Vec<u8>, _>(name).during(READ)?)))
    };
    if let Some(network) = text("network")? {
        return Ok(Origin::Log {
            network,
            block: row.try_get("block_number").during(READ)?,
            block_hash: hex("block_hash")?,
            tx: hex("tx_hash")?,
            log_index: row.try_get("log_index").during(READ)?,
            canonical: row.try_get("canonical").during(READ)?,
        });
    }
    if let Some(session) = text("session_id")? {
        let events = row.try_get("events").during(READ)?;
        return Ok(Origin::Card { session, payment_intent: text("payment_intent")?, events });
    }
    if let Some(request) = text("request_key")? {
        return Ok(Origin::Request(request));
    }
    let fact =
        format!("{}/{}", text("origin_source")?.unwrap_or_default(), text("origin_id")?.unwrap_or_default());
    let reference = text("reference_type")?.zip(text("reference_id")?);
    Ok(Origin::Fact(match reference {
        Some((kind, id)) => format!("{fact} ({kind} {id})"),
        None => fact,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_customers_or_one_of_the_platforms() {
        let org = format!("org_{}", "1".repeat(32));
        assert!(matches!(org.parse(), Ok(Which::Owner(_))));
        let tier = Which::Platform { kind: LedgerKind::Revenue, name: Some("tier".to_owned()) };
        assert_eq!("revenue/tier".parse(), Ok(tier));
        assert_eq!("suspense".parse(), Ok(Which::Platform { kind: LedgerKind::Suspense, name: None }));
        assert!(["", "x", "org_1", "Revenue"].iter().all(|text| text.parse::<Which>().is_err()));
    }
}
