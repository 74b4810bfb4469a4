//! Makes one module out of what an author wrote.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::packages::{self, Packages};
use crate::sandbox::{Bind, Limits, Plan};
use crate::{RunnerConfig, spawn};

macro_rules! library {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../../clients/functions/src/", $name)))),*]
    };
}

/// Our in-function library, which `@run402/functions` means unless a deploy names a published version.
const LIBRARY: &[(&str, &str)] = library![
    "ai.ts",
    "assets.ts",
    "context.ts",
    "db.ts",
    "email.ts",
    "index.ts",
    "platform.ts",
    "routed.ts",
    "runs.ts",
    "user.ts",
    "webhook.ts"
];
pub const LIBRARY_VERSION: &str = "1.60.3";
/// Another toolchain makes another bundle of the same source.
pub const TOOLCHAIN: &str = "esbuild-0.28.2/library-2";

const ENTRY: &str = "entry.mjs";

/// # Source
/// Wire contract 03 section 3.6.
const BUNDLE_BYTES_MAX: usize = 25 << 20;
const BUNDLE_BYTES_WARN: usize = 10 << 20;
const BUILD_SECS_MAX: u64 = 30;
const INSTALL_SECS_MAX: u64 = 120;
const BUILDS_AT_ONCE: usize = 2;
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Bundled CommonJS asks for Node's own modules by `require`.
const BANNER: &str = concat!(
    "import { createRequire as __run402Require } from 'node:module'; ",
    "const require = __run402Require(import.meta.url);"
);

/// The files of a function.
#[derive(Debug, Clone)]
pub struct Sources {
    /// By relative, canonical path.
    pub files: BTreeMap<String, Bytes>,
    /// One of the paths.
    pub entry: String,
    /// With the version that is installed of each.
    pub packages: Packages,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// One ES module.
    pub code: Bytes,
    /// For the author.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The source does not build; the text quotes the line.
    #[error("{0}")]
    Source(String),
    /// Not the author's fault.
    #[error("functions cannot be built here: {0}")]
    Unavailable(String),
}

/// Runs esbuild in a sandbox: it opens every file that a source names.
pub struct Bundler {
    config: RunnerConfig,
    places: Semaphore,
}

impl Bundler {
    pub fn new(config: RunnerConfig) -> Self {
        Self { config, places: Semaphore::new(BUILDS_AT_ONCE) }
    }

    /// The version that is installed of each of these packages, wanted by name and version, range or tag.
    ///
    /// # Errors
    /// [`BundleError`].
    pub async fn resolve(&self, wanted: &Packages) -> Result<Packages, BundleError> {
        let _place = self.place().await?;
        let folder = spawn::folder(&self.config, &["src", "lib", "boot", "run"]).map_err(unavailable)?;
        let plan = packages::plan(&self.config, folder.path(), wanted, packages::Mode::Resolve, &[])?;
        let _registry = packages::broker(&self.config, folder.path())?;
        let out = run(&self.config, plan, INSTALL_SECS_MAX).await?;
        serde_json::from_slice(&out.code).map_err(|e| BundleError::Unavailable(e.to_string()))
    }

