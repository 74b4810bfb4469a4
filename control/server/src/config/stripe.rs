//! `[stripe]`: the account that cards pay to.

use secrecy::{ExposeSecret, SecretString};

use super::defaults;
use super::reader::Section;

#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// `sk_live_..` takes money; with a key for tests, cards pay test money.
    pub secret_key: SecretString,
    /// Of the endpoint `POST /webhooks/v1/stripe`: the current one, and the one that it replaces.
    pub webhook_secrets: Vec<SecretString>,
    /// Our own account's id, when events name it.
    pub account: Option<String>,
    /// Another address than Stripe's own: a stand-in.
    pub api_base: Option<String>,
    pub reconcile_secs: u64,
}

impl StripeConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let key = "a secret or restricted key: sk_live_.., rk_live_.., sk_test_..";
        let list = "a list with the signing secret of the endpoint: [\"whsec_..\"]";
        let secret_key = s.required::<SecretString>("secret_key", key);
        let webhook_secrets = s.required::<Vec<SecretString>>("webhook_secrets", list);
        let account = s.optional("account", "the account's id, acct_..");
        let api_base = s.optional("api_base", "a URL, only for a stand-in");
        let reconcile = s.or("reconcile_secs", defaults::RECONCILE_SECS, "1 to 3600");
        let is_key =
            |key: &SecretString| ["sk_", "rk_"].iter().any(|prefix| key.expose_secret().starts_with(prefix));
        s.check(secret_key.as_ref().is_none_or(is_key), "secret_key", || key.to_owned());
        let some = webhook_secrets.as_ref().is_none_or(|secrets| !secrets.is_empty());
        s.check(some, "webhook_secrets", || list.to_owned());
        s.check(reconcile.is_none_or(|n| (1..=3_600).contains(&n)), "reconcile_secs", || {
            "1 to 3600".to_owned()
        });
        s.finish();
        Some(Self {
            secret_key: secret_key?,
            webhook_secrets: webhook_secrets?,
            account: account?,
            api_base: api_base?,
            reconcile_secs: reconcile?,
        })
    }
}
