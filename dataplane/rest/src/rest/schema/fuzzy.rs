//! The name that was probably meant, for hints.

/// Names that share two letters in a row at least, the best first, each with how alike it is (0 to 1).
fn ranked<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Vec<(f64, &'a str)> {
    let normal = wanted.to_lowercase();
    let grams = pairs(&normal);
    let mut found: Vec<(f64, &str)> = names
        .filter(|name| pairs(&name.to_lowercase()).iter().any(|pair| grams.contains(pair)))
        .map(|name| {
            let own: Vec<char> = name.to_lowercase().chars().collect();
            let other: Vec<char> = normal.chars().collect();
            let longest = own.len().max(other.len()).max(1);
            #[expect(clippy::cast_precision_loss, reason = "names are short")]
            let alike = 1.0 - distance(&own, &other) as f64 / longest as f64;
            (alike, name)
        })
        .filter(|(alike, _)| *alike >= MIN_ALIKE)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

const MIN_ALIKE: f64 = 0.33;

/// The most alike of `names`.
pub(super) fn closest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    ranked(names, wanted).first().map(|(_, name)| *name)
}

/// The same, but not the very name.
pub(super) fn closest_other<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    ranked(names, wanted).into_iter().find(|(alike, _)| *alike < 1.0).map(|(_, name)| name)
}

fn pairs(text: &str) -> Vec<(char, char)> {
    let padded: Vec<char> =
        format!("-{text}-").chars().filter(|c| c.is_alphanumeric() || "-,".contains(*c)).collect();
    padded.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// How many letters must be changed, added or dropped.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let swapped = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = swapped.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = || ["test", "another", "films"].into_iter();
        assert_eq!(closest(names(), "testt"), Some("test"));
        assert_eq!(closest(names(), "other"), Some("another"));
        assert_eq!(closest(names(), "noclosealternative"), None);
        assert_eq!(closest_other(["roles", "role"].into_iter(), "role"), Some("roles"));
    }
}
