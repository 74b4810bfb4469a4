//! Deploys by CI workflows.

use crate::operation::{Auth, Field, Gate, Kind, Media, Operation, Param, has, may};

const ID: Param = Param::path("id", Kind::Text, "The binding: cib_ and 32 hex digits.");

const ROW: &[Field] = &[
    has("id", Kind::Text),
    has("project_id", Kind::Text),
    has("issuer", Kind::Text),
    has("subject_match", Kind::Text),
    has("allowed_actions", Kind::List),
    has("allowed_events", Kind::List),
    has("route_scopes", Kind::List),
    may("github_repository_id", Kind::Text),
    may("expires_at", Kind::Text),
    has("created_by", Kind::Text),
    has("created_at", Kind::Time),
    may("revoked_at", Kind::Time),
    may("last_used_at", Kind::Time),
    has("use_count", Kind::Integer),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "ci.bindings.create",
        path: "/ci/v1/bindings",
        params: &[
            Param::body("project_id", Kind::Text, "A project of the wallet's account.").required(),
            Param::body("provider", Kind::OneOf(&["github-actions"]), "Who runs the workflows.").required(),
            Param::body(
                "subject_match",
                Kind::Text,
                "The subject of their identity tokens, or its beginning and a *.",
            )
            .required(),
            Param::body("allowed_actions", Kind::List, "Exactly [\"deploy\"].").required(),
            Param::body("allowed_events", Kind::List, "Events that may deploy, sorted.").required(),
            Param::body(
                "route_scopes",
                Kind::List,
                "Routes that a deploy may change, such as /api/*; none unless named.",
            ),
            Param::body(
                "github_repository_id",
                Kind::Text,
                "The repository's number, so that another of its name is refused.",
            ),
            Param::body("expires_at", Kind::Text, "When it ends; never unless named."),
            Param::body("nonce", Kind::Text, "16 to 64 lower-case hex digits, never used before.").required(),
            Param::body("signed_delegation", Kind::Text, "Base64 of the signed delegation.").required(),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        answer: ROW,
        summary: "Let workflows deploy to a project.",
        doc: "The delegation is a sign-in message whose statement and one resource are functions of these values.",
        cli: Some(&["ci", "link", "github"]),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "ci.bindings.list",
        path: "/ci/v1/bindings",
        params: &[Param::query("project", Kind::Text, "The project.").required()],
        auth: Auth::Wallet,
        answer: &[has("bindings", Kind::List)],
        summary: "List a project's bindings.",
        doc: "Those that were revoked or are over stay in the list.",
        cli: Some(&["ci", "list"]),
        ..Operation::READ
    },
    Operation {
        id: "ci.bindings.get",
        path: "/ci/v1/bindings/{id}",
        params: &[ID],
        auth: Auth::Wallet,
        answer: ROW,
        summary: "Show a binding.",
        doc: "With created_sig: what was signed, by whom and when.",
        ..Operation::READ
    },
    Operation {
        id: "ci.bindings.revoke",
        path: "/ci/v1/bindings/{id}/revoke",
        params: &[ID],
        auth: Auth::Wallet,
        request: Media::None,
        answer: ROW,
        summary: "End a binding.",
        doc: "Its sessions are refused from their next request on; a deploy that was committed goes on.",
        cli: Some(&["ci", "revoke"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "ci.token_exchange",
        path: "/ci/v1/token-exchange",
        params: &[
            Param::body(
                "grant_type",
                Kind::Text,
                "urn:ietf:params:oauth:grant-type:token-exchange, and nothing else.",
            )
            .required(),
            Param::body("subject_token", Kind::Text, "The workflow's identity token; each works once.")
                .required(),
            Param::body(
                "subject_token_type",
                Kind::Text,
                "urn:ietf:params:oauth:token-type:jwt, and nothing else.",
            )
            .required(),
            Param::body("project_id", Kind::Text, "The project to deploy to.").required(),
        ],
        answer: &[
            has("access_token", Kind::Text),
            has("token_type", Kind::Text),
            has("expires_in", Kind::Integer),
            has("scope", Kind::Text),
        ],
        summary: "Exchange a workflow's identity token for a session.",
        doc: "The session deploys to this project and does nothing else.",
        ..Operation::CHANGE
    },
];
