//! `[[chains]]` and `[keystore]`: where payments come from and who signs for us.

use std::path::PathBuf;

use secrecy::SecretString;
use types::{Network, UsdMicros, Wallet};

use super::defaults;
use super::reader::Section;

#[derive(Debug)]
pub struct ChainConfig {
    pub network: Network,
    /// One node, or several that must agree. May carry a provider's key.
    pub rpc_urls: Vec<SecretString>,
    pub payee: Wallet,
    /// Earlier payees: still watched.
    pub payees: Vec<Wallet>,
    /// Whom our facilitator settles for.
    pub facilitate: Vec<Wallet>,
    /// Whom it settled for before: still watched.
    pub facilitated_before: Vec<Wallet>,
    pub fee_payer: SignerConfig,
    pub faucet: Option<SignerConfig>,
    pub instant_max: UsdMicros,
    pub retained_blocks: u64,
}

/// Where a signing key is.
#[derive(Debug, Clone)]
pub enum SignerConfig {
    /// A name in the keystore.
    Keystore(String),
    /// An AWS KMS key of kind `ECC_SECG_P256K1`.
    Kms { key_id: String, region: Option<String>, endpoint: Option<String> },
}

/// Encrypted keys of this machine.
#[derive(Debug, Clone)]
pub struct KeystoreConfig {
    pub path: PathBuf,
    pub key_file: PathBuf,
}

impl ChainConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let wallet = "an address: 0x and 40 hex digits";
        let network =
            s.required::<Network>("network", "\"eip155:8453\" (Base) or \"eip155:84532\" (Base Sepolia)");
        let rpc_urls = rpc_urls(&mut s);
        let payee = s.required("payee", wallet);
        let payees = s.or("payees", Vec::new(), "a list of addresses that were paid before");
        let theirs = "a list of addresses: 0x and 40 hex digits";
        let facilitate = s.or("facilitate", Vec::new(), theirs);
        let facilitated_before = s.or("facilitated_before", Vec::new(), theirs);
        let fee_payer = SignerConfig::read(s.section("fee_payer"));
        let faucet = s.section_if_there("faucet").map(SignerConfig::read);
        let instant = s.or("instant_micros_max", defaults::INSTANT_MICROS_MAX, "millionths of a dollar");
        let retained_blocks = s.or("retained_blocks", defaults::RETAINED_BLOCKS, "a number of blocks");
        let test_only = faucet.is_none() || network.is_none_or(Network::is_test);
        s.check(test_only, "faucet", || "no faucet on a network of real money".to_owned());
        s.finish();
        Some(Self {
            network: network?,
            rpc_urls: rpc_urls?,
            payee: payee?,
            payees: payees?,
            facilitate: facilitate?,
            facilitated_before: facilitated_before?,
            fee_payer: fee_payer?,
            faucet: match faucet {
                Some(faucet) => Some(faucet?),
                None => None,
            },
            instant_max: UsdMicros(instant?.try_into().ok()?),
            retained_blocks: retained_blocks?,
        })
    }

    pub(super) fn needs_keystore(&self) -> bool {
        let signers = std::iter::once(&self.fee_payer).chain(&self.faucet);
        signers.into_iter().any(|signer| matches!(signer, SignerConfig::Keystore(_)))
    }
}

/// One URL, or a list of at least two whose nodes must agree (B10).
fn rpc_urls(s: &mut Section<'_>) -> Option<Vec<SecretString>> {
    let write =
        "rpc_url = \"URL\" of a JSON-RPC node, or rpc_urls = [\"URL\", \"URL\"] of several that must agree";
    let one = s.optional::<SecretString>("rpc_url", write)?;
    let several = s.optional::<Vec<SecretString>>("rpc_urls", write)?;
    let urls = match (one, several) {
        (Some(url), None) => vec![url],
        (None, Some(urls)) if urls.len() > 1 => urls,
        _ => Vec::new(),
    };
    s.check(!urls.is_empty(), "rpc_url", || write.to_owned());
    (!urls.is_empty()).then_some(urls)
}

impl SignerConfig {
    fn read(mut s: Section<'_>) -> Option<Self> {
        let keystore = s.optional::<String>("keystore", "the key's name in the keystore");
        let kms = s.optional::<String>("kms", "the id or ARN of a KMS key");
        let region = s.optional("kms_region", "an AWS region");
        let endpoint = s.optional("kms_endpoint", "a URL");
        let (keystore, kms) = (keystore?, kms?);
        s.check(keystore.is_some() != kms.is_some(), "keystore", || {
            "either keystore = \"name\" or kms = \"key id\"".to_owned()
        });
        s.finish();
        match (keystore, kms) {
            (Some(name), None) => Some(Self::Keystore(name)),
            (None, Some(key_id)) => Some(Self::Kms { key_id, region: region?, endpoint: endpoint? }),
            _ => None,
        }
    }
}

impl KeystoreConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let path = s.required("path", "the path of the keystore");
        let key_file = s.required("key_file", "the path of the file that opens it");
        s.finish();
        Some(Self { path: path?, key_file: key_file? })
    }
}
