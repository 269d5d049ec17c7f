//! Cadences: the ticks that follow from a rule and a moment. Pure: no database, and no clock.
//!
//! # Daylight saving time
//!
//! A cron expression is read in a time zone, whose clocks skip some times and show others twice.
//!
//! - An expression that names hours (`0 3 * * *`, `30 2,14 * * 1-5`, `*/10 9-17 * * *`) means times
//!   of day, and each happens **once a day**: a time that is skipped happens at the first moment
//!   after the gap (and several that are skipped happen there together, as one tick); a time that
//!   is shown twice happens the first time.
//! - An expression that allows every hour (`*/15 * * * *`, `30 * * * *`) means time that passes: it
//!   ticks **whenever the clock shows a time that matches**, so not in a gap, and both times in an
//!   overlap.
//!
//! Days without a change of the clock make no difference between the two. An interval knows no
//! time zone: it divides the time since 1970-01-01T00:00:00Z, so `1h` ticks on the hour in UTC and
//! `7d` on Thursdays at midnight, whoever computes it and since when.
//!
//! Why not the rules of the cron library: there, an expression counts as times of day only if it
//! has a single one, so that `0 2,14 * * *` would lose its 02:00 in spring and have it twice in
//! autumn.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use time::OffsetDateTime;

use super::crontab::{shortened, standard};

/// The longest cron expression.
pub const MAX_EXPRESSION_CHARS: usize = 200;

/// The shortest and the longest interval.
pub const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

const HOURS_OF_A_DAY: usize = 24;

/// The reason that a cadence was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CadenceError {
    /// The expression cannot be read.
    #[error(
        "{expression:?} is no cron expression ({reason}); it has five fields, as in \
         '0 3 * * 1-5': minute hour day-of-month month day-of-week, and may have one of seconds \
         before them"
    )]
    Expression {
        /// As given.
        expression: String,
        /// The reason.
        reason: String,
    },
    /// The expression can be read, and no moment matches it.
    #[error("{0:?} never comes: no moment of the next centuries matches it")]
    Never(String),
    /// No time zone has this name.
    #[error(
        "there is no time zone {0:?}; give a name of the IANA database, as Europe/Paris or UTC"
    )]
    TimeZone(String),
    /// An interval that is too short, too long, or not of whole seconds.
    #[error("an interval has whole seconds, from one second to 366 days, not {0:?}")]
    Interval(Duration),
}

/// The rule by which a schedule ticks.
#[derive(Clone, PartialEq, Debug)]
pub enum Cadence {
    /// At the times of a cron expression in a time zone.
    Cron(CronCadence),
    /// At every multiple of an interval since 1970-01-01T00:00:00Z.
    Every(Interval),
}

/// An interval of whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval(i64);

/// A cron expression in a time zone.
#[derive(Clone, PartialEq, Debug)]
pub struct CronCadence {
    expression: String,
    cron: Box<Cron>,
    time_zone: TimeZone,
    time_zone_name: String,
    meaning: Meaning,
}

/// The meaning of an expression when the clocks change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    /// Each time that is named happens once a day.
    TimesOfDay,
    /// Whenever the clock shows a time that matches.
    PassingTime,
}

