//! Balances, movements and payments, as the books have them.

use crate::operation::{Auth, Field, Kind, Operation, Param, has, may};

const IDENTIFIER: Param =
    Param::path("identifier", Kind::Text, "A wallet address in any letter case, or an e-mail address.");

const WALLET: Param = Param::body("wallet", Kind::Text, "Who pays; goes before email when both are there.");
const EMAIL: Param = Param::body("email", Kind::Text, "Who pays, known by an address.");
const REPEAT: Param =
    Param::header("Idempotency-Key", Kind::Text, "The same key and request get the same checkout again.");
const CHECKOUT: &[Field] = &[has("checkout_url", Kind::Text), has("topup_id", Kind::Text)];

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
        id: "billing.create_email",
        path: "/billing/v1/accounts",
        params: &[Param::body("email", Kind::Text, "The address; its spellings are one account.").required()],
        answer: &[
            has("id", Kind::Text),
            has("email", Kind::Text),
            has("email_credits_remaining", Kind::Integer),
            has("verification_sent", Kind::Boolean),
        ],
        summary: "Make the account of an e-mail address.",
        doc: "The same address gets the same account again.",
        cli: Some(&["billing", "create-email"]),
        mcp: Some("create_email_billing_account"),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.confirm_email",
        path: "/billing/v1/email-confirmations",
        params: &[Param::body("token", Kind::Text, "The token of the mailed link.").required()],
        answer: &[has("status", Kind::Text), has("id", Kind::Text), has("email", Kind::Text)],
        summary: "Confirm what a mail to the account's address asks for.",
        doc: "The address is the account's own from then on, and a wallet that the mail named may join. A token works \
              once and for a day.",
        cli: Some(&["billing", "confirm-email"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.link_wallet",
        path: "/billing/v1/accounts/{id}/link-wallet",
        params: &[
            Param::path("id", Kind::Text, "The account's id."),
            Param::body("wallet", Kind::Text, "The wallet that joins the account.").required(),
        ],
        answer: &[has("status", Kind::OneOf(&["linked", "pending"])), has("wallet", Kind::Text)],
        summary: "Let a wallet and an e-mail address share one account.",
        doc: "Takes effect when the wallet has signed this request, and a wallet of the account too if it has \
              one; until then the answer is pending. A wallet that speaks for another account is refused.",
        cli: Some(&["billing", "link-wallet"]),
        mcp: Some("link_wallet_to_account"),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.checkout",
        path: "/billing/v1/checkouts",
        params: &[
            WALLET,
            EMAIL,
            Param::body("amount_usd_micros", Kind::Integer, "Whole cents, from 500000 on.").required(),
            REPEAT,
        ],
        answer: CHECKOUT,
        summary: "Pay credit in by card.",
        doc: "Answers where to pay. The credit is there once the money is.",
        cli: Some(&["allowance", "checkout"]),
        mcp: Some("create_checkout"),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.tier_checkout",
        path: "/billing/v1/tiers/{tier}/checkout",
        params: &[
            Param::path("tier", Kind::OneOf(&["prototype", "hobby", "team"]), "The tier to buy."),
            WALLET,
            EMAIL,
            REPEAT,
        ],
        answer: CHECKOUT,
        summary: "Buy a tier by card.",
        doc: "What it does to the lease is what setting the tier would do when the money arrives. Cards are \
              charged no less than $0.50; what a tier does not cost stays as credit.",
        cli: Some(&["billing", "tier-checkout"]),
        mcp: Some("tier_checkout"),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.email_pack",
        path: "/billing/v1/email-packs/checkout",
        params: &[WALLET, EMAIL, REPEAT],
        answer: CHECKOUT,
        summary: "Buy 10,000 e-mail credits by card.",
        doc: "$5. The card is kept for recharging.",
        cli: Some(&["billing", "buy-email-pack"]),
        mcp: Some("buy_email_pack"),
        ..Operation::CHANGE
    },
    Operation {
        id: "billing.auto_recharge",
        path: "/billing/v1/email-packs/auto-recharge",
        params: &[
            Param::body("billing_account_id", Kind::Text, "The account's id.").required(),
            Param::body("enabled", Kind::Boolean, "Whether to recharge.").required(),
            Param::body(
                "threshold",
                Kind::Integer,
                "Fewer credits than this are recharged; 2000 unless told.",
            ),
        ],
        answer: &[has("auto_recharge_enabled", Kind::Boolean), has("auto_recharge_threshold", Kind::Integer)],
        summary: "Buy e-mail packs whenever few credits are left.",
        auth: Auth::Wallet,
        doc: "A wallet of the account signs. Charges the card that bought a pack. Three failures in a row \
              switch it off.",
        cli: Some(&["billing", "auto-recharge"]),
        mcp: Some("set_auto_recharge"),
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
