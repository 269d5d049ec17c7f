//! The reason that a job has not run, which is an operator's first question.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cause::Cause;
use super::{JobDetails, find_job};
use crate::QueueError;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::operate::queues::BlockCause;
use crate::state::JobState;

/// The most jobs ahead of another that are counted.
pub const MAX_COUNTED: i64 = 1_000;

/// The most jobs that a held one is said to wait for.
const MAX_TOLD: i64 = 10;

/// The reason that a job has not run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// One plain sentence, of the first cause.
    pub sentence: String,
    /// All that keeps the job, what must happen first at the head. Never empty.
    pub causes: Vec<Cause>,
    /// By the database's clock, the moment of which it tells.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Explanation {
    fn of(causes: Vec<Cause>, at: OffsetDateTime) -> Self {
        let sentence = causes.first().map(|cause| cause.sentence(at)).unwrap_or_default();
        Self { sentence, causes, at }
    }

    /// A sentence of each further cause.
    pub fn also(&self) -> impl Iterator<Item = String> {
        self.causes.iter().skip(1).map(|cause| cause.sentence(self.at))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "queue.hold", rename_all = "snake_case")]
enum Hold {
    UntilDue,
    Dependencies,
}

/// Explains why a job has not run, in one sentence and in detail; none when there is no such job.
/// Of one that runs or has ended it says so.
///
/// Read by several statements: in a REPEATABLE READ transaction they tell of one moment.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn why_not_run(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<Explanation>, QueueError> {
    let Some(job) = find_unfinished(conn, id).await? else {
        let Some(job) = find_job(conn, id).await? else { return Ok(None) };
        let now =
            sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?;
        return Ok(Some(Explanation::of(vec![ended(job)], now)));
    };
    let now = job.now;
    if let Some(cause) = job.in_progress() {
        return Ok(Some(Explanation::of(vec![cause], now)));
    }
    let mut causes = Vec::new();
    if job.hold == Some(Hold::Dependencies) {
        causes.push(held(conn, id).await?);
    }
    causes.extend(job.not_due());
    causes.extend(job.paused());
    causes.extend(job.blocked());
    causes.extend(behind_in_key(conn, id, &job).await?);
    causes.extend(job.full());
    causes.extend(job.rate_used_up());
    causes.extend(without_worker(conn, &job).await?);
    let is_due = job.hold != Some(Hold::Dependencies) && job.run_at <= now;
    if is_due {
        causes.extend(jobs_ahead(conn, id, &job).await?);
    }
    if causes.is_empty() {
        causes.push(Cause::Due { since: job.run_at });
    }
    Ok(Some(Explanation::of(causes, now)))
}

/// A job that has not ended, with what bears on when it runs.
struct Unfinished {
    now: OffsetDateTime,
    queue: String,
    kind: String,
    priority: i16,
    running: bool,
    hold: Option<Hold>,
    run_at: OffsetDateTime,
    attempt: i16,
    max_attempts: i16,
    wait_reason: Option<String>,
    key: Option<String>,
    worker_id: Option<Uuid>,
    started_at: Option<OffsetDateTime>,
    lease_expires_at: Option<OffsetDateTime>,
    progress: Option<i16>,
    progress_text: Option<String>,
    cancel_requested_by: Option<String>,
    cancel_reason: Option<String>,
    last_error: Option<String>,
    paused_queue: Option<String>,
    paused_by: Option<String>,
    pause_reason: Option<String>,
    paused_at: Option<OffsetDateTime>,
    max_running: Option<i32>,
    max_running_per_key: Option<i32>,
    is_ordered: bool,
    used_up_rate: Option<i32>,
    rate_period_secs: Option<f64>,
    starts_in_secs: Option<f64>,
    blocked_by: Option<JobId>,
    block_cause: Option<BlockCause>,
    blocked_since: Option<OffsetDateTime>,
    running_of_queue: i64,
    running_of_key: i64,
}

