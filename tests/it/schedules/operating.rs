//! Defining, pausing, resuming, removing, and running by hand.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use surety::queue::schedules::{
    self, MissedPolicy, PauseOutcome, Put, ResumeOutcome, Schedule, ScheduleError,
};
use surety::queue::{NewJob, Unique, Worker, WorkerSettings};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{
    at, count_jobs, cron, every, find, look_at, nobodys_job, put, put_at, registry, report,
    run_and_missed, ticks,
};
use crate::support::{TestDb, eventually_async};

const SKIP: MissedPolicy = MissedPolicy::Skip { grace: Duration::from_secs(60) };

async fn pause(pool: &PgPool, name: &str) -> Option<PauseOutcome> {
    let mut conn = pool.acquire().await.unwrap();
    schedules::pause(&mut conn, name, "ada", "the bank is closed").await.unwrap()
}

async fn resume(pool: &PgPool, name: &str) -> Option<ResumeOutcome> {
    schedules::resume(&mut pool.acquire().await.unwrap(), name).await.unwrap()
}

async fn run_now(pool: &PgPool, name: &str) -> Option<surety::queue::JobId> {
    schedules::run_now(&mut pool.acquire().await.unwrap(), name, "ada").await.unwrap()
}

async fn database_clock(pool: &PgPool) -> OffsetDateTime {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_new_schedule_ticks_after_now_by_the_databases_clock() {
    let db = TestDb::new().await;
    let before = database_clock(&db.pool).await;
    let schedule = every("h", 3600, MissedPolicy::Coalesce);
    assert_eq!(put(&db.pool, &schedule).await, Put::Created);
    let status = find(&db.pool, "h").await;
    assert!(status.created_at >= before && status.next_tick_at.unwrap() > before);
    assert_eq!(status.next_tick_at, schedule.cadence().next_after(status.created_at));
    assert_eq!((status.defined_by.as_str(), status.last_tick_at), ("test", None));
    assert_eq!(status.cadence().unwrap(), *schedule.cadence());
}

#[tokio::test]
async fn defining_the_same_again_changes_nothing_and_keeps_the_pause() {
    let db = TestDb::new().await;
    let schedule = Schedule::cron("nightly", "0 3 * * *")
        .time_zone("Europe/Paris")
        .policy(MissedPolicy::CatchUp { max: 3, max_age: Duration::from_secs(3600) })
        .job(&report())
        .unwrap();
    assert_eq!(put(&db.pool, &schedule).await, Put::Created);
    assert_eq!(pause(&db.pool, "nightly").await, Some(PauseOutcome::Paused));
    let before = find(&db.pool, "nightly").await;
    assert_eq!(put(&db.pool, &schedule).await, Put::Unchanged);
    let after = find(&db.pool, "nightly").await;
    assert_eq!((after.updated_at, after.pause.clone()), (before.updated_at, before.pause));
    assert_eq!(after.pause.unwrap().by, "ada");

    // Nor does another definition end the pause.
    let changed = Schedule::cron("nightly", "0 4 * * *").job(&report()).unwrap();
    assert_eq!(put(&db.pool, &changed).await, Put::Changed);
    let after = find(&db.pool, "nightly").await;
    assert_eq!((after.cron.as_deref(), after.time_zone.as_str()), (Some("0 4 * * *"), "UTC"));
    assert_eq!(after.pause.unwrap().reason, "the bank is closed");
    assert_eq!(after.next_tick_at, None);
}

#[tokio::test]
async fn every_part_of_a_definition_can_be_changed() {
    let db = TestDb::new().await;
    let base = || Schedule::every("s", Duration::from_secs(60));
    let hourly = Duration::from_secs(3600);
    let definitions = [
        base().new_job(nobodys_job()).unwrap(),
        Schedule::every("s", hourly).new_job(nobodys_job()).unwrap(),
        Schedule::cron("s", "0 * * * *").new_job(nobodys_job()).unwrap(),
        Schedule::cron("s", "0 * * * *").time_zone("Asia/Kolkata").new_job(nobodys_job()).unwrap(),
        base().policy(MissedPolicy::Coalesce).new_job(nobodys_job()).unwrap(),
        base().policy(MissedPolicy::Skip { grace: hourly }).new_job(nobodys_job()).unwrap(),
        base().new_job(NewJob::raw("other", serde_json::json!({}))).unwrap(),
        base().new_job(NewJob::raw("nobodys", serde_json::json!({ "n": 1.5 }))).unwrap(),
        base().new_job(nobodys_job().queue("other")).unwrap(),
        base().new_job(nobodys_job().priority(3)).unwrap(),
        base().new_job(nobodys_job().max_attempts(3)).unwrap(),
        base().new_job(nobodys_job().tag("t")).unwrap(),
        base().new_job(nobodys_job().key("k")).unwrap(),
        base().job(&report()).unwrap(),
    ];
    put(&db.pool, &definitions[definitions.len() - 1]).await;
    for definition in &definitions {
        assert_eq!(put(&db.pool, definition).await, Put::Changed, "{definition:?}");
        assert_eq!(put(&db.pool, definition).await, Put::Unchanged, "{definition:?}");
    }
}

#[tokio::test]
async fn what_is_due_when_a_schedule_is_changed_runs_by_its_old_definition() {
    let db = TestDb::new().await;
    let now = database_clock(&db.pool).await;
    let old = every("s", 1, MissedPolicy::Coalesce);
    put_at(&db.pool, &old, now - Duration::from_secs(3600)).await;
    let new = Schedule::cron("s", "0 3 1 1 *")
        .new_job(NewJob::raw("new", serde_json::json!({})))
        .unwrap();
    assert_eq!(put(&db.pool, &new).await, Put::Changed);
    let kinds: Vec<String> =
        sqlx::query_scalar("select kind from queue.jobs").fetch_all(&db.pool).await.unwrap();
    assert_eq!(kinds, ["nobodys"]);
    let status = find(&db.pool, "s").await;
    assert_eq!(status.next_tick_at, new.cadence().next_after(now));
    assert!(status.last_tick_at.is_some_and(|last| last >= now - Duration::from_secs(1)));

    // Of one that is paused nothing is due.
    put_at(&db.pool, &every("p", 1, MissedPolicy::Coalesce), now - Duration::from_secs(3600)).await;
    pause(&db.pool, "p").await;
    put(&db.pool, &every("p", 2, MissedPolicy::Coalesce)).await;
    assert_eq!(count_jobs(&db.pool).await, 1);
}

#[tokio::test]
async fn ticks_of_a_paused_schedule_are_passed_over_whatever_its_policy() {
    let db = TestDb::new().await;
    let now = database_clock(&db.pool).await;
    let hour_ago = now - Duration::from_secs(3600);
    put_at(&db.pool, &every("m", 60, MissedPolicy::Coalesce), hour_ago).await;
    assert_eq!(pause(&db.pool, "m").await, Some(PauseOutcome::Paused));
    let ran = look_at(&db.pool, now).await;
    assert!(ran.jobs.is_empty() && ran.missed == 0);
    let paused = find(&db.pool, "m").await;
    let Some(PauseOutcome::AlreadyPaused(pause_of)) = pause(&db.pool, "m").await else {
        panic!("it was paused");
    };
    assert_eq!(Some(pause_of), paused.pause);

    let Some(ResumeOutcome::Resumed(Some(next))) = resume(&db.pool, "m").await else {
        panic!("it was paused");
    };
    assert!(next > now);
    assert_eq!(resume(&db.pool, "m").await, Some(ResumeOutcome::NotPaused));
    assert_eq!(look_at(&db.pool, next).await.jobs.len(), 1);
    assert_eq!(run_and_missed(&db.pool, "m").await, (vec![next], vec![]));
}

#[tokio::test]
async fn a_run_by_hand_stands_beside_the_ticks_and_needs_no_running_schedule() {
    let db = TestDb::new().await;
    let schedule = every("h", 3600, SKIP);
    put(&db.pool, &schedule).await;
    let before = find(&db.pool, "h").await;
    pause(&db.pool, "h").await;
    let first = run_now(&db.pool, "h").await.unwrap();
    let second = run_now(&db.pool, "h").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(count_jobs(&db.pool).await, 2);
    resume(&db.pool, "h").await;
    let after = find(&db.pool, "h").await;
    assert_eq!((after.next_tick_at, after.last_tick_at), (before.next_tick_at, None));
    let ticks = ticks(&db.pool, "h").await;
    assert_eq!(ticks[0].job_id, Some(first));
    assert_eq!(ticks[0].requested_by.as_deref(), Some("ada"));
    let mut conn = db.pool.acquire().await.unwrap();
    let tick = schedules::find_tick(&mut conn, second).await.unwrap().unwrap();
    assert_eq!((tick.schedule.as_str(), tick.tick_at), ("h", ticks[1].tick_at));
}

#[tokio::test]
async fn what_is_made_anew_does_not_run_again_what_has_run() {
    let db = TestDb::new().await;
    let schedule = every("m", 60, MissedPolicy::Coalesce);
    let minute = |n: i64| at("2026-11-21T00:00:00Z") + time::Duration::minutes(n);
    put_at(&db.pool, &schedule, minute(0)).await;
    look_at(&db.pool, minute(1)).await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(schedules::remove(&mut conn, "m").await.unwrap());
    assert!(!schedules::remove(&mut conn, "m").await.unwrap());
    assert!(schedules::find(&mut conn, "m").await.unwrap().is_none());

    put_at(&db.pool, &schedule, minute(0)).await;
    look_at(&db.pool, minute(2)).await;
    assert_eq!(run_and_missed(&db.pool, "m").await.0, [minute(1), minute(2)]);
    super::assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test]
async fn what_is_not_there_is_told_and_nothing_is_made() {
    let db = TestDb::new().await;
    assert_eq!(pause(&db.pool, "none").await, None);
    assert_eq!(resume(&db.pool, "none").await, None);
    assert_eq!(run_now(&db.pool, "none").await, None);
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(schedules::find_tick(&mut conn, surety::queue::JobId(1)).await.unwrap().is_none());
    assert_eq!(count_jobs(&db.pool).await, 0);
}

#[test]
fn what_is_no_schedule_is_refused() {
    let minute = Duration::from_secs(60);
    for name in ["", "a b", "-a", "ä", "a'b", &"x".repeat(101)] {
        let refused = Schedule::every(name, minute).new_job(nobodys_job());
        assert!(matches!(refused, Err(ScheduleError::Name(_))), "{name}");
    }
    assert!(Schedule::every("Night.ly_1:a/b-c", minute).new_job(nobodys_job()).is_ok());
    let refused = Schedule::every("s", minute).time_zone("UTC").new_job(nobodys_job());
    assert!(matches!(refused, Err(ScheduleError::TimeZoneOfInterval)));
    for policy in [
        MissedPolicy::CatchUp { max: 0, max_age: minute },
        MissedPolicy::CatchUp { max: 1001, max_age: minute },
        MissedPolicy::CatchUp { max: 1, max_age: minute * 1_000_000 },
        MissedPolicy::Skip { grace: minute * 1_000_000 },
    ] {
        let refused = Schedule::every("s", minute).policy(policy).new_job(nobodys_job());
        assert!(matches!(refused, Err(ScheduleError::Policy)), "{policy:?}");
    }
    for job in [
        nobodys_job().delay(minute),
        nobodys_job().run_at(at("2030-01-01T00:00:00Z")),
        nobodys_job().unique(Unique::by_args()),
    ] {
        let refused = Schedule::every("s", minute).new_job(job);
        assert!(matches!(refused, Err(ScheduleError::SingularJob)));
    }
    let refused = Schedule::cron("s", "0 0 30 2 *").new_job(nobodys_job());
    assert!(matches!(refused, Err(ScheduleError::Cadence(_))));
}

#[tokio::test]
async fn a_worker_defines_the_schedules_of_its_code_runs_them_and_respects_a_pause() {
    let db = TestDb::new().await;
    sqlx::query("create table reports (recipient text, tick_at timestamptz)")
        .execute(&db.pool)
        .await
        .unwrap();
    // What is older than all attempts is dropped at the start.
    sqlx::query(
        "insert into queue.schedule_ticks (schedule, tick_at, made_at)
         values ('old', now() - interval '31 days', now() - interval '31 days'),
                ('old', now() - interval '29 days', now() - interval '29 days')",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let often = Schedule::every("often", Duration::from_secs(1)).job(&report()).unwrap();
    let quiet = cron("quiet", "* * * * * *", "Europe/Paris", SKIP);
    put(&db.pool, &quiet).await;
    pause(&db.pool, "quiet").await;
    let registry = registry().schedule(often).schedule(quiet);
    let worker = Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap();
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let (worker, stop) = (Arc::new(worker), stop.clone());
        async move { worker.run(stop).await }
    });
    let reports = async || -> Vec<OffsetDateTime> {
        let statement = "select tick_at from reports order by tick_at";
        sqlx::query_scalar(statement).fetch_all(&db.pool).await.unwrap()
    };
    eventually_async("three reports", async || reports().await.len() >= 3).await;
    stop.cancel();
    run.await.unwrap();

    let reports = reports().await;
    assert!(reports.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_secs(1)));
    // It wakes up for the tick: who looks once a second is late by half of one.
    let median_late_secs: f64 = sqlx::query_scalar(
        "select percentile_cont(0.5) within group (order by extract(epoch from made_at - tick_at))
         from queue.schedule_ticks where schedule = 'often'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!(median_late_secs < 0.2, "{median_late_secs} s");
    assert_eq!(find(&db.pool, "often").await.defined_by, "code");
    assert!(find(&db.pool, "quiet").await.pause.is_some());
    assert_eq!(ticks(&db.pool, "quiet").await, []);
    assert_eq!(ticks(&db.pool, "old").await.len(), 1);
}
