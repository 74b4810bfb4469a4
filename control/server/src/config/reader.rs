//! Reads TOML tables and notes what is wrong with them instead of stopping.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use toml::{Table, Value};

/// One mistake: where, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Such as `chains[0].payee`.
    pub key: String,
    pub problem: String,
    pub write: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; write {}", self.key, self.problem, self.write)
    }
}

#[derive(Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    fn note(&self, key: String, problem: impl Into<String>, write: impl Into<String>) {
        self.0.borrow_mut().push(Mistake { key, problem: problem.into(), write: write.into() });
    }

    pub(super) fn into_all(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// A value that a key may hold.
pub(super) trait Read: Sized {
    /// `None` when `value` is not one; it is never shown, because it may be a secret.
    fn read(value: &Value) -> Option<Self>;
}

/// One table, and which of its keys were asked for.
pub(super) struct Section<'a> {
    path: String,
    /// Absent when the whole section is: then every required key of it is a mistake.
    table: Option<&'a Table>,
    asked: HashSet<&'static str>,
    mistakes: &'a Mistakes,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Table, mistakes: &'a Mistakes) -> Self {
        Self { path: String::new(), table: Some(table), asked: HashSet::new(), mistakes }
    }

    fn child(&self, path: String, table: Option<&'a Table>) -> Self {
        Self { path, table, asked: HashSet::new(), mistakes: self.mistakes }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.insert(key);
        self.table?.get(key)
    }

    /// A key that must be there. `write` says what to write.
    pub(super) fn required<T: Read>(&mut self, key: &'static str, write: &str) -> Option<T> {
        let found = self.optional(key, write)?;
        if found.is_none() {
            self.mistakes.note(self.key(key), "missing", write);
        }
        found
    }

    /// A key that may be left out. The outer `None` says that it is there and wrong.
    pub(super) fn optional<T: Read>(&mut self, key: &'static str, write: &str) -> Option<Option<T>> {
        let Some(value) = self.value(key) else { return Some(None) };
        let read = T::read(value);
        if read.is_none() {
            self.mistakes.note(self.key(key), format!("not that kind of {}", value.type_str()), write);
        }
        read.map(Some)
    }

    /// A key with a default.
    pub(super) fn or<T: Read>(&mut self, key: &'static str, default: T, write: &str) -> Option<T> {
        Some(self.optional(key, write)?.unwrap_or(default))
    }

    /// A table that must be there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        if self.table.is_some_and(|table| !table.contains_key(key)) {
            self.mistakes.note(self.key(key), "missing", format!("a section [{}]", self.key(key)));
        }
        let table = self.table_at(key);
        self.child(self.key(key), table)
    }

    pub(super) fn section_if_there(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.asked.insert(key);
        self.table?.contains_key(key).then(|| {
            let table = self.table_at(key);
            self.child(self.key(key), table)
        })
    }

    /// A table of which every key has a default.
    pub(super) fn section_or_empty(&mut self, key: &'static str) -> Section<'a> {
        let table = self.table_at(key);
        self.child(self.key(key), table)
    }

    fn table_at(&mut self, key: &'static str) -> Option<&'a Table> {
        let value = self.value(key)?;
        if value.as_table().is_none() {
            self.mistakes.note(self.key(key), format!("a {}", value.type_str()), "a table");
        }
        value.as_table()
    }

    /// An array of tables with at least one entry.
    pub(super) fn sections(&mut self, key: &'static str, write: &str) -> Vec<Section<'a>> {
        let tables = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if tables.is_empty() {
            self.mistakes.note(self.key(key), "missing or empty", write);
        }
        let numbered = tables.iter().enumerate();
        numbered.map(|(i, value)| self.child(format!("{}[{i}]", self.key(key)), value.as_table())).collect()
    }

    /// Notes a mistake about `key` unless `holds`.
    pub(super) fn check(&mut self, holds: bool, key: &'static str, write: impl FnOnce() -> String) {
        if !holds {
            self.mistakes.note(self.key(key), "not usable as it is", write());
        }
    }

    /// Notes every key that was not asked for. A misspelt optional key would otherwise be a silent default.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys().filter(|key| !self.asked.contains(key.as_str())) {
            let mut known: Vec<_> = self.asked.iter().copied().collect();
            known.sort_unstable();
            self.mistakes.note(self.key(key), "unknown", format!("one of {}", known.join(", ")));
        }
    }
}

impl Read for String {
    fn read(value: &Value) -> Option<Self> {
        value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
    }
}

impl Read for bool {
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Read for u64 {
    fn read(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|n| n.try_into().ok())
    }
}

impl Read for secrecy::SecretString {
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Into::into)
    }
}

impl Read for std::path::PathBuf {
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Into::into)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::read).collect()
    }
}

macro_rules! read_parsed {
    ($($kind:ty),*) => {$(
        impl Read for $kind {
            fn read(value: &Value) -> Option<Self> {
                value.as_str()?.parse().ok()
            }
        }
    )*};
}

read_parsed!(std::net::SocketAddr, std::net::IpAddr, types::Wallet, types::Network);
