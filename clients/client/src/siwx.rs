//! The `SIGN-IN-WITH-X` header: a wallet says who it is, for one request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use types::rfc3339;

use crate::{LocalError, WalletKey};

const STATEMENT: &str = "Sign in to Run402";
/// Always Base Sepolia's, whatever network is paid on.
const CHAIN_ID: u64 = 84532;
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// What is signed: the server's name, the full address of the request, the time, and 16 random bytes.
pub(crate) struct SignIn<'a> {
    /// The host without its port.
    pub domain: &'a str,
    /// Base, path and query.
    pub uri: &'a str,
    pub issued_at: DateTime<Utc>,
    pub nonce: [u8; 16],
}

/// The header's JSON. The order of the fields is that of the published client.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    domain: &'a str,
    address: String,
    statement: &'static str,
    uri: &'a str,
    version: &'static str,
    chain_id: String,
    r#type: &'static str,
    nonce: String,
    issued_at: String,
    expiration_time: String,
    signature: String,
}

/// The value of the header: base64 of the signed JSON.
///
/// # Source
/// Wire contract 01 section 2.2; EIP-4361 text, EIP-191 signature.
pub(crate) fn header(key: &WalletKey, sign_in: &SignIn<'_>) -> Result<String, LocalError> {
    let nonce = hex::encode(sign_in.nonce);
    let issued_at = rfc3339(sign_in.issued_at);
    let expiration_time = rfc3339(sign_in.issued_at + LIFETIME);
    let (domain, uri, address) = (sign_in.domain, sign_in.uri, key.address_text());
    let text = format!(
        "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{STATEMENT}\n\n\
         URI: {uri}\nVersion: 1\nChain ID: {CHAIN_ID}\nNonce: {nonce}\n\
         Issued At: {issued_at}\nExpiration Time: {expiration_time}"
    );
    let payload = Payload {
        domain,
        address,
        statement: STATEMENT,
        uri,
        version: "1",
        chain_id: format!("eip155:{CHAIN_ID}"),
        r#type: "eip191",
        nonce,
        issued_at,
        expiration_time,
        signature: key.sign_text(&text)?,
    };
    Ok(STANDARD.encode(serde_json::to_vec(&payload).expect("strings make JSON")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::wallet::tests::KEY;

    fn decoded(header: &str) -> Value {
        serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
    }

    // Contract 01 section 2.2, known-answer vector.
    #[test]
    fn the_known_answer_comes_out() {
        let sign_in = SignIn {
            domain: "gw.example.test",
            uri: "https://gw.example.test:8443/tiers/v1/status",
            issued_at: "2030-01-02T03:04:05.678Z".parse().unwrap(),
            nonce: hex::decode("00112233445566778899aabbccddeeff").unwrap().try_into().unwrap(),
        };
        let payload = decoded(&header(&WalletKey::from_hex(KEY).unwrap(), &sign_in).unwrap());
        assert_eq!(payload["expirationTime"], "2030-01-02T03:09:05.678Z");
        assert_eq!(payload["chainId"], "eip155:84532");
        assert_eq!(
            payload["signature"],
            "0x9f085e1c7926315a9a44c37092d79406cc79e747b8614c21f8073e9b112f6a44\
             6633658fe87f32f8f7045afa43e277fcb30c5eca733d4c42234667a5d352f81d1b"
        );
    }

    // A header captured from the published CLI 1.60.3, byte for byte; its key was made for the capture.
    #[test]
    fn a_captured_header_is_reproduced_byte_for_byte() {
        let key = "0xad47c01ef608a15bae1dc5abdff01c93f8ba4909f51246ef648179022eb82ff0";
        let sign_in = SignIn {
            domain: "127.0.0.1",
            uri: "http://127.0.0.1:28402/tiers/v1/status",
            issued_at: "2026-11-22T10:48:07.026Z".parse().unwrap(),
            nonce: hex::decode("278b35d0efae3ceb88fd803793ac4b0e").unwrap().try_into().unwrap(),
        };
        let ours = header(&WalletKey::from_hex(key).unwrap(), &sign_in).unwrap();
        assert_eq!(ours, include_str!("../vectors/siwx-header.txt").trim());
    }
}
