//! What publishers say of a version: bounded, and nothing that a terminal or a page would obey.

use store::apps::VersionChange;
use types::Problem;

use super::bad;

const DESCRIPTION_CHARS_MAX: usize = 2_000;
const TAGS_MAX: usize = 20;
const TAG_CHARS_MAX: usize = 50;

/// Sorted, each once.
///
/// # Errors
/// `BAD_VERSION`.
pub(super) fn tags(given: Vec<String>) -> Result<Vec<String>, Problem> {
    let mut tags: Vec<String> = given.into_iter().map(|tag| tag.trim().to_owned()).collect();
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(bad("tags", "at most 20 are allowed"));
    }
    let is_tag =
        |tag: &String| (1..=TAG_CHARS_MAX).contains(&tag.chars().count()) && tag.chars().all(is_plain);
    if !tags.iter().all(is_tag) {
        return Err(bad("tags", "each has 1 to 50 characters, none of them a control character"));
    }
    Ok(tags)
}

/// # Errors
/// `BAD_VERSION`.
pub(super) fn checked(change: VersionChange) -> Result<VersionChange, Problem> {
    let description = change.description.map(|text| text.map(description).transpose()).transpose()?;
    let tags = change.tags.map(tags).transpose()?;
    Ok(VersionChange { description, tags, ..change })
}

pub(super) fn description(text: String) -> Result<String, Problem> {
    let plain = |c: char| is_plain(c) || matches!(c, '\n' | '\t');
    if text.chars().count() <= DESCRIPTION_CHARS_MAX && text.chars().all(plain) {
        return Ok(text);
    }
    Err(bad("description", "at most 2000 characters are allowed, none of them a control character"))
}

/// Control characters move cursors, and those that turn the direction of writing make one text look like another.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_bounded_set_of_plain_words() {
        let read = |list: &[&str]| tags(list.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(read(&["todo", " crm ", "todo", "ünï"]).unwrap(), ["crm", "todo", "ünï"]);
        assert!(read(&["'; drop table x; --", "<b>", "a b"]).is_ok(), "they are only ever data");
        for tag in ["", "  ", "a\u{0}", "a\nb", "\u{202e}evil", &"x".repeat(51)] {
            assert!(read(&[tag]).is_err(), "{tag:?}");
        }
        let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        assert!(tags(many).is_err());
    }

    #[test]
    fn a_description_may_have_lines_and_no_commands_of_terminals() {
        assert!(description("two\nlines".into()).is_ok());
        assert!(description("\u{1b}[2J".into()).is_err());
        assert!(description("x".repeat(2_001)).is_err());
    }
}
