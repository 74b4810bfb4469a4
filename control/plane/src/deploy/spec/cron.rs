//! Schedules: five fields, judged by the shortest time between two runs.

const DAY_MINUTES: u32 = 24 * 60;

/// The shortest time between two runs in minutes, at most a day. None when the text is no schedule: minute,
/// hour, day of month, month, day of week, each `*`, numbers, ranges and steps, separated by commas.
pub(crate) fn interval_minutes(text: &str) -> Option<u32> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
    let (minutes, hours) = (set(minute, 0, 59)?, set(hour, 0, 23)?);
    set(day, 1, 31)?;
    set(month, 1, 12)?;
    set(weekday, 0, 7)?;
    let times: Vec<u32> = hours.iter().flat_map(|h| minutes.iter().map(move |m| h * 60 + m)).collect();
    let (first, last) = (times.first()?, times.last()?);
    // Over midnight, as if it ran on the next day too.
    let wrap = DAY_MINUTES - last + first;
    let within = times.windows(2).map(|pair| pair[1] - pair[0]).min();
    Some(within.map_or(wrap, |gap| gap.min(wrap)))
}

/// The numbers of a field, sorted.
fn set(field: &str, min: u32, max: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if from < min || to > max || from > to {
            return None;
        }
        all.extend((from..=to).step_by(usize::try_from(step).ok()?));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::interval_minutes;

    #[test]
    fn the_shortest_time_between_two_runs_is_found() {
        for (text, minutes) in [
            ("* * * * *", 1),
            ("*/15 * * * *", 15),
            ("0 * * * *", 60),
            ("0 9 * * 1-5", 1440),
            ("0,10 * * * *", 10),
            ("5/20 * * * *", 20),
            ("50 * * * *", 60),
            ("0 0,23 * * *", 60),
            ("59 23 * * *", 1440),
            ("*/25 * * * *", 10),
            ("0 0 1 1 0", 1440),
        ] {
            assert_eq!(interval_minutes(text), Some(minutes), "{text}");
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@daily",
            "* * * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "* * * 13 *",
            "* * * * 8",
        ] {
            assert_eq!(interval_minutes(bad), None, "{bad}");
        }
    }
}
