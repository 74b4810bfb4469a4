//! One process, from its start to its end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, oneshot};

use crate::egress::Egress;
use crate::frame::{Frame, Kind};
use crate::logs::{Flood, LogLine, LogStream};
use crate::spawn::{self, Started};
use crate::{Call, Function, Isolation, Reply, RunError, RunnerConfig};

/// Requests that one worker answers at once.
pub(crate) const CALLS_MAX: u32 = 16;
const BIND_SECS_MAX: u64 = 10;
/// How often a busy worker's memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(50);
/// What Node takes beside the function's memory.
const MEMORY_MB_BASE: u64 = 64;

type Waiting = oneshot::Sender<Result<Reply, RunError>>;

/// Bound to at most one function; whoever holds it may ask it.
pub(crate) struct Worker {
    memory_mb: u32,
    started: Mutex<Option<Started>>,
    frames: OnceLock<mpsc::UnboundedSender<Frame>>,
    waiting: Mutex<HashMap<u32, Waiting>>,
    bound: Mutex<Option<oneshot::Sender<bool>>>,
    next: AtomicU32,
    pub(crate) calls: AtomicU32,
    /// Depth of the deepest call under way.
    depths: Mutex<Vec<u32>>,
    gone: AtomicBool,
    /// Takes no new calls.
    pub(crate) draining: AtomicBool,
    /// Ends the process when dropped.
    lease: Mutex<Option<ChildStdin>>,
    /// Of a process that has no launcher to mind its lease.
    bare: Mutex<Option<u32>>,
    pub(crate) used_at: Mutex<Instant>,
    flood: Flood,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// A process that is ready and bound to nothing.
    pub(crate) async fn start(config: &RunnerConfig, memory_mb: u32) -> io::Result<Arc<Self>> {
        let started = spawn::start(config, memory_mb).await?;
        Ok(Arc::new(Self {
            memory_mb,
            started: Mutex::new(Some(started)),
            frames: OnceLock::new(),
            waiting: Mutex::default(),
            bound: Mutex::default(),
            next: AtomicU32::new(1),
            calls: AtomicU32::new(0),
            depths: Mutex::default(),
            gone: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            lease: Mutex::default(),
            bare: Mutex::default(),
            used_at: Mutex::new(Instant::now()),
            flood: Flood::new(Instant::now()),
        }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.gone.load(Ordering::SeqCst) && !self.draining.load(Ordering::SeqCst)
    }

    /// Becomes this function.
    pub(crate) async fn bind(
        self: &Arc<Self>,
        function: &Function,
        (code, isolation): (&Bytes, Isolation),
        egress: &Arc<Egress>,
        logs: &mpsc::Sender<LogLine>,
    ) -> Result<(), RunError> {
        let Started { mut child, lease, control, egress: listener, folder, group, pid } =
            lock(&self.started).take().ok_or(RunError::Unavailable)?;
        let path = folder.path().join("code/bundle.mjs");
        let open = fs::Permissions::from_mode(0o644);
        fs::write(&path, code).and_then(|()| fs::set_permissions(&path, open)).map_err(|e| {
            tracing::error!(error = %e, "a function's code was not written");
            RunError::Unavailable
        })?;
        *lock(&self.lease) = lease;
        if isolation == Isolation::None {
            *lock(&self.bare) = pid;
        }
        let log = Arc::new(Log { function: function.clone(), to: logs.clone() });
        let (reader, writer) = control.into_split();
        let (frames, to_write) = mpsc::unbounded_channel();
        let (told, answer) = oneshot::channel();
        *lock(&self.bound) = Some(told);
        let _ = self.frames.set(frames);
        let weak = Arc::downgrade(self);
        let depth = Arc::new(move || weak.upgrade().map_or(0, |worker| worker.depth()));
        let brokering = tokio::spawn(egress.clone().serve(listener, depth));
        tokio::spawn(write(writer, to_write));
        tokio::spawn(self.clone().watch(pid, log.clone()));
        for (pipe, stream) in [
            (child.stdout.take().map(Pipe::Out), LogStream::Stdout),
            (child.stderr.take().map(Pipe::Err), LogStream::Stderr),
        ] {
            if let Some(pipe) = pipe {
                tokio::spawn(self.clone().pipe(pipe, stream, log.clone()));
            }
        }
        let worker = self.clone();
        tokio::spawn(async move {
            worker.read(reader, &log).await;
            worker.end(child).await;
            brokering.abort();
            drop((folder, group));
        });
        self.send(Frame::new(Kind::Bind, 0, json!({ "env": env(function) }), Bytes::new()));
        match tokio::time::timeout(Duration::from_secs(BIND_SECS_MAX), answer).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                self.kill();
                Err(RunError::Threw)
            }
            Ok(Err(_)) => Err(RunError::Ended),
            Err(_) => {
                self.kill();
                Err(RunError::Timeout)
            }
        }
    }

