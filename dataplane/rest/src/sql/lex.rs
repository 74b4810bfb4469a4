//! Splits SQL text into statements the way the server's own lexer does, and lists their bare words.
//!
//! Literals, quoted names, comments and bodies yield no words. The result decides courtesy answers and
//! counts; the server judges the text itself, so a mistake here costs a worse message and nothing else.

use std::ops::Range;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Bytes of the text, from the first token to the last.
    pub range: Range<usize>,
    pub words: Vec<Word>,
}

/// A bare keyword or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// In upper case.
    pub text: String,
    /// Parentheses around it.
    pub depth: usize,
}

impl Statement {
    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| word.text.as_str())
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.words.iter().any(|word| word.text == text)
    }

    /// The verb that decides what comes back: of `with ...` the main statement's.
    pub(crate) fn verb(&self) -> &str {
        const MAIN: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"];
        if self.word(0) != "WITH" {
            return self.word(0);
        }
        let main = self.words.iter().find(|word| word.depth == 0 && MAIN.contains(&word.text.as_str()));
        main.map_or("WITH", |word| word.text.as_str())
    }
}

/// The statements of a text; empty ones are left out, as the server does.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut lexer = Lexer {
        bytes: text.as_bytes(),
        at: 0,
        parens: 0,
        bodies: 0,
        begun: false,
        open: None,
        done: Vec::new(),
    };
    lexer.run();
    lexer.done
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    parens: usize,
    /// `begin atomic` and `case` that are open within a `create function`.
    bodies: usize,
    /// The token before was a bare `begin` outside of parentheses.
    begun: bool,
    open: Option<Statement>,
    done: Vec<Statement>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            let start = self.at;
            match byte {
                b if b.is_ascii_whitespace() || b == 0x0b => self.at += 1,
                b'-' if self.next_is(b'-') => self.skip_line(),
                b'/' if self.next_is(b'*') => self.skip_comment(),
                b';' if self.parens == 0 && self.bodies == 0 => {
                    self.at += 1;
                    self.end_statement();
                }
                b'\'' => {
                    self.skip_quoted(b'\'', Escapes::None);
                    self.token(start);
                }
                b'"' => {
                    self.skip_quoted(b'"', Escapes::None);
                    self.token(start);
                }
                b'$' => {
                    self.skip_dollar();
                    self.token(start);
                }
                b if is_name_start(b) => self.name(start),
                b if b.is_ascii_digit() => {
                    self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
                    self.token(start);
                }
                _ => {
                    match byte {
                        b'(' | b'[' => self.parens += 1,
                        b')' | b']' => self.parens = self.parens.saturating_sub(1),
                        _ => {}
                    }
                    self.at += 1;
                    self.token(start);
                }
            }
        }
        self.end_statement();
    }

    fn next_is(&self, byte: u8) -> bool {
        self.bytes.get(self.at + 1) == Some(&byte)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&b| wanted(b)) {
            self.at += 1;
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|b| b != b'\n' && b != b'\r');
    }

    /// Block comments nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.bytes.get(self.at + 1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// A doubled quote stands for itself; a backslash escapes only in `E''`.
    fn skip_quoted(&mut self, quote: u8, escapes: Escapes) {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'\\' && escapes == Escapes::Backslash {
                self.at += 2;
            } else if byte != quote {
                self.at += 1;
            } else if self.next_is(quote) {
                self.at += 2;
            } else {
                self.at += 1;
                return;
            }
        }
        self.at = self.bytes.len();
    }

    /// `$1`, `$$body$$`, `$tag$body$tag$`, or a lone `$`.
    fn skip_dollar(&mut self) {
        let start = self.at;
        self.at += 1;
        if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            return self.skip_while(|b| b.is_ascii_digit());
        }
        if self.bytes.get(self.at).is_some_and(|&b| is_name_start(b)) {
            self.skip_while(|b| is_name_start(b) || b.is_ascii_digit());
        }
        if self.bytes.get(self.at) != Some(&b'$') {
            self.at = start + 1;
            return;
        }
        self.at += 1;
        let tag = &self.bytes[start..self.at];
        let end = self.bytes[self.at..].windows(tag.len()).position(|window| window == tag);
        self.at = end.map_or(self.bytes.len(), |end| self.at + end + tag.len());
    }

    fn name(&mut self, start: usize) {
        self.skip_while(|b| is_name_start(b) || b.is_ascii_digit() || b == b'$');
        let name = &self.bytes[start..self.at];
        // A quote right after a prefix belongs to it.
        if self.bytes.get(self.at) == Some(&b'\'') && name.len() == 1 {
            let escapes = if name.eq_ignore_ascii_case(b"e") { Escapes::Backslash } else { Escapes::None };
            if matches!(name[0].to_ascii_lowercase(), b'e' | b'b' | b'x' | b'n') {
                self.skip_quoted(b'\'', escapes);
                return self.token(start);
            }
        }
        let word = String::from_utf8_lossy(name).to_uppercase();
        let begun = self.begun;
        self.token(start);
        self.begun = word == "BEGIN" && self.parens == 0;
        self.track_body(&word, begun);
        let depth = self.parens;
        if let Some(open) = &mut self.open {
            open.words.push(Word { text: word, depth });
        }
    }

    /// `create function ... begin atomic a; b; end` is one statement.
    fn track_body(&mut self, word: &str, begun: bool) {
        let Some(open) = &self.open else { return };
        let routine = open.word(0) == "CREATE"
            && ["FUNCTION", "PROCEDURE"].iter().any(|kind| (1..4).any(|i| open.word(i) == *kind));
        match word {
            // Both words, side by side: `begin` alone may be the name of a parameter, and a body that is none
            // would hide a `commit`.
            "ATOMIC" if routine && begun => self.bodies += 1,
            "CASE" if self.bodies > 0 => self.bodies += 1,
            "END" => self.bodies = self.bodies.saturating_sub(1),
            _ => {}
        }
    }

    fn token(&mut self, start: usize) {
        self.begun = false;
        let end = self.at.min(self.bytes.len());
        match &mut self.open {
            Some(open) => open.range.end = end,
            None => self.open = Some(Statement { range: start..end, words: Vec::new() }),
        }
    }

    fn end_statement(&mut self) {
        self.done.extend(self.open.take());
        (self.parens, self.bodies) = (0, 0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

/// Bytes of other alphabets are letters to the server.
fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|s| &text[s.range]).collect()
    }

    // G11: what hides a semicolon.
    #[test]
    fn semicolons_split_only_between_statements() {
        assert_eq!(split("select 1; select 2 ;;"), ["select 1", "select 2"]);
        assert_eq!(split(" -- a;b\n /* c; /* d; */ e; */ "), [] as [&str; 0]);
        assert_eq!(
            split("select ';', E'\\';', U&'d\\0061;', \"a;\"\"b\"; x"),
            ["select ';', E'\\';', U&'d\\0061;', \"a;\"\"b\"", "x"]
        );
        assert_eq!(split("select $$a;b$$, $t$ $$ ; $u$ $t$; y"), ["select $$a;b$$, $t$ $$ ; $u$ $t$", "y"]);
        assert_eq!(split("select 'a\\'; select 2"), ["select 'a\\'", "select 2"]);
        assert_eq!(split("select a$b$c; select 1"), ["select a$b$c", "select 1"]);
        assert_eq!(split("select $1; select $1$2"), ["select $1", "select $1$2"]);
        assert_eq!(
            split("create rule r as on insert to t do (select 1; select 2); z"),
            ["create rule r as on insert to t do (select 1; select 2)", "z"]
        );
        assert_eq!(split("select 'unclosed; select 2"), ["select 'unclosed; select 2"]);
        assert_eq!(split("select E'a\\"), ["select E'a\\"]);
        assert_eq!(split("select 'ключ;'; select 語 /* ; */"), ["select 'ключ;'", "select 語"]);
    }

    #[test]
    fn a_standard_body_is_part_of_its_statement() {
        let text = "create or replace function f() returns int begin atomic \
                    select case when true then 1 else 2 end; select 2; end; select 3";
        assert_eq!(split(text).len(), 2);
        assert_eq!(split("begin; select 1; end; select 2").len(), 4);
        // G11: nothing but a real body hides what follows.
        for text in [
            "create function f(begin int) returns int return 1; commit",
            "create function f(begin atomic) returns int return 1; commit",
            "create function f() returns int set a.b to begin, atomic return 1; commit",
            "create function f() returns int set a.b to 'begin' return 1; commit",
        ] {
            assert_eq!(split(text).len(), 2, "{text}");
        }
    }

    #[test]
    fn words_leave_out_what_is_quoted() {
        let found = statements("select 'grant', \"grant\", $$ grant $$ -- grant\n from t");
        assert!(!found[0].has("GRANT"));
        assert_eq!(statements("with a as (select 1) insert into t select 2")[0].verb(), "INSERT");
        assert_eq!(statements("(select 1)")[0].verb(), "SELECT");
    }

    #[test]
    fn any_text_is_split_without_a_panic_and_in_order() {
        let parts =
            ["'", "\"", "$a$", "$", "/*", "*/", "--", "\n", ";", "e'", "\\", "(", ")", "é", "begin ", "1"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text += parts[(state >> 33) as usize % parts.len()];
            }
            let mut last = 0;
            for statement in statements(&text) {
                assert!(statement.range.start >= last && statement.range.end <= text.len(), "{text:?}");
                assert!(text.get(statement.range.clone()).is_some(), "{text:?}");
                last = statement.range.end;
            }
        }
    }
}
