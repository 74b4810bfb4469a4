//! A wallet that signs what it is told, right or wrong.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use types::{Clock, SystemClock};

/// A throw-away key.
#[derive(Clone)]
pub struct Wallet(PrivateKeySigner);

/// An EIP-3009 authorisation before it is signed; tests change what they like.
#[derive(Debug, Clone)]
pub struct Authorization {
    pub to: Address,
    pub value: u128,
    pub valid_after: u64,
    pub valid_before: u64,
    pub nonce: [u8; 32],
    /// The EIP-712 domain.
    pub domain_name: String,
    pub domain_version: String,
    pub chain_id: u64,
    pub asset: Address,
}

impl Wallet {
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(PrivateKeySigner::from_slice(&bytes).unwrap())
    }

    pub fn from_hex(key: &str) -> Self {
        Self(key.parse().unwrap())
    }

    pub fn key_hex(&self) -> String {
        format!("0x{}", hex::encode(self.0.to_bytes()))
    }

    /// Lower case.
    pub fn address(&self) -> String {
        format!("{:#x}", self.0.address())
    }

    pub fn checksummed(&self) -> String {
        self.0.address().to_checksum(None)
    }

    /// The JSON of a good `SIGN-IN-WITH-X` for `base` + `path`, issued now.
    pub fn sign_in(&self, base: &str, path: &str) -> Value {
        self.sign_in_at(base, path, SystemClock.now())
    }

    pub fn sign_in_at(&self, base: &str, path: &str, issued: DateTime<Utc>) -> Value {
        let domain = reqwest::Url::parse(base).unwrap().host_str().unwrap().to_owned();
        let nonce: [u8; 16] = rand::random();
        self.sign_in_fields(json!({
            "domain": domain, "address": self.checksummed(), "statement": "Sign in to Run402",
            "uri": format!("{base}{path}"), "version": "1", "chainId": "eip155:84532", "type": "eip191",
            "nonce": hex::encode(nonce), "issuedAt": types::rfc3339(issued),
            "expirationTime": types::rfc3339(issued + TimeDelta::minutes(5)),
        }))
    }

    /// Signs the fields as they are.
    pub fn sign_in_fields(&self, mut fields: Value) -> Value {
        let field = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let chain = field("chainId").trim_start_matches("eip155:").to_owned();
        let text = format!(
            "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: {}\nChain ID: {chain}\n\
             Nonce: {}\nIssued At: {}\nExpiration Time: {}",
            field("domain"),
            field("address"),
            field("statement"),
            field("uri"),
            field("version"),
            field("nonce"),
            field("issuedAt"),
            field("expirationTime")
        );
        let resources = fields["resources"].as_array().into_iter().flatten();
        let resources: String = resources.map(|one| format!("\n- {}", one.as_str().unwrap())).collect();
        let text = if resources.is_empty() { text } else { format!("{text}\nResources:{resources}") };
        let signature = self.0.sign_message_sync(text.as_bytes()).unwrap();
        fields["signature"] = json!(format!("0x{}", hex::encode(signature.as_bytes())));
        fields
    }

    /// The header's value.
    pub fn siwx(&self, base: &str, path: &str) -> String {
        STANDARD.encode(self.sign_in(base, path).to_string())
    }

    /// An authorisation that pays an offer, to be changed before it is signed.
    pub fn authorize(&self, offer: &Value) -> Authorization {
        let now = u64::try_from(SystemClock.now().timestamp()).unwrap();
        Authorization {
            to: offer["payTo"].as_str().unwrap().parse().unwrap(),
            value: offer["amount"].as_str().unwrap().parse().unwrap(),
            valid_after: now - 600,
            valid_before: now + offer["maxTimeoutSeconds"].as_u64().unwrap(),
            nonce: rand::random(),
            domain_name: offer["extra"]["name"].as_str().unwrap().to_owned(),
            domain_version: offer["extra"]["version"].as_str().unwrap().to_owned(),
            chain_id: offer["network"].as_str().unwrap().trim_start_matches("eip155:").parse().unwrap(),
            asset: offer["asset"].as_str().unwrap().parse().unwrap(),
        }
    }

    /// 65 bytes over the EIP-712 digest.
    pub fn sign(&self, a: &Authorization) -> Vec<u8> {
        let word = |n: u128| B256::from(U256::from(n));
        let address = |a: Address| a.into_word();
        let body = keccak256(
            [
                keccak256(
                    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
                     uint256 validBefore,bytes32 nonce)",
                ),
                address(self.0.address()),
                address(a.to),
                word(a.value),
                word(u128::from(a.valid_after)),
                word(u128::from(a.valid_before)),
                B256::from(a.nonce),
            ]
            .concat(),
        );
        self.sign_typed(a, body)
    }

    /// Calldata with which anybody may submit an authorisation.
    pub fn settle_data(&self, a: &Authorization) -> String {
        let signature = self.sign(a);
        let word = |n: u128| format!("{n:064x}");
        let address = |a: &str| format!("{:0>64}", a.trim_start_matches("0x").to_lowercase());
        format!(
            "0xe3ee160e{}{}{}{}{}{}{}{}",
            address(&self.address()),
            address(&a.to.to_string()),
            word(a.value),
            word(u128::from(a.valid_after)),
            word(u128::from(a.valid_before)),
            hex::encode(a.nonce),
            word(u128::from(signature[64])),
            hex::encode(&signature[..64]),
        )
    }

    /// Calldata with which anybody may withdraw an authorisation in its signer's name.
    pub fn cancel_data(&self, a: &Authorization) -> String {
        let signature = self.sign_cancel(a);
        format!(
            "0x5a049a70{:0>64}{}{:064x}{}",
            self.address().trim_start_matches("0x"),
            hex::encode(a.nonce),
            signature[64],
            hex::encode(&signature[..64]),
        )
    }

    /// 65 bytes that withdraw an authorisation.
    pub fn sign_cancel(&self, a: &Authorization) -> Vec<u8> {
        let type_hash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        let body = keccak256([type_hash, self.0.address().into_word(), B256::from(a.nonce)].concat());
        self.sign_typed(a, body)
    }

    /// Signs a struct's hash under an authorisation's EIP-712 domain.
    fn sign_typed(&self, a: &Authorization, body: B256) -> Vec<u8> {
        let domain = keccak256(
            [
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
                ),
                keccak256(&a.domain_name),
                keccak256(&a.domain_version),
                B256::from(U256::from(a.chain_id)),
                a.asset.into_word(),
            ]
            .concat(),
        );
        let digest = keccak256([&[0x19, 0x01][..], domain.as_slice(), body.as_slice()].concat());
        self.0.sign_hash_sync(&digest).unwrap().as_bytes().to_vec()
    }

    /// The JSON of a version 2 payment.
    pub fn payment(&self, challenge: &Value, offer: &Value, a: &Authorization) -> Value {
        json!({
            "x402Version": 2,
            "payload": {
                "authorization": {
                    "from": self.checksummed(), "to": a.to.to_checksum(None), "value": a.value.to_string(),
                    "validAfter": a.valid_after.to_string(), "validBefore": a.valid_before.to_string(),
                    "nonce": format!("0x{}", hex::encode(a.nonce)),
                },
                "signature": format!("0x{}", hex::encode(self.sign(a))),
            },
            "resource": challenge["resource"],
            "accepted": offer,
        })
    }
}

/// The JSON of a `PAYMENT-REQUIRED` header.
pub fn decode_challenge(header: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
}
