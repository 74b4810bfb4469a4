//! Files that the built server prints: `docs/errors.md` and `docs/openapi.json`.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// What `run402d generate` is asked for, and where its answer is committed.
const GENERATED: &[(&str, &str)] = &[("errors", "docs/errors.md"), ("openapi", "docs/openapi.json")];

/// Writes every generated file; with `--check` only compares.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => {
            process::build_all()?;
            GENERATED.iter().try_for_each(|(what, path)| write(what, path))
        }
        [flag] if flag == "--check" => {
            process::build_all()?;
            check()
        }
        _ => bail!("usage: cargo xtask generate [--check]"),
    }
}

/// Writes `docs/errors.md` alone.
pub fn errors() -> Result<()> {
    process::build_all()?;
    write("errors", "docs/errors.md")
}

/// Fails when a committed file differs from what the built server prints.
pub fn check() -> Result<()> {
    let mut stale = Vec::new();
    for (what, path) in GENERATED {
        let committed = fs::read_to_string(process::root().join(path)).unwrap_or_default();
        if committed != print(what)? {
            stale.push(*path);
        }
    }
    if !stale.is_empty() {
        bail!("{} not up to date: run `cargo xtask generate` and commit", stale.join(", "));
    }
    Ok(())
}

fn write(what: &str, path: &str) -> Result<()> {
    let text = print(what)?;
    let path = process::root().join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, text)?;
    eprintln!("xtask: wrote {}", path.display());
    Ok(())
}

fn print(what: &str) -> Result<String> {
    let server = process::lab_binaries()?.join("run402d");
    let text = process::read(Command::new(server).args(["generate", what]))?;
    // One newline at the end, whatever the server's printing did.
    Ok(format!("{}\n", text.trim_end()))
}
