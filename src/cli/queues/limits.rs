//! What a queue is held to.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use humantime::{format_duration, parse_duration};
use serde_json::{Value, json};

use super::{APPLICATION, say};
use crate::cli::database::Database;
use crate::cli::dead_letters::operator;
use crate::cli::output::Output;
use crate::cli::report::{CONFLICT, NOT_FOUND, USAGE};
use crate::queue::operate::queues::{self, Limits, OnPoison};

const HELP: &str = "\
Without any limit, the ones that are set are shown. What is not named stays as it is; 'off' takes
one limit away, --clear all of them.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,

    /// The queue.
    name: String,

    #[command(flatten)]
    change: Change,

    /// Take all limits away; blocked keys go on.
    #[arg(long, conflicts_with = "Change")]
    clear: bool,

    /// Who changes them. [default: the user of the system]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::Args, Debug)]
struct Change {
    /// The most jobs that run at once, over all workers.
    #[arg(long, value_name = "N|off", value_parser = number)]
    max_running: Option<Set<u32>>,

    /// The most jobs of one key that run at once.
    #[arg(long, value_name = "N|off", value_parser = number)]
    max_running_per_key: Option<Set<u32>>,

    /// The most jobs that start in a period, such as 100/1s.
    #[arg(long, value_name = "N/PERIOD|off", value_parser = rate)]
    rate: Option<Set<Rate>>,

    /// The most jobs of one key that start in a period; it is the same period for both rates.
    #[arg(long, value_name = "N/PERIOD|off", value_parser = rate)]
    rate_per_key: Option<Set<Rate>>,

    /// Jobs of one key run one after another; if one fails, those behind it wait for it (block),
    /// go on after so many attempts (skip_after=N), or wait for somebody to decide (park).
    #[arg(long, value_name = "block|skip_after=N|park|off", value_parser = order)]
    ordered: Option<Set<OnPoison>>,
}

/// What is to become of one limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Set<T> {
    To(T),
    Off,
}

impl<T> Set<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::To(value) => Some(value),
            Self::Off => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rate {
    jobs: u32,
    period: Duration,
}

fn number(text: &str) -> Result<Set<u32>, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(Set::Off),
        (_, Ok(number @ 1..)) => Ok(Set::To(number)),
        _ => Err("a number from 1 on, or 'off'; to start nothing, pause the queue".to_owned()),
    }
}

fn rate(text: &str) -> Result<Set<Rate>, String> {
    if text == "off" {
        return Ok(Set::Off);
    }
    let wrong = || "a number and a period, such as 100/1s, or 'off'".to_owned();
    let (jobs, period) = text.split_once('/').ok_or_else(wrong)?;
    let jobs: u32 = jobs.parse().ok().filter(|jobs| *jobs > 0).ok_or_else(wrong)?;
    // As in 100/s.
    let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
        true => parse_duration(period),
        false => parse_duration(&format!("1{period}")),
    };
    let period = period.map_err(|_| wrong())?;
    if period < Duration::from_millis(20) {
        return Err("the period must be at least 20ms".to_owned());
    }
    Ok(Set::To(Rate { jobs, period }))
}

fn order(text: &str) -> Result<Set<OnPoison>, String> {
    let attempts = text.strip_prefix("skip_after=").map(|attempts| attempts.parse());
    match (text, attempts) {
        ("off", _) => Ok(Set::Off),
        ("block", _) => Ok(Set::To(OnPoison::Block)),
        ("park", _) => Ok(Set::To(OnPoison::Park)),
        (_, Some(Ok(attempts @ 1..))) => Ok(Set::To(OnPoison::SkipAfter(attempts))),
        _ => Err("one of block, skip_after=N, park, off".to_owned()),
    }
}

impl Change {
    fn is_none(&self) -> bool {
        self.max_running.is_none()
            && self.max_running_per_key.is_none()
            && self.rate.is_none()
            && self.rate_per_key.is_none()
            && self.ordered.is_none()
    }

