//! What we ask of Stripe, through `async-stripe`'s client. Answers are read leniently, as events are.

use std::sync::Arc;
use std::time::Duration;

use miniserde::json as mini;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError};
use stripe_client_core::{RequestBuilder, StripeMethod};
use types::{CheckoutId, UsdMicros};

use super::event::{ACTED_ON, CENT};
use super::wire::{Question, Wire};

/// One attempt.
const ATTEMPT_SECS_MAX: u64 = 8;
/// How often the same question is asked, always under the same key.
const ATTEMPTS_MAX: u32 = 4;
const BACK_OFF: Duration = Duration::from_millis(200);
/// Events of one page: Stripe's limit.
const PAGE: u32 = 100;
/// Pages of one look.
const PAGES_MAX: usize = 1_000;
const POSTS_AT_ONCE: usize = 8;

/// How Stripe is reached.
#[derive(Debug)]
pub struct CardsConfig {
    /// `sk_live_..` takes money, any other key is for tests.
    pub secret_key: SecretString,
    /// The endpoint's signing secrets: the current one, and the one it replaces.
    pub webhook_secrets: Vec<SecretString>,
    /// Our own account, when events name it.
    pub account: Option<String>,
    /// Stripe's own address when absent.
    pub api_base: Option<String>,
    /// How often the reconciler looks.
    pub reconcile_secs: u64,
    /// Tells our payments from those of others who use the same account.
    pub platform: String,
}

/// A configured Stripe account.
#[derive(Debug)]
pub struct Cards {
    way: Way,
    pub webhook_secrets: Vec<SecretString>,
    pub account: Option<String>,
    pub livemode: bool,
    pub reconcile_secs: u64,
    /// Accounts whose facts are posted at once.
    pub posts_at_once: usize,
    pub platform: String,
}

/// How a question gets there.
#[derive(Debug)]
enum Way {
    Http(Box<Client>),
    Other(Arc<dyn Wire>),
}

/// Why Stripe did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// It said no, for good.
    #[error("stripe refused: {0}")]
    Refused(String),
    /// The card said no.
    #[error("the card was declined: {0}")]
    Declined(String),
    /// No answer that could be read. It may have been done: ask again under the same key.
    #[error("stripe did not answer: {0}")]
    Unknown(String),
    #[error("stripe is configured wrongly: {0}")]
    Config(String),
}

/// A session to make.
#[derive(Debug, Clone)]
pub struct SessionAsked<'a> {
    /// Our quote; also the idempotency key.
    pub id: CheckoutId,
    /// The whole quote, sealed; kept with the session.
    pub quote: Option<String>,
    pub amount: UsdMicros,
    /// What the payer reads.
    pub name: &'a str,
    pub email: Option<&'a str>,
    pub success_url: &'a str,
    pub cancel_url: &'a str,
    /// Keep the card for charges without the customer.
    pub save_card: bool,
}

/// A session that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    pub url: String,
    pub payment_intent: Option<String>,
}

/// A card that may be charged without its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCard {
    pub customer: String,
    pub payment_method: String,
}

/// Nothing is asked beside the path.
#[derive(Serialize)]
struct NoQuery {}

#[derive(Serialize)]
struct SessionForm<'a> {
    mode: &'static str,
    client_reference_id: String,
    metadata: Quoted<'a>,
    success_url: &'a str,
    cancel_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_creation: Option<&'static str>,
    payment_intent_data: IntentData<'a>,
    line_items: [LineItem<'a>; 1],
}

#[derive(Serialize)]
struct IntentData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_future_usage: Option<&'static str>,
    metadata: Named<'a>,
}

#[derive(Serialize)]
struct Quoted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<&'a str>,
}

/// Our quote's name on the payment itself, where Stripe's balance shows it.
#[derive(Serialize)]
struct Named<'a> {
    checkout: String,
    platform: &'a str,
}

#[derive(Serialize)]
struct LineItem<'a> {
    quantity: u32,
    price_data: PriceData<'a>,
}

#[derive(Serialize)]
struct PriceData<'a> {
    currency: &'static str,
    unit_amount: i64,
    product_data: ProductData<'a>,
}

#[derive(Serialize)]
struct ProductData<'a> {
    name: &'a str,
}

/// One page of a list, newest first.
#[derive(Serialize)]
struct PageQuery<'a> {
    limit: u32,
    created: Since,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    types: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    expand: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_after: Option<&'a str>,
}

#[derive(Serialize, Clone, Copy)]
struct Since {
    gte: i64,
}

