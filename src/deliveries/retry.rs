//! The meaning of an attempt, and the wait until the next.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::attempt::Attempt;

/// The most waits of a schedule.
const MAX_WAITS: usize = 20;
/// The shortest and the longest of them.
const WAITS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(7 * DAY_SECS)];
/// Those of Svix, which the Standard Webhooks specification recommends: more than a day in all.
const DEFAULT_WAITS_SECS: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// The share by which a wait is longer or shorter, so that what failed together does not come back
/// together.
const JITTER: f64 = 0.2;
/// The share by which an asked wait is longer: never shorter, as it was asked for.
const ASKED_JITTER: f64 = 0.1;
/// An asked wait that is no longer is honoured, also where the schedule would come back earlier.
const ASKED_AT_LEAST: Duration = Duration::from_secs(3_600);
/// The longest asked wait that is told.
const MAX_ASKED: Duration = Duration::from_secs(365 * DAY_SECS);
const DAY_SECS: u64 = 24 * 60 * 60;

/// The meaning of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A 2xx: the receiver has it.
    Delivered,
    /// A 410: the receiver wants no more, and the endpoint is to be disabled.
    Gone,
    /// Anything else: to be tried again, redirects and refusals among it, as the owner may have to
    /// mend something first.
    Failed,
}

/// The meaning of an attempt. The status decides, as soon as there is one: what went wrong with the
/// rest of an answer does not take back that it was given.
pub fn outcome(attempt: &Attempt) -> Outcome {
    match attempt.status {
        Some(200..=299) => Outcome::Delivered,
        Some(410) => Outcome::Gone,
        Some(_) | None => Outcome::Failed,
    }
}

/// The waits after the first failed attempt, the second, and so on; at most 20, each of 1 ms to
/// 7 days. As text: `5s,5m,30m`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetrySchedule(Vec<Duration>);

/// The text is not a [`RetrySchedule`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a retry schedule is 1 to {MAX_WAITS} waits of at most 7 days, such as 5s,5m,30m,2h")]
pub struct NotARetrySchedule;

impl Default for RetrySchedule {
    /// 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h.
    fn default() -> Self {
        Self(DEFAULT_WAITS_SECS.map(Duration::from_secs).to_vec())
    }
}

impl FromStr for RetrySchedule {
    type Err = NotARetrySchedule;

    fn from_str(text: &str) -> Result<Self, NotARetrySchedule> {
        let mut waits = Vec::new();
        for wait in text.split(',') {
            let wait = humantime::parse_duration(wait.trim()).map_err(|_| NotARetrySchedule)?;
            if waits.len() == MAX_WAITS || !(WAITS[0]..=WAITS[1]).contains(&wait) {
                return Err(NotARetrySchedule);
            }
            waits.push(wait);
        }
        Ok(Self(waits))
    }
}

impl fmt::Display for RetrySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wait) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // With spaces, as in `1h 30m`, which it also reads.
            write!(f, "{comma}{}", humantime::format_duration(*wait))?;
        }
        Ok(())
    }
}

impl RetrySchedule {
    /// The first wait.
    pub fn first_wait(&self) -> Duration {
        self.0.first().copied().unwrap_or_default()
    }

    /// The number of attempts until a delivery is given up.
    pub fn max_attempts(&self) -> u32 {
        u32::try_from(self.0.len()).expect("it has few waits") + 1
    }

    /// The wait after so many failed attempts, from 1; `None` when it was the last.
    ///
    /// It is that of the schedule, longer or shorter by up to a fifth. A wait that the receiver
    /// [asked for](read_retry_after) is honoured from there to twice the schedule's, or to an hour,
    /// whichever is more: never a shorter one, so that it cannot have itself called in a loop, nor
    /// a longer one, so that it cannot put off the end for ever.
    pub fn wait(
        &self,
        failed_attempts: u32,
        asked: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Option<Duration> {
        let index = usize::try_from(failed_attempts.saturating_sub(1)).ok()?;
        let scheduled = *self.0.get(index)?;
        let wait = scheduled.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.f64());
        let Some(asked) = asked else { return Some(wait) };
        let longest = (scheduled * 2).max(ASKED_AT_LEAST);
        let honoured = asked.clamp(wait, longest);
        Some(honoured.mul_f64(1.0 + ASKED_JITTER * rng.f64()).min(longest))
    }
}

