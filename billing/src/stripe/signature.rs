//! The `Stripe-Signature` header: `t=<unix seconds>,v1=<hex>[,v1=<hex>]`, HMAC-SHA256 over `<t>.<raw body>`.
//!
//! # Source
//! Stripe, "Verify webhook signatures manually".

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// A signature that is older or newer than this was not made for this delivery.
pub const TOLERANCE_SECS: i64 = 300;
/// Stripe signs with at most the current secret and the one it replaces; more are not looked at.
const SIGNATURES_MAX: usize = 8;

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    #[error("the Stripe-Signature header is missing or not t=..,v1=..")]
    Malformed,
    #[error("the signature was made at another time; compare the clocks")]
    Stale,
    #[error("no signature fits the body")]
    Mismatch,
}

/// Checks a header against the raw body under any of the secrets.
///
/// # Errors
/// `BadSignature`; nothing of the body may be believed then.
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &[SecretString],
    now_secs: i64,
) -> Result<(), BadSignature> {
    let mut at = None;
    let mut given = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) => at = Some(text),
            Some(("v1", text)) if given.len() < SIGNATURES_MAX => {
                given.extend(hex::decode(text).ok().filter(|bytes| bytes.len() == 32));
            }
            _ => {}
        }
    }
    let at = at.filter(|text| text.bytes().all(|b| b.is_ascii_digit())).ok_or(BadSignature::Malformed)?;
    let secs: i64 = at.parse().map_err(|_| BadSignature::Malformed)?;
    if given.is_empty() {
        return Err(BadSignature::Malformed);
    }
    let fits = secrets.iter().any(|secret| {
        let mac = mac(secret, at, body);
        given.iter().any(|one| mac.clone().verify_slice(one).is_ok())
    });
    if !fits {
        return Err(BadSignature::Mismatch);
    }
    // Judged last: whoever does not know the secret learns nothing of our clock.
    if now_secs.abs_diff(secs) > TOLERANCE_SECS.unsigned_abs() {
        return Err(BadSignature::Stale);
    }
    Ok(())
}

fn mac(secret: &SecretString, at: &str, body: &[u8]) -> Hmac<Sha256> {
    let key = secret.expose_secret().as_bytes();
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &str, at: i64, body: &[u8]) -> String {
        let bytes = mac(&SecretString::from(secret), &at.to_string(), body).finalize().into_bytes();
        hex::encode(bytes)
    }

    #[test]
    fn a_header_counts_only_for_its_body_its_secret_and_its_time() {
        let secrets = [SecretString::from("whsec_new"), SecretString::from("whsec_old")];
        let (now, body) = (1_900_000_000, br#"{"id":"evt_1"}"#.as_slice());
        let good = sign("whsec_new", now, body);
        let check = |header: &str| verify(header, body, &secrets, now);
        assert_eq!(check(&format!("t={now},v1={good}")), Ok(()));
        assert_eq!(check(&format!("t={now},v1={},v1={good},v0=ff", "0".repeat(64))), Ok(()));
        assert_eq!(check(&format!("t={now},v1={}", sign("whsec_old", now, body))), Ok(()));
        for (header, why) in [
            (String::new(), BadSignature::Malformed),
            (format!("t={now}"), BadSignature::Malformed),
            (format!("v1={good}"), BadSignature::Malformed),
            (format!("t=-1,v1={good}"), BadSignature::Malformed),
            (format!("t={now},v1={}", &good[2..]), BadSignature::Malformed),
            (format!("t={},v1={good}", now + 1), BadSignature::Mismatch),
            (format!("t={now},v1={}", sign("whsec_other", now, body)), BadSignature::Mismatch),
            (format!("t={now},v0={good}"), BadSignature::Malformed),
        ] {
            assert_eq!(check(&header), Err(why), "{header}");
        }
        assert_eq!(verify(&format!("t={now},v1={good}"), b"{}", &secrets, now), Err(BadSignature::Mismatch));
        for late in [now - 301, now + 301] {
            let header = format!("t={late},v1={}", sign("whsec_new", late, body));
            assert_eq!(verify(&header, body, &secrets, now), Err(BadSignature::Stale));
        }
    }
}
