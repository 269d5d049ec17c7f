//! Which jobs are meant, as flags.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use humantime::parse_duration;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::database_now;
use crate::queue::JobState;
use crate::queue::operate::{ArgsMatch, JobFilter};

/// Which jobs are meant: those that match all that is given.
#[derive(clap::Args, Debug, Default)]
pub(super) struct FilterArgs {
    /// In this state; several for any of them.
    #[arg(long, value_parser = state, value_delimiter = ',', value_name = "STATE")]
    pub(super) state: Vec<JobState>,

    /// Of this kind; several for any of them.
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,

    /// In this queue; several for any of them.
    #[arg(long, value_delimiter = ',')]
    queue: Vec<String>,

    /// With this tag; several for all of them.
    #[arg(long, value_delimiter = ',')]
    tag: Vec<String>,

    /// With this key; several for any of them.
    #[arg(long)]
    key: Vec<String>,

    /// Whose last error contains this, whatever its case.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    error: Option<String>,

    /// That have begun at least so many attempts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    attempt_gte: Option<i16>,

    /// Enqueued since then: a time like 2026-11-21T08:00:00Z, or so long ago, like 2h.
    #[arg(long, value_parser = moment, value_name = "WHEN")]
    since: Option<Moment>,

    /// Enqueued before then.
    #[arg(long, value_parser = moment, value_name = "WHEN")]
    until: Option<Moment>,

    /// Whose arguments have this value in this field, at the top of them; several for all.
    #[arg(long = "where", value_parser = field, value_name = "FIELD=VALUE")]
    args: Vec<ArgsMatch>,
}

impl FilterArgs {
    /// Whether nothing is given, and so every job meant.
    pub(super) fn is_empty(&self) -> bool {
        let Self { state, kind, queue, tag, key, error, attempt_gte, since, until, args } = self;
        let lists = [kind, queue, tag, key];
        state.is_empty()
            && lists.into_iter().all(Vec::is_empty)
            && args.is_empty()
            && error.is_none()
            && attempt_gte.is_none()
            && since.is_none()
            && until.is_none()
    }

    /// The filter; times that are so long ago by the database's clock.
    pub(super) async fn filter(self, pool: &PgPool) -> anyhow::Result<JobFilter> {
        let now = match (&self.since, &self.until) {
            (None, None) => OffsetDateTime::UNIX_EPOCH,
            _ => database_now(pool).await?,
        };
        Ok(JobFilter {
            states: self.state,
            kinds: self.kind,
            queues: self.queue,
            tags: self.tag,
            keys: self.key,
            error: self.error,
            min_attempt: self.attempt_gte,
            since: self.since.map(|since| since.before(now)),
            until: self.until.map(|until| until.before(now)),
            args: self.args,
            ids: None,
        })
    }
}

/// A time as people give it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    At(OffsetDateTime),
    Ago(Duration),
}

impl Moment {
    fn before(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = time::Duration::try_from(ago).unwrap_or(time::Duration::MAX);
                now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH)
            }
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = at(text) {
        return Ok(Moment::At(at));
    }
    parse_duration(text).map(Moment::Ago).map_err(|_| {
        "neither a time like 2026-11-21T08:00:00Z nor so long ago, like 90m or 2h".to_owned()
    })
}

/// A time as RFC 3339 has it.
pub(super) fn at(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "not a time like 2026-11-21T08:00:00Z".to_owned())
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
        let names: Vec<&str> = JobState::ALL.iter().map(|state| state.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

fn field(text: &str) -> Result<ArgsMatch, String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok(ArgsMatch::new(field, value)),
        _ => Err("not FIELD=VALUE".to_owned()),
    }
}
