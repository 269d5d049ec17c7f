//! Flags that select jobs.

use clap::builder::NonEmptyStringValueParser;

use crate::cli::known_names::TypedNames;
use crate::operations::jobs::selection::{
    Moment, parse_args_match, parse_fingerprint, parse_state,
};
use crate::operations::jobs::{ArgsMatch, Fingerprint, JobSelection, JobState};

/// Which jobs are meant: those that match all that is given.
#[derive(clap::Args, Debug, Default)]
pub(in crate::cli) struct FilterArgs {
    /// Jobs in this state; several for any of them.
    #[arg(long, value_parser = parse_state, value_delimiter = ',', value_name = "STATE")]
    state: Vec<JobState>,

    /// Jobs of this kind; several for any of them.
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,

    /// Jobs in this queue; several for any of them.
    #[arg(long, value_delimiter = ',')]
    queue: Vec<String>,

    /// Jobs with this tag; several for all of them.
    #[arg(long, value_delimiter = ',')]
    tag: Vec<String>,

    /// Jobs with this key; several for any of them.
    #[arg(long)]
    key: Vec<String>,

    /// Jobs with this text in their last error, whatever its case.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    error: Option<String>,

    /// Jobs that have begun at least this many attempts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    attempt_gte: Option<i16>,

    /// Jobs enqueued since a time like 2026-11-21T08:00:00Z, or a time ago, like 2h.
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,

    /// Jobs enqueued before this time.
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,

    /// Jobs that failed since this time: were discarded, or had their last attempt fail.
    #[arg(long, value_name = "WHEN")]
    failed_since: Option<Moment>,

    /// Jobs that failed before this time.
    #[arg(long, value_name = "WHEN")]
    failed_until: Option<Moment>,

    /// Discarded jobs that somebody has decided over (true), or nobody has (false).
    #[arg(long, value_name = "BOOL")]
    decided: Option<bool>,

    /// Jobs with this value in a field at the top of their arguments; several for all.
    #[arg(long = "where", value_parser = parse_args_match, value_name = "FIELD=VALUE")]
    args: Vec<ArgsMatch>,

    /// Jobs whose last failure has this fingerprint; 'app failures list' shows them.
    #[arg(long, value_name = "HEX", value_parser = parse_fingerprint)]
    fingerprint: Option<Fingerprint>,

    /// Jobs about the transaction with this id of the provider's.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    transaction: Option<String>,
}

impl FilterArgs {
    /// The names in it.
    pub(in crate::cli) fn names(&self) -> TypedNames {
        TypedNames { kinds: self.kind.clone(), queues: self.queue.clone() }
    }
}

impl From<FilterArgs> for JobSelection {
    fn from(args: FilterArgs) -> Self {
        Self {
            states: args.state,
            kinds: args.kind,
            queues: args.queue,
            tags: args.tag,
            keys: args.key,
            error: args.error,
            min_attempt: args.attempt_gte,
            since: args.since,
            until: args.until,
            failed_since: args.failed_since,
            failed_until: args.failed_until,
            decided: args.decided,
            args: args.args,
            ids: None,
            fingerprint: args.fingerprint,
            transaction: args.transaction,
        }
    }
}
