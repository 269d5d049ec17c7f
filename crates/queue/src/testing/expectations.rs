//! Expectations of the jobs of a kind that are to be run.

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::TestingError;
use crate::handler::Job;
use crate::ids::JobId;
use crate::sealing::{Keyring, open_args};
use crate::state::JobState;

/// A job that is not finished: it waits, or runs.
#[derive(Clone, PartialEq, Debug)]
pub struct UnfinishedJob<J> {
    /// Its number.
    pub id: JobId,
    /// Its arguments, opened if they are sealed.
    pub args: J,
    /// Scheduled, available, retryable or running.
    pub state: JobState,
    /// The queue that it is in.
    pub queue: String,
    /// 1 (claimed first) to 4 (last).
    pub priority: i16,
    /// The moment at which it is due.
    pub run_at: OffsetDateTime,
    /// Attempts begun.
    pub attempt: i16,
    /// After so many failed attempts it is discarded.
    pub max_attempts: i16,
    /// The key that it shares limits and order with; null for none.
    pub key: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// All unfinished jobs of a kind, in the order of their numbers.
///
/// # Errors
///
/// [`TestingError::Args`] when arguments do not parse, [`TestingError::Sealed`] when they are
/// sealed, for which there is `enqueued_sealed`; [`TestingError::Queue`].
pub async fn enqueued<J: Job>(
    conn: &mut PgConnection,
) -> Result<Vec<UnfinishedJob<J>>, TestingError> {
    unfinished(conn, None).await
}

/// The same of a kind whose jobs are sealed with a key of this ring.
///
/// # Errors
///
/// As [`enqueued`].
#[cfg(feature = "sealing")]
pub async fn enqueued_sealed<J: Job>(
    conn: &mut PgConnection,
    keyring: &Keyring,
) -> Result<Vec<UnfinishedJob<J>>, TestingError> {
    unfinished(conn, Some(keyring)).await
}

/// The first unfinished job of kind `J` for which `is_meant` holds.
///
/// # Panics
///
/// When there is none: with all jobs of the kind that there are. Also when they cannot be read.
pub async fn assert_enqueued<J: Job>(
    conn: &mut PgConnection,
    is_meant: impl Fn(&UnfinishedJob<J>) -> bool,
) -> UnfinishedJob<J> {
    let mut jobs = read::<J>(conn).await;
    match jobs.iter().position(is_meant) {
        Some(position) => jobs.swap_remove(position),
        None => panic!("no {} job is as expected; there are {}", J::KIND, described(&jobs)),
    }
}

/// Makes sure that no unfinished job of kind `J` is such that `is_meant` holds.
///
/// # Panics
///
/// When one is: with that job. Also when they cannot be read.
pub async fn refute_enqueued<J: Job>(
    conn: &mut PgConnection,
    is_meant: impl Fn(&UnfinishedJob<J>) -> bool,
) {
    let jobs = read::<J>(conn).await;
    if let Some(job) = jobs.iter().position(is_meant) {
        let job = described(&jobs[job..=job]);
        panic!("a {} job is there that should not be: {job}", J::KIND);
    }
}

async fn read<J: Job>(conn: &mut PgConnection) -> Vec<UnfinishedJob<J>> {
    enqueued(conn).await.unwrap_or_else(|error| {
        panic!("the {} jobs cannot be read: {}", J::KIND, crate::chain(&error))
    })
}

async fn unfinished<J: Job>(
    conn: &mut PgConnection,
    keyring: Option<&Keyring>,
) -> Result<Vec<UnfinishedJob<J>>, TestingError> {
    let rows = sqlx::query!(
        r#"
        select
          id as "id!", state as "state!: JobState", queue as "queue!", priority as "priority!",
          run_at as "run_at!", attempt as "attempt!", max_attempts as "max_attempts!", key,
          coalesce(tags, '{}') as "tags!", args as "args!: Json<Box<RawValue>>", args_key
        from queue.all_jobs
        where kind = $1 and finished_at is null
        order by id
        "#,
        J::KIND,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(UnfinishedJob {
                id: JobId(row.id),
                args: parse(JobId(row.id), &row.args.0, row.args_key.as_deref(), keyring)?,
                state: row.state,
                queue: row.queue,
                priority: row.priority,
                run_at: row.run_at,
                attempt: row.attempt,
                max_attempts: row.max_attempts,
                key: row.key,
                tags: row.tags,
            })
        })
        .collect()
}

fn parse<J: Job>(
    job: JobId,
    args: &RawValue,
    args_key: Option<&str>,
    keyring: Option<&Keyring>,
) -> Result<J, TestingError> {
    let opened = open_args(keyring, J::KIND, args, args_key)
        .map_err(|source| TestingError::Sealed { job, source })?;
    serde_json::from_str(opened.get()).map_err(|source| TestingError::Args {
        job,
        kind: J::KIND,
        source,
    })
}

/// Of a few jobs what tells them apart.
fn described<J: Job>(jobs: &[UnfinishedJob<J>]) -> String {
    const MOST: usize = 10;
    let mut text = if jobs.is_empty() { "none".to_owned() } else { String::new() };
    for job in jobs.iter().take(MOST) {
        let args = serde_json::to_string(&job.args).unwrap_or_else(|error| error.to_string());
        text += &format!(
            "\n  job {} {args} in queue {}, {:?}, due {}",
            job.id, job.queue, job.state, job.run_at
        );
    }
    match jobs.len().saturating_sub(MOST) {
        0 => text,
        more => text + &format!("\n  and {more} more"),
    }
}
