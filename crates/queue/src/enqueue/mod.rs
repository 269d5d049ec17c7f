//! Way in: jobs are enqueued in the caller's database transaction, so that they exist exactly when
//! the rows that they are about exist.
//!
//! - [`enqueue`] and [`enqueue_many`]: one statement, whatever the number.
//! - `queue.enqueue(kind, args, …)` in SQL: for other languages and for triggers.
//!
//! # Unique jobs
//!
//! ```
//! # use std::time::Duration;
//! # use serde::{Deserialize, Serialize};
//! # use surety_queue::{Enqueued, NewJob, QueueError, Unique, enqueue};
//! # async fn example(conn: &mut sqlx::PgConnection, job: NewJob) -> Result<(), QueueError> {
//! // At most one such job for the same customer in an hour, completed ones included.
//! let unique = Unique::by_fields(&["customer"]).lasting(Duration::from_secs(3600));
//! match enqueue(conn, job.unique(unique)).await? {
//!     Enqueued::New(id) => println!("job {id}"),
//!     Enqueued::Existing(id) => println!("job {id} does that already"),
//! }
//! # Ok(())
//! # }
//! ```

pub mod bounds;
mod joining;
pub mod kinds;
mod new_job;
mod notifier;
mod same_process;
mod sizes;
mod statements;
mod unique;

use sqlx::{Connection as _, PgConnection};

pub(crate) use joining::{NewDependency, insert_dependencies};
pub(crate) use new_job::Extras;
#[cfg(feature = "sealing")]
pub(crate) use new_job::PlainArgs;
pub use new_job::{Enqueued, IfFailed, NewJob};
pub(crate) use notifier::CHANNEL;
pub use notifier::{Notifier, notify_now};
pub(crate) use same_process::SameProcess;
pub use unique::Unique;

use crate::QueueError;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::telemetry::{EnqueueSpan, TraceContext};

/// Enqueues one job in the caller's transaction.
///
/// A worker learns of it at its next poll, or at once if
/// [`Notifier::notify`](notifier::Notifier::notify) is called after the commit.
///
/// # Errors
///
/// [`QueueError::InvalidJob`] and [`QueueError::ArgsTooLong`], after which the caller's transaction
/// can go on; [`QueueError::Database`].
pub async fn enqueue(conn: &mut PgConnection, job: NewJob) -> Result<Enqueued, QueueError> {
    let enqueued = enqueue_many(conn, std::slice::from_ref(&job)).await?;
    enqueued.first().copied().ok_or(QueueError::Database(sqlx::Error::RowNotFound))
}

/// Enqueues many jobs in the caller's transaction by one statement, and one for each unique job.
/// The answers are in the order of the jobs.
///
/// # Errors
///
/// As [`enqueue`]; then none is enqueued.
pub async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, QueueError> {
    bounds::check(jobs)?;
    sizes::check(conn, jobs).await?;
    if joining::belongs_to_others(jobs) {
        return joining::enqueue_many(conn, jobs).await;
    }
    enqueue_all(conn, jobs).await
}

/// All that [`enqueue_many`] does for jobs that belong to no others.
pub(crate) async fn enqueue_all(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, QueueError> {
    let (unique, plain): (Vec<_>, Vec<_>) =
        (0..jobs.len()).partition(|&position| jobs[position].unique.is_some());
    let mut enqueued = vec![None; jobs.len()];
    if !plain.is_empty() {
        let plain_jobs: Vec<&NewJob> = plain.iter().map(|&position| &jobs[position]).collect();
        let (spans, contexts) = start_spans(&plain_jobs);
        let ids = statements::enqueue(conn, &plain_jobs, contexts).await?;
        end_spans(spans, &ids);
        for (position, id) in plain.into_iter().zip(ids) {
            enqueued[position] = Some(Enqueued::New(id));
        }
    }
    for (position, value) in in_lock_order(jobs, unique) {
        enqueued[position] = Some(enqueue_unique(conn, &jobs[position], value).await?);
    }
    Ok(enqueued.into_iter().flatten().collect())
}

/// Makes sure that a job which is kept to be enqueued later could be enqueued now: it is, in a
/// savepoint that is rolled back.
///
/// # Errors
///
/// [`QueueError`], as if it were enqueued.
pub(crate) async fn try_out(conn: &mut PgConnection, job: &NewJob) -> Result<(), QueueError> {
    bounds::check([job])?;
    sizes::check(conn, [job]).await?;
    let mut savepoint = conn.begin().await?;
    statements::enqueue(&mut savepoint, &[job], vec![None]).await?;
    savepoint.rollback().await?;
    Ok(())
}

/// The unique jobs in an order that is the same for everybody, so that two transactions that
/// enqueue the same ones do not wait for each other in a circle.
fn in_lock_order(jobs: &[NewJob], unique: Vec<usize>) -> Vec<(usize, JsonText)> {
    let mut values: Vec<_> = unique
        .into_iter()
        .filter_map(|position| Some((position, jobs[position].unique_value()?)))
        .collect();
    values.sort_by_cached_key(|(position, value)| {
        (jobs[*position].kind.clone().into_owned(), value.get().to_owned())
    });
    values
}

async fn enqueue_unique(
    conn: &mut PgConnection,
    job: &NewJob,
    value: JsonText,
) -> Result<Enqueued, QueueError> {
    let span = EnqueueSpan::start(&job.queue, &job.kind, job.trace_context.as_ref());
    let enqueued =
        statements::enqueue_unique(conn, job, value, span.trace_context().cloned()).await?;
    match enqueued {
        Enqueued::New(id) => span.enqueued(id),
        Enqueued::Existing(_) => span.not_needed(),
    }
    Ok(enqueued)
}

fn start_spans(jobs: &[&NewJob]) -> (Vec<EnqueueSpan>, Vec<Option<TraceContext>>) {
    let spans: Vec<EnqueueSpan> = jobs
        .iter()
        .map(|job| EnqueueSpan::start(&job.queue, &job.kind, job.trace_context.as_ref()))
        .collect();
    let contexts = spans.iter().map(|span| span.trace_context().cloned()).collect();
    (spans, contexts)
}

fn end_spans(spans: Vec<EnqueueSpan>, ids: &[JobId]) {
    for (span, id) in spans.into_iter().zip(ids) {
        span.enqueued(*id);
    }
}
