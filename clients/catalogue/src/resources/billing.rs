//! Balances, movements and payments, as the books have them.

use crate::operation::{Auth, Kind, Operation, Param, has, may};

const IDENTIFIER: Param =
    Param::path("identifier", Kind::Text, "A wallet address in any letter case, or an e-mail address.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "billing.balance",
        path: "/billing/v1/accounts/{identifier}",
        params: &[IDENTIFIER],
        answer: &[
            has("identifier_type", Kind::OneOf(&["wallet", "email"])),
            has("exists", Kind::Boolean),
            has("available_usd_micros", Kind::Integer),
            has("held_usd_micros", Kind::Integer),
            has("email_credits_remaining", Kind::Integer),
            may("tier", Kind::Text),
            may("lease_expires_at", Kind::Time),
        ],
        summary: "Show an account's credit.",
        doc: "What is free to spend and what is held. An unknown wallet has an empty account.",
        cli: Some(&["billing", "balance"]),
        mcp: Some("check_balance"),
        ..Operation::READ
    },
    Operation {
        id: "billing.history",
        path: "/billing/v1/accounts/{identifier}/history",
        params: &[
            IDENTIFIER,
            Param::query("limit", Kind::Integer, "How many entries, 50 unless told, at most 200."),
            Param::query("after", Kind::Text, "The next_cursor of the page before: older entries follow."),
        ],
        answer: &[
            has("identifier", Kind::Text),
            has("identifier_type", Kind::OneOf(&["wallet", "email"])),
            has("entries", Kind::List),
            has("has_more", Kind::Boolean),
            may("next_cursor", Kind::Text),
        ],
        summary: "Show an account's movements.",
        doc: "Credits and debits, the newest first, each with the balance after it.",
        cli: Some(&["billing", "history"]),
        mcp: Some("billing_history"),
        ..Operation::READ
    },
    Operation {
        id: "payments.get",
        path: "/payments/v1/{payment_id}",
        params: &[Param::path("payment_id", Kind::Text, "The pay_ id of a PAYMENT_PENDING answer.")],
        auth: Auth::Wallet,
        answer: &[has("payment_id", Kind::Text), has("state", Kind::Text)],
        summary: "Show what became of a payment.",
        doc: "The state of one x402 payment of the signing wallet, from verification to its end.",
        ..Operation::READ
    },
];
