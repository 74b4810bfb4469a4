//! `and=(...)`, `or=(...)` and what nests in them.

use super::cursor::{Cursor, DEPTH_MAX, Parsed};
use super::filter::expression;
use super::{Filter, Logic, Path};

/// A parameter whose name ends in `and` or `or`.
pub(super) fn logic(key: &str, value: &str) -> Parsed<(Path, Logic)> {
    let what = format!("failed to parse logic path ({key})");
    let mut names: Vec<String> = Vec::new();
    let mut cursor = Cursor::new(key, &what);
    loop {
        names.push(cursor.name()?);
        if !cursor.takes(".") {
            break;
        }
    }
    cursor.end("delimiter (.) or end of input")?;
    let operator = names.pop().unwrap_or_default();
    let not = names.last().is_some_and(|name| name == "not");
    if not {
        names.pop();
    }
    let what = format!("failed to parse logic tree ({value})");
    let text = format!("{}{operator}{value}", if not { "not." } else { "" });
    let mut cursor = Cursor::new(&text, &what);
    // What stands behind the tree is not looked at.
    let tree = term(&mut cursor, 0)?;
    Ok((names, tree))
}

fn term(cursor: &mut Cursor, depth: usize) -> Parsed<Logic> {
    if depth > DEPTH_MAX {
        return Err(cursor.fail("less nesting"));
    }
    cursor.spaces();
    let here = cursor.at();
    let not = cursor.takes("not.");
    for (word, all) in [("and", true), ("or", false)] {
        let before = cursor.at();
        if cursor.takes(word) {
            cursor.spaces();
            if cursor.takes("(") {
                return Ok(Logic::Group { not, all, terms: terms(cursor, depth)? });
            }
            cursor.back_to(before);
        }
    }
    cursor.back_to(here);
    let field = cursor.field().map_err(|error| match cursor.at() == here {
        true => {
            cursor.fail("field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)")
        }
        false => error,
    })?;
    cursor.expect(".").map_err(|_| cursor.fail("delimiter (.)"))?;
    let (not, op) = expression(cursor, value)?;
    cursor.spaces();
    Ok(Logic::Filter(Filter { field, not, op }))
}

/// The terms of a group up to and with its `)`.
fn terms(cursor: &mut Cursor, depth: usize) -> Parsed<Vec<Logic>> {
    let mut out = Vec::new();
    loop {
        out.push(term(cursor, depth + 1)?);
        cursor.spaces();
        if cursor.takes(",") {
            continue;
        }
        cursor.expect(")").map_err(|_| cursor.fail("\",\" or \")\""))?;
        cursor.spaces();
        return Ok(out);
    }
}

/// A value inside a group: quoted, an array or range literal, or up to the next `,` or `)`.
fn value(cursor: &mut Cursor) -> Parsed<String> {
    let here = cursor.at();
    match cursor.peek() {
        Some('"') => {
            if let Ok(text) = cursor.quoted()
                && (cursor.done() || matches!(cursor.peek(), Some(',' | ')')))
            {
                return Ok(text);
            }
        }
        Some('{') => {
            let inner = cursor.while_(|c| c != '}');
            if cursor.takes("}") {
                return Ok(format!("{inner}}}"));
            }
        }
        Some('[' | '(') => {
            let inner = cursor.while_(|c| c != ']' && c != ')');
            if let Some(end @ (']' | ')')) = cursor.next() {
                return Ok(format!("{inner}{end}"));
            }
        }
        _ => {}
    }
    cursor.back_to(here);
    Ok(cursor.while_(|c| c != ',' && c != ')'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::parse::Op;

    fn values(tree: &Logic) -> Vec<String> {
        match tree {
            Logic::Group { terms, .. } => terms.iter().flat_map(values).collect(),
            Logic::Filter(Filter { op: Op::Quantified { value, .. } | Op::Simple(_, value), .. }) => {
                vec![value.clone()]
            }
            Logic::Filter(Filter { op, .. }) => vec![format!("{op:?}")],
        }
    }

    #[test]
    fn groups_nest_and_may_be_negated() {
        let (path, tree) = logic("grades.not.or", "(a.eq.1,not.and(b.gt.2,c.is.null))").unwrap();
        assert_eq!(path, ["grades"]);
        let Logic::Group { not: true, all: false, terms } = &tree else { panic!("{tree:?}") };
        assert!(matches!(&terms[1], Logic::Group { not: true, all: true, terms } if terms.len() == 2));
    }

    #[test]
    fn values_may_hold_commas_when_they_are_quoted_or_literals() {
        let (_, tree) = logic("or", r#"(a.eq."x,)y",b.cs.{1,2},c.ov.[1,5),d.eq.z)"#).unwrap();
        assert_eq!(values(&tree), ["x,)y", "{1,2}", "[1,5)", "z"]);
        let (_, tree) = logic("and", "(id.in.(1,2),id.not.eq.3 )").unwrap();
        assert_eq!(values(&tree).len(), 2);
    }

    #[test]
    fn nonsense_and_bottomless_nesting_are_refused() {
        for text in ["", "()", "(a)", "(a.eq.1", "(a.eq.1,)"] {
            assert!(logic("or", text).is_err(), "{text}");
        }
        let deep = format!("{}a.eq.1{}", "(or".repeat(100), ")".repeat(100));
        assert!(logic("or", &deep).is_err());
    }
}
