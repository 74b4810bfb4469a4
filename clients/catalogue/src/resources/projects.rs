//! Projects: made, looked at, queried, erased.

use crate::operation::{Auth, Gate, Kind, Media, Operation, Param, has, may};

const ID: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "projects.create",
        path: "/projects/v1",
        params: &[
            Param::body("name", Kind::Text, "1 to 128 characters without control characters."),
            Param::body(
                "tier",
                Kind::OneOf(&["prototype", "hobby", "team"]),
                "The tier to subscribe to when the wallet has none; ignored otherwise.",
            ),
            Param::header("Idempotency-Key", Kind::Text, "The same key gets the first answer again."),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        paid: true,
        answer: &[
            has("project_id", Kind::Text),
            has("anon_key", Kind::Text),
            has("service_key", Kind::Text),
            has("schema_slot", Kind::Text),
            may("tier", Kind::Text),
            may("lease_expires_at", Kind::Time),
        ],
        summary: "Make a project.",
        doc: "A database of its own and two keys, which are handed out here and nowhere else. A wallet \
              without a tier gets a 402 that subscribes and makes the project in one step.",
        cli: Some(&["projects", "provision"]),
        mcp: Some("provision_postgres_project"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "projects.delete",
        path: "/projects/v1/{id}",
        params: &[ID],
        auth: Auth::ServiceKey,
        answer: &[has("status", Kind::Text), has("project_id", Kind::Text)],
        summary: "Erase a project.",
        doc: "Its database, content, releases and names go at once and do not come back.",
        cli: Some(&["projects", "delete"]),
        mcp: Some("delete_project"),
        ..Operation::REMOVAL
    },
    Operation {
        id: "wallets.projects",
        path: "/wallets/v1/{wallet}/projects",
        params: &[Param::path("wallet", Kind::Text, "A wallet address in any letter case.")],
        answer: &[has("wallet", Kind::Text), has("projects", Kind::List)],
        summary: "List a wallet's projects.",
        doc: "Every project that is not erased, without its keys. An unknown wallet has none.",
        mcp: Some("list_projects"),
        ..Operation::READ
    },
    Operation {
        id: "projects.usage",
        path: "/projects/v1/admin/{id}/usage",
        params: &[ID],
        auth: Auth::ServiceKey,
        answer: &[
            has("project_id", Kind::Text),
            may("tier", Kind::Text),
            has("api_calls", Kind::Integer),
            has("api_calls_limit", Kind::Integer),
            has("storage_bytes", Kind::Integer),
            has("storage_limit_bytes", Kind::Integer),
            has("status", Kind::Text),
            may("lease_expires_at", Kind::Time),
        ],
        summary: "Show a project's usage.",
        doc: "Calls and bytes of this project beside the limits of its tier.",
        cli: Some(&["projects", "usage"]),
        mcp: Some("get_usage"),
        ..Operation::READ
    },
    Operation {
        id: "projects.schema",
        path: "/projects/v1/admin/{id}/schema",
        params: &[ID],
        auth: Auth::ServiceKey,
        answer: &[has("schema", Kind::Text), has("tables", Kind::List)],
        summary: "Show a project's tables.",
        doc: "Tables with their columns, constraints and row-level security policies.",
        cli: Some(&["projects", "schema"]),
        mcp: Some("get_schema"),
        ..Operation::READ
    },
    Operation {
        id: "projects.sql",
        path: "/projects/v1/admin/{id}/sql",
        params: &[
            ID,
            Param::body("sql", Kind::Text, "One statement, with $1, $2 for its parameters.").required(),
            Param::body("params", Kind::List, "JSON values, bound as text and cast by Postgres."),
        ],
        auth: Auth::ServiceKey,
        request: Media::SqlOrJson,
        answer: &[
            has("status", Kind::Text),
            has("schema", Kind::Text),
            has("rows", Kind::List),
            may("rowCount", Kind::Integer),
            may("row_count", Kind::Integer),
            has("fields", Kind::List),
        ],
        summary: "Run SQL in a project.",
        doc: "Plain text may hold several statements and is one transaction; JSON is for one statement with \
              parameters. Row-level security does not apply here.",
        cli: Some(&["projects", "sql"]),
        mcp: Some("run_sql"),
        ..Operation::CHANGE
    },
    Operation {
        id: "projects.pin",
        path: "/projects/v1/admin/{id}/pin",
        params: &[
            ID,
            Param::header("X-Admin-Mode", Kind::OneOf(&["1"]), "Says that it is meant.").required(),
        ],
        auth: Auth::Admin,
        request: Media::None,
        answer: &[has("status", Kind::Text), has("project_id", Kind::Text), may("message", Kind::Text)],
        summary: "Exempt a project's account from ageing.",
        doc: "For operators. The account's projects are neither frozen nor erased, whatever its lease says.",
        cli: Some(&["projects", "pin"]),
        mcp: Some("pin_project"),
        ..Operation::CHANGE
    },
];
