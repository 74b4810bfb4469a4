//! End users of a project.

use crate::operation::{Auth, Field, Gate, Kind, Method, Operation, Param, has, may};

const EMAIL: Param = Param::body("email", Kind::Text, "Compared without regard to case.");
const PASSWORD: Param = Param::body("password", Kind::Text, "8 to 256 bytes.");

const SETTINGS: &[Field] = &[
    has("allow_password_set", Kind::Boolean),
    may("preferred_sign_in_method", Kind::Text),
    has("public_signup", Kind::Text),
    has("require_passkey_for_project_admin", Kind::Boolean),
    has("allowed_email_domains", Kind::List),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "auth.signup",
        path: "/auth/v1/signup",
        params: &[EMAIL.required(), PASSWORD.required()],
        auth: Auth::AnonKey,
        answer: &[has("id", Kind::Text), has("email", Kind::Text), has("created_at", Kind::Time)],
        summary: "Make an account.",
        doc: "Answers the user without tokens: sign in with the password next. What the project's settings allow.",
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.token",
        path: "/auth/v1/token",
        params: &[
            Param::query(
                "grant_type",
                Kind::OneOf(&["password", "refresh_token"]),
                "How the user proves who they are; password unless given.",
            ),
            EMAIL,
            PASSWORD,
            Param::body("refresh_token", Kind::Text, "Works once; a second use ends the whole sign-in."),
        ],
        auth: Auth::AnonKey,
        answer: &[
            has("access_token", Kind::Text),
            has("refresh_token", Kind::Text),
            has("token_type", Kind::Text),
            has("expires_in", Kind::Integer),
            has("user", Kind::Object),
        ],
        summary: "Sign a user in, or refresh a sign-in.",
        doc: "The access token lives for an hour, the refresh token for 30 days.",
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.user",
        path: "/auth/v1/user",
        auth: Auth::User,
        answer: &[has("id", Kind::Text), has("email", Kind::Text), may("display_name", Kind::Text)],
        summary: "Show the signed-in user.",
        doc: "Fails as soon as the sign-in has ended, before its token's hour is over.",
        ..Operation::READ
    },
    Operation {
        id: "auth.logout",
        path: "/auth/v1/logout",
        auth: Auth::User,
        answer: &[has("status", Kind::Text)],
        summary: "End the sign-in of this token.",
        doc: "Its refresh tokens are dead at once. Logging out twice changes nothing.",
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.settings",
        method: Method::Patch,
        path: "/auth/v1/settings",
        params: &[
            Param::body("allow_password_set", Kind::Boolean, "Users without a password may set one."),
            Param::body(
                "preferred_sign_in_method",
                Kind::OneOf(&["password", "magic_link", "oauth_google", "passkey"]),
                "A hint for the project's pages; null clears it.",
            ),
            Param::body(
                "public_signup",
                Kind::OneOf(&["open", "known_email", "invite_only"]),
                "Who may make an account.",
            ),
            Param::body(
                "require_passkey_for_project_admin",
                Kind::Boolean,
                "Project admins have their role only after a passkey.",
            ),
            Param::body("allowed_email_domains", Kind::List, "Domains that Google sign-in is limited to."),
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SETTINGS,
        summary: "Change the auth settings.",
        doc: "What is left out stays. Answers all settings.",
        cli: Some(&["auth", "settings"]),
        mcp: Some("auth_settings"),
        ..Operation::CHANGE
    },
];
