//! The parameters of a query string, sorted by what they mean.

use std::collections::BTreeMap;

use super::cursor::{Cursor, Parsed};
use super::{Filter, Logic, OrderTerm, Path, SelectItem, filter, logic, order, select};

/// `limit` and `offset` of one resource. A limit may be negative here; that is refused later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub limit: Option<i64>,
    pub offset: Option<i64>,
}

/// What a query string asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Empty when `select` is absent too: then it is `*`.
    pub select: Vec<SelectItem>,
    pub filters: Vec<(Path, Filter)>,
    pub logic: Vec<(Path, Logic)>,
    pub order: Vec<(Path, Vec<OrderTerm>)>,
    pub limits: BTreeMap<Path, Limits>,
    pub columns: Option<Vec<String>>,
    pub on_conflict: Option<Vec<String>>,
    /// Arguments of a function that is called by GET.
    pub params: Vec<(String, String)>,
    /// All parameters in the order of their names, encoded again.
    pub canonical: String,
}

/// Reads a query string. With `arguments`, what is no filter is an argument of a function.
///
/// # Errors
/// `PGRST100` for what cannot be read.
pub fn parse(text: &str, arguments: bool) -> Parsed<Query> {
    let pairs = pairs(text);
    let mut out = Query { canonical: canonical(&pairs), ..Query::default() };
    let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    out.select = select::select(first("select").unwrap_or("*"))?;
    out.columns = first("columns").map(|value| columns("columns", value)).transpose()?;
    out.on_conflict = first("on_conflict").map(|value| columns("on_conflict", value)).transpose()?;
    for (key, value) in &pairs {
        let last = key.rsplit('.').next().unwrap_or_default();
        match last {
            "select" | "columns" | "on_conflict" if key == last => {}
            "and" | "or" => out.logic.push(logic::logic(key, value)?),
            "order" => {
                let path = filter::tree_path(key)?.0;
                // The same parameter again adds to it.
                match out.order.iter_mut().find(|(one, _)| *one == path) {
                    Some((_, terms)) => terms.extend(order::order(value)?),
                    None => out.order.push((path, order::order(value)?)),
                }
            }
            "limit" => out.limits.entry(filter::tree_path(key)?.0).or_default().limit = value.parse().ok(),
            "offset" => {
                let offset = value.parse().ok().filter(|offset| *offset >= 0);
                out.limits.entry(filter::tree_path(key)?.0).or_default().offset = offset;
            }
            _ if arguments => match filter::filter(key, value) {
                Ok(found) => out.filters.push(found),
                Err(_) => out.params.push((filter::tree_path(key)?.1.name, value.clone())),
            },
            _ => out.filters.push(filter::filter(key, value)?),
        }
    }
    Ok(out)
}

fn columns(name: &str, value: &str) -> Parsed<Vec<String>> {
    let what = format!("failed to parse {name} parameter ({value})");
    let mut cursor = Cursor::new(value, &what);
    let mut out = Vec::new();
    loop {
        cursor.spaces();
        let column = cursor.name()?;
        if !out.contains(&column) {
            out.push(column);
        }
        cursor.spaces();
        if !cursor.takes(",") {
            break;
        }
    }
    cursor.end("\",\" or end of input")?;
    Ok(out)
}

/// Decodes `a=b&c`; a parameter without `=` says nothing and is dropped.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn canonical(pairs: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let encoded = sorted.iter().map(|(k, v)| format!("{}={}", percent_encode(k), percent_encode(v)));
    encoded.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sorted_by_their_meaning() {
        let query = parse(
            "select=a,b(c)&a=eq.1&b.c=gt.2&or=(a.eq.1,a.eq.2)&order=a&order=c.desc&b.limit=3&offset=4",
            false,
        );
        let query = query.unwrap();
        assert_eq!((query.select.len(), query.filters.len(), query.logic.len()), (2, 2, 1));
        assert_eq!(query.order[0].1.len(), 2, "repeats add up");
        assert_eq!(query.limits[&vec!["b".to_owned()]].limit, Some(3));
        assert_eq!(query.limits[&Vec::new()].offset, Some(4));
    }

    #[test]
    fn plus_and_percent_are_decoded_and_the_rest_is_data() {
        let query = parse("name=eq.a%2Bb+c%zz&select=%2A", false).unwrap();
        assert!(format!("{:?}", query.filters).contains("a+b c%zz"));
        assert_eq!(query.canonical, "name=eq.a%2Bb%20c%25zz&select=%2A");
    }

    #[test]
    fn arguments_are_what_no_operator_starts() {
        let query = parse("a=1&b=eq.2&c=x.y&select=*", true).unwrap();
        assert_eq!(query.params, [("a".to_owned(), "1".to_owned()), ("c".to_owned(), "x.y".to_owned())]);
        assert_eq!(query.filters.len(), 1);
        assert!(parse("a=1", false).is_err());
    }
}
