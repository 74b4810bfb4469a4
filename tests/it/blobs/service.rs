//! Blobs that functions put whole, and folders that a deploy makes to hold what it puts.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::{Answer, Lab};

use super::{anon, get, upload, visit};
use crate::deploys::{kit, sha256};

const PUT: &str = "/apply/v1/service-asset-put";

async fn put(lab: &Lab, key: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Answer {
    let mut request = lab.http.post(lab.url(PUT)).bearer_auth(key).body(bytes);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    lab.send(request).await
}

fn service(project: &Value) -> &str {
    project["service_key"].as_str().unwrap()
}

/// A JPEG of no picture: Exif, another segment, a scan.
fn jpeg(exif: &[u8]) -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        [&[0xff, marker][..], &u16::try_from(data.len() + 2).unwrap().to_be_bytes(), data].concat()
    };
    let exif = if exif.is_empty() { Vec::new() } else { segment(0xe1, &[b"Exif\0\0", exif].concat()) };
    [&[0xff, 0xd8][..], &exif, &segment(0xe0, b"JFIF\0"), b"\xff\xda\0\x04ab\xff\xd9"].concat()
}

// Contract 03 section 6.2. Goal: a function puts a blob whole, with what is said of it; bytes stay as sent unless
// strip is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_put_whole_with_a_service_key() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let key = service(&project);
    let metadata = BASE64_URL_SAFE_NO_PAD.encode(r#"{"by":"ada","n":1}"#);
    let headers = [
        ("content-type", "text/plain"),
        ("x-run402-asset-key", "notes/a.txt"),
        ("x-run402-asset-visibility", "public"),
        ("x-run402-asset-immutable", "true"),
        ("x-run402-asset-exif-policy", "keep"),
        ("x-run402-asset-metadata", metadata.as_str()),
    ];
    let made = put(&lab, key, &headers, b"hello".to_vec()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["sha256"], sha256(b"hello"));
    assert_eq!((&made.body["content_type"], &made.body["size_bytes"]), (&json!("text/plain"), &json!(5)));
    assert_eq!(made.body["metadata"], json!({ "by": "ada", "n": 1 }));
    assert_eq!(made.body["image_exif_policy"], "keep");
    let shown = visit(&lab, made.body["cdn_immutable_url"].as_str().unwrap(), &[]).await;
    assert_eq!(shown.body, "hello", "{shown:?}");
    let again = put(&lab, key, &headers, b"hello".to_vec()).await;
    assert_eq!(again.body["sha256"], made.body["sha256"]);
    let listed = get(&lab, &project, "/storage/v1/blobs").await;
    assert_eq!(listed.body["blobs"][0]["metadata"], json!({ "by": "ada", "n": 1 }), "{listed:?}");
    // Written anew in another way, it has no metadata any more.
    upload(&lab, &project, "notes/a.txt", b"other", json!({})).await;
    let listed = get(&lab, &project, "/storage/v1/blobs").await;
    assert_eq!(listed.body["blobs"][0]["metadata"], Value::Null, "{listed:?}");

    let with = jpeg(b"GPS of my home");
    for (policy, kept, told) in [
        (None, with.clone(), "keep"),
        (Some("keep"), with.clone(), "keep"),
        (Some("strip"), jpeg(b""), "strip"),
    ] {
        let mut headers = vec![("content-type", "image/jpeg"), ("x-run402-asset-key", "p.jpg")];
        headers.extend(policy.map(|policy| ("x-run402-asset-exif-policy", policy)));
        let made = put(&lab, key, &headers, with.clone()).await;
        assert_eq!((made.status, &made.body["image_exif_policy"]), (201, &json!(told)), "{made:?}");
        assert_eq!(made.body["sha256"], sha256(&kept), "{policy:?}");
    }
    let text = [("x-run402-asset-key", "t.txt"), ("x-run402-asset-exif-policy", "strip")];
    let made = put(&lab, key, &text, b"no picture".to_vec()).await;
    assert_eq!(
        (made.status, &made.body["image_exif_policy"]),
        (201, &json!("keep")),
        "what was done is told"
    );
}

