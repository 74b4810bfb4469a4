//! What only operators do.

use crate::operation::{Auth, Kind, Operation, Param, has, may};

const ADMIN_MODE: Param =
    Param::header("X-Admin-Mode", Kind::OneOf(&["1"]), "Says that it is meant.").required();

const WINDOW: Param =
    Param::query("window", Kind::OneOf(&["24h", "7d", "30d", "90d"]), "How far back, 30d unless told.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "admin.finance.project",
        path: "/admin/api/finance/project/{id}",
        params: &[Param::path("id", Kind::Text, "The prj_ id of the project."), WINDOW, ADMIN_MODE],
        auth: Auth::Admin,
        answer: &[
            has("project_id", Kind::Text),
            has("project_name", Kind::Text),
            has("window", Kind::Text),
            has("revenue_usd_micros", Kind::Integer),
            has("direct_cost_usd_micros", Kind::Integer),
            has("direct_margin_usd_micros", Kind::Integer),
            has("revenue_breakdown", Kind::Object),
            has("direct_cost_breakdown", Kind::List),
            has("notes", Kind::Text),
        ],
        summary: "Show what a project brings in and costs.",
        doc: "For operators, from the ledger. Fees are paid by accounts and split evenly over their projects. \
              Where nothing is sold for cash, test money counts too.",
        cli: Some(&["projects", "costs"]),
        ..Operation::READ
    },
    Operation {
        id: "admin.finance.platform",
        path: "/admin/api/finance/platform",
        params: &[WINDOW, ADMIN_MODE],
        auth: Auth::Admin,
        answer: &[
            has("window", Kind::Text),
            has("profit_and_loss", Kind::Object),
            has("accounts", Kind::List),
        ],
        summary: "Show the platform's profit and loss.",
        doc: "For operators, from the ledger: revenue by product and costs by kind, in each money on its own, and \
              what every kind of account holds now.",
        cli: Some(&["admin", "finance", "platform"]),
        ..Operation::READ
    },
    Operation {
        id: "admin.finance.exposure",
        path: "/admin/api/finance/exposure",
        params: &[ADMIN_MODE],
        auth: Auth::Admin,
        answer: &[
            has("exposure", Kind::List),
            has("exposed_usd_micros", Kind::Integer),
            has("unexplained_usd_micros", Kind::Integer),
        ],
        summary: "Show what is credited and not final.",
        doc: "For operators, from the ledger: money that a reorganisation could still take, by chain and by how \
              deep its blocks are.",
        cli: Some(&["admin", "finance", "exposure"]),
        ..Operation::READ
    },
    Operation {
        id: "admin.suspense.list",
        path: "/admin/api/suspense",
        params: &[
            Param::query("after", Kind::Text, "The next_cursor of the page before."),
            Param::query("limit", Kind::Integer, "How many, 50 unless told, at most 200."),
            ADMIN_MODE,
        ],
        auth: Auth::Admin,
        answer: &[
            has("suspended", Kind::List),
            has("has_more", Kind::Boolean),
            may("next_cursor", Kind::Text),
        ],
        summary: "List money that no payment explains.",
        doc: "For operators. Each row is one log of the chain: who sent how much in which block, whether the \
              block is final, and whether a payment claims it by now.",
        cli: Some(&["admin", "suspense", "list"]),
        ..Operation::READ
    },
    Operation {
        id: "admin.suspense.resolve",
        path: "/admin/api/suspense/resolve",
        params: &[
            Param::body("sighting", Kind::Text, "As the list names it.").required(),
            Param::body("account", Kind::Text, "The org_ id of the account whose money it is."),
            Param::body("wallet", Kind::Text, "Or a wallet that speaks for it."),
            Param::body("returned_tx", Kind::Text, "Or the transaction that sent it back."),
            Param::body("note", Kind::Text, "Why, in at most 500 characters."),
            ADMIN_MODE,
        ],
        auth: Auth::Admin,
        answer: &[
            has("sighting", Kind::Text),
            has("outcome", Kind::OneOf(&["credited", "returned"])),
            may("account", Kind::Text),
            has("amount_usd_micros", Kind::Integer),
        ],
        summary: "Take money out of suspense.",
        doc: "For operators. Credits it to an account, or notes that it was sent back; only when its block is \
              final and no payment claims it, and once. The same decision again is answered by the first.",
        cli: Some(&["admin", "suspense", "resolve"]),
        ..Operation::CHANGE
    },
];