#[derive(Serialize)]
struct ChargeForm<'a> {
    amount: i64,
    currency: &'static str,
    customer: &'a str,
    payment_method: &'a str,
    off_session: bool,
    confirm: bool,
    metadata: Named<'a>,
}

impl CardError {
    /// Which statuses are an answer, and what they say.
    pub fn of_status(status: u16, message: &str) -> Self {
        match status {
            402 => Self::Declined(message.to_owned()),
            // The same key is being worked on, or the same object: the answer comes later.
            409 | 424 | 429 | 500.. => Self::Unknown(format!("{status}: {message}")),
            _ => Self::Refused(format!("{status}: {message}")),
        }
    }
}

impl Cards {
    /// # Errors
    /// `Config` for a key or an address that cannot be one.
    pub fn new(config: CardsConfig) -> Result<Self, CardError> {
        let key = config.secret_key.expose_secret();
        let mut builder = ClientBuilder::new(key).timeout(Duration::from_secs(ATTEMPT_SECS_MAX));
        if let Some(base) = &config.api_base {
            builder = builder.url(format!("{}/", base.trim_end_matches('/')));
        }
        let client = builder.build().map_err(|e| CardError::Config(e.to_string()))?;
        Ok(Self::with(Way::Http(Box::new(client)), POSTS_AT_ONCE, config))
    }

    /// The same account reached by another way, and one account after the other: the simulator's.
    pub fn over(wire: Arc<dyn Wire>, config: CardsConfig) -> Self {
        Self::with(Way::Other(wire), 1, config)
    }

    fn with(way: Way, posts_at_once: usize, config: CardsConfig) -> Self {
        let key = config.secret_key.expose_secret();
        let livemode = ["sk_live_", "rk_live_"].iter().any(|prefix| key.starts_with(prefix));
        Self {
            way,
            webhook_secrets: config.webhook_secrets,
            account: config.account,
            livemode,
            reconcile_secs: config.reconcile_secs,
            posts_at_once,
            platform: config.platform,
        }
    }

    /// Makes a session, at most one per quote however often it is asked within a day.
    ///
    /// # Errors
    /// `Refused`, `Unknown`.
    pub async fn session_create(&self, asked: &SessionAsked<'_>) -> Result<Session, CardError> {
        let form = SessionForm {
            mode: "payment",
            client_reference_id: asked.id.to_string(),
            metadata: Quoted { quote: asked.quote.as_deref() },
            success_url: asked.success_url,
            cancel_url: asked.cancel_url,
            customer_email: asked.email,
            customer_creation: asked.save_card.then_some("always"),
            payment_intent_data: IntentData {
                setup_future_usage: asked.save_card.then_some("off_session"),
                metadata: self.named(asked.id),
            },
            line_items: [LineItem {
                quantity: 1,
                price_data: PriceData {
                    currency: "usd",
                    unit_amount: asked.amount.0 / CENT,
                    product_data: ProductData { name: asked.name },
                },
            }],
        };
        let answer = self.post("/checkout/sessions", &form, &asked.id.to_string()).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        match (text("id"), text("url")) {
            (Some(id), Some(url)) => Ok(Session { id, url, payment_intent: text("payment_intent") }),
            _ => Err(CardError::Unknown("a session without an id or a url".to_owned())),
        }
    }

    /// The card behind a payment, if it was saved.
    ///
    /// # Errors
    /// `Refused`, `Unknown`.
    pub async fn saved_card(&self, payment_intent: &str) -> Result<Option<SavedCard>, CardError> {
        let answer = self.get(&format!("/payment_intents/{payment_intent}"), &NoQuery {}).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(text("customer")
            .zip(text("payment_method"))
            .map(|(customer, payment_method)| SavedCard { customer, payment_method }))
    }

    /// Charges a saved card, at most once per quote. Answers the payment intent once it has succeeded.
    ///
    /// # Errors
    /// `Declined`, `Refused`, `Unknown`.
    pub async fn charge(
        &self,
        id: CheckoutId,
        amount: UsdMicros,
        card: &SavedCard,
    ) -> Result<String, CardError> {
        let form = ChargeForm {
            amount: amount.0 / CENT,
            currency: "usd",
            customer: &card.customer,
            payment_method: &card.payment_method,
            off_session: true,
            confirm: true,
            metadata: self.named(id),
        };
        let answer = self.post("/payment_intents", &form, &id.to_string()).await?;
        let state = answer.get("status").and_then(Value::as_str).unwrap_or_default();
        match (state, answer.get("id").and_then(Value::as_str)) {
            ("succeeded", Some(intent)) => Ok(intent.to_owned()),
            ("processing", _) => Err(CardError::Unknown("the charge is being processed".to_owned())),
            (state, _) => Err(CardError::Declined(state.to_owned())),
        }
    }

