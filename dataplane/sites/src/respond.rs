//! Status and headers of a static answer: validators, ranges, caching.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use types::Sha256Hex;

use crate::is_fingerprinted;

/// Conditions and ranges of a request, as sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    pub if_none_match: Option<&'a str>,
    pub if_match: Option<&'a str>,
    pub range: Option<&'a str>,
    pub if_range: Option<&'a str>,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: String,
    /// Its bytes have changed under this name although it looks immutable.
    pub revalidate: bool,
}

/// A name in lower case, and its value.
pub type Header = (&'static str, Cow<'static, str>);

/// Status, headers, and which bytes of the file follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<Header>,
    /// Absent: no body. A HEAD answer has the headers of this body, but not the body.
    pub bytes: Option<Range<u64>>,
}

const REVALIDATE: &str = "public, max-age=0, must-revalidate";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The answer for a file that exists. `path` is the release's, not the request's: a page shown for another
/// path must not be cached for its name.
///
/// # Source
/// Wire contract 02 section 10.3; RFC 9110 sections 13 and 14.
pub fn respond(path: &str, file: &FileRef, asked: &Conditions<'_>) -> Head {
    let tag = format!("\"sha256-{}\"", file.sha256);
    let cache = if is_fingerprinted(path) && !file.revalidate { IMMUTABLE } else { REVALIDATE };
    let mut headers = vec![("etag", tag.clone().into()), ("cache-control", cache.into())];
    if asked.if_match.is_some_and(|tags| !lists(tags, &tag, Compare::Strong)) {
        return Head { status: 412, headers, bytes: None };
    }
    if asked.if_none_match.is_some_and(|tags| lists(tags, &tag, Compare::Weak)) {
        return Head { status: 304, headers, bytes: None };
    }
    headers.push(("accept-ranges", "bytes".into()));
    headers.push(("x-content-type-options", "nosniff".into()));
    headers.push(("x-run402-content-sha256", file.sha256.to_string().into()));
    let wanted = asked.range.filter(|_| asked.if_range.is_none_or(|condition| condition.trim() == tag));
    let size = file.size_bytes;
    let (status, bytes) = match wanted.map_or(Asked::Everything, |text| read_range(text, size)) {
        Asked::Everything => {
            let digest = format!("sha-256=:{}:", STANDARD.encode(file.sha256.to_bytes()));
            headers.push(("content-digest", digest.into()));
            (200, 0..size)
        }
        Asked::Part(bytes) => {
            headers.push(("content-range", format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1).into()));
            (206, bytes)
        }
        Asked::Nothing => {
            headers.push(("content-range", format!("bytes */{size}").into()));
            headers.push(("content-length", "0".into()));
            return Head { status: 416, headers, bytes: None };
        }
    };
    headers.push(("content-type", file.content_type.clone().into()));
    headers.push(("content-length", (bytes.end - bytes.start).to_string().into()));
    Head { status, headers, bytes: Some(bytes) }
}

