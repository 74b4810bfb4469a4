use alloy::primitives::U256;

use super::*;
use crate::{
    fake::FakeChain,
    signer::{KeySecret, LocalSigner, Signer},
    x402::wire,
};

const KEY: [u8; 32] = alloy::hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
const NOW: u64 = 1_893_552_600;

fn offer(network: Network) -> Offer {
    Offer { network, amount: UsdMicros(100_000), pay_to: Wallet([0x11; 20]), max_timeout_secs: 300 }
}

/// The message of the vectors in wire contract 01 section 3.3.
fn authorization() -> Authorization {
    Authorization {
        from: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap(),
        to: Wallet([0x11; 20]),
        value: UsdMicros(100_000),
        valid_after: 1_893_552_000,
        valid_before: 1_893_552_900,
        nonce: [0xab; 32],
    }
}

async fn sign(authorization: &Authorization, network: Network) -> Vec<u8> {
    let signer = LocalSigner::new(&KeySecret::new(Box::new(KEY))).unwrap();
    signer.sign_digest(signing_digest(authorization, network)).await.unwrap().to_vec()
}

async fn presented(authorization: Authorization, version: Version) -> Presented {
    let network = Network::BaseSepolia;
    Presented {
        identifier: None,
        version,
        scheme: SCHEME.to_owned(),
        network,
        accepted: (version == Version::V2).then(|| Requirements::from(&offer(network))),
        resource_url: None,
        authorization,
        signature: sign(&authorization, network).await,
    }
}

fn offers() -> [Offer; 2] {
    [offer(Network::Base), offer(Network::BaseSepolia)]
}

#[tokio::test]
async fn digests_and_signatures_are_the_known_ones() {
    for (network, digest, signature) in [
        (
            Network::BaseSepolia,
            "8f3247cf19645b70c41ade5f3b9defac2e73c38161c2d36648ecc92642be7448",
            "797dac2e549f3f2deb4991a47d98d6a7250bd92c01f82f0aacc91131658fa1dc7\
             155fd977f8d7378d0c2010f7ba4d60a08828420770a167a997401c9908b4c2a1c",
        ),
        (
            Network::Base,
            "abffbae6aa974e220a87c320f0d01d59c17b9ecbc122fde3e3a7322af379a99d",
            "ed8e7336a7f81a5a0ede9188ffea89262a9adda929f45a5fbb7bee5b0017d8444\
             777aa7198888dc65463d7f6a5806bf820b01715c87b6df9e00f3d3a3f65390f1b",
        ),
    ] {
        assert_eq!(hex::encode(signing_digest(&authorization(), network)), digest);
        assert_eq!(hex::encode(sign(&authorization(), network).await), signature);
    }
}

#[test]
fn payments_of_the_published_client_pass() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../testdata/x402.json")).unwrap();
    let pay_to = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap();
    for sample in vectors["payments"].as_array().unwrap() {
        let presented = wire::decode(sample["header"].as_str(), None).unwrap().unwrap();
        let offers = [Offer { pay_to, ..offer(Network::BaseSepolia) }];
        let now = presented.authorization.valid_before - 300;
        assert_eq!(check(&presented, &offers, now), Ok(&offers[0]));
    }
}

#[tokio::test]
async fn both_versions_find_their_offer() {
    for version in [Version::V1, Version::V2] {
        let good = presented(authorization(), version).await;
        assert_eq!(check(&good, &offers(), NOW), Ok(&offers()[1]));
    }
}

// A04, A15: what is paid must be what is asked, to the last unit.
#[tokio::test]
async fn another_amount_or_payee_is_refused_in_both_versions() {
    for version in [Version::V1, Version::V2] {
        for value in [0, 99_999, 100_001] {
            let other = Authorization { value: UsdMicros(value), ..authorization() };
            let refused = check(&presented(other, version).await, &offers(), NOW).unwrap_err();
            assert_eq!(refused, VerifyError::Value);
        }
        let other = Authorization { to: Wallet([0x12; 20]), ..authorization() };
        let refused = check(&presented(other, version).await, &offers(), NOW).unwrap_err();
        assert_eq!(refused, VerifyError::Recipient);
        assert_eq!(refused.reason(), "invalid_exact_evm_payload_recipient_mismatch");
    }
}

