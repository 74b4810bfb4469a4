//! The headers of x402: `PAYMENT-REQUIRED`, `PAYMENT-SIGNATURE`, `PAYMENT-RESPONSE` of version 2,
//! `X-PAYMENT` and `X-PAYMENT-RESPONSE` of version 1.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{Network, UsdMicros, Wallet};

use super::{Offer, SCHEME};
use crate::{
    Bytes32, asset, evm,
    json::{self, HeaderError},
};

/// What is being paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

/// The EIP-712 domain's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    pub name: String,
    pub version: String,
    /// Members that we never send; anything but null here is not our offer.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One entry of `accepts`, version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// Base units of the asset, in decimal.
    pub amount: String,
    pub asset: String,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One entry of `accepts`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequirementsV1 {
    pub scheme: String,
    /// `base` or `base-sepolia`.
    pub network: String,
    pub max_amount_required: String,
    pub resource: String,
    pub description: String,
    pub mime_type: String,
    pub pay_to: String,
    pub max_timeout_seconds: u64,
    pub asset: String,
    pub extra: Extra,
}

/// The challenge, generic over the version of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired<R = Requirements> {
    pub x402_version: u8,
    pub error: String,
    /// Version 2 only: version 1 names the resource in each entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    pub accepts: Vec<R>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// What became of a payment, for `PAYMENT-RESPONSE` (version 2) and `X-PAYMENT-RESPONSE` (version 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    pub success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// `0x` and 64 hex digits; empty when there is none.
    pub transaction: String,
    pub network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
}

/// Which x402 a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// The EIP-3009 message that a payer signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization {
    pub from: Wallet,
    pub to: Wallet,
    pub value: UsdMicros,
    /// Unix seconds; usable strictly after.
    pub valid_after: u64,
    /// Unix seconds; usable strictly before.
    pub valid_before: u64,
    /// Unique per payer, not over all of them.
    pub nonce: Bytes32,
}

/// A payment as a client presents it: read, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub version: Version,
    pub scheme: String,
    pub network: Network,
    /// The offer that the client took: version 2 only.
    pub accepted: Option<Requirements>,
    /// What the client says it pays for: version 2 only, and only an echo of our challenge.
    pub resource_url: Option<String>,
    pub authorization: Authorization,
    /// 1 byte to 4 KiB; [`super::verify::check`] wants 65.
    pub signature: Vec<u8>,
    /// The client's own name for it: version 2 only, 16 to 128 characters.
    pub identifier: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("PAYMENT-SIGNATURE and X-PAYMENT hold different payments")]
    TwoPayments,
    #[error("x402Version is neither 1 nor 2")]
    Version,
    #[error("the network is not one that we take payments on")]
    Network,
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
}

impl WireError {
    /// The facilitators' word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Version => "invalid_x402_version",
            Self::Network => "invalid_network",
            Self::Header(_) | Self::TwoPayments | Self::Field(_) => "invalid_payload",
        }
    }
}

const SIGNATURE_BYTES_MAX: usize = 4096;

/// Reads the payment of a request, if it carries one.
///
/// # Errors
/// `TwoPayments` when both headers are there and differ; the others name what could not be read. Nothing
/// but the form is judged here.
///
/// # Source
/// Wire contract 01 section 3.4; x402 specification, `PaymentPayload` versions 1 and 2.
pub fn decode(
    payment_signature: Option<&str>,
    x_payment: Option<&str>,
) -> Result<Option<Presented>, WireError> {
    let header = match (payment_signature, x_payment) {
        (None, None) => return Ok(None),
        (Some(a), Some(b)) if a != b => return Err(WireError::TwoPayments),
        (Some(header), _) | (None, Some(header)) => header,
    };
    read_payment(json::decode_object(header)?).map(Some)
}

/// Reads a payment that came as JSON.
///
/// # Errors
/// What could not be read.
pub(super) fn read_payment(object: Map<String, Value>) -> Result<Presented, WireError> {
    match object.get("x402Version").and_then(Value::as_u64) {
        Some(1) => read_v1(object),
        Some(2) => read_v2(object),
        _ => Err(WireError::Version),
    }
}

fn read_v2(mut object: Map<String, Value>) -> Result<Presented, WireError> {
    let accepted = object.remove("accepted").ok_or(WireError::Field("accepted"))?;
    let accepted: Requirements =
        serde_json::from_value(accepted).map_err(|_| WireError::Field("accepted"))?;
    let network = accepted.network.parse().map_err(|_| WireError::Network)?;
    let resource_url = match object.get("resource") {
        None | Some(Value::Null) => None,
        Some(resource) => {
            Some(resource.get("url").and_then(Value::as_str).ok_or(WireError::Field("resource"))?.to_owned())
        }
    };
    let identifier = super::identifier::read(&object)?;
    let (authorization, signature) = read_payload(&object)?;
    Ok(Presented {
        identifier,
        version: Version::V2,
        scheme: accepted.scheme.clone(),
        network,
        accepted: Some(accepted),
        resource_url,
        authorization,
        signature,
    })
}

fn read_v1(object: Map<String, Value>) -> Result<Presented, WireError> {
    let text = |name| object.get(name).and_then(Value::as_str).ok_or(WireError::Field(name));
    let scheme = text("scheme")?.to_owned();
    let name = text("network")?;
    let network = Network::ALL.into_iter().find(|n| n.v1_name() == name).ok_or(WireError::Network)?;
    let (authorization, signature) = read_payload(&object)?;
    Ok(Presented {
        identifier: None,
        version: Version::V1,
        scheme,
        network,
        accepted: None,
        resource_url: None,
        authorization,
        signature,
    })
}

