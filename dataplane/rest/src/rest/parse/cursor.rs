//! Reading a text one character at a time, and saying where and why it cannot be read.

use super::{Field, JsonKey, JsonStep};
use crate::rest::error::RestError;

/// Deeper nesting serves nobody, and would overflow the stack.
pub(super) const DEPTH_MAX: usize = 40;

/// A place in a text.
pub(super) struct Cursor<'a> {
    chars: Vec<char>,
    at: usize,
    /// What is being read, for messages: `failed to parse filter (..)`.
    what: &'a str,
    /// What could go on where the last name or path ended.
    tail: &'static str,
}

pub(super) type Parsed<T> = Result<T, RestError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &str, what: &'a str) -> Self {
        Self { chars: text.chars().collect(), at: 0, what, tail: "" }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What could have gone on where the last field ended, before `more`, for messages.
    pub(super) fn after_field(&self, more: &str) -> String {
        format!("{}{more}", self.tail)
    }

    pub(super) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    pub(super) fn done(&self) -> bool {
        self.at >= self.chars.len()
    }

    pub(super) fn sees(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
    }

    /// Passes the text if it is here.
    pub(super) fn takes(&mut self, text: &str) -> bool {
        let here = self.sees(text);
        if here {
            self.at += text.chars().count();
        }
        here
    }

    /// The same in any case of letters.
    pub(super) fn takes_in_any_case(&mut self, text: &str) -> bool {
        let here = text
            .chars()
            .enumerate()
            .all(|(i, c)| self.chars.get(self.at + i).is_some_and(|found| found.eq_ignore_ascii_case(&c)));
        if here {
            self.at += text.chars().count();
        }
        here
    }

    pub(super) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.takes(text) { Ok(()) } else { Err(self.fail(&format!("\"{text}\""))) }
    }

    pub(super) fn spaces(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    pub(super) fn rest(&mut self) -> String {
        let rest = self.chars[self.at.min(self.chars.len())..].iter().collect();
        self.at = self.chars.len();
        rest
    }

    pub(super) fn while_(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    pub(super) fn fail(&self, expecting: &str) -> RestError {
        self.unexpected(self.peek(), expecting)
    }

    /// Where a word begins and does not go on: told where it begins.
    pub(super) fn fail_inside(&self, word: &str) -> RestError {
        self.fail_words(word, &format!("\"{word}\""))
    }

    /// How much of a word is here, in any case of letters.
    pub(super) fn matched(&self, word: &str) -> usize {
        let fits = |(i, c): &(usize, char)| {
            self.chars.get(self.at + i).is_some_and(|found| found.eq_ignore_ascii_case(c))
        };
        word.chars().enumerate().take_while(fits).count()
    }

    /// Where none of several words is: what differs from the first of them is told.
    pub(super) fn fail_words(&self, first: &str, expecting: &str) -> RestError {
        let fits = |(i, c): &(usize, char)| self.chars.get(self.at + i) == Some(c);
        let same = first.chars().enumerate().take_while(fits).count();
        self.unexpected(self.chars.get(self.at + same).copied(), expecting)
    }

    /// A character that could have been the end is told as one, others as texts.
    fn unexpected(&self, found: Option<char>, expecting: &str) -> RestError {
        let quote = if expecting.ends_with("end of input") { '\'' } else { '"' };
        let found = found.map_or("end of input".to_owned(), |c| {
            let escape = if c == quote || c == '\\' { "\\" } else { "" };
            format!("{quote}{escape}{c}{quote}")
        });
        RestError::parse(self.what, self.at + 1, format!("unexpected {found} expecting {expecting}"))
    }

    pub(super) fn end(&self, expecting: &str) -> Parsed<()> {
        if self.done() { Ok(()) } else { Err(self.fail(expecting)) }
    }

    /// `"..."` with `\` before a quote or a backslash.
    pub(super) fn quoted(&mut self) -> Parsed<String> {
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(out),
                Some('\\') => out.push(self.next().ok_or_else(|| self.fail("\"\\\"\""))?),
                Some(c) => out.push(c),
                None => return Err(self.fail("\"\\\"\"")),
            }
        }
    }

    /// Letters, digits, `_`, `$` and inner spaces.
    pub(super) fn identifier(&mut self) -> Parsed<String> {
        let word = self.while_(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '$'));
        if word.is_empty() { Err(self.fail("letter or digit")) } else { Ok(word.trim().to_owned()) }
    }

    /// A column's or resource's name, dashes included; quoted, any text.
    pub(super) fn name(&mut self) -> Parsed<String> {
        const EXPECTED: &str = "field name (* or [a..z0..9_$])";
        if self.peek() == Some('"') {
            self.tail = "\"->>\", \"->\"";
            return self.quoted();
        }
        self.tail = "letter, digit, \"-\", \"->>\", \"->\"";
        let mut out = self.identifier().map_err(|_| self.fail(EXPECTED))?;
        while self.peek() == Some('-') && !self.sees("->") {
            self.at += 1;
            let part = self.identifier().map_err(|_| self.fail(EXPECTED))?;
            out = format!("{out}-{part}");
        }
        if out.is_empty() { Err(self.fail(EXPECTED)) } else { Ok(out) }
    }

    /// A name and the steps into it.
    pub(super) fn field(&mut self) -> Parsed<Field> {
        self.spaces();
        let name = self.name()?;
        let path = self.json_path()?;
        self.spaces();
        Ok(Field { name, path })
    }

    pub(super) fn json_path(&mut self) -> Parsed<Vec<JsonStep>> {
        let mut steps = Vec::new();
        loop {
            let text = if self.takes("->>") {
                true
            } else if self.takes("->") {
                false
            } else {
                return Ok(steps);
            };
            self.tail = "\"-\", \"->>\", \"->\"";
            steps.push(JsonStep { text, key: self.json_key()? });
        }
    }

    fn json_key(&mut self) -> Parsed<JsonKey> {
        let start = self.at;
        let negative = self.takes("-");
        let digits = self.while_(|c| c.is_ascii_digit());
        let ended =
            self.done() || matches!(self.peek(), Some('.' | ',' | ')')) || self.sees("->") || self.sees("::");
        if !digits.is_empty() && ended {
            return Ok(JsonKey::Index(if negative { format!("-{digits}") } else { digits }));
        }
        if negative {
            let ends = if digits.is_empty() { "" } else { ", \"->\", \"::\", \".\", \",\" or end of input" };
            return Err(self.fail(&format!("digit{ends}")));
        }
        self.at = start;
        if self.peek() == Some('"') {
            return Ok(JsonKey::Name(self.quoted()?));
        }
        let part = |c: char| !matches!(c, '(' | '-' | ':' | '.' | ',' | '>' | ')');
        let mut out = self.while_(part).trim().to_owned();
        while self.peek() == Some('-') && !self.sees("->") {
            self.at += 1;
            out = format!("{out}-{}", self.while_(part).trim());
        }
        if out.is_empty() {
            return Err(self.fail("\"-\", digit or any non reserved character different from: .,>()"));
        }
        Ok(JsonKey::Name(out))
    }
}
