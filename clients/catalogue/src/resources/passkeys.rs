//! Passkeys of a project's users.

use super::auth::EMAIL;
use crate::operation::{Auth, Field, Kind, Operation, Param, has, may};

const ORIGIN: Param = Param::body(
    "app_origin",
    Kind::Text,
    "The exact origin of the page: http://localhost with any port, a name of the project, or its own host.",
);
const CHALLENGE: Param = Param::body("challenge_id", Kind::Text, "Of the options; takes one answer.");
const RESPONSE: Param =
    Param::body("response", Kind::Object, "What navigator.credentials gave, as its toJSON writes it.");

const OPTIONS: &[Field] = &[has("challenge_id", Kind::Text), has("options", Kind::Object)];

const RECORD: &[Field] = &[
    has("id", Kind::Text),
    has("rp_id", Kind::Text),
    has("created_origin", Kind::Text),
    may("last_used_origin", Kind::Text),
    has("transports", Kind::List),
    may("label", Kind::Text),
    may("credential_device_type", Kind::Text),
    may("credential_backed_up", Kind::Boolean),
    has("created_at", Kind::Time),
    may("last_used_at", Kind::Time),
    may("disabled_at", Kind::Time),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "auth.passkeys.register_options",
        path: "/auth/v1/passkeys/register/options",
        params: &[ORIGIN.required()],
        auth: Auth::User,
        answer: OPTIONS,
        summary: "Begin to register a passkey.",
        doc: "Options for navigator.credentials.create, good for 5 minutes. The passkey belongs to the exact host.",
        cli: Some(&["auth", "passkey-register-options"]),
        mcp: Some("passkey_register_options"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.passkeys.register",
        path: "/auth/v1/passkeys/register/verify",
        params: &[
            CHALLENGE.required(),
            RESPONSE.required(),
            Param::body("label", Kind::Text, "A name for it, of 100 characters at most."),
        ],
        auth: Auth::User,
        answer: RECORD,
        summary: "Keep the passkey that the browser made.",
        doc: "A challenge takes one answer, right or wrong. A user has 50 passkeys at most.",
        cli: Some(&["auth", "passkey-register-verify"]),
        mcp: Some("passkey_register_verify"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.passkeys.login_options",
        path: "/auth/v1/passkeys/login/options",
        params: &[ORIGIN.required(), EMAIL],
        auth: Auth::AnonKey,
        answer: OPTIONS,
        summary: "Begin a sign-in by passkey.",
        doc: "Options for navigator.credentials.get. They name no account, whatever email says.",
        cli: Some(&["auth", "passkey-login-options"]),
        mcp: Some("passkey_login_options"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.passkeys.login",
        path: "/auth/v1/passkeys/login/verify",
        params: &[CHALLENGE.required(), RESPONSE.required()],
        auth: Auth::AnonKey,
        answer: &[
            has("access_token", Kind::Text),
            has("refresh_token", Kind::Text),
            has("token_type", Kind::Text),
            has("expires_in", Kind::Integer),
            has("user", Kind::Object),
        ],
        summary: "Trade a passkey's answer for a session.",
        doc: "Project admins have their role by it where the settings ask for a passkey. A passkey whose counter goes \
              back was copied and never signs in again.",
        cli: Some(&["auth", "passkey-login-verify"]),
        mcp: Some("passkey_login_verify"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.passkeys.list",
        path: "/auth/v1/passkeys",
        auth: Auth::User,
        answer: &[has("passkeys", Kind::List)],
        summary: "List the user's passkeys.",
        doc: "Of all hosts of the project, the oldest first.",
        cli: Some(&["auth", "passkeys"]),
        mcp: Some("list_passkeys"),
        ..Operation::READ
    },
    Operation {
        id: "auth.passkeys.remove",
        path: "/auth/v1/passkeys/{id}",
        params: &[Param::path("id", Kind::Text, "Of the passkey.")],
        auth: Auth::User,
        answer: &[has("status", Kind::Text)],
        summary: "Remove a passkey of the user.",
        doc: "Ends the other sign-ins that were made with it. 404 for another user's.",
        cli: Some(&["auth", "delete-passkey"]),
        mcp: Some("delete_passkey"),
        ..Operation::REMOVAL
    },
];
