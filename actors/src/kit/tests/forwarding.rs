//! Messages to entities that another node holds.

use uuid::Uuid;

use super::probe::{Ask, Fate, Key, Peers, probes};
use super::{CALL, Limits};
use crate::kit::{ActorError, Forwarded, Kind};
use crate::testing::{NETWORK, PRICE, World, key};
use crate::{payment, wallet};

// E07. Goal: one hop, and a message that comes twice, not at all or without an answer does its work at most once.
#[tokio::test]
async fn a_message_hops_once_and_a_repeated_or_lost_one_has_one_effect() {
    let world = World::start().await;
    let (one, two) = (world.node().await, world.node().await);
    let peers = Peers::new();
    let first = probes(&one.deps, Limits::default(), peers.clone()).await;
    let second = probes(&two.deps, Limits::default(), peers.clone()).await;
    peers.join(one.deps.node, first.clone());
    peers.join(two.deps.node, second.clone());
    let key = Key(Uuid::from_u128(1));
    let once = |name: &str| Ask::Once(name.to_owned());
    second.call(key, Ask::Touch, CALL).await.unwrap();

    let told = first.call(key, once("a"), CALL).await.unwrap();
    assert_eq!((told.node, told.effects, peers.sent()), (two.deps.node, 1, 1));
    // What was forwarded is not forwarded again.
    let here = first.call_here(key, once("a"), CALL).await.unwrap_err();
    assert!(matches!(here, ActorError::PeerSilent), "{here:?}");

    peers.henceforth(Fate::ArrivesTwice);
    assert_eq!(first.call(key, once("b"), CALL).await.unwrap().effects, 2);
    peers.henceforth(Fate::AnswerLost);
    let unknown = first.call(key, once("c"), CALL).await.unwrap_err();
    assert!(matches!(unknown, ActorError::OutcomeUnknown), "{unknown:?}");
    assert_eq!(unknown.into_problem().code, types::Code::OutcomeUnknown);
    peers.henceforth(Fate::Lost);
    let silent = first.call(key, once("c"), CALL).await.unwrap_err();
    assert!(matches!(silent, ActorError::PeerSilent), "{silent:?}");
    peers.henceforth(Fate::Arrives);
    assert_eq!(first.call(key, once("c"), CALL).await.unwrap().effects, 3, "the repeat found it done");

    // A panic over there is answered here as what it is.
    let unknown = first.call(key, Ask::Panic, CALL).await.unwrap_err();
    assert_eq!(unknown.into_problem().code, types::Code::OutcomeUnknown);
    one.stop().await;
    two.stop().await;
    world.stop().await;
}

// E07. Goal: the real kinds take a message twice. Method: forward each of a payment's messages twice, at once.
#[tokio::test]
async fn a_payment_whose_messages_all_come_twice_is_one_transaction_and_one_credit() {
    let world = World::start().await;
    let node = world.node().await;
    let payment = world.present(&key(1), PRICE).await;
    let lane = wallet::settlement_lane(&node.deps, NETWORK).unwrap();
    let settle = |kind: &str, entity, request| Forwarded {
        kind: kind.to_owned(),
        entity,
        request: serde_json::to_value(request).unwrap(),
        timeout: CALL,
    };
    let twice = async |message: Forwarded| {
        let (one, two) = tokio::join!(
            node.actors().answer_forwarded(message.clone()),
            node.actors().answer_forwarded(message.clone())
        );
        assert_eq!(one.unwrap(), two.unwrap(), "{message:?}");
    };
    let to_lane = serde_json::to_value(wallet::Request::Settle { payment: payment.id }).unwrap();
    twice(settle(wallet::Lane::NAME, lane.0, to_lane)).await;
    world.chain.mine();
    node.tick().await;
    let step = || serde_json::to_value(payment::Request::Step).unwrap();
    twice(settle(payment::Payment::NAME, payment.id.0, step())).await;
    let credit = serde_json::to_value(crate::lease::Request::Credit { payment: payment.id }).unwrap();
    twice(settle(crate::lease::Lease::NAME, payment.account.0, credit)).await;

    assert_eq!(world.payment(payment.id).await.credits, 1);
    assert_eq!(world.store.chain_txs_of_intent(payment.id.0).await.unwrap().len(), 1);
    world.check_books().await;
    let odd = settle("nothing", payment.id.0, step());
    assert_eq!(node.actors().answer_forwarded(odd).await.unwrap_err().code, types::Code::NotFound);
    node.stop().await;
    world.stop().await;
}