impl Cadence {
    /// The times of a cron expression, in a time zone of the IANA database.
    ///
    /// Five fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday), or six with
    /// seconds before them; `*`, lists, ranges, steps (`*/5`), names (`MON`, `jan`), `L` (last),
    /// `W` (nearest weekday), `#` (nth weekday), and `@hourly`, `@daily`, `@midnight`, `@weekly`,
    /// `@monthly`, `@yearly`, `@annually`. If both days are restricted either may match; where one
    /// of them begins with `*`, as `*/2`, or with `+` before the day of week, both must.
    ///
    /// # Errors
    ///
    /// [`CadenceError`], which says what is wrong.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, CadenceError> {
        let cadence = CronCadence::new(expression, time_zone)?;
        // Somewhere in the leap years of four centuries, which is when the calendar repeats.
        if cadence.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(CadenceError::Never(cadence.expression));
        }
        Ok(Self::Cron(cadence))
    }

    /// Every so often: whole seconds, within [`INTERVALS`].
    ///
    /// # Errors
    ///
    /// [`CadenceError::Interval`].
    pub fn every(interval: Duration) -> Result<Self, CadenceError> {
        let is_whole = interval.subsec_nanos() == 0;
        match i64::try_from(interval.as_secs()) {
            Ok(secs) if is_whole && INTERVALS.contains(&interval) => {
                Ok(Self::Every(Interval(secs)))
            }
            _ => Err(CadenceError::Interval(interval)),
        }
    }

    /// One that was stored as its [`expression`](Self::expression) or its
    /// [`interval_secs`](Self::interval_secs).
    pub(super) fn stored(
        expression: Option<&str>,
        interval_secs: Option<i64>,
        time_zone: &str,
    ) -> Result<Self, CadenceError> {
        let secs = interval_secs.and_then(|secs| u64::try_from(secs).ok()).unwrap_or(0);
        match expression {
            Some(expression) => Self::cron(expression, time_zone),
            None => Self::every(Duration::from_secs(secs)),
        }
    }

    /// The first tick after this moment. None when there is none in the years that can be told,
    /// which end in 4999.
    pub fn next_after(&self, moment: OffsetDateTime) -> Option<OffsetDateTime> {
        let moment = to_timestamp(moment)?;
        let next = match self {
            Self::Cron(cron) => cron.next_after(moment)?,
            Self::Every(interval) => interval.next_after(moment)?,
        };
        to_time(next)
    }

    /// The ticks after this moment, in order, without end.
    pub fn ticks_after(&self, moment: OffsetDateTime) -> impl Iterator<Item = OffsetDateTime> {
        std::iter::successors(self.next_after(moment), |tick| self.next_after(*tick))
    }

    /// The ticks after `since` and up to `until`, in order.
    pub fn ticks_between(
        &self,
        since: OffsetDateTime,
        until: OffsetDateTime,
    ) -> impl Iterator<Item = OffsetDateTime> {
        self.ticks_after(since).take_while(move |tick| *tick <= until)
    }

    /// The last ticks after `since` and up to `until`, in order, at most `limit`.
    ///
    /// It takes time in proportion to `limit`, not to the ticks that there are: a schedule of every
    /// second may have missed millions.
    pub fn latest_between(
        &self,
        since: OffsetDateTime,
        until: OffsetDateTime,
        limit: usize,
    ) -> Vec<OffsetDateTime> {
        let mut found = Vec::new();
        // From the latest part to the earliest; parts without a tick cost one step, and those with
        // too many are halved.
        let mut parts = vec![(since, until)];
        while let Some((since, until)) = parts.pop() {
            if found.len() >= limit {
                break;
            }
            if self.next_after(since).is_none_or(|tick| tick > until) {
                continue;
            }
            let length = until - since;
            if length.whole_seconds() <= limit.max(1) as i64 {
                let ticks: Vec<_> = self.ticks_between(since, until).collect();
                found.extend(ticks.into_iter().rev());
            } else {
                let middle = since + length / 2;
                parts.push((since, middle));
                parts.push((middle, until));
            }
        }
        found.truncate(limit);
        found.reverse();
        found
    }

    /// The name of the time zone that the ticks are told in; UTC for an interval.
    pub fn time_zone(&self) -> &str {
        match self {
            Self::Cron(cron) => &cron.time_zone_name,
            Self::Every(_) => "UTC",
        }
    }

    /// This moment as clocks of the time zone show it.
    pub fn local(&self, moment: OffsetDateTime) -> OffsetDateTime {
        let Self::Cron(cron) = self else { return moment.to_offset(time::UtcOffset::UTC) };
        let offset = to_timestamp(moment).map(|moment| cron.time_zone.to_offset(moment));
        let offset =
            offset.and_then(|offset| time::UtcOffset::from_whole_seconds(offset.seconds()).ok());
        moment.to_offset(offset.unwrap_or(time::UtcOffset::UTC))
    }

    /// The expression, if it is one.
    pub(super) fn expression(&self) -> Option<&str> {
        match self {
            Self::Cron(cron) => Some(&cron.expression),
            Self::Every(_) => None,
        }
    }

    /// The seconds of the interval, if it is one.
    pub(super) fn interval_secs(&self) -> Option<i64> {
        match self {
            Self::Cron(_) => None,
            Self::Every(interval) => Some(interval.0),
        }
    }
}

