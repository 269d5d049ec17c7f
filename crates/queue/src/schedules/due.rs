//! Running what is due: every worker looks about once a second, and whoever locks a due schedule
//! first settles its ticks and enqueues their jobs, in one transaction.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, PgPool};
use time::OffsetDateTime;

use super::definition::Schedule;
use super::store::{self, Due, Row};
use super::{CODE, Put, policy, put, ticks};
use crate::QueueError;
use crate::deadline::within;
use crate::enqueue::{Enqueued, enqueue_many, notify_now};
use crate::ids::JobId;
use crate::retention::Retention;

/// The longest time between two looks: a schedule may have been defined or resumed meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The time between two removals of old ticks.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// The time between two log lines about the same problem of a schedule.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The result of one look at the schedules.
#[derive(Debug, Default)]
pub struct Ran {
    /// The jobs that were enqueued, in the order of their ticks within a schedule.
    pub jobs: Vec<JobId>,
    /// Ticks that were recorded as missed.
    pub missed: usize,
    /// Schedules that could not be settled; they are tried again by the next look.
    pub failed: Vec<(String, QueueError)>,
}

impl Ran {
    fn settled(&mut self, name: &str, schedule: Result<Self, QueueError>) {
        match schedule {
            Ok(this) => {
                self.jobs.extend(this.jobs);
                self.missed += this.missed;
                self.failed.extend(this.failed);
            }
            Err(error) => self.failed.push((name.to_owned(), error)),
        }
    }
}

/// Enqueues the jobs of all schedules that are due by the database's clock, each schedule in a
/// transaction of its own (in the caller's, a savepoint). Workers do so by themselves.
///
/// # Errors
///
/// [`QueueError::Database`], when it cannot be known what is due.
pub async fn run_due(conn: &mut PgConnection) -> Result<Ran, QueueError> {
    Ok(look(conn, None).await?.0)
}

/// The same as if the database's clock showed `moment`. For tests.
///
/// # Errors
///
/// As [`run_due`].
pub async fn run_due_at(
    conn: &mut PgConnection,
    moment: OffsetDateTime,
) -> Result<Ran, QueueError> {
    Ok(look(conn, Some(moment)).await?.0)
}

/// Settles what is due.
async fn look(
    conn: &mut PgConnection,
    at: Option<OffsetDateTime>,
) -> Result<(Ran, Option<Duration>), QueueError> {
    let found = Found::from(store::due(&mut *conn, at).await?);
    let mut ran = Ran::default();
    for name in &found.due {
        ran.settled(name, run_schedule(conn, name, at).await);
    }
    let next_in = found.next_look_in(&ran);
    Ok((ran, next_in))
}

/// The same of the database's clock, by connections that may be cut off without a word: what is
/// not answered is given up, and the next look goes by another connection.
async fn look_by(pool: &PgPool) -> Result<(Ran, Option<Duration>), QueueError> {
    let found = Found::from(within(store::due(pool, None)).await?);
    let mut ran = Ran::default();
    for name in &found.due {
        let run = async { run_schedule(&mut *pool.acquire().await?, name, None).await };
        ran.settled(name, within(run).await);
    }
    let next_in = found.next_look_in(&ran);
    Ok((ran, next_in))
}

/// Due schedules that one look found.
struct Found {
    /// The names of schedules that are due.
    due: Vec<String>,
    /// True when no more are due.
    is_all: bool,
    /// Seconds until the next one is due, if that is within a second.
    soon_secs: Option<f64>,
}

impl From<Vec<Due>> for Found {
    fn from(found: Vec<Due>) -> Self {
        let (due, soon): (Vec<Due>, Vec<Due>) =
            found.into_iter().partition(|schedule| schedule.due_in_secs <= 0.0);
        let mut due: Vec<String> = due.into_iter().map(|schedule| schedule.name).collect();
        // Workers that look at the same time begin with different ones, and so share the work.
        fastrand::shuffle(&mut due);
        Self {
            is_all: due.len() < store::MAX_DUE as usize,
            soon_secs: soon.iter().map(|schedule| schedule.due_in_secs).min_by(f64::total_cmp),
            due,
        }
    }
}

impl Found {
    /// The time until the next look, if it is earlier than usual.
    fn next_look_in(&self, ran: &Ran) -> Option<Duration> {
        // There are more, unless all of these are beyond help.
        if !self.is_all && !ran.jobs.is_empty() {
            return Some(Duration::ZERO);
        }
        Duration::try_from_secs_f64(self.soon_secs?).ok()
    }
}

async fn run_schedule(
    conn: &mut PgConnection,
    name: &str,
    at: Option<OffsetDateTime>,
) -> Result<Ran, QueueError> {
    let mut tx = conn.begin().await?;
    let mut ran = Ran::default();
    if store::lock_due(&mut tx, name, at).await?
        && let Some(row) = store::find(&mut tx, name, at).await?
    {
        ran = settle(&mut tx, &row).await?;
    }
    tx.commit().await?;
    tell(name, &ran);
    Ok(ran)
}

