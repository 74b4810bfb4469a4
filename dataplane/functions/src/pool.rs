//! Which worker answers a call: one that has room, else another, else none.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, mpsc};

use crate::egress::Egress;
use crate::logs::LogLine;
use crate::sandbox::{Bind, Limits, Plan};
use crate::spawn;
use crate::worker::{CALLS_MAX, Worker, lock};
use crate::{Call, Function, Isolation, NodeRunner, Reply, RunError, RunnerConfig};

/// Workers of one version of a function.
const WORKERS_OF_FUNCTION_MAX: usize = 4;
/// Workers of one project.
const WORKERS_OF_PROJECT_MAX: usize = 16;
const IDLE_MAX: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How many workers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub bound: usize,
    pub ahead: usize,
}

/// The workers of this node. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    config: RunnerConfig,
    egress: Arc<Egress>,
    logs: mpsc::Sender<LogLine>,
    /// By version.
    bound: Mutex<HashMap<String, Versioned>>,
    /// Started ahead, by memory.
    ahead: Mutex<HashMap<u32, Arc<Worker>>>,
}

/// The workers of one version.
struct Versioned {
    project: String,
    workers: Vec<Arc<Worker>>,
    /// Held while one is being bound, so that a burst of first calls does not start one each.
    turn: Arc<Turn<()>>,
}

/// A call's place at a worker.
struct Place {
    worker: Arc<Worker>,
    depth: u32,
}

impl Place {
    /// Takes a place that is free.
    fn take(worker: &Arc<Worker>, depth: u32) -> Option<Self> {
        let take = |calls: u32| (calls < CALLS_MAX).then_some(calls + 1);
        worker.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
        worker.depth_enter(depth);
        Some(Self { worker: worker.clone(), depth })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.depth_leave(self.depth);
        *lock(&self.worker.used_at) = Instant::now();
        self.worker.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Workers {
    /// Starts nothing yet but the sweep of idle workers. Lines of logs go to `logs`; when that is full they are
    /// dropped.
    pub fn new(config: RunnerConfig, egress: Arc<Egress>, logs: mpsc::Sender<LogLine>) -> Self {
        let inner =
            Arc::new(Inner { config, egress, logs, bound: Mutex::default(), ahead: Mutex::default() });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(inner) = weak.upgrade() else { return };
                inner.sweep();
            }
        });
        Self(inner)
    }

    /// Whether this machine gives a sandbox, with the reason why not.
    ///
    /// # Errors
    /// What the machine refused.
    pub async fn probe(&self) -> io::Result<()> {
        let config = &self.0.config;
        if config.isolation == Isolation::None {
            return Ok(());
        }
        let folder = spawn::folder(config, &[])?;
        let plan = Plan {
            root: folder.path().join("root"),
            program: "/esbuild".into(),
            args: vec!["--version".to_owned()],
            env: Vec::new(),
            folder: "/".into(),
            binds: vec![Bind::new(&config.esbuild, "/esbuild")],
            uid: spawn::next_uid(),
            limits: Limits {
                data_bytes: 1 << 30,
                memory_bytes: 1 << 30,
                processes: 64,
                files: 64,
                tmp_bytes: 1 << 20,
                tmp_files: 64,
            },
            cgroup: None,
        };
        let (mut command, _group) = spawn::command(config, plan)?;
        let mut child = command.spawn()?;
        // Kept: when it ends, so does the child.
        let _lease = child.stdin.take();
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    pub fn counts(&self) -> Counts {
        let bound = lock(&self.0.bound).values().map(|one| one.workers.len()).sum();
        Counts { bound, ahead: lock(&self.0.ahead).len() }
    }

    /// Why sandboxes have no control groups here, so that each process is held to limits of its own; none where
    /// they have them.
    pub fn ungrouped(&self) -> Option<&str> {
        match (self.0.config.isolation, &self.0.config.cgroups) {
            (Isolation::None, _) => Some("functions run without a sandbox"),
            (Isolation::Namespaces, groups) => groups.as_ref().err().map(String::as_str),
        }
    }

    /// Ends every worker.
    pub fn stop(&self) {
        for (_, worker) in lock(&self.0.ahead).drain() {
            worker.kill();
        }
        for (_, version) in lock(&self.0.bound).drain() {
            version.workers.iter().for_each(|worker| worker.kill());
        }
    }

    /// Starts one ahead of its first call.
    pub fn warm(&self, memory_mb: u32) {
        let inner = self.0.clone();
        tokio::spawn(async move { inner.warm(memory_mb).await });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let bound = lock(&self.bound).drain().flat_map(|(_, one)| one.workers).collect::<Vec<_>>();
        bound.iter().for_each(|worker| worker.kill());
    }
}

impl Inner {
    /// Drops what has ended or idles.
    fn sweep(&self) {
        lock(&self.bound).retain(|_, version| {
            version.workers.retain(|worker| {
                let idle = worker.calls.load(Ordering::SeqCst) == 0;
                let old = lock(&worker.used_at).elapsed() > IDLE_MAX;
                if idle && old {
                    worker.kill();
                }
                worker.is_open()
            });
            !version.workers.is_empty() || Arc::strong_count(&version.turn) > 1
        });
    }

