//! Blobs: uploads in one piece and in parts, lists, reads, addresses, signatures; and what attacks them.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, eventually, fresh_folder, target_binary};

use crate::deploys::{Files, deploy, fetch, post, sha256};

mod attacks;
mod service;
mod words;

/// A lab where more than 1 MiB comes in parts.
pub async fn in_parts() -> Lab {
    let args = ["--single-put-bytes-max", "1048576"].map(str::to_owned).into();
    Lab::start_with(LabOptions { args, ..LabOptions::default() }).await
}

pub fn anon(project: &Value) -> &str {
    project["anon_key"].as_str().unwrap()
}

pub async fn begin(lab: &Lab, project: &Value, key: &str, size: usize, more: Value) -> Answer {
    let mut body = json!({ "key": key, "size_bytes": size });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post(lab, anon(project), "/storage/v1/uploads", body).await
}

pub async fn complete(lab: &Lab, project: &Value, session: &Value, body: Value) -> Answer {
    let path = format!("/storage/v1/uploads/{}/complete", session["upload_id"].as_str().unwrap());
    post(lab, anon(project), &path, body).await
}

/// The whole of an upload; the answer is the blob's addresses.
pub async fn upload(lab: &Lab, project: &Value, key: &str, bytes: &[u8], more: Value) -> Value {
    let begun = begin(lab, project, key, bytes.len(), more).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    for part in begun.body["parts"].as_array().unwrap() {
        let sent = put_part(lab, part, bytes).await;
        assert!(sent.status < 300, "{sent:?}");
    }
    let done = complete(lab, project, &begun.body, json!({})).await;
    assert_eq!(done.status, 200, "{done:?}");
    done.body
}

/// Puts the bytes that a part is for.
pub async fn put_part(lab: &Lab, part: &Value, bytes: &[u8]) -> Answer {
    let at = |name: &str| usize::try_from(part[name].as_u64().unwrap()).unwrap();
    let end = (at("byte_end") + 1).min(bytes.len());
    let piece = bytes[at("byte_start")..end].to_vec();
    lab.send(lab.http.put(part["url"].as_str().unwrap()).body(piece)).await
}

pub async fn get(lab: &Lab, project: &Value, path: &str) -> Answer {
    lab.send(lab.http.get(lab.url(path)).header("apikey", anon(project))).await
}

pub async fn delete(lab: &Lab, project: &Value, key: &str) -> Answer {
    let path = format!("/storage/v1/blob/{key}");
    lab.send(lab.http.delete(lab.url(&path)).header("apikey", anon(project))).await
}

/// What an address shows: asked of the lab, whatever the name resolves to.
pub async fn visit(lab: &Lab, url: &str, headers: &[(&str, &str)]) -> Answer {
    fetch(lab, url, reqwest::Url::parse(url).unwrap().path(), headers).await
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).and_then(|value| value.to_str().ok())
}

// Contract 02 sections 2.1 to 2.9. Goal: a blob goes in, is found under each of its addresses, read, signed, looked at
// and deleted. Method: the published clients' requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_put_read_signed_and_deleted() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let bytes = b"<svg xmlns='http://www.w3.org/2000/svg'/>";
    let sha = sha256(bytes);
    let more = json!({ "content_type": "image/svg+xml", "immutable": true, "sha256": sha });
    let asset = upload(&lab, &project, "img/logo one.svg", bytes, more.clone()).await;
    assert_eq!(asset["size_bytes"], bytes.len());
    assert_eq!((&asset["sha256"], &asset["immutable_suffix"]), (&json!(sha), &json!(&sha[..8])));
    assert_eq!(asset["etag"], format!("\"sha256-{sha}\""));
    assert!(asset["sri"].as_str().unwrap().starts_with("sha256-"), "{asset}");
    assert!(asset["content_digest"].as_str().unwrap().starts_with("sha-256=:"), "{asset}");
    let address = |name: &str| asset[name].as_str().unwrap().to_owned();
    assert!(address("cdn_url").ends_with("/_blob/img/logo%20one.svg"), "{asset}");
    let immutable = address("cdn_immutable_url");
    assert!(immutable.ends_with(&format!("/_blob/img/logo%20one-{}.svg", &sha[..8])), "{asset}");
    let again = upload(&lab, &project, "img/logo one.svg", bytes, more).await;
    assert_eq!(again, asset, "the same again is the same");

    for (url, kind) in [(address("cdn_url"), "mutable"), (immutable.clone(), "immutable")] {
        let shown = visit(&lab, &url, &[]).await;
        assert_eq!((shown.status, shown.body.as_str()), (200, Some(std::str::from_utf8(bytes).unwrap())));
        assert_eq!(header(&shown, "x-run402-blob-cache-kind"), Some(kind));
        assert_eq!(header(&shown, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&shown, "x-run402-content-sha256"), Some(sha.as_str()));
        assert_eq!(header(&shown, "cache-control").unwrap().contains("immutable"), kind == "immutable");
        let etag = header(&shown, "etag").unwrap().to_owned();
        assert_eq!(visit(&lab, &url, &[("if-none-match", &etag)]).await.status, 304);
        let part = visit(&lab, &url, &[("range", "bytes=1-3")]).await;
        assert_eq!((part.status, part.body.as_str()), (206, Some("svg")));
    }
    let by_key = get(&lab, &project, "/storage/v1/blob/img/logo%20one.svg").await;
    assert_eq!((by_key.status, header(&by_key, "x-run402-sha256")), (200, Some(sha.as_str())));
    let part = lab.http.get(lab.url("/storage/v1/blob/img/logo%20one.svg")).header("range", "bytes=0-3");
    let part = lab.send(part.header("apikey", anon(&project))).await;
    assert_eq!((part.status, part.body.as_str()), (206, Some("<svg")));

    let listed = get(&lab, &project, "/storage/v1/blobs?prefix=img/&limit=1").await;
    assert_eq!(
        (&listed.body["blobs"][0]["key"], &listed.body["next_cursor"]),
        (&json!("img/logo one.svg"), &Value::Null)
    );

    signed_and_private(&lab, &project).await;
    fresh_after_overwrite(&lab, &project).await;

    // A claimed name shows it too, and is preferred from then on.
    let files: Files<'_> = &[("index.html", b"home")];
    let live = deploy(&lab, &wallet, &project, files).await;
    let claim = json!({ "name": "blobs-here", "deployment_id": live["urls"]["deployment_id"] });
    let service = project["service_key"].as_str().unwrap();
    assert!(lab.with_key(service, "POST", "/subdomains/v1", Some(claim)).await.status < 300);
    let named = upload(&lab, &project, "a.txt", b"named", json!({})).await;
    assert!(named["url"].as_str().unwrap().contains("//blobs-here."), "{named}");
    assert_eq!(visit(&lab, named["url"].as_str().unwrap(), &[]).await.body, "named");
    assert_eq!(visit(&lab, named["cdn_url"].as_str().unwrap(), &[]).await.body, "named");

    let gone = delete(&lab, &project, "img/logo%20one.svg").await;
    assert_eq!((gone.status, &gone.body["key"]), (200, &json!("img/logo one.svg")));
    assert_eq!(delete(&lab, &project, "img/logo%20one.svg").await.status, 404);
    assert_eq!(visit(&lab, &address("cdn_url"), &[]).await.status, 404);
    assert_eq!(visit(&lab, &immutable, &[]).await.status, 200, "what was embedded stays");
}

