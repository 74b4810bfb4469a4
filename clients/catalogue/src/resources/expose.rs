//! The expose manifest: who may reach what of a project.

use crate::operation::{Auth, Kind, Operation, Param, has, may};

const ID: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");
const MANIFEST: Param = Param::body("manifest", Kind::Object, "The manifest.").required();
const MIGRATION: Param =
    Param::body("migration_sql", Kind::Text, "SQL that will run before; it is read and never run.");
const VERSION: Param = Param::body("version", Kind::OneOf(&["1"]), "The version of the schema.").required();
const TABLES: Param = Param::body(
    "tables",
    Kind::List,
    "Objects with name, expose, policy (user_owns_rows, public_read_authenticated_write, \
     public_read_write_UNRESTRICTED or custom), owner_column, force_owner_on_insert, \
     i_understand_this_is_unrestricted, custom_sql.",
);
const VIEWS: Param = Param::body(
    "views",
    Kind::List,
    "Objects with name, base, select, filter, expose; views run as their reader.",
);
const RPCS: Param = Param::body(
    "rpcs",
    Kind::List,
    "Objects with name, signature and grant_to (anon, authenticated, service_role, project_admin).",
);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "projects.apply_expose",
        path: "/projects/v1/admin/{id}/expose",
        params: &[ID, VERSION, TABLES, VIEWS, RPCS],
        auth: Auth::ServiceKey,
        answer: &[
            has("status", Kind::Text),
            has("project_id", Kind::Text),
            has("applied", Kind::Object),
            has("dropped", Kind::Object),
            has("changed", Kind::Object),
            has("statements", Kind::Integer),
            has("warnings", Kind::List),
        ],
        summary: "Say who may reach a project's tables, views and functions.",
        doc: "The body is the whole manifest: what an earlier one named and this one does not is taken back. \
              One transaction; the same manifest again changes nothing. Every mistake is named in errors.",
        cli: Some(&["projects", "apply-expose"]),
        mcp: Some("apply_expose"),
        ..Operation::CHANGE
    },
    Operation {
        id: "projects.get_expose",
        path: "/projects/v1/admin/{id}/expose",
        params: &[ID],
        auth: Auth::ServiceKey,
        answer: &[
            has("status", Kind::Text),
            has("project_id", Kind::Text),
            has("source", Kind::OneOf(&["applied", "introspected"])),
            has("manifest", Kind::Object),
            has("version", Kind::Text),
            has("tables", Kind::List),
            has("views", Kind::List),
            has("rpcs", Kind::List),
        ],
        summary: "Show a project's manifest.",
        doc: "The one that was applied last, or one rebuilt from rights and policies when none was.",
        cli: Some(&["projects", "get-expose"]),
        mcp: Some("get_expose"),
        ..Operation::READ
    },
    Operation {
        id: "projects.validate_expose",
        path: "/projects/v1/admin/{id}/expose/validate",
        params: &[ID, MANIFEST, MIGRATION],
        auth: Auth::ServiceKey,
        answer: &[has("has_errors", Kind::Boolean), has("errors", Kind::List), has("warnings", Kind::List)],
        summary: "Check a manifest on a project.",
        doc: "Answers 200 with what is wrong; changes nothing.",
        cli: Some(&["projects", "validate-expose"]),
        mcp: Some("validate_manifest"),
        ..Operation::CHANGE
    },
    Operation {
        id: "expose.validate",
        path: "/projects/v1/expose/validate",
        params: &[MANIFEST, MIGRATION],
        auth: Auth::Wallet,
        answer: &[has("has_errors", Kind::Boolean), has("errors", Kind::List), may("warnings", Kind::List)],
        summary: "Check a manifest without a project.",
        doc: "Compares it with what the migration would make, and with nothing else.",
        ..Operation::CHANGE
    },
];
