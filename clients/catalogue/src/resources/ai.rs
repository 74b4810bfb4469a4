//! AI helpers: images, translation, moderation.

use crate::operation::{Auth, Gate, Kind, Media, Operation, Param, has};

const ASPECT: Kind = Kind::OneOf(&["square", "landscape", "portrait"]);
const ADDON: Param = Param::body("addon", Kind::OneOf(&["translation"]), "The add-on.").required();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "images.quote",
        path: "/generate-image/v1",
        answer: &[
            has("price", Kind::Text),
            has("price_usd_micros", Kind::Integer),
            has("networks", Kind::List),
        ],
        summary: "Quote an image.",
        doc: "What one image costs and on which networks it can be paid.",
        ..Operation::READ
    },
    Operation {
        id: "images.generate",
        path: "/generate-image/v1",
        params: &[
            Param::body("prompt", Kind::Text, "What to show, up to 1000 characters.").required(),
            Param::body("aspect", ASPECT, "1:1, 16:9 or 9:16; square unless given."),
            Param::header(
                "Idempotency-Key",
                Kind::Text,
                "The same key gets the same image again, for a day.",
            ),
        ],
        auth: Auth::Wallet,
        paid: true,
        answer: &[has("image", Kind::Text), has("content_type", Kind::Text), has("aspect", ASPECT)],
        summary: "Make an image.",
        doc: "A PNG as base64. The wallet's balance pays when it covers the price, otherwise the answer is a 402 with \
              offers; a project's service key as bearer lets its account pay instead. Charged when the image is \
              there: when the provider fails, the money is on the balance and pays for the next try.",
        cli: Some(&["image", "generate"]),
        mcp: Some("generate_image"),
        ..Operation::CHANGE
    },
    Operation {
        id: "ai.translate",
        path: "/ai/v1/translate",
        params: &[
            Param::body("text", Kind::Text, "Up to 10000 characters.").required(),
            Param::body("to", Kind::Text, "An ISO 639-1 code.").required(),
            Param::body("from", Kind::Text, "An ISO 639-1 code; found out unless given."),
            Param::body("context", Kind::Text, "Tone or register, up to 200 characters."),
        ],
        auth: Auth::ServiceKey,
        answer: &[has("text", Kind::Text), has("from", Kind::Text), has("to", Kind::Text)],
        summary: "Translate a text.",
        doc: "Metered in words by calendar month; needs the translation add-on.",
        cli: Some(&["ai", "translate"]),
        mcp: Some("ai_translate"),
        ..Operation::CHANGE
    },
    Operation {
        id: "ai.moderate",
        path: "/ai/v1/moderate",
        params: &[Param::body("text", Kind::Text, "Up to 10000 characters.").required()],
        auth: Auth::ServiceKey,
        answer: &[
            has("flagged", Kind::Boolean),
            has("categories", Kind::Object),
            has("category_scores", Kind::Object),
        ],
        summary: "Judge a text.",
        doc: "Free. The categories are the provider's.",
        cli: Some(&["ai", "moderate"]),
        mcp: Some("ai_moderate"),
        ..Operation::CHANGE
    },
    Operation {
        id: "ai.usage",
        path: "/ai/v1/usage",
        auth: Auth::ServiceKey,
        answer: &[has("translation", Kind::Object)],
        summary: "Show the words used this month.",
        doc: "Whether the add-on is on, and the words used, included and left.",
        cli: Some(&["ai", "usage"]),
        mcp: Some("ai_usage"),
        ..Operation::READ
    },
    Operation {
        id: "ai.addon_enable",
        path: "/ai/v1/addons",
        params: &[ADDON],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: &[has("addon", Kind::Text), has("active", Kind::Boolean)],
        summary: "Switch an add-on on.",
        doc: "What the month has used before stays counted.",
        cli: Some(&["ai", "addon", "enable"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "ai.addon_disable",
        path: "/ai/v1/addons",
        params: &[ADDON],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: &[has("addon", Kind::Text), has("active", Kind::Boolean)],
        summary: "Switch an add-on off.",
        doc: "What the month has used stays counted.",
        request: Media::Json,
        cli: Some(&["ai", "addon", "disable"]),
        ..Operation::REMOVAL
    },
];
