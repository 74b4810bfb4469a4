//! Which function a signature means.

use super::live::Function;

/// Spellings that Postgres prints otherwise.
const ALIASES: [(&str, &str); 14] = [
    ("int", "integer"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("int2", "smallint"),
    ("bool", "boolean"),
    ("float", "double precision"),
    ("float8", "double precision"),
    ("float4", "real"),
    ("decimal", "numeric"),
    ("varchar", "character varying"),
    ("char", "character"),
    ("timestamptz", "timestamp with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timetz", "time with time zone"),
];

/// Whether `(a integer, text, n int default 5)` may be written for this function's arguments.
pub(super) fn fits(signature: &str, function: &Function) -> bool {
    let inner = signature.trim().trim_start_matches('(').trim_end();
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    let written: Vec<String> = split(inner);
    let wanted: Vec<&String> = written.iter().filter(|argument| !is_output(argument)).collect();
    wanted.len() == function.arguments.len()
        && wanted.iter().zip(function.arguments.iter().zip(&function.short)).all(|(written, types)| {
            readings(written).iter().any(|reading| is_type(reading, types.0, types.1))
        })
}

fn is_type(written: &str, printed: &str, short: &str) -> bool {
    let (base, array) = match written.strip_suffix("[]") {
        Some(base) => (base.trim(), "[]"),
        None => (written, ""),
    };
    // A length belongs to a column and not to an argument: `varchar(20)` is `varchar`.
    let base = base.split_once('(').map_or(base, |(base, _)| base.trim());
    format!("{}{array}", alias(base)) == printed
        || written == short
        || written.trim_matches('"') == printed.trim_matches('"')
}

fn alias(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, printed)| printed)
}

/// A plain type name as Postgres prints it.
pub(super) fn printed(name: &str) -> String {
    match name.strip_suffix("[]") {
        Some(base) => format!("{}[]", alias(base)),
        None => alias(name).to_owned(),
    }
}

/// What an argument may say: all of it is the type, or its first word is a name.
fn readings(argument: &str) -> Vec<String> {
    let mut text = argument.to_owned();
    for end in [" default ", "=", ":="] {
        if let Some(at) = text.find(end) {
            text.truncate(at);
        }
    }
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if words.len() > 1 && matches!(words[0], "in" | "inout" | "variadic") {
        words.remove(0);
    }
    let all = words.join(" ");
    let unnamed = words.get(1..).map(|words| words.join(" ")).filter(|text| !text.is_empty());
    std::iter::once(all).chain(unnamed).collect()
}

fn is_output(argument: &str) -> bool {
    argument.starts_with("out ") || argument.starts_with("table ")
}

/// Between commas that stand in no parentheses; in lower case except for what is quoted.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0_i32, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            if quoted { part.push(c) } else { part.extend(c.to_lowercase()) }
        }
    }
    let parts = parts.into_iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(arguments: &[&str], short: &[&str]) -> Function {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Function { name: "f".into(), arguments: own(arguments), short: own(short), grants: Vec::new() }
    }

    #[test]
    fn signatures_are_read_in_every_usual_spelling() {
        let one = function(&["integer", "text[]"], &["int4", "_text"]);
        for text in [
            "(int, text[])",
            "(a integer, b text[])",
            "( A INT default 5 , b TEXT[] )",
            "(in a int4, variadic b text[])",
            "(a int, b text[], out c int)",
        ] {
            assert!(fits(text, &one), "{text}");
        }
        for text in ["()", "(int)", "(int, text)", "(bigint, text[])", "(int, text[], int)"] {
            assert!(!fits(text, &one), "{text}");
        }
        assert!(fits("()", &function(&[], &[])));
        assert!(fits(
            "(at timestamptz, x double precision, v varchar(20))",
            &function(
                &["timestamp with time zone", "double precision", "character varying"],
                &["timestamptz", "float8", "varchar"],
            )
        ));
    }
}
