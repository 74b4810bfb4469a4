//! Documents made from tables of the code.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;
use types::Code;

use crate::cli::Generated;

/// The API's description, as served at `/openapi.json` and committed in `docs/`.
pub fn openapi() -> Value {
    catalogue::openapi(env!("CARGO_PKG_VERSION"))
}

/// Prints one of them.
///
/// # Errors
/// Never in practice: the document is a JSON value.
pub fn print(what: Generated) -> anyhow::Result<()> {
    match what {
        Generated::Errors => print!("{}", errors()),
        Generated::Openapi => println!("{}", serde_json::to_string_pretty(&openapi())?),
    }
    Ok(())
}

fn errors() -> String {
    let mut text = String::from(
        "# Errors\n\nGenerated from `control/types/src/code.rs` by `cargo xtask errors`; do not edit.\n\n\
         Every failure is a JSON object with `code`, `message`, `hint`, `mutation_state`, `retryable`,\n\
         `safe_to_retry`, `trace_id`, `details` and `next_actions`.\n",
    );
    let categories: BTreeSet<_> = Code::ALL.iter().map(|code| code.category()).collect();
    for category in categories {
        let _ = write!(
            text,
            "\n## {category}\n\n| code | status | retry | what to do |\n| --- | --- | --- | --- |\n"
        );
        for code in Code::ALL.iter().filter(|code| code.category() == category) {
            let retry = if code.retryable() { "yes" } else { "no" };
            let _ =
                writeln!(text, "| `{}` | {} | {retry} | {} |", code.as_str(), code.status(), code.advice());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_once() {
        let text = errors();
        for code in Code::ALL {
            assert!(text.contains(&format!("| `{}` | {} |", code.as_str(), code.status())), "{code:?}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("| `")).count(), Code::ALL.len());
    }
}