/// `0 3 * * *` or `every 15m`.
impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => f.write_str(&cron.expression),
            Self::Every(interval) => {
                let interval = Duration::from_secs(interval.0.unsigned_abs());
                write!(f, "every {}", humantime::format_duration(interval))
            }
        }
    }
}

impl Interval {
    fn next_after(self, moment: Timestamp) -> Option<Timestamp> {
        let secs = moment.as_microsecond().div_euclid(1_000_000);
        let next = secs.div_euclid(self.0).checked_add(1)?.checked_mul(self.0)?;
        Timestamp::from_second(next).ok()
    }
}

impl CronCadence {
    fn new(expression: &str, time_zone: &str) -> Result<Self, CadenceError> {
        let expression = expression.trim();
        let given = expression;
        let invalid =
            |reason: String| CadenceError::Expression { expression: shortened(given), reason };
        if expression.chars().count() > MAX_EXPRESSION_CHARS {
            return Err(invalid(format!("more than {MAX_EXPRESSION_CHARS} characters")));
        }
        let expression = &standard(expression).map_err(invalid)?;
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| invalid(error.to_string()))?;
        let every_hour = cron.pattern.hours.values().len() == HOURS_OF_A_DAY;
        let zone = TimeZone::get(time_zone)
            .ok()
            // Which is a name of the database, too.
            .filter(|zone| !zone.is_unknown())
            .ok_or_else(|| CadenceError::TimeZone(shortened(time_zone)))?;
        Ok(Self {
            expression: given.to_owned(),
            cron: Box::new(cron),
            // As the database spells it.
            time_zone_name: zone.iana_name().unwrap_or(time_zone).to_owned(),
            time_zone: zone,
            meaning: if every_hour { Meaning::PassingTime } else { Meaning::TimesOfDay },
        })
    }

    fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self.meaning {
            Meaning::TimesOfDay => self.next_time_of_day(moment),
            Meaning::PassingTime => self.next_that_clocks_show(moment),
        }
    }

    /// A time of day happens when the clock first shows it, or a later one. That never runs
    /// backwards, so what happens after `moment` is later than what the clock shows at `moment`.
    fn next_time_of_day(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut civil = self.time_zone.to_datetime(moment);
        loop {
            civil = self.next_match(civil, Bound::Exclusive)?;
            let happens_at = self.first_reached(civil)?;
            // Not so for what the clock shows a second time.
            if happens_at > moment {
                return Some(happens_at);
            }
        }
    }

    fn first_reached(&self, civil: DateTime) -> Option<Timestamp> {
        match self.time_zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // By the clock of after the gap, it lies before the moment of the change.
                let before_the_gap = after.to_timestamp(civil).ok()?;
                let change = self.time_zone.following(before_the_gap).next()?;
                Some(change.timestamp())
            }
        }
    }

    /// Between two changes of the clock, what it shows runs as time does: so each stretch is
    /// searched by itself.
    fn next_that_clocks_show(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut from = moment;
        let mut bound = Bound::Exclusive;
        loop {
            let offset = self.time_zone.to_offset(from);
            let civil = self.next_match(offset.to_datetime(from), bound)?;
            let candidate = offset.to_timestamp(civil).ok()?;
            match self.time_zone.following(from).next() {
                Some(change) if change.timestamp() <= candidate => {
                    from = change.timestamp();
                    bound = Bound::Inclusive;
                }
                _ => return Some(candidate),
            }
        }
    }

    /// The first time at or after this one that matches, on a clock that never changes.
    fn next_match(&self, civil: DateTime, bound: Bound) -> Option<DateTime> {
        let inclusive = bound == Bound::Inclusive;
        self.cron.find_next_occurrence(&civil, inclusive).ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Inclusive,
    Exclusive,
}

