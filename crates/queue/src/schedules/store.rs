//! The statements of the schedules, one function each.

use std::time::Duration;

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;

use super::cadence::Cadence;
use super::definition::Schedule;
use super::policy::MissedPolicy;
use crate::QueueError;
use crate::enqueue::{Extras, NewJob};
use crate::json::JsonText;

/// The most schedules that one look finds; the others wait for the next.
pub(super) const MAX_DUE: i64 = 500;

/// The policies, as the database names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "queue.missed_policy", rename_all = "snake_case")]
pub(super) enum PolicyName {
    Skip,
    Coalesce,
    CatchUp,
}

/// A row of `queue.schedules`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cron: Option<String>,
    pub(super) every_secs: Option<i64>,
    pub(super) time_zone: String,
    pub(super) policy: PolicyName,
    pub(super) policy_max: Option<i16>,
    pub(super) policy_max_age_secs: Option<i64>,
    pub(super) kind: String,
    pub(super) args: JsonText,
    pub(super) queue: String,
    pub(super) priority: i16,
    pub(super) max_attempts: i16,
    pub(super) extras: Option<Json<Extras>>,
    pub(super) paused_at: Option<OffsetDateTime>,
    pub(super) paused_by: Option<String>,
    pub(super) pause_reason: Option<String>,
    pub(super) settled_at: OffsetDateTime,
    pub(super) next_tick_at: Option<OffsetDateTime>,
    pub(super) last_tick_at: Option<OffsetDateTime>,
    pub(super) defined_by: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
    /// The time by the database's clock when the row was read.
    pub(super) as_of: OffsetDateTime,
    /// The arguments as people may see them.
    pub(super) shown_args: JsonText,
}

impl Row {
    /// The rule by which it ticks.
    ///
    /// # Errors
    ///
    /// [`QueueError::Schedule`]: written by a program that knows more than this one does.
    pub(super) fn cadence(&self) -> Result<Cadence, QueueError> {
        Cadence::stored(self.cron.as_deref(), self.every_secs, &self.time_zone)
            .map_err(|source| QueueError::Schedule { name: self.name.clone(), source })
    }

    pub(super) fn policy(&self) -> MissedPolicy {
        let age = to_duration(self.policy_max_age_secs);
        match self.policy {
            PolicyName::Skip => MissedPolicy::Skip { grace: age },
            PolicyName::Coalesce => MissedPolicy::Coalesce,
            PolicyName::CatchUp => {
                let max = self.policy_max.and_then(|max| u16::try_from(max).ok());
                MissedPolicy::CatchUp { max: max.unwrap_or(1), max_age: age }
            }
        }
    }

    /// The job of a tick.
    pub(super) fn job(&self) -> NewJob {
        let mut job = NewJob::raw(self.kind.clone(), self.args.clone())
            .queue(self.queue.clone())
            .priority(self.priority)
            .max_attempts(self.max_attempts)
            .trace_context(None);
        job.extras = self.extras().cloned().unwrap_or_default();
        job
    }

    pub(super) fn extras(&self) -> Option<&Extras> {
        self.extras.as_ref().map(|extras| &extras.0)
    }

    /// Tells whether it is defined like this already, pause and author aside, and the arguments,
    /// which only the database can compare: see [`has_args`].
    pub(super) fn is_defined_as(&self, schedule: &Schedule) -> bool {
        let job = self.job();
        self.cron.as_deref() == schedule.cadence.expression()
            && self.every_secs == schedule.cadence.interval_secs()
            && self.time_zone == schedule.cadence.time_zone()
            && self.policy() == schedule.policy
            && job.kind == schedule.job.kind
            && job.queue == schedule.job.queue
            && job.priority == schedule.job.priority
            && job.max_attempts == schedule.job.max_attempts
            && job.extras == schedule.job.extras
    }
}

fn to_duration(secs: Option<i64>) -> Duration {
    Duration::from_secs(secs.and_then(|secs| u64::try_from(secs).ok()).unwrap_or(0))
}

/// The columns of a policy.
fn policy_columns(policy: MissedPolicy) -> (PolicyName, Option<i16>, Option<i64>) {
    let secs = |age: Duration| i64::try_from(age.as_secs()).ok();
    match policy {
        MissedPolicy::Skip { grace } => (PolicyName::Skip, None, secs(grace)),
        MissedPolicy::Coalesce => (PolicyName::Coalesce, None, None),
        MissedPolicy::CatchUp { max, max_age } => {
            (PolicyName::CatchUp, i16::try_from(max).ok(), secs(max_age))
        }
    }
}

fn extras_column(job: &NewJob) -> Option<Json<&Extras>> {
    (job.extras != Extras::default()).then_some(Json(&job.extras))
}

/// A schedule that has a tick within a second, or is to be settled anew.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) name: String,
    /// Not positive: now.
    pub(super) due_in_secs: f64,
}

/// Schedules that are due, and those that are in a second; the clock is `at`, or the database's.
pub(super) async fn due(
    executor: impl PgExecutor<'_>,
    at: Option<OffsetDateTime>,
) -> Result<Vec<Due>, QueueError> {
    let due = sqlx::query_file_as!(Due, "src/sql/schedules_due.sql", at, MAX_DUE)
        .fetch_all(executor)
        .await?;
    Ok(due)
}

