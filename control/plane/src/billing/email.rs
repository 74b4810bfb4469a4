//! When two e-mail addresses are one mailbox.

use types::{Code, Problem};

/// RFC 5321: 64 before the at sign, 255 after it.
const LOCAL_BYTES_MAX: usize = 64;
const HOST_BYTES_MAX: usize = 255;

/// An e-mail address, and what is compared of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    shown: String,
    key: String,
}

impl Email {
    /// Reads one address. ASCII only, without quotes and comments: what others can be mistaken for it is not
    /// taken.
    ///
    /// # Errors
    /// `BAD_EMAIL`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let shown = text.trim().to_ascii_lowercase();
        let (local, host) = shown.rsplit_once('@').ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-.".contains(c);
        let dots = |text: &str| text.starts_with('.') || text.ends_with('.') || text.contains("..");
        let label = |text: &str| {
            !text.is_empty()
                && text.len() <= 63
                && !text.starts_with('-')
                && !text.ends_with('-')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let good = (1..=LOCAL_BYTES_MAX).contains(&local.len())
            && host.len() <= HOST_BYTES_MAX
            && local.chars().all(plain)
            && !dots(local)
            && host.contains('.')
            && host.split('.').all(label);
        if !good {
            return Err(bad());
        }
        Ok(Self { key: key(local, host), shown })
    }

    /// In lower case, as its owner writes it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The same for every spelling of one mailbox.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Gmail reads past dots and whatever follows a plus, under two names; elsewhere those may be other people.
fn key(local: &str, host: &str) -> String {
    if !matches!(host, "gmail.com" | "googlemail.com") {
        return format!("{local}@{host}");
    }
    let bare = local.split('+').next().unwrap_or_default().replace('.', "");
    format!("{bare}@gmail.com")
}

fn bad() -> Problem {
    Problem::new(Code::BadEmail, "this is not an e-mail address")
}

#[cfg(test)]
mod tests {
    use super::*;

    // C16: tricks with case, dots, tags and look-alikes.
    #[test]
    fn one_mailbox_has_one_key_and_what_is_none_is_refused() {
        let key = |text: &str| Email::parse(text).map(|email| email.key().to_owned()).ok();
        let ada = key("ada@example.com");
        assert_eq!(key(" Ada@EXAMPLE.com "), ada);
        assert_ne!(key("ada+1@example.com"), ada);
        for same in ["Ada.Lovelace@gmail.com", "adalovelace+x@googlemail.com", "a.d.a.lovelace@GMAIL.com"] {
            assert_eq!(key(same).as_deref(), Some("adalovelace@gmail.com"));
        }
        for bad in [
            "",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a b@c.de",
            "a@b..c",
            ".a@b.c",
            "a.@b.c",
            "a@-b.c",
            "a@@b.c",
            "\"a\"@b.c",
            "а@b.c",
            "a@b.c\0",
            "a@b.c,d@e.f",
            "ada@exa\u{301}mple.com",
        ] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
        assert_eq!(key(&format!("{}@b.c", "x".repeat(65))), None);
    }
}
