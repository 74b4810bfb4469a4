//! `run402 lab`.

use client::{Call, LocalError};
use serde_json::json;

use super::Outcome;
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Lab {
    /// Show a lab's clock, or move it forwards: +8d, +12h, +30m, +45s. The chain's time is not moved.
    Clock {
        /// How far.
        by: Option<String>,
    },
    /// Show the mail that a lab kept instead of sending it.
    Mail {
        /// Only what went to this address.
        #[arg(long)]
        to: Option<String>,
        /// Only what came after this seq.
        #[arg(long)]
        after: Option<i64>,
    },
}

pub async fn run(command: Lab, context: &Context) -> Outcome {
    let call = match &command {
        Lab::Clock { by } => {
            let secs = by.as_deref().map_or(Ok(0), seconds)?;
            Call::new("lab.clock").json(json!({ "advance_secs": secs }))
        }
        Lab::Mail { to, after } => {
            Call::new("lab.mail").query_some("to", to.as_deref()).query_some("after", *after)
        }
    };
    context.public()?.call(call).await
}

/// `+8d`, `12h`, `30m`, `45s`.
fn seconds(text: &str) -> Result<i64, LocalError> {
    let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let number = text.strip_prefix('+').unwrap_or(text);
    let read = || {
        let (unit, secs) = units.into_iter().find(|(unit, _)| number.ends_with(*unit))?;
        let count: u32 = number.strip_suffix(unit)?.parse().ok()?;
        i64::from(count).checked_mul(secs)
    };
    read().ok_or_else(|| {
        LocalError::new("BAD_USAGE", format!("{text} is no span of time"))
            .hint("Write +8d, +12h, +30m or +45s.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_go_forwards() {
        for (text, secs) in [("+8d", 691_200), ("2h", 7_200), ("+30m", 1_800), ("0s", 0)] {
            assert_eq!(seconds(text).unwrap(), secs, "{text}");
        }
        for bad in ["", "8", "-8d", "+-8d", "8y", "+d", "1.5h", "99999999999d", "8ä"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
