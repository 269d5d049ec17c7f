//! When a schedule ticks: from a cadence and a moment the ticks that follow. Pure: no database, and
//! no clock.
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

/// The longest cron expression.
pub const MAX_EXPRESSION_CHARS: usize = 200;

/// The shortest and the longest interval.
pub const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

const HOURS_OF_A_DAY: usize = 24;

/// Why there is no such cadence.
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
        /// What is wrong with it.
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

/// When a schedule ticks.
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

/// What an expression means when the clocks change.
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
    /// `W` (nearest weekday), `#` (nth weekday), and `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`. If both days are restricted either may match; with `+` before the day of week,
    /// both must.
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
        let invalid =
            |reason: String| CadenceError::Expression { expression: expression.to_owned(), reason };
        if expression.chars().count() > MAX_EXPRESSION_CHARS {
            return Err(invalid(format!("more than {MAX_EXPRESSION_CHARS} characters")));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| invalid(error.to_string()))?;
        let every_hour = cron.pattern.hours.values().len() == HOURS_OF_A_DAY;
        let zone = TimeZone::get(time_zone)
            .ok()
            // Which is a name of the database, too.
            .filter(|zone| !zone.is_unknown())
            .ok_or_else(|| CadenceError::TimeZone(time_zone.to_owned()))?;
        Ok(Self {
            expression: expression.to_owned(),
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
mod tests;
