//! Whether a signed text is the canonical one for its values. Pure.
//!
//! The sentences of published clients are not ours to repeat, so they are known by length and SHA-256. A newer
//! client's text is one more template here.

use sha2::{Digest, Sha256};
use types::delegation::Delegation;

/// A text that is known by its digest: bytes, and SHA-256 in hex.
type Known = (usize, &'static str);

enum Line {
    /// The subject and the project between two known texts, and a full stop.
    Who(Known, Known),
    Empty,
    Is(Known),
    /// One line whose words are not known; it names no value.
    Some,
    /// The lines of values.
    Facts,
}

/// # Source
/// Wire contract 02 section 8.1, "Canonical statement".
const WHO: Line = Line::Who(
    (62, "90887519ac617e2e7094ab83f23dae72d26125444b0f77d21f71953c8bb2cd1a"),
    (29, "67ab3af74f7ccdb402cc38bbac9fb8e8e320d2c870243cee9e633b064f202526"),
);
const MAY: Line = Line::Is((18, "72e9df5b89f618d9f94ebc39a8c02143d9eabd23c8289b4a2e4e24c8bbfb3c3c"));
const DEPLOY: Line = Line::Is((202, "eb9aa6d2a5b4bd6cb5a44f7572ed14b9160df73626d3b5450923140f70b77cdc"));
const MORE: Line = Line::Is((94, "c047f6e51da3beafc2780607ca0db2f21afb003c7e54b058f4b4c79393bfa212"));
const NOT: Line = Line::Is((214, "e557fb0bdfc5a8ed9001f1ab630a3f79ce035c1ddfe8248363cf4ca6eeefbac0"));
const NOT_SCOPED: Line = Line::Is((251, "90279b5047475b6d62806ba2665c9aff319bc1aa0e41a2aa92222043b544e25b"));
const END: Line = Line::Is((434, "93edaeabb9d33b400712f25c44a17ac05bc61e5a2f1e5f1d58cdafc08f1fb419"));

const PUBLISHED: [Line; 11] =
    [WHO, Line::Empty, MAY, DEPLOY, MORE, Line::Empty, NOT, Line::Empty, Line::Facts, Line::Empty, END];
/// What later clients sign for route scopes.
const SCOPED: [Line; 12] = [
    WHO,
    Line::Empty,
    MAY,
    DEPLOY,
    MORE,
    Line::Some,
    Line::Empty,
    NOT_SCOPED,
    Line::Empty,
    Line::Facts,
    Line::Empty,
    END,
];
const SOME_BYTES_MAX: usize = 400;

/// Whether `text` is what some client signs for exactly these values.
pub(super) fn is_canonical(text: &str, delegation: &Delegation) -> bool {
    let published: &[Line] = if delegation.route_scopes.is_empty() { &PUBLISHED } else { &SCOPED };
    text == delegation.statement() || fits(text, published, delegation)
}

fn fits(text: &str, template: &[Line], delegation: &Delegation) -> bool {
    let mut lines = text.split('\n');
    for wanted in template {
        let fits = match wanted {
            Line::Facts => delegation.fact_lines().iter().all(|fact| lines.next() == Some(fact)),
            _ => lines.next().is_some_and(|line| one_fits(line, wanted, delegation)),
        };
        if !fits {
            return false;
        }
    }
    lines.next().is_none()
}

fn one_fits(line: &str, wanted: &Line, delegation: &Delegation) -> bool {
    match wanted {
        Line::Who(before, between) => names(line, (before, between), delegation).is_some(),
        Line::Empty => line.is_empty(),
        Line::Is(known) => is(line, known),
        Line::Some => (1..=SOME_BYTES_MAX).contains(&line.len()),
        Line::Facts => false,
    }
}

/// Read by length and never by searching: a subject may hold any words.
fn names(line: &str, (before, between): (&Known, &Known), delegation: &Delegation) -> Option<()> {
    let (start, rest) = line.split_at_checked(before.0)?;
    let rest = rest.strip_prefix(delegation.subject_match.as_str())?;
    let (middle, rest) = rest.split_at_checked(between.0)?;
    let end = rest.strip_prefix(delegation.project_id.as_str())?;
    (is(start, before) && is(middle, between) && end == ".").then_some(())
}

fn is(text: &str, (bytes, sha256): &Known) -> bool {
    text.len() == *bytes && hex::encode(Sha256::digest(text)) == *sha256
}

#[cfg(test)]
mod tests {
    use types::delegation::{CI_AUDIENCE, GITHUB_ISSUER};

    use super::*;

    fn example() -> Delegation {
        Delegation {
            project_id: "prj_demo1".to_owned(),
            issuer: GITHUB_ISSUER.to_owned(),
            audience: CI_AUDIENCE.to_owned(),
            subject_match: "repo:acme/shop:environment:prod".to_owned(),
            allowed_actions: vec!["deploy".to_owned()],
            allowed_events: vec!["push".to_owned(), "workflow_dispatch".to_owned()],
            route_scopes: Vec::new(),
            expires_at: None,
            github_repository_id: Some("4711".to_owned()),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
        }
    }

    // Wire contract 02 section 8.1: the example's text has 1,250 bytes. We have no sentence of it, but every length.
    #[test]
    fn the_published_template_has_the_published_length() {
        let example = example();
        let bytes = |line: &Line| match line {
            Line::Who(before, between) => {
                before.0 + example.subject_match.len() + between.0 + example.project_id.len() + 1
            }
            Line::Is((bytes, _)) => *bytes,
            Line::Facts => example.fact_lines().join("\n").len(),
            Line::Empty | Line::Some => 0,
        };
        let total: usize = PUBLISHED.iter().map(bytes).sum();
        assert_eq!(total + PUBLISHED.len() - 1, 1250);
    }

    #[test]
    fn our_own_text_is_canonical_for_its_values_and_no_others() {
        let example = example();
        let text = example.statement();
        assert!(is_canonical(&text, &example));
        for other in [
            Delegation { project_id: "prj_demo2".to_owned(), ..example.clone() },
            Delegation { subject_match: "repo:acme/shop:*".to_owned(), ..example.clone() },
            Delegation { github_repository_id: None, ..example.clone() },
            Delegation { expires_at: Some("2030-01-01".to_owned()), ..example.clone() },
            Delegation { allowed_events: vec!["push".to_owned()], ..example.clone() },
            Delegation { route_scopes: vec!["/api/*".to_owned()], ..example.clone() },
            Delegation { issuer: "https://evil.test".to_owned(), ..example.clone() },
        ] {
            assert!(!is_canonical(&text, &other), "{other:?}");
        }
        assert!(!is_canonical(&format!("{text}\n"), &example));
        assert!(!is_canonical(&text.replace("money", "honey"), &example));
    }

    #[test]
    fn a_text_of_the_right_shape_with_other_words_is_not_canonical() {
        let example = example();
        let who =
            format!("{}{}{}{}.", "a".repeat(62), example.subject_match, "b".repeat(29), example.project_id);
        let words = |n: usize| "x".repeat(n);
        let mut lines = vec![who, String::new(), words(18), words(202), words(94), String::new(), words(214)];
        lines.push(String::new());
        lines.extend(example.fact_lines());
        lines.extend([String::new(), words(434)]);
        let text = lines.join("\n");
        assert_eq!(text.len(), 1250);
        assert!(!is_canonical(&text, &example));
    }

    #[test]
    fn the_first_line_is_read_by_length() {
        let tricky = Delegation { subject_match: "x. prj_demo1.".to_owned(), ..example() };
        assert!(is_canonical(&tricky.statement(), &tricky));
        let (a, b) = ("p".repeat(3), "q".repeat(2));
        let known = |text: &str| (text.len(), &*hex::encode(Sha256::digest(text)).leak());
        let line = format!("{a}{}{b}{}.", tricky.subject_match, tricky.project_id);
        assert!(names(&line, (&known(&a), &known(&b)), &tricky).is_some());
        assert!(names(&format!("{line}."), (&known(&a), &known(&b)), &tricky).is_none());
    }
}
