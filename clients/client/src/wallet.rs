//! The key that an agent signs with.

use alloy::primitives::{Address, B256, hex};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use types::{Entropy, Wallet};

use crate::LocalError;

/// A secp256k1 key. Its `Debug` shows the address and never the key.
#[derive(Clone)]
pub struct WalletKey(PrivateKeySigner);

impl std::fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WalletKey").field(&self.address_text()).finish()
    }
}

impl WalletKey {
    /// A new key. The chance of bytes that are no key is 2^-128; they are drawn again.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        loop {
            if let Ok(signer) = PrivateKeySigner::from_bytes(&B256::from(entropy.secret())) {
                return Self(signer);
            }
        }
    }

    /// Reads `0x` and 64 hex digits.
    ///
    /// # Errors
    /// `BAD_PRIVATE_KEY` for anything else; the text is not repeated in the message.
    pub fn from_hex(text: &str) -> Result<Self, LocalError> {
        let bad = || LocalError::new("BAD_PRIVATE_KEY", "the private key is not 0x and 64 hex digits");
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64).ok_or_else(bad)?;
        let bytes = hex::decode(digits).map_err(|_| bad())?;
        PrivateKeySigner::from_slice(&bytes).map(Self).map_err(|_| bad())
    }

    /// `0x` and 64 hex digits: for the wallet's file only.
    pub fn to_hex(&self) -> String {
        format!("{:#x}", self.0.to_bytes())
    }

    pub(crate) fn address(&self) -> Address {
        self.0.address()
    }

    /// The address with its EIP-55 checksum.
    pub fn address_text(&self) -> String {
        self.0.address().to_checksum(None)
    }

    /// The address as the server shows it.
    pub fn wallet(&self) -> Wallet {
        Wallet(self.0.address().into_array())
    }

    /// Signs the EIP-191 text: `0x`, r, s, and v of 27 or 28.
    pub(crate) fn sign_text(&self, text: &str) -> Result<String, LocalError> {
        self.0.sign_message_sync(text.as_bytes()).map(show).map_err(unsigned)
    }

    /// Signs a digest as it is.
    pub(crate) fn sign_digest(&self, digest: &B256) -> Result<String, LocalError> {
        self.0.sign_hash_sync(digest).map(show).map_err(unsigned)
    }
}

fn show(signature: alloy::primitives::Signature) -> String {
    hex::encode_prefixed(signature.as_bytes())
}

fn unsigned(error: alloy::signers::Error) -> LocalError {
    LocalError::new("SIGNING_FAILED", format!("the wallet could not sign: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use types::OsEntropy;

    use super::*;

    /// The published throw-away key of the contract's known-answer vectors.
    pub(crate) const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_reads_back_and_names_its_address() {
        let key = WalletKey::from_hex(KEY).unwrap();
        assert_eq!(key.to_hex(), KEY);
        assert_eq!(key.address_text(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(key.wallet().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        let fresh = WalletKey::generate(&OsEntropy);
        assert_eq!(WalletKey::from_hex(&fresh.to_hex()).unwrap().wallet(), fresh.wallet());
    }

    #[test]
    fn odd_keys_are_refused_and_never_shown() {
        for bad in ["", "0x", "ac0974", &KEY[2..], &format!("{KEY}00"), &format!("0x{}", "0".repeat(64))] {
            let error = WalletKey::from_hex(bad).unwrap_err();
            assert_eq!(error.code, "BAD_PRIVATE_KEY");
            assert!(bad.len() < 10 || !error.message.contains(&bad[2..]));
        }
        assert!(!format!("{:?}", WalletKey::from_hex(KEY).unwrap()).contains(&KEY[2..20]));
    }
}
