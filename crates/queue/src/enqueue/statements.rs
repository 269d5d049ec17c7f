//! The statements that insert jobs.

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::new_job::{Enqueued, Extras, NewJob};
use crate::QueueError;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::telemetry::TraceContext;

/// Enqueues jobs that are not unique.
pub(crate) async fn enqueue(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    mut trace_contexts: Vec<Option<TraceContext>>,
) -> Result<Vec<JobId>, QueueError> {
    match jobs {
        [job] => Ok(vec![enqueue_one(conn, job, trace_contexts.pop().flatten()).await?]),
        jobs => enqueue_many(conn, jobs, trace_contexts).await,
    }
}

async fn enqueue_one(
    conn: &mut PgConnection,
    job: &NewJob,
    trace_context: Option<TraceContext>,
) -> Result<JobId, QueueError> {
    let extras = &job.extras;
    let id = sqlx::query_file_scalar!(
        "src/sql/enqueue_one.sql",
        &*job.queue,
        &*job.kind,
        job.priority,
        job.max_attempts,
        job.delay.as_secs_f64(),
        extras.run_at,
        &job.args as _,
        trace_context.map(Json) as _,
        extras.on_discard.as_ref().map(Json) as _,
        extras.key,
        extras.held,
        !extras.no_history,
        extras.batch_id,
        (!extras.tags.is_empty()).then_some(extras.tags.as_slice()),
        extras.args_key,
    )
    .fetch_one(conn)
    .await?;
    Ok(JobId(id))
}

async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    trace_contexts: Vec<Option<TraceContext>>,
) -> Result<Vec<JobId>, QueueError> {
    let none = Extras::default();
    let queues: Vec<&str> = jobs.iter().map(|job| &*job.queue).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| &*job.kind).collect();
    let priorities: Vec<i16> = jobs.iter().map(|job| job.priority).collect();
    let max_attempts: Vec<i16> = jobs.iter().map(|job| job.max_attempts).collect();
    let delays = column(jobs, |job| (!job.delay.is_zero()).then_some(job.delay.as_secs_f64()));
    let args: Vec<Json<&RawValue>> = jobs.iter().map(|job| Json(job.args.raw())).collect();
    let extras = column(jobs, |job| (job.extras != none).then_some(Json(&job.extras)));
    let trace_contexts = column(trace_contexts, |context| context.map(Json));
    let ids = sqlx::query_file_scalar!(
        "src/sql/enqueue_many.sql",
        &queues as _,
        &kinds as _,
        &priorities,
        &max_attempts,
        &delays as _,
        &args as _,
        &trace_contexts as _,
        &extras as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// The values of a column; no array element at all if all are null, which is what the statement
/// then reads, and what most columns are for most jobs.
fn column<T, V>(
    items: impl IntoIterator<Item = T>,
    value: impl Fn(T) -> Option<V>,
) -> Vec<Option<V>> {
    let values: Vec<Option<V>> = items.into_iter().map(value).collect();
    if values.iter().all(Option::is_none) { Vec::new() } else { values }
}

/// Enqueues a job that is unique by `value`, unless there is one.
pub(crate) async fn enqueue_unique(
    conn: &mut PgConnection,
    job: &NewJob,
    value: JsonText,
    trace_context: Option<TraceContext>,
) -> Result<Enqueued, QueueError> {
    let extras = &job.extras;
    let lasts = job.unique.as_ref().and_then(|unique| unique.lasts());
    let states = job.unique.as_ref().and_then(|unique| unique.states());
    let after: Vec<i64> = job.after.iter().map(|id| id.0).collect();
    let row = sqlx::query_file!(
        "src/sql/enqueue_unique.sql",
        &*job.kind,
        &job.args as _,
        &*job.queue,
        i32::from(job.priority),
        extras.run_at,
        job.delay.as_secs_f64(),
        i32::from(job.max_attempts),
        extras.key,
        (!extras.tags.is_empty()).then_some(extras.tags.as_slice()),
        value as _,
        lasts.map(|window| window.as_secs_f64()),
        states.as_deref(),
        !extras.no_history,
        extras.on_discard.clone().map(Json) as _,
        extras.batch_id,
        extras.args_key,
        trace_context.map(Json) as _,
        &after,
        job.if_failed.name(),
    )
    .fetch_one(conn)
    .await?;
    let id = JobId(row.job_id);
    Ok(if row.is_new { Enqueued::New(id) } else { Enqueued::Existing(id) })
}
