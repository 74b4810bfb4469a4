//! Benches are the `[[bench]]` targets of the `tests` crate, so the list cannot go stale.

use anyhow::{Context, Result, bail};

use crate::process;

/// Without a name lists the benches; with one runs it, passing the rest on.
pub fn run(arguments: &[String]) -> Result<()> {
    let benches = list()?;
    let Some((name, rest)) = arguments.split_first() else {
        if benches.is_empty() {
            println!("there are no benches yet: add a [[bench]] to tests/Cargo.toml");
        }
        for bench in benches {
            println!("{bench}");
        }
        return Ok(());
    };
    if !benches.contains(name) {
        bail!("there is no bench {name:?}; there are: {}", benches.join(", "));
    }
    process::run(process::cargo().args(["bench", "-p", "tests", "--bench", name, "--"]).args(rest))
}

fn list() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(process::root().join("tests/Cargo.toml"))?;
    names(&text)
}

fn names(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("tests/Cargo.toml")?;
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
