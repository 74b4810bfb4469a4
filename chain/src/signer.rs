//! Who can sign for one of our addresses. Digests only: what is signed is built, and stored, by the caller.

use std::fmt;

use alloy::{
    primitives::B256,
    signers::{SignerSync, local::PrivateKeySigner},
};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretBox};
use types::Wallet;

use crate::evm;

/// A secp256k1 key. Never shown, wiped when dropped.
pub type KeySecret = SecretBox<[u8; 32]>;

/// Reads `0x` and 64 hex digits, the form that wallets export.
///
/// # Errors
/// `BadKey` for anything else; the text is not repeated.
pub fn parse_secret(text: &str) -> Result<KeySecret, SignerError> {
    evm::fixed_hex(text.trim()).map(|bytes| KeySecret::new(Box::new(bytes))).ok_or(SignerError::BadKey)
}

#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error("not a secp256k1 key")]
    BadKey,
    /// The service did not answer, or refused; whether it signed is unknown and does not matter until bytes
    /// are stored.
    #[error("the key service failed: {0}")]
    Service(String),
    #[error("the key service answered a signature that is not by its key")]
    WrongSignature,
}

/// A key that signs for one address.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    fn address(&self) -> Wallet;

    /// 65 bytes `r || s || v`, `s` low, `v` 27 or 28.
    ///
    /// # Errors
    /// `Service` may pass; the others will not.
    async fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 65], SignerError>;
}

/// A key in this process.
#[derive(Clone)]
pub struct LocalSigner(PrivateKeySigner);

impl LocalSigner {
    /// # Errors
    /// `BadKey` for zero and for numbers past the curve's order.
    pub fn new(secret: &KeySecret) -> Result<Self, SignerError> {
        PrivateKeySigner::from_slice(secret.expose_secret()).map(Self).map_err(|_| SignerError::BadKey)
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSigner({})", self.address())
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn address(&self) -> Wallet {
        evm::wallet(self.0.address())
    }

    async fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 65], SignerError> {
        let signature = self.0.sign_hash_sync(&B256::from(digest)).map_err(|_| SignerError::BadKey)?;
        Ok(signature.normalized_s().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_local_key_signs_what_recovers_to_its_address_and_is_never_shown() {
        let secret = KeySecret::new(Box::new([7; 32]));
        let signer = LocalSigner::new(&secret).unwrap();
        let signature = signer.sign_digest([9; 32]).await.unwrap();
        assert_eq!(evm::recover(B256::from([9; 32]), &signature), Some(signer.address()));
        assert!(!format!("{signer:?} {secret:?}").contains(&"07".repeat(4)));
        assert!(!format!("{secret:?}").contains("7, 7"));
        let parsed = parse_secret(&format!("0x{}", "07".repeat(32))).unwrap();
        assert_eq!(LocalSigner::new(&parsed).unwrap().address(), signer.address());
        assert!(parse_secret("07").is_err());
        assert!(matches!(LocalSigner::new(&KeySecret::new(Box::new([0; 32]))), Err(SignerError::BadKey)));
    }
}
