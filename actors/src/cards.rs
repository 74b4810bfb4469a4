//! What Stripe told us, and what it would have told us: stored events become facts about checkouts, and the
//! lease actor of each account posts what the facts amount to.
//!
//! **Failure story.** An event is durable before its delivery is acknowledged. Here it becomes a fact in one
//! commit; a crash before that leaves it pending, after it the checkout is due for posting. Both are rows that
//! the next tick finds, on whichever node.

use std::sync::Arc;
use std::time::Duration;

use billing::stripe::Cards;
use billing::stripe::event::{CENT, DisputeSaid, Event, Fact, SessionSaid};
use billing::stripe::quote::Quote;
use chrono::TimeDelta;
use store::StoreError;
use store::Tx;
use store::accounts::account_exists;
use store::cards::{
    Checkout, DisputeFact, SessionFact, card_checkout_of_session, card_dispute_record, card_intent_lock,
    card_refund_record, card_session_record, checkout_insert, checkout_locked, checkouts_to_post,
};
use store::stripe_events::{
    Handled, NewEvent, Via, cursor_move, cursor_take, event_handled, event_locked, event_store,
    events_pending,
};
use types::{AccountId, CheckoutId, kill_point};

use crate::kit::ActorError;
use crate::{Deps, card_balance, lease};

/// Events that one tick takes, and checkouts that it posts.
const ROWS_MAX: i64 = 500;
const POST_WITHIN: Duration = Duration::from_secs(20);
/// Accounts that are posted to at once.
const POSTS_AT_ONCE: usize = 8;
/// How long Stripe keeps events.
const KEPT_DAYS: i64 = 30;
/// Read again each time: an event may show up later than the time it carries.
const OVERLAP_MINUTES: i64 = 60;
/// A webhook that is later than this was missed, not slow.
const LATE_MINUTES: i64 = 10;

/// Turns pending events into facts, and asks for the facts to be posted.
///
/// # Errors
/// What the store says; whatever is left is the next tick's.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    if let Some(cards) = &deps.cards {
        for id in events_pending(&deps.store, ROWS_MAX).await? {
            record(deps, cards, &id).await?;
        }
    }
    post(deps).await
}

