//! Transactions of a fee payer's lane: built, signed, and given back as bytes. The caller stores the bytes
//! before it broadcasts them, and takes the nonce from its own durable rows: no nonce is ever asked of a
//! node here.

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::{Encodable2718, eip2930::AccessList},
    primitives::{Bytes, Signature, TxKind, U256},
    sol_types::SolCall,
};
use types::{Network, UsdMicros, Wallet};

use crate::{
    Bytes32, evm,
    rpc::{CallRequest, Fees},
    signer::{Signer, SignerError},
    x402::{verify, wire::Authorization},
};

/// An EIP-1559 transaction without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    pub chain_id: u64,
    pub nonce: u64,
    pub to: Wallet,
    pub data: Vec<u8>,
    /// Wei.
    pub value: u128,
    pub gas_limit: u64,
    pub fees: Fees,
}

impl Unsigned {
    /// The same effect for a higher bid under the same nonce: of the two, at most one is ever mined.
    #[must_use]
    pub fn bumped(&self, market: Fees) -> Self {
        Self { fees: self.fees.bump().max(market), ..self.clone() }
    }
}

/// Bytes to broadcast, and the name they will have on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTx {
    pub raw: Vec<u8>,
    pub hash: Bytes32,
}

/// What a transaction does, before its place in a lane is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub to: Wallet,
    pub data: Vec<u8>,
    /// Wei.
    pub value: u128,
}

/// Its place in a lane and its bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub network: Network,
    pub nonce: u64,
    pub gas_limit: u64,
    pub fees: Fees,
}

#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// Not 65 bytes with `v` 27 or 28, or a negative amount: `verify::check` refuses these first.
    #[error("the token cannot be given this call")]
    NotCallable,
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Settles one authorisation: USDC moves from its payer to its payee, whoever pays the gas.
///
/// # Errors
/// `NotCallable` when `verify::check` did not pass it.
///
/// # Source
/// EIP-3009, `transferWithAuthorization` with `v`, `r`, `s`.
pub fn transfer_with_authorization(
    asset: Wallet,
    authorization: &Authorization,
    signature: &[u8],
) -> Result<Effect, LaneError> {
    let data = verify::transfer_calldata(authorization, signature).ok_or(LaneError::NotCallable)?;
    Ok(Effect { to: asset, data, value: 0 })
}

/// A plain USDC transfer from the lane's own balance.
///
/// # Errors
/// `NotCallable` for a negative amount.
pub fn erc20_transfer(asset: Wallet, to: Wallet, amount: UsdMicros) -> Result<Effect, LaneError> {
    let value = evm::units(amount).ok_or(LaneError::NotCallable)?;
    let data = evm::Usdc::transferCall { to: evm::address(to), value }.abi_encode();
    Ok(Effect { to: asset, data, value: 0 })
}

/// Makes test USDC, where the token lets the lane's address do so.
///
/// # Errors
/// `NotCallable` for a negative amount.
pub fn mint(asset: Wallet, to: Wallet, amount: UsdMicros) -> Result<Effect, LaneError> {
    let amount = evm::units(amount).ok_or(LaneError::NotCallable)?;
    let data = evm::Usdc::mintCall { to: evm::address(to), amount }.abi_encode();
    Ok(Effect { to: asset, data, value: 0 })
}

/// Moves ether, to fill a lane with gas money.
pub fn ether_transfer(to: Wallet, wei: u128) -> Effect {
    Effect { to, data: Vec::new(), value: wei }
}

impl Effect {
    /// The question that estimates its gas; only for effects without ether.
    pub fn as_call(&self, from: Wallet) -> CallRequest {
        CallRequest { from: Some(from), to: self.to, data: self.data.clone() }
    }

    pub fn at(self, slot: Slot) -> Unsigned {
        Unsigned {
            chain_id: slot.network.chain_id(),
            nonce: slot.nonce,
            to: self.to,
            data: self.data,
            value: self.value,
            gas_limit: slot.gas_limit,
            fees: slot.fees,
        }
    }
}

/// Signs for the lane. Nothing is sent.
///
/// # Errors
/// The signer's.
pub async fn sign(unsigned: &Unsigned, signer: &dyn Signer) -> Result<SignedTx, SignerError> {
    let tx = TxEip1559 {
        chain_id: unsigned.chain_id,
        nonce: unsigned.nonce,
        gas_limit: unsigned.gas_limit,
        max_fee_per_gas: unsigned.fees.max_fee_per_gas,
        max_priority_fee_per_gas: unsigned.fees.max_priority_fee_per_gas,
        to: TxKind::Call(evm::address(unsigned.to)),
        value: U256::from(unsigned.value),
        access_list: AccessList::default(),
        input: Bytes::copy_from_slice(&unsigned.data),
    };
    let digest = tx.signature_hash();
    let bytes = signer.sign_digest(digest.0).await?;
    if evm::recover(digest, &bytes) != Some(signer.address()) {
        return Err(SignerError::WrongSignature);
    }
    let signature = Signature::from_raw_array(&bytes).map_err(|_| SignerError::WrongSignature)?;
    let signed = tx.into_signed(signature);
    Ok(SignedTx { raw: signed.encoded_2718(), hash: signed.hash().0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{KeySecret, LocalSigner};
    use alloy::consensus::TxEnvelope;
    use alloy::eips::Decodable2718;
    use alloy::primitives::keccak256;

    #[tokio::test]
    async fn a_signed_transaction_reads_back_and_a_bump_keeps_all_but_the_bid() {
        let signer = LocalSigner::new(&KeySecret::new(Box::new([7; 32]))).unwrap();
        let fees = Fees { max_fee_per_gas: 100, max_priority_fee_per_gas: 7 };
        let slot = Slot { network: Network::BaseSepolia, nonce: 3, gas_limit: 90_000, fees };
        let effect = erc20_transfer(Wallet([1; 20]), Wallet([2; 20]), UsdMicros(5)).unwrap();
        let unsigned = effect.at(slot);
        let signed = sign(&unsigned, &signer).await.unwrap();
        assert_eq!(signed.hash, keccak256(&signed.raw).0);

        let read = TxEnvelope::decode_2718(&mut signed.raw.as_slice()).unwrap();
        let signature = read.signature().as_bytes();
        assert_eq!(evm::recover(read.signature_hash(), &signature), Some(signer.address()));
        assert_eq!(sign(&unsigned, &signer).await.unwrap(), signed, "signing is deterministic");

        let bumped = unsigned.bumped(Fees { max_fee_per_gas: 50, max_priority_fee_per_gas: 50 });
        assert_eq!(bumped.fees, Fees { max_fee_per_gas: 113, max_priority_fee_per_gas: 50 });
        assert_eq!(Unsigned { fees, ..bumped }, unsigned);
        assert!(matches!(mint(Wallet([1; 20]), Wallet([2; 20]), UsdMicros(-1)), Err(LaneError::NotCallable)));
    }
}
