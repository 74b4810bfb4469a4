//! Ledger accounts: made on first use, balances in columns.

use std::collections::HashMap;

use sqlx::Row;
use types::{AccountId, Network, UsdMicros};
use uuid::Uuid;

use crate::{During, Store, StoreError, Tx};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$note])* $variant),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
            /// # Errors
            /// `Corrupt` for a word that the table's check does not know either.
            pub(crate) fn parse(word: &str) -> Result<Self, StoreError> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word)
                    .ok_or_else(|| StoreError::Corrupt(format!("{} {word}", stringify!($name))))
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What an account is for.
    LedgerKind {
        CustomerCredit = "customer_credit",
        CustomerTestCredit = "customer_test_credit",
        Revenue = "revenue",
        X402Clearing = "x402_clearing",
        StripeClearing = "stripe_clearing",
        RefundsPayable = "refunds_payable",
        Exposure = "exposure",
        ExposureContra = "exposure_contra",
        Suspense = "suspense",
        GasExpense = "gas_expense",
        BadDebt = "bad_debt",
        EmailCredits = "email_credits",
        EmailCreditsIssued = "email_credits_issued",
    }
}

impl LedgerKind {
    /// Whether debits may exceed credits: yes for what we hold elsewhere and for what it cost us, never for
    /// what we owe.
    pub fn may_be_negative(self) -> bool {
        match self {
            Self::Revenue
            | Self::X402Clearing
            | Self::StripeClearing
            | Self::ExposureContra
            | Self::GasExpense
            | Self::BadDebt
            | Self::EmailCreditsIssued => true,
            Self::CustomerCredit
            | Self::CustomerTestCredit
            | Self::RefundsPayable
            | Self::Exposure
            | Self::Suspense
            | Self::EmailCredits => false,
        }
    }
}

words! {
    /// Units that never mix. Test money is a currency of its own.
    Currency { Usd = "usd", TestUsd = "test_usd", Email = "email" }
}

impl Currency {
    /// What a deposit on this network is worth.
    pub fn of(network: Network) -> Self {
        if network.is_test() { Self::TestUsd } else { Self::Usd }
    }
}

/// Names an account; it is created on first use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRef {
    pub kind: LedgerKind,
    pub currency: Currency,
    /// The billing account for customer kinds, none for the platform's own.
    pub owner: Option<AccountId>,
    /// Network or product where a kind has several; empty otherwise.
    pub name: String,
}

impl AccountRef {
    /// What we owe a customer, in cash or in test money.
    pub fn customer(owner: AccountId, currency: Currency) -> Self {
        let kind = match currency {
            Currency::Usd => LedgerKind::CustomerCredit,
            Currency::TestUsd => LedgerKind::CustomerTestCredit,
            Currency::Email => LedgerKind::EmailCredits,
        };
        Self { kind, currency, owner: Some(owner), name: String::new() }
    }

    /// One of the platform's own accounts.
    pub fn platform(kind: LedgerKind, currency: Currency, name: &str) -> Self {
        Self { kind, currency, owner: None, name: name.to_owned() }
    }

    /// USDC that arrived at our payees on a network.
    pub fn x402_clearing(network: Network) -> Self {
        Self::platform(LedgerKind::X402Clearing, Currency::of(network), network.as_str())
    }

    /// Money seen on a network that nobody has claimed.
    pub fn suspense(network: Network) -> Self {
        Self::platform(LedgerKind::Suspense, Currency::of(network), network.as_str())
    }

    /// Credited below finality, and its counterpart.
    pub fn exposure(network: Network) -> (Self, Self) {
        let of = |kind| Self::platform(kind, Currency::of(network), network.as_str());
        (of(LedgerKind::ExposureContra), of(LedgerKind::Exposure))
    }

    pub fn revenue(product: &str, currency: Currency) -> Self {
        Self::platform(LedgerKind::Revenue, currency, product)
    }
}

