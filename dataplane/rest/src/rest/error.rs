//! Refusals as PostgREST words them, and which status each travels with.

use serde_json::{Value, json};
use types::{Code, Mutation, Problem};

/// One refusal in PostgREST's own shape.
///
/// # Source
/// Wire contract 01 section 8.3; <https://docs.postgrest.org/en/v13/references/errors.html>.
#[derive(Debug, Clone, PartialEq)]
pub struct RestError {
    pub status: u16,
    /// A SQLSTATE or `PGRST...`.
    pub code: String,
    pub message: String,
    pub details: Value,
    pub hint: Value,
    /// Headers that the refusal brings along.
    pub headers: Vec<(String, String)>,
}

impl RestError {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: Value::Null,
            hint: Value::Null,
            headers: Vec::new(),
        }
    }

    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = details.into();
        self
    }

    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.map_or(Value::Null, Value::from);
        self
    }

    /// The body, members in PostgREST's order.
    pub fn body(&self) -> Value {
        json!({ "code": self.code, "details": self.details, "hint": self.hint, "message": self.message })
    }

    /// A part of the query string that cannot be read.
    pub fn parse(what: &str, column: usize, details: String) -> Self {
        Self::new(400, "PGRST100", format!("\"{what}\" (line 1, column {column})")).details(details)
    }

    pub fn body_invalid(message: impl Into<String>) -> Self {
        Self::new(400, "PGRST102", message)
    }

    pub fn range(details: impl Into<Value>) -> Self {
        Self::new(416, "PGRST103", "Requested range not satisfiable").details(details)
    }

    pub fn put_filters() -> Self {
        let message = "Filters must include all and only primary key columns with 'eq' operators";
        Self::new(405, "PGRST105", message)
    }

    pub fn media(wanted: &str) -> Self {
        Self::new(406, "PGRST107", format!("None of these media types are available: {wanted}"))
    }

    pub fn not_embedded(name: &str) -> Self {
        let hint = format!("Verify that '{name}' is included in the 'select' query parameter.");
        let message = format!("'{name}' is not an embedded resource in this request");
        Self::new(400, "PGRST108", message).hint(Some(hint))
    }

    pub fn put_mismatch() -> Self {
        Self::new(400, "PGRST115", "Payload values do not match URL in primary key column(s)")
    }

    pub fn singular(rows: i64) -> Self {
        Self::new(406, "PGRST116", "Cannot coerce the result to a single JSON object")
            .details(format!("The result contains {rows} rows"))
    }

    pub fn method(method: &str) -> Self {
        Self::new(405, "PGRST117", format!("Unsupported HTTP method: {method}"))
    }

    pub fn too_many_affected(rows: i64) -> Self {
        Self::new(400, "PGRST124", "Query result exceeds max-affected preference constraint")
            .details(format!("The query affects {rows} rows"))
    }

    pub fn column(table: &str, column: &str) -> Self {
        let message = format!("Could not find the '{column}' column of '{table}' in the schema cache");
        Self::new(400, "PGRST204", message)
    }
}

/// Why a request has no result.
#[derive(Debug)]
pub enum Failure {
    /// Told in PostgREST's shape. Nothing has changed.
    Refused(Box<RestError>),
    /// Told in the platform's envelope.
    Platform(Box<Problem>),
}

impl From<RestError> for Failure {
    fn from(error: RestError) -> Self {
        Self::Refused(Box::new(error))
    }
}

impl Failure {
    pub(crate) fn busy() -> Self {
        let problem = Problem::new(Code::Unavailable, "too many requests on this project's database");
        Self::platform(problem.mutation(Mutation::NotStarted).extra("retry_after", 1))
    }

    pub(crate) fn unavailable() -> Self {
        let problem = Problem::new(Code::Unavailable, "the project's database did not answer");
        Self::platform(problem.mutation(Mutation::NotStarted))
    }

    /// The connection broke after a change was sent.
    pub(crate) fn unknown() -> Self {
        let problem = Problem::new(Code::OutcomeUnknown, "the outcome of the commit is unknown");
        Self::platform(problem.mutation(Mutation::Unknown))
    }

    pub(crate) fn too_large() -> Self {
        let problem = Problem::new(Code::ResultTooLarge, "the answer is larger than 16 MiB");
        Self::platform(problem.mutation(Mutation::RolledBack))
    }

    fn platform(problem: Problem) -> Self {
        Self::Platform(Box::new(problem))
    }
}

/// An error as the server sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PgError {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The server ends the session over it.
    pub fatal: bool,
}

impl PgError {
    /// `visitor`: nobody signed in, so a missing right may be cured by signing in.
    pub fn into_rest(self, visitor: bool) -> RestError {
        if self.sqlstate == "PGRST" {
            return raised(&self);
        }
        let status = status_of(&self, visitor);
        let mut error = RestError::new(status, &self.sqlstate, self.message);
        error.details = self.detail.map_or(Value::Null, Value::from);
        error.hint = self.hint.map_or(Value::Null, Value::from);
        if status == 401 {
            error.headers.push(("www-authenticate".to_owned(), "Bearer".to_owned()));
        }
        error
    }
}

/// # Source
/// <https://docs.postgrest.org/en/v13/references/errors.html#http-status-codes>
fn status_of(error: &PgError, visitor: bool) -> u16 {
    let code = error.sqlstate.as_str();
    if let Some(wanted) = code.strip_prefix("PT") {
        return wanted.parse().ok().filter(|status| (200..600).contains(status)).unwrap_or(500);
    }
    match code {
        "23503" | "23505" => 409,
        "25006" => 405,
        "21000" if error.message.ends_with("requires a WHERE clause") => 400,
        "21000" | "42P17" | "53400" => 500,
        "22023" if error.message.starts_with("role") && error.message.ends_with("does not exist") => 401,
        "57P01" => 503,
        "P0001" => 400,
        "42883" if error.message.starts_with("function xmlagg(") => 406,
        "42883" | "42P01" => 404,
        "42501" if visitor => 401,
        "42501" => 403,
        _ => match code.get(..2).unwrap_or("") {
            "08" | "53" => 503,
            "0L" | "0P" | "28" => 403,
            "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV"
            | "P0" | "XX" => 500,
            _ => 400,
        },
    }
}

