//! `run402`: the platform from the command line, JSON in and JSON out.
//!
//! The answer goes to stdout as one JSON value; an error goes to stderr as one JSON object and the exit code
//! is 1. Progress of deploys goes to stderr, one JSON object a line. The words and the local files are those
//! of the published CLI, so that both can be used on one machine.

mod commands;
mod context;
mod output;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::context::Context;

#[derive(Debug, Parser)]
#[command(
    name = "run402",
    version,
    about = "Postgres, storage and hosting that an agent pays for by itself."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            output::text(&format!("{}\n", error.render().to_string().trim_end()));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            output::error(&output::bad_usage(&error.render().to_string()).into());
            return ExitCode::FAILURE;
        }
    };
    let outcome = async {
        let context = Context::new(settings::Settings::from_env(|name| std::env::var_os(name))?);
        commands::run(cli.command, &context).await
    };
    match outcome.await {
        Ok(value) => {
            output::value(&value);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    fn leaves(command: &clap::Command, path: &[String], found: &mut BTreeSet<String>) {
        let children: Vec<_> = command.get_subcommands().filter(|child| child.get_name() != "help").collect();
        if children.is_empty() {
            found.insert(path.join(" "));
        }
        for child in children {
            leaves(child, &[path, &[child.get_name().to_owned()]].concat(), found);
        }
    }

    #[test]
    fn the_commands_are_exactly_the_words_of_the_catalogue() {
        let mut ours = BTreeSet::new();
        leaves(&Cli::command(), &[], &mut ours);
        let operations = catalogue::OPERATIONS.iter().filter_map(|operation| operation.cli);
        let words = operations.chain(catalogue::FLOWS.iter().map(|flow| flow.cli));
        assert_eq!(ours, words.map(|words| words.join(" ")).collect());
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_thirty_second_start_are_understood() {
        let sql = "create table items (id serial primary key, title text not null)";
        let lines: [&[&str]; 6] = [
            &["init"],
            &["tier", "set", "prototype"],
            &["projects", "provision", "--name", "my-app"],
            &["projects", "sql", "prj_1", sql],
            &["sites", "deploy-dir", "./dist"],
            &["subdomains", "claim", "my-app"],
        ];
        for line in lines {
            let parsed = Cli::try_parse_from([&["run402"], line].concat());
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn help_is_no_error_and_a_wrong_word_is_one() {
        let error = |line: &[&str]| Cli::try_parse_from([&["run402"], line].concat()).unwrap_err();
        assert!(!error(&["--help"]).use_stderr());
        assert!(!error(&["projects", "sql", "--help"]).use_stderr());
        assert!(error(&["projects", "frobnicate"]).use_stderr());
        assert!(error(&["tier", "set"]).use_stderr());
        assert!(error(&[]).use_stderr());
    }
}
