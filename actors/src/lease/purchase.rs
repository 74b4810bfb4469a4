//! Buying a tier out of the balance.

use std::sync::Arc;

use billing::PriceTable;
use chrono::{NaiveTime, TimeDelta};
use store::Store;
use store::accounts::{account_usage, lease_find, purchase_answer_find};
use store::budgets::{Counted, Scope, Spend, budget_spend};
use store::ledger::{Currency, LedgerError, balances_within};
use types::{AccountId, Code, Problem, Tier, UsdMicros, Wallet};

use super::Reply;
use super::grant::{Grant, Told, order};
use super::refused;
use super::state::LeaseState;
use crate::Deps;
use crate::kit::ActorError;

/// What is bought, for whom, and the name of the request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub tier: Tier,
    pub wallet: Wallet,
    pub request_key: String,
}

/// Buys when the balance covers the price, all or nothing: test credit where test money buys this tier,
/// otherwise cash.
pub(super) async fn on_purchase(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    asked: Asked,
) -> Result<Reply, ActorError> {
    if let Some((tier, answer)) = purchase_answer_find(&deps.store, state.account, &asked.request_key).await?
    {
        return if tier == asked.tier { Ok(Reply::Answer(answer)) } else { Err(reused()) };
    }
    downgrade_check(&deps.store, &deps.prices, (state.account, asked.tier), deps.clock.now()).await?;
    let offer = deps.prices.offer(asked.tier);
    let monies = [(Currency::TestUsd, offer.takes_test_money()), (Currency::Usd, true)];
    for (currency, _) in monies.into_iter().filter(|(_, allowed)| *allowed) {
        if let Some(answer) = buy(deps, state, &asked, currency).await? {
            return Ok(Reply::Answer(answer));
        }
    }
    Ok(Reply::Uncovered)
}

/// One try with one money: `None` when its balance is too small.
async fn buy(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    asked: &Asked,
    currency: Currency,
) -> Result<Option<serde_json::Value>, ActorError> {
    let now = deps.clock.now();
    let order = order(&deps.prices, asked.tier, currency, state.effective(now));
    let key = format!("{}/{}", state.account, asked.request_key);
    let mut grant = Grant::decide(state, &order, key, deps.entropy.uuid());
    grant.purchase.request_key = Some(asked.request_key.clone());

    let mut tx = deps.store.fenced(&state.fence).await?;
    let spend = Spend {
        account: state.account,
        scope: Scope { wallet: Some(asked.wallet), project: None },
        currency,
        amount: order.price,
        at: now,
    };
    if let Counted::Exceeded { scope, limit, spent } = budget_spend(tx.tx(), &spend).await? {
        let balances = balances_within(tx.tx(), state.account).await?;
        tx.rollback().await?;
        let covered = balances.get(&currency).is_some_and(|b| b.available() >= order.price);
        // What the balance does not cover is paid otherwise: no budget limits a wallet's own money.
        return if covered { Err(exceeded(&spend, scope, (limit, spent))) } else { Ok(None) };
    }
    let legs = grant.legs();
    let told = Told::Now(Some(asked.wallet), &deps.prices);
    let answer = match grant.write(&mut tx, &legs, &told, now).await {
        Ok(answer) => answer,
        Err(LedgerError::Overdraft { .. }) => {
            tx.rollback().await?;
            return Ok(None);
        }
        Err(e) => return Err(refused(e)),
    };
    tx.commit().await?;
    grant.remember(state);
    Ok(Some(answer))
}

/// Refuses a lower tier that the account's usage does not fit, while the higher one runs. Asked before
/// anything is paid: once money has arrived, what was offered is honoured.
///
/// # Errors
/// `TIER_DOWNGRADE_NOT_ALLOWED`.
///
/// # Source
/// Wire contract 01, open question 6.
pub async fn downgrade_check(
    store: &Store,
    prices: &PriceTable,
    (account, tier): (AccountId, Tier),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), ActorError> {
    let held = lease_find(store, account).await?.filter(|l| now < l.ends_at && tier < l.tier);
    let Some(held) = held else { return Ok(()) };
    let (usage, limits) = (account_usage(store, account).await?, prices.limits(tier));
    if usage.storage_bytes <= limits.storage_bytes && usage.api_calls <= limits.api_calls {
        return Ok(());
    }
    let message =
        format!("usage does not fit {tier}; {} runs until {}", held.tier, types::rfc3339(held.ends_at));
    Err(Problem::new(Code::TierDowngradeNotAllowed, message)
        .detail("storage_bytes", usage.storage_bytes)
        .detail("storage_limit", limits.storage_bytes)
        .detail("api_calls", usage.api_calls)
        .detail("api_calls_limit", limits.api_calls)
        .extra(
            "usage",
            serde_json::json!({
                "api_calls": usage.api_calls,
                "limit": limits.api_calls,
                "storage_bytes": usage.storage_bytes,
                "storage_limit": limits.storage_bytes,
            }),
        )
        .into())
}

/// Which budget has less left, and when it starts anew.
pub(crate) fn exceeded(spend: &Spend, scope: Scope, (limit, spent): (UsdMicros, UsdMicros)) -> ActorError {
    let tomorrow = (spend.at.date_naive() + TimeDelta::days(1)).and_time(NaiveTime::MIN).and_utc();
    Problem::new(Code::BudgetExceeded, "a budget of the account does not allow this debit today")
        .extra("resets_at", types::rfc3339(tomorrow))
        .detail("wallet", scope.wallet.map(|wallet| wallet.to_string()))
        .detail("project_id", scope.project.map(|project| project.to_string()))
        .detail("limit_usd_micros", limit.0)
        .detail("spent_usd_micros", spent.0)
        .detail("amount_usd_micros", spend.amount.0)
        .into()
}

fn reused() -> ActorError {
    Problem::new(Code::IdempotencyKeyReused, "this key was used to buy another tier").into()
}
