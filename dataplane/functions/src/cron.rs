//! Schedules: five fields of cron, in UTC.

use chrono::{DateTime, Datelike, Days, NaiveTime, Utc};

/// A rule that is never met within this time has no next run (February 30).
const DAYS_MAX: u64 = 366 * 8 + 3;
const MINUTES_OF_DAY: u32 = 24 * 60;

/// Minute, hour, day of month, month and day of week, each `*`, numbers, ranges and steps, separated by commas.
///
/// Where both days are narrowed, either is enough, as cron has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// Minutes of the day, sorted.
    times: Vec<u32>,
    days: Vec<u32>,
    months: Vec<u32>,
    /// Sunday is 0.
    weekdays: Vec<u32>,
    /// A day of the month and a day of the week are both named.
    either_day: bool,
}

impl Cron {
    /// None when the text is no schedule.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
        let (minutes, hours) = (set(minute, 0, 59)?, set(hour, 0, 23)?);
        let mut weekdays: Vec<u32> = set(weekday, 0, 7)?.into_iter().map(|day| day % 7).collect();
        weekdays.sort_unstable();
        weekdays.dedup();
        Some(Self {
            times: hours.iter().flat_map(|h| minutes.iter().map(move |m| h * 60 + m)).collect(),
            days: set(day, 1, 31)?,
            months: set(month, 1, 12)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// The shortest time between two runs in minutes, at most a day.
    pub fn interval_minutes(&self) -> u32 {
        let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else {
            return MINUTES_OF_DAY;
        };
        // Over midnight, as if it ran on the next day too.
        let wrap = MINUTES_OF_DAY - last + first;
        let within = self.times.windows(2).map(|pair| pair[1] - pair[0]).min();
        within.map_or(wrap, |gap| gap.min(wrap))
    }

    /// The first run later than `after`; none when there is none within eight years.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first = after.date_naive();
        (0..DAYS_MAX).find_map(|ahead| {
            let day = first.checked_add_days(Days::new(ahead))?;
            if !self.falls_on(&day) {
                return None;
            }
            self.times.iter().find_map(|minute| {
                let time = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0)?;
                Some(day.and_time(time).and_utc()).filter(|at| *at > after)
            })
        })
    }

    fn falls_on(&self, day: &impl Datelike) -> bool {
        let date = self.days.contains(&day.day());
        let weekday = self.weekdays.contains(&day.weekday().num_days_from_sunday());
        let fits = if self.either_day { date || weekday } else { date && weekday };
        self.months.contains(&day.month()) && fits
    }
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
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_run_is_found_over_days_months_and_years() {
        for (cron, after, next) in [
            ("*/15 * * * *", "2026-11-26T10:07:30Z", "2026-11-26T10:15:00Z"),
            ("*/15 * * * *", "2026-11-26T10:15:00Z", "2026-11-26T10:30:00Z"),
            ("0 3 * * *", "2026-11-26T03:00:00Z", "2026-11-27T03:00:00Z"),
            ("30 23 31 * *", "2026-11-26T00:00:00Z", "2026-12-31T23:30:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 9 * * 1", "2026-11-26T00:00:00Z", "2026-11-30T09:00:00Z"),
            ("0 9 * * 7", "2026-11-26T00:00:00Z", "2026-11-29T09:00:00Z"),
            // Either day is enough when both are named.
            ("0 0 1 * 5", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"),
        ] {
            assert_eq!(Cron::parse(cron).unwrap().next_after(at(after)), Some(at(next)), "{cron}");
        }
        // F-rows: a day that never comes.
        assert_eq!(Cron::parse("0 0 31 2 *").unwrap().next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn what_is_no_schedule_is_none() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@daily",
        ] {
            assert_eq!(Cron::parse(bad), None, "{bad}");
        }
        assert_eq!(Cron::parse("0,5 * * * *").unwrap().interval_minutes(), 5);
    }
}
