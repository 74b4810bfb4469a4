//! Secrets of a project's functions.

use crate::operation::{Auth, Field, Gate, Kind, Operation, Param, has};

const PROJECT: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");
const KEY: Param = Param::path("key", Kind::Text, "A-Z, 0-9 and underscore, no digit first, up to 128.");
const VALUE: Param = Param::body("value", Kind::Text, "1 to 4096 bytes.").required();
const SET: &[Field] = &[has("status", Kind::Text), has("key", Kind::Text)];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "secrets.set",
        path: "/projects/v1/admin/{id}/secrets/{key}",
        params: &[PROJECT, KEY, VALUE],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SET,
        summary: "Set a secret.",
        doc: "Replaces the value that was there. Nobody reads it back; functions get it when they start.",
        cli: Some(&["secrets", "set"]),
        mcp: Some("set_secret"),
        ..Operation::CHANGE
    },
    Operation {
        id: "secrets.set_named",
        path: "/projects/v1/admin/{id}/secrets",
        params: &[
            PROJECT,
            Param::body("key", Kind::Text, "A-Z, 0-9 and underscore, no digit first, up to 128.").required(),
            VALUE,
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SET,
        summary: "Set a secret whose key travels in the body.",
        doc: "The same as the route that names the key.",
        ..Operation::CHANGE
    },
    Operation {
        id: "secrets.list",
        path: "/projects/v1/admin/{id}/secrets",
        params: &[PROJECT],
        auth: Auth::ServiceKey,
        summary: "List a project's secrets.",
        doc: "A list of keys with their times, sorted by key. Values are never shown.",
        cli: Some(&["secrets", "list"]),
        mcp: Some("list_secrets"),
        ..Operation::READ
    },
    Operation {
        id: "secrets.delete",
        path: "/projects/v1/admin/{id}/secrets/{key}",
        params: &[PROJECT, KEY],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SET,
        summary: "Delete a secret.",
        doc: "A release that requires the key cannot be deployed any more.",
        cli: Some(&["secrets", "delete"]),
        mcp: Some("delete_secret"),
        ..Operation::REMOVAL
    },
];
