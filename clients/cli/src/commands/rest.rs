//! `run402 projects rest [id] <table> "<query>"`.

use client::{Call, LocalError};

use super::Outcome;
use crate::context::Context;
use crate::output::bad_usage;

#[derive(Debug, clap::Args)]
pub struct RestArgs {
    /// The project unless it is the active one, the table (or rpc/function), and the query such as
    /// "select=id&order=id.desc".
    #[arg(num_args = 1..=3, value_name = "[ID] TABLE [QUERY]")]
    words: Vec<String>,
}

/// What is to be read where.
#[derive(Debug, PartialEq)]
struct Read {
    project: Option<String>,
    table: String,
    query: String,
}

pub async fn run(args: RestArgs, context: &Context) -> Outcome {
    let read = read(args.words)?;
    let (projects, id) = context.project(read.project.as_deref())?;
    let key = projects.keys(&id)?.anon_key;
    let call = Call::new("rest.read").path("table", &read.table).raw_query(&read.query).anon_key(key);
    context.public()?.call(call).await
}

/// A first word that starts with `prj_` is the project.
fn read(words: Vec<String>) -> Result<Read, LocalError> {
    let mut words = words.into_iter().peekable();
    let project = words.next_if(|word| word.starts_with("prj_"));
    let table = words.next().ok_or_else(|| bad_usage("the table is missing"))?;
    let query = words.next().unwrap_or_default();
    if words.next().is_some() {
        return Err(bad_usage(
            "give one project id, which starts with prj_, one table, and one query in quotes",
        ));
    }
    Ok(Read { project, table, query: query.trim_start_matches('?').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Read, String> {
        read(words.iter().map(|word| (*word).to_owned()).collect()).map_err(|error| error.message)
    }

    #[test]
    fn the_project_is_optional_and_known_by_its_prefix() {
        let wanted = |project: Option<&str>, query: &str| {
            Ok(Read { project: project.map(str::to_owned), table: "items".into(), query: query.into() })
        };
        assert_eq!(parse(&["prj_1", "items", "select=id"]), wanted(Some("prj_1"), "select=id"));
        assert_eq!(parse(&["items", "?select=id"]), wanted(None, "select=id"));
        assert_eq!(parse(&["items"]), wanted(None, ""));
        assert!(parse(&["prj_1"]).is_err() && parse(&["items", "a", "b"]).is_err());
    }
}
