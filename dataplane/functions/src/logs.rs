//! What functions write, on its way out of here.

use std::sync::Mutex;
use std::time::Instant;

/// Longest line that is kept.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// A worker that floods is cut to this rate, whatever its own counting says.
const FLOOD_BYTES_PER_SEC: f64 = 128.0 * 1024.0;
const FLOOD_BURST_BYTES: f64 = 512.0 * 1024.0;
/// Shorter values are too common in ordinary text to be struck out.
const SECRET_CHARS_MIN: usize = 4;
const STRUCK: &str = "[redacted]";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
    /// Said by us.
    Platform,
}

impl LogStream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Platform => "platform",
        }
    }
}

/// One entry of a function's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub project: String,
    pub function: String,
    pub request_id: Option<String>,
    pub attempt_id: Option<String>,
    pub stream: LogStream,
    pub message: String,
}

/// Strikes out what must not be read in a log: known secrets, and text that looks like a credential.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a secret within another does not uncover the rest.
    secrets: Vec<String>,
}

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> =
            secrets.into_iter().filter(|secret| secret.chars().count() >= SECRET_CHARS_MIN).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    /// The text without secrets, and no longer than a line may be.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.replace('\0', "");
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), STRUCK);
            }
        }
        let mut clean = strike_tokens(&clean);
        if clean.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
            clean.truncate(end);
            clean.push_str(" [cut]");
        }
        clean
    }
}

/// `Bearer ..` and signed tokens (`eyJ..`), whoever they belong to.
fn strike_tokens(text: &str) -> String {
    if !text.contains("eyJ") && !text.to_ascii_lowercase().contains("bearer ") {
        return text.to_owned();
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.+/=~".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let after_bearer = out.len() >= 7 && out.is_char_boundary(out.len() - 7) && {
            out[out.len() - 7..].eq_ignore_ascii_case("bearer ")
        };
        let signed = word.starts_with("eyJ") && word.matches('.').count() == 2;
        out.push_str(if !word.is_empty() && (after_bearer || signed) { STRUCK } else { word });
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

/// Lets so many bytes pass; what is over is counted.
pub(crate) struct Flood(Mutex<FloodState>);

struct FloodState {
    left_bytes: f64,
    at: Instant,
    dropped: u64,
}

impl Flood {
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(FloodState { left_bytes: FLOOD_BURST_BYTES, at: now, dropped: 0 }))
    }

    /// Whether a line of so many bytes passes, and how many lines were dropped since the last that did.
    pub fn admit(&self, bytes: usize, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.left_bytes = FLOOD_BURST_BYTES.min(state.left_bytes + passed * FLOOD_BYTES_PER_SEC);
        state.at = now;
        #[expect(clippy::cast_precision_loss, reason = "a line has at most some megabytes")]
        let cost = bytes as f64 + 64.0;
        if state.left_bytes < cost {
            state.dropped += 1;
            return None;
        }
        state.left_bytes -= cost;
        Some(std::mem::take(&mut state.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F11.
    #[test]
    fn secrets_and_tokens_are_struck_out_wherever_they_stand() {
        let redactor = Redactor::new(["hunter2".to_owned(), "hunter2-long".to_owned(), "no".to_owned()]);
        let token = "eyJhbGciOi.eyJzdWIi.c2ln";
        for (text, clean) in [
            ("key=hunter2!", "key=[redacted]!"),
            ("hunter2-long", "[redacted]"),
            ("no secret", "no secret"),
            (&format!("got {token} back"), "got [redacted] back"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
            ("übrigens eyJ hier", "übrigens eyJ hier"),
        ] {
            assert_eq!(redactor.clean(text), clean);
        }
        let long = redactor.clean(&"ä".repeat(20_000));
        assert!(long.len() < LINE_BYTES_MAX + 10 && long.ends_with("[cut]"));
    }

    // F07: a gigabyte of logs.
    #[test]
    fn a_flood_is_cut_and_counted() {
        let start = Instant::now();
        let flood = Flood::new(start);
        let passed = (0..1_000_000).filter(|_| flood.admit(1_000, start).is_some()).count();
        assert_eq!(passed, 492, "the burst of 512 KiB, at 1,064 bytes a line");
        let later = start + std::time::Duration::from_secs(1);
        assert_eq!(flood.admit(1_000, later), Some(1_000_000 - 492));
        let passed = (0..1_000).filter(|_| flood.admit(1_000, later).is_some()).count();
        assert_eq!(passed, 122, "the rest of a second's 128 KiB");
    }
}
