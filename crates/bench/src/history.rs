//! A database with a past: finished jobs and jobs of the future, which a claim must not feel (G10).

use std::fmt;

use sqlx::PgConnection;

use super::kinds::PLAIN_KIND;

/// Rows of one statement and commit.
const CHUNK: u64 = 1_000_000;

/// The contents of a database before anything is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct History {
    /// Finished jobs, with an attempt each.
    pub(crate) finished: u64,
    /// Jobs that are due tomorrow.
    pub(crate) scheduled: u64,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} finished and {} scheduled jobs", self.finished, self.scheduled)
    }
}

/// Fills the database, beside the jobs that there are. Gives the last job of the past.
pub(crate) async fn fill(conn: &mut PgConnection, past: History) -> anyhow::Result<i64> {
    let there: i64 = sqlx::query_scalar(
        "select greatest(
           (select coalesce(max(id), 0) from queue.jobs),
           (select coalesce(max(id), 0) from queue.finished_jobs)
         )",
    )
    .fetch_one(&mut *conn)
    .await?;
    let end = there + i64::try_from(past.finished)?;
    for first in (there..end).step_by(CHUNK as usize) {
        let (first, last) = (first + 1, end.min(first + CHUNK as i64));
        sqlx::query(
            "with finished as (
               insert into queue.finished_jobs (
                 id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
                 enqueued_at, args
               )
               select id, 'default', $3, 2, 1, 10, 0, 'completed', now(), now(), '{\"at\": 0}'
               from generate_series($1::bigint, $2) as id
             )
             insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome)
             select id, 1, id, '00000000-0000-7000-8000-000000000000', now(), 'completed'
             from generate_series($1::bigint, $2) as id",
        )
        .bind(first)
        .bind(last)
        .bind(PLAIN_KIND)
        .execute(&mut *conn)
        .await?;
    }
    // As if they had been enqueued and claimed: the numbers go on after them.
    if past.finished > 0 {
        sqlx::query(
            "select
               setval(pg_get_serial_sequence('queue.jobs', 'id'), $1),
               setval('queue.fence', $1)",
        )
        .bind(end)
        .execute(&mut *conn)
        .await?;
    }
    // Of the kind, queue and priority that are claimed, so in the way if anything is.
    sqlx::query(
        "insert into queue.jobs (queue, kind, priority, run_at, args)
         select 'default', $2, 2, now() + interval '1 day' + n * interval '1 second', '{\"at\": 0}'
         from generate_series(1, $1::bigint) as n",
    )
    .bind(i64::try_from(past.scheduled)?)
    .bind(PLAIN_KIND)
    .execute(&mut *conn)
    .await?;
    sqlx::query("vacuum (analyze)").execute(&mut *conn).await?;
    let last: i64 = sqlx::query_scalar(
        "select coalesce((select id from queue.jobs order by id desc limit 1), $1)",
    )
    .bind(end)
    .fetch_one(conn)
    .await?;
    Ok(last)
}
