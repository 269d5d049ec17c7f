//! Limits of a queue, as people write them, and a change of some of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use humantime::format_duration;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::{Limits, OnPoison, QueuesError};
use crate::arguments::parse_duration;

/// The shortest period of a rate; starts are counted in twentieths of it.
const MIN_PERIOD: Duration = Duration::from_millis(20);

/// Limits, in words for people and as JSON for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitsView(pub Limits);

impl fmt::Display for LimitsView {
    /// As in `20 at once, 100/1m, ordered (block)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.0;
        let period = format_duration(limits.rate_period);
        let words = [
            limits.max_running.map(|jobs| format!("{jobs} at once")),
            limits.max_running_per_key.map(|jobs| format!("{jobs} of a key at once")),
            limits.rate.map(|jobs| format!("{jobs}/{period}")),
            limits.rate_per_key.map(|jobs| format!("{jobs}/{period} of a key")),
            limits.ordered.map(|on_poison| format!("ordered ({})", spelled(on_poison))),
        ];
        match words.into_iter().flatten().collect::<Vec<_>>() {
            none if none.is_empty() => f.write_str("no limits"),
            some => f.write_str(&some.join(", ")),
        }
    }
}

impl Serialize for LimitsView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            max_running: Option<u32>,
            max_running_per_key: Option<u32>,
            rate: Option<u32>,
            rate_per_key: Option<u32>,
            rate_period_secs: f64,
            ordered: Option<String>,
        }
        let limits = &self.0;
        let json = Json {
            max_running: limits.max_running,
            max_running_per_key: limits.max_running_per_key,
            rate: limits.rate,
            rate_per_key: limits.rate_per_key,
            rate_period_secs: limits.rate_period.as_secs_f64(),
            ordered: limits.ordered.map(spelled),
        };
        json.serialize(serializer)
    }
}

/// A version of a queue's limits, for changes that are meant for those that somebody has seen:
/// other limits have another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitsVersion(String);

impl LimitsVersion {
    /// The version of these limits, or of having none.
    #[must_use]
    pub fn of(limits: Option<&Limits>) -> Self {
        let hash = Sha256::digest(format!("{limits:?}"));
        Self(hex::encode(hash.first_chunk::<8>().expect("32 bytes hold 8")))
    }

    /// The version in a text, as [`as_str`](Self::as_str) gives it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The version as a text of digits and letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The rule as it is written: `block`, `skip_after=N` or `park`.
#[must_use]
pub fn spelled(on_poison: OnPoison) -> String {
    match on_poison {
        OnPoison::Block => "block".to_owned(),
        OnPoison::SkipAfter(attempts) => format!("skip_after={attempts}"),
        OnPoison::Park => "park".to_owned(),
    }
}

/// A change of some limits. A field that is none stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LimitChange {
    /// The most jobs that run at once, over all workers.
    pub max_running: Option<Setting<Number>>,
    /// The most jobs of one key that run at once.
    pub max_running_per_key: Option<Setting<Number>>,
    /// The most jobs that start in a period.
    pub rate: Option<Setting<Rate>>,
    /// The most jobs of one key that start in a period, which is the same for both rates.
    pub rate_per_key: Option<Setting<Rate>>,
    /// The order of jobs of one key: one after another, with a rule for a failing one.
    pub ordered: Option<Setting<Order>>,
}

/// A limit's value from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting<T> {
    /// A value.
    To(T),
    /// No limit, written `off`.
    Off,
}

impl<T> Setting<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::To(value) => Some(value),
            Self::Off => None,
        }
    }
}

impl<T: FromStr<Err = InvalidLimit>> FromStr for Setting<T> {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        match text {
            "off" => Ok(Self::Off),
            value => value.parse().map(Self::To),
        }
    }
}

/// A text that is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidLimit {
    /// No number of jobs.
    #[error("a number from 1 on, or 'off'; to start nothing, pause the queue")]
    Number,
    /// No number of jobs and period.
    #[error("a number and a period, such as 100/1s, or 'off'")]
    Rate,
    /// A period that is too short.
    #[error("the period must be at least 20ms")]
    Period,
    /// No rule for a failing job.
    #[error("one of block, skip_after=N, park, off")]
    Order,
}

/// A number of jobs, at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(u32);

impl FromStr for Number {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        match text.parse() {
            Ok(number @ 1..) => Ok(Self(number)),
            _ => Err(InvalidLimit::Number),
        }
    }
}

/// A number of jobs in a period, such as `100/1s` or `100/m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    jobs: u32,
    period: Duration,
}

