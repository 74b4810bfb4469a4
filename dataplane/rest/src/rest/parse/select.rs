//! `select=a,b:c::text,rel!inner(*),...other(x)`.

use super::cursor::{Cursor, DEPTH_MAX, Parsed};
use super::{Aggregate, EmbedItem, Field, FieldItem, SelectItem};

const ENDS: &str = "\")\", \",\" or end of input";

pub(super) fn select(value: &str) -> Parsed<Vec<SelectItem>> {
    let what = format!("failed to parse select parameter ({value})");
    let mut cursor = Cursor::new(value, &what);
    // What stands behind the last item is not looked at.
    items(&mut cursor, 0)
}

fn items(cursor: &mut Cursor, depth: usize) -> Parsed<Vec<SelectItem>> {
    if depth > DEPTH_MAX {
        return Err(cursor.fail("less nesting"));
    }
    let mut out = Vec::new();
    cursor.spaces();
    if cursor.done() || depth > 0 && cursor.peek() == Some(')') {
        return Ok(out);
    }
    loop {
        out.push(item(cursor, depth)?);
        cursor.spaces();
        if !cursor.takes(",") {
            return Ok(out);
        }
    }
}

fn item(cursor: &mut Cursor, depth: usize) -> Parsed<SelectItem> {
    cursor.spaces();
    let here = cursor.at();
    if let Some(mut embed) = embed_head(cursor) {
        embed.items = items(cursor, depth + 1)?;
        cursor.expect(")").map_err(|_| cursor.fail("\",\" or \")\""))?;
        return Ok(SelectItem::Embed(embed));
    }
    cursor.back_to(here);
    Ok(SelectItem::Field(field(cursor)?))
}

/// Everything up to and with the `(` of an embedded resource; `None` when this is none.
fn embed_head(cursor: &mut Cursor) -> Option<EmbedItem> {
    let spread = cursor.takes("...");
    let alias = if spread { None } else { alias(cursor) };
    let name = cursor.name().ok()?;
    if name == "count" {
        return None;
    }
    let (mut hint, mut inner) = (None, false);
    for _ in 0..2 {
        if cursor.takes("!") {
            match cursor.name().ok()?.as_str() {
                "inner" => inner = true,
                "left" => {}
                other => hint = hint.or_else(|| Some(other.to_owned())),
            }
        }
    }
    cursor.takes("(").then_some(EmbedItem { name, alias, hint, inner, spread, items: Vec::new() })
}

/// `alias:`, but not the first half of `::`.
fn alias(cursor: &mut Cursor) -> Option<String> {
    let here = cursor.at();
    if let Ok(name) = cursor.name()
        && !cursor.sees("::")
        && cursor.takes(":")
    {
        return Some(name);
    }
    cursor.back_to(here);
    None
}

fn field(cursor: &mut Cursor) -> Parsed<FieldItem> {
    let plain = |name: &str| Field { name: name.to_owned(), path: Vec::new() };
    if cursor.takes("*") {
        ends(cursor, "")?;
        let (alias, cast, aggregate, aggregate_cast) = Default::default();
        return Ok(FieldItem { field: plain("*"), alias, cast, aggregate, aggregate_cast });
    }
    let alias = alias(cursor);
    if cursor.takes("count()") {
        let aggregate_cast = cast(cursor)?;
        ends(cursor, "")?;
        let aggregate = Some(Aggregate::Count);
        return Ok(FieldItem { field: plain("*"), alias, cast: None, aggregate, aggregate_cast });
    }
    let field = cursor.field()?;
    let value_cast = cast(cursor)?;
    let aggregate = aggregate(cursor)?;
    let second_cast = cast(cursor)?;
    let more = match () {
        () if second_cast.is_some() => "letter, digit, ".to_owned(),
        () if aggregate.is_some() => "\"::\", ".to_owned(),
        () if value_cast.is_some() => "letter, digit, \".\", \"::\", ".to_owned(),
        () => cursor.after_field(", \"::\", \".\", "),
    };
    ends(cursor, &more)?;
    // Of nothing that was put together, it means nothing.
    let aggregate_cast = second_cast.filter(|_| aggregate.is_some());
    Ok(FieldItem { field, alias, cast: value_cast, aggregate, aggregate_cast })
}

