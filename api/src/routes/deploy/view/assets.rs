//! What a plan says of blobs.

use plane::blob::AssetRef;
use plane::deploy::Planned;
use serde_json::{Value, json};

/// What later clients make their asset of: it is known before it is there.
pub(super) fn asset_entry(asset: &AssetRef) -> Value {
    json!({
        "key": asset.name.key,
        "sha256": asset.sha256,
        "size_bytes": asset.size_bytes,
        "asset_ref": crate::routes::blobs::asset_view(asset),
    })
}

/// Null when nothing is synced.
pub(super) fn asset_sync(planned: &Planned) -> Value {
    match planned.assets_synced.as_slice() {
        [] => Value::Null,
        prefixes => json!({ "prefixes": prefixes, "deletes": planned.assets_deleted }),
    }
}
