//! Runs of functions that are asked for.

use crate::operation::{Auth, Field, Kind, Media, Operation, Param, has, may};

const NAME: Param = Param::path("name", Kind::Text, "The function's name.");
const RUN: Param = Param::path("run_id", Kind::Text, "The fnrun_ id of the run.");
const RETRY: Param = Param::body(
    "retry",
    Kind::Object,
    "preset: standard (5 attempts, 30 seconds to 6 hours apart) or none; max_attempts up to 20, min_delay_seconds \
     and max_delay_seconds up to 86400.",
);

const FUNCTION_RUN: &[Field] = &[
    has("run_id", Kind::Text),
    has("function_name", Kind::Text),
    has("event_type", Kind::Text),
    has("status", Kind::Text),
    has("terminal", Kind::Boolean),
    has("generation", Kind::Integer),
    has("run_at", Kind::Time),
    may("expires_at", Kind::Time),
    has("source", Kind::Object),
    has("attempts", Kind::Object),
    may("last_attempt", Kind::Object),
    may("last_error", Kind::Object),
    has("created_at", Kind::Time),
    has("updated_at", Kind::Time),
    may("completed_at", Kind::Time),
    may("deduplicated", Kind::Boolean),
    has("next_actions", Kind::List),
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "runs.create",
        path: "/functions/v1/{name}/runs",
        params: &[
            NAME,
            Param::body("event_type", Kind::Text, "What it is about, up to 128 characters.").required(),
            Param::body("idempotency_key", Kind::Text, "Up to 255 characters; the same key is the same run.")
                .required(),
            Param::body("payload", Kind::Object, "Up to 64 KiB of JSON for the function."),
            Param::body("run_at", Kind::Time, "When it begins; now unless given."),
            Param::body("delay_seconds", Kind::Integer, "In place of run_at."),
            Param::body("expires_at", Kind::Time, "No attempt begins after this."),
            RETRY,
            Param::header("Idempotency-Key", Kind::Text, "The same as idempotency_key."),
        ],
        auth: Auth::ServiceKey,
        answer: FUNCTION_RUN,
        summary: "Run a function durably, now or later.",
        doc: "The run is written down before this is answered, is tried again when it fails, and ends once. The same \
              key with the same content answers the run of before; with another content it is refused.",
        cli: Some(&["runs", "create"]),
        success: 202,
        ..Operation::CHANGE
    },
    Operation {
        id: "runs.list",
        path: "/functions/v1/{name}/runs",
        params: &[
            NAME,
            Param::query("status", Kind::Text, "One of the statuses of a run."),
            Param::query("event_type", Kind::Text, "Runs that are about this."),
            Param::query("since", Kind::Time, "Written down at this time or later."),
            Param::query("until", Kind::Time, "Written down before this time."),
            Param::query("limit", Kind::Integer, "1 to 100, or 20."),
            Param::query("cursor", Kind::Text, "The next_cursor of the page before."),
        ],
        auth: Auth::ServiceKey,
        answer: &[has("runs", Kind::List), may("next_cursor", Kind::Text)],
        summary: "List a function's runs, whoever asked for them.",
        doc: "The newest first, for 30 days after their end. A run is scheduled, queued, running, retrying or blocked \
              (while the lease has ended or its API calls are used up), and ends succeeded, failed, cancelled or \
              expired.",
        cli: Some(&["runs", "list"]),
        ..Operation::READ
    },
    Operation {
        id: "runs.get",
        path: "/functions/v1/runs/{run_id}",
        params: &[RUN],
        auth: Auth::ServiceKey,
        answer: FUNCTION_RUN,
        summary: "Look at a run.",
        doc: "Where it stands, its last attempt and its last error.",
        cli: Some(&["runs", "get"]),
        ..Operation::READ
    },
    Operation {
        id: "runs.logs",
        path: "/functions/v1/runs/{run_id}/logs",
        params: &[
            RUN,
            Param::query("tail", Kind::Integer, "At most so many of the newest entries: 1 to 1000, or 50."),
            Param::query("since", Kind::Integer, "From this time on, in milliseconds since 1970."),
            Param::query("request_id", Kind::Text, "The fnatt_ id of one attempt."),
        ],
        auth: Auth::ServiceKey,
        answer: &[has("logs", Kind::List)],
        summary: "Read what a run's attempts wrote.",
        doc: "Of all attempts, the oldest entry first.",
        cli: Some(&["runs", "logs"]),
        ..Operation::READ
    },
    Operation {
        id: "runs.cancel",
        path: "/functions/v1/runs/{run_id}/cancel",
        params: &[RUN],
        auth: Auth::ServiceKey,
        request: Media::None,
        answer: FUNCTION_RUN,
        summary: "Call a run off.",
        doc: "One that waits ends at once. One that runs ends with its attempt, and has succeeded if that did.",
        cli: Some(&["runs", "cancel"]),
        ..Operation::CHANGE
    },
    Operation {
        id: "runs.redrive",
        path: "/functions/v1/runs/{run_id}/redrive",
        params: &[RUN, RETRY],
        auth: Auth::ServiceKey,
        answer: FUNCTION_RUN,
        summary: "Begin a run anew that ended without success.",
        doc: "Under its id, as another generation with all of its attempts before it.",
        cli: Some(&["runs", "redrive"]),
        ..Operation::CHANGE
    },
];
