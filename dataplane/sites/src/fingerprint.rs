//! Which names promise never to change their bytes.

const RUN_INSIDE: usize = 8;
const RUN_AT_END: usize = 12;

/// Whether the last segment of a path carries a digest: a run of at least 8 hex digits between two of `.`,
/// `_`, `-`, or of at least 12 at the end of its stem. HTML never counts: browsers must always ask for it
/// again.
///
/// # Source
/// Wire contract 02 section 10.3.
pub fn is_fingerprinted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    if matches!(extension.to_ascii_lowercase().as_str(), "html" | "htm") {
        return false;
    }
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    // The first part and the extension have a delimiter on one side only.
    let parts: Vec<&str> = name.split(['.', '_', '-']).collect();
    let inside = parts.iter().skip(1).take(parts.len().saturating_sub(2));
    if inside.into_iter().any(|part| part.len() >= RUN_INSIDE && is_hex(part)) {
        return true;
    }
    stem.bytes().rev().take_while(u8::is_ascii_hexdigit).count() >= RUN_AT_END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_in_names_are_seen_and_ordinary_names_are_not() {
        for path in [
            "app.3f9a1b2c.js",
            "assets/app-3F9A1B2C.css",
            "x_deadbeef_y.png",
            "main3f9a1b2c4d5e.js",
            "chunks/0123456789abcdef0123456789abcdef.js",
            "blob-0123456789ab",
        ] {
            assert!(is_fingerprinted(path), "{path}");
        }
        for path in [
            "index.html",
            "app.3f9a1b2c.html",
            "app.js",
            "app.3f9a1b2.js",
            "deadbeef.js",
            "facade.css",
            "3f9a1b2c.d/app.js",
            "app-3f9a1b2z.js",
            "",
            "a.deadbeef",
        ] {
            assert!(!is_fingerprinted(path), "{path}");
        }
    }
}