    /// Sends one call. The answer comes, or an error when the process ends; the caller minds the time.
    pub(crate) fn call(&self, call: Call) -> (u32, oneshot::Receiver<Result<Reply, RunError>>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(id, answer);
        if self.gone.load(Ordering::SeqCst) {
            lock(&self.waiting).clear();
        }
        let meta = json!({
            "request_id": call.request_id,
            "attempt_id": call.attempt_id,
            "method": call.method,
            "url": call.url,
            "headers": call.headers,
            "routed": call.routed,
        });
        self.send(Frame::new(Kind::Invoke, id, meta, call.body));
        (id, answered)
    }

    /// Gives up on a call that took too long. It still runs, so the worker goes as soon as nobody else needs it.
    pub(crate) fn give_up(&self, id: u32) {
        lock(&self.waiting).remove(&id);
        self.draining.store(true, Ordering::SeqCst);
        if lock(&self.waiting).is_empty() {
            self.kill();
        }
    }

    pub(crate) fn depth_enter(&self, depth: u32) {
        lock(&self.depths).push(depth);
    }

    pub(crate) fn depth_leave(&self, depth: u32) {
        let mut depths = lock(&self.depths);
        if let Some(at) = depths.iter().position(|one| *one == depth) {
            depths.swap_remove(at);
        }
    }

    /// Outside of a call it may still run something that a call left behind: as deep as calls go.
    fn depth(&self) -> u32 {
        lock(&self.depths).iter().copied().max().unwrap_or(u32::MAX / 2)
    }

    /// Ends the process with everything in it.
    pub(crate) fn kill(&self) {
        self.draining.store(true, Ordering::SeqCst);
        lock(&self.lease).take();
        if let Some(pid) = lock(&self.bare).take().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // One that was never bound has all its parts here.
        lock(&self.started).take();
    }

    fn send(&self, frame: Frame) {
        if let Some(frames) = self.frames.get() {
            let _ = frames.send(frame);
        }
    }

    /// Until the worker hangs up.
    async fn read(&self, mut reader: OwnedReadHalf, log: &Log) {
        while let Some(frame) = Frame::read(&mut reader).await {
            match frame.kind {
                Kind::Bound => {
                    if let Some(told) = lock(&self.bound).take() {
                        let _ = told.send(frame.meta["ok"] == true);
                    }
                }
                Kind::Result => {
                    if let Some(answer) = lock(&self.waiting).remove(&frame.id) {
                        let _ = answer.send(reply(frame));
                    }
                    if self.draining.load(Ordering::SeqCst) && lock(&self.waiting).is_empty() {
                        self.kill();
                    }
                }
                Kind::Log => self.log(log, &frame.meta),
                Kind::Bind | Kind::Invoke | Kind::Ready => break,
            }
        }
    }

    async fn end(&self, mut child: Child) {
        self.gone.store(true, Ordering::SeqCst);
        lock(&self.lease).take();
        // It is about to be waited for: then its number may be another's.
        lock(&self.bare).take();
        lock(&self.bound).take();
        // Their receivers see that nobody answers any more.
        lock(&self.waiting).clear();
        let patience = Duration::from_secs(2);
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
    }

