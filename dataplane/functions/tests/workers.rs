//! Workers with real Node in real namespaces. Needs the tools of `cargo xtask tools`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod packages;
mod syscalls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use functions::{
    Bundler, Call, Cgroups, Egress, Function, Gateway, Isolation, LogLine, NodeRunner, Packages, Redactor,
    Reply, RunError, RunnerConfig, Sources, Workers,
};
use futures::FutureExt;
use tempfile::TempDir;
use tokio::sync::mpsc;

struct World {
    config: RunnerConfig,
    workers: Workers,
    logs: mpsc::Receiver<LogLine>,
    _folder: TempDir,
}

fn tools() -> PathBuf {
    let chosen = std::env::var_os("RUN402_TOOLS_DIR").map(PathBuf::from);
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"))
}

fn tool(name: &str) -> PathBuf {
    let text = std::fs::read_to_string(tools().join("tools.json")).expect("cargo xtask tools");
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    tools().join(all[name]["program"].as_str().expect("an old .tools: run cargo xtask tools"))
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let binaries = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
    let config = RunnerConfig {
        node: tool("node"),
        esbuild: tool("esbuild"),
        launcher: binaries.join("examples/launcher"),
        folder: folder.path().to_path_buf(),
        isolation: Isolation::Namespaces,
        cgroups: Cgroups::find(),
        workers_max: 32,
        packages: None,
    };
    let gateway = Gateway { host: "gateway.test".into(), port: 80, apex: "sites.test".into(), address: None };
    let (to, logs) = mpsc::channel(10_000);
    let workers = Workers::new(config.clone(), Arc::new(Egress::new(gateway)), to);
    World { config, workers, logs, _folder: folder }
}

fn function(name: &str, code: &str) -> Function {
    let code = Bytes::from(code.to_owned());
    Function {
        version: name.to_owned(),
        project: "prj_1".into(),
        name: name.into(),
        memory_mb: 128,
        timeout: Duration::from_secs(5),
        env: Arc::new(vec![("SECRET".into(), "s3cr3t-value".into())]),
        redactor: Arc::new(Redactor::new(["s3cr3t-value".to_owned()])),
        load: Arc::new(move || {
            let code = code.clone();
            async move { Ok(code) }.boxed()
        }),
    }
}

fn call(path: &str) -> Call {
    Call {
        request_id: "req_1".into(),
        attempt_id: None,
        method: "POST".into(),
        url: format!("http://gateway.test/functions/v1/f{path}"),
        headers: vec![("x-custom".into(), "abc".into())],
        body: Bytes::from_static(b"\x00\xffbody"),
        routed: None,
        depth: 0,
    }
}

impl World {
    async fn ask(&self, function: &Function) -> Result<Reply, RunError> {
        self.workers.call(function, call("?x=1")).await
    }

