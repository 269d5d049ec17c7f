//! The behaviour of the simulator: the ways in which it treats instructions, and the share of each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The gap to a whole that summing floats may leave.
const ROUNDING: f64 = 1e-9;
/// The share of instructions that succeed, unless the settings say otherwise.
const DEFAULT_SUCCESS_RATE: f64 = 0.9;

/// A way to treat an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Behaviour {
    /// Books and says so.
    Success,
    /// Does nothing and never answers.
    Timeout,
    /// Does nothing and says so, 503.
    Unavailable,
    /// Declines for good.
    InsufficientFunds,
    /// Books and never answers.
    AcceptThenTimeout,
    /// Books and sends its answer a second time on the same connection.
    AnswerTwice,
    /// Decides much later, for or against; until then the payment is pending.
    Late,
    /// Books and closes the connection in the middle of its answer.
    CutBody,
    /// Books and names another amount.
    WrongAmount,
}

impl Behaviour {
    /// Tells the behaviours that the rest of 1 falls on: what every bank does now and then.
    fn is_ordinary_failure(self) -> bool {
        match self {
            Self::Timeout | Self::Unavailable | Self::InsufficientFunds => true,
            Self::Success
            | Self::AcceptThenTimeout
            | Self::AnswerTwice
            | Self::Late
            | Self::CutBody
            | Self::WrongAmount => false,
        }
    }
}

/// The settings as somebody gives them. Rates that are left out follow from the others.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BehaviourSettings {
    /// Share of instructions that are booked and answered. [default: 0.9, or what the other rates
    /// leave]
    #[arg(long, env = "APP_BANK_SIMULATOR_SUCCESS_RATE", value_name = "RATE")]
    pub success_rate: Option<f64>,

    /// Does nothing, never answers. [default: a third of the rest]
    #[arg(long, value_name = "RATE")]
    pub timeout_rate: Option<f64>,

    /// Does nothing, answers 503 not_accepted. [default: a third of the rest]
    #[arg(long, value_name = "RATE")]
    pub unavailable_rate: Option<f64>,

    /// Declines for good. [default: a third of the rest]
    #[arg(long, value_name = "RATE")]
    pub insufficient_funds_rate: Option<f64>,

    /// Books, never answers. [default: 0]
    #[arg(long, value_name = "RATE")]
    pub accept_then_timeout_rate: Option<f64>,

    /// Books, answers twice on one connection. [default: 0]
    #[arg(long, value_name = "RATE")]
    pub answer_twice_rate: Option<f64>,

    /// Books or declines after --late-after; until then an enquiry says pending. [default: 0]
    #[arg(long, value_name = "RATE")]
    pub late_rate: Option<f64>,

    /// Books, closes the connection in mid-answer. [default: 0]
    #[arg(long, value_name = "RATE")]
    pub cut_body_rate: Option<f64>,

    /// Books, answers with another amount; enquiry and statement have the right one. [default: 0]
    #[arg(long, value_name = "RATE")]
    pub wrong_amount_rate: Option<f64>,

    /// Time that answers take: a duration, or a range to draw from. [default: 2s..10s]
    #[arg(long, env = "APP_BANK_SIMULATOR_LATENCY", value_name = "MIN..MAX")]
    pub latency: Option<DurationRange>,

    /// Time that a late decision takes. [default: 30s]
    #[arg(long, value_name = "MIN..MAX")]
    pub late_after: Option<DurationRange>,
}

/// Settings that contradict each other.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum BehaviourError {
    /// Less than never, or more than always.
    #[error("a rate is a number from 0 to 1, and {0} is not")]
    NotARate(f64),
    /// More than all instructions.
    #[error("the rates sum to {0}; lower some until they sum to 1 at the most")]
    Above(f64),
    /// Every rate that takes up the rest is given, and they leave some.
    #[error(
        "the rates sum to {0} and say nothing of the rest; raise some until they sum to 1, or \
         leave one of success, timeout, unavailable and insufficient funds out"
    )]
    Below(f64),
}

impl BehaviourSettings {
    /// The rates, each with its behaviour: the one place that puts these together.
    fn table(&mut self) -> [(Behaviour, &mut Option<f64>); 9] {
        [
            (Behaviour::Success, &mut self.success_rate),
            (Behaviour::Timeout, &mut self.timeout_rate),
            (Behaviour::Unavailable, &mut self.unavailable_rate),
            (Behaviour::InsufficientFunds, &mut self.insufficient_funds_rate),
            (Behaviour::AcceptThenTimeout, &mut self.accept_then_timeout_rate),
            (Behaviour::AnswerTwice, &mut self.answer_twice_rate),
            (Behaviour::Late, &mut self.late_rate),
            (Behaviour::CutBody, &mut self.cut_body_rate),
            (Behaviour::WrongAmount, &mut self.wrong_amount_rate),
        ]
    }

