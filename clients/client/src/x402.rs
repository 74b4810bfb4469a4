//! x402 version 2, the payer's side: read the challenge, choose an offer, sign the transfer.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolStruct};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use types::{Network, UsdMicros};

use crate::{LocalError, WalletKey};

/// A signature is good for at most this long, whatever the server would like.
const TIMEOUT_SECS_MAX: u64 = 300;
/// Clocks differ: the authorisation is valid since ten minutes ago.
const VALID_SINCE_SECS: u64 = 600;

sol! {
    /// EIP-3009.
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
}

/// What the wallet holds on each network, as far as it could be read.
pub type Balances = BTreeMap<Network, UsdMicros>;

/// The decoded `PAYMENT-REQUIRED` header.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    resource: Value,
    extensions: Option<Value>,
    /// What we can sign, in the server's order.
    pub offers: Vec<Offer>,
}

/// One entry of `accepts` that we can sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// As it came: the server compares what we echo with what it offered.
    raw: Value,
    pub network: Network,
    pub amount: UsdMicros,
    asset: Address,
    pay_to: Address,
    lifetime: Duration,
    domain_name: String,
    domain_version: String,
}

impl Challenge {
    /// Reads the header's value.
    ///
    /// # Errors
    /// `BAD_CHALLENGE` when it is not base64 of an x402 version 2 object, or offers nothing that we can sign.
    ///
    /// # Source
    /// Wire contract 01 section 3.2.
    pub fn decode(header: &str) -> Result<Self, LocalError> {
        let bad =
            |why: &str| LocalError::new("BAD_CHALLENGE", format!("the server's payment challenge {why}"));
        let bytes = STANDARD.decode(header.trim()).map_err(|_| bad("is not base64"))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad("is not JSON"))?;
        if value["x402Version"] != 2 {
            return Err(bad("is not x402 version 2"));
        }
        let accepts = value["accepts"].as_array().ok_or_else(|| bad("has no offers"))?;
        let offers: Vec<Offer> = accepts.iter().filter_map(Offer::read).collect();
        if offers.is_empty() {
            return Err(
                bad("has no offer in USDC on Base or Base Sepolia").detail("accepts", accepts.clone())
            );
        }
        Ok(Self { resource: value["resource"].clone(), extensions: value.get("extensions").cloned(), offers })
    }

    /// The first offer that the wallet can cover. A network whose balance is unknown counts as one that can.
    ///
    /// # Errors
    /// `INSUFFICIENT_FUNDS` when every balance is known and none is enough; nothing was signed.
    pub fn choose(&self, balances: &Balances) -> Result<&Offer, LocalError> {
        let covers = |offer: &&Offer| balances.get(&offer.network).is_some_and(|held| *held >= offer.amount);
        let unknown = |offer: &&Offer| !balances.contains_key(&offer.network);
        let offers = &self.offers;
        offers.iter().find(covers).or_else(|| offers.iter().find(unknown)).ok_or_else(|| {
            let wanted: Vec<Value> = offers
                .iter()
                .map(|offer| {
                    json!({ "network": offer.network.as_str(), "amount_usd_micros": offer.amount.0,
                            "held_usd_micros": balances.get(&offer.network).map(|held| held.0) })
                })
                .collect();
            LocalError::new("INSUFFICIENT_FUNDS", "the wallet holds too little for every offer")
                .hint("Fund the wallet with USDC on one of these networks: run402 allowance fund.")
                .detail("offers", wanted)
        })
    }

    /// The value of `PAYMENT-SIGNATURE`: a signed EIP-3009 transfer for that offer.
    ///
    /// # Source
    /// Wire contract 01 sections 3.3 and 3.4.
    pub(crate) fn pay(
        &self,
        key: &WalletKey,
        offer: &Offer,
        now_secs: u64,
        nonce: [u8; 32],
    ) -> Result<String, LocalError> {
        let transfer = TransferWithAuthorization {
            from: key.address(),
            to: offer.pay_to,
            value: U256::from(offer.amount.0.unsigned_abs()),
            validAfter: U256::from(now_secs.saturating_sub(VALID_SINCE_SECS)),
            validBefore: U256::from(now_secs + offer.lifetime.as_secs()),
            nonce: B256::from(nonce),
        };
        let signature = key.sign_digest(&offer.digest(&transfer))?;
        let mut proof = Map::from_iter([
            ("x402Version".to_owned(), json!(2)),
            (
                "payload".to_owned(),
                json!({ "signature": signature, "authorization": {
                    "from": transfer.from.to_checksum(None), "to": transfer.to.to_checksum(None),
                    "value": transfer.value.to_string(), "validAfter": transfer.validAfter.to_string(),
                    "validBefore": transfer.validBefore.to_string(), "nonce": transfer.nonce.to_string(),
                }}),
            ),
            ("resource".to_owned(), self.resource.clone()),
            ("accepted".to_owned(), offer.raw.clone()),
        ]);
        if let Some(extensions) = &self.extensions {
            proof.insert("extensions".to_owned(), extensions.clone());
        }
        Ok(STANDARD.encode(Value::Object(proof).to_string()))
    }
}

