//! `run402 projects sql [id] "<query>"`.

use std::path::PathBuf;

use client::{Call, LocalError};
use serde_json::{Value, json};

use super::Outcome;
use crate::context::{Context, read_text};
use crate::output::bad_usage;

#[derive(Debug, clap::Args)]
pub struct SqlArgs {
    /// Run what is in this file.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A JSON array with the values of $1, $2, ...
    #[arg(long)]
    params: Option<String>,
    /// The project, unless it is the active one; or the SQL.
    // Two words rather than a list: a list whose words may start with a hyphen swallows the options after
    // them.
    #[arg(allow_hyphen_values = true, value_name = "ID")]
    first: Option<String>,
    /// The SQL, unless it is in a file.
    #[arg(allow_hyphen_values = true, value_name = "SQL")]
    second: Option<String>,
}

/// What is to be run where.
#[derive(Debug, PartialEq)]
struct Statement {
    project: Option<String>,
    sql: String,
    params: Vec<Value>,
}

pub async fn run(args: SqlArgs, context: &Context) -> Outcome {
    let text = args.file.as_deref().map(read_text).transpose()?;
    let words = args.first.into_iter().chain(args.second);
    let statement = statement(words, text, args.params.as_deref())?;
    let (projects, id) = context.project(statement.project.as_deref())?;
    let call = Call::new("projects.sql").path("id", &id).service_key(projects.keys(&id)?.service_key);
    // Plain text may hold several statements; parameters need JSON and one.
    let call = match statement.params.is_empty() {
        true => call.text(statement.sql),
        false => call.json(json!({ "sql": statement.sql, "params": statement.params })),
    };
    context.public()?.call(call).await
}

/// A first word that starts with `prj_` is the project; the other word is the SQL.
fn statement(
    words: impl Iterator<Item = String>,
    file: Option<String>,
    params: Option<&str>,
) -> Result<Statement, LocalError> {
    let mut words = words.peekable();
    let project = words.next_if(|word| word.starts_with("prj_"));
    let sql = match (words.next(), words.next(), file) {
        (Some(sql), None, None) => sql,
        (None, None, Some(sql)) => sql,
        (None, None, None) => return Err(bad_usage("the SQL is missing; give it as a word or with --file")),
        (Some(_), None, Some(_)) => return Err(bad_usage("give the SQL as a word or with --file, not both")),
        (_, Some(_), _) => {
            return Err(bad_usage(
                "give one project id, which starts with prj_, and one word of SQL in quotes",
            ));
        }
    };
    let params = match params.map(serde_json::from_str) {
        None => Vec::new(),
        Some(Ok(Value::Array(params))) => params,
        Some(_) => return Err(bad_usage("--params is not a JSON array")),
    };
    Ok(Statement { project, sql, params })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SqlArgs,
    }

    fn parse(words: &[&str]) -> Result<Statement, String> {
        let line = Line::try_parse_from([&["sql"], words].concat()).map_err(|error| error.to_string())?;
        let file = line.args.file.map(|path| format!("from {}", path.display()));
        let words = line.args.first.into_iter().chain(line.args.second);
        statement(words, file, line.args.params.as_deref()).map_err(|error| error.message)
    }

    fn expect(project: Option<&str>, sql: &str, params: &[Value]) -> Result<Statement, String> {
        Ok(Statement { project: project.map(str::to_owned), sql: sql.to_owned(), params: params.to_vec() })
    }

    #[test]
    fn the_project_is_optional_and_known_by_its_prefix() {
        assert_eq!(parse(&["prj_1", "select 1"]), expect(Some("prj_1"), "select 1", &[]));
        assert_eq!(parse(&["select 1"]), expect(None, "select 1", &[]));
        assert_eq!(parse(&["prj_1", "--file", "a.sql"]), expect(Some("prj_1"), "from a.sql", &[]));
        assert_eq!(parse(&["--file", "a.sql", "prj_1"]), expect(Some("prj_1"), "from a.sql", &[]));
        assert_eq!(parse(&["-- a comment\nselect 1"]), expect(None, "-- a comment\nselect 1", &[]));
    }

    #[test]
    fn params_are_a_json_array() {
        let wanted = [json!(1), json!("a"), json!(null)];
        assert_eq!(parse(&["select $1", "--params", r#"[1,"a",null]"#]), expect(None, "select $1", &wanted));
        assert_eq!(parse(&["prj_1", "select 1", "--params", "[]"]), expect(Some("prj_1"), "select 1", &[]));
        assert!(parse(&["select $1", "--params", "1"]).is_err());
        assert!(parse(&["select $1", "--params", "[1"]).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["prj_1"]).is_err());
        assert!(parse(&["select", "1"]).is_err());
        assert!(parse(&["select 1", "--file", "a.sql"]).is_err());
    }
}
