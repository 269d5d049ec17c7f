//! Failures by fingerprint: thousands of jobs that failed for one cause as one line.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use crate::queue::operate::failures::{
    FailureGroup, Fingerprint, InvalidFingerprint, MAX_COUNTED, MAX_LISTED,
};

use crate::queue::QueueError;
use crate::queue::operate::failures;

/// Jobs of one kind whose last errors say the same, and that nobody has dealt with.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FailureView {
    /// The fingerprint that they share, as 16 hexadecimal digits: a filter of jobs.
    pub fingerprint: String,
    /// Their kind.
    pub kind: String,
    /// Their errors without what differs, such as numbers and ids.
    pub error: String,
    /// The number of jobs.
    pub jobs: i64,
    /// True if there are more than were counted.
    pub jobs_capped: bool,
    /// The earliest of these failures.
    #[serde(with = "time::serde::rfc3339")]
    pub first_at: OffsetDateTime,
    /// The latest of them.
    #[serde(with = "time::serde::rfc3339")]
    pub last_at: OffsetDateTime,
    /// The job of the latest.
    pub sample_job: i64,
    /// The number of those that wait for their next attempt, or are in it.
    pub waiting: i64,
    /// The number of those that are discarded, and that nobody has decided over.
    pub discarded: i64,
}

impl From<FailureGroup> for FailureView {
    fn from(group: FailureGroup) -> Self {
        Self {
            fingerprint: group.fingerprint.to_string(),
            kind: group.kind,
            error: group.error,
            jobs: (group.waiting + group.discarded).min(MAX_COUNTED),
            jobs_capped: group.is_capped,
            first_at: group.first_at,
            last_at: group.last_at,
            sample_job: group.sample_job.0,
            waiting: group.waiting,
            discarded: group.discarded,
        }
    }
}

/// The failures that were seen last, the latest first: at most `limit`, which is capped at
/// [`MAX_LISTED`].
///
/// # Errors
///
/// [`QueueError`].
pub async fn list(conn: &mut PgConnection, limit: u32) -> Result<Vec<FailureView>, QueueError> {
    let groups = failures::list(conn, limit).await?;
    Ok(groups.into_iter().map(FailureView::from).collect())
}

/// The failure with this fingerprint; none if no job has it any more.
///
/// # Errors
///
/// [`QueueError`].
pub async fn find(
    conn: &mut PgConnection,
    fingerprint: Fingerprint,
) -> Result<Option<FailureView>, QueueError> {
    Ok(failures::find(conn, fingerprint).await?.map(FailureView::from))
}
