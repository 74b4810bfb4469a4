//! Whether a presented payment is one of our offers, signed by its payer and usable now; then whether the
//! chain would take it. Passing both is no payment: only a log on the chain is.

use alloy::{
    primitives::{B256, U256},
    sol_types::SolCall,
};
use types::{Network, UsdMicros, Wallet};

use super::{
    Offer, SCHEME,
    wire::{Authorization, Extra, Presented, Requirements, Version},
};
use crate::{
    evm,
    rpc::{CallRequest, ChainRpc, RpcError},
};

/// A payment must be usable for this long still, to be mined in time.
///
/// # Source
/// Wire contract 01 section 3.5.
pub const INCLUSION_SECS_MIN: u64 = 6;

/// How much longer than the offer's timeout an authorisation may run. Clients sign `now + timeout`; the
/// rest is for their clocks. A payment is unresolved until its window closes, so the window must not be
/// absurd (A16).
pub const WINDOW_SLACK_SECS_MAX: u64 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("only the scheme \"exact\" is taken")]
    UnsupportedScheme,
    #[error("nothing is offered on this network")]
    NetworkMismatch,
    #[error("the offer's EIP-712 name and version are missing")]
    MissingDomain,
    #[error("the accepted offer is not one of the current offers")]
    OfferMismatch,
    #[error("the payment is to another recipient")]
    Recipient,
    #[error("the amount is not the price")]
    Value,
    #[error("the authorisation has ended, ends too soon or runs too long")]
    ValidBefore,
    #[error("the authorisation is not valid yet")]
    ValidAfter,
    #[error("the signature is not the payer's over this offer")]
    Signature,
    #[error("signatures of contract wallets are not taken: pay from a key-holding wallet")]
    ContractSignature,
}

impl VerifyError {
    /// The facilitators' word for it.
    ///
    /// # Source
    /// Wire contract 01 section 3.5.
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::NetworkMismatch => "network_mismatch",
            Self::MissingDomain => "missing_eip712_domain",
            Self::OfferMismatch => "invalid_payment_requirements",
            Self::Recipient => "invalid_exact_evm_payload_recipient_mismatch",
            Self::Value => "invalid_exact_evm_payload_authorization_value_mismatch",
            Self::ValidBefore => "invalid_exact_evm_payload_authorization_valid_before",
            Self::ValidAfter => "invalid_exact_evm_payload_authorization_valid_after",
            Self::Signature => "invalid_exact_evm_payload_signature",
            Self::ContractSignature => "unsupported_contract_wallet_signature",
        }
    }
}

/// Finds the offer that a payment answers. `now` is the chain's time in Unix seconds: our clock may be
/// wrong (B19).
///
/// # Errors
/// The first rule that it breaks; see [`VerifyError::reason`].
///
/// # Source
/// Wire contract 01 section 3.5; EIP-3009.
pub fn check<'a>(presented: &Presented, offers: &'a [Offer], now: u64) -> Result<&'a Offer, VerifyError> {
    if presented.scheme != SCHEME {
        return Err(VerifyError::UnsupportedScheme);
    }
    let offer = match (presented.version, &presented.accepted) {
        (Version::V2, Some(accepted)) => accepted_offer(accepted, presented.network, offers)?,
        (Version::V2, None) => return Err(VerifyError::OfferMismatch),
        (Version::V1, _) => implied_offer(presented, offers)?,
    };
    let authorization = &presented.authorization;
    if authorization.to != offer.pay_to {
        return Err(VerifyError::Recipient);
    }
    if authorization.value != offer.amount {
        return Err(VerifyError::Value);
    }
    check_window(authorization, offer, now)?;
    check_signature(presented, offer)?;
    Ok(offer)
}

/// Version 2: the client says which offer it took, and that must be, member for member, one we make now.
fn accepted_offer<'a>(
    accepted: &Requirements,
    network: Network,
    offers: &'a [Offer],
) -> Result<&'a Offer, VerifyError> {
    let mut here = offers.iter().filter(|offer| offer.network == network).peekable();
    if here.peek().is_none() {
        return Err(VerifyError::NetworkMismatch);
    }
    if accepted.extra.is_none() {
        return Err(VerifyError::MissingDomain);
    }
    here.find(|offer| same_offer(accepted, offer)).ok_or(VerifyError::OfferMismatch)
}

/// Deep equality, but for the letter case of addresses and for members that are null.
fn same_offer(accepted: &Requirements, offer: &Offer) -> bool {
    let same_wallet = |text: &str, wallet: Wallet| text.parse() == Ok(wallet);
    let asset = offer.asset();
    let same_extra = |extra: &Extra| {
        extra.name == asset.name
            && extra.version == asset.version
            && extra.other.values().all(serde_json::Value::is_null)
    };
    accepted.scheme == SCHEME
        && accepted.network == offer.network.as_str()
        && UsdMicros::from_base_units(&accepted.amount) == Ok(offer.amount)
        && same_wallet(&accepted.asset, asset.address)
        && same_wallet(&accepted.pay_to, offer.pay_to)
        && accepted.max_timeout_seconds == u64::from(offer.max_timeout_secs)
        && accepted.extra.as_ref().is_some_and(same_extra)
        && accepted.other.values().all(serde_json::Value::is_null)
}