// I01, I02. Goal: nobody else's and nothing wrong is put, and nothing is read of who may not. Method: other keys,
// keys of blobs that are none, headers that are wrong, a broken picture, too many bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_not_put() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let good = ("x-run402-asset-key", "a.txt");
    for (key, status) in [(anon(&project), 403), ("a.b.c", 401)] {
        let refused = put(&lab, key, &[good], b"x".to_vec()).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    let key = service(&project);
    let nested = BASE64_URL_SAFE_NO_PAD.encode(r#"{"a":{}}"#);
    let long = BASE64_URL_SAFE_NO_PAD.encode(json!({ "a": "x".repeat(4_096) }).to_string());
    for (headers, bytes) in [
        (vec![], &b"x"[..]),
        (vec![("x-run402-asset-key", "../x")], b"x"),
        (vec![("x-run402-asset-key", "..%2fx")], b"x"),
        (vec![("x-run402-asset-key", "_cas/x")], b"x"),
        (vec![("x-run402-asset-key", "a%00b")], b"x"),
        (vec![good], b""),
        (vec![good, ("content-type", "nonsense")], b"x"),
        (vec![good, ("x-run402-asset-visibility", "everyone")], b"x"),
        (vec![good, ("x-run402-asset-metadata", nested.as_str())], b"x"),
        (vec![good, ("x-run402-asset-metadata", long.as_str())], b"x"),
        (vec![good, ("x-run402-asset-exif-policy", "strip")], b"\xff\xd8\xff\xe1\xff"),
    ] {
        let refused = put(&lab, key, &headers, bytes.to_vec()).await;
        assert_eq!(refused.status, 400, "{headers:?}: {refused:?}");
    }
    let limit = 25 << 20;
    let large = put(&lab, key, &[good], vec![7; 7 << 20]).await;
    assert_eq!(large.status, 201, "{large:?}");
    let refused = put(&lab, key, &[("x-run402-asset-key", "b")], vec![7; limit + 1]).await;
    assert_eq!((refused.status, &refused.body["code"]), (413, &json!("BODY_TOO_LARGE")), "{refused:?}");
    let listed = get(&lab, &project, "/storage/v1/blobs").await;
    assert_eq!(listed.body["blobs"].as_array().unwrap().len(), 1, "{listed:?}");
}

// Contract 02 section 11. Goal: a synced folder holds what the release puts and nothing else, judged when it goes live.
// Method: blobs in the folder, beside it and in one whose name begins alike; one more comes between plan and commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_synced_folder_holds_what_is_put_and_nothing_else() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    for key in ["img/old.txt", "img/deep/old.txt", "images/x.txt", "img.txt"] {
        upload(&lab, &project, key, b"old", json!({})).await;
    }
    let sha256 = sha256(b"new");
    let asset =
        |key: &str| json!({ "key": key, "sha256": sha256, "size_bytes": 3, "content_type": "text/plain" });
    let parts = json!({ "assets": { "put": [asset("img/new.txt")], "sync": { "prefix": "img/" } } });
    let plan = kit::plan(&lab, &wallet, &project, parts.clone(), &["new"]).await;
    assert_eq!(plan["asset_deletes"], json!(["img/deep/old.txt", "img/old.txt"]), "{plan}");
    assert_eq!(plan["asset_sync"]["prefixes"], json!(["img/"]));
    upload(&lab, &project, "img/late.txt", b"late", json!({})).await;
    let done = kit::send_commit(&lab, &wallet, &plan).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(kit::ended(&lab, &wallet, &plan).await["status"], "ready");
    let keys = async || {
        let listed = get(&lab, &project, "/storage/v1/blobs").await.body;
        let blobs = listed["blobs"].as_array().unwrap().clone();
        blobs.iter().map(|blob| blob["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys().await, ["images/x.txt", "img.txt", "img/new.txt"]);
    let same = kit::plan(&lab, &wallet, &project, parts, &["new"]).await;
    assert_eq!((&same["is_noop"], &same["asset_deletes"]), (&json!(true), &json!([])), "{same}");
    let all = json!({ "assets": { "sync": { "prefix": "" } } });
    let refused = crate::deploys::send_plan(&lab, &wallet, kit::spec(&project, all)).await;
    assert_eq!(
        (refused.status, &refused.body["resource"]),
        (400, &json!("assets.sync.prefix")),
        "{refused:?}"
    );
}
