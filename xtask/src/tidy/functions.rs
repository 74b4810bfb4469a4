//! Finds functions and counts their lines by matching braces, blind to those in literals and comments.

/// A function with a body.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// Where its `fn` stands, from 1.
    pub line: usize,
    /// From that line to the closing brace, both included.
    pub lines: usize,
}

/// Every function before the file's test module.
pub fn list(text: &str) -> Vec<Function> {
    let code = blank_literals(text);
    let mut functions = Vec::new();
    let mut at = 0;
    while let Some(found) = code[at..].find("fn ") {
        let start = at + found;
        at = start + 3;
        if code[..start].contains("#[cfg(test)]") {
            break;
        }
        let joined = code[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        if joined {
            continue;
        }
        let Some(end) = body_end(&code[start..]) else { continue };
        let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
        let name: String = code[at..].trim_start().chars().take_while(is_name).collect();
        if name.is_empty() {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let lines = code[start..start + end].matches('\n').count() + 1;
        functions.push(Function { name, line, lines });
    }
    functions
}

/// The offset just past the body's closing brace; none for a declaration that ends in `;`.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (offset, character) in code.char_indices() {
        match character {
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(offset + 1);
                }
            }
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            // Not the semicolon of an array type in the signature.
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The same text with comments, strings and character literals turned to spaces; line breaks stay.
fn blank_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = literal_length(rest, out.chars().next_back());
        if length == 0 {
            out.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// How many bytes from here are a comment or a literal; 0 when none starts here.
fn literal_length(rest: &str, before: Option<char>) -> usize {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    if rest.starts_with('"') {
        return quoted_length(rest);
    }
    let word_before = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !word_before && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            return until(2 + hashes, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if rest.starts_with('\'') { character_length(rest) } else { 0 }
}

fn quoted_length(rest: &str) -> usize {
    let mut escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'` and `'\n'` are literals; `'a` in `&'a str` is a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_fn_to_its_brace() {
        let text =
            "struct A;\n\npub async fn first(\n    a: [u8; 3],\n) {\n    let x = 1;\n}\nfn second() {}\n";
        let first = Function { name: "first".into(), line: 3, lines: 5 };
        let second = Function { name: "second".into(), line: 8, lines: 1 };
        assert_eq!(list(text), [first, second]);
    }

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        let text = "fn a<'x>(s: &'x str) {\n  // }\n  let _ = ('}', \"}\", r#\"}\"#, '\\'', '\\u{7d}');\n}\n";
        assert_eq!(list(text), [Function { name: "a".into(), line: 1, lines: 4 }]);
    }

    #[test]
    fn declarations_without_a_body_are_skipped() {
        assert!(list("trait T {\n    fn declared(&self) -> [u8; 2];\n}\n").is_empty());
    }
}
