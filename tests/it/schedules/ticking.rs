//! What one look at the schedules does.

use std::time::Duration;

use serde_json::json;
use surety::queue::schedules::{self, MissedPolicy, ON_TIME, Schedule};
use surety::queue::{Worker, WorkerSettings};
use time::Duration as Time;

use super::{
    Report, at, count_jobs, cron, every, find, look_at, put, put_at, registry, report,
    run_and_missed, ticks,
};
use crate::support::TestDb;

const SKIP: MissedPolicy = MissedPolicy::Skip { grace: Duration::from_secs(60) };

#[tokio::test]
async fn a_tick_makes_the_job_that_was_defined_and_tells_its_handler_which_one_it_is() {
    let db = TestDb::new().await;
    sqlx::query("create table reports (recipient text, tick_at timestamptz)")
        .execute(&db.pool)
        .await
        .unwrap();
    let schedule = Schedule::cron("nightly", "0 3 * * *")
        .time_zone("Europe/Paris")
        .job::<Report>(&report())
        .unwrap();
    put_at(&db.pool, &schedule, at("2026-11-20T12:00:00Z")).await;
    assert!(look_at(&db.pool, at("2026-11-21T01:59:59.999Z")).await.jobs.is_empty());

    let before: time::OffsetDateTime =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&db.pool).await.unwrap();
    let ran = look_at(&db.pool, at("2026-11-21T02:00:00Z")).await;
    assert_eq!((ran.jobs.len(), ran.missed), (1, 0));
    let job: serde_json::Value = sqlx::query_scalar(
        "select jsonb_build_object('kind', kind, 'queue', queue, 'priority', priority,
                                   'max_attempts', max_attempts, 'args', args,
                                   'on_discard', on_discard)
         from queue.jobs",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    let on_discard =
        json!({ "kind": "apology", "queue": "default", "priority": 2, "max_attempts": 10 });
    assert_eq!(
        job,
        json!({
            "kind": "report", "queue": "reports", "priority": 3, "max_attempts": 7,
            "args": { "recipient": "ada" }, "on_discard": on_discard,
        })
    );
    // Claims rely on that no job is due before it was written.
    let run_at: time::OffsetDateTime =
        sqlx::query_scalar("select run_at from queue.jobs").fetch_one(&db.pool).await.unwrap();
    assert!(run_at >= before);

    let status = find(&db.pool, "nightly").await;
    assert_eq!(status.last_tick_at, Some(at("2026-11-21T02:00:00Z")));
    assert_eq!(status.next_tick_at, Some(at("2026-11-22T02:00:00Z")));

    let worker = Worker::new(db.pool.clone(), registry(), WorkerSettings::default()).unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 1);
    let done: (String, time::OffsetDateTime) =
        sqlx::query_as("select recipient, tick_at from reports").fetch_one(&db.pool).await.unwrap();
    assert_eq!(done, ("ada".to_owned(), at("2026-11-21T02:00:00Z")));
}

