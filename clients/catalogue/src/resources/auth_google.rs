//! Signing in with Google: for browsers.

use crate::operation::{Auth, Kind, Media, Operation, Param, has};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "auth.google.start",
        path: "/auth/v1/oauth/google/start",
        params: &[
            Param::body("redirect_url", Kind::Text, "The page of the project that gets the code.").required(),
            Param::body("code_challenge", Kind::Text, "Base64url of the SHA-256 of a secret of the page.")
                .required(),
            Param::body("code_challenge_method", Kind::OneOf(&["S256"]), "The only one."),
            Param::body("mode", Kind::OneOf(&["redirect", "popup"]), "A popup ends at the same URL."),
            Param::body(
                "intent",
                Kind::OneOf(&["signin", "link"]),
                "To add the account to the signed-in user, send the user's token as bearer.",
            ),
        ],
        auth: Auth::AnonKey,
        answer: &[
            has("authorization_url", Kind::Text),
            has("state", Kind::Text),
            has("expires_in", Kind::Integer),
        ],
        summary: "Begin a sign-in with Google.",
        doc: "Send the browser to authorization_url. It comes back to redirect_url with `code` and `state`, or `error` \
              and `state`, in the fragment; trade the code with the grant type authorization_code.",
        ..Operation::CHANGE
    },
    Operation {
        id: "auth.google.callback",
        path: "/auth/v1/oauth/google/callback",
        params: &[
            Param::query(
                "state",
                Kind::Text,
                "Of the sign-in that was begun; works once, within 10 minutes.",
            ),
            Param::query("code", Kind::Text, "Google's."),
            Param::query("error", Kind::Text, "Google's, such as access_denied."),
        ],
        response: Media::None,
        summary: "Take Google's answer from a browser.",
        doc: "Nobody calls it but a browser that Google sends back.",
        success: 303,
        ..Operation::READ
    },
];
