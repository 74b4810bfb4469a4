//! What a simulator asks of the control database: to forget everything, and what has changed since it last looked.
//!
//! Only for a database that holds nothing but simulated facts: `wipe` and `renew` destroy what is there.

use serde_json::Value;
use sqlx::{Executor, Row};

use crate::{During, Store, StoreError};

/// How far a reader of changes has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// The newest transfer and the newest purchase that were read.
    pub transfer: i64,
    pub purchase: i64,
    /// Rows that older transactions wrote were read.
    pub transaction: i64,
}

/// Makes every table anew, whatever version of the schema was there.
///
/// # Errors
/// `Db`, and `Migrate` for migrations that do not run.
pub async fn renew(store: &Store) -> Result<(), StoreError> {
    let anew = "drop schema public cascade; create schema public";
    store.pool().execute(anew).await.during("drop every table")?;
    store.migrate().await
}

/// Empties every table and starts all counting again.
///
/// # Errors
/// `Db` only.
pub async fn wipe(store: &Store) -> Result<(), StoreError> {
    // The triggers that make the ledger append-only do not fire for a replica.
    let sql = "
      begin;
      set local session_replication_role = replica;
      do $$ begin
        execute (select 'truncate ' || string_agg(format('%I', tablename), ', ') || ' restart identity'
          from pg_tables where schemaname = 'public' and tablename <> '_sqlx_migrations');
      end $$;
      alter sequence claim_epochs restart;
      commit";
    store.pool().execute(sql).await.during("empty every table")?;
    Ok(())
}

/// Everything of the books that changed since `mark`, as one JSON object of arrays, and how Stripe's events and
/// balance stand; `mark` is moved on. Leases, budgets and
/// cursors are always all there. A row may come twice.
///
/// # Errors
/// `Db` only.
pub async fn changes(store: &Store, mark: &mut Mark) -> Result<Value, StoreError> {
    const DURING: &str = "read what changed";
    let row = sqlx::query(CHANGES)
        .bind(mark.transfer)
        .bind(mark.purchase)
        .bind(mark.transaction)
        .fetch_one(store.pool())
        .await
        .during(DURING)?;
    let changes: Value = row.try_get(0).during(DURING)?;
    mark.transaction = row.try_get(1).during(DURING)?;
    let newest = |rows: &str| changes[rows].as_array()?.last()?["id"].as_i64();
    mark.transfer = newest("transfers").unwrap_or(mark.transfer);
    mark.purchase = newest("purchases").unwrap_or(mark.purchase);
    Ok(changes)
}

const CHANGES: &str = "
  select json_build_object(
    'transfers', (select coalesce(json_agg(t order by t.id), '[]') from (
      select id, source, source_id, kind, currency, debit, credit, amount, reverses, link,
        metadata->>'drawn' as drawn from ledger_transfers where id > $1) t),
    'purchases', (select coalesce(json_agg(p order by p.id), '[]') from (
      select id, account_id, action, tier, previous_tier, price_micros, currency, link, payment_id, request_key,
        revokes, starts_at, ends_at, created_at from purchases where id > $2) p),
    'payments', (select coalesce(json_agg(p), '[]') from (
      select id, network, network || '/' || asset || '/' || payer || '/0x' || encode(nonce, 'hex') as name, payer,
        encode(nonce, 'hex') as nonce, pay_to, amount_micros, product, account_id, state, credits, block_number,
        finalized_at is not null as final from payments where xmin::text::bigint >= $3 order by id) p),
    'sightings', (select coalesce(json_agg(s), '[]') from (
      select network || '/0x' || encode(block_hash, 'hex') || '/' || log_index as log, turn, block_number,
        network || '/' || asset || '/' || payer || '/0x' || encode(nonce, 'hex') as authorisation, pay_to,
        amount_micros, canonical, in_suspense, ours from sightings where xmin::text::bigint >= $3
      order by block_number, log_index) s),
    'accounts', (select coalesce(json_agg(a), '[]') from (
      select id, kind, owner, currency, may_be_negative, posted, held from ledger_accounts
      where xmin::text::bigint >= $3 order by id) a),
    'resolutions', (select coalesce(json_agg(r), '[]') from (
      select sighting, amount_micros, outcome from suspense_resolutions where xmin::text::bigint >= $3) r),
    'checkouts', (select coalesce(json_agg(c), '[]') from (
      select 'top_' || replace(id::text, '-', '') as name, product, amount_micros, account_id, paid_at is not null
        as paid, facts_revision > posted_revision as due, deposited, refunded_micros, disputed_micros, link
      from card_checkouts where xmin::text::bigint >= $3 order by id) c),
    'stripe', (select json_build_object(
      'pending', (select count(*) from stripe_events where state = 'pending'),
      'refused', (select json_agg(type || ': ' || reason) from stripe_events where state = 'refused'),
      'charging', (select count(*) from email_recharges where running is not null),
      'unmatched', (select json_agg(distinct payment_intent) from stripe_balance where not matched),
      'alarmed', (select json_agg(distinct payment_intent) from stripe_balance where alarmed_at is not null))),
    'budgets', (select coalesce(json_agg(b), '[]') from (
      select b.id, b.account_id, b.limit_micros, coalesce((select json_object_agg(d.day, d.spent_micros)
        from budget_days d where d.budget_id = b.id and d.currency = 'test_usd'), '{}') as spent
      from budgets b order by b.id) b),
    'leases', (select coalesce(json_agg(l), '[]') from (
      select account_id, tier, started_at, ends_at from leases order by account_id) l),
    'cursors', (select coalesce(json_agg(c), '[]') from (
      select network, next_block, halted_reason, safe_block, finalized_block from chain_cursors order by network) c)),
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
