//! Secrets at rest, and secrets that need no rest because they are derived.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::StoreError;

const NONCE_BYTES: usize = 24;

/// The platform's master key: seals stored secrets and derives machine passwords. Never shown.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

/// A sealed secret as stored: 24 bytes of nonce, then ciphertext and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 256 bits that only the holder of the key can name again, as 64 hex digits. `label` says what they are
    /// for, such as `slot/p0007/api/1`; the same label always gives the same bits.
    pub fn derive(&self, label: &str) -> String {
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.0).expect("HMAC takes any key length");
        mac.update(label.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Seals `secret` for one place only: it opens under the same `label` and no other.
    ///
    /// # Errors
    /// `Corrupt` never in practice; the cipher refuses only absurd lengths.
    pub fn seal(&self, label: &str, nonce: [u8; 32], secret: &[u8]) -> Result<Sealed, StoreError> {
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        let nonce = XNonce::try_from(&nonce[..NONCE_BYTES]).expect("24 of 32 bytes");
        let sealed = cipher
            .encrypt(&nonce, Payload { msg: secret, aad: label.as_bytes() })
            .map_err(|_| StoreError::Corrupt("a secret too long to seal".into()))?;
        Ok(Sealed([nonce.as_slice(), &sealed].concat()))
    }

    /// # Errors
    /// `Corrupt` when the bytes were changed, belong to another label, or another master key sealed them.
    pub fn open(&self, label: &str, sealed: &Sealed) -> Result<Vec<u8>, StoreError> {
        let bad = || StoreError::Corrupt(format!("sealed secret {label}"));
        let (nonce, body) = sealed.0.split_at_checked(NONCE_BYTES).ok_or_else(bad)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| bad())?;
        XChaCha20Poly1305::new(&Key::from(self.0))
            .decrypt(&nonce, Payload { msg: body, aad: label.as_bytes() })
            .map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_under_its_own_label() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal("project/1/keys/1", [9; 32], b"secret").unwrap();
        assert_eq!(key.open("project/1/keys/1", &sealed).unwrap(), b"secret");
        assert!(key.open("project/2/keys/1", &sealed).is_err());
        assert!(MasterKey::new([8; 32]).open("project/1/keys/1", &sealed).is_err());
        assert!(key.open("project/1/keys/1", &Sealed(vec![1; 10])).is_err());
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn derived_passwords_differ_by_label_and_key() {
        let (a, b) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        assert_eq!(a.derive("slot/p0001/api/1"), a.derive("slot/p0001/api/1"));
        assert_ne!(a.derive("slot/p0001/api/1"), a.derive("slot/p0001/admin/1"));
        assert_ne!(a.derive("slot/p0001/api/1"), b.derive("slot/p0001/api/1"));
    }
}
