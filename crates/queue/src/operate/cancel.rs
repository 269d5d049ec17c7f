//! Cancelling jobs, wherever they are.
//!
//! ```
//! # use surety_queue::{JobId, QueueError};
//! # use surety_queue::operate::{CancelOutcome, cancel};
//! # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), QueueError> {
//! match cancel(conn, JobId(812), "ada", "the order was withdrawn").await? {
//!     Some(CancelOutcome::Cancelled) => println!("it waited, and is cancelled"),
//!     Some(CancelOutcome::Requested) => println!("it runs, and is told within a second"),
//!     Some(CancelOutcome::Finished) => println!("it had ended before"),
//!     None => println!("there is no such job"),
//! }
//! # Ok(())
//! # }
//! ```

use serde::Serialize;
use sqlx::PgConnection;

use crate::QueueError;
use crate::ids::JobId;

/// The result of a request to cancel a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CancelOutcome {
    /// The job waited, and is cancelled.
    Cancelled,
    /// The job runs; its worker was asked and looks twice a second. The handler is told, and
    /// stopped 2 s later. It may complete the job before that.
    Requested,
    /// The job had ended before.
    Finished,
}

/// Cancels a job: a waiting one at once, a running one by asking its worker, wherever that is. None
/// when there is no such job. Who wanted it, and why, is kept in `queue.interventions`.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn cancel(
    conn: &mut PgConnection,
    id: JobId,
    by: &str,
    reason: &str,
) -> Result<Option<CancelOutcome>, QueueError> {
    let outcome = sqlx::query_scalar!(
        r#"select queue.cancel($1, $2, $3) as "outcome: CancelOutcome""#,
        id.0,
        by,
        reason,
    )
    .fetch_one(conn)
    .await?;
    Ok(outcome)
}

/// Cancels those of these jobs that wait and that nobody else works on at this moment, by one
/// statement, and gives them. The others are for [`cancel`], each in a transaction of its own:
/// whoever asks for the end of several running jobs at once could wait in a circle with a worker
/// that completes them together.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn cancel_waiting(
    conn: &mut PgConnection,
    ids: &[JobId],
    by: &str,
    reason: &str,
) -> Result<Vec<JobId>, QueueError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let cancelled = sqlx::query_scalar!(
        r#"select id as "id!: JobId" from queue.cancel_waiting_jobs($1, $2, $3)"#,
        &ids,
        by,
        reason,
    )
    .fetch_all(conn)
    .await?;
    Ok(cancelled)
}