    /// Every event since then, newest first as Stripe lists them.
    ///
    /// # Errors
    /// `Refused`, `Unknown`: what was read so far is not told.
    pub async fn events_since(&self, since_secs: i64) -> Result<Vec<Value>, CardError> {
        self.list("/events", since_secs, (&ACTED_ON, &[])).await
    }

    /// Every balance transaction since then, newest first, each with the charge, refund or dispute behind it.
    ///
    /// # Errors
    /// As [`Cards::events_since`].
    pub async fn balance_since(&self, since_secs: i64) -> Result<Vec<Value>, CardError> {
        self.list("/balance_transactions", since_secs, (&[], &["data.source"])).await
    }

    fn named(&self, id: CheckoutId) -> Named<'_> {
        Named { checkout: id.to_string(), platform: &self.platform }
    }

    async fn list(
        &self,
        path: &str,
        since_secs: i64,
        (types, expand): (&[&str], &[&str]),
    ) -> Result<Vec<Value>, CardError> {
        let mut all: Vec<Value> = Vec::new();
        let created = Since { gte: since_secs };
        for _ in 0..PAGES_MAX {
            let last = all.last().and_then(|object| object.get("id")).and_then(Value::as_str);
            let query = PageQuery { limit: PAGE, created, types, expand, starting_after: last };
            let mut page = self.get(path, &query).await?;
            let more = page.get("has_more").and_then(Value::as_bool).unwrap_or(false);
            let Some(Value::Array(objects)) = page.get_mut("data").map(Value::take) else {
                return Err(CardError::Unknown("a list without data".to_owned()));
            };
            let empty = objects.is_empty();
            all.extend(objects);
            if !more || empty {
                return Ok(all);
            }
        }
        Err(CardError::Unknown("more objects than one look reads".to_owned()))
    }

    async fn post(&self, path: &str, form: &impl Serialize, key: &str) -> Result<Value, CardError> {
        let client = match &self.way {
            Way::Http(client) => client,
            Way::Other(wire) => return wire.ask(&Question::new(path, form, Some(key))?).await,
        };
        let key = IdempotencyKey::new(key).map_err(|e| CardError::Config(e.to_string()))?;
        ask(client, || {
            let request = RequestBuilder::new(StripeMethod::Post, path).form(form);
            (request, RequestStrategy::Idempotent(key.clone()))
        })
        .await
    }

    async fn get(&self, path: &str, query: &impl Serialize) -> Result<Value, CardError> {
        let client = match &self.way {
            Way::Http(client) => client,
            Way::Other(wire) => return wire.ask(&Question::new(path, query, None)?).await,
        };
        let question = || (RequestBuilder::new(StripeMethod::Get, path).query(query), RequestStrategy::Once);
        ask(client, question).await
    }
}

/// Asks until there is an answer: a busy, failing or silent Stripe is asked again, which is harmless under an
/// idempotency key.
async fn ask(
    client: &Client,
    question: impl Fn() -> (RequestBuilder, RequestStrategy),
) -> Result<Value, CardError> {
    let mut last = CardError::Unknown("never asked".to_owned());
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(BACK_OFF * 2_u32.pow(attempt - 1)).await;
        }
        let (request, strategy) = question();
        let asked = request.customize::<mini::Value>().request_strategy(strategy);
        match asked.send(client).await {
            Ok(answer) => return as_serde(&answer),
            Err(e) => last = judge(e),
        }
        if !matches!(last, CardError::Unknown(_)) {
            break;
        }
    }
    Err(last)
}

/// Which failures are an answer.
fn judge(error: StripeError) -> CardError {
    match error {
        StripeError::Stripe(told, status) => CardError::of_status(status, &told.message.unwrap_or_default()),
        StripeError::ConfigError(why) => CardError::Config(why),
        e @ (StripeError::JSONDeserialize(_) | StripeError::ClientError(_) | StripeError::Timeout) => {
            CardError::Unknown(e.to_string())
        }
    }
}

fn as_serde(value: &mini::Value) -> Result<Value, CardError> {
    serde_json::from_str(&mini::to_string(value)).map_err(|e| CardError::Unknown(e.to_string()))
}
