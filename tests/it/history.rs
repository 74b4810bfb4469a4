//! An account's history, page by page.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Lab, Wallet};

use crate::suspense::run402;

async fn page(lab: &Lab, wallet: &Wallet, query: &str) -> Value {
    let answer = lab.get(&format!("/billing/v1/accounts/{}/history{query}", wallet.address())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn ids(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

// Goal: walking down loses and doubles nothing, whatever is posted meanwhile. Method: two purchases, one more between
// any two pages.
#[tokio::test]
async fn pages_of_a_history_neither_lose_nor_double_what_was_there() {
    let lab = Lab::start().await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 10_000_000).await;
    for _ in 0..3 {
        assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    }
    let before: BTreeSet<String> = ids(&page(&lab, &wallet, "").await).into_iter().collect();
    assert_eq!(before.len(), 6, "three deposits, three charges");

    let (mut walked, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let shown = page(&lab, &wallet, &query).await;
        walked.extend(ids(&shown));
        let next = shown["next_cursor"].as_str();
        assert_eq!(shown["has_more"], next.is_some(), "{shown}");
        let Some(next) = next else { break };
        query = format!("?limit=2&after={next}");
        assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    }
    assert_eq!(walked.len(), 6, "{walked:?}");
    assert_eq!(walked.iter().cloned().collect::<BTreeSet<_>>(), before);
    assert_eq!(page(&lab, &wallet, "?limit=200").await["entries"].as_array().unwrap().len(), 10);

    let told = run402(&lab, &wallet, &["billing", "history", "--limit", "1", "--after", &walked[0]]);
    assert_eq!(ids(&told), [walked[1].clone()]);
    for bad in ["?after=x", "?after=led_", "?after=led_0", "?after=led_-1", "?after=1"] {
        let path = format!("/billing/v1/accounts/{}/history{bad}", wallet.address());
        assert_eq!(lab.get(&path).await.status, 400, "{bad}");
    }
    lab.assert_books_agree();
}
