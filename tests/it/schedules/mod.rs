//! Schedules of the queue: each tick makes its job once, whoever looks and whatever happens
//! meanwhile.

mod commands;
mod networks;
mod operating;
mod racing;
mod ticking;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use surety::queue::schedules::{self, MissedPolicy, Ran, Schedule, ScheduleStatus, Tick};
use surety::queue::{Committed, FollowUp, Job, JobContext, JobError, NewJob, Registry};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes which tick it is for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) recipient: String,
}

impl Job for Report {
    const KIND: &'static str = "report";
    const QUEUE: &'static str = "reports";
    const PRIORITY: i16 = 3;
    const MAX_ATTEMPTS: i16 = 7;
    const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<Apology>());
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        let tick = schedules::find_tick(&mut tx, cx.id()).await?;
        sqlx::query("insert into reports (recipient, tick_at) values ($1, $2)")
            .bind(&self.recipient)
            .bind(tick.map(|tick| tick.tick_at))
            .execute(&mut *tx)
            .await?;
        cx.complete(tx).await
    }
}

/// Follows a [`Report`] that was discarded.
#[derive(Serialize, Deserialize)]
pub(super) struct Apology {}

impl Job for Apology {
    const KIND: &'static str = "apology";
    const KEEPS_HISTORY: bool = false;
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

fn report() -> Report {
    Report { recipient: "ada".into() }
}

fn registry() -> Registry<()> {
    Registry::new(()).register::<Report>().register::<Apology>()
}

/// A job of a kind that nobody runs, so that it stays where it is.
fn nobodys_job() -> NewJob {
    NewJob::raw("nobodys", json!({}))
}

fn every(name: &str, secs: u64, policy: MissedPolicy) -> Schedule {
    let draft = Schedule::every(name, Duration::from_secs(secs)).policy(policy);
    draft.new_job(nobodys_job()).unwrap()
}

fn cron(name: &str, expression: &str, zone: &str, policy: MissedPolicy) -> Schedule {
    let draft = Schedule::cron(name, expression).time_zone(zone).policy(policy);
    draft.new_job(nobodys_job()).unwrap()
}

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

async fn put(pool: &PgPool, schedule: &Schedule) -> schedules::Put {
    schedules::put(&mut pool.acquire().await.unwrap(), schedule, "test").await.unwrap()
}

/// Puts the schedule as if that had been at this moment.
async fn put_at(pool: &PgPool, schedule: &Schedule, moment: OffsetDateTime) {
    put(pool, schedule).await;
    sqlx::query("update queue.schedules set settled_at = $2, next_tick_at = $3 where name = $1")
        .bind(schedule.name())
        .bind(moment)
        .bind(schedule.cadence().next_after(moment))
        .execute(pool)
        .await
        .unwrap();
}

/// A look at the schedules at this moment, at which nothing may fail.
async fn look_at(pool: &PgPool, moment: OffsetDateTime) -> Ran {
    let mut conn = pool.acquire().await.unwrap();
    let ran = schedules::run_due_at(&mut conn, moment).await.unwrap();
    assert!(ran.failed.is_empty(), "{:?}", ran.failed);
    ran
}

async fn find(pool: &PgPool, name: &str) -> ScheduleStatus {
    schedules::find(&mut pool.acquire().await.unwrap(), name).await.unwrap().unwrap()
}

/// What became of its ticks, oldest first.
async fn ticks(pool: &PgPool, name: &str) -> Vec<Tick> {
    let mut conn = pool.acquire().await.unwrap();
    let mut ticks = schedules::list_ticks(&mut conn, name, 1000).await.unwrap();
    ticks.reverse();
    ticks
}

/// The moments of ticks that have jobs, and of those that were missed.
async fn run_and_missed(pool: &PgPool, name: &str) -> (Vec<OffsetDateTime>, Vec<OffsetDateTime>) {
    let (run, missed): (Vec<Tick>, Vec<Tick>) =
        ticks(pool, name).await.into_iter().partition(|tick| tick.job_id.is_some());
    let moments = |ticks: Vec<Tick>| ticks.into_iter().map(|tick| tick.tick_at).collect();
    (moments(run), moments(missed))
}

async fn count_jobs(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from queue.all_jobs").fetch_one(pool).await.unwrap()
}

/// Every job is that of a tick, and every tick that was not missed has a job of its own.
async fn assert_each_tick_has_its_own_job(pool: &PgPool) {
    let (ticks, jobs, linked): (i64, i64, i64) = sqlx::query_as(
        "select
           (select count(*) from queue.schedule_ticks where job_id is not null),
           (select count(*) from queue.all_jobs),
           (select count(distinct job_id) from queue.schedule_ticks
            join queue.all_jobs on all_jobs.id = job_id)",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((ticks, linked), (jobs, jobs));
}