#[tokio::test]
async fn keys_tags_and_kinds_without_history_reach_the_job() {
    let db = TestDb::new().await;
    let job = super::nobodys_job().key("tenant 7").tag("nightly").tag("billing").priority(1);
    let schedule = Schedule::every("tagged", Duration::from_secs(60)).new_job(job).unwrap();
    put_at(&db.pool, &schedule, at("2026-11-21T00:00:00Z")).await;
    look_at(&db.pool, at("2026-11-21T00:01:00Z")).await;
    let job: (String, Vec<String>, i16, bool) =
        sqlx::query_as("select key, tags, priority, keeps_history from queue.jobs")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    let tags = vec!["nightly".to_owned(), "billing".to_owned()];
    assert_eq!(job, ("tenant 7".to_owned(), tags, 1, true));
    // Defined the same, it is the same: also what went through the database and back.
    assert_eq!(put(&db.pool, &schedule).await, schedules::Put::Unchanged);

    let schedule = Schedule::every("fleeting", Duration::from_secs(60)).job(&super::Apology {});
    put_at(&db.pool, &schedule.unwrap(), at("2026-11-21T00:00:00Z")).await;
    look_at(&db.pool, at("2026-11-21T00:01:00Z")).await;
    let keeps: bool =
        sqlx::query_scalar("select keeps_history from queue.jobs where kind = 'apology'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert!(!keeps);
}

#[tokio::test]
async fn looking_again_makes_no_second_job() {
    let db = TestDb::new().await;
    put_at(&db.pool, &every("hourly", 3600, SKIP), at("2026-11-21T00:30:00Z")).await;
    for moment in ["01:00:00Z", "01:00:00Z", "01:00:01Z", "01:59:59Z"] {
        look_at(&db.pool, at(&format!("2026-11-21T{moment}"))).await;
    }
    assert_eq!(count_jobs(&db.pool).await, 1);
    assert_eq!(ticks(&db.pool, "hourly").await.len(), 1);
}

#[tokio::test]
async fn after_an_outage_each_policy_does_what_it_says() {
    let db = TestDb::new().await;
    let catch_up = MissedPolicy::CatchUp { max: 3, max_age: Duration::from_secs(4 * 3600) };
    let start = at("2026-11-20T23:30:00Z");
    for schedule in [
        every("skip", 3600, SKIP),
        every("skip-kindly", 3600, MissedPolicy::Skip { grace: Duration::from_secs(1800) }),
        every("coalesce", 3600, MissedPolicy::Coalesce),
        every("catch-up", 3600, catch_up),
        every("catch-up-seldom", 7200, catch_up),
    ] {
        put_at(&db.pool, &schedule, start).await;
    }
    // From midnight to five: six ticks of an hour, three of two hours.
    let ran = look_at(&db.pool, at("2026-11-21T05:10:00Z")).await;
    assert_eq!((ran.jobs.len(), ran.missed), (1 + 1 + 3 + 2, 6 + 5 + 3 + 1));
    let hours = |hours: &[u8]| -> Vec<time::OffsetDateTime> {
        hours.iter().map(|hour| at(&format!("2026-11-21T0{hour}:00:00Z"))).collect()
    };

    let done = run_and_missed(&db.pool, "skip").await;
    assert_eq!(done, (vec![], hours(&[0, 1, 2, 3, 4, 5])));
    let done = run_and_missed(&db.pool, "skip-kindly").await;
    assert_eq!(done, (hours(&[5]), hours(&[0, 1, 2, 3, 4])));
    let done = run_and_missed(&db.pool, "coalesce").await;
    assert_eq!(done, (hours(&[0, 1, 2, 3, 4, 5]), vec![]));
    let done = run_and_missed(&db.pool, "catch-up").await;
    assert_eq!(done, (hours(&[3, 4, 5]), hours(&[0, 1, 2])));
    // Two ticks are not too old.
    let done = run_and_missed(&db.pool, "catch-up-seldom").await;
    assert_eq!(done, (hours(&[2, 4]), hours(&[0])));

    // The job that does for six knows it.
    let job = ticks(&db.pool, "coalesce").await[0].job_id.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let tick = schedules::find_tick(&mut conn, job).await.unwrap().unwrap();
    assert_eq!((tick.ticks, tick.tick_at), (6, at("2026-11-21T05:00:00Z")));
    assert_eq!(tick.first_tick_at, at("2026-11-21T00:00:00Z"));
    // Jobs are made from the oldest tick on.
    let jobs: Vec<_> = ticks(&db.pool, "catch-up").await.into_iter().map(|t| t.job_id).collect();
    assert!(jobs[3..].is_sorted());

    // And that was it.
    let ran = look_at(&db.pool, at("2026-11-21T05:59:59Z")).await;
    assert!(ran.jobs.is_empty() && ran.missed == 0);
}

#[tokio::test]
async fn a_tick_that_is_a_little_late_is_on_time_and_more_than_one_may_be() {
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    put_at(&db.pool, &every("second", 1, MissedPolicy::Coalesce), start).await;
    let ran = look_at(&db.pool, start + ON_TIME).await;
    assert_eq!(ran.jobs.len(), 10);
    assert_eq!(look_at(&db.pool, start + ON_TIME * 2 + Duration::from_secs(2)).await.jobs.len(), 1);
}

#[tokio::test]
async fn a_day_of_the_change_to_summer_time_and_back_has_one_tick_at_night_like_every_other() {
    let db = TestDb::new().await;
    let catch_up = MissedPolicy::CatchUp { max: 1, max_age: Duration::from_secs(3600) };
    put_at(
        &db.pool,
        &cron("n", "30 2 * * *", "Europe/Paris", catch_up),
        at("2027-03-26T12:00:00Z"),
    )
    .await;
    let mut moment = at("2027-03-26T12:00:00Z");
    // Somebody looks every quarter of an hour, for three days.
    while moment < at("2027-03-29T12:00:00Z") {
        look_at(&db.pool, moment).await;
        moment += Time::minutes(15);
    }
    assert_eq!(
        run_and_missed(&db.pool, "n").await.0,
        [at("2027-03-27T01:30:00Z"), at("2027-03-28T01:00:00Z"), at("2027-03-29T00:30:00Z")]
    );

    put_at(
        &db.pool,
        &cron("m", "30 2 * * *", "Europe/Paris", catch_up),
        at("2027-10-30T12:00:00Z"),
    )
    .await;
    let mut moment = at("2027-10-30T12:00:00Z");
    while moment < at("2027-11-01T12:00:00Z") {
        look_at(&db.pool, moment).await;
        moment += Time::minutes(15);
    }
    // The first of the two 02:30.
    assert_eq!(
        run_and_missed(&db.pool, "m").await.0,
        [at("2027-10-31T00:30:00Z"), at("2027-11-01T01:30:00Z")]
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_tick_twice_and_loses_none() {
    let db = TestDb::new().await;
    let catch_up = MissedPolicy::CatchUp { max: 10, max_age: Duration::from_secs(86_400) };
    let minute = |n: i64| at("2026-11-21T00:00:00Z") + Time::minutes(n);
    put_at(&db.pool, &every("m", 60, catch_up), minute(0)).await;
    for n in 1..=5 {
        look_at(&db.pool, minute(n)).await;
    }
    // By three minutes and a half; then time passes as before.
    for half_minutes in 3..=16 {
        look_at(&db.pool, minute(0) + Time::seconds(30 * half_minutes)).await;
    }
    let expected: Vec<_> = (1..=8).map(minute).collect();
    assert_eq!(run_and_missed(&db.pool, "m").await, (expected, vec![]));
    super::assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test]
async fn a_clock_that_ran_ahead_for_a_moment_does_not_silence_a_schedule() {
    let db = TestDb::new().await;
    let hour = |n: i64| at("2026-11-21T00:00:00Z") + Time::hours(n);
    for name in ["a", "b"] {
        put_at(&db.pool, &every(name, 3600, SKIP), hour(0)).await;
    }
    look_at(&db.pool, hour(1)).await;
    // A year ahead, where all but the tick of this very hour counts as missed, and back again.
    look_at(&db.pool, hour(365 * 24)).await;
    for half_hours in 2..=12 {
        look_at(&db.pool, hour(0) + Time::minutes(30 * half_hours)).await;
    }
    for name in ["a", "b"] {
        let (run, missed) = run_and_missed(&db.pool, name).await;
        assert_eq!(run, [1, 2, 3, 4, 5, 6, 365 * 24].map(hour));
        assert!(missed.is_empty(), "{missed:?}");
    }
    super::assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_costs_no_other() {
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    put_at(&db.pool, &cron("a-broken", "* * * * *", "Europe/Paris", SKIP), start).await;
    put_at(&db.pool, &every("b-whole", 60, SKIP), start).await;
    sqlx::query("update queue.schedules set time_zone = 'Mars/Olympus' where name = 'a-broken'")
        .execute(&db.pool)
        .await
        .unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let ran = schedules::run_due_at(&mut conn, at("2026-11-21T00:01:00Z")).await.unwrap();
    assert_eq!(ran.jobs.len(), 1);
    let [(name, error)] = &ran.failed[..] else { panic!("{:?}", ran.failed) };
    assert_eq!(name, "a-broken");
    assert!(format!("{error:?}").contains("Mars/Olympus"), "{error:?}");
    assert_eq!(ticks(&db.pool, "b-whole").await.len(), 1);
    // It is listed all the same, and can be mended.
    assert_eq!(schedules::list(&mut conn).await.unwrap().len(), 2);
    let mended = cron("a-broken", "* * * * *", "Europe/Paris", SKIP);
    assert_eq!(put(&db.pool, &mended).await, schedules::Put::Changed);
}

#[tokio::test]
async fn jobs_and_ticks_of_a_callers_transaction_are_undone_with_it() {
    let db = TestDb::new().await;
    put_at(&db.pool, &every("h", 3600, SKIP), at("2026-11-21T00:30:00Z")).await;
    let mut tx = db.pool.begin().await.unwrap();
    let ran = schedules::run_due_at(&mut tx, at("2026-11-21T01:00:00Z")).await.unwrap();
    assert_eq!(ran.jobs.len(), 1);
    tx.rollback().await.unwrap();
    assert_eq!((count_jobs(&db.pool).await, ticks(&db.pool, "h").await.len()), (0, 0));
    assert_eq!(look_at(&db.pool, at("2026-11-21T01:00:02Z")).await.jobs.len(), 1);
}

#[tokio::test]
async fn a_look_is_bounded_and_the_next_one_goes_on() {
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    put_at(&db.pool, &every("s0", 60, SKIP), start).await;
    sqlx::query(
        "insert into queue.schedules (
           name, every_secs, time_zone, policy, policy_max_age_secs, kind, args, queue, priority,
           max_attempts, settled_at, next_tick_at, defined_by
         )
         select 's' || n, every_secs, time_zone, policy, policy_max_age_secs, kind, args, queue,
                priority, max_attempts, settled_at, next_tick_at, defined_by
         from queue.schedules, generate_series(1, 519) as n",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let minute = start + Duration::from_secs(60);
    assert_eq!(look_at(&db.pool, minute).await.jobs.len(), 500);
    assert_eq!(look_at(&db.pool, minute).await.jobs.len(), 20);
    super::assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test]
async fn what_the_database_could_not_enqueue_later_is_refused_at_once() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for job in [
        super::nobodys_job().priority(5),
        super::nobodys_job().max_attempts(0),
        super::nobodys_job().queue(""),
        super::nobodys_job().key(""),
        surety::queue::enqueue::NewJob::raw("x".repeat(101), json!({})),
    ] {
        let schedule = Schedule::every("s", Duration::from_secs(1)).new_job(job).unwrap();
        schedules::put(&mut conn, &schedule, "test").await.unwrap_err();
    }
    assert!(schedules::list(&mut conn).await.unwrap().is_empty());
}
