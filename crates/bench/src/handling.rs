//! The handling of jobs that do nothing: the choices that decide how fast a queue is.

use std::fmt;

use anyhow::ensure;
use clap::ValueEnum;
use serde::Serialize;

/// The handling of jobs that do nothing. Several of one pair measure each, in turns.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "How jobs are handled")]
pub(crate) struct HandlingArgs {
    /// By a batch handler: up to 200 jobs in one database transaction of the handler's.
    #[arg(long)]
    batch: bool,
    /// One by one: a call of the handler for each job.
    #[arg(long)]
    no_batch: bool,
    /// The transaction in which jobs that are handled one by one are completed. per-job: a database
    /// transaction of the handler's own for each, in which it could write. batch: completions of
    /// the same moment share one, for handlers that write nothing. [default: batch]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "per-job|batch")]
    commit: Vec<Commit>,
    /// A kind that keeps finished jobs and their attempts. The default.
    #[arg(long)]
    history: bool,
    /// A kind whose completed jobs leave nothing behind.
    #[arg(long)]
    no_history: bool,
}

/// The transaction in which the completion of a job that is handled by itself is committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Commit {
    /// A database transaction of its own.
    PerJob,
    /// One that completions of the same moment share.
    Batch,
}

/// The handler of the jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "handler", content = "commit")]
pub(crate) enum Handler {
    /// Many at once, in one database transaction.
    Batch,
    /// One by one.
    OneByOne(Commit),
}

/// One way of handling jobs that do nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Handling {
    #[serde(flatten)]
    pub(crate) handler: Handler,
    pub(crate) keeps_history: bool,
}

impl Handling {
    /// One by one, completions share commits, history is kept: what a kind gets that asks for
    /// nothing else.
    pub(crate) const PLAIN: Self =
        Self { handler: Handler::OneByOne(Commit::Batch), keeps_history: true };

    /// Tells whether a handler writes in the transaction that completes its job.
    pub(crate) fn can_have_effects(self) -> bool {
        self.handler != Handler::OneByOne(Commit::Batch)
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.handler {
            Handler::Batch => "batch handler of up to 200",
            Handler::OneByOne(Commit::PerJob) => "one by one, a commit per job",
            Handler::OneByOne(Commit::Batch) => {
                "one by one, completions of a moment share a commit"
            }
        })?;
        f.write_str(if self.keeps_history { ", history kept" } else { ", no history" })
    }
}

impl HandlingArgs {
    /// The handlers that were asked for; empty when none was.
    pub(crate) fn handlers(&self) -> anyhow::Result<Vec<Handler>> {
        let one_by_one = self.no_batch || !self.commit.is_empty() && !self.batch;
        ensure!(
            self.commit.is_empty() || one_by_one,
            "--commit is about jobs that are handled one by one: a batch handler commits once for \
             all of its jobs (add --no-batch to measure both)"
        );
        let mut handlers = Vec::new();
        if self.batch {
            handlers.push(Handler::Batch);
        }
        if one_by_one {
            let commits =
                if self.commit.is_empty() { &[Commit::Batch][..] } else { &self.commit[..] };
            handlers.extend(commits.iter().map(|&commit| Handler::OneByOne(commit)));
        }
        Ok(handlers)
    }

    /// Each of these handlers, with and without history as asked for.
    pub(crate) fn of_handlers(&self, handlers: &[Handler]) -> Vec<Handling> {
        let histories: &[bool] = match (self.history, self.no_history) {
            (true, true) => &[true, false],
            (false, true) => &[false],
            (_, false) => &[true],
        };
        handlers
            .iter()
            .flat_map(|&handler| {
                histories.iter().map(move |&keeps_history| Handling { handler, keeps_history })
            })
            .collect()
    }

    /// All that was asked for; jobs one by one when nothing was.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Handling>> {
        let handlers = self.handlers()?;
        Ok(match handlers.as_slice() {
            [] => self.of_handlers(&[Handling::PLAIN.handler]),
            some => self.of_handlers(some),
        })
    }
}
