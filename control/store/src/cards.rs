//! Card payments: our quotes, what Stripe said about them, and how far the books have got.
//!
//! Facts only grow (paid once, refunded so much, disputes that reach later stages), so that the order in which
//! they are told and how often does not matter. The books follow: whatever the facts amount to and is not
//! posted yet is posted by the lease actor of the account, step by step.

mod facts;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, CheckoutId, UsdMicros, Wallet};
use uuid::Uuid;

use crate::accounts::{account_insert, account_wallet_insert};
use crate::{During, FencedTx, Store, StoreError, Tx};

pub use facts::{
    DisputeFact, SessionFact, card_checkout_of_session, card_dispute_record, card_intent_lock,
    card_refund_record, card_session_bind, card_session_record, card_withdrawn,
};

/// What a card buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardProduct {
    TopUp,
    Tier,
    EmailPack,
}

impl CardProduct {
    pub const ALL: [Self; 3] = [Self::TopUp, Self::Tier, Self::EmailPack];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "topup",
            Self::Tier => "tier",
            Self::EmailPack => "email_pack",
        }
    }
}

/// Who a checkout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardBuyer {
    Account(AccountId),
    /// A wallet that no account was opened for: one is opened when its money arrives, not when somebody types
    /// its address.
    Wallet(Wallet),
}

/// A quote to be stored before Stripe is asked.
#[derive(Debug, Clone)]
pub struct NewCheckout {
    pub id: CheckoutId,
    pub product: CardProduct,
    /// The tier, where the product is one; empty otherwise.
    pub product_key: String,
    /// What the card is charged, in whole cents.
    pub amount: UsdMicros,
    /// What of it the product costs; the rest stays as credit.
    pub price: UsdMicros,
    pub livemode: bool,
    pub buyer: CardBuyer,
    pub wallet: Option<Wallet>,
    /// Charged without the customer, on a saved card.
    pub off_session: bool,
}

/// A quote as it stands.
#[derive(Debug, Clone)]
pub struct Checkout {
    pub id: CheckoutId,
    pub product: CardProduct,
    pub product_key: String,
    pub amount: UsdMicros,
    pub price: UsdMicros,
    pub livemode: bool,
    pub wallet: Option<Wallet>,
    pub account: Option<AccountId>,
    pub session_id: Option<String>,
    pub payment_intent: Option<String>,
    pub paid_at: Option<DateTime<Utc>>,
    pub facts_revision: i64,
    pub posted_revision: i64,
    pub deposited: bool,
    /// What the books have taken back.
    pub refunded: UsdMicros,
    pub disputed: UsdMicros,
    pub steps: i32,
    /// The journal of the deposit.
    pub link: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// Stores a quote.
///
/// # Errors
/// `Constraint` when the same quote is stored twice.
pub async fn checkout_insert(tx: &mut Tx, new: &NewCheckout, now: DateTime<Utc>) -> Result<(), StoreError> {
    let (account, unseen) = match new.buyer {
        CardBuyer::Account(account) => (Some(account.0), None),
        CardBuyer::Wallet(wallet) => (None, Some(wallet)),
    };
    sqlx::query(
        "insert into card_checkouts (id, product, product_key, amount_micros, price_micros, livemode, wallet,
           account_id, off_session, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
    )
    .bind(new.id.0)
    .bind(new.product.as_str())
    .bind(&new.product_key)
    .bind(new.amount.0)
    .bind(new.price.0)
    .bind(new.livemode)
    .bind(new.wallet.or(unseen).map(|w| w.to_string()))
    .bind(account)
    .bind(new.off_session)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("store a checkout")?;
    Ok(())
}

const COLUMNS: &str = "id, product, product_key, amount_micros, price_micros, livemode, wallet, account_id,
  session_id, payment_intent, paid_at, facts_revision, posted_revision, deposited, refunded_micros,
  disputed_micros, steps, link, created_at";

/// # Errors
/// `Db`, `Corrupt`.
pub async fn checkout_find(store: &Store, id: CheckoutId) -> Result<Option<Checkout>, StoreError> {
    let sql = format!("select {COLUMNS} from card_checkouts where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a checkout")?;
    row.map(|row| read(&row)).transpose()
}

/// Locks a checkout until the transaction ends.
///
/// # Errors
/// `NotFound`.
pub async fn checkout_locked(tx: &mut Tx, id: CheckoutId) -> Result<Checkout, StoreError> {
    let sql = format!("select {COLUMNS} from card_checkouts where id = $1 for update");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock a checkout")?;
    row.map(|row| read(&row)).transpose()?.ok_or(StoreError::NotFound("checkout"))
}

/// Checkouts whose facts the books do not have yet, with their accounts.
///
/// # Errors
/// `Db` only.
pub async fn checkouts_to_post(
    store: &Store,
    limit: i64,
) -> Result<Vec<(AccountId, CheckoutId)>, StoreError> {
    const DURING: &str = "list checkouts to post";
    let rows = sqlx::query(
        "select account_id, id from card_checkouts
         where facts_revision > posted_revision and account_id is not null order by updated_at, id
         limit $1",
    )
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    rows.iter()
        .map(|row| Ok((AccountId(row.try_get(0)?), CheckoutId(row.try_get(1)?))))
        .collect::<Result<_, sqlx::Error>>()
        .during(DURING)
}

/// What the books have of a checkout.
#[derive(Debug, Clone, Copy)]
pub struct CheckoutPosted {
    pub deposited: bool,
    pub refunded: UsdMicros,
    pub disputed: UsdMicros,
    pub steps: i32,
    pub link: Option<Uuid>,
    /// The facts that this is all of; none while there are more steps to post.
    pub revision: Option<i64>,
}

/// Notes what was posted, in the commit that posts it.
///
/// # Errors
/// `NotFound`.
pub async fn checkout_posted(
    tx: &mut FencedTx,
    id: CheckoutId,
    posted: &CheckoutPosted,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update card_checkouts set deposited = $2, refunded_micros = $3, disputed_micros = $4, steps = $5,
           link = $6, posted_revision = coalesce($7, posted_revision), updated_at = $8 where id = $1",
    )
    .bind(id.0)
    .bind(posted.deposited)
    .bind(posted.refunded.0)
    .bind(posted.disputed.0)
    .bind(posted.steps)
    .bind(posted.link)
    .bind(posted.revision)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note what was posted of a checkout")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound("checkout")) }
}

