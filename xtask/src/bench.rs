//! Benches are the `[[bench]]` targets of `tests/bench`, so the list cannot go stale.

use anyhow::{Context, Result, bail};

use crate::{process, tools};

const MANIFEST: &str = "tests/bench/Cargo.toml";
/// Named together for every build: features are unified over what is named, and with another set nearly
/// everything would be built once more.
const PACKAGES: &[&str] = &["-p", "server", "-p", "bench"];
/// These drive a whole lab; the others measure one crate.
const NEED_THE_SERVER: &[&str] = &[
    "settle",
    "provision",
    "sites",
    "watcher",
    "sweep",
    "tokens",
    "deploys",
    "functions",
    "gate",
    "schedules",
];

/// Without a name lists the benches; with one runs it, passing the rest on.
pub fn run(arguments: &[String]) -> Result<()> {
    let benches = list()?;
    let Some((name, rest)) = arguments.split_first() else {
        for bench in benches {
            println!("{bench}");
        }
        return Ok(());
    };
    if !benches.contains(name) {
        bail!("there is no bench {name:?}; there are: {}", benches.join(", "));
    }
    let tools = tools::install()?;
    if NEED_THE_SERVER.contains(&name.as_str()) {
        // With the benches, whose dev-dependencies belong to the features that are unified.
        let server = ["build", "--profile", "bench", "--bins", "--benches"];
        process::run(process::cargo().args(server).args(PACKAGES))?;
    }
    let mut bench = process::cargo();
    bench.arg("bench").args(PACKAGES).args(["--bench", name, "--"]).args(rest);
    bench.env("RUN402_TOOLS_DIR", tools);
    process::run(&mut bench)
}

fn list() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(process::root().join(MANIFEST))?;
    names(&text)
}

fn names(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context(MANIFEST)?;
    let benches = manifest.get("bench").and_then(|benches| benches.as_array()).cloned().unwrap_or_default();
    let named = benches.iter().filter_map(|bench| bench.get("name")?.as_str().map(str::to_owned));
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn benches_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"tests\"\n[[bench]]\nname = \"x402-verify\"\nharness = false\n";
        assert_eq!(super::names(manifest).unwrap(), ["x402-verify"]);
        assert!(super::names("[package]\n").unwrap().is_empty());
    }
}
