//! Takes what functions write to the database, in batches.

use std::sync::Arc;
use std::time::Duration;

use functions::LogLine;
use store::Store;
use store::functions::{NewLogEntry, logs_append};
use tokio::sync::mpsc;
use types::Clock;

const BATCH_MAX: usize = 500;
/// More lines come along within this time than one at a time would.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// Until every sender is gone. Lines that the database does not take are lost: a log is no fact.
pub async fn keep_logs(store: Store, clock: Arc<dyn Clock>, mut lines: mpsc::Receiver<LogLine>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while lines.recv_many(&mut batch, BATCH_MAX).await > 0 {
        tokio::time::sleep(GATHERED_FOR).await;
        while batch.len() < BATCH_MAX
            && let Ok(line) = lines.try_recv()
        {
            batch.push(line);
        }
        let entries: Vec<NewLogEntry> = batch.drain(..).filter_map(entry).collect();
        if let Err(e) = logs_append(&store, &entries, clock.now()).await {
            let lost = entries.len();
            tracing::warn!(lost, error = &e as &dyn std::error::Error, "logs of functions were not kept");
        }
    }
}

fn entry(line: LogLine) -> Option<NewLogEntry> {
    Some(NewLogEntry {
        project: line.project.parse().ok()?,
        function: line.function,
        request_id: line.request_id,
        attempt_id: line.attempt_id.and_then(|id| id.parse().ok()),
        stream: line.stream.as_str(),
        message: line.message,
    })
}