/// An account's balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Credits less debits.
    pub posted: UsdMicros,
    /// The part of it that holds reserve.
    pub held: UsdMicros,
}

impl Balance {
    /// What may be spent now.
    pub fn available(self) -> UsdMicros {
        UsdMicros(self.posted.0 - self.held.0)
    }
}

/// A locked account and its balance as it stands in the transaction under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub id: i64,
    pub may_be_negative: bool,
    pub posted: i64,
    pub held: i64,
}

/// Finds or makes the accounts, then locks them in id order.
///
/// # Errors
/// `Db`, or `Constraint` when a kind is named in a currency it does not have.
pub(super) async fn accounts_locked(
    tx: &mut Tx,
    wanted: &[AccountRef],
) -> Result<HashMap<AccountRef, Account>, StoreError> {
    let mut wanted = wanted.to_vec();
    // One order for everybody: two writers that make the same accounts wait for each other only one way
    // round.
    wanted.sort();
    wanted.dedup();
    if let Some(ids) = tx.ledger_ids().of_all(&wanted) {
        let locked = lock(tx, &ids).await?;
        if wanted.iter().all(|name| locked.contains_key(name)) {
            return Ok(locked);
        }
        // Made by a transaction that did not commit, or the database is another one than before.
        tx.ledger_ids().forget(&wanted);
    }
    let mut ids = accounts_find(tx, &wanted).await?;
    tx.ledger_ids().remember(&ids);
    let missing: Vec<AccountRef> = wanted.iter().filter(|name| !ids.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        accounts_create(tx, &missing).await?;
        ids.extend(accounts_find(tx, &missing).await?);
    }
    let numbers: Vec<i64> = ids.values().copied().collect();
    let locked = lock(tx, &numbers).await?;
    if wanted.iter().all(|name| locked.contains_key(name)) {
        return Ok(locked);
    }
    Err(StoreError::NotFound("ledger account"))
}

async fn lock(tx: &mut Tx, ids: &[i64]) -> Result<HashMap<AccountRef, Account>, StoreError> {
    const DURING: &str = "lock ledger accounts";
    let rows = sqlx::query(
        "select id, kind, currency, owner, name, may_be_negative, posted, held from ledger_accounts
         where id = any($1) order by id for no key update",
    )
    .bind(ids)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let mut locked = HashMap::with_capacity(rows.len());
    for row in &rows {
        let name = AccountRef {
            kind: LedgerKind::parse(row.try_get("kind").during(DURING)?)?,
            currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
            owner: row.try_get::<Option<Uuid>, _>("owner").during(DURING)?.map(AccountId),
            name: row.try_get("name").during(DURING)?,
        };
        locked.insert(name, read_account(row).during(DURING)?);
    }
    Ok(locked)
}

fn read_account(row: &sqlx::postgres::PgRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: row.try_get("id")?,
        may_be_negative: row.try_get("may_be_negative")?,
        posted: row.try_get("posted")?,
        held: row.try_get("held")?,
    })
}

/// The parts of the names, as arrays for `unnest`.
struct Columns {
    kinds: Vec<&'static str>,
    currencies: Vec<&'static str>,
    owners: Vec<Option<Uuid>>,
    names: Vec<String>,
}

fn columns(names: &[AccountRef]) -> Columns {
    Columns {
        kinds: names.iter().map(|n| n.kind.as_str()).collect(),
        currencies: names.iter().map(|n| n.currency.as_str()).collect(),
        owners: names.iter().map(|n| n.owner.map(|o| o.0)).collect(),
        names: names.iter().map(|n| n.name.clone()).collect(),
    }
}

