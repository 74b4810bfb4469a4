//! Tiers, their prices, and the test money to try them with.

use crate::operation::{Auth, Kind, Operation, Param, has, may};

const TIER: Kind = Kind::OneOf(&["prototype", "hobby", "team"]);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "tiers.list",
        path: "/tiers/v1",
        answer: &[has("tiers", Kind::Object), may("auth", Kind::Object)],
        summary: "Quote the tiers.",
        doc: "The price, the lease and the limits of each tier, keyed by its name.",
        cli: Some(&["projects", "quote"]),
        mcp: Some("get_quote"),
        ..Operation::READ
    },
    Operation {
        id: "tiers.status",
        path: "/tiers/v1/status",
        auth: Auth::Wallet,
        answer: &[
            has("wallet", Kind::Text),
            may("tier", TIER),
            may("lease_started_at", Kind::Time),
            may("lease_expires_at", Kind::Time),
            has("active", Kind::Boolean),
            has("pool_usage", Kind::Object),
        ],
        summary: "Show the wallet's tier.",
        doc: "The lease of the signing wallet and the usage of all its projects together. A wallet that \
              never subscribed gets nulls and zeros.",
        cli: Some(&["tier", "status"]),
        mcp: Some("tier_status"),
        ..Operation::READ
    },
    Operation {
        id: "tiers.offer",
        path: "/tiers/v1/{tier}",
        params: &[Param::path("tier", TIER, "The tier that is asked about.")],
        answer: &[has("code", Kind::Text), has("x402", Kind::Object)],
        summary: "Show a tier's x402 offer.",
        doc: "The challenge that a buyer is given, without signing in. Paying it is tiers.set.",
        success: 402,
        ..Operation::READ
    },
    Operation {
        id: "tiers.set",
        path: "/tiers/v1/{tier}",
        params: &[
            Param::path("tier", TIER, "The tier to subscribe to, renew or move to."),
            Param::header("Idempotency-Key", Kind::Text, "The same key gets the first answer again."),
        ],
        auth: Auth::Wallet,
        paid: true,
        answer: &[
            has("wallet", Kind::Text),
            has("action", Kind::Text),
            has("tier", TIER),
            may("previous_tier", TIER),
            has("lease_started_at", Kind::Time),
            has("lease_expires_at", Kind::Time),
            has("allowance_remaining_usd_micros", Kind::Integer),
        ],
        summary: "Subscribe to a tier, renew it, or move to another.",
        doc: "What happens follows from the wallet's state: subscribe, renew, upgrade or downgrade. The \
              account's credit pays when it covers the price; otherwise the answer is a 402 with offers.",
        cli: Some(&["tier", "set"]),
        mcp: Some("set_tier"),
        ..Operation::CHANGE
    },
    Operation {
        id: "faucet.request",
        path: "/faucet/v1",
        params: &[Param::body("address", Kind::Text, "The wallet that receives test USDC.").required()],
        answer: &[
            has("transaction_hash", Kind::Text),
            has("amount_usd_micros", Kind::Integer),
            has("token", Kind::Text),
            has("network", Kind::Text),
        ],
        summary: "Send test USDC to a wallet.",
        doc: "Once a day for each address. A server without a faucet answers 503 FAUCET_DISABLED.",
        cli: Some(&["allowance", "fund"]),
        mcp: Some("request_faucet"),
        ..Operation::CHANGE
    },
];
