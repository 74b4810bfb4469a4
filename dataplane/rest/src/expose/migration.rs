//! What a migration would add, as far as reading it can tell. It is never run.

use std::collections::BTreeSet;

use super::issue::{IssueKind, Issues};
use super::live::{Column, Function, Live, Relation};
use super::text::{Token, tokens};
use crate::sql::lex;

/// Adds the tables, views and functions that a migration makes. Answers the names whose columns it does not
/// tell.
pub(super) fn add(text: &str, live: &mut Live, issues: &mut Issues) -> BTreeSet<String> {
    let mut unsure = BTreeSet::new();
    let mut opaque = 0_usize;
    for statement in lex::statements(text) {
        let Some(tokens) = tokens(&text[statement.range.clone()]) else {
            opaque += 1;
            continue;
        };
        match (statement.word(0), object(&statement)) {
            ("CREATE", "TABLE") => table(&tokens, live, &mut unsure),
            ("CREATE", "VIEW") => {
                let Some((name, _)) = named(&tokens, "view") else { continue };
                live.relations.insert(name.clone(), Relation { kind: "v".into(), ..Relation::default() });
                unsure.insert(name);
            }
            ("CREATE", "FUNCTION" | "PROCEDURE") => function(&tokens, live),
            ("ALTER", "TABLE") => {
                if let Some((name, _)) = named(&tokens, "table") {
                    unsure.insert(name);
                }
            }
            ("DROP", "TABLE") => {
                if let Some((name, _)) = named(&tokens, "table") {
                    live.relations.remove(&name);
                }
            }
            ("DO" | "CALL", _) => opaque += 1,
            _ => {}
        }
    }
    if opaque > 0 || !unsure.is_empty() {
        let detail = "parts of the migration can only be judged by running it";
        let fix = "Run the migration, then validate again.";
        issues.warn(IssueKind::ValidationInconclusive, "", detail, fix);
    }
    unsure
}

/// The kind of thing a statement makes: the first word that names one.
fn object(statement: &lex::Statement) -> &str {
    const KINDS: [&str; 6] = ["TABLE", "VIEW", "FUNCTION", "PROCEDURE", "INDEX", "TRIGGER"];
    let words = statement.words.iter().take(5).map(|word| word.text.as_str());
    words.into_iter().find(|word| KINDS.contains(word)).unwrap_or("")
}

/// The name after a kind, without its schema, and what follows it.
fn named<'a>(tokens: &'a [Token], kind: &str) -> Option<(String, &'a [Token])> {
    let at = tokens.iter().position(|token| token.is_word(kind))?;
    let mut rest = &tokens[at + 1..];
    while rest.first().is_some_and(|t| ["if", "not", "exists", "only"].iter().any(|w| t.is_word(w))) {
        rest = &rest[1..];
    }
    let mut name = rest.first()?.name()?;
    rest = &rest[1..];
    if let [Token::Sign('.'), second, after @ ..] = rest {
        (name, rest) = (second.name()?, after);
    }
    Some((name.to_owned(), rest))
}

fn table(tokens: &[Token], live: &mut Live, unsure: &mut BTreeSet<String>) {
    let Some((name, rest)) = named(tokens, "table") else { return };
    if live.relations.contains_key(&name) {
        // `if not exists`, or a migration that will be refused.
        return;
    }
    let mut made = Relation { kind: "r".into(), ..Relation::default() };
    const NO_COLUMNS: [&str; 7] = ["constraint", "primary", "unique", "check", "foreign", "exclude", "like"];
    for part in list(rest) {
        let Some(first) = part.first() else { continue };
        if NO_COLUMNS.iter().any(|word| first.is_word(word)) {
            if first.is_word("like") {
                unsure.insert(name.clone());
            }
            continue;
        }
        let words: Vec<&str> = part.iter().skip(1).filter_map(Token::name).take(1).collect();
        let column =
            first.name().map(|column| Column { name: column.to_owned(), type_name: words.join(" ") });
        made.columns.extend(column);
    }
    let is_plain = rest.first() == Some(&Token::Sign('(')) && !rest.iter().any(|t| t.is_word("inherits"));
    if !is_plain {
        unsure.insert(name.clone());
    }
    live.relations.insert(name, made);
}

/// The parts of a list in parentheses, between its own commas.
fn list(tokens: &[Token]) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 1);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(' | '[') => depth += 1,
            Token::Sign(')' | ']') if depth == 1 => {
                parts.push(tokens.get(start..at).unwrap_or(&[]));
                return parts;
            }
            Token::Sign(')' | ']') => depth = depth.saturating_sub(1),
            Token::Sign(',') if depth == 1 => {
                parts.push(tokens.get(start..at).unwrap_or(&[]));
                start = at + 1;
            }
            _ if depth == 0 => return parts,
            _ => {}
        }
    }
    parts
}

/// Arguments are kept as their last words: enough for the usual signatures.
fn function(tokens: &[Token], live: &mut Live) {
    let kind = if tokens.iter().take(4).any(|t| t.is_word("procedure")) { "procedure" } else { "function" };
    let Some((name, rest)) = named(tokens, kind) else { return };
    let mut arguments = Vec::new();
    for part in list(rest).into_iter().filter(|part| !part.is_empty()) {
        let end =
            part.iter().position(|t| t.is_word("default") || *t == Token::Sign('=')).unwrap_or(part.len());
        let words: Vec<&str> = part[..end].iter().filter_map(Token::name).collect();
        if words.first() == Some(&"out") {
            continue;
        }
        let array = if part[..end].contains(&Token::Sign('[')) { "[]" } else { "" };
        arguments.push(format!("{}{array}", words.last().copied().unwrap_or("")));
    }
    let arguments: Vec<String> = arguments.iter().map(|name| canonical(name)).collect();
    let function = Function { name, short: arguments.clone(), arguments, grants: Vec::new() };
    if !live.functions.iter().any(|f| f.name == function.name && f.arguments == function.arguments) {
        live.functions.push(function);
    }
}

fn canonical(name: &str) -> String {
    super::signature::printed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_shows_its_tables_columns_and_functions() {
        let mut live = Live { schema: "p0007".into(), ..Live::default() };
        let mut issues = Issues::default();
        let text = "create table if not exists \"My T\" (id int primary key, \"user\" uuid, price numeric(10, 2),
              primary key (id), check (id > 0));
            create or replace function add(a int, b integer default 1) returns int language sql as $$ select 1 $$;
            create table copy as select 1";
        let unsure = add(text, &mut live, &mut issues);
        let columns: Vec<&str> = live.relations["My T"].columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(columns, ["id", "user", "price"]);
        assert_eq!(live.functions[0].arguments, ["integer", "integer"]);
        assert_eq!(unsure.into_iter().collect::<Vec<_>>(), ["copy"]);
        assert_eq!(issues.warnings.len(), 1);
    }
}