async fn accounts_find(tx: &mut Tx, names: &[AccountRef]) -> Result<HashMap<AccountRef, i64>, StoreError> {
    let parts = columns(names);
    // Two branches, so that each can walk the unique index: `is not distinct from` cannot.
    let rows = sqlx::query(
        "with wanted as (
           select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) with ordinality
             as w (kind, currency, owner, name, place))
         select w.place, a.id from wanted w join ledger_accounts a
           on a.kind = w.kind and a.currency = w.currency and a.owner = w.owner and a.name = w.name
         union all
         select w.place, a.id from wanted w join ledger_accounts a
           on w.owner is null and a.owner is null
           and a.kind = w.kind and a.currency = w.currency and a.name = w.name",
    )
    .bind(parts.kinds)
    .bind(parts.currencies)
    .bind(parts.owners)
    .bind(parts.names)
    .fetch_all(tx.conn())
    .await
    .during("find ledger accounts")?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let place: i64 = row.try_get(0).during("find ledger accounts")?;
        let name = usize::try_from(place - 1).ok().and_then(|i| names.get(i));
        let name = name.ok_or_else(|| StoreError::Corrupt("ordinality of ledger accounts".into()))?;
        found.insert(name.clone(), row.try_get(1).during("find ledger accounts")?);
    }
    Ok(found)
}

async fn accounts_create(tx: &mut Tx, names: &[AccountRef]) -> Result<(), StoreError> {
    let parts = columns(names);
    let negative: Vec<bool> = names.iter().map(|n| n.kind.may_be_negative()).collect();
    sqlx::query(
        "insert into ledger_accounts (kind, currency, owner, name, may_be_negative)
         select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bool[])
         on conflict on constraint ledger_account_identity do nothing",
    )
    .bind(parts.kinds)
    .bind(parts.currencies)
    .bind(parts.owners)
    .bind(parts.names)
    .bind(negative)
    .execute(tx.conn())
    .await
    .during("make ledger accounts")?;
    Ok(())
}

/// The balance of one account as last committed; zero when it was never used.
///
/// # Errors
/// `Db` only.
pub async fn balance_find(store: &Store, name: &AccountRef) -> Result<Balance, StoreError> {
    let row = sqlx::query(
        "select posted, held from ledger_accounts
         where kind = $1 and currency = $2 and name = $4 and (owner = $3 or ($3 is null and owner is null))",
    )
    .bind(name.kind.as_str())
    .bind(name.currency.as_str())
    .bind(name.owner.map(|o| o.0))
    .bind(&name.name)
    .fetch_optional(store.pool())
    .await
    .during("read a balance")?;
    row.map_or(Ok(Balance::default()), |row| read_balance(&row)).during("read a balance")
}

const OF_OWNER: &str = "select currency, posted, held from ledger_accounts where owner = $1";

/// A customer's balances as last committed, by currency; currencies never used are absent.
///
/// # Errors
/// `Db` only.
pub async fn balances_of_owner(
    store: &Store,
    owner: AccountId,
) -> Result<HashMap<Currency, Balance>, StoreError> {
    let rows = sqlx::query(OF_OWNER).bind(owner.0).fetch_all(store.pool()).await.during("read balances")?;
    read_balances(&rows)
}

/// The same as this transaction sees them, with what it posted itself.
///
/// # Errors
/// `Db` only.
pub async fn balances_within(
    tx: &mut Tx,
    owner: AccountId,
) -> Result<HashMap<Currency, Balance>, StoreError> {
    let rows = sqlx::query(OF_OWNER).bind(owner.0).fetch_all(tx.conn()).await.during("read balances")?;
    read_balances(&rows)
}

fn read_balances(rows: &[sqlx::postgres::PgRow]) -> Result<HashMap<Currency, Balance>, StoreError> {
    let mut balances = HashMap::new();
    for row in rows {
        let currency = Currency::parse(row.try_get("currency").during("read balances")?)?;
        balances.insert(currency, read_balance(row).during("read balances")?);
    }
    Ok(balances)
}

fn read_balance(row: &sqlx::postgres::PgRow) -> Result<Balance, sqlx::Error> {
    Ok(Balance { posted: UsdMicros(row.try_get("posted")?), held: UsdMicros(row.try_get("held")?) })
}