/// To the microsecond, as PostgreSQL has it.
fn to_timestamp(moment: OffsetDateTime) -> Option<Timestamp> {
    let micros = moment.unix_timestamp_nanos().div_euclid(1000);
    Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
}

fn to_time(moment: Timestamp) -> Option<OffsetDateTime> {
    let nanos = i128::from(moment.as_microsecond()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::civil::DateTime;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    const ZONES: [&str; 5] =
        ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];

    fn at(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    }

    /// The first ticks after a moment, as clocks there show them.
    fn ticks(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cadence = Cadence::cron(expression, zone).unwrap();
        let ticks = cadence.ticks_after(at(after)).take(count);
        ticks.map(|tick| cadence.local(tick).format(&Rfc3339).unwrap()).collect()
    }

    fn day_of(expression: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        let cadence = Cadence::cron(expression, zone).unwrap();
        let ticks = cadence.ticks_between(at(from), at(until));
        ticks.map(|tick| cadence.local(tick).format(&Rfc3339).unwrap()).collect()
    }

    #[test]
    fn a_time_of_day_that_is_skipped_happens_at_the_first_moment_after_the_gap() {
        // 02:00 to 03:00 do not exist on this day.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Paris", "2027-03-27T00:00:00Z", 3),
            ["2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]
        );
        assert_eq!(
            ticks("30 2 * * *", "America/New_York", "2027-03-13T12:00:00Z", 2),
            ["2027-03-14T03:00:00-04:00", "2027-03-15T02:30:00-04:00"]
        );
        // Half an hour only: from 02:00 to 02:30.
        assert_eq!(
            ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
        );
    }

    #[test]
    fn several_times_of_day_in_a_gap_happen_together() {
        assert_eq!(
            day_of(
                "*/20 2-3 * * *",
                "Europe/Paris",
                "2027-03-27T23:00:00Z",
                "2027-03-28T22:00:00Z"
            ),
            ["2027-03-28T03:00:00+02:00", "2027-03-28T03:20:00+02:00", "2027-03-28T03:40:00+02:00"]
        );
    }

    #[test]
    fn one_of_several_times_of_day_is_not_lost_in_a_gap() {
        // The cron library alone would pass over 02:00.
        assert_eq!(
            day_of("0 2,14 * * *", "Europe/Paris", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
            ["2027-03-28T03:00:00+02:00", "2027-03-28T14:00:00+02:00"]
        );
    }

    #[test]
    fn a_time_of_day_that_is_shown_twice_happens_the_first_time_only() {
        assert_eq!(
            ticks("30 2 * * *", "Europe/Paris", "2027-10-30T12:00:00Z", 2),
            ["2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"]
        );
        assert_eq!(
            ticks("30 1,13 * * *", "America/New_York", "2027-11-07T04:00:00Z", 3),
            ["2027-11-07T01:30:00-04:00", "2027-11-07T13:30:00-05:00", "2027-11-08T01:30:00-05:00"]
        );
        // From 02:00 back to 01:30.
        assert_eq!(
            ticks("45 1 * * *", "Australia/Lord_Howe", "2027-04-03T13:00:00Z", 2),
            ["2027-04-04T01:45:00+11:00", "2027-04-05T01:45:00+10:30"]
        );
        // Asked while the clock shows the times again.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Paris", "2027-10-31T01:10:00Z", 1),
            ["2027-11-01T02:30:00+01:00"]
        );
    }

    #[test]
    fn what_is_allowed_every_hour_follows_the_time_that_passes() {
        assert_eq!(
            ticks("30 * * * *", "Europe/Paris", "2027-03-28T00:00:00Z", 3),
            ["2027-03-28T01:30:00+01:00", "2027-03-28T03:30:00+02:00", "2027-03-28T04:30:00+02:00"]
        );
        assert_eq!(
            ticks("30 * * * *", "Europe/Paris", "2027-10-31T00:00:00Z", 3),
            ["2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", "2027-10-31T03:30:00+01:00"]
        );
        assert_eq!(
            ticks("*/20 * * * *", "Australia/Lord_Howe", "2027-04-03T14:30:00Z", 5),
            [
                "2027-04-04T01:40:00+11:00",
                "2027-04-04T01:40:00+10:30",
                "2027-04-04T02:00:00+10:30",
                "2027-04-04T02:20:00+10:30",
                "2027-04-04T02:40:00+10:30",
            ]
        );
        // Spelt out, it means the same.
        assert_eq!(
            ticks("30 0-23 * * *", "Europe/Paris", "2027-10-31T00:00:00Z", 3),
            ticks("30 * * * *", "Europe/Paris", "2027-10-31T00:00:00Z", 3)
        );
    }

    #[test]
    fn zones_without_daylight_saving_time_have_ordinary_days() {
        assert_eq!(
            ticks("30 2 * * *", "Asia/Kolkata", "2027-03-27T12:00:00Z", 2),
            ["2027-03-28T02:30:00+05:30", "2027-03-29T02:30:00+05:30"]
        );
        assert_eq!(
            ticks("0 0 * * *", "UTC", "2027-03-28T00:00:00Z", 2),
            ["2027-03-29T00:00:00Z", "2027-03-30T00:00:00Z"]
        );
    }

    #[test]
    fn leap_days_come_in_leap_years() {
        assert_eq!(
            ticks("0 12 29 2 *", "UTC", "2026-11-21T00:00:00Z", 3),
            ["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z", "2036-02-29T12:00:00Z"]
        );
        // No leap year is divisible by 100 unless by 400.
        assert_eq!(ticks("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
        assert_eq!(
            ticks("0 0 L 2 *", "UTC", "2027-01-01T00:00:00Z", 2),
            ["2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]
        );
    }

    #[test]
    fn seconds_names_and_nicknames_are_understood() {
        assert_eq!(
            ticks("*/20 0 9 * * MON-FRI", "UTC", "2026-11-20T09:00:30Z", 2),
            ["2026-11-20T09:00:40Z", "2026-11-23T09:00:00Z"]
        );
        assert_eq!(ticks("@daily", "UTC", "2026-11-20T09:00:00.5Z", 1), ["2026-11-21T00:00:00Z"]);
        assert_eq!(
            ticks("0 9 * * 5#3", "UTC", "2026-11-01T00:00:00Z", 1),
            ["2026-11-20T09:00:00Z"]
        );
        // Either day, or both.
        assert_eq!(
            ticks("0 0 13 * FRI", "UTC", "2026-11-07T00:00:00Z", 2),
            ["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]
        );
        assert_eq!(
            ticks("0 0 13 * +FRI", "UTC", "2026-11-07T00:00:00Z", 2),
            ["2026-11-13T00:00:00Z", "2027-08-13T00:00:00Z"]
        );
    }

    #[test]
    fn a_tick_is_after_the_moment_however_little() {
        let cadence = Cadence::cron("0 * * * *", "Europe/Paris").unwrap();
        let ten = at("2026-11-21T10:00:00Z");
        let micro = time::Duration::MICROSECOND;
        assert_eq!(cadence.next_after(ten - micro), Some(ten));
        assert_eq!(cadence.next_after(ten), Some(at("2026-11-21T11:00:00Z")));
        assert_eq!(cadence.next_after(ten + micro), Some(at("2026-11-21T11:00:00Z")));
        let interval = Cadence::every(Duration::from_secs(3600)).unwrap();
        assert_eq!(interval.next_after(ten - micro), Some(ten));
        assert_eq!(interval.next_after(ten), Some(at("2026-11-21T11:00:00Z")));
        assert_eq!(
            interval.next_after(at("1969-12-31T22:30:00Z")),
            Some(at("1969-12-31T23:00:00Z"))
        );
    }

    #[test]
    fn what_is_no_cadence_is_refused_and_told_why() {
        for expression in
            ["", "*", "61 * * * *", "* * * *", "0 0 1 1 * * 2027", "@reboot", "0 0 x * *"]
        {
            let refused = Cadence::cron(expression, "UTC").unwrap_err();
            assert!(matches!(refused, CadenceError::Expression { .. }), "{expression}: {refused}");
        }
        let long = format!("0 0 {} * *", vec!["1"; 200].join(","));
        assert!(matches!(Cadence::cron(&long, "UTC"), Err(CadenceError::Expression { .. })));
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(Cadence::cron(never, "UTC"), Err(CadenceError::Never(never.to_owned())));
        }
        for zone in ["Mars/Olympus", "", "Etc/Unknown", "../UTC"] {
            assert_eq!(
                Cadence::cron("0 0 * * *", zone),
                Err(CadenceError::TimeZone(zone.to_owned())),
                "{zone}"
            );
        }
        for millis in [0, 999, 1500, 366 * 24 * 3600 * 1000 + 1000] {
            let interval = Duration::from_millis(millis);
            assert_eq!(Cadence::every(interval), Err(CadenceError::Interval(interval)));
        }
    }

    #[test]
    fn the_name_of_a_time_zone_is_kept_as_the_database_spells_it() {
        let cadence = Cadence::cron("0 0 * * *", "europe/paris").unwrap();
        assert_eq!(cadence.time_zone(), "Europe/Paris");
        assert_eq!(cadence.to_string(), "0 0 * * *");
        assert_eq!(Cadence::every(Duration::from_secs(5400)).unwrap().to_string(), "every 1h 30m");
    }

    /// An expression of minutes, hours and days of the week, simple enough for a test to read.
    #[derive(Clone, Debug)]
    struct Simple {
        minutes: BTreeSet<i8>,
        hours: BTreeSet<i8>,
        weekdays: BTreeSet<i8>,
    }

    impl Simple {
        fn expression(&self) -> String {
            let list = |set: &BTreeSet<i8>| {
                set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            format!("{} {} * * {}", list(&self.minutes), list(&self.hours), list(&self.weekdays))
        }

        fn matches(&self, civil: DateTime) -> bool {
            self.minutes.contains(&civil.minute())
                && self.hours.contains(&civil.hour())
                && self.weekdays.contains(&civil.weekday().to_sunday_zero_offset())
        }
    }

    fn simple() -> impl Strategy<Value = Simple> {
        let hours = prop_oneof![
            proptest::collection::btree_set(0i8..5, 1..4),
            proptest::collection::btree_set(0i8..24, 1..24),
            Just((0..24).collect()),
        ];
        let minutes = proptest::collection::btree_set(
            prop_oneof![Just(0i8), Just(15), Just(30), Just(45), 0i8..60],
            1..6,
        );
        let weekdays =
            prop_oneof![Just((0..7).collect()), proptest::collection::btree_set(0i8..7, 1..7)];
        (minutes, hours, weekdays).prop_map(|(minutes, hours, weekdays)| Simple {
            minutes,
            hours,
            weekdays,
        })
    }

    /// Days around a change of the clock in the zone, or any days if it never changes.
    fn days() -> impl Strategy<Value = (&'static str, Timestamp)> {
        let second = 1_577_836_800i64..2_524_608_000; // 2020 to 2050
        (proptest::sample::select(&ZONES[..]), second, 0i64..(3 * 1440)).prop_map(
            |(zone, second, minutes_before)| {
                let anywhere = Timestamp::from_second(second).unwrap();
                let time_zone = TimeZone::get(zone).unwrap();
                let change = time_zone.following(anywhere).next().map(|change| change.timestamp());
                let start = change.unwrap_or(anywhere).as_second().div_euclid(60) - minutes_before;
                (zone, Timestamp::from_second(start * 60).unwrap())
            },
        )
    }

    /// Every minute of four days, looked at on the clock of the zone: which ones are ticks?
    fn by_looking_at_the_clock(
        simple: &Simple,
        zone: &TimeZone,
        start: Timestamp,
    ) -> Vec<Timestamp> {
        let minute = jiff::SignedDuration::from_mins(1);
        let mut ticks = Vec::new();
        let names_hours = simple.hours.len() < 24;
        // The latest that the clock has shown: before the start, it may have been later than then.
        let mut shown = (0..180).map(|ago| zone.to_datetime(start - minute * ago)).max().unwrap();
        for n in 1..=(4 * 1440) {
            let moment = start + minute * n;
            let civil = zone.to_datetime(moment);
            let is_tick = if names_hours {
                // What the clock has reached just now, and never before.
                let mut reached = false;
                while shown < civil {
                    shown = shown.checked_add(minute).unwrap();
                    reached |= simple.matches(shown);
                }
                reached
            } else {
                simple.matches(civil)
            };
            if is_tick {
                ticks.push(moment);
            }
        }
        ticks
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn ticks_are_those_that_a_look_at_the_clock_gives(
            simple in simple(),
            (zone, start) in days(),
        ) {
            let cadence = Cadence::cron(&simple.expression(), zone).unwrap();
            let time_zone = TimeZone::get(zone).unwrap();
            let expected: Vec<_> = by_looking_at_the_clock(&simple, &time_zone, start)
                .into_iter()
                .map(|tick| to_time(tick).unwrap())
                .collect();
            let start = to_time(start).unwrap();
            let until = start + time::Duration::days(4);
            let found: Vec<_> = cadence.ticks_between(start, until).collect();
            prop_assert_eq!(&found, &expected);
            // In order, and each once.
            prop_assert!(found.is_sorted_by(|a, b| a < b));
        }

        #[test]
        fn no_split_of_a_stretch_of_time_loses_or_doubles_a_tick(
            simple in simple(),
            (zone, start) in days(),
            mut cuts in proptest::collection::vec(0i64..(4 * 86_400_000_000), 0..12),
        ) {
            let cadence = Cadence::cron(&simple.expression(), zone).unwrap();
            let start = to_time(start).unwrap();
            let until = start + time::Duration::days(4);
            let whole: Vec<_> = cadence.ticks_between(start, until).collect();
            cuts.sort_unstable();
            let mut ends: Vec<_> =
                cuts.iter().map(|micros| start + time::Duration::microseconds(*micros)).collect();
            // Cuts on ticks themselves, too.
            ends.extend(whole.iter().step_by(3));
            ends.push(until);
            ends.sort_unstable();
            let mut in_parts = Vec::new();
            let mut since = start;
            for end in ends {
                in_parts.extend(cadence.ticks_between(since, end));
                since = end;
            }
            prop_assert_eq!(in_parts, whole);
        }

        #[test]
        fn the_latest_ticks_are_the_end_of_all(
            simple in simple(),
            (zone, start) in days(),
            limit in 0usize..40,
            hours in 0i64..96,
        ) {
            let cadence = Cadence::cron(&simple.expression(), zone).unwrap();
            let start = to_time(start).unwrap();
            let until = start + time::Duration::hours(hours);
            let all: Vec<_> = cadence.ticks_between(start, until).collect();
            let latest = cadence.latest_between(start, until, limit);
            prop_assert_eq!(&latest[..], &all[all.len().saturating_sub(limit)..]);
        }

        #[test]
        fn intervals_tick_at_each_of_their_multiples(
            secs in 1i64..200_000,
            start in -1_000_000i64..3_000_000_000,
            n in 1i64..50,
        ) {
            let cadence = Cadence::every(Duration::from_secs(secs.unsigned_abs())).unwrap();
            let first = (start.div_euclid(secs) + 1) * secs;
            let start = OffsetDateTime::from_unix_timestamp(start).unwrap();
            let ticks = cadence.ticks_after(start).take(usize::try_from(n).unwrap());
            let found: Vec<i64> = ticks.map(OffsetDateTime::unix_timestamp).collect();
            let expected: Vec<i64> = (0..n).map(|k| first + k * secs).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_text_makes_the_parser_panic(
            text in "[0-9*/,#LW@A-Za-z? +-]{0,24}",
            any in any::<String>(),
        ) {
            let _read_or_refused = Cadence::cron(&text, "UTC");
            let _read_or_refused = Cadence::cron(&any, &text);
        }

        #[test]
        fn whatever_is_read_ticks_at_times_that_match(
            minute in "[0-9]{1,2}|\\*|\\*/[1-9]|[0-9]-[1-5][0-9]",
            hour in "[0-9]{1,2}|\\*|\\*/[1-9]|[0-9],1[0-9]",
            day in "[1-9]|[12][0-9]|\\*|L|15W",
            month in "[1-9]|\\*|JAN|2",
            weekday in "[0-7]|\\*|MON-FRI|5L|2#2|\\+1",
            zone in proptest::sample::select(&ZONES[..]),
            after in 1_577_836_800i64..2_524_608_000,
        ) {
            let expression = format!("{minute} {hour} {day} {month} {weekday}");
            let Ok(cadence) = Cadence::cron(&expression, zone) else { return Ok(()) };
            let plain = Cadence::cron(&expression, "UTC").unwrap();
            let after = OffsetDateTime::from_unix_timestamp(after).unwrap();
            let mut last = after;
            for tick in cadence.ticks_after(after).take(20) {
                prop_assert!(tick > last);
                last = tick;
                let local = cadence.local(tick);
                // The same time on the clocks of UTC, which never change, matches; or the tick is
                // the end of a gap.
                let in_utc = local.replace_offset(time::UtcOffset::UTC);
                let matches = plain.next_after(in_utc - time::Duration::SECOND) == Some(in_utc);
                let before = cadence.local(tick - time::Duration::SECOND);
                let ends_a_gap = local.offset().whole_seconds() > before.offset().whole_seconds();
                prop_assert!(matches || ends_a_gap, "{expression} {zone}: {local}");
            }
        }
    }

    #[test]
    fn a_year_of_missed_seconds_costs_no_more_than_the_ticks_asked_for() {
        let cadence = Cadence::cron("* * * * * *", "Europe/Paris").unwrap();
        let (since, until) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00.5Z"));
        let begun = std::time::Instant::now();
        let latest = cadence.latest_between(since, until, 1000);
        assert_eq!(latest.len(), 1000);
        assert_eq!(latest.last(), Some(&at("2027-01-01T00:00:00Z")));
        // One by one, 31 million take minutes.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // Seldom ones over a long time.
        let leap = Cadence::cron("0 0 29 2 *", "Europe/Paris").unwrap();
        assert_eq!(leap.latest_between(at("2000-01-01T00:00:00Z"), until, 3).len(), 3);
    }

    #[test]
    fn midnight_that_is_skipped_happens_after_the_gap() {
        // Clocks of Santiago go from 24:00 to 01:00.
        assert_eq!(
            ticks("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", 2),
            ["2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"]
        );
        // The whole of 30 December 2011 is missing in Apia.
        assert_eq!(
            ticks("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", 1),
            ["2011-12-31T00:00:00+14:00"]
        );
    }
}
