//! Blobs that functions put whole.

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use plane::Plane;
use plane::blob::{ASSET_BYTES_MAX, NewAsset, PutAsset, Visibility};
use serde_json::{Map, Value, json};
use types::{Code, Problem};

use super::blobs::asset_view;
use crate::app::AppState;
use crate::extract::Who;
use crate::problem::ApiProblem;

/// Its body is larger than others, so it is read only for who may send it.
pub(crate) const PUT: &str = "/apply/v1/service-asset-put";
const KEY: &str = "x-run402-asset-key";
const VISIBILITY: &str = "x-run402-asset-visibility";
const IMMUTABLE: &str = "x-run402-asset-immutable";
const EXIF_POLICY: &str = "x-run402-asset-exif-policy";
const METADATA: &str = "x-run402-asset-metadata";

pub fn routes() -> Router<AppState> {
    Router::new().route(PUT, post(put))
}

/// `POST /apply/v1/service-asset-put`: the bytes are the body, everything else is in headers.
///
/// # Source
/// Wire contract 03 section 6.2.
async fn put(
    State(plane): State<Plane>,
    Who(caller): Who,
    request: Request,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let project = plane.asset_putter(&caller).await?;
    let (parts, body) = request.into_parts();
    let new = described(&parts.headers)?;
    let bytes = whole(body).await?;
    let put = plane.asset_put(project, new, bytes).await?;
    Ok((StatusCode::CREATED, Json(put_view(&put))))
}

async fn whole(body: HttpBody) -> Result<Bytes, ApiProblem> {
    match Limited::new(body, ASSET_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => {
            let text = format!("the body is larger than {ASSET_BYTES_MAX} bytes");
            Err(Problem::new(Code::BodyTooLarge, text).detail("bytes_max", ASSET_BYTES_MAX).into())
        }
        Err(_) => Err(ApiProblem::new(Code::BadRequest, "the body broke off")),
    }
}

fn described(headers: &HeaderMap) -> Result<NewAsset, ApiProblem> {
    let key = text(headers, KEY)?.ok_or_else(|| bad(KEY, "it is missing"))?;
    let visibility = match text(headers, VISIBILITY)? {
        None => Visibility::Public,
        Some(word) => {
            let known = Visibility::ALL.into_iter().find(|known| known.as_str() == word);
            known.ok_or_else(|| bad(VISIBILITY, "public or private is needed"))?
        }
    };
    let immutable = match text(headers, IMMUTABLE)? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad(IMMUTABLE, "true or false is needed")),
    };
    let strips_exif = match text(headers, EXIF_POLICY)? {
        None | Some("keep") => false,
        Some("strip") => true,
        Some(_) => return Err(bad(EXIF_POLICY, "keep or strip is needed")),
    };
    let metadata = text(headers, METADATA)?.map(metadata).transpose()?;
    let content_type = text(headers, header::CONTENT_TYPE.as_str())?.map(str::to_owned);
    let key = decoded(key).unwrap_or_else(|| key.to_owned());
    Ok(NewAsset { key, content_type, visibility, immutable, strips_exif, metadata })
}

/// A header holds no letter beyond ASCII as it is, so a key may come encoded as in a URL. None when it is not.
fn decoded(key: &str) -> Option<String> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, left) = match (first, after) {
            (b'%', [high, low, left @ ..]) => (hex::decode([*high, *low]).ok()?[0], left),
            (b'%', _) => return None,
            (byte, left) => (*byte, left),
        };
        out.push(byte);
        rest = left;
    }
    String::from_utf8(out).ok()
}

fn metadata(encoded: &str) -> Result<Map<String, Value>, ApiProblem> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded));
    let bytes = bytes.map_err(|_| bad(METADATA, "this is not base64url"))?;
    serde_json::from_slice(&bytes).map_err(|_| bad(METADATA, "this is no JSON object"))
}

/// One value, or none when it is empty.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiProblem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad(name, "it is there twice"));
    }
    let value = value.to_str().map_err(|_| bad(name, "it is not plain text"))?.trim();
    Ok((!value.is_empty()).then_some(value))
}

fn bad(name: &str, why: &str) -> ApiProblem {
    ApiProblem::new(Code::BadRequest, format!("header {name}: {why}"))
}

fn put_view(put: &PutAsset) -> Value {
    let mut view = asset_view(&put.asset);
    view["metadata"] = json!(put.metadata);
    // What was done, not what was asked for.
    view["image_exif_policy"] = json!(if put.is_stripped { "strip" } else { "keep" });
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn what_is_not_said_is_public_mutable_and_kept_as_it_is() {
        let read = described(&headers(&[(KEY, "a/b.png")])).unwrap_or_else(|_| panic!("refused"));
        assert_eq!((read.key.as_str(), read.visibility), ("a/b.png", Visibility::Public));
        assert!(
            !read.immutable && !read.strips_exif && read.metadata.is_none() && read.content_type.is_none()
        );
        let data = URL_SAFE_NO_PAD.encode(r#"{"a":1}"#);
        let all = headers(&[
            (KEY, "%C3%BC.png"),
            (VISIBILITY, "private"),
            (IMMUTABLE, "true"),
            (EXIF_POLICY, "strip"),
            (METADATA, &data),
            ("content-type", "image/png"),
        ]);
        let read = described(&all).unwrap_or_else(|_| panic!("refused"));
        assert_eq!((read.key.as_str(), read.visibility), ("ü.png", Visibility::Private));
        assert!(read.immutable && read.strips_exif);
        assert_eq!(
            (read.metadata.unwrap()["a"].clone(), read.content_type.unwrap()),
            (json!(1), "image/png".into())
        );
    }

    #[test]
    fn a_key_may_come_as_it_is_or_encoded() {
        for (sent, key) in
            [("a b.png", "a b.png"), ("100%.png", "100%.png"), ("img%2Fa%20b.png", "img/a b.png")]
        {
            assert_eq!(described(&headers(&[(KEY, sent)])).unwrap_or_else(|_| panic!("refused")).key, key);
        }
    }

    #[test]
    fn what_is_said_wrongly_is_refused() {
        for (name, value) in [
            (VISIBILITY, "all"),
            (IMMUTABLE, "1"),
            (EXIF_POLICY, "auto"),
            (METADATA, "not base64!"),
            (METADATA, "W10"),
        ] {
            assert!(described(&headers(&[(KEY, "a"), (name, value)])).is_err(), "{name}: {value}");
        }
        assert!(described(&HeaderMap::new()).is_err());
        let mut twice = headers(&[(KEY, "a")]);
        twice.append(KEY, "b".parse().unwrap());
        assert!(described(&twice).is_err());
    }
}
