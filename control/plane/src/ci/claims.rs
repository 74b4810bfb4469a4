//! What an identity token of a workflow says, and which binding that fits. Pure.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use store::ci::Binding;
use types::{Code, Problem};

/// Clocks may differ by this much.
const SKEW_SECS: i64 = 60;
const SUBJECT_CHARS_MAX: usize = 256;
const JTI_BYTES_MAX: usize = 256;

/// A claim that comes twice is an error of the shape.
///
/// # Source
/// GitHub, "OpenID Connect reference".
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: Value,
    pub exp: i64,
    pub iat: i64,
    pub nbf: Option<i64>,
    pub sub: String,
    pub jti: Option<String>,
    pub repository: Option<String>,
    pub repository_id: Option<String>,
    pub r#ref: Option<String>,
    pub environment: Option<String>,
    pub event_name: Option<String>,
}

impl Claims {
    /// The one audience.
    fn audience(&self) -> Option<&str> {
        match &self.aud {
            Value::String(one) => Some(one),
            Value::Array(all) if all.len() == 1 => all[0].as_str(),
            _ => None,
        }
    }

    /// Whether it counts here and now. Its signature has been checked.
    pub(super) fn check(
        &self,
        issuer: &str,
        audiences: &[String],
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let now = now.timestamp();
        let refused =
            |why: &str| Err(Problem::new(Code::CiInvalidToken, format!("the identity token {why}")));
        if self.iss != issuer {
            return refused("is of another issuer");
        }
        if !self.audience().is_some_and(|aud| audiences.iter().any(|one| one == aud)) {
            return refused("is for somebody else");
        }
        let begun = self.iat <= now + SKEW_SECS && self.nbf.is_none_or(|nbf| nbf <= now + SKEW_SECS);
        if !begun || self.expires_at() <= now {
            return refused("is over, or not begun");
        }
        match self.jti.as_deref() {
            Some(jti) if (1..=JTI_BYTES_MAX).contains(&jti.len()) => Ok(()),
            _ => refused("has no id of its own (jti), so it could be used twice"),
        }
    }

    /// Seconds since 1970, from when on it is refused.
    pub(super) fn expires_at(&self) -> i64 {
        self.exp.saturating_add(SKEW_SECS)
    }

    /// The repository, branch and environment that its subject speaks of are those of the claims: whoever may
    /// choose the form of a subject must not choose what it is believed to say.
    fn is_consistent(&self) -> bool {
        let Some(rest) = self.sub.strip_prefix("repo:") else { return true };
        let (repository, context) = rest.split_once(':').unwrap_or((rest, ""));
        if self.repository.as_deref() != Some(without_ids(repository).as_str()) {
            return false;
        }
        let said = |name: &str| {
            let value = context.strip_prefix(name)?.strip_prefix(':')?;
            value.split(':').next().map(|value| value.replace("%3A", ":"))
        };
        let same = |said: Option<String>, claim: &Option<String>| {
            said.is_none_or(|said| claim.as_ref() == Some(&said))
        };
        same(said("ref"), &self.r#ref) && same(said("environment"), &self.environment)
    }
}

/// Newer subjects carry numbers: `acme@1/shop@2`.
fn without_ids(repository: &str) -> String {
    let name = |part: &str| part.split('@').next().unwrap_or_default().to_owned();
    repository.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// The rules of a subject to match.
///
/// # Errors
/// The rule that was broken.
///
/// # Source
/// Wire contract 02 section 8.1. That a wildcard begins after an owner is ours: `repo:acme*` would let
/// `acme-evil` in (H03).
pub(super) fn check_subject(subject: &str) -> Result<(), &'static str> {
    if !(1..=SUBJECT_CHARS_MAX).contains(&subject.chars().count()) {
        return Err("it has 1 to 256 characters");
    }
    if subject.chars().any(char::is_control) {
        return Err("it has no control characters");
    }
    let Some(fixed) = subject.strip_suffix('*') else {
        return if subject.contains('*') { Err("* stands only at its end") } else { Ok(()) };
    };
    if fixed.contains('*') {
        return Err("* stands only at its end");
    }
    let owner = fixed.strip_prefix("repo:").and_then(|rest| rest.split_once('/')).map(|(owner, _)| owner);
    match owner {
        Some(owner) if !owner.is_empty() && !owner.contains(':') => Ok(()),
        _ => Err("a * follows at least repo:<owner>/"),
    }
}

fn matches(subject_match: &str, subject: &str) -> bool {
    match subject_match.strip_suffix('*') {
        Some(prefix) => subject.starts_with(prefix),
        None => subject_match == subject,
    }
}

/// The binding that a workflow deploys under: an exact subject before a wildcard, then the longest. What it
/// does not allow is not looked for in a wider one.
///
/// # Errors
/// `access_denied`, `ambiguous_binding`, `event_not_allowed`, `repository_id_mismatch`.
///
/// # Source
/// Wire contract 02 sections 8.3 and 12.16.
pub(super) fn choose<'a>(
    bindings: &'a [Binding],
    claims: &Claims,
    now: DateTime<Utc>,
) -> Result<&'a Binding, Problem> {
    let denied = |why: &str| Problem::new(Code::CiAccessDenied, why).detail("subject", claims.sub.as_str());
    let rank = |binding: &Binding| (!binding.subject_match.ends_with('*'), binding.subject_match.len());
    let mut fitting: Vec<&Binding> = bindings
        .iter()
        .filter(|binding| binding.is_active(now) && binding.issuer == claims.iss)
        .filter(|binding| claims.audience() == Some(binding.audience.as_str()))
        .filter(|binding| matches(&binding.subject_match, &claims.sub))
        .collect();
    fitting.sort_by_key(|binding| std::cmp::Reverse(rank(binding)));
    let best =
        *fitting.first().ok_or_else(|| denied("no active binding of the project fits this workflow"))?;
    if fitting.get(1).is_some_and(|second| rank(second) == rank(best)) {
        return Err(Problem::new(Code::CiAmbiguousBinding, "two bindings fit equally well"));
    }
    if !claims.is_consistent() {
        return Err(denied("the token's subject and its other claims contradict each other"));
    }
    let event = claims.event_name.as_deref().unwrap_or_default();
    if !best.allowed_events.iter().any(|allowed| allowed == event) {
        return Err(Problem::new(
            Code::CiEventNotAllowed,
            format!("the binding does not allow the event {event:?}"),
        )
        .detail("event_name", event)
        .detail("allowed_events", best.allowed_events.clone()));
    }
    let bound = best.github_repository_id.as_deref();
    if bound.is_some() && bound != claims.repository_id.as_deref() {
        return Err(Problem::new(Code::CiRepositoryMismatch, "another repository has this name now"));
    }
    Ok(best)
}

#[cfg(test)]
mod tests;
