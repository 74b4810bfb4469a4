//! What a facilitator is asked: a payment, and what it is to be paid for, both from outside.
//!
//! Unlike at our own routes the offer is not ours, so the offer is judged as well: it must be one that we can
//! settle exactly as it stands.
//!
//! # Source
//! x402 specification version 2 section 7, version 1 section 7; wire contract 01 section 3.5.

use serde_json::{Map, Value};
use types::{Network, UsdMicros, Wallet};

use super::wire::{Extra, Presented, Requirements, Version, WireError, read_payment};
use super::{Offer, SCHEME};
use crate::asset;

/// A payment and the offer that it is said to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// For version 2 its `accepted` is the offer in our own spelling: that it is the same was seen.
    pub presented: Presented,
    pub offer: Offer,
}

/// Why an ask cannot be answered with yes, whatever the chain says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{0} is missing or not an object")]
    Missing(&'static str),
    #[error(transparent)]
    Payment(#[from] WireError),
    #[error("the payment and the request speak different versions of x402")]
    Versions,
    #[error("only the scheme \"exact\" by EIP-3009 is settled")]
    Scheme,
    #[error("nothing is settled on this network")]
    Network,
    #[error("the payment is for another network than the requirements")]
    NetworkMismatch,
    #[error("only USDC is settled")]
    Asset,
    #[error("the requirements lack the EIP-712 name and version, or name others than the token's")]
    Domain,
    #[error("field {0} of the requirements is missing or malformed")]
    Field(&'static str),
    #[error("the payment accepted another offer than the requirements")]
    OfferMismatch,
}

impl AskError {
    /// The facilitators' word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing("paymentRequirements") | Self::Field(_) | Self::OfferMismatch | Self::Asset => {
                "invalid_payment_requirements"
            }
            Self::Missing(_) => "invalid_payload",
            Self::Payment(e) => e.reason(),
            Self::Versions => "invalid_x402_version",
            Self::Scheme => "unsupported_scheme",
            Self::Network => "invalid_network",
            Self::NetworkMismatch => "network_mismatch",
            Self::Domain => "missing_eip712_domain",
        }
    }
}

/// Reads `{x402Version, paymentPayload, paymentRequirements}`. Nothing is asked of a chain and no signature
/// is judged; the payment has the form of one and its offer can be settled.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(mut body: Map<String, Value>) -> Result<Ask, AskError> {
    let mut object = |name| match body.remove(name) {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(AskError::Missing(name)),
    };
    let (mut payment, wanted) = (object("paymentPayload")?, object("paymentRequirements")?);
    let said = body.get("x402Version").or_else(|| payment.get("x402Version")).cloned();
    if let Some(said) = said {
        // Some resource servers name the version in one place only.
        let inside = payment.entry("x402Version").or_insert_with(|| said.clone());
        if *inside != said {
            return Err(AskError::Versions);
        }
    }
    let mut presented = read_payment(payment)?;
    let offer = match presented.version {
        Version::V2 => {
            let wanted: Requirements = serde_json::from_value(Value::Object(wanted))
                .map_err(|_| AskError::Field("paymentRequirements"))?;
            let offer = offer_v2(&wanted)?;
            // The payer signed nothing of the offer but payee, amount and token: what it says it accepted
            // must be what the server asks for, or one of the two was deceived.
            if !presented.accepted.as_ref().is_some_and(|accepted| same(accepted, &wanted)) {
                return Err(mismatch(&presented, offer.network));
            }
            presented.accepted = Some(Requirements::from(&offer));
            offer
        }
        Version::V1 => offer_v1(&wanted)?,
    };
    if presented.network != offer.network {
        return Err(AskError::NetworkMismatch);
    }
    if presented.scheme != SCHEME {
        return Err(AskError::Scheme);
    }
    Ok(Ask { presented, offer })
}

fn mismatch(presented: &Presented, network: Network) -> AskError {
    if presented.network == network { AskError::OfferMismatch } else { AskError::NetworkMismatch }
}

/// Deep equality, but for the letter case of addresses.
fn same(accepted: &Requirements, wanted: &Requirements) -> bool {
    let lower = |r: &Requirements| Requirements {
        asset: r.asset.to_ascii_lowercase(),
        pay_to: r.pay_to.to_ascii_lowercase(),
        ..r.clone()
    };
    lower(accepted) == lower(wanted)
}

fn offer_v2(wanted: &Requirements) -> Result<Offer, AskError> {
    let network = wanted.network.parse().map_err(|_| AskError::Network)?;
    let parts = Parts {
        scheme: &wanted.scheme,
        network,
        amount: &wanted.amount,
        asset: &wanted.asset,
        pay_to: &wanted.pay_to,
        timeout: wanted.max_timeout_seconds,
    };
    offer(&parts, wanted.extra.as_ref())
}

/// Version 1 servers send more members, and leave out some that are mandatory: only what we settle by counts.
fn offer_v1(wanted: &Map<String, Value>) -> Result<Offer, AskError> {
    let text = |name| wanted.get(name).and_then(Value::as_str).ok_or(AskError::Field(name));
    let name = text("network")?;
    let network = Network::ALL.into_iter().find(|n| n.v1_name() == name).ok_or(AskError::Network)?;
    let timeout = wanted.get("maxTimeoutSeconds").and_then(Value::as_u64);
    let extra = wanted.get("extra").and_then(|extra| serde_json::from_value::<Extra>(extra.clone()).ok());
    let parts = Parts {
        scheme: text("scheme")?,
        network,
        amount: text("maxAmountRequired")?,
        asset: text("asset")?,
        pay_to: text("payTo")?,
        timeout: timeout.ok_or(AskError::Field("maxTimeoutSeconds"))?,
    };
    offer(&parts, extra.as_ref())
}

