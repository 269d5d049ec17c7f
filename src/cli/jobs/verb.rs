//! What `retry`, `cancel` and `discard` do to a few jobs at once.

use std::collections::BTreeMap;
use std::process::ExitCode;

use sqlx::PgPool;

use super::tell::{Outcome, Teller};
use crate::jobs::dead_letters;
use crate::queue::enqueue::notify_now;
use crate::queue::operate::discarded::Decision;
use crate::queue::operate::interventions::{self, Each, Refusal, Retried};
use crate::queue::operate::{CancelOutcome, cancel};
use crate::queue::{JobId, JobState};

/// What is done to jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Retry,
    Cancel,
    Discard,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
        }
    }

    /// The states of the jobs that are meant: of those asked for, which all must be able to undergo
    /// it; or else the first one that is not.
    pub(super) fn states(self, asked: &[JobState]) -> Result<Vec<JobState>, JobState> {
        let (able, meant): (&[JobState], &[JobState]) = match self {
            // That jobs scheduled for later are to run now must be said.
            Self::Retry => (
                &[JobState::Scheduled, JobState::Retryable, JobState::Discarded],
                &[JobState::Retryable, JobState::Discarded],
            ),
            Self::Cancel => (&JobState::UNFINISHED, &JobState::UNFINISHED),
            Self::Discard => (
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
            ),
        };
        match asked.iter().find(|state| !able.contains(state)) {
            Some(unable) => Err(*unable),
            None if asked.is_empty() => Ok(meant.to_vec()),
            None => Ok(asked.to_vec()),
        }
    }
}

/// Whether what is done is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Commit,
    DryRun,
}

/// What one command does to jobs, in small transactions.
pub(super) struct Session {
    pub(super) pool: PgPool,
    pub(super) verb: Verb,
    pub(super) mode: Mode,
    pub(super) by: String,
    pub(super) reason: String,
}

impl Session {
    /// Does it to these jobs, which are of these kinds.
    pub(super) async fn change(
        &self,
        kinds: &BTreeMap<JobId, &str>,
    ) -> anyhow::Result<Vec<(JobId, Outcome)>> {
        match self.verb {
            Verb::Retry => self.retry(kinds).await,
            Verb::Cancel => self.cancel(kinds).await,
            Verb::Discard => self.discard(kinds).await,
        }
    }

    /// Ends with what was told, once workers know.
    pub(super) async fn finish(&self, teller: Teller) -> ExitCode {
        if self.mode == Mode::Commit {
            notify_now(&self.pool).await;
        }
        teller.finish("'app jobs show' tells of each")
    }

    fn decision(&self) -> Decision<'_> {
        Decision { by: &self.by, reason: &self.reason }
    }

    async fn end(&self, tx: sqlx::Transaction<'_, sqlx::Postgres>) -> Result<(), sqlx::Error> {
        match self.mode {
            Mode::Commit => tx.commit().await,
            // All was done, so that it is known to be possible, and is undone.
            Mode::DryRun => tx.rollback().await,
        }
    }

    async fn retry(&self, kinds: &BTreeMap<JobId, &str>) -> anyhow::Result<Vec<(JobId, Outcome)>> {
        // A kind never changes: what is about money here is never redriven by the queue alone.
        let (about_money, others): (Vec<JobId>, Vec<JobId>) =
            kinds.keys().partition(|id| dead_letters::is_about_money(kinds[id]));
        let mut tx = self.pool.begin().await?;
        let mut retried: Each<Retried> =
            interventions::retry(&mut tx, &others, self.decision()).await?;
        retried.extend(interventions::run_now(&mut tx, &about_money, self.decision()).await?);
        self.end(tx).await?;
        let mut outcomes = Vec::with_capacity(retried.len());
        for (id, retried) in retried {
            outcomes.push((
                id,
                match retried {
                    Err(Refusal::Discarded) if about_money.contains(&id) => {
                        self.redrive_money(id).await?
                    }
                    Err(refusal) => refusal.into(),
                    Ok(Retried::Redriven) => {
                        Outcome::done("redriven", Retried::Redriven.to_string())
                    }
                    Ok(Retried::DueNow) => Outcome::done("due-now", Retried::DueNow.to_string()),
                    Ok(Retried::AlreadyDue) => {
                        Outcome::done("already-due", Retried::AlreadyDue.to_string())
                    }
                },
            ));
        }
        Ok(outcomes)
    }

    /// With what it is about: an order that had failed is reopened, in the same transaction.
    async fn redrive_money(&self, id: JobId) -> anyhow::Result<Outcome> {
        let mut tx = self.pool.begin().await?;
        match dead_letters::redrive(&mut tx, id, self.decision()).await? {
            Ok(()) => {
                self.end(tx).await?;
                Ok(Outcome::done("redriven", Retried::Redriven.to_string()))
            }
            Err(refusal) => {
                tx.rollback().await?;
                Ok(refusal.into())
            }
        }
    }

    /// One by one: a completion that ends many jobs and a transaction that stops many of them could
    /// wait for each other in a circle.
    async fn cancel(&self, kinds: &BTreeMap<JobId, &str>) -> anyhow::Result<Vec<(JobId, Outcome)>> {
        let mut outcomes = Vec::with_capacity(kinds.len());
        for (id, kind) in kinds {
            if dead_letters::is_about_money(kind) {
                let words = format!(
                    "it is not cancelled, as what it is about would wait for ever; first 'app jobs \
                     discard {id}', then 'app dead-letters write-off {id}'"
                );
                outcomes.push((*id, Outcome::refused("about-money", words)));
                continue;
            }
            let mut tx = self.pool.begin().await?;
            let cancelled = cancel(&mut tx, *id, &self.by, &self.reason).await?;
            self.end(tx).await?;
            outcomes.push((
                *id,
                match cancelled {
                    Some(CancelOutcome::Cancelled) => Outcome::done("cancelled", "is cancelled"),
                    Some(CancelOutcome::Requested) => {
                        Outcome::done("requested", "runs, and its worker was asked to stop it")
                    }
                    Some(CancelOutcome::Finished) => {
                        Outcome::refused("finished", "has ended before")
                    }
                    None => Refusal::NotFound.into(),
                },
            ));
        }
        Ok(outcomes)
    }

    async fn discard(
        &self,
        kinds: &BTreeMap<JobId, &str>,
    ) -> anyhow::Result<Vec<(JobId, Outcome)>> {
        let ids: Vec<JobId> = kinds.keys().copied().collect();
        let mut tx = self.pool.begin().await?;
        let discarded = interventions::discard(&mut tx, &ids, self.decision()).await?;
        self.end(tx).await?;
        let outcome = |discarded: Result<(), Refusal>| match discarded {
            Ok(()) => Outcome::done("discarded", "is discarded; 'app jobs retry' redrives it"),
            Err(refusal) => refusal.into(),
        };
        Ok(discarded.into_iter().map(|(id, discarded)| (id, outcome(discarded))).collect())
    }
}
