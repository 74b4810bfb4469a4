//! The words that `run402d` understands.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::defaults;
use crate::kill::KillArgs;
use crate::sim::SimArgs;

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
    Up(Box<UpArgs>),
    /// Run one node on the services that a configuration file names.
    Serve {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        kill: KillArgs,
    },
    /// Bring the control database to this version.
    Migrate {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Give this login what serving needs: it can add to the books and never change them.
        #[arg(long = "grant", value_name = "ROLE")]
        grants: Vec<String>,
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
    /// Run the money paths under seeded chance, on a Postgres of their own; exit 0 only when every rule held.
    Sim(SimArgs),
    /// List the places where a test can end the process.
    #[command(hide = true)]
    KillPoints,
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
    /// Blobs larger than this are uploaded in parts of 16 MiB; 5 GiB unless given.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=5_368_709_120))]
    pub single_put_bytes_max: Option<u64>,
    #[command(flatten)]
    pub chain: ChainArgs,
    #[command(flatten)]
    pub cards: CardArgs,
    #[command(flatten)]
    pub google: GoogleArgs,
    #[command(flatten)]
    pub ai: AiArgs,
    #[command(flatten)]
    pub npm: NpmArgs,
    /// Believe this issuer's identity tokens of workflows instead of GitHub's.
    #[arg(long, value_name = "URL")]
    pub ci_issuer: Option<String>,
    #[command(flatten)]
    pub names: NamesArgs,
    /// Write a configuration with which `serve` joins this lab as a second node.
    #[arg(long, value_name = "FILE")]
    pub write_serve_config: Option<PathBuf>,
    /// The programs that `cargo xtask tools` installed.
    #[arg(long, env = "RUN402_TOOLS_DIR", value_name = "DIR")]
    pub tools: Option<PathBuf>,
    #[command(flatten)]
    pub kill: KillArgs,
}

/// Both variables are those that npm and Node themselves look at.
#[derive(Debug, Args)]
pub struct NpmArgs {
    /// Where the packages of functions come from.
    #[arg(long, env = "npm_config_registry", default_value = defaults::NPM_REGISTRY, value_name = "URL")]
    pub npm_registry: String,
    /// Certificate authorities of that registry, in PEM.
    #[arg(long, env = "NODE_EXTRA_CA_CERTS", value_name = "FILE")]
    pub npm_ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ChainArgs {
    /// Deposits up to this are credited when their block is seen, larger ones when it is safe.
    #[arg(long, value_name = "MICROS", value_parser = clap::value_parser!(i64).range(0..))]
    pub instant_micros_max: Option<i64>,
    /// A reorganisation deeper than this halts the watcher.
    #[arg(long, value_name = "BLOCKS")]
    pub retained_blocks: Option<u64>,
    /// One more address that was paid before and is still watched.
    #[arg(long = "retired-payee", value_name = "ADDRESS")]
    pub retired_payees: Vec<types::Wallet>,
    /// One more address that the facilitator settles for; the lab's own payee always is.
    #[arg(long = "facilitate", value_name = "ADDRESS")]
    pub facilitate: Vec<types::Wallet>,
    /// Read the chain here instead of at the lab's own node; given twice, both must agree.
    #[arg(long, value_name = "URL", hide = true)]
    pub chain_rpc: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CardArgs {
    /// Take no cards: without this the lab runs a stand-in for Stripe, where one click pays.
    #[arg(long)]
    pub no_cards: bool,
    /// Where the stand-in for Stripe listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub stripe_listen: SocketAddr,
    /// Use a stand-in that somebody else runs.
    #[arg(long, value_name = "URL", hide = true, requires = "stripe_webhook_secret")]
    pub stripe_url: Option<String>,
    #[arg(long, value_name = "SECRET", hide = true)]
    pub stripe_webhook_secret: Option<String>,
}

#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Ask this DNS server about tenants' own domains instead of the system's.
    #[arg(long, value_name = "ADDRESS")]
    pub dns_resolver: Option<SocketAddr>,
    /// Speak TLS here, with certificates of --acme-directory; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", requires = "acme_directory")]
    pub tls_listen: Option<SocketAddr>,
    /// Send readers who come without TLS there, once their host has a certificate.
    #[arg(long, requires = "tls_listen")]
    pub tls_redirect: bool,
    /// The directory of an ACME authority.
    #[arg(long, value_name = "URL", requires = "tls_listen")]
    pub acme_directory: Option<String>,
    /// PEM of the root that the authority's own certificate comes from.
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    pub acme_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GoogleArgs {
    /// Offer sign-ins with Google through this client; its redirect URI is the API's address with
    /// /auth/v1/oauth/google/callback.
    #[arg(long, value_name = "ID", requires = "google_client_secret")]
    pub google_client_id: Option<String>,
    #[arg(long, env = "GOOGLE_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub google_client_secret: Option<String>,
    /// Ask this OpenID provider instead of Google.
    #[arg(long, value_name = "URL", requires = "google_client_id")]
    pub google_issuer: Option<String>,
}

#[derive(Debug, Args)]
pub struct AiArgs {
    /// Offer images, translation and moderation through this provider of the OpenAI protocol; its models are called
    /// image, text and moderation.
    #[arg(long, value_name = "URL")]
    pub ai_url: Option<String>,
    #[arg(long, env = "RUN402_AI_KEY", hide_env_values = true, value_name = "KEY", requires = "ai_url")]
    pub ai_key: Option<String>,
    /// How long one call of it may take.
    #[arg(long, value_name = "SECONDS", requires = "ai_url", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub ai_timeout: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum BooksCommand {
    /// Re-derive every balance and every deposit, from the chain too; exit 0 only without differences.
    Verify(VerifyArgs),
    /// Prove that an account's transfers are in the books, against their daily roots.
    Prove {
        /// The billing account: org_ and 32 hex digits.
        account: types::AccountId,
        #[command(flatten)]
        place: VerifyArgs,
    },
    /// Walk from a balance to where each transfer came from; exit 0 only when it adds up.
    Explain {
        /// A billing account (org_ and 32 hex digits), or KIND[/NAME] such as suspense or revenue/tier.
        account: String,
        /// As it stood then, such as 2030-01-31T12:00:00Z; now unless given.
        at: Option<String>,
        #[command(flatten)]
        place: VerifyArgs,
    },
    /// Check such a proof with the roots alone: no server, no database. Exit 0 when all of it holds.
    CheckProof {
        /// What `books prove` printed.
        file: PathBuf,
        /// A daily root from a source that you trust.
        #[arg(long = "root", value_name = "DAY=HEX", required = true)]
        roots: Vec<String>,
    },
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
