//! `order=a.desc.nullslast,rel(b)`.

use super::cursor::{Cursor, Parsed};
use super::{Field, OrderTerm};

pub(super) fn order(value: &str) -> Parsed<Vec<OrderTerm>> {
    let what = format!("failed to parse order ({value})");
    let mut cursor = Cursor::new(value, &what);
    let mut out = Vec::new();
    loop {
        cursor.spaces();
        let (relation, field) = subject(&mut cursor)?;
        let (descending, nulls_first) = modifiers(&mut cursor)?;
        cursor.spaces();
        let relation_named = relation.is_some();
        out.push(OrderTerm { relation, field, descending, nulls_first });
        if cursor.takes(",") {
            continue;
        }
        let ends = "\",\" or end of input";
        cursor.end(&match (relation_named, descending, nulls_first) {
            (false, None, None) => cursor.after_field(&format!(", delimiter (.), {ends}")),
            (_, _, None) => format!("delimiter (.), {ends}"),
            _ => ends.to_owned(),
        })?;
        return Ok(out);
    }
}

fn subject(cursor: &mut Cursor) -> Parsed<(Option<String>, Field)> {
    let here = cursor.at();
    if let Ok(name) = cursor.name()
        && cursor.takes("(")
        && let Ok(field) = cursor.field()
        && cursor.takes(")")
    {
        return Ok((Some(name), field));
    }
    cursor.back_to(here);
    Ok((None, cursor.field()?))
}

fn modifiers(cursor: &mut Cursor) -> Parsed<(Option<bool>, Option<bool>)> {
    let (mut descending, mut nulls_first) = (None, None);
    while cursor.takes(".") {
        match () {
            () if descending.is_none() && nulls_first.is_none() && cursor.takes("asc") => {
                descending = Some(false)
            }
            () if descending.is_none() && nulls_first.is_none() && cursor.takes("desc") => {
                descending = Some(true)
            }
            () if nulls_first.is_none() && cursor.takes("nullsfirst") => nulls_first = Some(true),
            () if nulls_first.is_none() && cursor.takes("nullslast") => nulls_first = Some(false),
            () if descending.is_some() => {
                return Err(cursor.fail_words("nullsfirst", "\"nullsfirst\" or \"nullslast\""));
            }
            () => {
                let words = "\"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"";
                return Err(cursor.fail_words("asc", words));
            }
        }
    }
    Ok((descending, nulls_first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_with_directions_nulls_paths_and_relations() {
        let terms = order("a,b.desc.nullslast,data->>x.nullsfirst,clients(name).asc").unwrap();
        assert_eq!((terms[0].descending, terms[0].nulls_first), (None, None));
        assert_eq!((terms[1].descending, terms[1].nulls_first), (Some(true), Some(false)));
        assert_eq!((terms[2].field.path.len(), terms[2].nulls_first), (1, Some(true)));
        assert_eq!(terms[3].relation.as_deref(), Some("clients"));
    }

    #[test]
    fn unknown_modifiers_are_told() {
        let error = order("id.smth34").unwrap_err();
        assert_eq!(
            error.details,
            "unexpected \"s\" expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\""
        );
        for (text, details) in [
            ("id.ac", "unexpected \"c\" expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\""),
            ("id.descc", "unexpected 'c' expecting delimiter (.), \",\" or end of input"),
            ("id.nullslasttt", "unexpected 't' expecting \",\" or end of input"),
            ("id.asc.nlsfst", "unexpected \"l\" expecting \"nullsfirst\" or \"nullslast\""),
            (
                "clients(name,id)",
                "unexpected '(' expecting letter, digit, \"-\", \"->>\", \"->\", delimiter (.), \",\" or end of input",
            ),
            ("id.asc.", "unexpected end of input expecting \"nullsfirst\" or \"nullslast\""),
        ] {
            assert_eq!(order(text).unwrap_err().details, details, "{text}");
        }
        assert!(order("").is_err() && order("id.asc.desc").is_err() && order("id.descc").is_err());
    }
}
