//! End users of a project.

use crate::operation::{Auth, Field, Gate, Kind, Method, Operation, Param, has, may};

pub(super) const EMAIL: Param = Param::body("email", Kind::Text, "Compared without regard to case.");
pub(super) const CLIENT_STATE: Param = Param::body(
    "client_state",
    Kind::Object,
    "Any JSON up to 4096 bytes; given back as a text at the sign-in.",
);
const REDIRECT: Param =
    Param::body("redirect_url", Kind::Text, "A page of the project; `token` is added to its query.");
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
                Kind::OneOf(&["password", "refresh_token", "magic_link", "email_code", "authorization_code"]),
                "How the user proves who they are; password unless given.",
            ),
            EMAIL,
            PASSWORD,
            Param::body("refresh_token", Kind::Text, "Works once; a second use ends the whole sign-in."),
            Param::body("token", Kind::Text, "Of the mailed link."),
            Param::body("challenge_id", Kind::Text, "Of the answer to the request for a code."),
            Param::body(
                "code",
                Kind::Text,
                "The six digits of the mail, or what Google's answer brought the page.",
            ),
            Param::body(
                "code_verifier",
                Kind::Text,
                "The secret that the page began a sign-in with Google with.",
            ),
        ],
        auth: Auth::AnonKey,
        answer: &[
            has("access_token", Kind::Text),
            has("refresh_token", Kind::Text),
            has("token_type", Kind::Text),
            has("expires_in", Kind::Integer),
            has("user", Kind::Object),
            may("magic_link", Kind::Object),
            may("elevation_required", Kind::Boolean),
        ],
        summary: "Sign a user in, or refresh a sign-in.",
        doc: "The access token lives for an hour, the refresh token for 30 days.",
        cli: Some(&["auth", "verify"]),
        mcp: Some("verify_magic_link"),
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
        params: &[Param::body("everywhere", Kind::Boolean, "End all sign-ins of this user.")],
        auth: Auth::User,
        answer: &[has("status", Kind::Text)],
        summary: "End the sign-in of this token.",
        doc: "Its refresh tokens are dead at once. Logging out twice changes nothing.",
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.magic_link",
        path: "/auth/v1/magic-link",
        params: &[
            EMAIL.required(),
            REDIRECT,
            Param::body(
                "intent",
                Kind::OneOf(&["signin", "invite", "claim", "recovery"]),
                "Why; an invitation needs the service key.",
            ),
            CLIENT_STATE,
            Param::body(
                "delivery",
                Kind::OneOf(&["link", "code", "both"]),
                "A link unless told; a code alone needs no redirect_url.",
            ),
        ],
        auth: Auth::AnonKey,
        answer: &[has("message", Kind::Text), has("challenge_id", Kind::Text)],
        summary: "Mail a link or a code to sign in with.",
        doc: "The answer is the same whether the address may come in or not. A link works once, within 15 minutes; \
              5 requests per address in an hour. The user is made by the first use.",
        cli: Some(&["auth", "magic-link"]),
        mcp: Some("request_magic_link"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.password",
        method: Method::Put,
        path: "/auth/v1/user/password",
        params: &[
            Param::body("new_password", Kind::Text, "8 to 256 bytes.").required(),
            Param::body("current_password", Kind::Text, "Not needed within 15 minutes of a sign-in by mail."),
        ],
        auth: Auth::User,
        answer: &[has("status", Kind::Text)],
        summary: "Set, change or reset the user's password.",
        doc: "Ends the user's other sign-ins. A first password needs the setting allow_password_set.",
        cli: Some(&["auth", "set-password"]),
        mcp: Some("set_user_password"),
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.providers",
        path: "/auth/v1/providers",
        auth: Auth::AnonKey,
        answer: &[
            has("providers", Kind::List),
            has("password", Kind::Object),
            has("magic_link", Kind::Object),
            has("google", Kind::Object),
            has("passkey", Kind::Object),
            may("preferred_sign_in_method", Kind::Text),
            has("public_signup", Kind::Text),
        ],
        summary: "Show what a project's pages may offer to sign in with.",
        doc: "For the page that shows the buttons.",
        cli: Some(&["auth", "providers"]),
        ..Operation::READ
    },
    Operation {
        id: "auth.jwt_keys",
        path: "/internal/v1/project-jwt-keys",
        auth: Auth::ServiceKey,
        answer: &[has("keys", Kind::List)],
        summary: "Show the public keys of user tokens.",
        doc: "JSON Web Keys of P-256, the newest first: whatever verifies ES256 tokens of the project's users reads \
              them. Functions with the published library from 4.0 on are called with such tokens.",
        cli: Some(&["auth", "jwt-keys"]),
        ..Operation::READ
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
