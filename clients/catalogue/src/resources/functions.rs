//! Functions.

use crate::operation::{Auth, Field, Gate, Kind, Media, Method, Operation, Param, has, may};

const PROJECT: Param = Param::path("id", Kind::Text, "The prj_ id of the project.");
const NAME: Param = Param::path("name", Kind::Text, "The function's name.");
const CONFIG: Param = Param::body("config", Kind::Object, "timeout in seconds and memory in megabytes.");
const SCHEDULE: Param =
    Param::body("schedule", Kind::Text, "Five fields of cron in UTC; null takes it away, absent leaves it.");

const POLICY: Param = Param::body(
    "schedule_policy",
    Kind::Object,
    "missed: skip, run_once or run_all; overlap: skip, queue or allow.",
);

const FUNCTION: &[Field] = &[
    has("name", Kind::Text),
    has("url", Kind::Text),
    has("runtime", Kind::Text),
    has("timeout", Kind::Integer),
    has("memory", Kind::Integer),
    may("schedule", Kind::Text),
    may("schedule_meta", Kind::Object),
    has("created_at", Kind::Time),
    has("updated_at", Kind::Time),
    may("runtime_version", Kind::Text),
    may("deps_resolved", Kind::Object),
];

const TRIGGER: Param = Param::path("trigger_id", Kind::Text, "The trigger's id.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "functions.deploy",
        path: "/projects/v1/admin/{id}/functions",
        params: &[
            PROJECT,
            Param::body("name", Kind::Text, "1 to 64 of a-z, 0-9, - and _.").required(),
            Param::body("code", Kind::Text, "One module of TypeScript or JavaScript.").required(),
            CONFIG,
            Param::body("deps", Kind::List, "npm packages."),
            SCHEDULE,
            POLICY,
        ],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: FUNCTION,
        summary: "Deploy a function.",
        doc: "Its default export takes a Request and returns a Response. It is bundled first; a source that does \
              not build is answered with the quoted line, and what was live still is.",
        cli: Some(&["functions", "deploy"]),
        mcp: Some("deploy_function"),
        success: 201,
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.list",
        path: "/projects/v1/admin/{id}/functions",
        params: &[PROJECT],
        auth: Auth::ServiceKey,
        answer: &[has("functions", Kind::List)],
        summary: "List a project's functions.",
        doc: "Those of the live release, sorted by name, with their triggers.",
        cli: Some(&["functions", "list"]),
        mcp: Some("list_functions"),
        ..Operation::READ
    },
    Operation {
        id: "functions.update",
        method: Method::Patch,
        path: "/projects/v1/admin/{id}/functions/{name}",
        params: &[PROJECT, NAME, CONFIG, SCHEDULE, POLICY],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: FUNCTION,
        summary: "Change a function's schedule or limits.",
        doc: "Its code stays. What is not named stays as it is.",
        cli: Some(&["functions", "update"]),
        mcp: Some("update_function"),
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.delete",
        path: "/projects/v1/admin/{id}/functions/{name}",
        params: &[PROJECT, NAME],
        auth: Auth::ServiceKey,
        gate: Gate::Lifecycle,
        answer: &[has("status", Kind::Text), has("name", Kind::Text)],
        summary: "Delete a function.",
        doc: "Refused while a route leads to it: deploy without that route first. Its runs and its log go with it.",
        cli: Some(&["functions", "delete"]),
        mcp: Some("delete_function"),
        ..Operation::REMOVAL
    },
    Operation {
        id: "functions.logs",
        path: "/projects/v1/admin/{id}/functions/{name}/logs",
        params: &[
            PROJECT,
            NAME,
            Param::query("tail", Kind::Integer, "At most so many of the newest entries: 1 to 1000, or 50."),
            Param::query("since", Kind::Integer, "From this time on, in milliseconds since 1970."),
            Param::query(
                "request_id",
                Kind::Text,
                "The req_ id of a call, as its answer's x-run402-request-id says, the fnrun_ id of a run with all its \
                 attempts, or the fnatt_ id of one attempt.",
            ),
        ],
        auth: Auth::ServiceKey,
        answer: &[has("logs", Kind::List)],
        summary: "Read what a function wrote.",
        doc: "The oldest entry first. Each has a millisecond of its own. Known secrets are struck out.",
        cli: Some(&["functions", "logs"]),
        mcp: Some("get_function_logs"),
        ..Operation::READ
    },
    Operation {
        id: "functions.runs",
        path: "/projects/v1/admin/{id}/functions/{name}/runs",
        params: &[PROJECT, NAME, Param::query("limit", Kind::Integer, "1 to 500, or 50.")],
        auth: Auth::ServiceKey,
        answer: &[has("runs", Kind::List)],
        summary: "List a function's scheduled runs.",
        doc: "The newest first. Every time that was due is there and has one end: succeeded, failed or skipped.",
        cli: Some(&["functions", "runs"]),
        ..Operation::READ
    },
    Operation {
        id: "functions.trigger",
        path: "/projects/v1/admin/{id}/functions/{name}/trigger",
        params: &[PROJECT, NAME],
        auth: Auth::ServiceKey,
        answer: &[
            has("request_id", Kind::Text),
            has("status", Kind::Integer),
            may("response", Kind::Object),
            may("schedule_meta", Kind::Object),
        ],
        summary: "Run a function now, as its schedule would.",
        doc: "Waits for its answer. The run is in its history.",
        cli: Some(&["functions", "trigger"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.fire",
        path: "/projects/v1/{id}/functions/{name}/triggers/{trigger_id}/run",
        params: &[
            PROJECT,
            NAME,
            TRIGGER,
            Param::header("Idempotency-Key", Kind::Text, "The same key is the same run."),
        ],
        auth: Auth::ServiceKey,
        request: Media::None,
        answer: &[has("run", Kind::Object), has("schedule_meta", Kind::Object)],
        summary: "Fire a function's trigger now.",
        doc: "The run is written down before this is answered. The trigger's next time stays what it is.",
        cli: Some(&["functions", "fire"]),
        success: 202,
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.rebuild",
        path: "/projects/v1/{id}/functions/{name}/rebuild",
        params: &[PROJECT, NAME],
        auth: Auth::Wallet,
        request: Media::None,
        answer: &[
            has("name", Kind::Text),
            has("rebuilt", Kind::Boolean),
            may("old_fingerprint", Kind::Text),
            has("new_fingerprint", Kind::Text),
            may("runtime_version_before", Kind::Text),
            has("runtime_version_after", Kind::Text),
            has("code_hash", Kind::Text),
        ],
        summary: "Build a function again.",
        doc: "Of the source and the package versions of its deploy, with this server's library. When it does not \
              build, what was served still is.",
        cli: Some(&["functions", "rebuild"]),
        mcp: Some("functions_rebuild"),
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.rebuild_all",
        path: "/projects/v1/{id}/functions/rebuild",
        params: &[PROJECT],
        auth: Auth::Wallet,
        request: Media::None,
        answer: &[
            has("rebuilt_count", Kind::Integer),
            has("total", Kind::Integer),
            has("results", Kind::List),
        ],
        summary: "Build every function of a project again.",
        doc: "One after the other; one that does not build stays as it is and does not keep the others.",
        cli: Some(&["functions", "rebuild-all"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "functions.invoke",
        path: "/functions/v1/{name}",
        params: &[NAME],
        auth: Auth::AnonKey,
        request: Media::None,
        summary: "Call a function.",
        doc: "Every method, and every path below. Request and answer are passed on byte by byte, up to 6 MiB each.",
        cli: Some(&["functions", "invoke"]),
        mcp: Some("invoke_function"),
        ..Operation::CHANGE
    },
];
