//! Calls of functions.

use super::super::schema::{Argument, Function, Returns};
use super::{Builder, SOURCE, array, ident};

/// Where the arguments are.
#[derive(Debug, Clone)]
pub(in crate::rest) enum CallBody {
    /// Name and value, in the query string or a form. A variadic argument may come several times.
    Direct(Vec<(String, String)>),
    /// One JSON object (or, with `columns`, the first of an array), of which these keys are arguments.
    Json(String, Vec<String>),
    /// The whole body is the one argument.
    Whole(String),
}

/// The common table expression that calls the function.
pub(in crate::rest) fn call(builder: &mut Builder, function: &Function, body: &CallBody) -> String {
    let (arguments, payload) = match body {
        CallBody::Direct(given) => (direct(builder, function, given), String::new()),
        CallBody::Whole(text) => {
            let kind = function.arguments.first().map_or("text", |argument| argument.kind.as_str());
            (format!("{}::{kind}", builder.bind(text.as_str())), String::new())
        }
        CallBody::Json(json, keys) => by_json(builder, function, json, keys),
    };
    let name = builder.qualified(&function.name);
    let select = match function.returns {
        Returns::Composite(_) => {
            let from = if payload.is_empty() { String::new() } else { format!("{payload}, LATERAL ") };
            format!("SELECT pgrst_call.* FROM {from}{name}({arguments}) AS pgrst_call")
        }
        Returns::Scalar | Returns::Void => {
            let from = if payload.is_empty() { String::new() } else { format!(" FROM {payload}") };
            format!("SELECT {name}({arguments}) AS pgrst_scalar{from}")
        }
    };
    format!("WITH {SOURCE} AS ({select})")
}

fn direct(builder: &mut Builder, function: &Function, given: &[(String, String)]) -> String {
    let mut out = Vec::new();
    for argument in &function.arguments {
        let values: Vec<String> =
            given.iter().filter(|(name, _)| *name == argument.name).map(|(_, value)| value.clone()).collect();
        // The last of several counts, unless there may be several.
        let Some(last) = values.last() else { continue };
        let value = if argument.variadic { array(&values) } else { last.clone() };
        let place = builder.bind(value);
        out.push(named(argument, &format!("{place}::{}", argument.kind)));
    }
    out.join(", ")
}

fn named(argument: &Argument, value: &str) -> String {
    let variadic = if argument.variadic { "VARIADIC " } else { "" };
    format!("{variadic}{} := {value}", ident(&argument.name))
}

fn by_json(builder: &mut Builder, function: &Function, json: &str, keys: &[String]) -> (String, String) {
    let used: Vec<&Argument> = function.arguments.iter().filter(|one| keys.contains(&one.name)).collect();
    if used.is_empty() {
        return (String::new(), String::new());
    }
    let place = builder.bind(json);
    let list: Vec<String> = used.iter().map(|one| ident(&one.name)).collect();
    let typed: Vec<String> = used.iter().map(|one| format!("{} {}", ident(&one.name), one.kind)).collect();
    let arguments: Vec<String> =
        used.iter().map(|one| named(one, &format!("pgrst_body.{}", ident(&one.name)))).collect();
    let payload = format!(
        "(SELECT {place}::json AS json_data) pgrst_payload, LATERAL (SELECT {} FROM json_to_record(CASE WHEN \
         json_typeof(json_data) = 'array' THEN json_data -> 0 ELSE json_data END) AS _({})) pgrst_body",
        list.join(", "),
        typed.join(", ")
    );
    (arguments.join(", "), payload)
}
