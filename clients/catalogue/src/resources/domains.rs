//! Domains of tenants' own.

use crate::operation::{Auth, Field, Gate, Kind, Operation, Param, has, may};

const DOMAIN: Param = Param::path("domain", Kind::Text, "The domain, such as www.acme.dev.");

const ROW: &[Field] = &[
    has("domain", Kind::Text),
    has("subdomain_name", Kind::Text),
    has("url", Kind::Text),
    has("subdomain_url", Kind::Text),
    has("status", Kind::OneOf(&["pending", "active", "failed"])),
    may("reason", Kind::Text),
    may("dns_instructions", Kind::Object),
    may("project_id", Kind::Text),
    has("created_at", Kind::Time),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "domains.add",
        path: "/domains/v1",
        params: &[
            Param::body("domain", Kind::Text, "The domain, such as www.acme.dev.").required(),
            Param::body("subdomain_name", Kind::Text, "The claimed name whose site it shows.").required(),
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: ROW,
        summary: "Bring a domain of your own.",
        doc: "It becomes active once DNS has the TXT record that is answered and leads here.",
        cli: Some(&["domains", "add"]),
        mcp: Some("add_custom_domain"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "domains.list",
        path: "/domains/v1",
        auth: Auth::ServiceKey,
        answer: &[has("domains", Kind::List)],
        summary: "List a project's domains.",
        doc: "Each with what it shows and whether it is active.",
        cli: Some(&["domains", "list"]),
        mcp: Some("list_custom_domains"),
        ..Operation::READ
    },
    Operation {
        id: "domains.status",
        path: "/domains/v1/{domain}",
        params: &[DOMAIN],
        auth: Auth::ServiceKey,
        answer: ROW,
        summary: "Look at a domain.",
        doc: "Asks its DNS again, and says what is missing.",
        cli: Some(&["domains", "status"]),
        mcp: Some("check_domain_status"),
        ..Operation::READ
    },
    Operation {
        id: "domains.delete",
        path: "/domains/v1/{domain}",
        params: &[DOMAIN],
        auth: Auth::ServiceKey,
        answer: &[has("status", Kind::Text), has("domain", Kind::Text)],
        summary: "Give a domain up.",
        doc: "It shows nothing from then on. The owner's signature does instead of the key.",
        cli: Some(&["domains", "delete"]),
        mcp: Some("remove_custom_domain"),
        ..Operation::REMOVAL
    },
];