impl Offer {
    /// The offer, if it is one that we sign: `exact`, in the USDC of a network we know, for a short time.
    fn read(raw: &Value) -> Option<Self> {
        let text = |name: &str| raw[name].as_str();
        if text("scheme")? != "exact" || raw["extra"].get("assetTransferMethod").is_some() {
            return None;
        }
        let network: Network = text("network")?.parse().ok()?;
        let asset: Address = text("asset")?.parse().ok()?;
        let lifetime =
            raw["maxTimeoutSeconds"].as_u64().filter(|secs| (1..=TIMEOUT_SECS_MAX).contains(secs))?;
        if asset != usdc(network) {
            return None;
        }
        Some(Self {
            raw: raw.clone(),
            network,
            amount: UsdMicros::from_base_units(text("amount")?).ok()?,
            asset,
            pay_to: text("payTo")?.parse().ok()?,
            lifetime: Duration::from_secs(lifetime),
            domain_name: raw["extra"]["name"].as_str()?.to_owned(),
            domain_version: raw["extra"]["version"].as_str()?.to_owned(),
        })
    }

    fn digest(&self, transfer: &TransferWithAuthorization) -> B256 {
        let domain = Eip712Domain::new(
            Some(self.domain_name.clone().into()),
            Some(self.domain_version.clone().into()),
            Some(U256::from(self.network.chain_id())),
            Some(self.asset),
            None,
        );
        transfer.eip712_signing_hash(&domain)
    }
}

