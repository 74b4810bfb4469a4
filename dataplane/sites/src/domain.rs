//! Which domains of their own tenants may bring. Pure.

/// A domain that cannot be taken. The text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDomain(pub &'static str);

const DOMAIN_BYTES_MAX: usize = 253;
/// Names that never are anybody's.
///
/// # Source
/// RFC 6761, RFC 6762, RFC 7686, RFC 8375, and ICANN's reservation of `internal`. `test` is left out: labs use it,
/// and no public resolver answers for it.
const SPECIAL: [&str; 8] = ["arpa", "example", "internal", "invalid", "lan", "local", "localhost", "onion"];

/// The one spelling of a domain: lower case, international labels encoded, without the root's dot. `own` are
/// the platform's names: its apex, and the hosts of its API.
///
/// # Errors
/// `BadDomain` with the rule that was broken.
///
/// # Source
/// UTS 46 (processing), UTS 39 (single script, confusable with the platform's names).
pub fn normal_domain(text: &str, own: &[&str]) -> Result<String, BadDomain> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > DOMAIN_BYTES_MAX * 2 {
        return Err(BadDomain("a domain has 1 to 253 characters"));
    }
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| BadDomain("this is not a domain name"))?;
    if ascii.len() > DOMAIN_BYTES_MAX {
        return Err(BadDomain("a domain has 1 to 253 characters"));
    }
    let labels: Vec<&str> = ascii.split('.').collect();
    if labels.len() < 2 || !labels.iter().all(|label| is_label(label)) {
        return Err(BadDomain("a domain has at least two labels of a-z, 0-9 and hyphen"));
    }
    let last = labels.last().copied().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return Err(BadDomain("an address is no domain"));
    }
    if SPECIAL.contains(&last) {
        return Err(BadDomain("names under this top level are nobody's"));
    }
    let (unicode, decoded) = idna::domain_to_unicode(&ascii);
    if decoded.is_err() {
        return Err(BadDomain("its international labels are not well encoded"));
    }
    for label in unicode.split('.') {
        check_script(label)?;
    }
    let shape = skeleton(&unicode);
    if own.iter().any(|own| is_within(&ascii, own) || is_within(&shape, &skeleton(own))) {
        return Err(BadDomain("it is the platform's own, or looks like it"));
    }
    Ok(ascii)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The name itself, or below it.
fn is_within(name: &str, own: &str) -> bool {
    name == own || name.strip_suffix(own).is_some_and(|rest| rest.ends_with('.'))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Other,
}

fn script(c: char) -> Option<Script> {
    match c {
        '0'..='9' | '-' => None,
        'a'..='z' | '\u{00df}'..='\u{024f}' | '\u{1e00}'..='\u{1eff}' => Some(Script::Latin),
        '\u{0400}'..='\u{052f}' => Some(Script::Cyrillic),
        '\u{0370}'..='\u{03ff}' | '\u{1f00}'..='\u{1fff}' => Some(Script::Greek),
        _ => Some(Script::Other),
    }
}

/// One label keeps to one of the scripts whose letters look alike, and is not made of look-alikes alone.
fn check_script(label: &str) -> Result<(), BadDomain> {
    let mut found: Vec<Script> = label.chars().filter_map(script).collect();
    found.dedup();
    let alike = |script: &Script| matches!(script, Script::Latin | Script::Cyrillic | Script::Greek);
    let mut kinds: Vec<Script> = found.into_iter().filter(alike).collect();
    kinds.dedup();
    if kinds.len() > 1 {
        return Err(BadDomain("a label mixes scripts whose letters look alike"));
    }
    let foreign = label.chars().any(|c| matches!(script(c), Some(Script::Cyrillic | Script::Greek)));
    if foreign && skeleton(label).is_ascii() {
        return Err(BadDomain("a label is made of letters that look like Latin ones"));
    }
    Ok(())
}

/// A name as a hasty reader sees it.
fn skeleton(name: &str) -> String {
    let letters: String = name.to_lowercase().chars().filter(|c| *c != '-').map(look).collect();
    letters.replace("rn", "m").replace("vv", "w")
}

/// # Source
/// UTS 39 confusables, those of Cyrillic and Greek that are drawn like a Latin letter, and digits.
fn look(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'в' => 'b',
        'с' => 'c',
        'ԁ' => 'd',
        'е' | 'ё' => 'e',
        'һ' => 'h',
        'і' | 'ї' | 'ι' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' | '1' => 'l',
        'м' => 'm',
        'п' => 'n',
        'о' | 'ο' | '0' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ц' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'á' | 'à' | 'â' | 'ä' => 'a',
        'ó' | 'ò' | 'ô' | 'ö' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'í' | 'ì' | 'î' | 'ï' | 'ı' => 'i',
        'ŕ' | 'ř' => 'r',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 2] = ["sites.example.net", "run402.dev"];

    fn normal(text: &str) -> Option<String> {
        normal_domain(text, &OWN).ok()
    }

    #[test]
    fn a_domain_has_one_spelling() {
        for (text, domain) in [
            ("www.acme.dev", "www.acme.dev"),
            (" WWW.Acme.Dev. ", "www.acme.dev"),
            ("bücher.de", "xn--bcher-kva.de"),
            ("XN--bcher-KVA.de", "xn--bcher-kva.de"),
            ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
            ("日本語.jp", "xn--wgv71a119e.jp"),
            ("a.b.c.acme.test", "a.b.c.acme.test"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(domain), "{text}");
        }
    }

    // I02, H03 (names): what is no domain, or nobody's.
    #[test]
    fn what_is_no_domain_of_a_tenant_is_refused() {
        for text in [
            "",
            ".",
            "acme",
            "localhost",
            "shop.localhost",
            "printer.local",
            "db.internal",
            "1.2.3.4",
            "[::1]",
            "::1",
            "127.1",
            "acme.0x7f",
            "*.acme.dev",
            "acme..dev",
            ".acme.dev",
            "-acme.dev",
            "acme-.dev",
            "a_b.dev",
            "acme.dev:443",
            "acme.dev/x",
            "user@acme.dev",
            "acme.dev\u{0}",
            "acme .dev",
            "xn--a.dev",
            "xn--zzzzzzzzzzzz.dev",
            "2.0.192.in-addr.arpa",
            &format!("{}.dev", "a".repeat(64)),
            &format!("{}dev", "abcdefgh.".repeat(40)),
        ] {
            assert_eq!(normal(text), None, "{text:?}");
        }
    }

    // Punycode and homographs.
    #[test]
    fn the_platforms_names_and_their_look_alikes_are_refused() {
        for text in [
            "run402.dev",
            "www.run402.dev",
            "sites.example.net",
            "shop.sites.example.net",
            // Cyrillic о, and digits for letters.
            "run4о2.dev",
            "runfo.run4o2.dev",
            "RUN402.DEV",
            // Mixed scripts within a label.
            "pаypal.com",
            "gοοgle.com",
            // Cyrillic only, and nothing but look-alikes.
            "аррӏе.com",
            "xn--80ak6aa92e.com",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert!(normal("notrun402.dev").is_some());
        assert!(normal("run402.dev.acme.test").is_some());
    }
}
