//! Pieces of SQL: names as they are written and read, and the tokens of what tenants wrote.

/// A name that means itself, whatever it holds.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal. The session pins `standard_conforming_strings` to on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name as Postgres understands it, and whether it stood in quotes.
    Name {
        text: String,
        quoted: bool,
    },
    /// A string, number or body: its text does not matter here.
    Other,
    Sign(char),
}

impl Token {
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Name { text, quoted: false } if text.eq_ignore_ascii_case(word))
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The tokens of a text. `None` when a quote or comment does not end, or a form is used that is not read
/// here (`U&`).
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("--") {
            rest = rest.find(['\n', '\r']).map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = &rest[comment_end(rest)?..];
        } else if first == '\'' {
            rest = &rest[1 + quote_end(&rest[1..], '\'', false)?..];
            found.push(Token::Other);
        } else if first == '"' {
            let end = quote_end(&rest[1..], '"', false)?;
            found.push(Token::Name { text: rest[1..end].replace("\"\"", "\""), quoted: true });
            rest = &rest[1 + end..];
        } else if first == '$' {
            rest = &rest[dollar_end(rest)?..];
            found.push(Token::Other);
        } else if first.is_alphabetic() || first == '_' || !first.is_ascii() {
            rest = word(rest, &mut found)?;
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
            rest = end.map_or("", |end| &rest[end..]);
            found.push(Token::Other);
        } else {
            found.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    Some(found)
}

fn word<'a>(rest: &'a str, found: &mut Vec<Token>) -> Option<&'a str> {
    let end = rest.find(|c: char| c.is_ascii() && !(c.is_ascii_alphanumeric() || c == '_' || c == '$'));
    let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
    if name.eq_ignore_ascii_case("u") && (after.starts_with("&'") || after.starts_with("&\"")) {
        return None;
    }
    if after.starts_with('\'') && ["e", "b", "x", "n"].iter().any(|p| name.eq_ignore_ascii_case(p)) {
        let end = quote_end(&after[1..], '\'', name.eq_ignore_ascii_case("e"))?;
        found.push(Token::Other);
        return Some(&after[1 + end..]);
    }
    found.push(Token::Name { text: name.to_ascii_lowercase(), quoted: false });
    Some(after)
}

/// Past the closing quote, counted from after the opening one.
fn quote_end(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next()?;
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return Some(at + 1);
            }
        }
    }
    None
}

fn comment_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => {
                (at, depth) = (at + 2, depth - 1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// `$1`, `$$...$$` or `$tag$...$tag$`.
fn dollar_end(text: &str) -> Option<usize> {
    let tag = text[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map(|end| end + 1);
    match tag {
        Some(end) if text[end..].starts_with('$') => {
            let tag = &text[..=end];
            text[tag.len()..].find(tag).map(|at| 2 * tag.len() + at)
        }
        _ => Some(text[1..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| end + 1)),
    }
}

/// What a statement about a policy is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PolicyHead {
    /// `create`, `alter` or `drop`.
    pub verb: String,
    pub policy: String,
    pub schema: Option<String>,
    pub table: String,
}

/// Reads `create | alter | drop policy [if exists] name on [schema.]table`.
pub(super) fn policy_head(statement: &str) -> Option<PolicyHead> {
    let tokens = tokens(statement)?;
    let mut left = tokens.iter();
    let verb = left.next()?;
    let verb = ["create", "alter", "drop"].into_iter().find(|known| verb.is_word(known))?;
    left.next()?.is_word("policy").then_some(())?;
    let mut policy = left.next()?;
    if verb == "drop" && policy.is_word("if") {
        left.next()?.is_word("exists").then_some(())?;
        policy = left.next()?;
    }
    left.next()?.is_word("on").then_some(())?;
    let first = left.next()?.name()?.to_owned();
    let (schema, table) = match left.as_slice() {
        [Token::Sign('.'), second, ..] => (Some(first), second.name()?.to_owned()),
        _ => (None, first),
    };
    Some(PolicyHead { verb: verb.to_owned(), policy: policy.name()?.to_owned(), schema, table })
}

/// Whether a text is one expression that cannot leave the parentheses around it.
pub(super) fn is_enclosed(text: &str) -> bool {
    let Some(tokens) = tokens(text) else { return false };
    let mut depth = 0_i32;
    for token in &tokens {
        match token {
            Token::Sign('(' | '[') => depth += 1,
            Token::Sign(')' | ']') => depth -= 1,
            Token::Sign(';') => return false,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0 && !tokens.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    // G11: what hides in the name of a policy or table.
    #[test]
    fn heads_are_read_as_postgres_reads_them() {
        let head = policy_head("/* x */ Create -- y\n POLICY \"a \"\"b\" ON \"T able\" for all").unwrap();
        assert_eq!((head.verb.as_str(), head.policy.as_str()), ("create", "a \"b"));
        assert_eq!((head.schema, head.table.as_str()), (None, "T able"));
        let head = policy_head("drop policy if exists P on S.Items").unwrap();
        assert_eq!(
            (head.schema.as_deref(), head.table.as_str(), head.policy.as_str()),
            (Some("s"), "items", "p")
        );
        for text in [
            "grant select on t to anon",
            "create table policy (on int)",
            "create policy U&\"a\" on t",
            "",
            "create policy p",
        ] {
            assert_eq!(policy_head(text), None, "{text}");
        }
    }

    #[test]
    fn a_filter_cannot_leave_its_parentheses() {
        for text in
            ["a > 1", "(a or b) and c[1] = 2", "x = ')' -- )", "x = E'\\')'", "x = $$;)$$", "/* ) */ a"]
        {
            assert!(is_enclosed(text), "{text}");
        }
        for text in ["true) union select (1", "a; drop table t", "'", "", "(a", "$$ a", "/* a", "\"a"] {
            assert!(!is_enclosed(text), "{text}");
        }
    }
}
