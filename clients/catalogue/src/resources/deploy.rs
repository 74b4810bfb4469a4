//! Deploys: plan, commit, watch; and the releases they leave.

use crate::operation::{Auth, Field, Gate, Kind, Media, Operation, Param, has, may};

const OPERATION_ID: Param = Param::path("id", Kind::Text, "The op_ id of the operation.");
const SITE_LIMIT: Param =
    Param::query("site_limit", Kind::Integer, "How many site paths, 5000 unless told, at most 25000.");

const SNAPSHOT: &[Field] = &[
    has("operation_id", Kind::Text),
    has("project_id", Kind::Text),
    has("plan_id", Kind::Text),
    has("status", Kind::Text),
    may("base_release_id", Kind::Text),
    may("target_release_id", Kind::Text),
    may("release_id", Kind::Text),
    may("urls", Kind::Object),
    may("error", Kind::Object),
    has("created_at", Kind::Time),
    has("updated_at", Kind::Time),
];

const INVENTORY: &[Field] = &[
    has("kind", Kind::Text),
    has("schema_version", Kind::Text),
    may("release_id", Kind::Text),
    may("parent_id", Kind::Text),
    has("project_id", Kind::Text),
    may("status", Kind::Text),
    has("state_kind", Kind::Text),
    has("site", Kind::Object),
    has("functions", Kind::List),
    has("secrets", Kind::Object),
    has("subdomains", Kind::Object),
    has("routes", Kind::Object),
    has("migrations_applied", Kind::List),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "deploy.plans.create",
        ci: true,
        path: "/deploy/v2/plans",
        params: &[
            Param::query("dry_run", Kind::Boolean, "Validate and compare only; nothing is stored."),
            Param::body("spec", Kind::Object, "The release spec; content is named by SHA-256.").required(),
            Param::body("manifest_ref", Kind::Object, "Where the spec is when it exceeds 5 MiB."),
            Param::body("idempotency_key", Kind::Text, "The same key and spec get the same plan."),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        answer: &[
            has("kind", Kind::Text),
            has("schema_version", Kind::Text),
            may("plan_id", Kind::Text),
            may("operation_id", Kind::Text),
            may("base_release_id", Kind::Text),
            has("manifest_digest", Kind::Text),
            has("is_noop", Kind::Boolean),
            has("summary", Kind::Text),
            has("missing_content", Kind::List),
            has("warnings", Kind::List),
            has("migrations", Kind::Object),
            has("site", Kind::Object),
            has("functions", Kind::Object),
            has("secrets", Kind::Object),
            has("subdomains", Kind::Object),
            has("routes", Kind::Object),
        ],
        summary: "Plan a release.",
        doc: "Says what would change and which content is missing. Nothing goes live before the commit.",
        success: 200,
        ..Operation::CHANGE
    },
    Operation {
        id: "deploy.plans.commit",
        ci: true,
        path: "/deploy/v2/plans/{plan_id}/commit",
        params: &[
            Param::path("plan_id", Kind::Text, "The plan_ id of the plan."),
            Param::body("idempotency_key", Kind::Text, "The key of the plan, if it had one."),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        answer: &[
            has("operation_id", Kind::Text),
            has("status", Kind::Text),
            may("release_id", Kind::Text),
            may("urls", Kind::Object),
            may("error", Kind::Object),
        ],
        summary: "Put a planned release live.",
        doc: "Starts the operation, or shows where it stands. Everything switches together, last.",
        ..Operation::CHANGE
    },
    Operation {
        id: "deploy.operations.list",
        ci: true,
        path: "/deploy/v2/operations",
        params: &[
            Param::query("limit", Kind::Integer, "How many, 20 unless told, at most 100."),
            Param::query("cursor", Kind::Text, "The cursor of the page before."),
        ],
        auth: Auth::AnonKey,
        answer: &[has("operations", Kind::List), may("cursor", Kind::Text)],
        summary: "List a project's deploys.",
        doc: "The newest first, a page at a time.",
        cli: Some(&["deploy", "list"]),
        mcp: Some("deploy_list"),
        ..Operation::READ
    },
    Operation {
        id: "deploy.operations.get",
        ci: true,
        path: "/deploy/v2/operations/{id}",
        params: &[OPERATION_ID],
        auth: Auth::AnonOrWallet,
        answer: SNAPSHOT,
        summary: "Show a deploy.",
        doc: "Where the operation stands; ready, failed, rolled_back and needs_repair are final.",
        ..Operation::READ
    },
    Operation {
        id: "deploy.operations.events",
        ci: true,
        path: "/deploy/v2/operations/{id}/events",
        params: &[OPERATION_ID],
        auth: Auth::AnonKey,
        answer: &[has("events", Kind::List)],
        summary: "Show what a deploy did.",
        doc: "Its phases and log lines in the order they happened.",
        cli: Some(&["deploy", "events"]),
        mcp: Some("deploy_events"),
        ..Operation::READ
    },
    Operation {
        id: "deploy.operations.resume",
        ci: true,
        path: "/deploy/v2/operations/{id}/resume",
        params: &[OPERATION_ID],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        request: Media::None,
        answer: SNAPSHOT,
        summary: "Resume a deploy.",
        doc: "Runs the phase that failed again and goes on from there; SQL is never replayed.",
        cli: Some(&["deploy", "resume"]),
        mcp: Some("deploy_resume"),
        ..Operation::CHANGE
    },
    Operation {
        id: "deploy.releases.active",
        path: "/deploy/v2/releases/active",
        params: &[SITE_LIMIT],
        auth: Auth::AnonKey,
        answer: INVENTORY,
        summary: "Show the live release.",
        doc: "Everything that is live now. A project that never deployed has empty collections.",
        cli: Some(&["deploy", "release", "active"]),
        mcp: Some("deploy_release_active"),
        ..Operation::READ
    },
    Operation {
        id: "deploy.releases.get",
        path: "/deploy/v2/releases/{id}",
        params: &[Param::path("id", Kind::Text, "The rel_ id of the release."), SITE_LIMIT],
        auth: Auth::AnonKey,
        answer: INVENTORY,
        summary: "Show a release.",
        doc: "What the release holds, whether it is live, was live, or never became it.",
        cli: Some(&["deploy", "release", "get"]),
        mcp: Some("deploy_release_get"),
        ..Operation::READ
    },
    Operation {
        id: "deploy.releases.promote",
        path: "/deploy/v2/releases/{id}/promote",
        params: &[
            Param::path("id", Kind::Text, "The rel_ id of a release that is or was live."),
            Param::body("project", Kind::Text, "The prj_ id of its project.").required(),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        answer: &[
            has("operation_id", Kind::Text),
            has("status", Kind::Text),
            may("release_id", Kind::Text),
            may("urls", Kind::Object),
            may("error", Kind::Object),
        ],
        summary: "Go back to an earlier release.",
        doc: "Makes a new release with the site, functions and routes of that one. Migrations stay.",
        cli: Some(&["deploy", "promote"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "deploy.releases.diff",
        path: "/deploy/v2/releases/diff",
        params: &[
            Param::query("from", Kind::Text, "empty, active or a rel_ id.").required(),
            Param::query("to", Kind::Text, "active or a rel_ id.").required(),
            Param::query("limit", Kind::Integer, "How many site paths in each list, 1000 unless told."),
        ],
        auth: Auth::AnonKey,
        answer: &[
            has("kind", Kind::Text),
            has("schema_version", Kind::Text),
            may("from_release_id", Kind::Text),
            may("to_release_id", Kind::Text),
            has("is_noop", Kind::Boolean),
            has("summary", Kind::Text),
            has("migrations", Kind::Object),
            has("site", Kind::Object),
            has("functions", Kind::Object),
            has("secrets", Kind::Object),
            has("subdomains", Kind::Object),
            has("routes", Kind::Object),
        ],
        summary: "Compare two releases.",
        doc: "What the second has that the first has not, and the reverse.",
        cli: Some(&["deploy", "release", "diff"]),
        mcp: Some("deploy_release_diff"),
        ..Operation::READ
    },
];
