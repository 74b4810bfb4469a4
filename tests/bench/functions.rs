//! Functions: a warm call through the platform beside the same handler on plain Node http; the first answer of a new
//! function beside `node` that starts the same module; and memory of many functions beside as many plain processes.
//!
//! `-- 500` says how many functions are kept in memory; 100 unless said.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Latencies, Load, Table, load, median, missing, program};
use bytes::Bytes;
use functions::{
    Call, Cgroups, Egress, Function, Gateway, Isolation, NodeRunner, Redactor, RunnerConfig, Workers,
};
use futures::FutureExt;
use serde_json::{Value, json};
use tests::{Lab, LabOptions, eventually, target_binary, tools_folder};

const CONNECTIONS: usize = 16;
const TURNS: usize = 3;
const COLD_STARTS: usize = 15;
const KEPT: usize = 100;
const HANDLER: &str = "export default async (req) => Response.json({ path: new URL(req.url).pathname });";
/// The handler without a platform: what Node's own server needs for the same answer.
const PLAIN: &str = "import { createServer } from 'node:http';
const server = createServer((req, res) => {
  const path = new URL(req.url, 'http://localhost').pathname;
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify({ path }));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));";

#[tokio::main]
async fn main() {
    let Some(wrk) = program("wrk") else { return missing("wrk", "wrk") };
    let kept = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(KEPT);
    let mut table = Table::new("functions");
    warm(&wrk, &mut table).await;
    cold(&mut table).await;
    memory(kept, &mut table).await;
    table.finish(
        "warm: the key, the gate, the release, one hop over a Unix socket and two more copies of the body, on the \
         cores that Node needs too; cold: reading the module in a process that waits; memory: Node's own heap, most \
         of it shared with nobody",
    );
}

fn node() -> PathBuf {
    let all: Value =
        serde_json::from_slice(&std::fs::read(tools_folder().join("tools.json")).unwrap()).unwrap();
    tools_folder().join(all["node"]["program"].as_str().unwrap())
}

/// A plain Node process. Ended when dropped.
struct Plain {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Plain {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(node()).arg(file).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn warm(wrk: &Path, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.mjs");
    std::fs::write(&file, PLAIN).unwrap();
    let mut plain = Plain::start(&file);
    let plain_url = format!("http://127.0.0.1:{}/functions/v1/hello", plain.line());

    let args = ["--project-requests-per-sec", "1000000"].map(str::to_owned).to_vec();
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let (_, project) = lab.project().await;
    let path = format!("/projects/v1/admin/{}/functions", project["project_id"].as_str().unwrap());
    let body = json!({ "name": "hello", "code": HANDLER });
    let made = lab.with_key(project["service_key"].as_str().unwrap(), "POST", &path, Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = format!("apikey: {}", project["anon_key"].as_str().unwrap());
    let url = lab.url("/functions/v1/hello");
    for (what, connections) in [("warm call, 16 connections", CONNECTIONS), ("warm call, 1 connection", 1)] {
        load(wrk, &url, connections, &[&key], None);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(load(wrk, &url, connections, &[&key], None));
            theirs.push(load(wrk, &plain_url, connections, &[], None));
        }
        let rate = |loads: &[Load]| median(&mut loads.iter().map(|load| load.rate).collect::<Vec<_>>());
        let beside = Some(("plain Node http", rate(&theirs)));
        table.rate(what, "calls/s", rate(&ours), beside, &ours[TURNS - 1].text());
        table.row(["of plain Node", "", "", "", "", "", &theirs[TURNS - 1].text()]);
    }
}

/// Workers of this process, whose launcher is the server's program.
struct World {
    workers: Workers,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(workers_max: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = RunnerConfig {
            node: node(),
            esbuild: node(),
            launcher: target_binary("run402d"),
            folder: folder.path().to_path_buf(),
            isolation: Isolation::Namespaces,
            cgroups: Cgroups::find(),
            workers_max,
            packages: None,
        };
        let gateway =
            Gateway { host: "gateway.test".into(), port: 80, apex: "sites.test".into(), address: None };
        let (logs, _) = tokio::sync::mpsc::channel(1);
        Self { workers: Workers::new(config, Arc::new(Egress::new(gateway)), logs), _folder: folder }
    }

    async fn ask(&self, function: &Function) {
        let call = Call {
            request_id: "req_1".into(),
            attempt_id: None,
            method: "POST".into(),
            url: "http://gateway.test/functions/v1/hello".into(),
            headers: Vec::new(),
            body: Bytes::new(),
            routed: None,
            depth: 0,
        };
        let reply = self.workers.call(function, call).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// A worker that waits for its function, as there is one ahead of any call.
    async fn ahead(&self) {
        self.workers.warm(128);
        eventually("a worker ahead", 10, || async { (self.workers.counts().ahead > 0).then_some(()) }).await;
        // It is counted when it is asked for; this is until its Node waits too.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn function(n: usize) -> Function {
    Function {
        version: format!("v{n}"),
        project: format!("prj_{n}"),
        name: "hello".into(),
        memory_mb: 128,
        timeout: Duration::from_secs(10),
        env: Arc::default(),
        redactor: Arc::new(Redactor::new([])),
        load: Arc::new(|| async { Ok(Bytes::from_static(HANDLER.as_bytes())) }.boxed()),
    }
}

async fn cold(table: &mut Table) {
    let world = World::new(64);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cold.mjs");
    let text = format!(
        "{}\nconst answer = await handler(new Request('http://localhost/functions/v1/hello'));
         console.log(await answer.text());",
        HANDLER.replace("export default", "const handler =")
    );
    std::fs::write(&file, text).unwrap();
    let (mut ours, mut theirs) = (Latencies::default(), Latencies::default());
    for n in 0..COLD_STARTS {
        world.ahead().await;
        let started = Instant::now();
        world.ask(&function(n)).await;
        ours.add(started.elapsed());
        let started = Instant::now();
        assert!(!Plain::start(&file).line().is_empty());
        theirs.add(started.elapsed());
    }
    let rate = |took: &mut Latencies| 1.0 / took.at(0.5).as_secs_f64();
    let beside = Some(("node, started for it", rate(&mut theirs)));
    table.rate("first answer of a new function", "1/s", rate(&mut ours), beside, &ours.text());
    table.row(["of node", "", "", "", "", "", &theirs.text()]);
}

async fn memory(kept: usize, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.mjs");
    std::fs::write(&file, PLAIN).unwrap();
    let plain: Vec<Plain> = (0..kept)
        .map(|_| {
            let mut one = Plain::start(&file);
            one.line();
            one
        })
        .collect();
    let theirs = children_pss_mib() / kept as f64;
    drop(plain);
    let world = World::new(kept + 8);
    for n in 0..kept {
        world.ask(&function(n)).await;
    }
    let ours = children_pss_mib() / kept as f64;
    let what = format!("memory of each of {kept} idle functions");
    table.rate(&what, "MiB", ours, Some(("plain Node http", theirs)), "");
}

/// Proportional memory of all processes below this one.
fn children_pss_mib() -> f64 {
    let mut kib = 0;
    let mut below = children(std::process::id());
    while let Some(pid) = below.pop() {
        below.extend(children(pid));
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        kib += line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default();
    }
    kib as f64 / 1024.0
}

fn children(pid: u32) -> Vec<u32> {
    // A child belongs to the thread that started it.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}
