//! The scope of a change: the jobs that match a filter, up to a moment.
//!
//! They are found page by page, from the newest down. Jobs that are enqueued after the scope was
//! taken are left out, and so are failures after it: whoever asks for a change means what is there.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::JobAction;
use super::acting::ChangeError;
use super::forecast::{Forecaster, Skipped, Tally};
use crate::queue::operate::JobFilter;
use crate::queue::operate::list::{self, JobSummary};
use crate::queue::{JobId, QueueError};

/// The most jobs that are counted before a change.
pub const MAX_COUNTED: usize = 20_000;

/// The longest time for which they are counted: somebody waits for the number.
const COUNT_WITHIN: Duration = Duration::from_secs(3);

/// The jobs of a sample.
const SAMPLE: usize = 5;

/// The jobs of one page, which one transaction changes.
pub const PAGE: u32 = 500;

/// The jobs that a change is about, as they were when the scope was taken.
#[derive(Clone, Debug)]
pub struct JobScope {
    /// The filter, bound to the moment.
    pub filter: JobFilter,
    /// The job before which the next page begins; none after the last.
    pub before: Option<JobId>,
    /// The most jobs that are still to be given.
    pub left: usize,
}

/// A count of the jobs in a scope, and of what an action would do to them.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct JobCount {
    /// The number of jobs that were counted.
    pub matching: usize,
    /// True if there are more than were counted.
    pub is_more: bool,
    /// Of those that were counted, the ones that would be changed.
    pub eligible: u64,
    /// Those that would be passed over, by reason.
    pub skipped: Vec<Skipped>,
    /// The newest of those that would be changed.
    pub sample: Vec<JobSummary>,
}

impl JobScope {
    /// Takes the scope of a filter for an action, with at most `limit` jobs, as of this moment of
    /// the database's clock. None when there are no jobs at all.
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`].
    pub async fn take(
        conn: &mut PgConnection,
        action: JobAction,
        mut filter: JobFilter,
        limit: usize,
    ) -> Result<Option<Self>, QueueError> {
        let page = list::list(&mut *conn, &JobFilter::default(), None, 1).await?;
        let Some(newest) = page.jobs.first() else { return Ok(None) };
        let now: OffsetDateTime =
            sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?;
        filter.unchanged_since = match action {
            // Whatever becomes of a job meanwhile, it is no longer wanted.
            JobAction::Cancel => None,
            JobAction::Retry
            | JobAction::RunNow
            | JobAction::Redrive
            | JobAction::Discard
            | JobAction::WriteOff => Some(now),
        };
        Ok(Some(Self { filter, before: Some(JobId(newest.id.0 + 1)), left: limit }))
    }

    /// Counts the jobs, up to [`MAX_COUNTED`] or as many as can be in three seconds, and what the
    /// action would do.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn count(
        &self,
        conn: &mut PgConnection,
        action: JobAction,
    ) -> Result<JobCount, ChangeError> {
        let mut rest = Self { left: self.left.min(MAX_COUNTED), ..self.clone() };
        let (mut tally, mut sample, mut matching) = (Tally::default(), Vec::new(), 0);
        let mut forecaster = Forecaster::new(action);
        let begun = Instant::now();
        while begun.elapsed() < COUNT_WITHIN {
            let Some(page) = rest.next_page(&mut *conn).await? else { break };
            matching += page.len();
            let ids: Vec<JobId> = page.iter().map(|job| job.id).collect();
            let expected = forecaster.page(&mut *conn, &ids).await?;
            for (id, outcome) in &expected {
                let before = tally.changed;
                tally.count(*outcome);
                let job = page.iter().find(|job| job.id == *id);
                if tally.changed > before && sample.len() < SAMPLE {
                    sample.extend(job.cloned());
                }
            }
        }
        let is_more = self.left > matching && rest.before.is_some();
        let skipped = tally.skipped();
        Ok(JobCount { matching, is_more, eligible: tally.changed, skipped, sample })
    }

    /// The next jobs, newest first; a page may be empty. None after the last.
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`].
    pub async fn next_page(
        &mut self,
        conn: &mut PgConnection,
    ) -> Result<Option<Vec<JobSummary>>, QueueError> {
        let Some(end) = self.before.filter(|_| self.left > 0) else { return Ok(None) };
        let page = list::list(conn, &self.filter, Some(end), PAGE).await?;
        let mut jobs = page.jobs;
        self.before = page.next;
        jobs.truncate(self.left);
        self.left -= jobs.len();
        Ok(Some(jobs))
    }

    /// True once all jobs were given.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.before.is_none() || self.left == 0
    }
}
