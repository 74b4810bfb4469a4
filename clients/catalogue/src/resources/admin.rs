//! What only operators do.

use crate::operation::{Auth, Kind, Operation, Param, has, may};

const ADMIN_MODE: Param =
    Param::header("X-Admin-Mode", Kind::OneOf(&["1"]), "Says that it is meant.").required();

pub(super) const OPERATIONS: &[Operation] = &[
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