/// Version 1 names only scheme and network: the offer is the one whose payee and price the authorisation has.
fn implied_offer<'a>(presented: &Presented, offers: &'a [Offer]) -> Result<&'a Offer, VerifyError> {
    let here = |offer: &&Offer| offer.network == presented.network;
    let paid = &presented.authorization;
    let first = offers.iter().find(here).ok_or(VerifyError::NetworkMismatch)?;
    let exact =
        offers.iter().filter(here).find(|offer| offer.pay_to == paid.to && offer.amount == paid.value);
    // Without an exact one, the first shows `check` what differs.
    Ok(exact.unwrap_or(first))
}

fn check_window(authorization: &Authorization, offer: &Offer, now: u64) -> Result<(), VerifyError> {
    let latest = now.saturating_add(u64::from(offer.max_timeout_secs) + WINDOW_SLACK_SECS_MAX);
    if authorization.valid_before < now.saturating_add(INCLUSION_SECS_MIN)
        || authorization.valid_before > latest
    {
        return Err(VerifyError::ValidBefore);
    }
    if authorization.valid_after > now {
        return Err(VerifyError::ValidAfter);
    }
    Ok(())
}

fn check_signature(presented: &Presented, offer: &Offer) -> Result<(), VerifyError> {
    // EIP-1271 and EIP-6492 signatures are checked by code of the payer's choosing, which may answer
    // otherwise when we settle (A18).
    if presented.signature.len() > 65 {
        return Err(VerifyError::ContractSignature);
    }
    let digest = signing_digest(&presented.authorization, offer.network);
    match evm::recover(B256::from(digest), &presented.signature) {
        Some(signer) if signer == presented.authorization.from => Ok(()),
        _ => Err(VerifyError::Signature),
    }
}

/// The EIP-712 digest that the payer signs, for USDC on `network`.
pub fn signing_digest(authorization: &Authorization, network: Network) -> [u8; 32] {
    let message = evm::TransferWithAuthorization {
        from: evm::address(authorization.from),
        to: evm::address(authorization.to),
        // A negative value cannot be decoded from the wire and no signature over its stand-in can match.
        value: evm::units(authorization.value).unwrap_or(U256::MAX),
        validAfter: U256::from(authorization.valid_after),
        validBefore: U256::from(authorization.valid_before),
        nonce: B256::from(authorization.nonce),
    };
    evm::authorization_digest(&message, &evm::domain(network, crate::asset::usdc(network))).0
}

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("the payer holds less USDC than the price")]
    Insufficient { balance: UsdMicros },
    /// It may have paid us: look for its sighting before refusing.
    #[error("the authorisation is already used or cancelled")]
    AlreadyUsed,
    #[error("the token refuses the transfer: {0}")]
    Reverted(String),
    #[error("the chain does not answer")]
    Unavailable(#[source] RpcError),
}

impl SimulateError {
    /// The facilitators' word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Insufficient { .. } => "insufficient_funds",
            Self::AlreadyUsed | Self::Reverted(_) => "invalid_transaction_state",
            Self::Unavailable(_) => "unexpected_verify_error",
        }
    }
}

/// Asks the chain, without changing it, whether `fee_payer` could settle this payment now. Call it after
/// [`check`].
///
/// # Errors
/// `Unavailable` says nothing about the payment; the others are the chain's refusals.
pub async fn simulate(
    rpc: &dyn ChainRpc,
    offer: &Offer,
    presented: &Presented,
    fee_payer: Wallet,
) -> Result<(), SimulateError> {
    let paid = &presented.authorization;
    let used = rpc.authorization_state(offer.asset().address, paid.from, paid.nonce).await;
    if used.map_err(SimulateError::Unavailable)? {
        return Err(SimulateError::AlreadyUsed);
    }
    let balance = rpc.usdc_balance(offer.asset().address, paid.from).await;
    let balance = balance.map_err(SimulateError::Unavailable)?;
    if balance < paid.value {
        return Err(SimulateError::Insufficient { balance });
    }
    let data = transfer_calldata(paid, &presented.signature)
        .ok_or_else(|| SimulateError::Reverted("not a signature that USDC takes".to_owned()))?;
    let request = CallRequest { from: Some(fee_payer), to: offer.asset().address, data };
    match rpc.call(&request).await {
        Ok(_) => Ok(()),
        Err(RpcError::Reverted(reason)) => Err(SimulateError::Reverted(reason)),
        Err(other) => Err(SimulateError::Unavailable(other)),
    }
}

/// The call that settles; `None` for a signature or an amount that the token cannot be given.
pub(crate) fn transfer_calldata(paid: &Authorization, signature: &[u8]) -> Option<Vec<u8>> {
    let parsed = evm::parse_signature(signature)?;
    let call = evm::Usdc::transferWithAuthorizationCall {
        from: evm::address(paid.from),
        to: evm::address(paid.to),
        value: evm::units(paid.value)?,
        validAfter: U256::from(paid.valid_after),
        validBefore: U256::from(paid.valid_before),
        nonce: B256::from(paid.nonce),
        v: if parsed.v() { 28 } else { 27 },
        r: B256::from(parsed.r()),
        s: B256::from(parsed.s()),
    };
    Some(call.abi_encode())
}

#[cfg(test)]
mod tests;
