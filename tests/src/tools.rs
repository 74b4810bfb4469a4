//! Child programs and patience.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A binary of this build, beside the test binary's folder.
pub fn target_binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    // A test is in target/<profile>/deps, a binary one folder up.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo xtask test`, which builds it first"))
}

/// `tests/peers`, where the published clients are installed.
pub fn peers() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    assert!(path.join("node_modules").exists(), "peers are not installed: run `cargo xtask test`");
    path
}

/// A binary of this build as a command.
pub fn command(name: &str) -> Command {
    Command::new(target_binary(name))
}

/// Runs to the end; panics with everything it said when it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Asks again until the answer is there; panics with `what` after `secs`.
pub async fn eventually<T, F, Fut>(what: &str, secs: u64, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let until = Instant::now() + Duration::from_secs(secs);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited {secs} s for: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
