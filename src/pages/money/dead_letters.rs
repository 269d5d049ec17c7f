//! Jobs about money that were discarded, and wait for somebody to decide.

use sqlx::PgConnection;

use crate::http::wire::problem::Problem;
use crate::operations::dead_letters;
use crate::operations::jobs::{JobId, JobState, JobSummary};
use crate::pages::refusals::Refusal;

/// A job that waits for a decision.
pub(in crate::pages) struct OpenLetter {
    /// The job.
    pub(in crate::pages) job: JobId,
    /// The error of its last attempt.
    pub(in crate::pages) error: String,
}

/// Those of these jobs that wait for a decision.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn open_among(
    conn: &mut PgConnection,
    jobs: &[JobSummary],
) -> Result<Vec<OpenLetter>, Refusal> {
    let mut open = Vec::new();
    for job in jobs.iter().filter(|job| job.state == JobState::Discarded) {
        let found = dead_letters::find(&mut *conn, job.id).await.map_err(Problem::from)?;
        if found.is_some_and(|letter| letter.is_open) {
            open.push(OpenLetter { job: job.id, error: job.error.clone().unwrap_or_default() });
        }
    }
    Ok(open)
}
