//! Which names may be claimed.

/// The platform's own, or easily taken for them.
///
/// # Source
/// Wire contract 02 section 6.2, with the usual names of mail and DNS.
const RESERVED: [&str; 24] = [
    "abuse",
    "admin",
    "administrator",
    "api",
    "auth",
    "billing",
    "cdn",
    "console",
    "domains",
    "ftp",
    "hostmaster",
    "localhost",
    "login",
    "mail",
    "postmaster",
    "root",
    "run402",
    "security",
    "sites",
    "smtp",
    "status",
    "support",
    "webmaster",
    "www",
];
/// Hosts of projects and deployments.
const RESERVED_PREFIXES: [&str; 2] = ["pr-", "dpl-"];

/// A name that cannot be claimed. The text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

/// Only what is safe to show as a host to anybody: plain ASCII, no encoded scripts, nothing that reads like
/// the platform's own names.
///
/// # Errors
/// `BadName` with the rule that was broken.
pub fn check_name(name: &str) -> Result<(), BadName> {
    if !(3..=63).contains(&name.len()) {
        return Err(BadName("a subdomain has 3-63 characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(BadName("a subdomain has only a-z, 0-9 and hyphen"));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(BadName("a subdomain does not start or end with a hyphen"));
    }
    // `xn--` and its kin encode other scripts, whose letters may look like ours.
    if name.get(2..4) == Some("--") {
        return Err(BadName("encoded international names are not offered"));
    }
    if RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(BadName("the prefixes pr- and dpl- are reserved"));
    }
    let shapes = ['l', 'i'].map(|one| skeleton(name, one));
    if RESERVED.iter().any(|reserved| *reserved == name || shapes.iter().any(|shape| shape == reserved)) {
        return Err(BadName("the name is reserved, or looks like one that is"));
    }
    Ok(())
}

/// The name as a hasty reader sees it: `adrnin`, `adm1n` and `ad-min` are `admin`. A 1 may stand for two
/// letters.
fn skeleton(name: &str, one: char) -> String {
    let letters: String = name
        .chars()
        .filter(|c| *c != '-')
        .map(|c| match c {
            '0' => 'o',
            '1' => one,
            other => other,
        })
        .collect();
    letters.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_may_be_claimed() {
        for name in [
            "my-app",
            "abc",
            "a1b2",
            "123",
            "shop--2024",
            "a-b",
            "apis",
            "my-api",
            "mall",
            "app",
            "docs",
            &"a".repeat(63),
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "",
            "ab",
            "-abc",
            "abc-",
            "Abc",
            "a_b",
            "a.b",
            "a b",
            "café",
            "abс",
            "a/b",
            "a\u{0}b",
            &"a".repeat(64),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn reserved_names_and_their_look_alikes_are_refused() {
        for name in [
            "api",
            "www",
            "mail",
            "sites",
            "domains",
            "admin",
            "status",
            "pr-abc",
            "dpl-1-2",
            "ap1",
            "adm1n",
            "adrnin",
            "vvww",
            "l0gin",
            "log-in",
            "ma1l",
            "xn--e1afmkfd",
            "ab--cd",
            "support",
            "console",
            "run402",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