/// The wait that a `Retry-After` asks for (RFC 9110, section 10.2.3): a number of seconds, or a
/// date, which is compared with the answer's own `Date` where it has one, since only that is by the
/// same clock. `None` for what is neither. At most a year, which stands for anything longer; zero
/// for the past.
pub fn read_retry_after(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long wait, too.
        let secs = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(secs).min(MAX_ASKED));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let since = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(until.duration_since(since).unwrap_or_default().min(MAX_ASKED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn asked(value: &str) -> Option<Duration> {
        read_retry_after(value, None, SystemTime::now())
    }

    fn attempt(status: Option<u16>) -> Attempt {
        Attempt {
            status,
            error: None,
            detail: None,
            duration: Duration::ZERO,
            address: None,
            answer: String::new(),
            retry_after: None,
        }
    }

    #[test]
    fn only_2xx_is_a_success_and_410_is_the_end() {
        for (status, expected) in [
            (Some(200), Outcome::Delivered),
            (Some(204), Outcome::Delivered),
            (Some(299), Outcome::Delivered),
            (Some(410), Outcome::Gone),
            (Some(301), Outcome::Failed),
            (Some(304), Outcome::Failed),
            (Some(404), Outcome::Failed),
            (Some(101), Outcome::Failed),
            (Some(500), Outcome::Failed),
            (Some(999), Outcome::Failed),
            (None, Outcome::Failed),
        ] {
            assert_eq!(outcome(&attempt(status)), expected, "{status:?}");
        }
    }

    #[test]
    fn the_default_schedule_is_the_one_of_the_standard() {
        assert_eq!("5s,5m,30m,2h,5h,10h,10h".parse(), Ok(RetrySchedule::default()));
        assert_eq!(RetrySchedule::default().to_string(), "5s,5m,30m,2h,5h,10h,10h");
        assert_eq!(RetrySchedule::default().max_attempts(), 8);
    }

    #[test]
    fn a_schedule_is_a_few_waits_of_at_most_a_week() {
        assert_eq!(" 5s, 1h 30m ".parse::<RetrySchedule>().unwrap().max_attempts(), 3);
        assert!(["1s"; 20].join(",").parse::<RetrySchedule>().is_ok());
        let many = ["1s"; 21].join(",");
        let huge = "9".repeat(30) + "s";
        for wrong in ["", ",", "5s,", "0s", "-1s", "5", "8d", "7d 1s", "NaN", "1e9s", &many, &huge]
        {
            assert!(wrong.parse::<RetrySchedule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_retry_after_asks_for_nothing() {
        for wrong in [
            "",
            " ",
            "1e300",
            "inf",
            "NaN",
            "-1",
            "+1",
            "1.5",
            "0x10",
            "１",
            "soon",
            "1 2",
            "1,2",
            "Fri, 31 Dec 9999",
            "Fri, 32 Dec 2026 23:59:59 GMT",
            "\u{0}",
        ] {
            assert_eq!(asked(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn seconds_and_dates_are_read_and_none_is_beyond_a_year() {
        assert_eq!(asked("0"), Some(Duration::ZERO));
        assert_eq!(asked("\t120 "), Some(Duration::from_secs(120)));
        for long in ["99999999999999999999", "18446744073709551615", "31536001"] {
            assert_eq!(asked(long), Some(MAX_ASKED), "{long}");
        }
        assert_eq!(asked("Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_ASKED));
        assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        // By the clock of the one who answers, which is a day ahead.
        let (until, date) = ("Sun, 29 Nov 2026 12:02:00 GMT", "Sun, 29 Nov 2026 12:00:00 GMT");
        let now = httpdate::parse_http_date("Sat, 28 Nov 2026 12:00:00 GMT").unwrap();
        assert_eq!(read_retry_after(until, Some(date), now), Some(Duration::from_secs(120)));
        assert_eq!(read_retry_after(until, Some("?"), now), Some(Duration::from_secs(86_520)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            value in "\\PC*", date in proptest::option::of("\\PC*"), secs in any::<u32>(),
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(secs));
            let asked = read_retry_after(&value, date.as_deref(), now);
            prop_assert!(asked.unwrap_or_default() <= MAX_ASKED);
        }

        #[test]
        fn any_date_is_read_without_a_panic(
            day in 0_u32..40, year in any::<u16>(), hour in 0_u32..30, date_year in any::<u16>(),
        ) {
            let text = |year| format!("Sun, {day:02} Nov {year:04} {hour:02}:00:00 GMT");
            let (value, date) = (text(year), text(date_year));
            let asked = read_retry_after(&value, Some(&date), SystemTime::now());
            prop_assert!(asked.unwrap_or_default() <= MAX_ASKED);
        }

        #[test]
        fn every_wait_is_within_its_bounds(
            waits_ms in proptest::collection::vec(1_u64..=604_800_000, 1..=20),
            failed in any::<u32>(), asked_secs in proptest::option::of(any::<u64>()),
            seed in any::<u64>(),
        ) {
            let waits = waits_ms.into_iter().map(Duration::from_millis);
            let schedule = RetrySchedule(waits.collect());
            let asked = asked_secs.map(Duration::from_secs);
            let wait = schedule.wait(failed, asked, &mut fastrand::Rng::with_seed(seed));
            let scheduled = schedule.0.get((failed.max(1) - 1) as usize);
            prop_assert_eq!(wait.is_some(), scheduled.is_some());
            if let (Some(wait), Some(scheduled)) = (wait, scheduled) {
                prop_assert!(wait >= scheduled.mul_f64(0.79));
                let longest = match asked {
                    None => scheduled.mul_f64(1.21),
                    Some(asked) => {
                        prop_assert!(wait >= asked.min((*scheduled * 2).max(HOUR)));
                        (*scheduled * 2).max(HOUR)
                    }
                };
                prop_assert!(wait <= longest);
            }
        }

        #[test]
        fn a_schedule_is_written_as_it_is_read(
            waits_secs in proptest::collection::vec(1_u64..=604_800, 1..=20),
        ) {
            let schedule = RetrySchedule(waits_secs.into_iter().map(Duration::from_secs).collect());
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
    }
}
