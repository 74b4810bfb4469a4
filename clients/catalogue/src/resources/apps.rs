//! The marketplace: versions of projects, and forks of them.

use crate::operation::{Auth, Field, Gate, Kind, Method, Operation, Param, has, may};

const ID: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");
const VERSION: Param = Param::path("version_id", Kind::Text, "The ver_ id of the version.");
const DESCRIPTION: Param = Param::body("description", Kind::Text, "Up to 2000 characters.");
const TAGS: Param = Param::body("tags", Kind::List, "Up to 20 of 1 to 50 characters.");
const VISIBILITY: Param = Param::body(
    "visibility",
    Kind::OneOf(&["public", "unlisted", "private"]),
    "Who sees it: everybody, whoever has its id, or nobody else.",
);
const FORK_ALLOWED: Param = Param::body("fork_allowed", Kind::Boolean, "Whether others may fork it.");

const SUMMARY: &[Field] = &[
    has("id", Kind::Text),
    has("project_id", Kind::Text),
    has("name", Kind::Text),
    has("version", Kind::Integer),
    may("description", Kind::Text),
    may("live_url", Kind::Text),
    has("visibility", Kind::Text),
    has("fork_allowed", Kind::Boolean),
    has("min_tier", Kind::Text),
    has("derived_min_tier", Kind::Text),
    has("status", Kind::Text),
    has("table_count", Kind::Integer),
    has("function_count", Kind::Integer),
    has("site_file_count", Kind::Integer),
    has("site_total_bytes", Kind::Integer),
    has("required_secrets", Kind::List),
    has("required_actions", Kind::List),
    has("tags", Kind::List),
    has("compatibility_warnings", Kind::List),
    may("bootstrap_variables", Kind::List),
    has("created_at", Kind::Time),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "apps.browse",
        path: "/apps/v1",
        params: &[Param::query("tag", Kind::Text, "A tag; repeated, any of them.")],
        answer: &[has("apps", Kind::List), has("total", Kind::Integer)],
        summary: "Browse published apps.",
        doc: "Public versions, the newest first, at most 200 of them; total counts all.",
        cli: Some(&["apps", "browse"]),
        mcp: Some("browse_apps"),
        ..Operation::READ
    },
    Operation {
        id: "apps.get",
        path: "/apps/v1/{version_id}",
        params: &[VERSION],
        answer: SUMMARY,
        summary: "Inspect a published app.",
        doc: "A public or unlisted version. A private one is not found.",
        cli: Some(&["apps", "inspect"]),
        mcp: Some("get_app"),
        ..Operation::READ
    },
    Operation {
        id: "apps.publish",
        path: "/projects/v1/admin/{id}/publish",
        params: &[ID, DESCRIPTION, TAGS, VISIBILITY, FORK_ALLOWED],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SUMMARY,
        summary: "Publish a project as an app.",
        doc: "Takes down the schema without rows, the expose manifest, and the live release's functions, site and \
              routes as the project's next version. Private and not to be forked unless said otherwise. Keys, \
              secrets, users, rows, blobs and mail are never part of it; required_secrets lists keys only.",
        cli: Some(&["apps", "publish"]),
        mcp: Some("publish_app"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "apps.versions",
        path: "/projects/v1/admin/{id}/versions",
        params: &[ID],
        auth: Auth::ServiceKey,
        answer: &[has("versions", Kind::List)],
        summary: "List a project's versions.",
        doc: "All of them, the newest first, whatever their visibility.",
        cli: Some(&["apps", "versions"]),
        mcp: Some("list_versions"),
        ..Operation::READ
    },
    Operation {
        id: "apps.update",
        method: Method::Patch,
        path: "/projects/v1/admin/{id}/versions/{version_id}",
        params: &[ID, VERSION, DESCRIPTION, TAGS, VISIBILITY, FORK_ALLOWED],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: SUMMARY,
        summary: "Change what is said of a version.",
        doc: "Only the given fields; what the version is made of never changes.",
        cli: Some(&["apps", "update"]),
        mcp: Some("update_version"),
        ..Operation::CHANGE
    },
    Operation {
        id: "apps.delete",
        path: "/projects/v1/admin/{id}/versions/{version_id}",
        params: &[ID, VERSION],
        auth: Auth::ServiceKey,
        answer: &[has("status", Kind::Text), has("version_id", Kind::Text)],
        summary: "Take a version back.",
        doc: "Nobody finds or forks it any more; forks that were made of it stay as they are.",
        cli: Some(&["apps", "delete"]),
        mcp: Some("delete_version"),
        ..Operation::REMOVAL
    },
    Operation {
        id: "apps.fork",
        path: "/fork/v1",
        params: &[
            Param::body("version_id", Kind::Text, "The ver_ id of the version.").required(),
            Param::body("name", Kind::Text, "The new project's name: 1 to 128 characters.").required(),
            Param::body("subdomain", Kind::Text, "A name to claim for it."),
            Param::body(
                "bootstrap",
                Kind::Object,
                "Variables for the app's function bootstrap, which is called once.",
            ),
            Param::header("Idempotency-Key", Kind::Text, "The same key ends at the same project."),
        ],
        auth: Auth::Wallet,
        gate: Gate::Lifecycle,
        paid: true,
        answer: &[
            has("project_id", Kind::Text),
            has("anon_key", Kind::Text),
            has("service_key", Kind::Text),
            has("schema_slot", Kind::Text),
            may("site_url", Kind::Text),
            may("subdomain_url", Kind::Text),
            has("functions", Kind::List),
            may("bootstrap_result", Kind::Object),
            may("bootstrap_error", Kind::Text),
        ],
        summary: "Fork an app into a project of one's own.",
        doc: "A new project with the app's schema, functions and site, live when this answers. It needs a tier of at \
              least min_tier; a wallet without one gets a 402 for that tier. What cannot be forked leaves nothing \
              behind. Secrets have to be set anew.",
        cli: Some(&["apps", "fork"]),
        mcp: Some("fork_app"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "apps.fork_terms",
        path: "/fork/v1",
        answer: &[
            has("description", Kind::Text),
            may("fork_pricing", Kind::Object),
            has("tiers", Kind::List),
        ],
        summary: "Say what a fork takes.",
        doc: "The tiers with their prices; forking costs nothing besides.",
        ..Operation::READ
    },
];