/// False when it is not due any more, or somebody else has it.
pub(super) async fn lock_due(
    conn: &mut PgConnection,
    name: &str,
    at: Option<OffsetDateTime>,
) -> Result<bool, QueueError> {
    let locked = sqlx::query_file_scalar!("src/sql/lock_due_schedule.sql", name, at)
        .fetch_optional(conn)
        .await?;
    Ok(locked.is_some())
}

/// The schedule, which nobody else can change until the transaction ends. None when there is none.
pub(super) async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<Row>, QueueError> {
    let locked = sqlx::query_file_scalar!("src/sql/lock_schedule.sql", name)
        .fetch_optional(&mut *conn)
        .await?;
    match locked {
        Some(_locked) => find(conn, name, None).await,
        None => Ok(None),
    }
}

pub(super) async fn find(
    conn: &mut PgConnection,
    name: &str,
    at: Option<OffsetDateTime>,
) -> Result<Option<Row>, QueueError> {
    let row = sqlx::query_file_as!(Row, "src/sql/find_schedule.sql", name, at)
        .fetch_optional(conn)
        .await?;
    Ok(row)
}

pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<Row>, QueueError> {
    let rows = sqlx::query_file_as!(Row, "src/sql/list_schedules.sql").fetch_all(conn).await?;
    Ok(rows)
}

/// Tells whether these are the arguments of the schedule, to the last digit.
pub(super) async fn has_args(
    conn: &mut PgConnection,
    name: &str,
    args: &JsonText,
) -> Result<bool, QueueError> {
    let has = sqlx::query_scalar!(
        r#"select args::text = $2::jsonb::text as "has!" from queue.schedules where name = $1"#,
        name,
        args as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(has.unwrap_or(false))
}

/// The time by the database's clock.
pub(super) async fn clock(conn: &mut PgConnection) -> Result<OffsetDateTime, QueueError> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?;
    Ok(now)
}

/// Makes the schedule, settled up to `now`. False when there is one of this name.
pub(super) async fn insert(
    conn: &mut PgConnection,
    schedule: &Schedule,
    by: &str,
    now: OffsetDateTime,
) -> Result<bool, QueueError> {
    let (policy, policy_max, policy_max_age_secs) = policy_columns(schedule.policy);
    let done = sqlx::query_file!(
        "src/sql/insert_schedule.sql",
        schedule.name,
        schedule.cadence.expression(),
        schedule.cadence.interval_secs(),
        schedule.cadence.time_zone(),
        policy as PolicyName,
        policy_max,
        policy_max_age_secs,
        &*schedule.job.kind,
        &schedule.job.args as _,
        &*schedule.job.queue,
        schedule.job.priority,
        schedule.job.max_attempts,
        extras_column(&schedule.job) as _,
        by,
        now,
        schedule.cadence.next_after(now),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the schedule, which is locked and settled up to `now`, this definition.
pub(super) async fn redefine(
    conn: &mut PgConnection,
    schedule: &Schedule,
    by: &str,
    now: OffsetDateTime,
) -> Result<(), QueueError> {
    let (policy, policy_max, policy_max_age_secs) = policy_columns(schedule.policy);
    sqlx::query_file!(
        "src/sql/redefine_schedule.sql",
        schedule.name,
        schedule.cadence.expression(),
        schedule.cadence.interval_secs(),
        schedule.cadence.time_zone(),
        policy as PolicyName,
        policy_max,
        policy_max_age_secs,
        &*schedule.job.kind,
        &schedule.job.args as _,
        &*schedule.job.queue,
        schedule.job.priority,
        schedule.job.max_attempts,
        extras_column(&schedule.job) as _,
        by,
        now,
        schedule.cadence.next_after(now),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes up to when the schedule, which is locked, is settled.
pub(super) async fn advance(
    conn: &mut PgConnection,
    name: &str,
    settled_at: OffsetDateTime,
    next_tick_at: Option<OffsetDateTime>,
    last_tick_at: Option<OffsetDateTime>,
) -> Result<(), QueueError> {
    sqlx::query!(
        "update queue.schedules
         set settled_at = $2, next_tick_at = $3, last_tick_at = coalesce($4, last_tick_at)
         where name = $1",
        name,
        settled_at,
        next_tick_at,
        last_tick_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stops a schedule. False when there is none that runs.
pub(super) async fn pause(
    conn: &mut PgConnection,
    name: &str,
    by: &str,
    reason: &str,
) -> Result<bool, QueueError> {
    let done = sqlx::query!(
        "update queue.schedules
         set paused_at = clock_timestamp(), paused_by = $2, pause_reason = $3
         where name = $1 and paused_at is null",
        name,
        by,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a schedule, which is locked and paused, run again; what has passed by now is passed over.
pub(super) async fn resume(
    conn: &mut PgConnection,
    name: &str,
    now: OffsetDateTime,
    next_tick_at: Option<OffsetDateTime>,
) -> Result<(), QueueError> {
    sqlx::query!(
        "update queue.schedules
         set
           paused_at = null, paused_by = null, pause_reason = null, settled_at = $2,
           next_tick_at = $3
         where name = $1",
        name,
        now,
        next_tick_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// False when there was none of this name.
pub(super) async fn remove(conn: &mut PgConnection, name: &str) -> Result<bool, QueueError> {
    let done =
        sqlx::query!("delete from queue.schedules where name = $1", name).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}
