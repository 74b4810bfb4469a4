//! The name that was probably meant, for hints.

/// Letters that names must have in common in a row: three, and if no name has that, two.
const GRAMS: [usize; 2] = [3, 2];
/// How alike a name must be (0 to 1).
const MIN_ALIKE: f64 = 0.33;

/// The most alike of `names`.
pub(super) fn closest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    ranked(names, wanted).first().map(|(_, name)| *name)
}

/// The same, but nothing when the very name is among them.
pub(super) fn closest_other<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    ranked(names, wanted).into_iter().find(|(alike, _)| *alike < 1.0).map(|(_, name)| name)
}

/// The alike names, the best first, each with how alike it is.
fn ranked<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Vec<(f64, &'a str)> {
    let names: Vec<(&str, String)> = names.map(|name| (name, name.to_lowercase())).collect();
    let normal = wanted.to_lowercase();
    if let Some((name, _)) = names.iter().find(|(_, own)| *own == normal) {
        return vec![(1.0, name)];
    }
    for size in GRAMS {
        let wanted = grams(&normal, size);
        let shares = |own: &str| grams(own, size).iter().any(|gram| wanted.contains(gram));
        let near = names.iter().filter(|(_, own)| shares(own));
        let mut found: Vec<(f64, &str)> = near
            .map(|(name, own)| (alike(own, &normal), *name))
            .filter(|(alike, _)| *alike >= MIN_ALIKE)
            .collect();
        if !found.is_empty() {
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            return found;
        }
    }
    Vec::new()
}

fn grams(text: &str, size: usize) -> Vec<Vec<char>> {
    let inner = text.chars().filter(|c| c.is_alphanumeric() || " ,".contains(*c));
    let mut padded: Vec<char> = std::iter::once('-').chain(inner).chain(['-']).collect();
    while padded.len() < size {
        padded.push('-');
    }
    padded.windows(size).map(<[char]>::to_vec).collect()
}

/// One less the share of letters that must be changed, added or dropped.
fn alike(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let longest = a.len().max(b.len()).max(1);
    #[expect(clippy::cast_precision_loss, reason = "names are short")]
    let share = distance(&a, &b) as f64 / longest as f64;
    1.0 - share
}

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
        assert_eq!(closest_other(["roles", "role"].into_iter(), "role"), None);
        assert_eq!(closest_other(["roles", "actors"].into_iter(), "role"), Some("roles"));
        let lists = || ["(name, param, val)", "(attr, id)"].into_iter();
        assert_eq!(closest(lists(), "(nam, pqaram, vall)"), Some("(name, param, val)"));
        assert_eq!(closest(lists(), "(id)"), Some("(attr, id)"));
        assert_eq!(closest(lists(), "(noclosealternative)"), None);
    }
}