fn read_payload(object: &Map<String, Value>) -> Result<(Authorization, Vec<u8>), WireError> {
    let payload = object.get("payload").and_then(Value::as_object).ok_or(WireError::Field("payload"))?;
    let signature = payload
        .get("signature")
        .and_then(Value::as_str)
        .and_then(|text| hex::decode(text.strip_prefix("0x")?).ok())
        .filter(|bytes| (1..=SIGNATURE_BYTES_MAX).contains(&bytes.len()))
        .ok_or(WireError::Field("signature"))?;
    let members =
        payload.get("authorization").and_then(Value::as_object).ok_or(WireError::Field("authorization"))?;
    let text = |name| members.get(name).and_then(Value::as_str).ok_or(WireError::Field(name));
    let authorization = Authorization {
        from: text("from")?.parse().map_err(|_| WireError::Field("from"))?,
        to: text("to")?.parse().map_err(|_| WireError::Field("to"))?,
        value: UsdMicros::from_base_units(text("value")?).map_err(|_| WireError::Field("value"))?,
        valid_after: unix_secs(text("validAfter")?).ok_or(WireError::Field("validAfter"))?,
        valid_before: unix_secs(text("validBefore")?).ok_or(WireError::Field("validBefore"))?,
        nonce: evm::fixed_hex(text("nonce")?).ok_or(WireError::Field("nonce"))?,
    };
    Ok((authorization, signature))
}

/// Times read like amounts: digits only, exact or refused. What 63 bits do not hold is no time (A16).
fn unix_secs(text: &str) -> Option<u64> {
    UsdMicros::from_base_units(text).ok().and_then(|number| u64::try_from(number.0).ok())
}

impl Extra {
    fn of(offer: &Offer) -> Self {
        let asset = offer.asset();
        Self { name: asset.name.to_owned(), version: asset.version.to_owned(), other: Map::new() }
    }
}

impl From<&Offer> for Requirements {
    fn from(offer: &Offer) -> Self {
        Self {
            scheme: SCHEME.to_owned(),
            network: offer.network.as_str().to_owned(),
            amount: offer.amount.to_string(),
            asset: asset::checksummed(offer.asset().address),
            pay_to: asset::checksummed(offer.pay_to),
            max_timeout_seconds: offer.max_timeout_secs.into(),
            extra: Some(Extra::of(offer)),
            other: Map::new(),
        }
    }
}

impl PaymentRequired {
    /// The version 2 challenge, entries in the order of `offers`: a client with an empty wallet takes the
    /// first.
    pub fn new(resource: Resource, offers: &[Offer], error: impl Into<String>) -> Self {
        Self {
            x402_version: 2,
            error: error.into(),
            resource: Some(resource),
            accepts: offers.iter().map(Requirements::from).collect(),
            extensions: Some(super::identifier::offered()),
        }
    }
}

impl PaymentRequired<RequirementsV1> {
    /// The version 1 challenge, which travels in the body. Published clients fail on it unless the version
    /// 2 header is there too.
    pub fn new_v1(resource: &Resource, offers: &[Offer], error: impl Into<String>) -> Self {
        let entry = |offer: &Offer| RequirementsV1 {
            scheme: SCHEME.to_owned(),
            network: offer.network.v1_name().to_owned(),
            max_amount_required: offer.amount.to_string(),
            resource: resource.url.clone(),
            description: resource.description.clone().unwrap_or_default(),
            mime_type: resource.mime_type.clone().unwrap_or_default(),
            pay_to: asset::checksummed(offer.pay_to),
            max_timeout_seconds: offer.max_timeout_secs.into(),
            asset: asset::checksummed(offer.asset().address),
            extra: Extra::of(offer),
        };
        Self {
            x402_version: 1,
            error: error.into(),
            resource: None,
            accepts: offers.iter().map(entry).collect(),
            extensions: None,
        }
    }
}

impl<R: Serialize> PaymentRequired<R> {
    /// Standard base64 for the `PAYMENT-REQUIRED` header; under 8 KiB while descriptions are sentences.
    pub fn to_header(&self) -> String {
        json::encode(self)
    }
}

impl SettleResponse {
    /// A payment that the chain shows.
    pub fn paid(version: Version, network: Network, transaction: Bytes32, payer: Wallet) -> Self {
        Self {
            success: true,
            error_reason: None,
            transaction: format!("0x{}", hex::encode(transaction)),
            network: network_name(version, network).to_owned(),
            payer: Some(asset::checksummed(payer)),
        }
    }

    /// A payment that was refused; `reason` is a facilitator's word.
    pub fn refused(version: Version, network: Network, payer: Wallet, reason: &str) -> Self {
        Self {
            success: false,
            error_reason: Some(reason.to_owned()),
            transaction: String::new(),
            network: network_name(version, network).to_owned(),
            payer: Some(asset::checksummed(payer)),
        }
    }

    /// Standard base64 for the response header.
    pub fn to_header(&self) -> String {
        json::encode(self)
    }
}

fn network_name(version: Version, network: Network) -> &'static str {
    match version {
        Version::V1 => network.v1_name(),
        Version::V2 => network.as_str(),
    }
}

#[cfg(test)]
mod tests;
