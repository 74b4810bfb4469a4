//! The words that `run402d` understands.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The Run402 control plane.
#[derive(Debug, Parser)]
#[command(name = "run402d", version)]
pub struct Cli {
    /// What to log, as `level` or `crate=level,..`; logs go to stderr.
    #[arg(long, global = true, env = "RUN402_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    #[arg(long, global = true, env = "RUN402_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole platform on this machine, offline.
    Up(UpArgs),
    /// Run one node on the services that a configuration file names.
    Serve {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Bring the control database to this version.
    Migrate {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Name every mistake of a configuration file.
    CheckConfig {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look after the books.
    Books {
        #[command(subcommand)]
        command: BooksCommand,
    },
    /// Print a generated document.
    #[command(hide = true)]
    Generate {
        #[arg(value_enum)]
        what: Generated,
    },
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where everything is kept; a second start on the same directory continues.
    #[arg(long, default_value = ".run402/lab", value_name = "DIR")]
    pub data: PathBuf,
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4020", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where the chain's RPC listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8545", value_name = "ADDRESS")]
    pub chain_listen: SocketAddr,
    /// The domain that sites live under.
    #[arg(long, default_value = "localhost", value_name = "HOST")]
    pub apex: String,
    /// One more host name that wallets may sign in for. The loopback names and that of --listen always are.
    #[arg(long = "siwx-domain", value_name = "HOST")]
    pub siwx_domains: Vec<String>,
    /// One more wallet that may use the operators' routes.
    #[arg(long = "admin-wallet", value_name = "ADDRESS")]
    pub admin_wallets: Vec<types::Wallet>,
    /// Write a configuration with which `serve` joins this lab as a second node.
    #[arg(long, value_name = "FILE")]
    pub write_serve_config: Option<PathBuf>,
    /// The programs that `cargo xtask tools` installed.
    #[arg(long, env = "RUN402_TOOLS_DIR", value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum BooksCommand {
    /// Re-derive every balance and every deposit, from the chain too; exit 0 only without differences.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A lab's data directory, running or stopped.
    #[arg(long, default_value = ".run402/lab", value_name = "DIR", conflicts_with = "config")]
    pub data: PathBuf,
    /// The configuration of a served installation instead.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, env = "RUN402_TOOLS_DIR", value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Generated {
    Errors,
    Openapi,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
