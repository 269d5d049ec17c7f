//! The changes that an action would make, told from how things stand, without making them.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use sqlx::PgConnection;

use super::acting::{ChangeError, not_open};
use super::{JobAction, JobChange, JobRefusal};
use crate::jobs::dead_letters::subject::without_outcome;
use crate::jobs::dead_letters::{self, DecisionRefusal, JobSubject};
use crate::jobs::{ResolveBankOrder, RunBulkOperation};
use crate::queue::operate::discarded;
use crate::queue::operate::interventions::{JobStanding, standings};
use crate::queue::{Job as _, JobId};

/// A number of jobs that are passed over for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Skipped {
    /// The code of the reason: that of a [`JobRefusal`], or `already-due`.
    pub reason: String,
    /// The number of jobs.
    pub jobs: u64,
}

/// A count of what would be, or was, changed and passed over.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// The number of jobs that are changed.
    pub changed: u64,
    /// The jobs that are passed over, by the code of the reason.
    pub skipped: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts the result for one job.
    pub fn count(&mut self, outcome: Result<JobChange, JobRefusal>) {
        match outcome {
            // Nothing has changed.
            Ok(JobChange::AlreadyDue) => self.skip(JobChange::AlreadyDue.code()),
            Ok(_) => self.changed += 1,
            Err(refusal) => self.skip(refusal.code()),
        }
    }

    fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_owned()).or_default() += 1;
    }

    /// The reasons and their numbers, the most frequent first.
    #[must_use]
    pub fn skipped(&self) -> Vec<Skipped> {
        let each = self
            .skipped
            .iter()
            .map(|(reason, jobs)| Skipped { reason: reason.clone(), jobs: *jobs });
        let mut all: Vec<Skipped> = each.collect();
        all.sort_by_key(|skipped| std::cmp::Reverse(skipped.jobs));
        all
    }
}

/// Tells for several pages of jobs what an action would do, from the newest job down.
#[derive(Debug)]
pub struct Forecaster {
    action: JobAction,
    /// Jobs that a write-off of others has taken along.
    taken_along: HashSet<JobId>,
}

impl Forecaster {
    /// A forecaster of this action.
    #[must_use]
    pub fn new(action: JobAction) -> Self {
        Self { action, taken_along: HashSet::new() }
    }

    /// The results for these jobs as things stand, in their order; those that do not exist are
    /// missing.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn page(
        &mut self,
        conn: &mut PgConnection,
        ids: &[JobId],
    ) -> Result<Vec<(JobId, Result<JobChange, JobRefusal>)>, ChangeError> {
        let found = standings(&mut *conn, ids).await?;
        let settled = match self.action {
            JobAction::Retry | JobAction::Redrive | JobAction::WriteOff => {
                self.without_need(conn, found.values()).await?
            }
            JobAction::RunNow | JobAction::Cancel | JobAction::Discard => HashSet::new(),
        };
        let each = ids.iter().filter_map(|id| found.get(id));
        Ok(each.map(|job| (job.id, self.expected(job, settled.contains(&job.id)))).collect())
    }

    /// The open dead letters about money that is settled already. Of a write-off, notes what it
    /// takes along.
    async fn without_need(
        &mut self,
        conn: &mut PgConnection,
        jobs: impl Iterator<Item = &JobStanding>,
    ) -> Result<HashSet<JobId>, ChangeError> {
        let about_money =
            jobs.filter(|job| job.is_open() && dead_letters::is_about_money(&job.kind));
        let ids: Vec<JobId> = about_money.map(|job| job.id).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let open = discarded::open_among(&mut *conn, &ids).await?;
        if self.action == JobAction::WriteOff {
            let follow_ups = open.iter().filter(|job| job.kind == ResolveBankOrder::KIND);
            let followed = follow_ups.filter_map(|job| job.stored_args.parse::<ResolveBankOrder>());
            self.taken_along.extend(followed.map(|follow_up| follow_up.job));
            return Ok(HashSet::new());
        }
        let about: Vec<(JobId, JobSubject)> = open
            .iter()
            .filter_map(|job| Some((job.id, JobSubject::of(&job.kind, &job.stored_args)?)))
            .collect();
        let subjects: Vec<JobSubject> = about.iter().map(|(_, subject)| *subject).collect();
        let unfinished = without_outcome(conn, &subjects).await?;
        let settled = about.into_iter().filter(|(_, subject)| !unfinished.contains(subject));
        Ok(settled.map(|(id, _)| id).collect())
    }

    fn expected(&self, job: &JobStanding, is_settled: bool) -> Result<JobChange, JobRefusal> {
        if job.kind == RunBulkOperation::KIND {
            return Err(JobRefusal::BulkOperation);
        }
        let is_about_money = dead_letters::is_about_money(&job.kind);
        let redriven = match is_settled {
            true => Err(DecisionRefusal::NothingToRedrive.into()),
            false => Ok(JobChange::Redriven),
        };
        match self.action {
            JobAction::Retry if job.is_open() && is_about_money => redriven,
            JobAction::Retry => Ok(job.retry()?.into()),
            JobAction::RunNow => Ok(job.run_now()?.into()),
            JobAction::Redrive => not_open(job).map_or(redriven, Err),
            JobAction::WriteOff if self.taken_along.contains(&job.id) => {
                Err(DecisionRefusal::AlreadyDecided.into())
            }
            JobAction::WriteOff => not_open(job).map_or(Ok(JobChange::WrittenOff), Err),
            JobAction::Cancel if is_about_money => Err(JobRefusal::MoneyNotCancelled),
            JobAction::Cancel if job.is_running() => Ok(JobChange::CancelRequested),
            JobAction::Cancel if job.is_finished() => Err(JobRefusal::Ended),
            JobAction::Cancel => Ok(JobChange::Cancelled),
            JobAction::Discard => Ok(job.discard().map(|()| JobChange::Discarded)?),
        }
    }
}
