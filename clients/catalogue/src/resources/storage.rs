//! Uploads, and blobs: named objects of a project.

use crate::operation::{Auth, Gate, Kind, Media, Operation, Param, has, may};

const UPLOAD_ID: Param = Param::path("id", Kind::Text, "The upl_ id of the upload session.");
const KEY: Param = Param::path("key", Kind::Segments, "The blob's key; each segment is encoded by itself.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "storage.uploads.create",
        path: "/storage/v1/uploads",
        params: &[
            Param::body("key", Kind::Text, "The blob's key: a relative path of at most 1024 bytes.")
                .required(),
            Param::body("size_bytes", Kind::Integer, "Its size; up to 5 TiB.").required(),
            Param::body("content_type", Kind::Text, "Guessed from the key unless given."),
            Param::body("visibility", Kind::OneOf(&["public", "private"]), "Public unless given."),
            Param::body("immutable", Kind::Boolean, "Give it an address whose bytes never change."),
            Param::body("sha256", Kind::Text, "The bytes' SHA-256 in hex; needed when immutable."),
        ],
        auth: Auth::AnonKey,
        gate: Gate::Lifecycle,
        answer: &[
            has("upload_id", Kind::Text),
            has("mode", Kind::OneOf(&["single", "multipart"])),
            has("part_count", Kind::Integer),
            has("part_size_bytes", Kind::Integer),
            has("parts", Kind::List),
            has("expires_at", Kind::Time),
        ],
        summary: "Start the upload of a blob.",
        doc: "Each part comes with a presigned URL that takes its bytes by PUT; then complete the upload.",
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "storage.uploads.get",
        path: "/storage/v1/uploads/{id}",
        params: &[UPLOAD_ID],
        auth: Auth::AnonKey,
        answer: &[
            has("upload_id", Kind::Text),
            has("status", Kind::Text),
            has("parts", Kind::List),
            has("expires_at", Kind::Time),
        ],
        summary: "Show an upload session.",
        doc: "The status is active while its presigned URLs take bytes; parts lists those that arrived.",
        ..Operation::READ
    },
    Operation {
        id: "storage.uploads.complete",
        path: "/storage/v1/uploads/{id}/complete",
        params: &[
            UPLOAD_ID,
            Param::body("parts", Kind::List, "Of an upload in parts: part_number and etag."),
        ],
        auth: Auth::AnonKey,
        gate: Gate::Lifecycle,
        answer: &[
            may("key", Kind::Text),
            has("size_bytes", Kind::Integer),
            has("sha256", Kind::Text),
            may("url", Kind::Text),
            may("immutable_url", Kind::Text),
            may("cdn_url", Kind::Text),
            may("cdn_immutable_url", Kind::Text),
            may("etag", Kind::Text),
            may("sri", Kind::Text),
        ],
        summary: "Say that an upload's bytes are there.",
        doc: "The server checks size and SHA-256 and keeps the object. Repeating it gives the same answer: for a \
              blob, its addresses.",
        ..Operation::CHANGE
    },
    Operation {
        id: "storage.uploads.abort",
        path: "/storage/v1/uploads/{id}",
        params: &[UPLOAD_ID],
        auth: Auth::AnonKey,
        response: Media::Json,
        summary: "Give an upload up.",
        doc: "Discards staged bytes. Repeating it changes nothing.",
        ..Operation::REMOVAL
    },
    Operation {
        id: "storage.blobs.list",
        path: "/storage/v1/blobs",
        params: &[
            Param::query("prefix", Kind::Text, "Only keys that start like this."),
            Param::query("limit", Kind::Integer, "1 to 1000; 100 unless given."),
            Param::query("cursor", Kind::Text, "Where the page before ended."),
        ],
        auth: Auth::AnonKey,
        answer: &[has("blobs", Kind::List), may("next_cursor", Kind::Text)],
        summary: "List a project's blobs by key.",
        doc: "In the order of the keys' bytes; next_cursor leads to the next page.",
        cli: Some(&["blob", "ls"]),
        mcp: Some("blob_ls"),
        ..Operation::READ
    },
    Operation {
        id: "storage.blobs.diagnose",
        path: "/storage/v1/blobs/diagnose",
        params: &[
            Param::query("url", Kind::Text, "A public address of one of the project's blobs.").required()
        ],
        auth: Auth::AnonKey,
        answer: &[
            has("key", Kind::Text),
            has("canonicalUrl", Kind::Text),
            may("expectedSha256", Kind::Text),
            may("observedSha256", Kind::Text),
            has("hint", Kind::Text),
        ],
        summary: "Compare what a public address shows with what it should.",
        doc: "Looks at it once, as a visitor would.",
        cli: Some(&["blob", "diagnose"]),
        mcp: Some("diagnose_public_url"),
        ..Operation::READ
    },
    Operation {
        id: "storage.blobs.get",
        path: "/storage/v1/blob/{key}",
        params: &[KEY, Param::header("range", Kind::Text, "A range of bytes.")],
        auth: Auth::AnonKey,
        response: Media::Bytes,
        summary: "Read a blob.",
        doc: "Public and private ones; the header x-run402-sha256 names the bytes.",
        cli: Some(&["blob", "get"]),
        mcp: Some("blob_get"),
        ..Operation::READ
    },
    Operation {
        id: "storage.blobs.delete",
        path: "/storage/v1/blob/{key}",
        params: &[KEY],
        auth: Auth::AnonKey,
        answer: &[has("status", Kind::Text), has("key", Kind::Text)],
        summary: "Delete a blob.",
        doc: "Addresses of immutable versions go on showing what they showed.",
        cli: Some(&["blob", "rm"]),
        mcp: Some("blob_rm"),
        ..Operation::REMOVAL
    },
    Operation {
        id: "storage.blobs.sign",
        path: "/storage/v1/blob/{key}/sign",
        params: &[KEY, Param::body("ttl_seconds", Kind::Integer, "1 to 604800; 3600 unless given.")],
        auth: Auth::AnonKey,
        answer: &[
            has("signed_url", Kind::Text),
            has("expires_at", Kind::Time),
            has("expires_in", Kind::Integer),
        ],
        summary: "Make an address for a blob that works without a key.",
        doc: "It shows what the blob holds, until it ends or the blob is deleted.",
        cli: Some(&["blob", "sign"]),
        mcp: Some("blob_sign"),
        ..Operation::CHANGE
    },
    Operation {
        id: "storage.blobs.signed",
        path: "/storage/v1/signed/{token}",
        params: &[Param::path("token", Kind::Text, "As the address was made.")],
        response: Media::Bytes,
        summary: "Read a blob by a signed address.",
        doc: "Nothing but the address is needed.",
        ..Operation::READ
    },
    Operation {
        id: "storage.assets.put",
        path: "/apply/v1/service-asset-put",
        params: &[
            Param::header(
                "x-run402-asset-key",
                Kind::Text,
                "The blob's key, as it is or encoded as in a URL.",
            )
            .required(),
            Param::header(
                "x-run402-asset-visibility",
                Kind::OneOf(&["public", "private"]),
                "Who may read it without a key; public unless given.",
            ),
            Param::header(
                "x-run402-asset-immutable",
                Kind::OneOf(&["true", "false"]),
                "Whether it gets an address that shows these bytes for ever; false unless given.",
            ),
            Param::header(
                "x-run402-asset-exif-policy",
                Kind::OneOf(&["keep", "strip"]),
                "strip takes Exif out of JPEG, PNG and WebP; keep unless given.",
            ),
            Param::header(
                "x-run402-asset-metadata",
                Kind::Text,
                "base64url of a flat JSON object of at most 4096 bytes, kept with the blob.",
            ),
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        request: Media::Bytes,
        answer: &[
            has("key", Kind::Text),
            has("sha256", Kind::Text),
            has("size_bytes", Kind::Integer),
            has("content_type", Kind::Text),
            has("visibility", Kind::Text),
            has("immutable", Kind::Boolean),
            may("url", Kind::Text),
            may("immutable_url", Kind::Text),
            may("cdn_url", Kind::Text),
            may("cdn_immutable_url", Kind::Text),
            has("sri", Kind::Text),
            has("etag", Kind::Text),
            has("content_digest", Kind::Text),
            may("metadata", Kind::Object),
            has("image_exif_policy", Kind::Text),
        ],
        summary: "Put a blob whole, from a function.",
        doc: "The body is the bytes, up to 25 MiB, and Content-Type their type. They are kept as sent unless strip \
              is asked for; a broken picture is then refused, and image_exif_policy says what was done.",
        success: 201,
        ..Operation::CHANGE
    },
];
