//! One proof, many askers.

use futures::StreamExt;
use serde_json::json;
use tests::Wallet;

use super::{ROUTE, count, header_of, signed_payment, to_server};
use crate::nodes::{two_servers, two_servers_with};

const REQUESTS: usize = 1_000;
/// Requests under way at once.
const CLIENTS: usize = 100;

// A02: a thousand at once, over two servers, are one grant, one journal and one answer.
#[tokio::test]
async fn a_thousand_identical_proofs_over_two_servers_are_one_grant() {
    let (lab, _second, other) = two_servers().await;
    let wallet = lab.funded_wallet().await;
    let payment = header_of(&signed_payment(&lab, &wallet, ROUTE).await);
    // The same request may repeat its signature, which spares the test a thousand signings.
    let bases = [lab.api.clone(), other];
    let sign_in = bases.clone().map(|base| wallet.siwx(&base, ROUTE));
    let answers: Vec<_> = futures::stream::iter(0..REQUESTS)
        .map(|n| {
            let request = lab
                .http
                .post(format!("{}{ROUTE}", bases[n % 2]))
                .header("sign-in-with-x", &sign_in[n % 2])
                .header("payment-signature", &payment)
                .json(&json!({}));
            lab.send(request)
        })
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    assert_eq!(answers.len(), REQUESTS);
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.headers["payment-response"], answers[0].headers["payment-response"]);
    }
    assert_eq!(count(&lab, "select count(*) from payments").await, 1);
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(count(&lab, "select count(distinct nonce) from chain_txs where purpose = 'settle'").await, 1);
    assert_eq!(count(&lab, "select count(*) from ledger_transfers where source = 'x402'").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}

// A03: the same proof to two routes that cost the same, to two servers and by two wallets, at the same instant.
#[tokio::test]
async fn the_same_proof_to_two_routes_at_once_is_one_grant_in_total() {
    let same_price = |config| format!("{config}\n[prices.hobby]\nprice_micros = 100000\n");
    let (lab, _second, other) = two_servers_with(same_price).await;
    let wallet = lab.funded_wallet().await;
    let mut payment = signed_payment(&lab, &wallet, ROUTE).await;
    // Without the echo of the resource nothing in the proof says which of the two it is for.
    payment.as_object_mut().unwrap().remove("resource");
    let header = header_of(&payment);
    let stranger = Wallet::random();
    let asks = [
        (&other, "/tiers/v1/hobby", &wallet),
        (&other, ROUTE, &wallet),
        (&lab.api, ROUTE, &wallet),
        (&lab.api, "/tiers/v1/hobby", &wallet),
        (&other, "/projects/v1", &wallet),
        (&other, "/tiers/v1/hobby", &stranger),
        (&other, "/tiers/v1/hobby", &wallet),
        (&other, ROUTE, &wallet),
    ];
    let sent = asks.map(|(base, path, who)| {
        lab.send(to_server(&lab, base, who, path).header("payment-signature", &header))
    });
    let answers = futures::future::join_all(sent).await;
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 201 | 402 | 409), "{answer:?}");
    }
    let granted: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(granted.iter().all(|answer| answer.body == granted[0].body), "{granted:?}");
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(count(&lab, "select count(*) from payments").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    // Whoever won, it is spent, for every route and for everybody.
    for (path, who) in [("/tiers/v1/hobby", &wallet), (ROUTE, &stranger), ("/projects/v1", &stranger)] {
        let late = to_server(&lab, &other, who, path).header("payment-signature", &header);
        let late = lab.send(late).await;
        assert!(matches!(late.status, 402 | 409) || late.body == granted[0].body, "{path}: {late:?}");
    }
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    lab.assert_books_agree();
}
