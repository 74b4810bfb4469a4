//! `column=[not.]operator.value`.

use super::cursor::{Cursor, Parsed};
use super::{Field, Filter, Is, Op, Path, Quantifier};

const OPERATOR: &str = "operator (eq, gt, ...)";

/// Operators that may be quantified, longer names first; the flag says that `*` stands for any text.
const QUANTIFIED: [(&str, &str, bool); 9] = [
    ("gte", ">=", false),
    ("gt", ">", false),
    ("lte", "<=", false),
    ("lt", "<", false),
    ("eq", "=", false),
    ("ilike", "ilike", true),
    ("like", "like", true),
    ("imatch", "~*", false),
    ("match", "~", false),
];

const SIMPLE: [(&str, &str); 9] = [
    ("neq", "<>"),
    ("cs", "@>"),
    ("cd", "<@"),
    ("ov", "&&"),
    ("sl", "<<"),
    ("sr", ">>"),
    ("nxr", "&<"),
    ("nxl", "&>"),
    ("adj", "-|-"),
];

const SEARCHES: [(&str, &str); 4] = [
    ("plfts", "plainto_tsquery"),
    ("phfts", "phraseto_tsquery"),
    ("wfts", "websearch_to_tsquery"),
    ("fts", "to_tsquery"),
];

/// The path of a parameter's name, and the field at its end.
pub(super) fn tree_path(key: &str) -> Parsed<(Path, Field)> {
    let what = format!("failed to parse tree path ({key})");
    let mut cursor = Cursor::new(key, &what);
    let mut names = vec![cursor.name()?];
    while cursor.takes(".") {
        names.push(cursor.name()?);
    }
    let path = cursor.json_path()?;
    cursor.end("delimiter (.) or end of input")?;
    // There is at least the one name read above.
    let name = names.pop().unwrap_or_default();
    Ok((names, Field { name, path }))
}

/// A whole parameter. `Err` when the value is none.
pub(super) fn filter(key: &str, value: &str) -> Parsed<(Path, Filter)> {
    let (path, field) = tree_path(key)?;
    let what = format!("failed to parse filter ({value})");
    let mut cursor = Cursor::new(value, &what);
    let (not, op) = expression(&mut cursor, |cursor| Ok(cursor.rest()))?;
    Ok((path, Filter { field, not, op }))
}

/// `[not.]operator.value`; `single` reads a value up to where it ends here.
pub(super) fn expression(
    cursor: &mut Cursor,
    single: impl Fn(&mut Cursor) -> Parsed<String>,
) -> Parsed<(bool, Op)> {
    let start = cursor.at();
    let not = cursor.takes("not.");
    let expected =
        if not || cursor.at() != start { OPERATOR.to_owned() } else { format!("\"not\" or {OPERATOR}") };
    if cursor.takes("in.") {
        return Ok((not, Op::In(list(cursor)?)));
    }
    if cursor.takes("isdistinct.") {
        return Ok((not, Op::DistinctFrom(single(cursor)?)));
    }
    if cursor.takes("is.") {
        return Ok((not, Op::Is(is(cursor)?)));
    }
    let here = cursor.at();
    for (name, function) in SEARCHES {
        if cursor.takes(name) {
            let language = parenthesised(cursor);
            if cursor.takes(".") {
                return Ok((not, Op::Search { function, language, value: single(cursor)? }));
            }
            cursor.back_to(here);
        }
    }
    for (name, sql) in SIMPLE {
        if cursor.takes(name) {
            if cursor.takes(".") {
                return Ok((not, Op::Simple(sql, single(cursor)?)));
            }
            cursor.back_to(here);
        }
    }
    for (name, sql, stars) in QUANTIFIED {
        if cursor.takes(name) {
            let quantifier = match () {
                () if cursor.takes("(any)") => Some(Quantifier::Any),
                () if cursor.takes("(all)") => Some(Quantifier::All),
                () => None,
            };
            if cursor.takes(".") {
                return Ok((not, Op::Quantified { sql, stars, quantifier, value: single(cursor)? }));
            }
            cursor.back_to(here);
        }
    }
    let deepest = names().filter_map(|name| ends_at(cursor, name)).max();
    if let Some(deepest) = deepest {
        cursor.back_to(deepest);
        return Err(cursor.fail(OPERATOR));
    }
    Err(cursor.fail_words(if not { "in" } else { "not" }, &expected))
}

/// Every operator's name.
fn names() -> impl Iterator<Item = &'static str> {
    let others = SEARCHES.map(|(name, _)| name).into_iter().chain(SIMPLE.map(|(name, _)| name));
    ["in", "is", "isdistinct"].into_iter().chain(others).chain(QUANTIFIED.map(|(name, ..)| name))
}

