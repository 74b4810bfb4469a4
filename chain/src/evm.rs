//! Where our plain values meet alloy: addresses, signatures, and the parts of USDC's interface that we use.

use alloy::{
    primitives::{Address, B256, Signature, U256},
    sol_types::{Eip712Domain, SolStruct},
};
use types::{Network, UsdMicros, Wallet};

use crate::asset::Asset;

alloy::sol! {
    /// # Source
    /// EIP-3009, `TRANSFER_WITH_AUTHORIZATION_TYPEHASH`.
    #[derive(Debug)]
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    /// The parts of FiatToken version 2 that are called or read.
    #[derive(Debug)]
    interface Usdc {
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            uint8 v, bytes32 r, bytes32 s
        ) external;
        function transfer(address to, uint256 value) external returns (bool);
        function mint(address to, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    }
}

pub fn address(wallet: Wallet) -> Address {
    Address::from(wallet.0)
}

pub fn wallet(address: Address) -> Wallet {
    Wallet(address.into_array())
}

/// The EIP-55 spelling.
pub fn checksummed(wallet: Wallet) -> String {
    address(wallet).to_checksum(None)
}

/// `None` beyond what our books can hold (more than exists of USDC).
pub fn micros(value: U256) -> Option<UsdMicros> {
    i64::try_from(value).ok().map(UsdMicros)
}

/// `None` for a negative amount.
pub fn units(amount: UsdMicros) -> Option<U256> {
    u64::try_from(amount.0).ok().map(U256::from)
}

/// The EIP-712 domain that authorisations of this asset are signed under.
pub fn domain(network: Network, asset: &Asset) -> Eip712Domain {
    Eip712Domain::new(
        Some(asset.name.into()),
        Some(asset.version.into()),
        Some(U256::from(network.chain_id())),
        Some(address(asset.address)),
        None,
    )
}

pub fn authorization_digest(message: &TransferWithAuthorization, domain: &Eip712Domain) -> B256 {
    message.eip712_signing_hash(domain)
}

/// Who signed `digest`, when the signature is one that USDC itself would take: 65 bytes, `v` 27 or 28, and
/// the low `s`. Every signature has a twin with the high `s`; taking both would give one authorisation two
/// spellings.
pub fn recover(digest: B256, signature: &[u8]) -> Option<Wallet> {
    let parsed = parse_signature(signature)?;
    if parsed.normalize_s().is_some() {
        return None;
    }
    parsed.recover_address_from_prehash(&digest).ok().map(wallet)
}

/// 65 bytes `r || s || v` with `v` 27 or 28.
pub fn parse_signature(signature: &[u8]) -> Option<Signature> {
    let bytes: &[u8; 65] = signature.try_into().ok()?;
    matches!(bytes[64], 27 | 28).then(|| Signature::from_raw_array(bytes).ok()).flatten()
}

/// `0x` and exactly `N` bytes of hex, any letter case.
pub fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(bytes)
}
