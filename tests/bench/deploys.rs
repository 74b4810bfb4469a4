//! Directory deploys by our client, beside nothing but the PUTs of the same files to the same store; deploys of a
//! directory that did not change; and deploys of one file, beside one PUT.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Latencies, SEED, Table, cpu_secs, median, per_second};
use blobs::{Blobs, S3Blobs};
use bytes::Bytes;
use client::deploy::{Bundle, Options, Prune, Warnings, prune_refusal, walk};
use client::{Client, WalletKey};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tests::{Lab, LabOptions};

const FILES: usize = 2_000;
const FILES_UNCHANGED: usize = 10_000;
const FILE_BYTES: usize = 2_048;
const TURNS: usize = 3;
const SINGLES: usize = 25;
/// As many as the client uploads at once.
const AT_ONCE: usize = 8;

struct World {
    lab: Lab,
    store: S3Blobs,
    client: Client,
    project: Value,
    random: StdRng,
}

#[tokio::main]
async fn main() {
    let mut table = Table::new("deploys");
    let mut world = World::new().await;
    world.fresh(&mut table).await;
    world.unchanged(&mut table).await;
    world.single(&mut table).await;
    table.finish(
        "fresh files: each is three requests (a grant, the PUT, the end of the upload, which reads the object back to \
         hash it) where the peer has one. Unchanged: reading and comparing two specs. One file: the same, and the \
         synced commits of a plan, an upload, a release and an activation",
    );
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.toml");
        let args = ["--write-serve-config", file.to_str().unwrap()].map(str::to_owned).to_vec();
        let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
        let config: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        let of = |key: &str| config["s3"][key].as_str().unwrap().to_owned();
        let store =
            S3Blobs::new(&of("endpoint"), &of("region"), &of("bucket"), &of("access_key"), &of("secret_key"));
        let (wallet, project) = lab.project().await;
        let wallet = WalletKey::from_hex(&wallet.key_hex()).unwrap();
        let client = Client::new(&lab.api, Some(wallet)).unwrap();
        Self { lab, store, client, project, random: StdRng::seed_from_u64(SEED) }
    }

    fn texts(&mut self, count: usize) -> Vec<String> {
        let random = &mut self.random;
        (0..count)
            .map(|_| (0..FILE_BYTES).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect())
            .collect()
    }

    /// The bare store's time for these bytes.
    async fn put(&self, texts: &[String]) -> Duration {
        let started = Instant::now();
        let puts = texts.iter().enumerate().map(|(n, text)| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            async move { self.store.put(&format!("bench/{n}"), bytes).await.unwrap() }
        });
        futures::stream::iter(puts).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        started.elapsed()
    }

    async fn deploy(&self, folder: &Path) -> Value {
        let (folder, id) = (folder.to_owned(), self.project["project_id"].as_str().unwrap().to_owned());
        let read = move || Bundle::from_files(&id, walk(&folder).unwrap()).unwrap();
        let bundle = tokio::task::spawn_blocking(read).await.unwrap();
        let options = Options { anon_key: self.project["anon_key"].as_str(), ..Options::default() };
        let silent = |_: Value| {};
        let plan = self.client.deploy_plan(&bundle, &options, &silent).await.unwrap();
        prune_refusal(&plan, bundle.site_files(), Prune::Confirmed).unwrap();
        let options = Options { warnings: Warnings::Accept, ..options };
        self.client.deploy_commit(&bundle, &plan, &options, &silent).await.unwrap();
        plan.0
    }

    async fn fresh(&mut self, table: &mut Table) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let texts = self.texts(FILES);
            let folder = folder_of(&texts);
            theirs.push(per_second(FILES, self.put(&texts).await));
            let started = Instant::now();
            self.deploy(folder.path()).await;
            ours.push(per_second(FILES, started.elapsed()));
        }
        let beside = Some(("PUTs alone, 8 at once", median(&mut theirs)));
        table.rate("deploy of 2,000 new files of 2 KiB", "files/s", median(&mut ours), beside, "");
    }

    async fn unchanged(&mut self, table: &mut Table) {
        // Few contents under many names: what is measured is the comparison.
        let texts = self.texts(100);
        let names: Vec<String> = (0..FILES_UNCHANGED).map(|n| texts[n % texts.len()].clone()).collect();
        let folder = folder_of(&names);
        self.deploy(folder.path()).await;
        let pid = u32::try_from(self.lab.server.pid()).unwrap();
        let mut took = Latencies::default();
        let before = cpu_secs(pid);
        for _ in 0..TURNS {
            let started = Instant::now();
            let plan = self.deploy(folder.path()).await;
            took.add(started.elapsed());
            let present =
                plan["missing_content"].as_array().unwrap().iter().all(|one| one["present"] == true);
            assert!(present && plan["is_noop"] == true, "the second deploy uploads nothing");
        }
        let cpu = (cpu_secs(pid) - before) / TURNS as f64;
        let (whole, cpu) = (format!("{:.2} s", took.at(0.5).as_secs_f64()), format!("{cpu:.2} s"));
        table.row(["redeploy of 10,000 unchanged files", "", &whole, "server's CPU", &cpu, "", "aim 1 s"]);
    }

    async fn single(&mut self, table: &mut Table) {
        let (mut ours, mut theirs) = (Latencies::default(), Latencies::default());
        for _ in 0..SINGLES {
            let texts = self.texts(1);
            let folder = folder_of(&texts);
            theirs.add(self.put(&texts).await);
            let started = Instant::now();
            self.deploy(folder.path()).await;
            ours.add(started.elapsed());
        }
        let rate = |took: &mut Latencies| 1.0 / took.at(0.5).as_secs_f64();
        let beside = Some(("one PUT", rate(&mut theirs)));
        table.rate("plan, upload and commit of one file", "1/s", rate(&mut ours), beside, &ours.text());
    }
}

/// A site of these pages.
fn folder_of(texts: &[String]) -> Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    for (n, text) in texts.iter().enumerate() {
        let part = folder.path().join(format!("part-{}", n / 100));
        std::fs::create_dir_all(&part).unwrap();
        std::fs::write(part.join(format!("page-{n}.html")), text).unwrap();
    }
    Arc::new(folder)
}