async fn signed_and_private(lab: &Lab, project: &Value) {
    let asset = upload(lab, project, "secret/plan.txt", b"hush", json!({ "visibility": "private" })).await;
    for name in ["url", "immutable_url", "cdn_url", "cdn_immutable_url"] {
        assert_eq!(asset[name], Value::Null, "{asset}");
    }
    let own =
        upload(lab, project, "open.txt", b"open", json!({})).await["cdn_url"].as_str().unwrap().to_owned();
    let guessed = own.replace("open.txt", "secret/plan.txt");
    assert_eq!(visit(lab, &guessed, &[]).await.status, 404);
    assert_eq!(get(lab, project, "/storage/v1/blob/secret/plan.txt").await.body, "hush");
    let sign = |ttl: Value| post(lab, anon(project), "/storage/v1/blob/secret/plan.txt/sign", ttl);
    let signed = sign(json!({ "ttl_seconds": 60 })).await;
    assert_eq!((signed.status, &signed.body["expires_in"]), (200, &json!(60)), "{signed:?}");
    let url = signed.body["signed_url"].as_str().unwrap().to_owned();
    assert_eq!(lab.send(lab.http.get(&url)).await.body, "hush");
    for ttl in [json!({ "ttl_seconds": 0 }), json!({ "ttl_seconds": 604_801 })] {
        assert_eq!(sign(ttl).await.status, 400);
    }
    assert_eq!(sign(json!({})).await.body["expires_in"], 3600);
    let bent = url.replace("/signed/", "/signed/x");
    assert_eq!(lab.send(lab.http.get(&bent)).await.status, 403);
    let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 61 }));
    assert_eq!(lab.send(moved).await.status, 200);
    let late = lab.send(lab.http.get(&url)).await;
    assert_eq!((late.status, &late.body["code"]), (403, &json!("SIGNED_URL_EXPIRED")));
    let looked = look(lab, project, &guessed).await;
    assert_eq!(
        (&looked.body["observedSha256"], &looked.body["expectedSha256"]),
        (&Value::Null, &json!(sha256(b"hush")))
    );
}

async fn look(lab: &Lab, project: &Value, url: &str) -> Answer {
    let query =
        reqwest::Url::parse_with_params(&lab.url("/storage/v1/blobs/diagnose"), &[("url", url)]).unwrap();
    lab.send(lab.http.get(query).header("apikey", anon(project))).await
}

async fn fresh_after_overwrite(lab: &Lab, project: &Value) {
    let first = upload(lab, project, "data.json", b"{\"v\":1}", json!({})).await;
    let url = first["cdn_url"].as_str().unwrap();
    for text in ["{\"v\":2}", "{\"v\":3}"] {
        upload(lab, project, "data.json", text.as_bytes(), json!({})).await;
        assert_eq!(visit(lab, url, &[]).await.body, serde_json::from_str::<Value>(text).unwrap());
        let looked = look(lab, project, url).await;
        assert_eq!(looked.status, 200, "{looked:?}");
        for name in ["observedSha256", "expectedSha256"] {
            assert_eq!(looked.body[name], sha256(text.as_bytes()), "{looked:?}");
        }
        assert_eq!(looked.body["pathKind"], "blob-mutable");
        assert_eq!(looked.body["cache"]["cacheKind"], "mutable");
    }
    for bad in ["http://evil.example/_blob/x", "x", "http://localhost/_blob/x", "file:///etc/passwd"] {
        assert_eq!(look(lab, project, bad).await.status, 400, "{bad}");
    }
    let (_, other) = lab.project().await;
    assert_eq!(look(lab, &other, url).await.status, 403);
}