async fn find_unfinished(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<Unfinished>, QueueError> {
    let job = sqlx::query_file_as!(Unfinished, "src/sql/why_not_run.sql", id.0)
        .fetch_optional(conn)
        .await?;
    Ok(job)
}

impl Unfinished {
    fn in_progress(&self) -> Option<Cause> {
        let (true, Some(worker_id), Some(since)) = (self.running, self.worker_id, self.started_at)
        else {
            return None;
        };
        if let (Some(by), Some(reason)) = (&self.cancel_requested_by, &self.cancel_reason) {
            let (by, reason) = (by.clone(), reason.clone());
            return Some(Cause::CancelRequested { worker_id, by, reason });
        }
        if let Some(lost) = self.lease_expires_at.filter(|lease| *lease < self.now) {
            return Some(Cause::WorkerLost { worker_id, lease_expired_at: lost });
        }
        Some(Cause::Running {
            worker_id,
            since,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            progress: self.progress,
            progress_text: self.progress_text.clone(),
        })
    }

    fn not_due(&self) -> Option<Cause> {
        if self.run_at <= self.now {
            return None;
        }
        let until = self.run_at;
        Some(match (&self.wait_reason, self.attempt) {
            (Some(reason), _) => Cause::Snoozed { until, reason: reason.clone() },
            (None, 0) => Cause::Scheduled { until },
            (None, attempt) => Cause::WaitsForRetry {
                until,
                attempt,
                max_attempts: self.max_attempts,
                error: self.last_error.clone(),
            },
        })
    }

    fn paused(&self) -> Option<Cause> {
        Some(Cause::Paused {
            queue: self.paused_queue.clone()?,
            by: self.paused_by.clone()?,
            reason: self.pause_reason.clone()?,
            since: self.paused_at?,
        })
    }

    fn full(&self) -> Option<Cause> {
        let queue_max = self.max_running.filter(|max| self.running_of_queue >= i64::from(*max));
        if let Some(max) = queue_max {
            let (queue, running) = (self.queue.clone(), self.running_of_queue);
            return Some(Cause::QueueFull { queue, running, max });
        }
        let (key, running) = (self.key.clone()?, self.running_of_key);
        let max = self.max_running_per_key.filter(|max| running >= i64::from(*max))?;
        Some(Cause::KeyFull { key, running, max })
    }

    fn rate_used_up(&self) -> Option<Cause> {
        Some(Cause::RateUsedUp {
            queue: self.queue.clone(),
            rate: self.used_up_rate?,
            period_secs: self.rate_period_secs?,
            next_in_secs: self.starts_in_secs,
        })
    }

    fn blocked(&self) -> Option<Cause> {
        Some(Cause::KeyBlocked {
            key: self.key.clone()?,
            by: self.blocked_by?,
            why: self.block_cause?,
            since: self.blocked_since?,
        })
    }
}

fn ended(job: JobDetails) -> Cause {
    let at = job.finished_at.unwrap_or(job.run_at);
    let attempts = job.attempt;
    let last_error = job.attempts.last().and_then(|last| last.error.clone());
    // The last of an action: a job may be redriven, and discarded again.
    let told = |action: &str| {
        let told = job.interventions.iter().rev().find(|made| made.action == action)?;
        Some((told.made_by.clone(), told.reason.clone()))
    };
    match job.state {
        JobState::Cancelled => {
            let by = told("cancel");
            let reason = by.as_ref().map(|(_, reason)| reason.clone()).or(last_error);
            Cause::Cancelled { at, by: by.map(|(by, _)| by), reason }
        }
        JobState::Discarded => {
            let by_operator = job.interventions.iter().rev().find(|made| {
                let detail = made.detail.as_ref().map(JsonText::fields).unwrap_or_default();
                let at_attempt = detail.get("attempt").map(|at| at.get().to_owned());
                made.action == "discard" && at_attempt == Some(job.attempt.to_string())
            });
            match by_operator {
                Some(made) => Cause::DiscardedByOperator {
                    at,
                    by: made.made_by.clone(),
                    reason: made.reason.clone(),
                },
                None => Cause::Discarded { at, attempts, error: last_error },
            }
        }
        _ => Cause::Completed { at, attempts },
    }
}

async fn held(conn: &mut PgConnection, id: JobId) -> Result<Cause, QueueError> {
    let depends_on = sqlx::query_scalar!(
        r#"
        select depends_on as "depends_on: JobId"
        from queue.dependencies
        where job_id = $1
        order by depends_on
        limit $2
        "#,
        id.0,
        MAX_TOLD,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from queue.dependencies where job_id = $1"#,
        id.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(Cause::Held { depends_on, total })
}

/// The job that must end first where a queue is ordered.
async fn behind_in_key(
    conn: &mut PgConnection,
    id: JobId,
    job: &Unfinished,
) -> Result<Option<Cause>, QueueError> {
    let Some(key) = job.key.as_ref().filter(|_| job.is_ordered) else { return Ok(None) };
    let first = sqlx::query!(
        r#"
        select id as "id: JobId", queue.state_of(id) as "state!: JobState"
        from queue.jobs
        where queue = $1 and key = $2 and id < $3
        order by id
        limit 1
        "#,
        job.queue,
        key,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(first.map(|ahead| Cause::BehindInKey {
        key: key.clone(),
        job: ahead.id,
        state: ahead.state,
    }))
}

/// The cause when no worker is there that would take the job.
async fn without_worker(
    conn: &mut PgConnection,
    job: &Unfinished,
) -> Result<Option<Cause>, QueueError> {
    let workers = sqlx::query!(
        r#"
        select
          count(*) as "alive!",
          count(*) filter (where $1 = any (kinds)) as "knowing!",
          count(*) filter (where $1 = any (kinds) and $2 = any (queues)) as "claiming!"
        from queue.workers
        where last_seen_at > clock_timestamp() - lease and draining_at is null
        "#,
        job.kind,
        job.queue,
    )
    .fetch_one(conn)
    .await?;
    let (kind, queue) = (job.kind.clone(), job.queue.clone());
    let alive = workers.alive;
    Ok(match (alive, workers.knowing, workers.claiming) {
        (0, _, _) => Some(Cause::NoWorker),
        (_, 0, _) => Some(Cause::UnknownKind { kind, workers: alive }),
        (_, _, 0) => Some(Cause::UnclaimedQueue { queue, kind }),
        _ => None,
    })
}

async fn jobs_ahead(
    conn: &mut PgConnection,
    id: JobId,
    job: &Unfinished,
) -> Result<Option<Cause>, QueueError> {
    if job.key.is_some() {
        return Ok(None);
    }
    let count = sqlx::query_file_scalar!(
        "src/sql/jobs_ahead.sql",
        job.queue,
        job.priority,
        job.run_at,
        id.0,
        MAX_COUNTED + 1,
    )
    .fetch_one(conn)
    .await?;
    let is_more = count > MAX_COUNTED;
    let (count, since) = (count.min(MAX_COUNTED), job.run_at);
    Ok((count > 0).then_some(Cause::JobsAhead { count, is_more, since }))
}
