//! All jobs that match a filter, for a change of them.
//!
//! They are found page by page, from the newest down. Jobs that are enqueued after the scope was
//! taken are left out. A job that was changed no longer matches, so the same change again goes on
//! with the rest.

use serde::Serialize;
use sqlx::PgConnection;

use super::{JobFilter, JobId, JobSummary, JobsError};
use crate::queue::operate::list;

/// The most jobs that are counted before a change.
pub const MAX_COUNTED: usize = 100_000;

/// The jobs of a sample.
const SAMPLE: usize = 5;

/// The jobs of one page.
const PAGE: u32 = 500;

/// The jobs that a change is about: those that match, up to the newest of the moment it was taken.
#[derive(Debug)]
pub struct JobScope {
    filter: JobFilter,
    newest: JobId,
    /// The job before which the next page begins; none after the last.
    before: Option<JobId>,
    /// The most jobs that are still to be given.
    left: usize,
}

/// The number of jobs that match.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct JobCount {
    /// The number of jobs that were counted.
    pub matching: usize,
    /// True if there are more than were counted.
    pub is_more: bool,
    /// The newest of them.
    pub sample: Vec<JobSummary>,
}

impl JobScope {
    /// Takes the scope of a filter, with at most `limit` jobs. None when there are no jobs at all.
    ///
    /// # Errors
    ///
    /// [`JobsError::Queue`].
    pub async fn take(
        conn: &mut PgConnection,
        filter: JobFilter,
        limit: usize,
    ) -> Result<Option<Self>, JobsError> {
        let page = list::list(conn, &JobFilter::default(), None, 1).await?;
        let newest = page.jobs.first().map(|job| JobId(job.id.0 + 1));
        Ok(newest.map(|newest| Self { filter, newest, before: Some(newest), left: limit }))
    }

    /// Counts the jobs, up to [`MAX_COUNTED`].
    ///
    /// # Errors
    ///
    /// [`JobsError::Queue`].
    pub async fn count(&self, conn: &mut PgConnection) -> Result<JobCount, JobsError> {
        let (mut matching, mut sample) = (0, Vec::new());
        let mut before = Some(self.newest);
        let most = self.left.min(MAX_COUNTED);
        while let (Some(end), true) = (before, matching < most) {
            let page = list::list(conn, &self.filter, Some(end), list::MAX_LISTED).await?;
            before = page.next;
            matching += page.jobs.len();
            let missing = SAMPLE.saturating_sub(sample.len());
            sample.extend(page.jobs.into_iter().take(missing));
        }
        let is_more = self.left > MAX_COUNTED && before.is_some() && matching >= MAX_COUNTED;
        Ok(JobCount { matching: matching.min(most), is_more, sample })
    }

    /// The numbers of the next jobs, newest first; a page may be empty. None after the last.
    ///
    /// # Errors
    ///
    /// [`JobsError::Queue`].
    pub async fn next_page(
        &mut self,
        conn: &mut PgConnection,
    ) -> Result<Option<Vec<JobId>>, JobsError> {
        let Some(end) = self.before.filter(|_| self.left > 0) else { return Ok(None) };
        let page = list::list(conn, &self.filter, Some(end), PAGE).await?;
        self.before = page.next;
        let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).take(self.left).collect();
        self.left -= ids.len();
        Ok(Some(ids))
    }

    /// True once all jobs were given.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.before.is_none() || self.left == 0
    }
}