impl FromStr for Rate {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (jobs, period) = text.split_once('/').ok_or(InvalidLimit::Rate)?;
        let Number(jobs) = jobs.parse().map_err(|_| InvalidLimit::Rate)?;
        let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
            true => parse_duration(period),
            false => parse_duration(&format!("1{period}")),
        };
        match period.map_err(|_| InvalidLimit::Rate)? {
            period if period < MIN_PERIOD => Err(InvalidLimit::Period),
            period => Ok(Self { jobs, period }),
        }
    }
}

/// The rule for a failing job of an ordered queue: `block`, `skip_after=N` or `park`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order(OnPoison);

impl FromStr for Order {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let attempts = text.strip_prefix("skip_after=").map(|attempts| attempts.parse());
        match (text, attempts) {
            ("block", _) => Ok(Self(OnPoison::Block)),
            ("park", _) => Ok(Self(OnPoison::Park)),
            (_, Some(Ok(attempts @ 1..))) => Ok(Self(OnPoison::SkipAfter(attempts))),
            _ => Err(InvalidLimit::Order),
        }
    }
}

impl LimitChange {
    /// True if every limit stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits with the change made.
    ///
    /// # Errors
    ///
    /// [`QueuesError::TwoPeriods`].
    pub(super) fn apply(self, mut limits: Limits) -> Result<Limits, QueuesError> {
        if let Some(setting) = self.max_running {
            limits.max_running = setting.value().map(|Number(jobs)| jobs);
        }
        if let Some(setting) = self.max_running_per_key {
            limits.max_running_per_key = setting.value().map(|Number(jobs)| jobs);
        }
        if let Some(setting) = self.ordered {
            limits.ordered = setting.value().map(|Order(on_poison)| on_poison);
        }
        let old_period = limits.rate_period;
        if let Some(setting) = self.rate {
            limits.rate = setting.value().map(|rate| rate.jobs);
        }
        if let Some(setting) = self.rate_per_key {
            limits.rate_per_key = setting.value().map(|rate| rate.jobs);
        }
        let period_of = |setting: Option<Setting<Rate>>| Some(setting?.value()?.period);
        // A rate that is not named keeps its period.
        let kept = |setting: Option<Setting<Rate>>, rate: Option<u32>| {
            (setting.is_none() && rate.is_some()).then_some(old_period)
        };
        let periods = [
            period_of(self.rate).or(kept(self.rate, limits.rate)),
            period_of(self.rate_per_key).or(kept(self.rate_per_key, limits.rate_per_key)),
        ];
        limits.rate_period = match periods {
            [Some(one), Some(other)] if one != other => {
                return Err(QueuesError::TwoPeriods(one, other));
            }
            [one, other] => one.or(other).unwrap_or(Limits::default().rate_period),
        };
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_minute(jobs: u32) -> Setting<Rate> {
        Setting::To(Rate { jobs, period: Duration::from_secs(60) })
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        let number = |text: &str| text.parse::<Setting<Number>>();
        assert_eq!(number("20"), Ok(Setting::To(Number(20))));
        assert_eq!(number("off"), Ok(Setting::Off));
        assert!(number("0").is_err() && number("-1").is_err() && number("many").is_err());
        assert_eq!("100/1m".parse(), Ok(per_minute(100)));
        assert_eq!("100/m".parse(), Ok(per_minute(100)));
        for wrong in ["100", "0/1s", "100/0s", "100/", "/1s", "100/10ms", "x/1s"] {
            assert!(wrong.parse::<Setting<Rate>>().is_err(), "{wrong}");
        }
        let order = |text: &str| text.parse::<Setting<Order>>();
        assert_eq!(order("skip_after=3"), Ok(Setting::To(Order(OnPoison::SkipAfter(3)))));
        assert!(order("skip_after=0").is_err() && order("skip").is_err());
    }

    #[test]
    fn a_limit_that_is_not_named_stays_and_both_rates_have_one_period() {
        let five = Some(Setting::To(Number(5)));
        let limited = LimitChange { max_running: five, ..LimitChange::default() };
        let limited = limited.apply(Limits::default()).unwrap();
        let nine = LimitChange { rate: Some(per_minute(9)), ..LimitChange::default() };
        let limited = nine.apply(limited).unwrap();
        assert_eq!((limited.max_running, limited.rate), (Some(5), Some(9)));
        assert_eq!(LimitsView(limited.clone()).to_string(), "5 at once, 9/1m");

        let per_second = Setting::To(Rate { jobs: 2, period: Duration::from_secs(1) });
        let other = LimitChange { rate_per_key: Some(per_second), ..LimitChange::default() };
        assert!(other.apply(limited.clone()).is_err());
        let instead = LimitChange { rate: Some(Setting::Off), ..other };
        let limited = LimitsView(instead.apply(limited).unwrap());
        assert_eq!(limited.to_string(), "5 at once, 2/1s of a key");
    }
}