/// Settles the ticks of a schedule, which the caller has locked, up to when it was read.
pub(super) async fn settle(conn: &mut PgConnection, row: &Row) -> Result<Ran, QueueError> {
    let (cadence, now) = (row.cadence()?, row.as_of);
    let next_tick_at = cadence.next_after(now);
    if row.settled_at > now {
        // The database's clock was set back. What will come again has its rows, if it has jobs.
        ticks::forget_missed_after(conn, &row.name, now).await?;
        store::advance(conn, &row.name, now, next_tick_at, None).await?;
        return Ok(Ran::default());
    }

    let settlement = policy::settle(&cadence, row.policy(), row.settled_at, now);
    let all: Vec<OffsetDateTime> =
        settlement.jobs.iter().flatten().chain(&settlement.missed).copied().collect();
    let taken: BTreeSet<OffsetDateTime> = if all.is_empty() {
        BTreeSet::new()
    } else {
        ticks::claim(conn, &row.name, &all).await?.into_iter().collect()
    };
    let groups: Vec<Vec<OffsetDateTime>> = settlement
        .jobs
        .into_iter()
        .map(|group| group.into_iter().filter(|tick| taken.contains(tick)).collect())
        .filter(|group: &Vec<_>| !group.is_empty())
        .collect();
    let jobs = enqueue_many(conn, &vec![row.job(); groups.len()]).await?;
    let jobs: Vec<JobId> = jobs.into_iter().map(Enqueued::id).collect();
    let links: Vec<(OffsetDateTime, JobId)> = groups
        .iter()
        .zip(&jobs)
        .flat_map(|(group, job)| group.iter().map(move |tick| (*tick, *job)))
        .collect();
    if !links.is_empty() {
        ticks::link(conn, &row.name, &links).await?;
    }
    let last_tick_at = links.last().map(|(tick, _job)| *tick);
    store::advance(conn, &row.name, now, next_tick_at, last_tick_at).await?;
    let missed = settlement.missed.iter().filter(|tick| taken.contains(tick)).count();
    Ok(Ran { jobs, missed, failed: Vec::new() })
}

fn tell(schedule: &str, ran: &Ran) {
    for job in &ran.jobs {
        tracing::debug!(schedule, job_id = job.0, "scheduled job enqueued");
    }
    if ran.missed > 0 {
        tracing::warn!(schedule, missed = ran.missed, "the schedule {schedule} has missed ticks");
    }
}

/// Defines the schedules of the program, runs what is due, and drops ticks that are older than any
/// attempt; for ever. All workers are told of new jobs.
pub(crate) async fn run_for_ever(pool: PgPool, definitions: Vec<Schedule>, retention: Retention) {
    let mut undefined = definitions;
    let mut complaints = Complaints::default();
    let mut pruned: Option<Instant> = None;
    loop {
        if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE_INTERVAL) {
            prune(&pool, retention.attempts_days()).await;
            pruned = Some(Instant::now());
        }
        undefined = define(&pool, undefined, &mut complaints).await;
        let next_in = match look_by(&pool).await {
            Ok((ran, next_in)) => {
                complaints.of_the_database = None;
                for (schedule, error) in &ran.failed {
                    complaints.of_schedule(schedule, error);
                }
                if !ran.jobs.is_empty() {
                    notify_now(&pool).await;
                }
                next_in
            }
            Err(error) => {
                complaints.of_the_database(&error);
                None
            }
        };
        // Jittered, so that workers do not look in step.
        let pause = LOOK_INTERVAL.mul_f64(0.9 + 0.1 * fastrand::f64());
        tokio::time::sleep(next_in.unwrap_or(pause).clamp(MIN_PAUSE, pause)).await;
    }
}

/// Removes old ticks. A failure is tried again by the next call.
async fn prune(pool: &PgPool, keep_days: u16) {
    if let Err(error) = within(ticks::prune(pool, keep_days)).await {
        let error = crate::chain(&error);
        tracing::warn!(error, "old ticks of schedules could not be dropped");
    }
}

/// Returns those that could not be defined, to be tried again.
async fn define(
    pool: &PgPool,
    schedules: Vec<Schedule>,
    complaints: &mut Complaints,
) -> Vec<Schedule> {
    let mut failed = Vec::new();
    for schedule in schedules {
        match within(define_one(pool, &schedule)).await {
            Ok(Put::Unchanged) => {}
            Ok(Put::Created | Put::Changed) => {
                tracing::info!(schedule = schedule.name(), "schedule defined");
            }
            Err(error) => {
                complaints.of_schedule(schedule.name(), &error);
                failed.push(schedule);
            }
        }
    }
    failed
}

async fn define_one(pool: &PgPool, schedule: &Schedule) -> Result<Put, QueueError> {
    let mut tx = pool.begin().await?;
    let put = put(&mut tx, schedule, CODE).await?;
    tx.commit().await?;
    Ok(put)
}

/// Problems that were logged, so that the log does not repeat them every second.
#[derive(Default)]
struct Complaints {
    of_schedules: HashMap<String, Instant>,
    of_the_database: Option<Instant>,
}

impl Complaints {
    fn of_schedule(&mut self, schedule: &str, error: &QueueError) {
        let last = self.of_schedules.get(schedule);
        if last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            let error = crate::chain(error);
            tracing::error!(schedule, error, "the schedule {schedule} does not run");
            self.of_schedules.insert(schedule.to_owned(), Instant::now());
        }
    }

    fn of_the_database(&mut self, error: &QueueError) {
        if self.of_the_database.is_none() {
            let error = crate::chain(error);
            tracing::warn!(error, "cannot look for due schedules, trying on");
            self.of_the_database = Some(Instant::now());
        }
    }
}
