//! Numbers, times and states in words: the same ones on every page.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::operations::jobs::JobState;

/// A value or a reference to one, however deep: templates hand on both.
pub(super) trait Value<T> {
    /// The value.
    fn value(self) -> T;
}

macro_rules! values {
    ($($kind:ty),*) => { $(impl Value<$kind> for $kind {
        fn value(self) -> $kind {
            self
        }
    })* };
}

values!(OffsetDateTime, JobState, i64, f64);

impl<T, V: Value<T> + Copy> Value<T> for &V {
    fn value(self) -> T {
        (*self).value()
    }
}

/// Beyond these many days a date says more than the time since.
const DATE_AFTER_DAYS: i64 = 60;

/// A number with its thousands set apart. Numbers of things are never written so: they are copied.
pub(super) fn count(number: impl Value<i64>) -> String {
    let number = number.value();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('−');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number that was counted up to `cap`, which says so where it stopped there.
pub(super) fn capped(number: i64, cap: i64) -> String {
    if number >= cap { format!("{}+", count(cap)) } else { count(number) }
}

/// A number and its noun, in the singular for one.
pub(super) fn counted(number: i64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A duration in seconds, as short as it can be said.
pub(super) fn span(secs: f64) -> String {
    let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
    if secs < 0.000_5 {
        return "0 ms".to_owned();
    }
    if secs < 0.999_5 {
        return format!("{:.0} ms", secs * 1000.0);
    }
    if secs < 9.95 {
        return format!("{secs:.1} s");
    }
    long_span(secs.round() as i64)
}

/// A duration in whole seconds, in its two largest units.
fn long_span(secs: i64) -> String {
    let pair = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match secs {
        ..60 => format!("{secs} s"),
        60..600 => pair(secs / 60, "min", secs % 60, "s"),
        600..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => pair(secs / 3_600, "h", secs % 3_600 / 60, "min"),
        _ => pair(secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    }
}

/// The time between two moments.
pub(super) fn between(from: OffsetDateTime, to: OffsetDateTime) -> String {
    span((to - from).as_seconds_f64())
}

/// A moment as seen from `now`, in one unit.
pub(super) fn relative(at: impl Value<OffsetDateTime>, now: OffsetDateTime) -> String {
    let at = at.value();
    let secs = (now - at).whole_seconds();
    let distance = match secs.unsigned_abs() {
        0..60 => format!("{} s", secs.abs()),
        60..3_600 => format!("{} min", secs.abs() / 60),
        3_600..86_400 => format!("{} h", secs.abs() / 3_600),
        _ if secs.abs() / 86_400 > DATE_AFTER_DAYS => return date(at),
        _ => format!("{} d", secs.abs() / 86_400),
    };
    match secs {
        0 => "now".to_owned(),
        1.. => format!("{distance} ago"),
        _ => format!("in {distance}"),
    }
}

/// The day of a moment, in UTC.
fn date(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// A moment in UTC, to the second.
pub(super) fn utc(at: impl Value<OffsetDateTime>) -> String {
    let at = at.value();
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// The hour and the minute in UTC.
pub(super) fn minute(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// The day in UTC, without its year.
pub(super) fn day(at: OffsetDateTime) -> String {
    let format = format_description!("[weekday repr:short] [day padding:none]");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// A moment for programs.
pub(super) fn rfc3339(at: impl Value<OffsetDateTime>) -> String {
    let at = at.value();
    at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}

/// A text in one line of at most `max` characters.
pub(super) fn line(text: &str, max: usize) -> String {
    let mut line: String = text.chars().take(max).collect();
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line.replace(char::is_control, " ").trim().to_owned()
}

/// The name with a capital letter.
pub(super) fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The tone of a job's state: a class of the stylesheet. The word always stands beside it.
pub(super) fn tone(state: impl Value<JobState>) -> &'static str {
    match state.value() {
        JobState::Completed => "ok",
        JobState::Running => "run",
        JobState::Retryable => "warn",
        JobState::Discarded => "bad",
        JobState::Scheduled | JobState::Available | JobState::Cancelled => "idle",
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn numbers_are_exact_and_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_204), "1,204");
        assert_eq!(count(9_007_199_254_740_993), "9,007,199,254,740,993");
        assert_eq!(count(-1_000), "−1,000");
        assert_eq!(capped(10_000, 10_000), "10,000+");
        assert_eq!(capped(9_999, 10_000), "9,999");
        assert_eq!((counted(1, "job"), counted(2, "job")), ("1 job".into(), "2 jobs".into()));
    }

    #[test]
    fn spans_have_the_unit_that_they_are_thought_of_in() {
        let told = [
            (0.0, "0 ms"),
            (0.003_4, "3 ms"),
            (0.999_9, "1.0 s"),
            (2.14, "2.1 s"),
            (15.0, "15 s"),
            (252.0, "4 min 12 s"),
            (1_260.0, "21 min"),
            (3_725.0, "1 h 2 min"),
            (172_800.0, "2 d"),
            (-5.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ];
        for (secs, words) in told {
            assert_eq!(span(secs), words, "{secs}");
        }
    }

    #[test]
    fn a_moment_is_told_from_now_until_a_date_says_more() {
        let now = datetime!(2026-11-21 8:00 UTC);
        let told = [
            (Duration::ZERO, "now"),
            (Duration::seconds(-12), "12 s ago"),
            (Duration::minutes(-21), "21 min ago"),
            (Duration::hours(3), "in 3 h"),
            (Duration::days(-2), "2 d ago"),
            (Duration::days(-100), "2026-08-13"),
        ];
        for (distance, words) in told {
            assert_eq!(relative(now + distance, now), words);
        }
        assert_eq!(utc(now), "2026-11-21 08:00:00 UTC");
        assert_eq!(rfc3339(now), "2026-11-21T08:00:00Z");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("a\nb", 10), "a b");
        assert_eq!(line("abcdef", 3), "abc…");
        assert_eq!(capital("retryable"), "Retryable");
    }
}
