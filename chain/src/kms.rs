//! Keys that never leave AWS KMS: `ECC_SECG_P256K1`, asked to sign digests.

use std::fmt;

use alloy::{
    primitives::{B256, U256},
    primitives::{Signature, keccak256},
};
use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    error::DisplayErrorContext,
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use types::Wallet;

use crate::{
    evm,
    signer::{Signer, SignerError},
};

/// One KMS key. Its address is derived once, from its public key.
#[derive(Clone)]
pub struct KmsSigner {
    client: Client,
    key_id: String,
    address: Wallet,
}

/// Where KMS is; credentials come from the AWS default chain of the machine.
#[derive(Debug, Clone, Default)]
pub struct KmsPlace {
    pub region: Option<String>,
    /// For a KMS elsewhere than at AWS.
    pub endpoint: Option<String>,
}

impl KmsPlace {
    /// One client serves all keys of a place.
    pub async fn client(self) -> Client {
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
        if let Some(region) = self.region {
            loader = loader.region(aws_config::Region::new(region));
        }
        if let Some(endpoint) = self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        Client::new(&loader.load().await)
    }
}

impl KmsSigner {
    /// Fetches the public key. `key_id` is an id, an ARN or an alias.
    ///
    /// # Errors
    /// `Service` when KMS does not give it, `BadKey` when it is of another kind.
    pub async fn connect(client: Client, key_id: String) -> Result<Self, SignerError> {
        let answer = client.get_public_key().key_id(&key_id).send().await.map_err(service)?;
        let info = answer.public_key.ok_or(SignerError::BadKey)?;
        let address = address_of_spki(info.as_ref()).ok_or(SignerError::BadKey)?;
        Ok(Self { client, key_id, address })
    }
}

impl fmt::Debug for KmsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsSigner").field("key_id", &self.key_id).field("address", &self.address).finish()
    }
}

#[async_trait]
impl Signer for KmsSigner {
    fn address(&self) -> Wallet {
        self.address
    }

    async fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 65], SignerError> {
        let answer = self
            .client
            .sign()
            .key_id(&self.key_id)
            .message(Blob::new(digest))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send()
            .await
            .map_err(service)?;
        let der = answer.signature.ok_or(SignerError::WrongSignature)?;
        ethereum_signature(der.as_ref(), digest, self.address).ok_or(SignerError::WrongSignature)
    }
}

fn service(error: impl std::error::Error) -> SignerError {
    SignerError::Service(DisplayErrorContext(error).to_string())
}

/// The start of a SubjectPublicKeyInfo for an uncompressed secp256k1 point; the point's 64 bytes follow.
///
/// # Source
/// RFC 5480 section 2, with the curve's OID 1.3.132.0.10.
const SPKI_PREFIX: [u8; 24] = alloy::hex!("3056301006072a8648ce3d020106052b8104000a03420004");

fn address_of_spki(info: &[u8]) -> Option<Wallet> {
    let point = info.strip_prefix(&SPKI_PREFIX)?;
    let hash = (point.len() == 64).then(|| keccak256(point))?;
    hash[12..].try_into().ok().map(Wallet)
}

/// KMS gives `r` and `s` in DER, `s` high half of the time, and no recovery id: that is found by trying both.
fn ethereum_signature(der: &[u8], digest: [u8; 32], signer: Wallet) -> Option<[u8; 65]> {
    let (r, s) = read_der(der)?;
    [false, true].into_iter().find_map(|parity| {
        let bytes = Signature::new(r, s, parity).normalized_s().as_bytes();
        (evm::recover(B256::from(digest), &bytes) == Some(signer)).then_some(bytes)
    })
}

/// `SEQUENCE { INTEGER r, INTEGER s }` and nothing else.
fn read_der(der: &[u8]) -> Option<(U256, U256)> {
    let [0x30, length, body @ ..] = der else { return None };
    if usize::from(*length) != body.len() {
        return None;
    }
    let (r, rest) = read_integer(body)?;
    let (s, rest) = read_integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn read_integer(der: &[u8]) -> Option<(U256, &[u8])> {
    let [0x02, length, rest @ ..] = der else { return None };
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    // A leading zero keeps a number with its top bit set positive.
    let digits = match digits {
        [0, tail @ ..] if !tail.is_empty() => tail,
        [first, ..] if *first < 0x80 => digits,
        _ => return None,
    };
    (digits.len() <= 32).then(|| (U256::from_be_slice(digits), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{KeySecret, LocalSigner};

    /// The curve's order.
    const N: U256 =
        U256::from_be_bytes(alloy::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));

    fn der_integer(number: U256) -> Vec<u8> {
        let mut digits = number.to_be_bytes_trimmed_vec();
        if digits.first().is_none_or(|first| *first >= 0x80) {
            digits.insert(0, 0);
        }
        [vec![2, u8::try_from(digits.len()).unwrap()], digits].concat()
    }

    fn der(r: U256, s: U256) -> Vec<u8> {
        let body = [der_integer(r), der_integer(s)].concat();
        [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
    }

    #[tokio::test]
    async fn what_kms_answers_becomes_the_one_low_signature_of_its_address() {
        let signer = LocalSigner::new(&KeySecret::new(Box::new([7; 32]))).unwrap();
        for seed in 0..32_u8 {
            let digest = [seed; 32];
            let ours = signer.sign_digest(digest).await.unwrap();
            let (r, s) = (U256::from_be_slice(&ours[..32]), U256::from_be_slice(&ours[32..64]));
            for s in [s, N - s] {
                let der = der(r, s);
                assert_eq!(ethereum_signature(&der, digest, signer.address()), Some(ours));
                assert_eq!(ethereum_signature(&der, [255; 32], signer.address()), None);
                assert_eq!(ethereum_signature(&der[..der.len() - 1], digest, signer.address()), None);
                assert_eq!(ethereum_signature(&[der, vec![0]].concat(), digest, signer.address()), None);
            }
        }
    }

    #[test]
    fn an_address_comes_only_from_a_key_of_the_right_curve() {
        // The public key of the first key of anvil and hardhat.
        let point = alloy::hex!(
            "8318535b54105d4a7aae60c08fc45f9687181b4fdfc625bd1a753fa7397fed75"
            "3547f11ca8696646f2f3acb08e31016afac23e630c5d11f59f61fef57b0d2aa5"
        );
        let info = [&SPKI_PREFIX[..], &point].concat();
        let expected = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        assert_eq!(address_of_spki(&info), Some(expected));
        assert_eq!(address_of_spki(&info[..87]), None);
        let mut other_curve = info;
        other_curve[20] ^= 1;
        assert_eq!(address_of_spki(&other_curve), None);
    }
}
