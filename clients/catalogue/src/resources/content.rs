//! Content by its SHA-256: what is missing, where to put it, when it is there.

use crate::operation::{Auth, Gate, Kind, Media, Operation, Param, has};

const UPLOAD_ID: Param = Param::path("id", Kind::Text, "The upl_ id of the upload session.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "content.plans.create",
        ci: true,
        path: "/content/v1/plans",
        params: &[Param::body(
            "content",
            Kind::List,
            "Objects with sha256, size and, if known, content_type.",
        )
        .required()],
        auth: Auth::AnonKey,
        gate: Gate::Lifecycle,
        answer: &[
            has("plan_id", Kind::Text),
            has("expires_at", Kind::Time),
            has("entries", Kind::List),
            has("missing", Kind::List),
        ],
        summary: "Ask which content is missing, and where to upload it.",
        doc: "Each missing object comes with a session: one presigned URL that takes its bytes by PUT.",
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "content.plans.commit",
        ci: true,
        path: "/content/v1/plans/{id}/commit",
        params: &[Param::path("id", Kind::Text, "The cplan_ id of the content plan.")],
        auth: Auth::AnonKey,
        gate: Gate::Lifecycle,
        summary: "Take over everything that a content plan uploaded.",
        doc: "Verifies what is still staged. Repeating it changes nothing; absent bytes give 409.",
        ..Operation::CHANGE
    },
    Operation {
        id: "storage.uploads.get",
        path: "/storage/v1/uploads/{id}",
        params: &[UPLOAD_ID],
        auth: Auth::AnonKey,
        answer: &[has("upload_id", Kind::Text), has("status", Kind::Text), has("expires_at", Kind::Time)],
        summary: "Show an upload session.",
        doc: "The status is active while its presigned URL takes bytes.",
        ..Operation::READ
    },
    Operation {
        id: "storage.uploads.complete",
        path: "/storage/v1/uploads/{id}/complete",
        params: &[UPLOAD_ID],
        auth: Auth::AnonKey,
        gate: Gate::Lifecycle,
        summary: "Say that an upload's bytes are there.",
        doc: "The server checks size and SHA-256 and keeps the object. Repeating it gives the same answer.",
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
];
