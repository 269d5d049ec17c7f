//! `app schedules add`: the flags that define a schedule.

use std::time::Duration;

use crate::arguments::parse_duration;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::jobs::json;
use crate::operations::jobs::edit::JsonText;
use crate::operations::schedules::{DEFAULT_GRACE, MissedPolicy, ScheduleDefinition, Timing};

/// The times and the job of a schedule.
#[derive(clap::Args, Debug)]
pub(super) struct DefinitionArgs {
    /// The times: a cron expression of five fields, or six with seconds.
    #[arg(
        long,
        value_name = "EXPRESSION",
        required_unless_present = "every",
        conflicts_with = "every"
    )]
    cron: Option<String>,

    /// The times: in an interval since 1970-01-01T00:00:00Z, such as 90s, 15m or 1h.
    #[arg(long, value_name = "INTERVAL", value_parser = parse_duration)]
    every: Option<Duration>,

    /// The time zone that the cron expression is read in. [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,

    /// The kind of the job.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    kind: String,

    /// The arguments of the job, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    args: JsonText,

    /// The queue of the job.
    #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    queue: String,

    /// The priority of the job: 1 (claimed first) to 4 (last).
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i16).range(1..=4))]
    priority: i16,

    /// The number of failed attempts after which the job is discarded.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i16).range(1..=1000))]
    max_attempts: i16,

    /// The key of the job, where queues have limits or an order per key.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,

    /// A word to find the job by; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// The treatment of ticks that nobody ran in time: skip all but one that is a little late, make
    /// one job for all, or catch up with each.
    #[arg(long, value_enum, default_value_t = Policy::Skip)]
    policy: Policy,

    /// With --policy skip: how late the latest tick may be. [default: 5m]
    #[arg(long, value_parser = parse_duration)]
    grace: Option<Duration>,

    /// With --policy catch-up: how many ticks at most, the latest.
    #[arg(long, value_name = "TICKS", required_if_eq("policy", "catch-up"))]
    max: Option<u16>,

    /// With --policy catch-up: how old the oldest may be.
    #[arg(long, value_name = "AGE", value_parser = parse_duration,
          required_if_eq("policy", "catch-up"))]
    max_age: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Policy {
    Skip,
    Coalesce,
    CatchUp,
}

impl From<DefinitionArgs> for ScheduleDefinition {
    fn from(args: DefinitionArgs) -> Self {
        let policy = args.policy();
        let timing = match (args.cron, args.every) {
            (Some(expression), _) => Timing::Cron(expression),
            (None, interval) => Timing::Every(interval.unwrap_or_default()),
        };
        Self {
            timing,
            time_zone: args.tz,
            policy,
            kind: args.kind,
            args: args.args,
            queue: args.queue,
            priority: args.priority,
            max_attempts: args.max_attempts,
            key: args.key,
            tags: args.tags,
        }
    }
}

impl DefinitionArgs {
    fn policy(&self) -> MissedPolicy {
        match self.policy {
            Policy::Skip => MissedPolicy::Skip { grace: self.grace.unwrap_or(DEFAULT_GRACE) },
            Policy::Coalesce => MissedPolicy::Coalesce,
            Policy::CatchUp => MissedPolicy::CatchUp {
                max: self.max.unwrap_or_default(),
                max_age: self.max_age.unwrap_or_default(),
            },
        }
    }
}