/// Asks the owners of all accounts with facts that the books do not have.
async fn post(deps: &Arc<Deps>) -> Result<(), ActorError> {
    use futures::StreamExt;
    let due = checkouts_to_post(&deps.store, ROWS_MAX).await?;
    let asked = due.into_iter().map(|(account, checkout)| async move {
        let request = lease::Request::Card { checkout };
        deps.actors().lease.call(account, request, POST_WITHIN).await
    });
    let outcomes: Vec<_> = futures::stream::iter(asked).buffer_unordered(POSTS_AT_ONCE).collect().await;
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

/// Records the fact of one event.
async fn record(deps: &Deps, cards: &Cards, id: &str) -> Result<(), ActorError> {
    let mut tx = deps.store.begin().await?;
    let Some(body) = event_locked(&mut tx, id).await? else { return Ok(()) };
    let event = Event::parse(&body);
    let handled = match &event {
        Ok(event) => match fact(deps, cards, &mut tx, event).await {
            Ok(handled) => handled,
            // A name that belongs to another checkout: told again it would be no different.
            Err(StoreError::Constraint(name)) => {
                tracing::error!(event.id = id, constraint = %name, "an event contradicts what is known");
                tx.rollback().await?;
                tx = deps.store.begin().await?;
                Handled::Refused("it contradicts what is known")
            }
            Err(e) => return Err(e.into()),
        },
        Err(_) => Handled::Refused("unreadable"),
    };
    if let Handled::Refused(why) = handled {
        tracing::error!(event.id = id, why, "an event of Stripe is not believed");
    }
    let about = event.as_ref().ok().and_then(Event::subject);
    event_handled(&mut tx, id, (handled, about), deps.clock.now()).await?;
    tx.commit().await?;
    kill_point!("card.event.recorded");
    Ok(())
}

async fn fact(deps: &Deps, cards: &Cards, tx: &mut Tx, event: &Event) -> Result<Handled, StoreError> {
    if event.livemode != cards.livemode {
        return Ok(Handled::Ignored("of the other mode"));
    }
    if event.account.is_some() && event.account != cards.account {
        return Ok(Handled::Ignored("of another account"));
    }
    let now = deps.clock.now();
    match &event.fact {
        Fact::Other => Ok(Handled::Ignored("of a type that is not acted on")),
        Fact::Unreadable(why) => Ok(Handled::Refused(why)),
        Fact::Session(said) => session(deps, tx, event, said).await,
        Fact::Refunded { payment_intent: Some(intent), refunded } => {
            card_intent_lock(tx, intent).await?;
            card_refund_record(tx, intent, *refunded, now).await?;
            Ok(Handled::Recorded)
        }
        Fact::Dispute(DisputeSaid { id, payment_intent: Some(intent), amount, status, stage }) => {
            card_intent_lock(tx, intent).await?;
            let (amount, stage, said_at) = (*amount, *stage, event.said_at);
            let fact = DisputeFact { id, payment_intent: intent, amount, status, stage, said_at };
            card_dispute_record(tx, &fact, now).await?;
            Ok(Handled::Recorded)
        }
        Fact::Refunded { .. } | Fact::Dispute(_) => Ok(Handled::Ignored("about no payment intent")),
    }
}

async fn session(deps: &Deps, tx: &mut Tx, event: &Event, said: &SessionSaid) -> Result<Handled, StoreError> {
    if let Some(intent) = &said.payment_intent {
        card_intent_lock(tx, intent).await?;
    }
    let ours = said.client_reference_id.as_deref().and_then(|id| id.parse().ok());
    let checkout = match card_checkout_of_session(tx, &said.id, ours).await? {
        Some(checkout) => checkout,
        None => match quote_restore(deps, tx, ours, said.quote.as_deref()).await? {
            Ok(checkout) => checkout,
            Err(handled) => return Ok(handled),
        },
    };
    // What was paid is what we quoted, or a person looks: nothing in an event makes an amount.
    let quoted = (Some(checkout.amount.0), Some("usd"));
    let paid = said.amount_total_cents.and_then(|cents| cents.checked_mul(CENT));
    if said.paid && (paid, said.currency.as_deref()) != quoted {
        return Ok(Handled::Refused("paid is not what was quoted"));
    }
    if event.livemode != checkout.livemode {
        return Ok(Handled::Refused("of another mode than its quote"));
    }
    let fact = SessionFact {
        session_id: &said.id,
        payment_intent: said.payment_intent.as_deref(),
        paid: said.paid,
        failed: said.failed,
        said_at: event.said_at,
    };
    let fresh = AccountId::new(&*deps.entropy);
    let written = card_session_record(tx, &checkout, &fact, fresh, deps.clock.now()).await?;
    Ok(written.map_or_else(Handled::Refused, |()| Handled::Recorded))
}

/// Stores the quote of a session once more. The database lacks it when it is older than its quotes: a backup.
async fn quote_restore(
    deps: &Deps,
    tx: &mut Tx,
    ours: Option<CheckoutId>,
    sealed: Option<&str>,
) -> Result<Result<Checkout, Handled>, StoreError> {
    let quote = ours.zip(sealed).and_then(|(id, text)| Quote::open(&deps.master_key, id, text));
    let Some(quote) = quote else {
        return Ok(Err(Handled::Ignored("about a session that is not ours")));
    };
    let (id, told) = (quote.id, quote.account);
    let known = match told {
        Some(account) => account_exists(tx, account).await?.then_some(account),
        None => None,
    };
    let Some(new) = quote.into_new(known) else {
        return Ok(Err(Handled::Refused("paid for an account that the database does not have")));
    };
    checkout_insert(tx, &new, deps.wall.now()).await?;
    tracing::warn!(checkout.id = %id, "a quote that the database lacked is restored from its session at Stripe");
    checkout_locked(tx, id).await.map(Ok)
}

/// Asks Stripe for its events since the last time, and stores those that no webhook brought.
///
/// # Errors
/// `Unavailable` when Stripe does not answer; the next tick asks again.
pub async fn reconcile(deps: &Arc<Deps>) -> Result<(), ActorError> {
    let Some(cards) = &deps.cards else { return Ok(()) };
    // Stripe's time, which a lab's moved clock is not.
    let now = deps.wall.now();
    let kept_since = now - TimeDelta::days(KEPT_DAYS);
    let rest = TimeDelta::seconds(i64::try_from(cards.reconcile_secs).unwrap_or(i64::MAX / 1000));
    // Who never read begins with what Stripe still has.
    let first = kept_since + TimeDelta::minutes(OVERLAP_MINUTES);
    let Some(read_until) = cursor_take(&deps.store, first, rest, now).await? else { return Ok(()) };
    if read_until < kept_since {
        tracing::error!(read_until = %types::rfc3339(read_until),
            "events of Stripe are lost: it keeps them for 30 days; compare its balance by hand");
    }
    let since = (read_until - TimeDelta::minutes(OVERLAP_MINUTES)).max(kept_since);
    let events = cards.events_since(since.timestamp()).await.map_err(|e| {
        tracing::warn!(error = %e, "the reconciler cannot read events");
        ActorError::Unavailable("stripe")
    })?;
    let mut missed = 0;
    for value in &events {
        let body = value.to_string().into_bytes();
        let Ok(event) = Event::parse(&body) else { continue };
        let stored = NewEvent {
            id: &event.id,
            kind: &event.kind,
            livemode: event.livemode,
            said_at: event.said_at,
            body: &body,
        };
        let fresh = event_store(&deps.store, &stored, Via::Reconciler, now).await?;
        if fresh && now - event.said_at > TimeDelta::minutes(LATE_MINUTES) {
            missed += 1;
        }
    }
    if missed > 0 {
        tracing::warn!(missed, "webhooks of Stripe were missed and are made good");
    }
    cursor_move(&deps.store, now).await?;
    card_balance::compare(deps, cards, now).await
}
