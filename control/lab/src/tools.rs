//! Where the servers' programs are: what `cargo xtask tools` installed, or a fitting system install.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use crate::account::Account;
use crate::error::{During, LabError};
use crate::layout::{ROOT_STORE, make_root_folder};

const POSTGRES_MAJOR_MIN: u32 = 18;
/// Where Debian and Ubuntu keep a Postgres that is not on PATH.
const SYSTEM_POSTGRES: &str = "/usr/lib/postgresql/18/bin";

/// The programs that a lab starts.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) initdb: PathBuf,
    pub(crate) postgres: PathBuf,
    pub(crate) anvil: PathBuf,
}

/// One entry of `tools.json`.
#[derive(Debug, Deserialize)]
struct Installed {
    version: String,
    /// Relative to the tools directory.
    program: PathBuf,
}

impl Programs {
    /// Finds them, and copies them to a reachable place when the servers' account cannot reach them.
    pub(crate) fn find(tools: Option<&Path>, account: &Account) -> Result<Self, LabError> {
        let tools = crate::layout::absolute(tools.unwrap_or(Path::new(".tools")))?;
        // Links resolved: every folder on the real way has to be open to the servers' account.
        let tools = tools.canonicalize().unwrap_or(tools);
        let installed = read_manifest(&tools)?;
        let anvil = match installed.get("anvil") {
            Some(anvil) => reachable(&tools, "anvil", anvil, &anvil.program, account)?,
            None => system_anvil(account, &tools)?,
        };
        let (initdb, postgres) = match installed.get("postgres") {
            Some(entry) => {
                // `native/bin/postgres` finds its libraries and files relative to itself: the tree goes as
                // one.
                let tree = entry.program.ancestors().nth(2).unwrap_or(&entry.program);
                let tree = reachable(&tools, "postgres", entry, tree, account)?;
                (tree.join("bin/initdb"), tree.join("bin/postgres"))
            }
            None => system_postgres(account, &tools)?,
        };
        Ok(Self { initdb, postgres, anvil })
    }
}

/// The programs that functions are built and run with.
#[derive(Debug, Clone)]
pub struct FunctionTools {
    /// Node 22.
    pub node: PathBuf,
    pub esbuild: PathBuf,
}

/// Where they are; none when `cargo xtask tools` has not brought them. They need not be reachable for another
/// account: their sandbox is built by this one.
pub fn function_tools(tools: Option<&Path>) -> Option<FunctionTools> {
    let tools = crate::layout::absolute(tools.unwrap_or(Path::new(".tools"))).ok()?;
    let tools = tools.canonicalize().ok()?;
    let installed = read_manifest(&tools).ok()?;
    let place = |name: &str| installed.get(name).map(|entry| tools.join(&entry.program));
    Some(FunctionTools { node: place("node")?, esbuild: place("esbuild")? })
}

fn read_manifest(tools: &Path) -> Result<BTreeMap<String, Installed>, LabError> {
    let path = tools.join("tools.json");
    let Ok(bytes) = fs::read(&path) else { return Ok(BTreeMap::new()) };
    let broken = |why: String| LabError::ToolsBroken { tools: tools.to_path_buf(), why };
    let manifest: BTreeMap<String, Installed> =
        serde_json::from_slice(&bytes).map_err(|error| broken(format!("tools.json: {error}")))?;
    for (name, entry) in &manifest {
        if !tools.join(&entry.program).is_file() {
            return Err(broken(format!("{name} is missing")));
        }
    }
    Ok(manifest)
}

/// The file or tree itself, or a copy under [`ROOT_STORE`] made once for each version.
fn reachable(
    tools: &Path,
    name: &str,
    entry: &Installed,
    part: &Path,
    account: &Account,
) -> Result<PathBuf, LabError> {
    let original = tools.join(part);
    let program = tools.join(&entry.program);
    let folder = program.parent().unwrap_or(&program);
    if account.closed_folder(folder).is_none() && account.may_read(&program) {
        return Ok(original);
    }
    let copy = Path::new(ROOT_STORE).join(format!("{name}-{}", entry.version));
    if !copy.exists() {
        make_root_folder(Path::new(ROOT_STORE))?;
        let draft = copy.with_extension(format!("new-{}", std::process::id()));
        copy_tree(&original, &draft)?;
        // Another start may have been quicker with the same version: then its copy serves.
        if fs::rename(&draft, &copy).is_err() && !copy.exists() {
            return Err(LabError::ToolsBroken { tools: copy, why: "it could not be copied".to_owned() });
        }
    }
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), LabError> {
    let kind = fs::symlink_metadata(from).at("reading", from)?.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(from).at("reading", from)?;
        return std::os::unix::fs::symlink(target, to).at("linking", to);
    }
    if kind.is_dir() {
        fs::create_dir_all(to).at("making", to)?;
        for entry in fs::read_dir(from).at("reading", from)? {
            let name = entry.at("reading", from)?.file_name();
            copy_tree(&from.join(&name), &to.join(&name))?;
        }
    } else {
        fs::copy(from, to).at("copying", from)?;
    }
    let mode = fs::metadata(to).at("reading", to)?.permissions().mode();
    let runnable = kind.is_dir() || mode & 0o100 != 0;
    let open = fs::Permissions::from_mode(mode | if runnable { 0o555 } else { 0o444 });
    fs::set_permissions(to, open).at("opening", to)
}

fn system_anvil(account: &Account, tools: &Path) -> Result<PathBuf, LabError> {
    let anvil = PathBuf::from("anvil");
    match version(account, &anvil) {
        Some(_) => Ok(anvil),
        None => Err(LabError::ToolsMissing { what: "anvil", tools: tools.to_path_buf() }),
    }
}

fn system_postgres(account: &Account, tools: &Path) -> Result<(PathBuf, PathBuf), LabError> {
    for folder in ["", SYSTEM_POSTGRES] {
        let postgres = Path::new(folder).join("postgres");
        let fits = version(account, &postgres).as_deref().and_then(major);
        if fits.is_some_and(|major| major >= POSTGRES_MAJOR_MIN) {
            return Ok((Path::new(folder).join("initdb"), postgres));
        }
    }
    Err(LabError::ToolsMissing { what: "Postgres 18", tools: tools.to_path_buf() })
}

/// What the program prints for `--version`, when it runs at all.
fn version(account: &Account, program: &Path) -> Option<String> {
    let output = account.command(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The 18 of `postgres (PostgreSQL) 18.4 (Debian 18.4-1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 18.4"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 19beta1 (Debian 19~beta1-1)"), Some(19));
        assert_eq!(major("something else"), None);
    }
}