    /// A rate for every behaviour, which sum to 1.
    ///
    /// What is given holds. Success, where it is left out, is 0.9 or what the given rates leave,
    /// whichever is less. The rest falls in equal parts on the ordinary failures that are left out;
    /// when none is, on success.
    fn filled(&self) -> Result<Self, BehaviourError> {
        let mut filled = self.clone();
        let rates = filled.table();
        let given: Vec<f64> = rates.iter().filter_map(|(_, rate)| **rate).collect();
        if let Some(wrong) = given.iter().find(|rate| !(0.0..=1.0).contains(*rate)) {
            return Err(BehaviourError::NotARate(*wrong));
        }
        let sum: f64 = given.iter().sum();
        if sum > 1.0 + ROUNDING {
            return Err(BehaviourError::Above(shown(sum)));
        }
        let open: u32 = rates
            .iter()
            .map(|(behaviour, rate)| behaviour.is_ordinary_failure() && rate.is_none())
            .map(u32::from)
            .sum();
        let mut rest = (1.0 - sum).max(0.0);
        let mut success = None;
        if self.success_rate.is_none() {
            let most = if open == 0 { 1.0 } else { DEFAULT_SUCCESS_RATE };
            success = Some(rest.min(most));
            rest -= rest.min(most);
        }
        if open == 0 && rest > ROUNDING {
            return Err(BehaviourError::Below(shown(sum)));
        }
        for (behaviour, rate) in rates {
            let left_out = if behaviour == Behaviour::Success {
                success.unwrap_or_default()
            } else if behaviour.is_ordinary_failure() {
                rest / f64::from(open.max(1))
            } else {
                0.0
            };
            rate.get_or_insert(shown(left_out));
        }
        Ok(filled)
    }
}

/// Without the dust of float arithmetic.
fn shown(rate: f64) -> f64 {
    (rate * 1e12).round() / 1e12
}

/// Settings without gaps or contradictions.
#[derive(Clone, Debug)]
pub(super) struct ResolvedBehaviour {
    settings: BehaviourSettings,
}

impl Default for ResolvedBehaviour {
    fn default() -> Self {
        let settings = BehaviourSettings {
            latency: Some(DurationRange {
                min: Duration::from_secs(2),
                max: Duration::from_secs(10),
            }),
            late_after: Some(DurationRange {
                min: Duration::from_secs(30),
                max: Duration::from_secs(30),
            }),
            ..BehaviourSettings::default()
        };
        Self { settings: settings.filled().expect("the default rates sum to 1") }
    }
}

impl ResolvedBehaviour {
    /// Replaces all rates, and the durations where they are given.
    pub(super) fn with(&self, settings: &BehaviourSettings) -> Result<Self, BehaviourError> {
        let mut settings = settings.filled()?;
        settings.latency = settings.latency.or(self.settings.latency);
        settings.late_after = settings.late_after.or(self.settings.late_after);
        Ok(Self { settings })
    }

    /// The settings, each with a value.
    pub(super) fn settings(&self) -> &BehaviourSettings {
        &self.settings
    }

    /// The behaviour that this point between 0 and 1 falls on.
    pub(super) fn behaviour(&self, point: f64) -> Behaviour {
        let mut settings = self.settings.clone();
        let rates = settings.table().map(|(behaviour, rate)| (behaviour, rate.unwrap_or_default()));
        let mut end = 0.0;
        for (behaviour, rate) in rates {
            end += rate;
            if point < end {
                return behaviour;
            }
        }
        // Only where rounding left a gap before 1: the last that ever happens.
        let last = rates.iter().rev().find(|(_, rate)| *rate > 0.0);
        last.map_or(Behaviour::Success, |(behaviour, _)| *behaviour)
    }

    pub(super) fn latency(&self, point: f64) -> Duration {
        self.settings.latency.map_or(Duration::ZERO, |range| range.at(point))
    }

    pub(super) fn late_after(&self, point: f64) -> Duration {
        self.settings.late_after.map_or(Duration::ZERO, |range| range.at(point))
    }
}

/// Durations to draw from: `2s..10s`, or `50ms` for always the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationRange {
    min: Duration,
    max: Duration,
}

/// The text is not a [`DurationRange`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a duration such as 50ms, or a range such as 2s..10s")]
pub struct NotADurationRange;

impl DurationRange {
    fn at(self, point: f64) -> Duration {
        self.min + (self.max - self.min).mul_f64(point.clamp(0.0, 1.0))
    }
}

impl FromStr for DurationRange {
    type Err = NotADurationRange;

    fn from_str(text: &str) -> Result<Self, NotADurationRange> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let parse = |text| crate::arguments::parse_duration(text).map_err(|_| NotADurationRange);
        let (min, max) = (parse(min)?, parse(max)?);
        if min > max { Err(NotADurationRange) } else { Ok(Self { min, max }) }
    }
}

impl TryFrom<String> for DurationRange {
    type Error = NotADurationRange;

    fn try_from(text: String) -> Result<Self, NotADurationRange> {
        text.parse()
    }
}

