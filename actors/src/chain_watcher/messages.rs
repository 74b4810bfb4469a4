//! What a watcher is asked.

/// May be repeated and may get lost.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// Scans what is new.
    Tick,
}