/// `RAISE SQLSTATE 'PGRST'`: the whole answer is the function's own.
fn raised(error: &PgError) -> RestError {
    let wrong = |details: String, hint: &str| {
        let message = "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error";
        RestError::new(500, "PGRST121", message).details(details).hint(Some(hint.to_owned()))
    };
    let for_message = "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: \
                       'details', 'hint'.";
    let for_detail = "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: \
                      'status_text'.";
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = serde_json::from_str::<Value>(&error.message).unwrap_or_default();
    let (Some(code), Some(said)) = (text(&message, "code"), text(&message, "message")) else {
        let told = format!("Invalid JSON value for MESSAGE: '{}'", error.message);
        return wrong(told, for_message);
    };
    let Some(detail) = &error.detail else {
        return wrong("DETAIL is missing in the RAISE statement".to_owned(), for_detail);
    };
    let parsed = serde_json::from_str::<Value>(detail).unwrap_or_default();
    let status = parsed.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (200..600).contains(status));
    let (Some(status), Some(headers)) = (status, parsed.get("headers").and_then(Value::as_object)) else {
        return wrong(format!("Invalid JSON value for DETAIL: '{detail}'"), for_detail);
    };
    let mut out = RestError::new(status, &code, said);
    out.details = text(&message, "details").map_or(Value::Null, Value::from);
    out.hint = text(&message, "hint").map_or(Value::Null, Value::from);
    out.headers = headers.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg(sqlstate: &str, message: &str, detail: Option<&str>) -> PgError {
        let detail = detail.map(str::to_owned);
        PgError { sqlstate: sqlstate.into(), message: message.into(), detail, ..PgError::default() }
    }

    #[test]
    fn a_missing_right_is_401_for_visitors_and_403_for_others() {
        let refused = pg("42501", "permission denied for table t", None);
        let visitor = refused.clone().into_rest(true);
        assert_eq!((visitor.status, visitor.headers.len()), (401, 1));
        assert_eq!(refused.into_rest(false).status, 403);
    }

    /// The documentation's table, line by line; `*` is any end. Of lines that fit, the first counts.
    const TABLE: [(&str, u16); 30] = [
        ("08*", 503),
        ("09*", 500),
        ("0L*", 403),
        ("0P*", 403),
        ("23503", 409),
        ("23505", 409),
        ("25006", 405),
        ("25*", 500),
        ("28*", 403),
        ("2D*", 500),
        ("38*", 500),
        ("39*", 500),
        ("3B*", 500),
        ("40*", 500),
        ("53400", 500),
        ("53*", 503),
        ("54*", 500),
        ("55*", 500),
        ("57P01", 503),
        ("57*", 500),
        ("58*", 500),
        ("F0*", 500),
        ("HV*", 500),
        ("P0001", 400),
        ("P0*", 500),
        ("XX*", 500),
        ("42883", 404),
        ("42P01", 404),
        ("42P17", 500),
        ("21000", 500),
    ];

    #[test]
    fn states_have_the_statuses_of_the_documentation() {
        for (line, status) in TABLE {
            let states = match line.strip_suffix('*') {
                Some(class) => ["000", "123", "XXX"].map(|end| format!("{class}{end}")).to_vec(),
                None => vec![line.to_owned()],
            };
            for state in states {
                assert_eq!(pg(&state, "", None).into_rest(false).status, status, "{state}");
            }
        }
        // What no line names is the caller's.
        for state in ["22P02", "22012", "23502", "23514", "42703", "42601", "42846", "0A000", "44000"] {
            assert_eq!(pg(state, "", None).into_rest(false).status, 400, "{state}");
        }
        // What people meet most: a deadline, a serialization failure, a deadlock, no room.
        for (state, status) in
            [("57014", 500), ("40001", 500), ("40P01", 500), ("53100", 503), ("55P03", 500)]
        {
            assert_eq!(pg(state, "", None).into_rest(false).status, status, "{state}");
        }
    }

    #[test]
    fn some_states_mean_what_their_message_says() {
        for (state, message, status) in [
            ("21000", "UPDATE requires a WHERE clause", 400),
            ("22023", "role \"nobody\" does not exist", 401),
            ("22023", "invalid value for parameter", 400),
            ("42883", "function xmlagg(integer) does not exist", 406),
            ("PT402", "", 402),
            ("PT999", "", 500),
            ("PTxyz", "", 500),
        ] {
            assert_eq!(pg(state, message, None).into_rest(false).status, status, "{state} {message}");
        }
    }

    #[test]
    fn a_function_may_write_the_whole_refusal() {
        let message = r#"{"code":"123","message":"Payment Required","hint":"Upgrade"}"#;
        let detail = r#"{"status":402,"headers":{"X-Powered-By":"Nerd Rage"}}"#;
        let error = pg("PGRST", message, Some(detail)).into_rest(true);
        assert_eq!((error.status, error.code.as_str()), (402, "123"));
        assert_eq!(error.headers, [("X-Powered-By".to_owned(), "Nerd Rage".to_owned())]);
        assert_eq!(pg("PGRST", "no", None).into_rest(true).code, "PGRST121");
        assert_eq!(pg("PGRST", message, None).into_rest(true).status, 500);
    }
}
