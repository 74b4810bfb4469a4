//! What a path may be: in a URL, and in a release.

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Bytes of a path in a release.
pub const PATH_BYTES_MAX: usize = 1024;

/// First segments that never name site content.
const RESERVED: [&str; 4] = ["_blob", "_cas", "_run402", "_staging"];

/// A URL path that no site can have. The text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(pub &'static str);

/// Decodes the path of a request target (without its query) to the one form that is looked up: it starts with
/// `/`, is NFC, and has no empty, dot or double-encoded segments.
///
/// # Errors
/// `BadPath` for everything that two readers could understand differently.
///
/// # Source
/// Wire contract 02 section 10.2, rule 1.
pub fn decode(raw: &str) -> Result<String, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath("it does not start with a slash"));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let byte = hex_pair(rest.next(), rest.next()).ok_or(BadPath("bad percent-encoding"))?;
                if matches!(byte, b'/' | b'\\') {
                    return Err(BadPath("an encoded slash"));
                }
                bytes.push(byte);
            }
            b'\\' => return Err(BadPath("a backslash")),
            plain => bytes.push(plain),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| BadPath("not UTF-8"))?;
    if text.chars().any(is_forbidden) {
        return Err(BadPath("a control character"));
    }
    if has_percent_escape(&text) {
        return Err(BadPath("double percent-encoding"));
    }
    let text = if is_nfc(&text) { text } else { text.nfc().collect() };
    if text.contains("//") {
        return Err(BadPath("an empty segment"));
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadPath("a dot segment"));
    }
    Ok(text)
}

/// Whether a decoded path lies where no site content can be.
pub fn is_reserved(decoded: &str) -> bool {
    let first = decoded.trim_start_matches('/').split('/').next().unwrap_or_default();
    RESERVED.contains(&first)
}

/// The canonical form of a path in a release: relative, NFC, without empty or dot segments.
///
/// # Errors
/// `BadPath` for what could leave the site or name two files at once.
///
/// # Source
/// Wire contract 02 sections 2 (key rules) and 4.1.
pub fn canonical(path: &str) -> Result<String, BadPath> {
    let path: String = path.nfc().collect();
    if path.is_empty() {
        return Err(BadPath("it is empty"));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(BadPath("it is longer than 1024 bytes"));
    }
    if path.starts_with('/') {
        return Err(BadPath("it starts with a slash; site paths are relative"));
    }
    if path.contains('\\') {
        return Err(BadPath("it has a backslash"));
    }
    if path.chars().any(is_forbidden) {
        return Err(BadPath("it has a control character"));
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(BadPath("it has an empty segment")),
            "." | ".." => return Err(BadPath("it has a dot segment")),
            _ => {}
        }
    }
    if is_reserved(&path) {
        return Err(BadPath("its first segment is reserved"));
    }
    Ok(path)
}

/// Control characters, and the invisible ones that turn the reading direction of what follows.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high?)? * 16 + digit(low?)?)
}

fn has_percent_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_request_paths_decode_to_one_form() {
        for (raw, decoded) in [
            ("/", "/"),
            ("/index.html", "/index.html"),
            ("/a%20b.txt", "/a b.txt"),
            ("/dir/", "/dir/"),
            ("/caf%C3%A9", "/café"),
            ("/cafe%CC%81", "/café"),
            ("/100%25", "/100%"),
            ("/100%25x1", "/100%x1"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a:b@c;d=e", "/a:b@c;d=e"),
        ] {
            assert_eq!(decode(raw).as_deref(), Ok(decoded), "{raw}");
        }
    }

    // I02 and I05: refused rather than cleaned up, so that no cache before us keeps two spellings of one
    // page.
    #[test]
    fn ambiguous_request_paths_are_refused() {
        for raw in [
            "",
            "index.html",
            "//",
            "//evil.test/",
            "/a//b",
            "/a/../b",
            "/..",
            "/.",
            "/./a",
            "/a/%2e%2e/b",
            "/%2E",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%",
            "/%1",
            "/%zz",
            "/%00",
            "/a%0ab",
            "/%7f",
            "/%ff",
            "/%c3",
            "/%252e%252e/",
            "/%2525",
            "/a%E2%80%AEb",
            "/%+1",
            "/..%2f..%2fetc/passwd",
            "*",
            "http://x/",
        ] {
            assert!(decode(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn good_site_paths_are_brought_to_one_form() {
        for (path, canonical_path) in [
            ("index.html", "index.html"),
            ("a/b/c.txt", "a/b/c.txt"),
            ("cafe\u{301}.txt", "café.txt"),
            (".well-known/security.txt", ".well-known/security.txt"),
            ("a b", "a b"),
            ("x/_blob/y", "x/_blob/y"),
            ("..a/b..", "..a/b.."),
            ("_blobs/x", "_blobs/x"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(canonical_path), "{path}");
        }
        assert!(canonical(&"x".repeat(PATH_BYTES_MAX)).is_ok());
    }

    #[test]
    fn site_paths_cannot_leave_the_site() {
        for path in [
            "",
            "/",
            "/index.html",
            "../x",
            "a/../../x",
            "..",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "..\\x",
            "a\0b",
            "a\nb",
            "_blob/x",
            "_cas/ab/cd",
            "_run402/x",
            "_staging/x",
            "_blob",
            "a\u{202e}b",
            "\u{7f}",
        ] {
            assert!(canonical(path).is_err(), "{path:?}");
        }
        assert!(canonical(&"x".repeat(PATH_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn reserved_places_are_judged_by_their_first_segment() {
        assert!(is_reserved("/_blob/x") && is_reserved("/_cas/ab") && is_reserved("/_run402"));
        assert!(!is_reserved("/a/_blob/x") && !is_reserved("/_blobs") && !is_reserved("/"));
    }
}