impl From<DurationRange> for String {
    fn from(range: DurationRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = |duration| humantime::format_duration(duration).to_string().replace(' ', "");
        if self.min == self.max {
            return f.write_str(&format(self.min));
        }
        write!(f, "{}..{}", format(self.min), format(self.max))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(json: &str) -> Result<BehaviourSettings, BehaviourError> {
        serde_json::from_str::<BehaviourSettings>(json).expect("it is an object of rates").filled()
    }

    fn rates(settings: &BehaviourSettings) -> Vec<f64> {
        settings.clone().table().iter().map(|(_, rate)| rate.expect("it is filled")).collect()
    }

    #[test]
    fn what_is_no_success_falls_on_the_ordinary_failures() {
        let third = shown(0.1 / 3.0);
        assert_eq!(
            rates(&filled("{}").unwrap()),
            [0.9, third, third, third, 0.0, 0.0, 0.0, 0.0, 0.0]
        );
        let half = filled(r#"{"success_rate": 0.4, "timeout_rate": 0.2}"#).unwrap();
        assert_eq!(rates(&half), [0.4, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn one_dial_alone_takes_from_success_only_what_it_needs() {
        let always = filled(r#"{"cut_body_rate": 1}"#).unwrap();
        assert_eq!(rates(&always), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let sometimes = filled(r#"{"late_rate": 0.25}"#).unwrap();
        assert_eq!(rates(&sometimes), [0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn with_all_failures_given_the_rest_is_success() {
        let given =
            r#"{"timeout_rate": 0, "unavailable_rate": 0, "insufficient_funds_rate": 0.02}"#;
        assert_eq!(filled(given).unwrap().success_rate, Some(0.98));
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for (json, expected) in [
            (r#"{"success_rate": 0.9, "late_rate": 0.2}"#, BehaviourError::Above(1.1)),
            (r#"{"success_rate": 1.5}"#, BehaviourError::NotARate(1.5)),
            (r#"{"late_rate": -0.1}"#, BehaviourError::NotARate(-0.1)),
            (
                r#"{"success_rate": 0, "timeout_rate": 0, "unavailable_rate": 0,
                    "insufficient_funds_rate": 0.5}"#,
                BehaviourError::Below(0.5),
            ),
        ] {
            assert_eq!(filled(json), Err(expected), "{json}");
        }
        let nan = BehaviourSettings { late_rate: Some(f64::NAN), ..BehaviourSettings::default() };
        assert!(matches!(nan.filled(), Err(BehaviourError::NotARate(_))));
    }

    #[test]
    fn a_misspelt_dial_is_refused() {
        assert!(serde_json::from_str::<BehaviourSettings>(r#"{"sucess_rate": 1}"#).is_err());
    }

    #[test]
    fn durations_stay_where_they_are_not_given() {
        let settings = BehaviourSettings {
            latency: Some("1ms".parse().unwrap()),
            ..BehaviourSettings::default()
        };
        let once = ResolvedBehaviour::default().with(&settings).unwrap();
        let twice = once.with(&BehaviourSettings::default()).unwrap();
        assert_eq!(twice.latency(0.5), Duration::from_millis(1));
        assert_eq!(twice.late_after(0.5), Duration::from_secs(30));
    }

    #[test]
    fn ranges_are_durations_in_order() {
        for text in ["2s..10s", "50ms", "0s", "1m30s..2m"] {
            assert_eq!(text.parse::<DurationRange>().unwrap().to_string(), text);
        }
        for text in ["", "..", "2s..", "10s..2s", "2..10", "soon", "-1s", "1s...2s"] {
            assert_eq!(text.parse::<DurationRange>(), Err(NotADurationRange), "{text}");
        }
    }

    proptest! {
        #[test]
        fn filled_settings_sum_to_one_and_stay_as_they_are(
            given in prop::collection::vec(prop::option::of(0.0_f64..0.2), 9),
        ) {
            let mut settings = BehaviourSettings::default();
            for ((_, rate), given) in settings.table().into_iter().zip(given) {
                *rate = given;
            }
            if let Ok(filled) = settings.filled() {
                let sum: f64 = rates(&filled).iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{}", sum);
                prop_assert_eq!(filled.filled(), Ok(filled.clone()));
                for ((_, rate), (_, before)) in
                    filled.clone().table().iter().zip(settings.table().iter())
                {
                    prop_assert!(before.is_none() || **before == **rate);
                }
            }
        }

        #[test]
        fn a_behaviour_that_never_happens_is_never_drawn(point in 0.0_f64..1.0) {
            let json = r#"{"late_rate": 0.5, "cut_body_rate": 0.5}"#;
            let settings: BehaviourSettings =
                serde_json::from_str(json).expect("these are rates");
            let settled = ResolvedBehaviour::default().with(&settings).expect("they sum to 1");
            let expected = if point < 0.5 { Behaviour::Late } else { Behaviour::CutBody };
            prop_assert_eq!(settled.behaviour(point), expected);
        }
    }
}