    async fn warm(&self, memory_mb: u32) {
        if lock(&self.ahead).contains_key(&memory_mb) {
            return;
        }
        match Worker::start(&self.config, memory_mb).await {
            Ok(worker) => {
                let surplus = {
                    let mut ahead = lock(&self.ahead);
                    match ahead.contains_key(&memory_mb) {
                        true => Some(worker),
                        false => ahead.insert(memory_mb, worker),
                    }
                };
                if let Some(surplus) = surplus {
                    surplus.kill();
                }
            }
            Err(e) => tracing::warn!(error = %e, "no worker could be started ahead"),
        }
    }

    /// A place at a worker of this version, started when there is none.
    async fn place(self: &Arc<Self>, function: &Function, depth: u32) -> Result<Place, RunError> {
        if let Some(place) = self.free(function, depth) {
            return Ok(place);
        }
        let turn = self.turn(function);
        let _turn = turn.lock().await;
        // Whoever was before us may have made one.
        if let Some(place) = self.free(function, depth) {
            return Ok(place);
        }
        self.make_room(function)?;
        let worker = self.bound_worker(function).await?;
        let place = Place::take(&worker, depth).ok_or(RunError::Busy)?;
        let mut bound = lock(&self.bound);
        if let Some(version) = bound.get_mut(&function.version) {
            version.workers.push(worker);
        }
        Ok(place)
    }

    fn turn(&self, function: &Function) -> Arc<Turn<()>> {
        let mut bound = lock(&self.bound);
        let version = bound.entry(function.version.clone()).or_insert_with(|| Versioned {
            project: function.project.clone(),
            workers: Vec::new(),
            turn: Arc::default(),
        });
        version.turn.clone()
    }

    /// The least busy one that has room.
    fn free(&self, function: &Function, depth: u32) -> Option<Place> {
        let bound = lock(&self.bound);
        let open = bound.get(&function.version)?.workers.iter().filter(|worker| worker.is_open());
        let least = open.min_by_key(|worker| worker.calls.load(Ordering::SeqCst))?;
        Place::take(least, depth)
    }

    /// Another worker must fit; the one that idles longest makes room.
    fn make_room(&self, function: &Function) -> Result<(), RunError> {
        let mut bound = lock(&self.bound);
        for version in bound.values_mut() {
            version.workers.retain(|worker| worker.is_open());
        }
        let own = bound.get(&function.version).map_or(0, |version| version.workers.len());
        let of_project = bound.values().filter(|version| version.project == function.project);
        let of_project: usize = of_project.map(|version| version.workers.len()).sum();
        let all: usize = bound.values().map(|version| version.workers.len()).sum();
        if own >= WORKERS_OF_FUNCTION_MAX {
            return Err(RunError::Busy);
        }
        let only = match (of_project >= WORKERS_OF_PROJECT_MAX, all >= self.config.workers_max) {
            (false, false) => return Ok(()),
            (true, _) => Some(function.project.as_str()),
            (false, true) => None,
        };
        let idle = bound
            .values_mut()
            .filter(|version| only.is_none_or(|project| version.project == project))
            .flat_map(|version| &version.workers)
            .filter(|worker| worker.calls.load(Ordering::SeqCst) == 0)
            .min_by_key(|worker| *lock(&worker.used_at));
        idle.ok_or(RunError::Busy)?.kill();
        Ok(())
    }

    async fn bound_worker(self: &Arc<Self>, function: &Function) -> Result<Arc<Worker>, RunError> {
        let code = (function.load)().await.map_err(|error| {
            tracing::error!(function = function.name, error, "a function's bundle was not read");
            RunError::Unavailable
        })?;
        let ahead = lock(&self.ahead).remove(&function.memory_mb).filter(|worker| worker.is_open());
        let worker = match ahead {
            Some(worker) => worker,
            None => Worker::start(&self.config, function.memory_mb).await.map_err(|e| {
                tracing::error!(error = %e, "no worker could be started");
                RunError::Unavailable
            })?,
        };
        let (inner, memory_mb) = (self.clone(), function.memory_mb);
        tokio::spawn(async move { inner.warm(memory_mb).await });
        let code = (&code, self.config.isolation);
        worker.bind(function, code, &self.egress, &self.logs).await?;
        Ok(worker)
    }
}

#[async_trait::async_trait]
impl NodeRunner for Workers {
    async fn call(&self, function: &Function, call: Call) -> Result<Reply, RunError> {
        let (inner, function) = (self.0.clone(), function.clone());
        // Whoever stops waiting must not leave a call that nobody ends.
        let running = tokio::spawn(async move {
            let place = inner.place(&function, call.depth).await?;
            let (id, answer) = place.worker.call(call);
            match tokio::time::timeout(function.timeout, answer).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => Err(RunError::Ended),
                Err(_) => {
                    place.worker.give_up(id);
                    Err(RunError::Timeout)
                }
            }
        });
        running.await.unwrap_or(Err(RunError::Ended))
    }
}
