//! Deliveries: signed as Stripe signs, repeated until they are taken.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use types::{Clock, SystemClock};

use crate::Shared;
use crate::state::State;

const TRIES_MAX: u32 = 60;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// `t=<seconds>,v1=<hex>`
pub(crate) fn sign(secret: &str, at_secs: i64, body: &str) -> String {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes any key length");
    mac.update(format!("{at_secs}.{body}").as_bytes());
    format!("t={at_secs},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Changes the state, and delivers the event that this made.
pub(crate) fn send(shared: &Arc<Shared>, change: impl FnOnce(&mut State) -> Option<String>) {
    let body = {
        let mut state = shared.state();
        let Some(body) = change(&mut state) else { return };
        if let Some(held) = &mut state.held {
            held.push_back(body);
            return;
        }
        body
    };
    tokio::spawn(deliver(shared.clone(), body));
}

async fn deliver(shared: Arc<Shared>, body: String) {
    for _ in 0..TRIES_MAX {
        // Where the endpoint is now: servers of tests come back at other addresses.
        let Some(url) = shared.state().webhook_url.clone() else { return };
        // Every attempt is signed anew, as Stripe does.
        let signature = sign(&shared.secret, SystemClock.now().timestamp(), &body);
        let request = shared.http.post(&url).timeout(ANSWER_WITHIN);
        let request = request
            .header("content-type", "application/json")
            .header("stripe-signature", signature)
            .body(body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => tracing::debug!(status = answer.status().as_u16(), "a webhook was not taken"),
            Err(e) => tracing::debug!(error = %e, "a webhook was not delivered"),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    tracing::warn!("a webhook was given up");
}