/// `more` could have gone on here.
fn ends(cursor: &mut Cursor, more: &str) -> Parsed<()> {
    cursor.spaces();
    let ended = cursor.done() || matches!(cursor.peek(), Some(',' | ')'));
    if ended { Ok(()) } else { Err(cursor.fail(&format!("{more}{ENDS}"))) }
}

fn cast(cursor: &mut Cursor) -> Parsed<Option<String>> {
    if cursor.takes("::") { cursor.identifier().map(Some) } else { Ok(None) }
}

fn aggregate(cursor: &mut Cursor) -> Parsed<Option<Aggregate>> {
    if !cursor.takes(".") {
        return Ok(None);
    }
    for one in [Aggregate::Sum, Aggregate::Avg, Aggregate::Count, Aggregate::Max, Aggregate::Min] {
        if cursor.takes(one.as_str()) {
            cursor.expect("()")?;
            return Ok(Some(one));
        }
    }
    Err(cursor.fail("\"sum\", \"avg\", \"count\", \"max\" or \"min\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_field(text: &str) -> FieldItem {
        match select(text).unwrap().as_slice() {
            [SelectItem::Field(item)] => item.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn only_embed(text: &str) -> EmbedItem {
        match select(text).unwrap().as_slice() {
            [SelectItem::Embed(item)] => item.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn columns_with_aliases_casts_paths_and_aggregates() {
        let item = only_field("fullName:data->name->>first::text");
        assert_eq!(item.alias.as_deref(), Some("fullName"));
        assert_eq!((item.field.path.len(), item.cast.as_deref()), (2, Some("text")));
        assert_eq!(only_field("salary::int").alias, None);
        let item = only_field("total:amount::numeric.sum()::text");
        assert_eq!((item.aggregate, item.aggregate_cast.as_deref()), (Some(Aggregate::Sum), Some("text")));
        assert_eq!(item.cast.as_deref(), Some("numeric"));
        assert_eq!(only_field("n:count()").aggregate, Some(Aggregate::Count));
        assert_eq!(only_field("\"a b,c\"").field.name, "a b,c");
        assert_eq!(only_field("identifier-with-dashes").field.name, "identifier-with-dashes");
    }

    #[test]
    fn embeds_with_hints_joins_and_spreads() {
        let embed = only_embed("boss:people!manager_id!inner(id, name)");
        assert_eq!(
            (embed.alias.as_deref(), embed.hint.as_deref(), embed.inner),
            (Some("boss"), Some("manager_id"), true)
        );
        assert_eq!(embed.items.len(), 2);
        assert!(only_embed("...people(name)").spread);
        assert!(only_embed("people()").items.is_empty());
        assert_eq!(only_embed("a!left(b(c(*)))").hint, None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a,", "a b(", "a(", "a!hint", "*!x", "name::", "a.foo()", "a->-x", ",", "a.sum", ")"] {
            assert!(select(text).is_err(), "{text}");
        }
        assert_eq!(select("a(b)'").unwrap().len(), 1, "what stands behind is not looked at");
        for (text, details) in [
            (
                "name!hint",
                "unexpected '!' expecting letter, digit, \"-\", \"->>\", \"->\", \"::\", \".\", \")\", \",\" or \
                 end of input",
            ),
            ("*!hint", "unexpected '!' expecting \")\", \",\" or end of input"),
            ("name::", "unexpected end of input expecting letter or digit"),
            ("a->>-78xy", "unexpected 'x' expecting digit, \"->\", \"::\", \".\", \",\" or end of input"),
            ("a->>--34", "unexpected \"-\" expecting digit"),
            ("a.foo()", "unexpected \"f\" expecting \"sum\", \"avg\", \"count\", \"max\" or \"min\""),
        ] {
            assert_eq!(select(text).unwrap_err().details, details, "{text}");
        }
        assert_eq!(only_field("a::text::int").aggregate_cast, None, "the second cast is an aggregate's");
        assert!(select("").unwrap().is_empty());
        assert!(select(&"a(".repeat(200)).is_err());
    }
}
