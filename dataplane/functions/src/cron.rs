//! Schedules: five fields of cron, in UTC or by the clocks of a place.

use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// A rule that is never met within this time has no next run (February 30).
const DAYS_MAX: u64 = 366 * 8 + 3;
const MINUTES_OF_DAY: u32 = 24 * 60;
/// No clock was ever put forward by more.
const GAP_MINUTES_MAX: i64 = 2 * 24 * 60;

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
    every_hour: bool,
    zone: Tz,
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
            every_hour: hour.starts_with('*'),
            zone: Tz::UTC,
        })
    }

    /// By the clocks of a zone of the IANA database. A time that is skipped when they are put forward comes right
    /// after, and one that comes twice when they are put back comes once, unless the hours are `*`: those go on.
    pub fn parse_in(text: &str, zone: &str) -> Option<Self> {
        Some(Self { zone: zone.parse().ok()?, ..Self::parse(text)? })
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
        let first = after.with_timezone(&self.zone).date_naive();
        (0..DAYS_MAX).find_map(|ahead| {
            let day = first.checked_add_days(Days::new(ahead))?;
            if !self.falls_on(&day) {
                return None;
            }
            if self.zone != Tz::UTC {
                return self.instants(day).into_iter().find(|at| *at > after);
            }
            // Ten thousand functions may be due at once, nearly all of them by this clock.
            let passed = self.times.partition_point(|minute| instant(day, *minute) <= after);
            self.times.get(passed).map(|minute| instant(day, *minute))
        })
    }

    /// The newest `max` runs from `from` up to `to`, both included, the oldest first.
    pub fn newest_between(&self, from: DateTime<Utc>, to: DateTime<Utc>, max: usize) -> Vec<DateTime<Utc>> {
        let on = |at: DateTime<Utc>| at.with_timezone(&self.zone).date_naive();
        let (first, mut day) = (on(from), on(to));
        let mut found: Vec<DateTime<Utc>> = Vec::new();
        while day >= first && found.len() < max {
            if self.falls_on(&day) {
                let earlier = found.last().copied();
                let fits = |at: &DateTime<Utc>| {
                    (from..=to).contains(at) && earlier.is_none_or(|earlier| *at < earlier)
                };
                found.extend(self.instants(day).into_iter().rev().filter(fits).take(max - found.len()));
            }
            let Some(before) = day.pred_opt() else { break };
            day = before;
        }
        found.reverse();
        found
    }

    /// The times of a day, sorted.
    fn instants(&self, day: NaiveDate) -> Vec<DateTime<Utc>> {
        if self.zone == Tz::UTC {
            return self.times.iter().map(|minute| instant(day, *minute)).collect();
        }
        let mut all = Vec::with_capacity(self.times.len());
        for minute in &self.times {
            let local = instant(day, *minute).naive_utc();
            let later = |minutes| local.checked_add_signed(TimeDelta::minutes(minutes));
            match self.zone.from_local_datetime(&local) {
                LocalResult::Single(at) => all.push(at.to_utc()),
                LocalResult::Ambiguous(first, second) => {
                    all.push(first.to_utc());
                    all.extend(self.every_hour.then(|| second.to_utc()));
                }
                LocalResult::None => all.extend(
                    (1..=GAP_MINUTES_MAX)
                        .find_map(|ahead| self.zone.from_local_datetime(&later(ahead)?).earliest())
                        .map(|at| at.to_utc()),
                ),
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    fn falls_on(&self, day: &impl Datelike) -> bool {
        let date = self.days.contains(&day.day());
        let weekday = self.weekdays.contains(&day.weekday().num_days_from_sunday());
        let fits = if self.either_day { date || weekday } else { date && weekday };
        self.months.contains(&day.month()) && fits
    }
}

fn instant(day: NaiveDate, minute_of_day: u32) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::minutes(i64::from(minute_of_day))
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

    // Goal: clocks that are put forward and back skip no day's run and double none.
    #[test]
    fn a_place_whose_clocks_change_has_each_time_once() {
        let next = |cron: &str, zone: &str, after: &str| {
            Cron::parse_in(cron, zone).unwrap().next_after(at(after)).unwrap()
        };
        for (cron, zone, after, expected) in [
            ("0 9 * * *", "Europe/Berlin", "2026-01-15T00:00:00Z", "2026-01-15T08:00:00Z"),
            ("0 9 * * *", "Europe/Berlin", "2026-07-15T00:00:00Z", "2026-07-15T07:00:00Z"),
            ("0 0 * * *", "Asia/Kolkata", "2026-07-15T18:30:00Z", "2026-07-16T18:30:00Z"),
            // A day of there, not of Greenwich.
            ("0 22 * * 1", "America/New_York", "2026-07-13T12:00:00Z", "2026-07-14T02:00:00Z"),
            // 02:30 is skipped on 29 March 2026 and comes twice on 25 October.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            // Every quarter of an hour goes on through both.
            ("*/15 * * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z"),
            ("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"),
            ("*/15 * * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"),
            // Samoa had no 30 December 2011.
            ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-30T10:00:00Z"),
        ] {
            assert_eq!(next(cron, zone, after), at(expected), "{cron} {zone} after {after}");
        }
        let berlin = |cron| Cron::parse_in(cron, "Europe/Berlin").unwrap();
        for (from, quarters) in
            [("2026-03-28T23:00:00Z", 92), ("2026-10-24T22:00:00Z", 100), ("2026-06-01T22:00:00Z", 96)]
        {
            let to = at(from) + TimeDelta::minutes(quarters * 15 - 1);
            let all = berlin("*/15 * * * *").newest_between(at(from), to, 1_000);
            assert_eq!(i64::try_from(all.len()).unwrap(), quarters, "{from}");
            assert!(all.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::minutes(15)), "{from}");
        }
        let year = berlin("30 2 * * *").newest_between(
            at("2026-01-01T00:00:00Z"),
            at("2026-12-31T22:00:00Z"),
            1_000,
        );
        assert_eq!(year.len(), 365);
        for bad in ["", "Europe", "Europe/Atlantis", "+01:00", "europe/berlin "] {
            assert_eq!(Cron::parse_in("* * * * *", bad), None, "{bad}");
        }
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
