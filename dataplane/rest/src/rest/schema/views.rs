//! Which columns of tables the columns of a view come from, read from the stored form of its query.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Table;

/// A view's column and where it comes from, after looking through views under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub view: String,
    pub view_column: String,
    pub table: String,
    pub column: String,
}

/// More levels than any schema has: ends the search in a cycle.
const LEVELS_MAX: usize = 20;

/// `rows`: object id and stored query of every view.
pub(super) fn sources(
    rows: &[Value],
    names: &BTreeMap<i64, String>,
    numbered: &BTreeMap<(i64, i64), String>,
) -> Vec<Source> {
    // (view, column number) to (relation, column number) right under it.
    let mut under: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for row in rows {
        let view = row[0].as_i64().unwrap_or(0);
        for entry in targets(row[1].as_str().unwrap_or_default()) {
            under.insert((view, entry.number), (entry.table, entry.column));
        }
    }
    let mut out = Vec::new();
    for (top, first) in &under {
        let mut end = *first;
        for _ in 0..LEVELS_MAX {
            match under.get(&end) {
                Some(next) => end = *next,
                None => break,
            }
        }
        let (Some(view), Some(view_column)) = (names.get(&top.0), numbered.get(top)) else { continue };
        let (Some(table), Some(column)) = (names.get(&end.0), numbered.get(&end)) else { continue };
        out.push(Source {
            view: view.clone(),
            view_column: view_column.clone(),
            table: table.clone(),
            column: column.clone(),
        });
    }
    out
}

/// A view has its table's primary key if it shows all of it.
pub(super) fn primary_keys(tables: &mut BTreeMap<String, Table>, sources: &[Source]) {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (name, _) in tables.iter().filter(|(_, table)| table.is_view) {
        let own: Vec<&Source> = sources.iter().filter(|source| source.view == *name).collect();
        let mut bases: Vec<&str> = own.iter().map(|source| source.table.as_str()).collect();
        bases.sort_unstable();
        bases.dedup();
        let mut key = Vec::new();
        for base in bases {
            let Some(table) = tables.get(base) else { continue };
            let shown: Vec<Option<&&Source>> = table
                .primary_key
                .iter()
                .map(|column| own.iter().find(|source| source.table == base && source.column == *column))
                .collect();
            if shown.iter().all(Option::is_some) {
                key.extend(shown.into_iter().flatten().map(|source| source.view_column.clone()));
            }
        }
        found.push((name.clone(), key));
    }
    for (name, key) in found {
        if let Some(table) = tables.get_mut(&name) {
            table.primary_key = key;
        }
    }
}

/// One entry of the outermost target list.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    number: i64,
    table: i64,
    column: i64,
}

/// Walks the node text `({QUERY ... :targetList ({TARGETENTRY ...} ...) ...})` by its braces. Only entries
/// of the outermost query count: those of sub-queries stand deeper.
fn targets(text: &str) -> Vec<Target> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    let mut out = Vec::new();
    let mut entry: Option<[i64; 3]> = None;
    while let Some(byte) = bytes.get(at) {
        match byte {
            // An escaped character of a name.
            b'\\' => at += 1,
            b'{' => {
                depth += 1;
                if depth == 2 && text[at..].starts_with("{TARGETENTRY") {
                    entry = Some([0; 3]);
                }
            }
            b'}' => {
                if depth == 2
                    && let Some([number, table, column]) = entry.take()
                    && table > 0
                    && column > 0
                {
                    out.push(Target { number, table, column });
                }
                depth = depth.saturating_sub(1);
            }
            b':' if depth == 2 => {
                if let Some(entry) = &mut entry {
                    for (i, name) in [":resno ", ":resorigtbl ", ":resorigcol "].into_iter().enumerate() {
                        if let Some(rest) = text[at..].strip_prefix(name) {
                            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                            entry[i] = digits.parse().unwrap_or(0);
                        }
                    }
                }
            }
            _ => {}
        }
        at += 1;
        while at < bytes.len() && !text.is_char_boundary(at) {
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_target_list_counts() {
        let inner = "{SUBLINK :subselect {QUERY :targetList ({TARGETENTRY :expr {VAR} :resno 1 :resorigtbl 9 \
                     :resorigcol 9})}}";
        let text = format!(
            "({{QUERY :rtable ({{RANGETBLENTRY :x \\}}}}) :targetList ({{TARGETENTRY :expr {inner} :resno 1 :resname a \
             :ressortgroupref 0 :resorigtbl 0 :resorigcol 0 :resjunk false}} {{TARGETENTRY :expr {{VAR :varno 1}} \
             :resno 2 :resname b :resorigtbl 42 :resorigcol 3 :resjunk false}}) :x <>}})"
        );
        assert_eq!(targets(&text), [Target { number: 2, table: 42, column: 3 }]);
    }

    #[test]
    fn views_on_views_lead_to_the_table() {
        let names = BTreeMap::from([(1, "t".to_owned()), (2, "v".to_owned()), (3, "w".to_owned())]);
        let numbered = BTreeMap::from([
            ((1, 1), "id".to_owned()),
            ((2, 1), "vid".to_owned()),
            ((3, 1), "wid".to_owned()),
        ]);
        let entry = |table: i64| {
            format!("({{QUERY :targetList ({{TARGETENTRY :resno 1 :resorigtbl {table} :resorigcol 1}})}})")
        };
        let rows = [serde_json::json!([2, entry(1)]), serde_json::json!([3, entry(2)])];
        let found = sources(&rows, &names, &numbered);
        let of = |view: &str| found.iter().find(|source| source.view == view).unwrap();
        assert_eq!((of("w").table.as_str(), of("w").column.as_str()), ("t", "id"));
        assert_eq!(of("v").view_column, "vid");
    }
}
