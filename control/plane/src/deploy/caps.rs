//! What the tier allows of a release's functions.

use actors::deploy::{Parts, Spec, deploy_problem};
use serde_json::json;
use store::releases::ReleaseFunction;
use types::{Code, Problem};

use super::compare::Ground;
use super::spec::interval_minutes;
use crate::Plane;
use crate::keys::store_problem;

impl Plane {
    /// Only a spec that names functions is judged: what is live already stays when a tier changes.
    ///
    /// # Errors
    /// The first limit that is passed, with the tier's number.
    ///
    /// # Source
    /// Wire contract 02 section 4.1, "Limits".
    pub(super) async fn caps(&self, spec: &Spec, ground: &Ground, after: &Parts) -> Result<(), Problem> {
        if spec.functions.is_none() {
            return Ok(());
        }
        let tier = self.tier_of(spec.project).await?;
        let limits = self.deps().prices.limits(tier);
        let elsewhere =
            store::releases::functions_elsewhere(&self.deps().store, ground.live.account, spec.project).await;
        let (functions, scheduled) = elsewhere.map_err(store_problem)?;
        let passed = |code, place: String, what: &str, limit: i64, current: i64| {
            let message = format!("{what}: {current}, and the {tier} tier allows {limit}");
            deploy_problem(code, "validate", message)
                .extra("resource", place)
                .detail("tier", json!(tier))
                .detail("limit", limit)
                .detail("current", current)
        };
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let all = functions + count(after.functions.len());
        if all > limits.functions {
            let (code, place) = (Code::TierLimitExceeded, "functions".to_owned());
            return Err(passed(code, place, "functions of the account", limits.functions, all));
        }
        let timed = scheduled + count(after.functions.values().map(times).sum());
        if timed > limits.scheduled_functions {
            let (code, place) = (Code::FunctionScheduleExceedsTier, "functions".to_owned());
            return Err(passed(
                code,
                place,
                "schedules and triggers of functions",
                limits.scheduled_functions,
                timed,
            ));
        }
        for (name, function) in &after.functions {
            let (seconds, memory) = (i64::from(function.timeout_seconds), i64::from(function.memory_mb));
            if seconds > limits.function_timeout_secs {
                let place = format!("functions.{name}.config.timeoutSeconds");
                let (code, limit) = (Code::FunctionTimeoutExceedsTier, limits.function_timeout_secs);
                return Err(passed(code, place, "seconds of a call", limit, seconds));
            }
            if memory > limits.function_memory_mb {
                let place = format!("functions.{name}.config.memoryMb");
                let (code, limit) = (Code::FunctionMemoryExceedsTier, limits.function_memory_mb);
                return Err(passed(code, place, "megabytes of a function", limit, memory));
            }
            let least = limits.schedule_interval_min_secs / 60;
            if let Some((place, minutes)) = too_often(function, least) {
                let (code, place) = (Code::FunctionScheduleExceedsTier, format!("functions.{name}.{place}"));
                return Err(passed(code, place, "minutes between two runs", least, minutes));
            }
        }
        Ok(())
    }
}

/// How many schedules and triggers a function has.
pub(crate) fn times(function: &ReleaseFunction) -> usize {
    usize::from(function.schedule.is_some()) + function.triggers.len()
}

/// The first of a function's schedules and triggers that runs more often than every so many minutes, and how often.
pub(crate) fn too_often(function: &ReleaseFunction, least: i64) -> Option<(String, i64)> {
    let schedule = function.schedule.iter().map(|cron| ("schedule".to_owned(), cron));
    let triggers = function.triggers.iter().map(|one| (format!("triggers.{}", one.id), &one.cron));
    schedule
        .chain(triggers)
        .filter_map(|(place, cron)| Some((place, i64::from(interval_minutes(cron)?))))
        .find(|(_, minutes)| *minutes < least)
}
