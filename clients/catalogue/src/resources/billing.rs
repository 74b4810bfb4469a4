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
        id: "billing.budgets.list",
        path: "/billing/v1/budgets",
        auth: Auth::Wallet,
        answer: &[has("budgets", Kind::List)],
        summary: "List an account's budgets.",
        doc: "What the signing wallet's account lets its wallets spend of its credit in a day (UTC), and what was \
              spent today.",
        cli: Some(&["billing", "budget", "list"]),
        ..Operation::READ
    },
    Operation {
        id: "billing.budgets.set",
        path: "/billing/v1/budgets",
        params: &[
            Param::body("wallet", Kind::Text, "Counts this wallet's debits only; everybody's unless given."),
            Param::body("project_id", Kind::Text, "Counts debits for this project only; all unless given."),
            Param::body(
                "limit_usd_micros",
                Kind::Integer,
                "Of a day, in micros; null takes the budget away.",
            )
            .required(),
        ],
        auth: Auth::Wallet,
        answer: &[has("budgets", Kind::List)],
        summary: "Limit what may be spent in a day.",
        doc: "Only the account's first wallet may. A debit of the account's credit that goes over any budget it \
              falls under is refused with BUDGET_EXCEEDED. What a wallet pays over x402 is its own and is not \
              counted.",
        cli: Some(&["billing", "budget", "set"]),
        ..Operation::CHANGE
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
