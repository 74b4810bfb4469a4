//! The extension `payment-identifier`.

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Lab, Wallet, decode_challenge};

use super::{ROUTE, count, header_of, signed_payment, to_server};
use crate::nodes::two_servers;

const NAME: &str = "payment-identifier";

fn named(mut payment: Value, id: &Value) -> Value {
    payment["extensions"] = json!({ NAME: { "info": { "required": false, "id": id } } });
    payment
}

// A05: one name, eight at once over two servers: one settlement, one answer.
#[tokio::test]
async fn one_name_over_two_servers_is_one_settlement() {
    let (lab, _second, other) = two_servers().await;
    let wallet = lab.funded_wallet().await;
    let id = json!("order-0000000000000001");
    let first = header_of(&named(signed_payment(&lab, &wallet, ROUTE).await, &id));
    // The client signed anew under the same name: one of the two is charged, whichever is first.
    let second = header_of(&named(signed_payment(&lab, &wallet, ROUTE).await, &id));
    let asks = (0..8).map(|n| {
        let (base, payment) =
            (if n % 2 == 0 { &lab.api } else { &other }, if n % 4 < 2 { &first } else { &second });
        lab.send(to_server(&lab, base, &wallet, ROUTE).header("payment-signature", payment))
    });
    let answers = join_all(asks).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!((good.len(), bad.len()), (4, 4), "{answers:?}");
    assert!(good.iter().all(|a| a.body == good[0].body), "{good:?}");
    assert!(bad.iter().all(|a| a.status == 409 && a.body["code"] == "IDEMPOTENCY_KEY_REUSED"), "{bad:?}");
    assert_eq!(count(&lab, "select count(*) from payments").await, 1);
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}

// A06: a name has its form, belongs to its payer, and stands for one payload.
#[tokio::test]
async fn a_name_belongs_to_its_payer_and_stands_for_one_payload() {
    let lab = Lab::start().await;
    let (wallet, other) = (lab.funded_wallet().await, lab.funded_wallet().await);
    let (challenge, _) = lab.challenge(&wallet, ROUTE).await;
    assert_eq!(challenge["extensions"][NAME]["info"], json!({ "required": false }));
    let payment = signed_payment(&lab, &wallet, ROUTE).await;
    for bad in [json!("a".repeat(15)), json!("a".repeat(129)), json!("sixteen letters!"), json!(7)] {
        let refused = lab.present(&wallet, ROUTE, &named(payment.clone(), &bad)).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (400, &json!("PAYMENT_MALFORMED")),
            "{refused:?}"
        );
    }
    assert_eq!(count(&lab, "select count(*) from payments").await, 0);
    // Whoever only echoes the extension names nothing, which is allowed.
    let mut echoed = signed_payment(&lab, &other, ROUTE).await;
    echoed["extensions"] = challenge["extensions"].clone();
    assert_eq!(lab.present(&other, ROUTE, &echoed).await.status, 200);

    let id = json!("a".repeat(16));
    let bought = lab.present(&wallet, ROUTE, &named(payment.clone(), &id)).await;
    assert_eq!(bought.status, 200, "{bought:?}");
    let again = lab.present(&wallet, ROUTE, &named(payment, &id)).await;
    assert_eq!((again.status, &again.body), (200, &bought.body));
    let fresh = named(signed_payment(&lab, &wallet, ROUTE).await, &id);
    let refused = lab.present(&wallet, ROUTE, &fresh).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("IDEMPOTENCY_KEY_REUSED")),
        "{refused:?}"
    );
    let theirs: Wallet = lab.funded_wallet().await;
    let independent = named(signed_payment(&lab, &theirs, ROUTE).await, &id);
    assert_eq!(lab.present(&theirs, ROUTE, &independent).await.status, 200);
    let header =
        decode_challenge(refused.headers.get("payment-required").map_or("e30=", |h| h.to_str().unwrap()));
    assert_eq!(header, json!({}), "a name that was used is not cured by paying");
    lab.assert_books_agree();
}
