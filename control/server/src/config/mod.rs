//! The one typed configuration. A file is read section by section; every mistake is collected, so that
//! whoever wrote the file sees all of them at once.

mod ai;
mod chains;
mod ci;
mod data;
pub mod defaults;
mod functions;
mod google;
mod http;
mod identity;
mod names;
mod prices;
mod reader;
mod stripe;

use std::path::Path;

use crate::config::reader::{Mistakes, Section};

pub use self::ai::AiConfig;
pub use chains::{ChainConfig, KeystoreConfig, SignerConfig};
pub use ci::CiConfig;
pub use data::{CellConfig, ControlDbConfig, S3Config};
pub use functions::FunctionsConfig;
pub use google::{GoogleConfig, is_issuer};
pub use http::{Listen, ServerConfig, SitesConfig};
pub use identity::IdentityConfig;
pub use names::{DomainsConfig, TlsConfig};
pub use prices::PricesConfig;
pub use reader::Mistake;
pub use stripe::StripeConfig;

/// Everything that differs between two installations.
#[derive(Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub sites: SitesConfig,
    pub control_db: ControlDbConfig,
    pub cells: Vec<CellConfig>,
    pub s3: S3Config,
    pub keystore: Option<KeystoreConfig>,
    pub chains: Vec<ChainConfig>,
    pub prices: PricesConfig,
    pub identity: IdentityConfig,
    /// Cards are taken where it is there.
    pub stripe: Option<StripeConfig>,
    /// Sign-ins with Google are offered where it is there.
    pub google: Option<GoogleConfig>,
    /// AI helpers answer where it is there.
    pub ai: Option<AiConfig>,
    /// Whose workflows may deploy: GitHub's, unless told otherwise.
    pub ci: CiConfig,
    pub domains: DomainsConfig,
    /// TLS is spoken here where it is there; elsewhere a proxy in front does.
    pub tls: Option<TlsConfig>,
    /// Functions run where it is there.
    pub functions: Option<FunctionsConfig>,
}

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("{} in the configuration:{}", count(.0.len()), listed(.0))]
    Mistakes(Vec<Mistake>),
}

/// Line and complaint. The error's own text would show the line, which may hold a secret.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

fn listed(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect()
}

impl Config {
    /// # Errors
    /// `Mistakes` with every mistake of the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|e| ConfigError::Syntax(place(text, &e)))?;
        let mistakes = Mistakes::default();
        let config = Self::read(Section::root(&table, &mistakes));
        let mistakes = mistakes.into_all();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError::Mistakes(mistakes)),
        }
    }

    /// `None` only when a mistake was noted. Every section is read before any answer is used, so that one bad
    /// section does not hide the next.
    fn read(mut root: Section<'_>) -> Option<Self> {
        let server = ServerConfig::read(root.section("server"));
        let sites = SitesConfig::read(root.section("sites"));
        let control_db = ControlDbConfig::read(root.section("control_db"));
        let cells = root.sections("cells", "[[cells]] with name and url, once per tenant database server");
        let cells: Vec<_> = cells.into_iter().map(CellConfig::read).collect();
        let s3 = S3Config::read(root.section("s3"));
        let keystore = root.section_if_there("keystore").map(KeystoreConfig::read);
        let chains = root.sections("chains", "[[chains]] with network, rpc_url, payee and fee_payer");
        let chains: Vec<_> = chains.into_iter().map(ChainConfig::read).collect();
        let prices = PricesConfig::read(root.section_if_there("prices"));
        let identity = IdentityConfig::read(root.section_or_empty("identity"));
        let stripe = root.section_if_there("stripe").map(StripeConfig::read);
        let google = root.section_if_there("google").map(GoogleConfig::read);
        let ai = root.section_if_there("ai").map(AiConfig::read);
        let ci = CiConfig::read(root.section_or_empty("ci"));
        let domains = DomainsConfig::read(root.section_or_empty("domains"));
        let tls = root.section_if_there("tls").map(TlsConfig::read);
        let functions = root.section_if_there("functions").map(FunctionsConfig::read);
        root.check(
            distinct(chains.iter().flatten().map(|chain| chain.network.to_string())),
            "chains",
            || "each network once".to_owned(),
        );
        root.check(distinct(cells.iter().flatten().map(|cell| cell.name.clone())), "cells", || {
            "each name once".to_owned()
        });
        let needs_keystore = chains.iter().flatten().any(ChainConfig::needs_keystore);
        root.check(keystore.is_some() || !needs_keystore, "keystore", || {
            "[keystore] with path and key_file, because a chain names a key in it".to_owned()
        });
        root.finish();
        Some(Self {
            server: server?,
            sites: sites?,
            control_db: control_db?,
            cells: cells.into_iter().collect::<Option<_>>()?,
            s3: s3?,
            keystore: there(keystore)?,
            chains: chains.into_iter().collect::<Option<_>>()?,
            prices: prices?,
            identity: identity?,
            stripe: there(stripe)?,
            google: there(google)?,
            ai: there(ai)?,
            ci: ci?,
            domains: domains?,
            tls: there(tls)?,
            functions: there(functions)?,
        })
    }
}

/// A section that may be left out, and was read without a mistake where it is there.
#[expect(clippy::option_option, reason = "left out, read with mistakes, read well")]
fn there<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    section.map_or(Some(None), |read| read.map(Some))
}

fn distinct(names: impl Iterator<Item = String>) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut names = names;
    names.all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests;
