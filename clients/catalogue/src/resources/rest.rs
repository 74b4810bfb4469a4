//! Tables and functions of a project over REST, in PostgREST's dialect.

use crate::{Auth, Kind, Media, Method, Operation, Param};

const TABLE: Param = Param::path("table", Kind::Text, "A table or view of the project.");
const FUNCTION: Param = Param::path("function", Kind::Text, "A function of the project.");
const SELECT: Param =
    Param::query("select", Kind::Text, "Columns, casts, aggregates and embedded resources.");
const ORDER: Param =
    Param::query("order", Kind::Text, "Columns, each with .asc, .desc, .nullsfirst, .nullslast.");
const LIMIT: Param = Param::query("limit", Kind::Integer, "Rows at most.");
const OFFSET: Param = Param::query("offset", Kind::Integer, "Rows to skip.");
const COLUMNS: Param = Param::query("columns", Kind::Text, "The columns to take from the body.");
const ON_CONFLICT: Param = Param::query("on_conflict", Kind::Text, "The unique columns of an upsert.");
const PREFER: Param =
    Param::header("Prefer", Kind::Text, "return, count, resolution, missing, handling, tx and others.");

const DIALECT: &str = "PostgREST's dialect; every other parameter is a filter such as id=eq.5. Refusals have \
                       PostgREST's bodies.";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "rest.describe",
        method: Method::Get,
        path: "/rest/v1/",
        params: &[],
        auth: Auth::AnonOrUser,
        request: Media::None,
        summary: "Describe the tables and functions as a visitor or user.",
        doc: "A Swagger 2.0 document, limited to what the role of the key may use.",
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.read",
        method: Method::Get,
        path: "/rest/v1/{table}",
        params: &[TABLE, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::None,
        summary: "Read rows as a visitor or user.",
        doc: DIALECT,
        success: 200,
        cli: Some(&["projects", "rest"]),
        mcp: Some("rest_query"),
        ..Operation::READ
    },
    Operation {
        id: "rest.insert",
        method: Method::Post,
        path: "/rest/v1/{table}",
        params: &[TABLE, COLUMNS, ON_CONFLICT, SELECT, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::Json,
        summary: "Insert or upsert rows as a visitor or user.",
        doc: DIALECT,
        success: 201,
        ..Operation::READ
    },
    Operation {
        id: "rest.update",
        method: Method::Patch,
        path: "/rest/v1/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::Json,
        summary: "Change the rows that fit as a visitor or user.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.put",
        method: Method::Put,
        path: "/rest/v1/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::Json,
        summary: "Insert or replace one row by its key as a visitor or user.",
        doc: DIALECT,
        success: 201,
        ..Operation::READ
    },
    Operation {
        id: "rest.delete",
        method: Method::Delete,
        path: "/rest/v1/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::None,
        summary: "Delete the rows that fit as a visitor or user.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.call",
        method: Method::Post,
        path: "/rest/v1/rpc/{function}",
        params: &[FUNCTION, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::Json,
        summary: "Call a function as a visitor or user.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.call_by_get",
        method: Method::Get,
        path: "/rest/v1/rpc/{function}",
        params: &[FUNCTION, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::AnonOrUser,
        request: Media::None,
        summary: "Call a function that changes nothing as a visitor or user.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.describe",
        method: Method::Get,
        path: "/admin/v1/rest/",
        params: &[],
        auth: Auth::ServiceKey,
        request: Media::None,
        summary: "Describe the tables and functions past row security.",
        doc: "A Swagger 2.0 document, limited to what the role of the key may use.",
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.read",
        method: Method::Get,
        path: "/admin/v1/rest/{table}",
        params: &[TABLE, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::ServiceKey,
        request: Media::None,
        summary: "Read rows past row security.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.insert",
        method: Method::Post,
        path: "/admin/v1/rest/{table}",
        params: &[TABLE, COLUMNS, ON_CONFLICT, SELECT, PREFER],
        auth: Auth::ServiceKey,
        request: Media::Json,
        summary: "Insert or upsert rows past row security.",
        doc: DIALECT,
        success: 201,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.update",
        method: Method::Patch,
        path: "/admin/v1/rest/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::ServiceKey,
        request: Media::Json,
        summary: "Change the rows that fit past row security.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.put",
        method: Method::Put,
        path: "/admin/v1/rest/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::ServiceKey,
        request: Media::Json,
        summary: "Insert or replace one row by its key past row security.",
        doc: DIALECT,
        success: 201,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.delete",
        method: Method::Delete,
        path: "/admin/v1/rest/{table}",
        params: &[TABLE, SELECT, PREFER],
        auth: Auth::ServiceKey,
        request: Media::None,
        summary: "Delete the rows that fit past row security.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.call",
        method: Method::Post,
        path: "/admin/v1/rest/rpc/{function}",
        params: &[FUNCTION, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::ServiceKey,
        request: Media::Json,
        summary: "Call a function past row security.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
    Operation {
        id: "rest.admin.call_by_get",
        method: Method::Get,
        path: "/admin/v1/rest/rpc/{function}",
        params: &[FUNCTION, SELECT, ORDER, LIMIT, OFFSET, PREFER],
        auth: Auth::ServiceKey,
        request: Media::None,
        summary: "Call a function that changes nothing past row security.",
        doc: DIALECT,
        success: 200,
        ..Operation::READ
    },
];
