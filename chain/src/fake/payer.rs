//! A wallet of the fake chain's world: signs in, authorises payments, sends transactions of its own.

use alloy::primitives::eip191_hash_message;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use types::{Network, UsdMicros, Wallet, rfc3339};

use crate::{
    asset, json as header,
    lane::{self, Effect, LaneError, Slot},
    rpc::Fees,
    signer::{KeySecret, LocalSigner, Signer, SignerError},
    x402::{
        Offer,
        verify::signing_digest,
        wire::{Authorization, Requirements},
    },
};

const GAS_LIMIT: u64 = 200_000;
const FEES: Fees = Fees { max_fee_per_gas: 4_000_000, max_priority_fee_per_gas: 2_000_000 };

/// A key and what it signs.
#[derive(Debug, Clone)]
pub struct Payer(LocalSigner);

/// A signed authorisation, and the offer that it answers.
#[derive(Debug, Clone)]
pub struct Proof {
    pub offer: Offer,
    pub authorization: Authorization,
    pub signature: Vec<u8>,
}

impl Payer {
    /// # Errors
    /// `BadKey` for a number that is no key.
    pub fn new(secret: [u8; 32]) -> Result<Self, SignerError> {
        LocalSigner::new(&KeySecret::new(Box::new(secret))).map(Self)
    }

    pub fn address(&self) -> Wallet {
        self.0.address()
    }

    /// A `SIGN-IN-WITH-X` header for `http://{domain}{path}`; the nonce is 8 to 128 letters and digits.
    ///
    /// # Errors
    /// The signer's.
    ///
    /// # Source
    /// Wire contract 01 section 2.2; EIP-4361.
    pub async fn sign_in(
        &self,
        (domain, path): (&str, &str),
        nonce: &str,
        at: DateTime<Utc>,
    ) -> Result<String, SignerError> {
        const STATEMENT: &str = "Sign in to Run402";
        let address = asset::checksummed(self.address());
        let uri = format!("http://{domain}{path}");
        let (issued, expires) = (rfc3339(at), rfc3339(at + TimeDelta::minutes(5)));
        let chain = Network::BaseSepolia.chain_id();
        let text = format!(
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{STATEMENT}\n\nURI: {uri}\n\
             Version: 1\nChain ID: {chain}\nNonce: {nonce}\nIssued At: {issued}\nExpiration Time: {expires}"
        );
        let signature = self.0.sign_digest(eip191_hash_message(text).0).await?;
        Ok(header::encode(&json!({
            "domain": domain, "address": address, "statement": STATEMENT, "uri": uri, "version": "1",
            "chainId": format!("eip155:{chain}"), "type": "eip191", "nonce": nonce, "issuedAt": issued,
            "expirationTime": expires, "signature": format!("0x{}", hex::encode(signature)),
        })))
    }

    /// Pays an offer by an authorisation that ends `secs` after `now`, the chain's time.
    ///
    /// # Errors
    /// The signer's.
    pub async fn authorize(
        &self,
        offer: Offer,
        nonce: [u8; 32],
        (now, secs): (u64, u64),
    ) -> Result<Proof, SignerError> {
        let authorization = Authorization {
            from: self.address(),
            to: offer.pay_to,
            value: offer.amount,
            valid_after: now.saturating_sub(600),
            valid_before: now + secs,
            nonce,
        };
        self.sign(offer, authorization).await
    }

    /// Signs an authorisation as it is.
    ///
    /// # Errors
    /// The signer's.
    pub async fn sign(&self, offer: Offer, authorization: Authorization) -> Result<Proof, SignerError> {
        let digest = signing_digest(&authorization, offer.network);
        let signature = self.0.sign_digest(digest).await?.to_vec();
        Ok(Proof { offer, authorization, signature })
    }

    /// Bytes of a plain transfer of USDC.
    ///
    /// # Errors
    /// `NotCallable` for a negative amount.
    pub async fn transfer(
        &self,
        network: Network,
        nonce: u64,
        (to, amount): (Wallet, UsdMicros),
    ) -> Result<Vec<u8>, LaneError> {
        let effect = lane::erc20_transfer(asset::usdc(network).address, to, amount)?;
        self.send(network, nonce, effect).await
    }

    /// Bytes that make USDC out of nothing, which the fake token allows to everybody.
    ///
    /// # Errors
    /// `NotCallable` for a negative amount.
    pub async fn mint(&self, network: Network, nonce: u64, amount: UsdMicros) -> Result<Vec<u8>, LaneError> {
        let effect = lane::mint(asset::usdc(network).address, self.address(), amount)?;
        self.send(network, nonce, effect).await
    }

    /// Bytes that submit anybody's authorisation.
    ///
    /// # Errors
    /// `NotCallable` when its signature has no form that the token takes.
    pub async fn submit(&self, nonce: u64, proof: &Proof) -> Result<Vec<u8>, LaneError> {
        let network = proof.offer.network;
        let asset = asset::usdc(network).address;
        let effect = lane::transfer_with_authorization(asset, &proof.authorization, &proof.signature)?;
        self.send(network, nonce, effect).await
    }

    async fn send(&self, network: Network, nonce: u64, effect: Effect) -> Result<Vec<u8>, LaneError> {
        let slot = Slot { network, nonce, gas_limit: GAS_LIMIT, fees: FEES };
        Ok(lane::sign(&effect.at(slot), &self.0).await?.raw)
    }
}

impl Proof {
    /// The `PAYMENT-SIGNATURE` header, version 2.
    pub fn header(&self) -> String {
        let Authorization { from, to, value, valid_after, valid_before, nonce } = self.authorization;
        let payload = json!({
            "authorization": {
                "from": asset::checksummed(from), "to": asset::checksummed(to), "value": value.to_string(),
                "validAfter": valid_after.to_string(), "validBefore": valid_before.to_string(),
                "nonce": format!("0x{}", hex::encode(nonce)),
            },
            "signature": format!("0x{}", hex::encode(&self.signature)),
        });
        let accepted = serde_json::to_value(Requirements::from(&self.offer)).unwrap_or(Value::Null);
        header::encode(&json!({ "x402Version": 2, "payload": payload, "accepted": accepted }))
    }
}
