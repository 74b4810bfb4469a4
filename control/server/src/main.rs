//! `run402d`: the one server binary.
//!
//! [`up`] is the whole platform on one machine, [`serve`] takes a configuration file and real services. Both
//! build a [`config::Config`], wire the adapters that it names ([`wire`]) and run one node ([`node`]) until
//! told to stop ([`drain`]).

mod books;
mod cli;
mod config;
mod drain;
mod explain;
mod functions_wiring;
mod generate;
mod http;
mod kill;
mod lab_config;
mod node;
mod ready;
mod serve;
mod sim;
mod tls;
mod unread;
mod up;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{BooksCommand, Cli, Command};
use crate::config::Config;

/// A request is a few dozen small allocations on several threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// webauthn-rs calls it an error when a browser's answer does not verify; that is the browser's.
const LOG_DEFAULT: &str = "info,sqlx=warn,tokio_cron_scheduler=warn,hyper=warn,s3s=warn,webauthn_rs=off,\
    webauthn_rs_core=off";

fn main() -> ExitCode {
    // Before any thread: the launcher of functions leaves its namespaces.
    if let Some(code) = functions::sandbox::launched(std::env::args()) {
        return code;
    }
    let cli = Cli::parse();
    start_logs(&cli);
    // A simulation is the same each time only where nothing runs beside it.
    let mut builder = match &cli.command {
        Command::Sim(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("run402d: the runtime does not start: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("run402d: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(arguments) => {
            arguments.kill.arm()?;
            up::run(*arguments).await?;
        }
        Command::Serve { config, kill } => {
            kill.arm()?;
            serve::run(Config::load(&config)?).await?;
        }
        Command::Migrate { config, grants } => wire::migrate(&Config::load(&config)?, &grants).await?,
        Command::CheckConfig { config } => wire::check(&Config::load(&config)?)?,
        Command::Books { command: BooksCommand::Verify(arguments) } => {
            let clean = books::verify(arguments).await?;
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Books { command: BooksCommand::Prove { account, place } } => {
            books::prove(place, account).await?;
        }
        Command::Books { command: BooksCommand::Explain { account, at, place } } => {
            let good = explain::run(place, &account, at.as_deref()).await?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Books { command: BooksCommand::CheckProof { file, roots } } => {
            books::check_proof(&file, &roots)?;
        }
        Command::Sim(arguments) => {
            let clean = sim::run(arguments).await?;
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::KillPoints => kill::list(),
        Command::Generate { what } => generate::print(what)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs go to stderr: stdout belongs to scripts.
fn start_logs(cli: &Cli) {
    // Simulated nodes fail all the time; what matters of a simulation is on stdout.
    let default = if matches!(cli.command, Command::Sim(_)) { "off" } else { LOG_DEFAULT };
    let filter = cli.log.clone().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|e| {
        eprintln!("run402d: not a log filter ({e}); using {LOG_DEFAULT}");
        EnvFilter::new(LOG_DEFAULT)
    });
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        cli::LogFormat::Text => logs.with_ansi(false).init(),
        cli::LogFormat::Json => logs.json().init(),
    }
}