    async fn said(&mut self, text: &str) -> LogLine {
        let all = async {
            loop {
                let line = self.logs.recv().await.unwrap();
                if line.message.contains(text) {
                    return line;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all)
            .await
            .unwrap_or_else(|_| panic!("nobody said {text}"))
    }
}

fn body(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_gets_its_request_and_answers() {
    let mut world = world();
    world.workers.probe().await.unwrap();
    let echo = function(
        "echo",
        "export default async (req) => {
            console.log('asked', process.env.SECRET);
            const bytes = Buffer.from(await req.arrayBuffer()).toString('hex');
            const headers = new Headers({ 'x-custom': req.headers.get('x-custom') });
            headers.append('set-cookie', 'a=1'); headers.append('set-cookie', 'b=2');
            return new Response(`${req.method} ${req.url} ${bytes}`, { status: 201, headers });
        };",
    );
    let started = Instant::now();
    let first = world.ask(&echo).await.unwrap();
    let (cold, started) = (started.elapsed(), Instant::now());
    let second = world.ask(&echo).await.unwrap();
    eprintln!("first {cold:?}, second {:?}", started.elapsed());
    assert_eq!(first, second);
    assert_eq!(
        (first.status, body(&first)),
        (201, "POST http://gateway.test/functions/v1/f?x=1 00ff626f6479".into())
    );
    let cookies: Vec<&str> = first
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let line = world.said("asked").await;
    assert_eq!((line.message.as_str(), line.request_id.as_deref()), ("asked [redacted]", Some("req_1")));
    let value = function("value", "export default () => ({ a: 1 })");
    assert_eq!(body(&world.ask(&value).await.unwrap()), r#"{"a":1}"#);
    let thrown = function("throws", "export default () => { throw new Error('oh no') }");
    assert_eq!(world.ask(&thrown).await, Err(RunError::Threw));
    assert!(world.said("oh no").await.message.contains("bundle.mjs:1"));
}

// F07. Goal: whatever a function does to its process, the call ends with an error in time, and the next call is
// answered by another process.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_misbehaves_is_ended_and_the_next_call_is_fine() {
    let world = world();
    let bad = function("bad", include_str!("bad.mjs"));
    let bad = Function { timeout: Duration::from_secs(3), ..bad };
    for (what, ends) in [
        ("loop", &[RunError::Timeout][..]),
        ("never", &[RunError::Timeout]),
        ("heap", &[RunError::Ended]),
        ("buffers", &[RunError::Ended, RunError::Threw]),
        ("exit", &[RunError::Ended]),
        ("abort", &[RunError::Ended]),
        ("throw-later", &[RunError::Ended]),
        ("descriptors", &[RunError::Threw]),
        ("stream", &[RunError::TooLarge]),
        ("drip", &[RunError::Timeout]),
        ("disk", &[RunError::Threw]),
    ] {
        let started = Instant::now();
        let outcome = world.workers.call(&bad, call(&format!("?x={what}"))).await;
        let error = outcome.expect_err(what);
        assert!(ends.contains(&error), "{what}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(8), "{what} took {:?}", started.elapsed());
        let next = world.workers.call(&bad, call("?x=no")).await;
        assert_eq!(next.map(|reply| body(&reply)), Ok("fine".to_owned()), "after {what}");
    }
    let made = world.workers.call(&bad, call("?x=forks")).await.unwrap();
    let made: u32 = body(&made).parse().unwrap();
    assert!(made < 48, "{made} processes");
}

const SPY: &str = include_str!("spy.mjs");

fn is_locked_in(seen: &serde_json::Value) {
    assert_eq!((&seen["uid"], &seen["capabilities"]), (&1000.into(), &"0000000000000000".into()), "{seen}");
    assert_eq!((&seen["renounced"], &seen["filtered"]), (&"1".into(), &"2".into()), "{seen}");
    assert_eq!(seen["environment"], serde_json::json!(["SECRET"]));
    // Itself alone.
    assert_eq!(seen["processes"], serde_json::json!(["1"]));
    let root: Vec<&str> = seen["root"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let known = ["boot", "code", "dev", "lib", "lib64", "node", "proc", "run402", "tmp", "usr"];
    assert!(root.iter().all(|name| known.contains(name)), "{root:?}");
    for refused in [
        "passwd",
        "home",
        "write",
        "touch",
        "sysctl",
        "metadata",
        "loopback",
        "private",
        "mapped",
        "localhost",
        "abstract",
        "postgres",
        "fetched",
        "secure",
    ] {
        let text = seen[refused].as_str().unwrap();
        assert!(text.starts_with("refused"), "{refused}: {text}");
    }
    assert_eq!((&seen["tmp"], &seen["sockets"]), (&"y".into(), &"e,s".into()));
    assert!(seen["metadata"].as_str().unwrap().contains("private address"), "{seen}");
    let interfaces = seen["interfaces"].as_array().unwrap();
    assert!(interfaces.is_empty(), "{seen}");
}

// F07, F08, F10. Goal: all of it holds for whoever runs the server. Method: root runs the tests that start a sandbox
// again as somebody without rights, whose namespaces are made in another way.
#[test]
fn the_same_holds_for_an_account_without_rights() {
    tests::again_without_rights(
        &[
            "a_function_gets_its_request_and_answers",
            "a_function_that_misbehaves_is_ended_and_the_next_call_is_fine",
            "a_function_sees_nothing_but_its_own_world",
            "sources_are_bundled_and_mistakes_quote_the_line",
            "syscalls::what_no_function_needs_is_refused_by_the_kernel",
        ],
        &["examples/launcher"],
    );
}

#[test]
fn packages_are_as_harmless_for_an_account_without_rights() {
    tests::again_without_rights(
        &[
            "packages::packages_are_resolved_installed_and_bundled",
            "packages::hostile_packages_do_nothing",
            "packages::an_archive_that_grows_beyond_all_bounds_is_refused",
        ],
        &["examples/launcher"],
    );
}

// F08. Goal: nothing of the machine and of other tenants is seen from inside, whoever runs the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_sees_nothing_but_its_own_world() {
    let world = world();
    let seen = world.ask(&function("spy", SPY)).await.unwrap();
    is_locked_in(&serde_json::from_slice(&seen.body).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_bundled_and_mistakes_quote_the_line() {
    let world = world();
    let bundler = Bundler::new(world.config.clone());
    let bundle = async |files: &[(&str, &str)]| {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned())));
        bundler
            .bundle(&Sources { files: files.collect(), entry: "index.ts".into(), packages: Packages::new() })
            .await
    };
    let good = bundle(&[
        (
            "index.ts",
            "import { greet } from './lib/greet'; import { getUser } from '@run402/functions';
            export default (req: Request): Response => new Response(greet(String(getUser(req))));",
        ),
        ("lib/greet.ts", "export const greet = (name: string): string => `hello ${name}`;"),
    ]);
    let good = good.await.unwrap();
    let code = String::from_utf8(good.code.to_vec()).unwrap();
    assert_eq!(body(&world.ask(&function("built", &code)).await.unwrap()), "hello null");
    for (source, quoted) in [
        ("import x from 'zod'; export default x;", "Could not resolve \"zod\""),
        ("export default () => { return new Response( };", "index.ts:1"),
        ("import x from 'run402-functions'; export default x;", "Could not resolve"),
        // F10: a bundle is made of what was uploaded.
        ("import x from '/etc/passwd'; export default x;", "Could not resolve \"/etc/passwd\""),
        ("import x from '../../../../etc/hostname'; export default x;", "Could not resolve"),
    ] {
        let error = bundle(&[("index.ts", source)]).await.expect_err(source).to_string();
        assert!(error.contains(quoted) && error.contains("index.ts"), "{error}");
    }
    let outside = bundle(&[("index.ts", "1"), ("../x.ts", "1")]).await;
    assert!(outside.is_err());
}