#[tokio::test]
async fn an_accepted_offer_that_differs_in_any_member_is_refused() {
    let good = presented(authorization(), Version::V2).await;
    let changes: [fn(&mut Requirements); 9] = [
        |r| r.amount = "99999".to_owned(),
        |r| r.amount = "0100000".to_owned(),
        |r| r.asset = "0x1111111111111111111111111111111111111111".to_owned(),
        |r| r.pay_to = "0x2222222222222222222222222222222222222222".to_owned(),
        |r| r.max_timeout_seconds = 299,
        |r| r.scheme = "upto".to_owned(),
        |r| r.extra.as_mut().unwrap().name = "USD Coin".to_owned(),
        |r| r.extra.as_mut().unwrap().version = "1".to_owned(),
        |r| drop(r.other.insert("discount".to_owned(), serde_json::json!(1))),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut other = good.clone();
        change(other.accepted.as_mut().unwrap());
        assert_eq!(check(&other, &offers(), NOW), Err(VerifyError::OfferMismatch), "change {at}");
    }
    let mut harmless = good.clone();
    let accepted = harmless.accepted.as_mut().unwrap();
    accepted.asset = accepted.asset.to_lowercase();
    accepted.other.insert("outputSchema".to_owned(), serde_json::Value::Null);
    assert!(check(&harmless, &offers(), NOW).is_ok());

    let mut bare = good.clone();
    bare.accepted.as_mut().unwrap().extra = None;
    assert_eq!(check(&bare, &offers(), NOW), Err(VerifyError::MissingDomain));
    let other_scheme = Presented { scheme: "upto".to_owned(), ..good.clone() };
    assert_eq!(check(&other_scheme, &offers(), NOW), Err(VerifyError::UnsupportedScheme));
    assert_eq!(check(&good, &[offer(Network::Base)], NOW), Err(VerifyError::NetworkMismatch));
    assert_eq!(check(&good, &[], NOW), Err(VerifyError::NetworkMismatch));
}

// A16, on the chain's time.
#[tokio::test]
async fn the_window_must_be_open_long_enough_and_not_absurd() {
    use VerifyError::{ValidAfter, ValidBefore};
    for (after, before, expected) in [
        (NOW, NOW + 6, Ok(())),
        (NOW + 1, NOW + 300, Err(ValidAfter)),
        (0, NOW + 5, Err(ValidBefore)),
        (0, NOW, Err(ValidBefore)),
        (0, 0, Err(ValidBefore)),
        (0, NOW + 300 + WINDOW_SLACK_SECS_MAX, Ok(())),
        (0, NOW + 301 + WINDOW_SLACK_SECS_MAX, Err(ValidBefore)),
        (0, i64::MAX as u64, Err(ValidBefore)),
    ] {
        let window = Authorization { valid_after: after, valid_before: before, ..authorization() };
        let found = check(&presented(window, Version::V2).await, &offers(), NOW).map(|_| ());
        assert_eq!(found, expected, "{after}..{before}");
    }
}

// A18, A19 and malleability.
#[tokio::test]
async fn only_the_payers_own_low_signature_over_our_domain_counts() {
    let good = presented(authorization(), Version::V2).await;
    let refused =
        |signature: Vec<u8>| check(&Presented { signature, ..good.clone() }, &offers(), NOW).unwrap_err();
    for bit in (0..65 * 8).step_by(3) {
        let mut other = good.signature.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(other), VerifyError::Signature, "bit {bit}");
    }
    let order =
        U256::from_be_bytes(alloy::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let mut twin = good.signature.clone();
    let high = order - U256::from_be_slice(&twin[32..64]);
    twin[32..64].copy_from_slice(&high.to_be_bytes::<32>());
    twin[64] ^= 27 ^ 28;
    assert_eq!(refused(twin), VerifyError::Signature);
    assert_eq!(refused(sign(&authorization(), Network::Base).await), VerifyError::Signature);
    assert_eq!(refused(good.signature[..64].to_vec()), VerifyError::Signature);
    assert_eq!(refused([good.signature.clone(), vec![0]].concat()), VerifyError::ContractSignature);
    let stranger = Authorization { from: Wallet([9; 20]), ..authorization() };
    let stolen = Presented { authorization: stranger, ..good.clone() };
    assert_eq!(check(&stolen, &offers(), NOW), Err(VerifyError::Signature));
}

#[tokio::test]
async fn simulation_tells_apart_why_the_chain_would_refuse() {
    let chain = FakeChain::new(Network::BaseSepolia, NOW);
    let (paid, lane) = (presented(authorization(), Version::V2).await, Wallet([5; 20]));
    let offer = offer(Network::BaseSepolia);
    let refused = simulate(&chain, &offer, &paid, lane).await.unwrap_err();
    assert!(matches!(refused, SimulateError::Insufficient { balance: UsdMicros(0) }), "{refused}");
    chain.fund(paid.authorization.from, UsdMicros(100_000));
    simulate(&chain, &offer, &paid, lane).await.unwrap();

    let late = Authorization { valid_before: NOW, ..authorization() };
    let refused = simulate(&chain, &offer, &presented(late, Version::V2).await, lane).await.unwrap_err();
    assert!(matches!(&refused, SimulateError::Reverted(why) if why.contains("expired")), "{refused}");
    chain.fail_reads(1);
    let refused = simulate(&chain, &offer, &paid, lane).await.unwrap_err();
    assert!(matches!(refused, SimulateError::Unavailable(_)), "{refused}");
}