    /// Looks at the memory while something runs.
    async fn watch(self: Arc<Self>, pid: Option<u32>, log: Arc<Log>) {
        let Some(pid) = pid else { return };
        let most = u64::from(self.memory_mb) + MEMORY_MB_BASE;
        while !self.gone.load(Ordering::SeqCst) {
            tokio::time::sleep(MEMORY_EVERY).await;
            let idle = lock(&self.waiting).is_empty() && lock(&self.bound).is_none();
            // Every second look is enough for one that nobody asks.
            if idle {
                tokio::time::sleep(MEMORY_EVERY * 19).await;
            }
            if spawn::resident_mb(pid).is_some_and(|resident| resident > most) {
                let message = format!("out of memory: the function has {} MB", self.memory_mb);
                log.say(NOBODY, LogStream::Platform, &message);
                self.kill();
                return;
            }
        }
    }

    fn log(&self, log: &Log, meta: &Value) {
        let text = meta["message"].as_str().unwrap_or_default();
        let stream = match meta["stream"].as_str() {
            Some("stderr") => LogStream::Stderr,
            _ => LogStream::Stdout,
        };
        let writer = Writer { request: meta["request_id"].as_str(), attempt: meta["attempt_id"].as_str() };
        self.line(log, writer, stream, text);
    }

    fn line(&self, log: &Log, writer: Writer<'_>, stream: LogStream, text: &str) {
        match self.flood.admit(text.len(), Instant::now()) {
            None => {}
            Some(dropped) => {
                if dropped > 0 {
                    log.say(NOBODY, LogStream::Platform, &format!("{dropped} lines were dropped: too many"));
                }
                log.say(writer, stream, text);
            }
        }
    }

    /// What native code and the runtime itself write.
    async fn pipe(self: Arc<Self>, pipe: Pipe, stream: LogStream, log: Arc<Log>) {
        let from: Box<dyn AsyncRead + Send + Unpin> = match pipe {
            Pipe::Out(out) => Box::new(out),
            Pipe::Err(err) => Box::new(err),
        };
        let mut from = BufReader::with_capacity(16 * 1024, from);
        loop {
            // A buffer at most, line or not.
            let Ok(chunk) = from.fill_buf().await else { return };
            if chunk.is_empty() {
                return;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
            let text = String::from_utf8_lossy(&chunk[..end]).trim_end().to_owned();
            from.consume(end);
            if !text.is_empty() {
                self.line(&log, NOBODY, stream, &text);
            }
        }
    }
}

enum Pipe {
    Out(tokio::process::ChildStdout),
    Err(tokio::process::ChildStderr),
}

/// Which call wrote a line.
#[derive(Clone, Copy)]
struct Writer<'a> {
    request: Option<&'a str>,
    attempt: Option<&'a str>,
}

const NOBODY: Writer<'static> = Writer { request: None, attempt: None };

/// Where a worker's lines go.
struct Log {
    function: Function,
    to: mpsc::Sender<LogLine>,
}

impl Log {
    fn say(&self, writer: Writer<'_>, stream: LogStream, text: &str) {
        let line = LogLine {
            project: self.function.project.clone(),
            function: self.function.name.clone(),
            request_id: writer.request.map(str::to_owned),
            attempt_id: writer.attempt.map(str::to_owned),
            stream,
            message: self.function.redactor.clean(text),
        };
        // A queue that is full loses lines rather than time.
        let _ = self.to.try_send(line);
    }
}

fn env(function: &Function) -> Value {
    function.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let written = async {
            to.write_all(&frame.head()).await?;
            to.write_all(&frame.body).await
        };
        if written.await.is_err() {
            return;
        }
    }
}

fn reply(frame: Frame) -> Result<Reply, RunError> {
    let status = frame.meta["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    match (frame.meta["failed"].as_str(), status.filter(|status| (200..600).contains(status))) {
        (None, Some(status)) if frame.body.len() <= crate::BODY_BYTES_MAX => {
            let headers = serde_json::from_value(frame.meta["headers"].clone()).unwrap_or_default();
            Ok(Reply { status, headers, body: frame.body })
        }
        (Some("too_large"), _) | (None, Some(_)) => Err(RunError::TooLarge),
        _ => Err(RunError::Threw),
    }
}
