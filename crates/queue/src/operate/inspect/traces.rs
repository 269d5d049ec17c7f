//! Traces of a job: that of whoever enqueued it, and those of its attempts.

use sqlx::PgConnection;

use crate::QueueError;
use crate::ids::{Fence, JobId};

/// The W3C `traceparent`s of a job. None is there where nothing was traced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JobTraces {
    /// The one of whoever enqueued it.
    pub enqueued: Option<String>,
    /// The ones of its attempts, each with the number of the claim.
    pub attempts: Vec<(Fence, Option<String>)>,
}

/// The traces of a job; none if there is no such job.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn traces(conn: &mut PgConnection, id: JobId) -> Result<JobTraces, QueueError> {
    let enqueued = sqlx::query_scalar!(
        r#"
        select trace_context ->> 'traceparent' as "traceparent"
        from queue.jobs
        where id = $1
        union all
        select trace_context ->> 'traceparent'
        from queue.finished_jobs
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let attempts = sqlx::query!(
        r#"select fence as "fence: Fence", traceparent from queue.attempts where job_id = $1"#,
        id.0,
    )
    .fetch_all(conn)
    .await?;
    let attempts = attempts.into_iter().map(|row| (row.fence, row.traceparent)).collect();
    Ok(JobTraces { enqueued: enqueued.flatten(), attempts })
}