/// How far the text is an operator of this name with what may stand in its parentheses, when it begins with it.
fn ends_at(cursor: &mut Cursor, name: &str) -> Option<usize> {
    let here = cursor.at();
    if !cursor.takes(name) {
        return None;
    }
    let search = SEARCHES.iter().any(|(one, _)| *one == name);
    let quantified = QUANTIFIED.iter().any(|(one, ..)| *one == name);
    if (search || quantified) && cursor.takes("(") {
        let word =
            if search { cursor.identifier().is_ok() } else { cursor.takes("any") || cursor.takes("all") };
        if word {
            cursor.takes(")");
        }
    }
    let end = cursor.at();
    cursor.back_to(here);
    Some(end)
}

/// `(english)`: the language of a search.
fn parenthesised(cursor: &mut Cursor) -> Option<String> {
    let here = cursor.at();
    if cursor.takes("(")
        && let Ok(word) = cursor.identifier()
        && cursor.takes(")")
    {
        return Some(word);
    }
    cursor.back_to(here);
    None
}

fn is(cursor: &mut Cursor) -> Parsed<Is> {
    let words = [
        ("not_null", Is::NotNull),
        ("null", Is::Null),
        ("true", Is::True),
        ("false", Is::False),
        ("unknown", Is::Unknown),
    ];
    for (word, is) in words {
        if cursor.takes_in_any_case(word) {
            return Ok(is);
        }
    }
    let closest = words.iter().map(|(word, _)| cursor.matched(word)).max().unwrap_or(0);
    cursor.back_to(cursor.at() + closest);
    Err(cursor.fail("isVal: (null, not_null, true, false, unknown)"))
}

/// `(a,"b,c")`
fn list(cursor: &mut Cursor) -> Parsed<Vec<String>> {
    cursor.spaces();
    cursor.expect("(")?;
    cursor.spaces();
    let mut out = Vec::new();
    loop {
        out.push(element(cursor)?);
        if !cursor.takes(",") {
            break;
        }
    }
    cursor.expect(")").map_err(|_| cursor.fail("\",\" or \")\""))?;
    cursor.spaces();
    Ok(out)
}

/// A quoted text must end where the element does; otherwise its quotes belong to it.
fn element(cursor: &mut Cursor) -> Parsed<String> {
    let here = cursor.at();
    if cursor.peek() == Some('"')
        && let Ok(text) = cursor.quoted()
        && (cursor.done() || matches!(cursor.peek(), Some(',' | ')')))
    {
        return Ok(text);
    }
    cursor.back_to(here);
    Ok(cursor.while_(|c| c != ',' && c != ')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(value: &str) -> (bool, Op) {
        let (_, filter) = filter("a", value).unwrap();
        (filter.not, filter.op)
    }

    #[test]
    fn operators_negations_and_quantifiers() {
        let eq = |quantifier| Op::Quantified { sql: "=", stars: false, quantifier, value: "1".into() };
        assert_eq!(op("eq.1"), (false, eq(None)));
        assert_eq!(op("not.eq.1"), (true, eq(None)));
        assert_eq!(op("eq(any).1"), (false, eq(Some(Quantifier::Any))));
        assert_eq!(op("neq.x"), (false, Op::Simple("<>", "x".into())));
        assert_eq!(op("is.NULL"), (false, Op::Is(Is::Null)));
        assert_eq!(op("is.not_null"), (false, Op::Is(Is::NotNull)));
        assert_eq!(op("isdistinct.2"), (false, Op::DistinctFrom("2".into())));
        let search = Op::Search {
            function: "phraseto_tsquery",
            language: Some("english".into()),
            value: "The Fat Cats".into(),
        };
        assert_eq!(op("phfts(english).The Fat Cats"), (false, search));
    }

    #[test]
    fn lists_keep_commas_in_quotes() {
        let items = |value| match op(value).1 {
            Op::In(items) => items,
            other => panic!("{other:?}"),
        };
        assert_eq!(items(r#"in.(1,"a,b","c\"d")"#), ["1", "a,b", "c\"d"]);
        assert_eq!(items("in.()"), [""]);
        assert_eq!(items("in.(  )"), [""]);
        assert_eq!(items("in.( , b)"), ["", " b"]);
        assert_eq!(items(r#"in.("a"b,c)"#), ["\"a\"b", "c"]);
    }

    #[test]
    fn what_is_no_filter_is_told_where() {
        let error = filter("a", "noop.0").unwrap_err();
        assert_eq!(error.message, "\"failed to parse filter (noop.0)\" (line 1, column 1)");
        assert_eq!(error.details, "unexpected \"o\" expecting \"not\" or operator (eq, gt, ...)");
        assert!(filter("a", "eq5").is_err() && filter("a.", "eq.5").is_err() && filter("", "eq.5").is_err());
        assert!(filter("a", "in.(1").is_err() && filter("a", "is.maybe").is_err());
    }

    #[test]
    fn a_name_is_a_path_and_a_field() {
        let (path, field) = tree_path("clients.projects.data->a->>1").unwrap();
        assert_eq!(path, ["clients", "projects"]);
        assert_eq!((field.name.as_str(), field.path.len()), ("data", 2));
        assert_eq!(tree_path("\"a.b\"").unwrap().1.name, "a.b");
    }
}