/// Where USDC lives. An offer in another token is never signed.
pub(crate) fn usdc(network: Network) -> Address {
    match network {
        Network::Base => alloy::primitives::address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        Network::BaseSepolia => alloy::primitives::address!("036CbD53842c5426634e7929541eC2318f3dCF7e"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wallet::tests::KEY;

    const TO: &str = "0x1111111111111111111111111111111111111111";

    pub(crate) fn offer(network: Network, amount: &str) -> Value {
        let name = if network.is_test() { "USDC" } else { "USD Coin" };
        json!({ "scheme": "exact", "network": network.as_str(), "amount": amount,
                "asset": usdc(network).to_checksum(None), "payTo": TO, "maxTimeoutSeconds": 300,
                "extra": { "name": name, "version": "2" } })
    }

    pub(crate) fn header(accepts: Value) -> String {
        let resource = json!({ "url": "http://gw.example.test/tiers/v1/prototype" });
        STANDARD.encode(json!({ "x402Version": 2, "resource": resource, "accepts": accepts }).to_string())
    }

    // Contract 01 section 3.3, EIP-712 vectors.
    #[test]
    fn the_known_digests_and_signatures_come_out() {
        let vectors = [
            (
                Network::BaseSepolia,
                "0x8f3247cf19645b70c41ade5f3b9defac2e73c38161c2d36648ecc92642be7448",
                "0x797dac2e549f3f2deb4991a47d98d6a7250bd92c01f82f0aacc91131658fa1dc\
                 7155fd977f8d7378d0c2010f7ba4d60a08828420770a167a997401c9908b4c2a1c",
            ),
            (
                Network::Base,
                "0xabffbae6aa974e220a87c320f0d01d59c17b9ecbc122fde3e3a7322af379a99d",
                "0xed8e7336a7f81a5a0ede9188ffea89262a9adda929f45a5fbb7bee5b0017d844\
                 4777aa7198888dc65463d7f6a5806bf820b01715c87b6df9e00f3d3a3f65390f1b",
            ),
        ];
        let key = WalletKey::from_hex(KEY).unwrap();
        for (network, digest, signature) in vectors {
            let transfer = TransferWithAuthorization {
                from: key.address(),
                to: TO.parse().unwrap(),
                value: U256::from(100_000),
                validAfter: U256::from(1_893_552_000_u64),
                validBefore: U256::from(1_893_552_900_u64),
                nonce: B256::repeat_byte(0xab),
            };
            let ours = Offer::read(&offer(network, "100000")).unwrap().digest(&transfer);
            assert_eq!(ours.to_string(), digest);
            assert_eq!(key.sign_digest(&ours).unwrap(), signature);
        }
    }

    #[test]
    fn the_proof_echoes_the_offer_and_the_resource() {
        let challenge = Challenge::decode(&header(json!([offer(Network::BaseSepolia, "100000")]))).unwrap();
        let key = WalletKey::from_hex(KEY).unwrap();
        let proof = challenge.pay(&key, &challenge.offers[0], 1_893_552_600, [0xab; 32]).unwrap();
        let proof: Value = serde_json::from_slice(&STANDARD.decode(proof).unwrap()).unwrap();
        assert_eq!(proof["accepted"], offer(Network::BaseSepolia, "100000"));
        assert_eq!(proof["resource"]["url"], "http://gw.example.test/tiers/v1/prototype");
        let authorization = &proof["payload"]["authorization"];
        assert_eq!(authorization["validAfter"], "1893552000");
        assert_eq!(authorization["validBefore"], "1893552900");
        assert_eq!(authorization["nonce"], format!("0x{}", "ab".repeat(32)));
        assert!(proof["payload"]["signature"].as_str().unwrap().starts_with("0x797dac2e"));
        assert!(proof.get("extensions").is_none());
    }

    #[test]
    fn offers_that_we_do_not_sign_are_left_out() {
        let with = |name: &str, value: Value| {
            let mut odd = offer(Network::BaseSepolia, "100000");
            odd[name] = value;
            odd
        };
        for odd in [
            with("scheme", json!("upto")),
            with("network", json!("base-sepolia")),
            with("network", json!("eip155:1")),
            with("asset", json!(TO)),
            with("amount", json!("1e5")),
            with("amount", json!(100_000)),
            with("payTo", json!("nobody")),
            with("maxTimeoutSeconds", json!(301)),
            with("maxTimeoutSeconds", json!(0)),
            with("extra", json!({ "name": "USDC" })),
            with("extra", json!({ "name": "USDC", "version": "2", "assetTransferMethod": "permit2" })),
        ] {
            assert_eq!(Challenge::decode(&header(json!([odd]))).unwrap_err().code, "BAD_CHALLENGE", "{odd}");
            let both = json!([odd, offer(Network::Base, "5")]);
            assert_eq!(Challenge::decode(&header(both)).unwrap().offers.len(), 1);
        }
        for odd in ["", "!", "e30=", &STANDARD.encode(r#"{"x402Version":1,"accepts":[]}"#)] {
            assert_eq!(Challenge::decode(odd).unwrap_err().code, "BAD_CHALLENGE", "{odd}");
        }
    }

    #[test]
    fn the_first_offer_that_the_wallet_covers_is_chosen() {
        let both = json!([offer(Network::BaseSepolia, "100000"), offer(Network::Base, "100000")]);
        let challenge = Challenge::decode(&header(both)).unwrap();
        let chosen = |held: &[(Network, i64)]| {
            let balances = held.iter().map(|(network, micros)| (*network, UsdMicros(*micros))).collect();
            challenge.choose(&balances).map(|offer| offer.network)
        };
        assert_eq!(chosen(&[]), Ok(Network::BaseSepolia));
        assert_eq!(chosen(&[(Network::BaseSepolia, 0)]), Ok(Network::Base));
        assert_eq!(chosen(&[(Network::Base, 100_000)]), Ok(Network::Base));
        assert_eq!(chosen(&[(Network::BaseSepolia, 100_000), (Network::Base, 9)]), Ok(Network::BaseSepolia));
        let poor = chosen(&[(Network::BaseSepolia, 99_999), (Network::Base, 0)]).unwrap_err();
        assert_eq!(poor.code, "INSUFFICIENT_FUNDS");
    }
}
