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
    let error = match filter(cursor) {
        Ok(filter) => return Ok(Logic::Filter(filter)),
        Err(error) => error,
    };
    let failed_at = cursor.at();
    cursor.back_to(here);
    let not = cursor.takes("not.");
    let all = match () {
        () if cursor.takes("and") => true,
        () if cursor.takes("or") => false,
        // Begun, and so not something else.
        () if cursor.peek() == Some('o') => return Err(cursor.fail_inside("or")),
        () if not => return Err(cursor.fail("logic operator (and, or)")),
        () if failed_at > here => return Err(error),
        () => {
            let any = "field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)";
            return Err(cursor.fail(any));
        }
    };
    cursor.spaces();
    cursor.expect("(")?;
    Ok(Logic::Group { not, all, terms: terms(cursor, depth)? })
}

/// `column.[not.]operator.value`
fn filter(cursor: &mut Cursor) -> Parsed<Filter> {
    let field = cursor.field()?;
    cursor.expect(".").map_err(|_| cursor.fail(&cursor.after_field(" or delimiter (.)")))?;
    let (not, op) = expression(cursor, value)?;
    cursor.spaces();
    Ok(Filter { field, not, op })
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
        let name = "letter, digit, \"-\", \"->>\", \"->\" or delimiter (.)";
        let start = "field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)";
        let (operator, word) = ("operator (eq, gt, ...)", "logic operator (and, or)");
        for (text, column, found, expected) in [
            ("", 3, "end of input", "\"(\""),
            (")(", 3, "\")\"", "\"(\""),
            ("()", 4, "\")\"", start),
            ("(a)", 5, "\")\"", name),
            ("(\"a\")", 7, "\")\"", "\"->>\", \"->\" or delimiter (.)"),
            ("(a->b)", 8, "\")\"", "\"-\", \"->>\", \"->\" or delimiter (.)"),
            ("(a.eq.1", 10, "end of input", "\",\" or \")\""),
            ("(a.eq.1,)", 11, "\")\"", start),
            ("(a.eq)", 8, "\")\"", operator),
            ("(a.eq(some).{1})", 9, "\"s\"", operator),
            ("(a.fts().x)", 10, "\")\"", operator),
            ("(a.in(1))", 8, "\"(\"", operator),
            ("(a.in.1,2,b.eq.3)", 9, "\"1\"", "\"(\""),
            ("(a.in.(1,2", 13, "end of input", "\",\" or \")\""),
            ("(a.is.nope)", 11, "\"p\"", "isVal: (null, not_null, true, false, unknown)"),
            ("(ord(a.eq.1),b.eq.2)", 6, "\"d\"", "\"(\""),
            ("(ox.a)", 4, "\"x\"", "\"or\""),
            ("(a.eq.1,not.xor(a.eq.2,a.eq.3))", 15, "\"x\"", word),
            ("(not.a.eq.1)", 8, "\"a\"", word),
            ("(and,a.eq.1)", 7, "\",\"", "\"(\""),
        ] {
            let error = logic("or", text).unwrap_err();
            assert_eq!(error.details, format!("unexpected {found} expecting {expected}"), "{text}");
            let place = format!("\"failed to parse logic tree ({text})\" (line 1, column {column})");
            assert_eq!(error.message, place);
        }
        let deep = format!("{}a.eq.1{}", "(or".repeat(100), ")".repeat(100));
        assert!(logic("or", &deep).is_err());
    }
}
