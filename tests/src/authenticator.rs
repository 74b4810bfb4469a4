//! An authenticator and its browser in a few lines, which say whatever a test wants and sign it. Apart from the
//! library that judges them, and on another implementation of the curve.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Flags of authenticator data.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

/// One credential.
pub struct Authenticator {
    key: EcdsaKeyPair,
    pub id: Vec<u8>,
    pub handle: Vec<u8>,
    pub counter: u32,
}

/// What browser and authenticator are about to sign: right, until a test bends it.
#[derive(Debug, Clone)]
pub struct Say {
    pub kind: &'static str,
    pub challenge: String,
    pub origin: String,
    pub cross_origin: bool,
    pub rp_id: String,
    pub flags: u8,
    pub counter: u32,
    pub handle: Vec<u8>,
    /// Whether the browser says that the credential can be discovered.
    pub resident: bool,
}

impl Say {
    /// Without presence or without verification of the user, or with what a test likes.
    pub fn flip(mut self, flag: u8) -> Self {
        self.flags ^= flag;
        self
    }

    fn client_data(&self) -> Vec<u8> {
        let data = json!({
            "type": self.kind,
            "challenge": self.challenge,
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        });
        data.to_string().into_bytes()
    }

    fn head(&self) -> Vec<u8> {
        let mut data = Sha256::digest(&self.rp_id).to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        data
    }
}

impl Authenticator {
    pub const PRESENT: u8 = PRESENT;
    pub const VERIFIED: u8 = VERIFIED;
    /// May be on several devices.
    pub const BACKUP_ELIGIBLE: u8 = 0x08;
    pub const BACKED_UP: u8 = 0x10;

    /// A new credential for the user that these options name.
    pub fn new(options: &Value) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let handle = BASE64.decode(options["user"]["id"].as_str().unwrap()).unwrap();
        Self { key, id: rand::random::<[u8; 32]>().to_vec(), handle, counter: 1 }
    }

    /// What a browser at this origin would say to options of either kind. Counts.
    pub fn say(&mut self, options: &Value, origin: &str) -> Say {
        let creates = options.get("rp").is_some();
        let rp_id = if creates { &options["rp"]["id"] } else { &options["rpId"] };
        self.counter += 1;
        Say {
            kind: if creates { "webauthn.create" } else { "webauthn.get" },
            challenge: options["challenge"].as_str().unwrap().to_owned(),
            origin: origin.to_owned(),
            cross_origin: false,
            rp_id: rp_id.as_str().unwrap().to_owned(),
            flags: PRESENT | VERIFIED,
            counter: self.counter,
            handle: self.handle.clone(),
            resident: true,
        }
    }

    /// The answer of `navigator.credentials.create`.
    pub fn create(&self, say: &Say) -> Value {
        let mut data = Say { flags: say.flags | ATTESTED, ..say.clone() }.head();
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        data.extend(self.cose_key());
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut object = vec![0xa3, 0x63];
        object.extend(b"fmt\x64none\x67attStmt\xa0\x68authData\x59");
        object.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        object.extend(data);
        json!({
            "id": BASE64.encode(&self.id),
            "rawId": BASE64.encode(&self.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "response": {
                "clientDataJSON": BASE64.encode(say.client_data()),
                "attestationObject": BASE64.encode(object),
                "transports": ["internal", "hybrid"],
            },
            "clientExtensionResults": { "credProps": { "rk": say.resident } },
        })
    }

    /// The answer of `navigator.credentials.get`.
    pub fn get(&self, say: &Say) -> Value {
        let (data, client) = (say.head(), say.client_data());
        let signed = [data.as_slice(), Sha256::digest(&client).as_slice()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": BASE64.encode(&self.id),
            "rawId": BASE64.encode(&self.id),
            "type": "public-key",
            "response": {
                "clientDataJSON": BASE64.encode(client),
                "authenticatorData": BASE64.encode(data),
                "signature": BASE64.encode(signature.as_ref()),
                "userHandle": BASE64.encode(&say.handle),
            },
            "clientExtensionResults": {},
        })
    }

    /// The public key as COSE: EC2, ES256, P-256, x, y.
    fn cose_key(&self) -> Vec<u8> {
        let point = &self.key.public_key().as_ref()[1..];
        let mut cose = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01];
        cose.extend([0x21, 0x58, 0x20]);
        cose.extend(&point[..32]);
        cose.extend([0x22, 0x58, 0x20]);
        cose.extend(&point[32..]);
        cose
    }
}
