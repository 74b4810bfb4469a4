//! The service about itself. All public.

use crate::operation::{Kind, Operation, has, may};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "service.health",
        path: "/health",
        answer: &[has("status", Kind::Text), has("checks", Kind::Object), has("version", Kind::Text)],
        summary: "Check the service's parts.",
        doc: "503 with the same body when a part fails.",
        cli: Some(&["service", "health"]),
        mcp: Some("service_health"),
        ..Operation::READ
    },
    Operation {
        id: "service.status",
        path: "/status",
        answer: &[
            has("schema_version", Kind::Text),
            has("status", Kind::Text),
            has("uptime_seconds", Kind::Integer),
            has("deployment", Kind::Object),
            has("operator", Kind::Object),
            has("capabilities", Kind::List),
            may("lab", Kind::Object),
        ],
        summary: "Describe the service.",
        doc: "Operator, version and capabilities; on a lab also its addresses and ports, under lab.",
        cli: Some(&["service", "status"]),
        mcp: Some("service_status"),
        ..Operation::READ
    },
    Operation {
        id: "service.ping",
        path: "/ping/v1",
        answer: &[has("status", Kind::Text)],
        summary: "Answer at once.",
        doc: "For load balancers: touches nothing behind the server.",
        ..Operation::READ
    },
    Operation {
        id: "service.openapi",
        path: "/openapi.json",
        answer: &[has("openapi", Kind::Text), has("info", Kind::Object), has("paths", Kind::Object)],
        summary: "Describe the API.",
        doc: "OpenAPI 3.1, made from the same catalogue as the clients.",
        ..Operation::READ
    },
    Operation {
        id: "service.x402",
        path: "/.well-known/x402",
        answer: &[has("x402Version", Kind::Integer)],
        summary: "Describe what can be paid for.",
        doc: "The priced resources and the networks and assets that pay for them.",
        ..Operation::READ
    },
];