    /// These limits with the change made. A queue has one period for both rates.
    fn apply(&self, mut limits: Limits) -> Result<Limits, String> {
        if let Some(set) = self.max_running {
            limits.max_running = set.value();
        }
        if let Some(set) = self.max_running_per_key {
            limits.max_running_per_key = set.value();
        }
        if let Some(set) = self.ordered {
            limits.ordered = set.value();
        }
        let old_period = limits.rate_period;
        if let Some(set) = self.rate {
            limits.rate = set.value().map(|rate| rate.jobs);
        }
        if let Some(set) = self.rate_per_key {
            limits.rate_per_key = set.value().map(|rate| rate.jobs);
        }
        let period_of = |set: Option<Set<Rate>>| Some(set?.value()?.period);
        // A rate that is not named keeps its period.
        let kept = |set: Option<Set<Rate>>, rate: Option<u32>| {
            (set.is_none() && rate.is_some()).then_some(old_period)
        };
        let periods = [
            period_of(self.rate).or(kept(self.rate, limits.rate)),
            period_of(self.rate_per_key).or(kept(self.rate_per_key, limits.rate_per_key)),
        ];
        limits.rate_period = match periods {
            [Some(one), Some(other)] if one != other => {
                return Err(format!(
                    "a queue has one period for --rate and --rate-per-key, not {} and {}: name \
                     both with the same",
                    format_duration(one),
                    format_duration(other)
                ));
            }
            [one, other] => one.or(other).unwrap_or(Limits::default().rate_period),
        };
        Ok(limits)
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    let pool = args.database.connect_current(APPLICATION).await?;
    let mut tx = pool.begin().await?;
    let current = queues::limits(&mut tx, name).await?;
    let result = |word: &str, limits: Option<&Limits>| {
        let limits = limits.map(to_json);
        json!({"queue": name, "result": word, "limits": limits})
    };
    if args.clear {
        let cleared = queues::clear_limits(&mut tx, name).await?;
        tx.commit().await?;
        let (code, word, words) = match cleared {
            true => (0, "cleared", "has no limits any more"),
            false => (CONFLICT, "had-none", "had no limits"),
        };
        say(args.output, &format!("queue {name} {words}"), &result(word, None));
        return Ok(ExitCode::from(code));
    }
    if args.change.is_none() {
        let (code, words) = match &current {
            Some(limits) => (0, in_words(limits)),
            None => (NOT_FOUND, "no limits".to_owned()),
        };
        say(args.output, &format!("queue {name}: {words}"), &result("shown", current.as_ref()));
        return Ok(ExitCode::from(code));
    }
    let limits = match args.change.apply(current.unwrap_or_default()) {
        Ok(limits) => limits,
        Err(contradiction) => {
            eprintln!("error: {contradiction}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    queues::set_limits(&mut tx, name, &limits, &operator(args.by.as_deref())).await?;
    tx.commit().await?;
    let words = format!("queue {name}: {}, from now on", in_words(&limits));
    say(args.output, &words, &result("set", Some(&limits)));
    Ok(ExitCode::SUCCESS)
}

/// `20 at once, 100/1m, ordered (block)`.
pub(super) fn in_words(limits: &Limits) -> String {
    let period = format_duration(limits.rate_period);
    let ordered = limits.ordered.map(|on_poison| match on_poison {
        OnPoison::Block => "ordered (block)".to_owned(),
        OnPoison::SkipAfter(attempts) => format!("ordered (skip_after={attempts})"),
        OnPoison::Park => "ordered (park)".to_owned(),
    });
    let words = [
        limits.max_running.map(|jobs| format!("{jobs} at once")),
        limits.max_running_per_key.map(|jobs| format!("{jobs} of a key at once")),
        limits.rate.map(|jobs| format!("{jobs}/{period}")),
        limits.rate_per_key.map(|jobs| format!("{jobs}/{period} of a key")),
        ordered,
    ];
    match words.into_iter().flatten().collect::<Vec<_>>() {
        none if none.is_empty() => "no limits".to_owned(),
        some => some.join(", "),
    }
}

pub(super) fn to_json(limits: &Limits) -> Value {
    json!({
        "max_running": limits.max_running,
        "max_running_per_key": limits.max_running_per_key,
        "rate": limits.rate,
        "rate_per_key": limits.rate_per_key,
        "rate_period_secs": limits.rate_period.as_secs_f64(),
        "ordered": limits.ordered.map(|on_poison| match on_poison {
            OnPoison::Block => "block".to_owned(),
            OnPoison::SkipAfter(attempts) => format!("skip_after={attempts}"),
            OnPoison::Park => "park".to_owned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Change = Change {
        max_running: None,
        max_running_per_key: None,
        rate: None,
        rate_per_key: None,
        ordered: None,
    };

    fn per_minute(jobs: u32) -> Set<Rate> {
        Set::To(Rate { jobs, period: Duration::from_secs(60) })
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(number("20"), Ok(Set::To(20)));
        assert_eq!(number("off"), Ok(Set::Off));
        assert!(number("0").is_err() && number("-1").is_err() && number("many").is_err());
        assert_eq!(rate("100/1m"), Ok(per_minute(100)));
        assert_eq!(rate("100/m"), Ok(per_minute(100)));
        for wrong in ["100", "0/1s", "100/0s", "100/", "/1s", "100/10ms", "x/1s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(order("skip_after=3"), Ok(Set::To(OnPoison::SkipAfter(3))));
        assert!(order("skip_after=0").is_err() && order("skip").is_err());
    }

    #[test]
    fn what_is_not_named_stays_and_both_rates_have_one_period() {
        let limited = Change { max_running: Some(Set::To(5)), ..NOTHING };
        let limited = limited.apply(Limits::default()).unwrap();
        let limited = Change { rate: Some(per_minute(9)), ..NOTHING }.apply(limited).unwrap();
        assert_eq!((limited.max_running, limited.rate), (Some(5), Some(9)));
        assert_eq!(in_words(&limited), "5 at once, 9/1m");

        let per_second = Set::To(Rate { jobs: 2, period: Duration::from_secs(1) });
        let other = Change { rate_per_key: Some(per_second), ..NOTHING };
        assert!(other.apply(limited.clone()).is_err());
        let instead = Change { rate: Some(Set::Off), rate_per_key: Some(per_second), ..NOTHING };
        assert_eq!(in_words(&instead.apply(limited).unwrap()), "5 at once, 2/1s of a key");
    }
}