struct Parts<'a> {
    scheme: &'a str,
    network: Network,
    amount: &'a str,
    asset: &'a str,
    pay_to: &'a str,
    timeout: u64,
}

/// A payment is open until its window closes, so no window may be absurd (A16).
const TIMEOUT_SECS_MAX: u32 = 86_400;

/// How a payment may be moved, in `extra`; anything but these is another scheme under the same name.
const MOVES: [(&str, &str); 2] = [("assetTransferMethod", "eip3009"), ("paymentFlow", "authorization")];

fn offer(parts: &Parts<'_>, extra: Option<&Extra>) -> Result<Offer, AskError> {
    let usdc = asset::usdc(parts.network);
    if parts.scheme != SCHEME {
        return Err(AskError::Scheme);
    }
    if parts.asset.parse() != Ok(usdc.address) {
        return Err(AskError::Asset);
    }
    let extra = extra.filter(|e| e.name == usdc.name && e.version == usdc.version).ok_or(AskError::Domain)?;
    let other = |(name, ours): (&str, &str)| {
        extra.other.get(name).is_some_and(|value| !value.is_null() && value.as_str() != Some(ours))
    };
    if MOVES.into_iter().any(other) {
        return Err(AskError::Scheme);
    }
    let amount = UsdMicros::from_base_units(parts.amount).ok().filter(|amount| *amount > UsdMicros::ZERO);
    Ok(Offer {
        network: parts.network,
        amount: amount.ok_or(AskError::Field("amount"))?,
        pay_to: parts.pay_to.parse::<Wallet>().map_err(|_| AskError::Field("payTo"))?,
        max_timeout_secs: u32::try_from(parts.timeout)
            .ok()
            .filter(|secs| (1..=TIMEOUT_SECS_MAX).contains(secs))
            .ok_or(AskError::Field("maxTimeoutSeconds"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn v2() -> Value {
        let offer = json!({
            "scheme": "exact", "network": "eip155:84532", "amount": "100000",
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            "payTo": "0x1111111111111111111111111111111111111111", "maxTimeoutSeconds": 300,
            "extra": { "name": "USDC", "version": "2" },
        });
        json!({
            "x402Version": 2,
            "paymentPayload": {
                "x402Version": 2,
                "payload": {
                    "authorization": {
                        "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                        "to": "0x1111111111111111111111111111111111111111", "value": "100000",
                        "validAfter": "1", "validBefore": "2", "nonce": format!("0x{}", "ab".repeat(32)),
                    },
                    "signature": format!("0x{}", "11".repeat(65)),
                },
                "accepted": offer,
            },
            "paymentRequirements": offer,
        })
    }

    fn reason(body: Value) -> &'static str {
        match read(body.as_object().unwrap().clone()) {
            Ok(_) => "",
            Err(e) => e.reason(),
        }
    }

    fn with(pointers: &[&str], value: &Value) -> Value {
        let mut body = v2();
        for pointer in pointers {
            *body.pointer_mut(pointer).unwrap() = value.clone();
        }
        body
    }

    // A19, A20, A22, A37, A39: what we cannot settle exactly as it stands has a reason.
    #[test]
    fn an_offer_that_cannot_be_settled_has_a_reason() {
        assert_eq!(reason(v2()), "");
        let both = |name: &str, value: Value| {
            let pointers =
                ["/paymentRequirements/", "/paymentPayload/accepted/"].map(|at| at.to_owned() + name);
            reason(with(&[&pointers[0], &pointers[1]], &value))
        };
        assert_eq!(both("scheme", json!("upto")), "unsupported_scheme");
        assert_eq!(both("network", json!("eip155:1")), "invalid_network");
        assert_eq!(both("network", json!("base-sepolia")), "invalid_network");
        assert_eq!(
            both("asset", json!("0x2222222222222222222222222222222222222222")),
            "invalid_payment_requirements"
        );
        assert_eq!(both("amount", json!("0")), "invalid_payment_requirements");
        assert_eq!(both("amount", json!("-1")), "invalid_payment_requirements");
        assert_eq!(both("maxTimeoutSeconds", json!(0)), "invalid_payment_requirements");
        assert_eq!(both("extra", json!({ "name": "USD Coin", "version": "2" })), "missing_eip712_domain");
        assert_eq!(both("extra", Value::Null), "missing_eip712_domain");
        let permit2 = json!({ "name": "USDC", "version": "2", "assetTransferMethod": "permit2" });
        assert_eq!(both("extra", permit2), "unsupported_scheme");
        let said = json!({ "name": "USDC", "version": "2", "assetTransferMethod": "eip3009" });
        assert_eq!(both("extra", said), "");
    }

    #[test]
    fn the_payment_must_have_accepted_what_is_required() {
        let only = |pointer: &str, value: Value| reason(with(&[pointer], &value));
        assert_eq!(only("/paymentPayload/accepted/amount", json!("99999")), "invalid_payment_requirements");
        assert_eq!(only("/paymentPayload/accepted/network", json!("eip155:8453")), "network_mismatch");
        assert_eq!(only("/x402Version", json!(1)), "invalid_x402_version");
        assert_eq!(only("/paymentPayload", json!("text")), "invalid_payload");
        assert_eq!(only("/paymentRequirements", json!([])), "invalid_payment_requirements");
        assert_eq!(only("/paymentPayload/payload/signature", json!("0x")), "invalid_payload");
        let lower = json!("0x036cbd53842c5426634e7929541ec2318f3dcf7e");
        assert_eq!(only("/paymentRequirements/asset", lower), "", "letter case of an address");
    }
}
