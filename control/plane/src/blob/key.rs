//! What a key may be, in a body and in a path.

use types::{Code, Problem};

/// The one form of a key: relative, NFC, without empty or dot segments, control characters, percent escapes or
/// reserved beginnings.
///
/// # Errors
/// `INVALID_STORAGE_KEY`: a key is refused rather than repaired where two readers could differ.
///
/// # Source
/// Wire contract 02 section 2, "Key rules".
pub(crate) fn blob_key(key: &str) -> Result<String, Problem> {
    let bad = |why: &str| Problem::new(Code::InvalidStorageKey, format!("key: {why}"));
    let canonical = sites::path::canonical(key).map_err(|why| bad(why.0))?;
    // Addresses refuse what could be decoded twice, so such a key could never be shown.
    if sites::path::decode(&encode(&canonical)).as_deref() != Ok(&format!("/{canonical}")) {
        return Err(bad("it has a percent escape"));
    }
    Ok(canonical)
}

/// The key in the path of a request, still encoded: each segment by itself, or the whole as one.
///
/// # Errors
/// `INVALID_STORAGE_KEY`.
pub fn key_of_path(raw: &str) -> Result<String, Problem> {
    // Some clients encode a key as if it were one segment.
    let segments = raw.replace("%2F", "/").replace("%2f", "/");
    let bad = |why: sites::path::BadPath| Problem::new(Code::InvalidStorageKey, format!("key: {}", why.0));
    let decoded = sites::path::decode(&format!("/{segments}")).map_err(bad)?;
    blob_key(&decoded[1..])
}

/// A canonical key as the path of an address.
pub(super) fn encode(key: &str) -> String {
    let mut path = String::with_capacity(key.len() + 1);
    path.push('/');
    for byte in key.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    // I02: one name for one blob, and none that leaves its project.
    #[test]
    fn keys_are_canonical_or_refused() {
        for (key, same) in [
            ("a", "a"),
            ("img/logo.png", "img/logo.png"),
            ("cafe\u{301}.txt", "caf\u{e9}.txt"),
            ("a b", "a b"),
            ("100%", "100%"),
            ("dot.", "dot."),
            ("space ", "space "),
        ] {
            assert_eq!(blob_key(key).unwrap(), same, "{key:?}");
        }
        let long = "x/".repeat(512) + "x";
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "a\0b",
            "a\nb",
            "_cas/x",
            "_staging/x",
            "_run402/x",
            "_blob/x",
            "a%2fb",
            "..%2f",
            "%00",
            "a\u{202e}b",
            &long,
        ] {
            assert_eq!(blob_key(bad).unwrap_err().code, Code::InvalidStorageKey, "{bad:?}");
        }
    }

    #[test]
    fn a_path_names_the_key_that_it_was_made_from() {
        for key in ["img/a b.txt", "caf\u{e9}/\u{1f600}.png", "100%", "a+b&c?d#e", "x-y_z.~"] {
            assert_eq!(key_of_path(&encode(key)[1..]).unwrap(), key);
        }
        assert_eq!(key_of_path("a%2Fb%2Fc.txt").unwrap(), "a/b/c.txt");
        for bad in ["", "..%2fx", "%2e%2e/x", "a%00b", "a%5cb", "%252e", "a//b", "%ff", "_cas/ab"] {
            assert!(key_of_path(bad).is_err(), "{bad}");
        }
    }
}
