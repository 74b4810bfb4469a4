//! Uploads are believed only after their bytes were hashed.

use futures::StreamExt;
use serde_json::{Value, json};
use tests::Lab;

use crate::deploys::{post, put, sha256};

async fn session(lab: &Lab, anon: &str, sha: &str, size: usize) -> (String, Value) {
    let answer =
        post(lab, anon, "/content/v1/plans", json!({ "content": [{ "sha256": sha, "size": size }] })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    (answer.body["plan_id"].as_str().unwrap().to_owned(), answer.body["missing"][0].clone())
}

#[tokio::test]
async fn bytes_of_another_hash_or_size_are_refused_and_the_right_ones_still_work() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let anon = project["anon_key"].as_str().unwrap();
    let good = b"the right bytes";
    let (plan, upload) = session(&lab, anon, &sha256(good), good.len()).await;
    assert_eq!(upload["mode"], "single");
    assert_eq!(upload["parts"].as_array().unwrap().len(), 1);
    let complete = format!("/storage/v1/uploads/{}/complete", upload["upload_id"].as_str().unwrap());
    let commit = format!("/content/v1/plans/{plan}/commit");

    let early = post(&lab, anon, &complete, json!({})).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("UPLOAD_INCOMPLETE")), "{early:?}");
    let early = post(&lab, anon, &commit, json!({})).await;
    assert_eq!(early.status, 409, "{early:?}");

    for wrong in [&b"the wrong bytes"[..], &b"short"[..]] {
        let sent = put(&lab, &upload, wrong).await;
        if sent.status < 300 {
            let answer = post(&lab, anon, &complete, json!({})).await;
            assert_eq!(answer.status, 422, "{answer:?}");
            let code = answer.body["code"].as_str().unwrap();
            assert!(matches!(code, "SHA256_MISMATCH" | "SIZE_MISMATCH"), "{answer:?}");
        }
    }
    assert!(put(&lab, &upload, good).await.status < 300);
    for _ in 0..2 {
        assert_eq!(post(&lab, anon, &complete, json!({})).await.status, 200, "completing is idempotent");
        assert!(post(&lab, anon, &commit, json!({})).await.status < 300);
    }
    let (_, gone) = session(&lab, anon, &sha256(good), good.len()).await;
    assert!(gone.is_null(), "present content is not asked for again: {gone}");
}

// Contract 02, open question 19. Goal: a deploy of many files is not slowed down by the project's rate, which 100
// requests a second are. Method: complete 400 announced uploads, 64 at a time.
#[tokio::test(flavor = "multi_thread")]
async fn announced_uploads_are_completed_at_any_rate() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let anon = project["anon_key"].as_str().unwrap();
    let content: Vec<_> = (0..400).map(|n: u32| sha256(&n.to_be_bytes())).collect();
    let content: Vec<_> = content.iter().map(|sha| json!({ "sha256": sha, "size": 4 })).collect();
    let plan = post(&lab, anon, "/content/v1/plans", json!({ "content": content })).await;
    let announced: Vec<String> = plan.body["missing"].as_array().unwrap().iter().map(complete).collect();
    assert_eq!(announced.len(), 400);
    let asks = announced.iter().map(|path| post(&lab, anon, path, json!({})));
    let answers: Vec<_> = futures::stream::iter(asks).buffer_unordered(64).collect().await;
    let others: Vec<_> = answers.iter().filter(|answer| answer.status != 409).collect();
    assert!(others.is_empty(), "no bytes came yet, and none is told to wait: {others:?}");
}

fn complete(session: &Value) -> String {
    format!("/storage/v1/uploads/{}/complete", session["upload_id"].as_str().unwrap())
}

// I05: another project's bytes are no oracle.
#[tokio::test]
async fn presence_is_judged_per_project() {
    let lab = Lab::start().await;
    let (_, one) = lab.project().await;
    let (_, two) = lab.project().await;
    let bytes = b"shared bytes";
    let (anon_one, anon_two) = (one["anon_key"].as_str().unwrap(), two["anon_key"].as_str().unwrap());
    let (plan, upload) = session(&lab, anon_one, &sha256(bytes), bytes.len()).await;
    put(&lab, &upload, bytes).await;
    assert!(post(&lab, anon_one, &format!("/content/v1/plans/{plan}/commit"), json!({})).await.status < 300);
    let (_, asked) = session(&lab, anon_two, &sha256(bytes), bytes.len()).await;
    assert!(asked.is_object(), "the other project must upload it itself");
    // Nor may it finish or read the other's session.
    let id = upload["upload_id"].as_str().unwrap();
    let stolen = post(&lab, anon_two, &format!("/storage/v1/uploads/{id}/complete"), json!({})).await;
    assert_eq!(stolen.status, 404, "{stolen:?}");
}

#[tokio::test]
async fn malformed_content_plans_are_refused() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let anon = project["anon_key"].as_str().unwrap();
    for bad in [
        json!({}),
        json!({ "content": [{ "sha256": "ABC", "size": 1 }] }),
        json!({ "content": [{ "sha256": sha256(b"x").to_uppercase(), "size": 1 }] }),
        json!({ "content": [{ "sha256": sha256(b"x"), "size": -1 }] }),
        json!({ "content": "x" }),
    ] {
        let answer = post(&lab, anon, "/content/v1/plans", bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    let nobody = post(&lab, "garbage", "/content/v1/plans", json!({ "content": [] })).await;
    assert_eq!(nobody.status, 401, "{nobody:?}");
    let huge = json!({ "content": [{ "sha256": sha256(b"x"), "size": 300_000_000_i64 }] });
    let answer = post(&lab, anon, "/content/v1/plans", huge).await;
    assert!(matches!(answer.status, 200 | 201 | 403), "{answer:?}");
}
