//! Names under the hosting apex.

use crate::operation::{Auth, Field, Gate, Kind, Operation, Param, has, may};

const NAME: Param = Param::path("name", Kind::Text, "3 to 63 of a-z, 0-9 and hyphen, no hyphen at the ends.");

const ROW: &[Field] = &[
    has("name", Kind::Text),
    has("url", Kind::Text),
    may("deployment_id", Kind::Text),
    may("deployment_url", Kind::Text),
    may("project_id", Kind::Text),
    may("created_at", Kind::Time),
    may("updated_at", Kind::Time),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "subdomains.claim",
        path: "/subdomains/v1",
        params: &[
            Param::body("name", Kind::Text, "3 to 63 of a-z, 0-9 and hyphen, no hyphen at the ends.")
                .required(),
            Param::body("deployment_id", Kind::Text, "What the name shows at first: a dpl_ or rel_ id.")
                .required(),
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: ROW,
        summary: "Claim a subdomain.",
        doc: "The name follows every later deploy of the project. Claiming it again changes nothing.",
        cli: Some(&["subdomains", "claim"]),
        mcp: Some("claim_subdomain"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "subdomains.list",
        path: "/subdomains/v1",
        auth: Auth::ServiceKey,
        answer: &[has("subdomains", Kind::List)],
        summary: "List a project's subdomains.",
        doc: "Each name with its address and the deployment it shows.",
        cli: Some(&["subdomains", "list"]),
        mcp: Some("list_subdomains"),
        ..Operation::READ
    },
    Operation {
        id: "subdomains.get",
        path: "/subdomains/v1/{name}",
        params: &[NAME],
        answer: &[has("name", Kind::Text), has("url", Kind::Text), may("deployment_url", Kind::Text)],
        summary: "Look a subdomain up.",
        doc: "Public; says nothing about the owner.",
        ..Operation::READ
    },
    Operation {
        id: "subdomains.delete",
        path: "/subdomains/v1/{name}",
        params: &[NAME],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: &[has("name", Kind::Text), may("deployment_id", Kind::Text), has("deleted_at", Kind::Time)],
        summary: "Release a subdomain.",
        doc: "Anyone may claim the name at once.",
        cli: Some(&["subdomains", "delete"]),
        mcp: Some("delete_subdomain"),
        ..Operation::REMOVAL
    },
];
