//! Enqueueing jobs that belong to others: members of batches, and jobs that wait.
//!
//! Takes more than one statement, so it is a transaction of its own if the caller has none, and a
//! part of the caller's if there is one.

use std::collections::BTreeSet;

use sqlx::{Connection, PgConnection};

use super::new_job::{Enqueued, IfFailed, NewJob};
use crate::ids::{BatchId, JobId};
use crate::{QueueError, enqueue};

/// Tells whether one of the jobs is in a batch or waits for others.
pub(crate) fn belongs_to_others(jobs: &[NewJob]) -> bool {
    jobs.iter().any(|job| job.extras.batch_id.is_some() || !job.after.is_empty())
}

/// [`enqueue::enqueue_many`] for jobs that belong to others.
pub(crate) async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, QueueError> {
    let mut tx = conn.begin().await?;
    join_batches(&mut tx, jobs).await?;
    let enqueued = enqueue::enqueue_all(&mut tx, jobs).await?;
    let new = jobs.iter().zip(&enqueued).filter_map(|(job, enqueued)| match enqueued {
        // A unique job was enqueued together with its dependencies.
        Enqueued::New(id) if job.unique.is_none() => Some((job, *id)),
        Enqueued::New(_) | Enqueued::Existing(_) => None,
    });
    insert_dependencies(&mut tx, &dependencies_of(new)).await?;
    tx.commit().await?;
    Ok(enqueued)
}

fn dependencies_of<'a>(jobs: impl Iterator<Item = (&'a NewJob, JobId)>) -> Vec<NewDependency> {
    let of_each = jobs.flat_map(|(job, id)| {
        job.after.iter().map(move |&depends_on| NewDependency {
            job: id,
            depends_on,
            if_failed: job.if_failed,
        })
    });
    of_each.collect()
}

/// Makes sure that the batches of these jobs are not done, and are not until the transaction ends:
/// whoever finds that a batch is done needs a lock on it that this one refuses.
async fn join_batches(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<(), QueueError> {
    let batches: BTreeSet<i64> = jobs.iter().filter_map(|job| job.extras.batch_id).collect();
    let batches: Vec<i64> = batches.into_iter().collect();
    if batches.is_empty() {
        return Ok(());
    }
    let open = sqlx::query_scalar!(
        "
        select id
        from queue.batches
        where id = any ($1) and done_at is null
        order by id
        for key share
        ",
        &batches,
    )
    .fetch_all(conn)
    .await?;
    match batches.into_iter().find(|id| !open.contains(id)) {
        None => Ok(()),
        Some(id) => Err(QueueError::NoOpenBatch(BatchId(id))),
    }
}

/// One dependency to be written.
pub(crate) struct NewDependency {
    pub(crate) job: JobId,
    pub(crate) depends_on: JobId,
    pub(crate) if_failed: IfFailed,
}

/// Writes dependencies, each once, in the transaction that enqueues the jobs that wait.
pub(crate) async fn insert_dependencies(
    conn: &mut PgConnection,
    dependencies: &[NewDependency],
) -> Result<(), QueueError> {
    if dependencies.is_empty() {
        return Ok(());
    }
    let jobs: Vec<i64> = dependencies.iter().map(|dependency| dependency.job.0).collect();
    let parents: Vec<i64> = dependencies.iter().map(|dependency| dependency.depends_on.0).collect();
    let policies: Vec<String> =
        dependencies.iter().map(|dependency| dependency.if_failed.name().to_owned()).collect();
    sqlx::query!(
        "
        insert into queue.dependencies (job_id, depends_on, if_failed)
        select job_id, depends_on, if_failed
        from unnest($1::bigint[], $2::bigint[], $3::text[]) as new (job_id, depends_on, if_failed)
        on conflict do nothing
        ",
        &jobs,
        &parents,
        &policies,
    )
    .execute(conn)
    .await?;
    Ok(())
}
