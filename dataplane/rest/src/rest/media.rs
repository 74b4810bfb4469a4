//! What a client accepts.

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
}

impl Media {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Array { strip: false } => "application/vnd.pgrst.array+json; charset=utf-8",
            Self::Array { strip: true } => "application/vnd.pgrst.array+json; nulls=stripped; charset=utf-8",
            Self::Object { strip: false } => "application/vnd.pgrst.object+json; charset=utf-8",
            Self::Object { strip: true } => {
                "application/vnd.pgrst.object+json; nulls=stripped; charset=utf-8"
            }
            Self::Csv => "text/csv; charset=utf-8",
            Self::OpenApi => "application/openapi+json; charset=utf-8",
        }
    }

    pub fn is_single(self) -> bool {
        matches!(self, Self::Object { .. })
    }

    pub fn strips(self) -> bool {
        matches!(self, Self::Object { strip: true } | Self::Array { strip: true })
    }
}

/// The best form that both sides have. `root`: the description of the API is asked for.
///
/// # Errors
/// `PGRST107` when there is none.
pub fn negotiate(accept: Option<&str>, root: bool) -> Result<Media, RestError> {
    let accept = accept.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("*/*");
    let mut wanted: Vec<(f32, String)> = accept.split(',').map(quality).collect();
    // Stable: among equals the client's order decides.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let found = wanted.iter().find_map(|(_, text)| of(text, root));
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
    match text {
        "*/*" | "application/*" | "application/json" => Some(Media::Json),
        "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => {
            Some(Media::Object { strip: false })
        }
        "application/vnd.pgrst.object+json;nulls=stripped"
        | "application/vnd.pgrst.object;nulls=stripped" => Some(Media::Object { strip: true }),
        "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => {
            Some(Media::Array { strip: false })
        }
        "application/vnd.pgrst.array+json;nulls=stripped" | "application/vnd.pgrst.array;nulls=stripped" => {
            Some(Media::Array { strip: true })
        }
        "text/csv" => Some(Media::Csv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_form_wins() {
        let of = |text| negotiate(Some(text), false).unwrap();
        assert_eq!(negotiate(None, false).unwrap(), Media::Json);
        assert_eq!(of("text/html,application/xhtml+xml,*/*;q=0.8"), Media::Json);
        assert_eq!(of("application/json;q=0.5, text/csv"), Media::Csv);
        assert_eq!(of("application/vnd.pgrst.object+json; nulls=stripped"), Media::Object { strip: true });
        assert_eq!(negotiate(Some("application/openapi+json"), true).unwrap(), Media::OpenApi);
        let error = negotiate(Some("image/png, text/unknown"), false).unwrap_err();
        assert_eq!(error.message, "None of these media types are available: image/png, text/unknown");
    }
}
