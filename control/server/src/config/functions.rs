//! `[functions]`: where Node and esbuild are. Functions run where it is there.

use std::path::PathBuf;

use functions::Isolation;

use super::defaults;
use super::reader::Section;

#[derive(Debug, Clone)]
pub struct FunctionsConfig {
    pub node: PathBuf,
    pub esbuild: PathBuf,
    /// For sockets and code of running functions. Emptied at the start.
    pub folder: PathBuf,
    pub isolation: Isolation,
    pub workers_max: u64,
    /// A server whose machine refuses a sandbox starts all the same, and runs no functions.
    pub optional: bool,
}

impl FunctionsConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let node = s.required::<String>("node", "the path of Node 22");
        let esbuild = s.required::<String>("esbuild", "the path of esbuild's program");
        let folder =
            s.required::<String>("folder", "a folder of this server alone; it is emptied at the start");
        let kinds = "\"namespaces\", or \"none\" where all code is your own";
        let isolation = s.or("isolation", "namespaces".to_owned(), kinds);
        let workers_max = s.or("workers_max", defaults::WORKERS_MAX, "1 to 10000");
        let named = isolation.as_deref().and_then(isolation_of);
        s.check(isolation.is_none() || named.is_some(), "isolation", || kinds.to_owned());
        let enough = workers_max.is_none_or(|n| (1..=10_000).contains(&n));
        s.check(enough, "workers_max", || "1 to 10000".to_owned());
        s.finish();
        Some(Self {
            node: node?.into(),
            esbuild: esbuild?.into(),
            folder: folder?.into(),
            isolation: named?,
            workers_max: workers_max?,
            optional: false,
        })
    }
}

fn isolation_of(word: &str) -> Option<Isolation> {
    match word {
        "namespaces" => Some(Isolation::Namespaces),
        "none" => Some(Isolation::None),
        _ => None,
    }
}