/// The site's own page for what is not there. Not kept by caches: the path may come with the next deploy.
pub fn respond_missing(page: &FileRef) -> Head {
    Head {
        status: 404,
        headers: vec![
            ("content-type", page.content_type.clone().into()),
            ("content-length", page.size_bytes.to_string().into()),
            ("cache-control", "no-store".into()),
            ("x-content-type-options", "nosniff".into()),
        ],
        bytes: Some(0..page.size_bytes),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Weak,
    Strong,
}

/// Whether a list of entity tags, or `*`, has ours. Commas within quotes are part of a tag.
fn lists(tags: &str, ours: &str, compare: Compare) -> bool {
    if tags.trim() == "*" {
        return true;
    }
    let mut rest = tags;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest);
        let Some(inner) = quoted.strip_prefix('"') else { return false };
        let Some(end) = inner.find('"') else { return false };
        let same = quoted[..end + 2] == *ours;
        if same && (compare == Compare::Weak || !weak) {
            return true;
        }
        rest = &inner[end + 1..];
        if rest.is_empty() {
            return false;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Everything,
    Part(Range<u64>),
    /// A range outside the file.
    Nothing,
}

/// Reads a `Range` header. Other units, several ranges and malformed ones mean the whole file, as RFC 9110
/// allows.
fn read_range(text: &str, size: u64) -> Asked {
    let Some(set) = text.trim().strip_prefix("bytes=") else { return Asked::Everything };
    let set = set.trim();
    if set.contains(',') {
        return Asked::Everything;
    }
    let Some((first, last)) = set.split_once('-') else { return Asked::Everything };
    // More digits than 64 bits hold are past any end, not malformed.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (None, Some(suffix)) if first.is_empty() => match suffix {
            0 => Asked::Nothing,
            _ if size == 0 => Asked::Nothing,
            suffix => Asked::Part(size.saturating_sub(suffix)..size),
        },
        (Some(first), None) if last.is_empty() => {
            if first < size {
                Asked::Part(first..size)
            } else {
                Asked::Nothing
            }
        }
        (Some(first), Some(last)) if first <= last => {
            if first < size {
                Asked::Part(first..last.saturating_add(1).min(size))
            } else {
                Asked::Nothing
            }
        }
        _ => Asked::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn file(size_bytes: u64) -> FileRef {
        let content_type = "text/html; charset=utf-8".to_owned();
        FileRef { sha256: SHA.parse().unwrap(), size_bytes, content_type, revalidate: false }
    }

    fn header<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
        head.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| &**value)
    }

    // Golden: contract 02 section 10.3.
    #[test]
    fn a_whole_file_carries_its_digest_three_times() {
        let head = respond("index.html", &file(3), &Conditions::default());
        let expected = vec![
            ("etag", format!("\"sha256-{SHA}\"").into()),
            ("cache-control", "public, max-age=0, must-revalidate".into()),
            ("accept-ranges", "bytes".into()),
            ("x-content-type-options", "nosniff".into()),
            ("x-run402-content-sha256", SHA.into()),
            ("content-digest", "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:".into()),
            ("content-type", "text/html; charset=utf-8".into()),
            ("content-length", "3".into()),
        ];
        assert_eq!(head, Head { status: 200, headers: expected, bytes: Some(0..3) });
    }

    #[test]
    fn only_unchanged_fingerprints_are_immutable() {
        let fresh = respond("app.3f9a1b2c.js", &file(3), &Conditions::default());
        assert_eq!(header(&fresh, "cache-control"), Some(IMMUTABLE));
        let changed = FileRef { revalidate: true, ..file(3) };
        let head = respond("app.3f9a1b2c.js", &changed, &Conditions::default());
        assert_eq!(header(&head, "cache-control"), Some(REVALIDATE));
    }

    #[test]
    fn if_none_match_compares_weakly_in_lists_and_knows_the_star() {
        let tag = format!("\"sha256-{SHA}\"");
        let same = [
            tag.clone(),
            format!("W/{tag}"),
            "*".to_owned(),
            format!("\"a\", {tag}"),
            format!("\"a,b\",W/\"c\" , W/{tag},\"d\""),
        ];
        for tags in &same {
            let asked =
                Conditions { if_none_match: Some(tags), range: Some("bytes=0-0"), ..Default::default() };
            let head = respond("index.html", &file(3), &asked);
            assert_eq!((head.status, head.bytes.clone()), (304, None), "{tags}");
            assert_eq!(header(&head, "etag"), Some(tag.as_str()));
            assert!(header(&head, "content-length").is_none());
        }
        for tags in ["", "\"other\"", SHA, "\"sha256-\"", "\"unclosed", "W/", "x, y", ",,,"] {
            let asked = Conditions { if_none_match: Some(tags), ..Default::default() };
            assert_eq!(respond("index.html", &file(3), &asked).status, 200, "{tags}");
        }
    }

    #[test]
    fn if_match_compares_strongly() {
        let tag = format!("\"sha256-{SHA}\"");
        let weak = format!("W/{tag}");
        for (tags, status) in [(tag.as_str(), 200), ("*", 200), (weak.as_str(), 412), ("\"x\"", 412)] {
            let asked = Conditions { if_match: Some(tags), ..Default::default() };
            assert_eq!(respond("index.html", &file(3), &asked).status, status, "{tags}");
        }
    }

    #[test]
    fn single_ranges_are_cut_and_everything_else_is_whole() {
        let part = |range: Range<u64>| Asked::Part(range);
        for (text, size, expected) in [
            ("bytes=0-0", 10, part(0..1)),
            ("bytes=0-9", 10, part(0..10)),
            ("bytes=2-", 10, part(2..10)),
            ("bytes=5-100", 10, part(5..10)),
            ("bytes=-3", 10, part(7..10)),
            ("bytes=-30", 10, part(0..10)),
            ("bytes=0-18446744073709551615", 10, part(0..10)),
            ("bytes=0-99999999999999999999999", 10, part(0..10)),
            ("bytes=10-", 10, Asked::Nothing),
            ("bytes=99999999999999999999999-", 10, Asked::Nothing),
            ("bytes=-0", 10, Asked::Nothing),
            ("bytes=0-", 0, Asked::Nothing),
            ("bytes=-1", 0, Asked::Nothing),
            ("bytes=5-4", 10, Asked::Everything),
            ("bytes=0-1,3-4", 10, Asked::Everything),
            ("bytes=", 10, Asked::Everything),
            ("bytes=-", 10, Asked::Everything),
            ("bytes=a-b", 10, Asked::Everything),
            ("bytes=+1-2", 10, Asked::Everything),
            ("bytes=1--2", 10, Asked::Everything),
            ("items=0-1", 10, Asked::Everything),
            ("", 10, Asked::Everything),
        ] {
            assert_eq!(read_range(text, size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn a_part_says_where_it_is_and_has_no_digest_of_the_whole() {
        let asked = Conditions { range: Some("bytes=1-"), ..Default::default() };
        let head = respond("a.bin", &file(3), &asked);
        assert_eq!((head.status, head.bytes.clone()), (206, Some(1..3)));
        assert_eq!(header(&head, "content-range"), Some("bytes 1-2/3"));
        assert_eq!(header(&head, "content-length"), Some("2"));
        assert!(header(&head, "content-digest").is_none());
        let outside = Conditions { range: Some("bytes=3-"), ..Default::default() };
        let head = respond("a.bin", &file(3), &outside);
        assert_eq!((head.status, head.bytes.clone()), (416, None));
        assert_eq!(header(&head, "content-range"), Some("bytes */3"));
    }

    // I05: a stale If-Range gets the whole file, never a part of another one.
    #[test]
    fn if_range_must_match_strongly() {
        let tag = format!("\"sha256-{SHA}\"");
        let weak = format!("W/{tag}");
        for (condition, status) in [
            (tag.as_str(), 206),
            (weak.as_str(), 200),
            ("\"old\"", 200),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
        ] {
            let asked =
                Conditions { range: Some("bytes=0-0"), if_range: Some(condition), ..Default::default() };
            assert_eq!(respond("a.bin", &file(3), &asked).status, status, "{condition}");
        }
    }

    #[test]
    fn the_error_page_is_never_kept() {
        let head = respond_missing(&file(3));
        assert_eq!((head.status, header(&head, "cache-control")), (404, Some("no-store")));
        assert!(header(&head, "etag").is_none());
    }
}