    /// # Errors
    /// [`BundleError`].
    pub async fn bundle(&self, sources: &Sources) -> Result<Bundle, BundleError> {
        let _place = self.place().await?;
        let folder = spawn::folder(&self.config, &["src", "lib", "boot", "run"]).map_err(unavailable)?;
        for (path, bytes) in &sources.files {
            write(&folder.path().join("src"), path, bytes).map_err(unavailable)?;
        }
        for (name, text) in LIBRARY {
            write(&folder.path().join("lib"), name, text.as_bytes()).map_err(unavailable)?;
        }
        write(&folder.path().join("lib"), ENTRY, entry(sources).as_bytes()).map_err(unavailable)?;
        let words = esbuild_words(sources);
        let out = if sources.packages.is_empty() {
            run(&self.config, self.plan(folder.path(), words), BUILD_SECS_MAX).await?
        } else {
            let wanted = &sources.packages;
            let plan = packages::plan(&self.config, folder.path(), wanted, packages::Mode::Bundle, &words)?;
            let _registry = packages::broker(&self.config, folder.path())?;
            run(&self.config, plan, INSTALL_SECS_MAX + BUILD_SECS_MAX).await?
        };
        Ok(bundle(out.code, &out.said))
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, BundleError> {
        self.places.acquire().await.map_err(|e| BundleError::Unavailable(e.to_string()))
    }

    fn plan(&self, folder: &Path, words: Vec<String>) -> Plan {
        Plan {
            root: folder.join("root"),
            program: "/esbuild".into(),
            args: words,
            env: vec![("GOMAXPROCS".to_owned(), "2".to_owned())],
            folder: "/src".into(),
            binds: binds(&self.config, folder),
            uid: spawn::next_uid(),
            limits: Limits {
                data_bytes: MEMORY_BYTES_MAX,
                memory_bytes: MEMORY_BYTES_MAX,
                processes: 64,
                files: 512,
                tmp_bytes: 1 << 20,
                tmp_files: 64,
            },
            cgroup: None,
        }
    }
}

/// What every build sees.
pub(crate) fn binds(config: &RunnerConfig, folder: &Path) -> Vec<Bind> {
    vec![
        Bind::new(&config.esbuild, "/esbuild"),
        Bind::new(&folder.join("src"), "/src"),
        Bind::new(&folder.join("lib"), "/lib402"),
    ]
}

/// Where a published library is asked for, a module of its own beside the author's: the request's context is
/// kept in the one instance that both share.
///
/// # Source
/// Wire contract 03 section 6.6.
fn entry(sources: &Sources) -> String {
    let module = serde_json::Value::from(format!("/src/{}", sources.entry));
    let library = packages::LIBRARY_PACKAGE;
    format!("export * as run402Module from {module};\nexport * as run402Library from '{library}';\n")
}

fn esbuild_words(sources: &Sources) -> Vec<String> {
    let published = sources.packages.contains_key(packages::LIBRARY_PACKAGE);
    let mut words = vec![
        if published { format!("/lib402/{ENTRY}") } else { format!("./{}", sources.entry) },
        "--bundle".to_owned(),
        "--platform=node".to_owned(),
        "--format=esm".to_owned(),
        "--target=node22".to_owned(),
        format!("--banner:js={BANNER}"),
        "--tsconfig-raw={}".to_owned(),
        "--log-level=warning".to_owned(),
        "--log-limit=10".to_owned(),
        "--color=false".to_owned(),
        "--charset=utf8".to_owned(),
    ];
    if !published {
        words.push(format!("--alias:{}=/lib402/index.ts", packages::LIBRARY_PACKAGE));
    }
    words
}

/// What a program wrote.
struct Out {
    code: Vec<u8>,
    said: String,
}

/// Runs a program in its sandbox for so long.
async fn run(config: &RunnerConfig, plan: Plan, secs_max: u64) -> Result<Out, BundleError> {
    let (mut command, _group) = spawn::command(config, plan).map_err(unavailable)?;
    let mut child = command.spawn().map_err(unavailable)?;
    let _lease = child.stdin.take();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(BundleError::Unavailable("no pipes".to_owned()));
    };
    let (mut code, mut said) = (Vec::new(), Vec::new());
    let mut stdout = stdout.take(BUNDLE_BYTES_MAX as u64 + 1);
    let mut stderr = stderr.take(1 << 20);
    let done = async {
        let read = tokio::join!(stdout.read_to_end(&mut code), stderr.read_to_end(&mut said));
        read.0.and(read.1)?;
        if code.len() > BUNDLE_BYTES_MAX {
            let _ = child.start_kill();
        }
        child.wait().await
    };
    let status = tokio::time::timeout(Duration::from_secs(secs_max), done).await;
    let said = text(&said);
    let status = match status {
        Err(_) => return Err(BundleError::Source(format!("the build took more than {secs_max} s"))),
        Ok(status) => status.map_err(unavailable)?,
    };
    if code.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::Source("the bundle is larger than 25 MB".to_owned()));
    }
    match (status.success(), said.contains("[ERROR]")) {
        (true, _) => Ok(Out { code, said }),
        (false, true) => Err(BundleError::Source(said)),
        (false, false) => Err(BundleError::Unavailable(said)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
pub(crate) fn unavailable(e: std::io::Error) -> BundleError {
    BundleError::Unavailable(e.to_string())
}

/// Paths are canonical, and looked at again: they must stay inside.
fn write(folder: &Path, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    if !Path::new(path).components().all(plain) {
        return Err(std::io::Error::other("a path leads outside"));
    }
    let to = folder.join(path);
    let mut below = folder.to_path_buf();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
        below.push(part);
        if !below.is_dir() {
            fs::create_dir(&below)?;
            fs::set_permissions(&below, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(&to, bytes)?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o644))
}

fn text(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said).replace('\0', "").trim().to_owned();
    let end = (0..=said.len().min(MESSAGE_BYTES_MAX)).rev().find(|at| said.is_char_boundary(*at));
    said[..end.unwrap_or(0)].to_owned()
}

fn bundle(code: Vec<u8>, said: &str) -> Bundle {
    let mut warnings: Vec<String> =
        said.split("▲ [WARNING] ").skip(1).map(|one| one.trim().to_owned()).collect();
    if code.len() > BUNDLE_BYTES_WARN {
        let megabytes = code.len() / (1 << 20);
        warnings.push(format!("the bundle has {megabytes} MB; at most 10 MB are recommended"));
    }
    Bundle { code: code.into(), warnings }
}
