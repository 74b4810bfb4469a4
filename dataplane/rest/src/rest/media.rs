//! What a client accepts.

use std::borrow::Cow;

use super::error::RestError;

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Json,
    /// `application/vnd.pgrst.array+json`, nulls left out when `strip`.
    Array {
        strip: bool,
    },
    /// One row and no array around it.
    Object {
        strip: bool,
    },
    Csv,
    OpenApi,
    /// How the server would go about it.
    Plan(Plan),
}

/// What is asked of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    pub json: bool,
    /// One for each of [`PLAN_OPTIONS`].
    pub options: [bool; 5],
    /// Of an answer of one row.
    pub single: bool,
}

/// As `EXPLAIN` and clients call them.
const PLAN_OPTIONS: [&str; 5] = ["analyze", "verbose", "settings", "buffers", "wal"];

impl Plan {
    /// `EXPLAIN (FORMAT JSON, ANALYZE)`
    pub fn explain(self) -> String {
        let format = if self.json { "FORMAT JSON" } else { "FORMAT TEXT" };
        let mut words = vec![format.to_owned()];
        words.extend(self.names().map(str::to_uppercase));
        format!("EXPLAIN ({})", words.join(", "))
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        PLAN_OPTIONS.into_iter().zip(self.options).filter_map(|(name, on)| on.then_some(name))
    }

    fn content_type(self) -> String {
        let suffix = if self.json { "json" } else { "text" };
        let inner = if self.single { "vnd.pgrst.object+json" } else { "json" };
        let names: Vec<&str> = self.names().collect();
        let options = if names.is_empty() { String::new() } else { format!("; options={}", names.join("|")) };
        format!("application/vnd.pgrst.plan+{suffix}; for=\"application/{inner}\"{options}; charset=utf-8")
    }

    /// The parameters of `application/vnd.pgrst.plan`; what they do not say is left out.
    fn of(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("application/vnd.pgrst.plan")?;
        let mut parts = rest.split(';');
        let json = match parts.next()? {
            "+json" => true,
            "" | "+text" => false,
            _ => return None,
        };
        let mut plan = Self { json, ..Self::default() };
        for part in parts {
            match part.trim().split_once('=') {
                Some(("for", inner)) => plan.single = inner.contains("vnd.pgrst.object"),
                Some(("options", words)) => {
                    for word in words.split('|') {
                        let at = PLAN_OPTIONS.iter().position(|name| *name == word.trim());
                        if let Some(on) = at.and_then(|at| plan.options.get_mut(at)) {
                            *on = true;
                        }
                    }
                }
                _ => {}
            }
        }
        Some(plan)
    }
}

impl Media {
    pub fn content_type(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Plan(plan) => return Cow::Owned(plan.content_type()),
            // An array is what JSON is anyway, unless nulls are left out.
            Self::Json | Self::Array { strip: false } => "application/json; charset=utf-8",
            Self::Array { strip: true } => "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
            Self::Object { strip: false } => "application/vnd.pgrst.object+json; charset=utf-8",
            Self::Object { strip: true } => "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::OpenApi => "application/openapi+json; charset=utf-8",
        })
    }

    pub fn is_single(self) -> bool {
        matches!(self, Self::Object { .. })
    }

    pub fn strips(self) -> bool {
        matches!(self, Self::Object { strip: true } | Self::Array { strip: true })
    }
}

/// The best form that both sides have. `root`: the description of the API is asked for. `plans`: the caller may see
/// plans, which show what row security hides.
///
/// # Errors
/// `PGRST107` when there is none.
pub fn negotiate(accept: Option<&str>, root: bool, plans: bool) -> Result<Media, RestError> {
    let accept = accept.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("*/*");
    let mut wanted: Vec<(f32, String)> = accept.split(',').map(quality).collect();
    // Stable: among equals the client's order decides.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let plan = |text: &str| Plan::of(text).filter(|_| plans && !root).map(Media::Plan);
    let found = wanted.iter().find_map(|(_, text)| of(text, root).or_else(|| plan(text)));
    found.ok_or_else(|| {
        let names: Vec<&str> = wanted.iter().map(|(_, text)| text.as_str()).collect();
        RestError::media(&names.join(", "))
    })
}

/// One entry: its weight, and the rest without it.
fn quality(entry: &str) -> (f32, String) {
    let (mut weight, mut rest) = (1.0, Vec::new());
    for part in entry.split(';').map(str::trim) {
        match part.strip_prefix("q=").and_then(|q| q.parse().ok()) {
            Some(q) => weight = q,
            None => rest.push(part.to_ascii_lowercase()),
        }
    }
    rest.retain(|part| !part.starts_with("charset="));
    (weight, rest.join(";"))
}

fn of(text: &str, root: bool) -> Option<Media> {
    if root {
        let fits = ["*/*", "application/*", "application/json", "application/openapi+json"];
        return fits.contains(&text).then_some(Media::OpenApi);
    }
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let strip = parameters.split(';').any(|one| one == "nulls=stripped");
    match name {
        "*/*" | "application/*" | "application/json" => Some(Media::Json),
        "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => Some(Media::Object { strip }),
        "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => Some(Media::Array { strip }),
        "text/csv" => Some(Media::Csv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_form_wins() {
        let of = |text| negotiate(Some(text), false, false).unwrap();
        assert_eq!(negotiate(None, false, false).unwrap(), Media::Json);
        assert_eq!(of("text/html,application/xhtml+xml,*/*;q=0.8"), Media::Json);
        assert_eq!(of("application/json;q=0.5, text/csv"), Media::Csv);
        assert_eq!(of("text/csv; version=1"), Media::Csv);
        assert_eq!(of("application/vnd.pgrst.object+json; nulls=stripped"), Media::Object { strip: true });
        assert_eq!(negotiate(Some("application/openapi+json"), true, false).unwrap(), Media::OpenApi);
        let error = negotiate(Some("image/png, text/unknown"), false, true).unwrap_err();
        assert_eq!(error.message, "None of these media types are available: image/png, text/unknown");
    }

    #[test]
    fn plans_are_for_those_who_may_see_them() {
        let text = "application/vnd.pgrst.plan+json; for=\"application/json\"; options=analyze|wal|nope;";
        let Media::Plan(plan) = negotiate(Some(text), false, true).unwrap() else { panic!("no plan") };
        assert_eq!(plan.explain(), "EXPLAIN (FORMAT JSON, ANALYZE, WAL)");
        assert_eq!(
            Media::Plan(plan).content_type(),
            "application/vnd.pgrst.plan+json; for=\"application/json\"; options=analyze|wal; charset=utf-8"
        );
        assert_eq!(negotiate(Some(text), false, false).unwrap_err().code, "PGRST107");
        let bare = negotiate(Some("application/vnd.pgrst.plan"), false, true).unwrap();
        assert_eq!(bare, Media::Plan(Plan::default()));
    }
}
