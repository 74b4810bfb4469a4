//! The project's own commands: `cargo xtask COMMAND`. No shell, no dependency on our crates.

mod bench;
mod generate;
mod layers;
mod process;
mod soak;
mod solidity;
mod test;
mod tidy;
mod tools;
mod torture;
mod up;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  tools               installs Postgres, anvil and solc into .tools/ (or $RUN402_TOOLS_DIR)
  up [ARGS..]         tools, build, then `run402d up ARGS`
  test [ARGS..]       tools, lints, build, every test; with ARGS only the tests they select
  torture --kills N [--seed S]
                      kills a server N times while customers use it, then checks the books
  soak [MINUTES]      does the same work over and over and checks that nothing grows
  cron-torture [MINUTES]
                      kills one of two servers every few seconds while functions run by schedule
  layers              checks who depends on whom
  tidy                checks sizes and forbidden words in the sources
  bench [NAME]        lists the benches, or runs one
  generate [--check]  writes (or compares) docs/errors.md and docs/openapi.json
  errors              writes docs/errors.md
  solidity [--check]  compiles (or compares) the test token";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match command.as_str() {
        "tools" => tools::install().map(|_| ()),
        "up" => up::run(rest),
        "test" => test::run(rest),
        "torture" => torture::run(rest),
        "soak" => soak::run(&soak::SOAK, rest),
        "cron-torture" => soak::run(&soak::CRON_TORTURE, rest),
        "layers" => layers::run(),
        "tidy" => tidy::run(),
        "bench" => bench::run(rest),
        "generate" => generate::run(rest),
        "errors" => generate::errors(),
        "solidity" => solidity::run(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(anyhow::anyhow!("there is no command {other:?}\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
