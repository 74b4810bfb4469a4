//! A project's key pair for tokens of its users, on the curve P-256.
//!
//! It follows from the project's secret for users, so nothing more is stored, sealed, replaced or retired: each
//! secret has its key. Whoever holds the secret can make the private key too, which opens nothing: the secret
//! itself signs the same tokens.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use store::projects::Secret;
use types::ProjectId;

const SALT: &[u8] = b"project user tokens";
const INFO: &[u8] = b"ES256 key 1";
/// One number of 2^32 is no private key of the curve: then the next one is taken.
const TRIES_MAX: u8 = 4;

/// Made anew wherever it is needed.
pub struct UserKey {
    public: Jwk,
    pub(crate) private: EncodingKey,
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserKey({})", self.kid().unwrap_or_default())
    }
}

impl UserKey {
    /// The key of this secret. None never in practice.
    pub fn of(project: ProjectId, secret: &Secret) -> Option<Self> {
        (0..TRIES_MAX).find_map(|attempt| Self::derive(project, secret, attempt))
    }

    /// # Source
    /// HKDF: RFC 5869. Taking another number when one is none of the curve's: FIPS 186-5, A.2.2. The key's name:
    /// RFC 7638.
    fn derive(project: ProjectId, secret: &Secret, attempt: u8) -> Option<Self> {
        let mut number = [0; 32];
        let info = [INFO, project.0.as_bytes(), &[attempt]];
        let seed = Salt::new(HKDF_SHA256, SALT).extract(&secret.bytes);
        seed.expand(&info, HKDF_SHA256).ok()?.fill(&mut number).ok()?;
        let public = PrivateKey::from_private_key(&ECDH_P256, &number).ok()?.compute_public_key().ok()?;
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &number, public.as_ref()).ok()?;
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref());
        let mut public = Jwk::from_encoding_key(&private, Algorithm::ES256).ok()?;
        public.common.key_id = Some(public.thumbprint(ThumbprintHash::SHA256).ok()?);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self { public, private })
    }

    pub fn kid(&self) -> Option<&str> {
        self.public.common.key_id.as_deref()
    }

    /// What everybody may see.
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    pub(crate) fn verifier(&self) -> Option<DecodingKey> {
        DecodingKey::from_jwk(&self.public).ok()
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let header = Header { kid: self.kid().map(str::to_owned), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.private).ok()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use types::OsEntropy;

    use super::*;

    fn secret(version: i32, byte: u8) -> Secret {
        Secret { version, bytes: vec![byte; 32], created_at: DateTime::UNIX_EPOCH }
    }

    // Goal: a key stays what it is over versions of this code, and is one project's and one secret's. Method: the name
    // was computed by Node's HKDF and ECDH.
    #[test]
    fn a_key_follows_from_project_and_secret() {
        let kid = |project, byte| UserKey::of(project, &secret(1, byte)).unwrap().kid().unwrap().to_owned();
        let nil = ProjectId(uuid::Uuid::nil());
        assert_eq!(kid(nil, 7), "I5xCULPbHkWBKuhtM72MSHwJKHavjpET0IkxzssE_z8");
        assert_eq!(kid(nil, 7), kid(nil, 7));
        assert_ne!(kid(nil, 7), kid(nil, 8));
        assert_ne!(kid(nil, 7), kid(ProjectId::new(&OsEntropy), 7));
    }

    // Contract 03 section 6.3.
    #[test]
    fn only_the_public_half_is_shown() {
        let key = UserKey::of(ProjectId::new(&OsEntropy), &secret(1, 7)).unwrap();
        let shown = serde_json::to_value(key.public()).unwrap();
        let names: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["use", "alg", "kid", "kty", "crv", "x", "y"], "{shown}");
        for (name, value) in [("use", "sig"), ("alg", "ES256"), ("kty", "EC"), ("crv", "P-256")] {
            assert_eq!(shown[name], value);
        }
        assert!(!format!("{key:?}").contains("rivate"), "{key:?}");
    }
}
