//! End users of a project, as its owner sees them.

use super::auth::{CLIENT_STATE, EMAIL};
use crate::operation::{Auth, Field, Gate, Kind, Operation, Param, has, may};

const PROJECT: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");

const USER: &[Field] = &[
    has("id", Kind::Text),
    has("email", Kind::Text),
    has("is_admin", Kind::Boolean),
    may("email_verified_at", Kind::Time),
];

const ROLE: &[Field] = &[has("status", Kind::Text), has("email", Kind::Text), has("is_admin", Kind::Boolean)];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "auth.users.want",
        path: "/auth/v1/admin/users",
        params: &[
            EMAIL.required(),
            Param::body("is_admin", Kind::Boolean, "A project admin or not; unchanged when left out."),
            Param::body("send_invite", Kind::Boolean, "Mail the user a link that admits them."),
            Param::body("redirect_url", Kind::Text, "Where that link leads; needed with send_invite."),
            CLIENT_STATE,
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: &[
            has("id", Kind::Text),
            has("email", Kind::Text),
            has("is_admin", Kind::Boolean),
            may("email_verified_at", Kind::Time),
            has("created", Kind::Boolean),
            has("invite_sent", Kind::Boolean),
        ],
        summary: "Make a user, or change the one of that address.",
        doc: "The user has no password and comes in by a link. 201 when the user is new, else 200.",
        cli: Some(&["auth", "create-user"]),
        mcp: Some("create_auth_user"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.users.list",
        path: "/auth/v1/admin/users",
        params: &[
            Param::query("after", Kind::Text, "The id after which to go on; next of the page before."),
            Param::query("limit", Kind::Integer, "1 to 1000, 100 unless told."),
        ],
        auth: Auth::ServiceKey,
        answer: &[has("users", Kind::List), may("next", Kind::Text)],
        summary: "List the project's users.",
        doc: "By id. Nothing of passwords and tokens is shown.",
        cli: Some(&["auth", "users"]),
        ..Operation::READ
    },
    Operation {
        id: "auth.users.get",
        path: "/auth/v1/admin/users/{id}",
        params: &[Param::path("id", Kind::Text, "The user's id.")],
        auth: Auth::ServiceKey,
        answer: USER,
        summary: "Show one user.",
        doc: "404 USER_NOT_FOUND for another project's.",
        cli: Some(&["auth", "user"]),
        ..Operation::READ
    },
    Operation {
        id: "auth.users.promote",
        path: "/projects/v1/admin/{id}/promote-user",
        params: &[PROJECT, EMAIL.required()],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: ROLE,
        summary: "Make a user a project admin.",
        doc: "The next token of the user carries the role, after a passkey where the settings ask for one.",
        cli: Some(&["projects", "promote-user"]),
        mcp: Some("promote_user"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.users.demote",
        path: "/projects/v1/admin/{id}/demote-user",
        params: &[PROJECT, EMAIL.required()],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: ROLE,
        summary: "Take a user's admin role away.",
        doc: "Tokens with the role are refused from the next request on.",
        cli: Some(&["projects", "demote-user"]),
        mcp: Some("demote_user"),
        ..Operation::CHANGE
    },
];