/// The account that a paid checkout is credited to: that of the wallet as it is when the money arrives, unless
/// an account asked for it. Opens one for a wallet that has none. The checkout's row is locked.
pub(crate) async fn account_bind(
    tx: &mut Tx,
    checkout: &Checkout,
    fresh: AccountId,
    now: DateTime<Utc>,
) -> Result<AccountId, StoreError> {
    const DURING: &str = "find whom a card payment is for";
    if let Some(account) = checkout.account {
        return Ok(account);
    }
    let wallet = checkout.wallet.ok_or_else(|| StoreError::Corrupt("checkout without a buyer".into()))?;
    account_insert(tx, fresh, now).await?;
    account_wallet_insert(tx, fresh, wallet, now).await?;
    let row = sqlx::query("select account_id from account_wallets where wallet = $1")
        .bind(wallet.to_string())
        .fetch_one(tx.conn())
        .await
        .during(DURING)?;
    let account = AccountId(row.try_get(0).during(DURING)?);
    if account != fresh {
        sqlx::query("delete from accounts where id = $1")
            .bind(fresh.0)
            .execute(tx.conn())
            .await
            .during(DURING)?;
    }
    sqlx::query("update card_checkouts set account_id = $2 where id = $1")
        .bind(checkout.id.0)
        .bind(account.0)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    Ok(account)
}

/// Journals that hold what an account still owes since card money was taken back: live write-offs, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn card_debt_links(tx: &mut Tx, account: AccountId) -> Result<Vec<Uuid>, StoreError> {
    const DURING: &str = "find card debts";
    let rows = sqlx::query(
        "select t.link from ledger_transfers t join ledger_accounts a on a.id = t.credit
         where a.owner = $1 and t.source = 'write_off' and t.source_id like 'card/%'
           and not exists (select from ledger_transfers r where r.reverses = t.id)
         group by t.link order by min(t.id)",
    )
    .bind(account.0)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during(DURING)
}

/// Writes on the account what it owes now, as the ledger has it.
///
/// # Errors
/// `Db` only.
pub async fn card_debt_write(tx: &mut FencedTx, account: AccountId) -> Result<(), StoreError> {
    sqlx::query(
        "update accounts set card_debt_micros = (
           select coalesce(sum(t.amount), 0)::bigint
           from ledger_transfers t join ledger_accounts a on a.id = t.credit
           where a.owner = $1 and t.source = 'write_off' and t.source_id like 'card/%'
             and not exists (select from ledger_transfers r where r.reverses = t.id))
         where id = $1",
    )
    .bind(account.0)
    .execute(tx.conn())
    .await
    .during("write a card debt")?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Checkout, StoreError> {
    const DURING: &str = "read a checkout";
    let product: String = row.try_get("product").during(DURING)?;
    let product = CardProduct::ALL.into_iter().find(|p| p.as_str() == product);
    let wallet: Option<String> = row.try_get("wallet").during(DURING)?;
    let wallet = wallet.map(|text| text.parse().map_err(|_| StoreError::Corrupt(format!("wallet {text}"))));
    Ok(Checkout {
        id: CheckoutId(row.try_get("id").during(DURING)?),
        product: product.ok_or_else(|| StoreError::Corrupt("product of a checkout".into()))?,
        product_key: row.try_get("product_key").during(DURING)?,
        amount: UsdMicros(row.try_get("amount_micros").during(DURING)?),
        price: UsdMicros(row.try_get("price_micros").during(DURING)?),
        livemode: row.try_get("livemode").during(DURING)?,
        wallet: wallet.transpose()?,
        account: row.try_get::<Option<Uuid>, _>("account_id").during(DURING)?.map(AccountId),
        session_id: row.try_get("session_id").during(DURING)?,
        payment_intent: row.try_get("payment_intent").during(DURING)?,
        paid_at: row.try_get("paid_at").during(DURING)?,
        facts_revision: row.try_get("facts_revision").during(DURING)?,
        posted_revision: row.try_get("posted_revision").during(DURING)?,
        deposited: row.try_get("deposited").during(DURING)?,
        refunded: UsdMicros(row.try_get("refunded_micros").during(DURING)?),
        disputed: UsdMicros(row.try_get("disputed_micros").during(DURING)?),
        steps: row.try_get("steps").during(DURING)?,
        link: row.try_get("link").during(DURING)?,
        created_at: row.try_get("created_at").during(DURING)?,
    })
}
