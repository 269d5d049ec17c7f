//! Many who look at once, workers that are killed, and edits in the middle: each tick once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use surety::queue::schedules::{self, MissedPolicy, Put};
use surety::queue::{Worker, WorkerSettings};
use time::OffsetDateTime;
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use super::{
    assert_each_tick_has_its_own_job, at, count_jobs, every, look_at, put, put_at, registry,
    run_and_missed, ticks,
};
use crate::support::{App, Binary as _, TestDb, eventually_async};

const CATCH_UP: MissedPolicy =
    MissedPolicy::CatchUp { max: 1000, max_age: Duration::from_secs(86_400) };

/// Whether these are the whole seconds from the first to the last.
fn is_every_second(ticks: &[OffsetDateTime]) -> bool {
    ticks.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_secs(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_look_at_the_same_moment_one_makes_each_tick() {
    const LOOKERS: usize = 8;
    const SCHEDULES: usize = 12;
    const ROUNDS: i64 = 25;
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    for n in 0..SCHEDULES {
        put_at(&db.pool, &every(&format!("s{n}"), 60, CATCH_UP), start).await;
    }
    let barrier = Arc::new(Barrier::new(LOOKERS));
    let lookers: Vec<_> = (0..LOOKERS)
        .map(|_| {
            let (pool, barrier) = (db.pool.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let mut made = 0;
                for round in 1..=ROUNDS {
                    barrier.wait().await;
                    // Two ticks by now.
                    let moment = start + time::Duration::minutes(2 * round);
                    made += look_at(&pool, moment).await.jobs.len();
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for looker in lookers {
        made += looker.await.unwrap();
    }
    // Whoever finds a schedule locked leaves it to the other one.
    look_at(&db.pool, start + time::Duration::minutes(2 * ROUNDS)).await;
    assert_eq!(made, SCHEDULES * 2 * ROUNDS as usize);
    assert_each_tick_has_its_own_job(&db.pool).await;
    let expected: Vec<_> = (1..=2 * ROUNDS).map(|n| start + time::Duration::minutes(n)).collect();
    for n in 0..SCHEDULES {
        assert_eq!(run_and_missed(&db.pool, &format!("s{n}")).await.0, expected);
    }
}

#[tokio::test]
async fn even_without_the_lock_the_row_of_a_tick_decides() {
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    put_at(&db.pool, &every("m", 60, CATCH_UP), start).await;
    // Somebody has taken the tick and not committed yet.
    let mut other = db.pool.begin().await.unwrap();
    sqlx::query("insert into queue.schedule_ticks (schedule, tick_at) values ('m', $1)")
        .bind(start + Duration::from_secs(60))
        .execute(&mut *other)
        .await
        .unwrap();
    let pool = db.pool.clone();
    let look = tokio::spawn(async move { look_at(&pool, at("2026-11-21T00:01:00Z")).await });
    eventually_async("the look waits for the other transaction", async || {
        let waiting =
            "select exists (select from pg_stat_activity where wait_event = 'transactionid'
                       and datname = current_database())";
        sqlx::query_scalar(waiting).fetch_one(&db.pool).await.unwrap()
    })
    .await;
    other.commit().await.unwrap();
    assert!(look.await.unwrap().jobs.is_empty());
    assert_eq!(count_jobs(&db.pool).await, 0);
}

#[tokio::test]
async fn a_worker_lost_in_the_middle_leaves_the_tick_to_another() {
    let db = TestDb::new().await;
    let start = at("2026-11-21T00:00:00Z");
    put_at(&db.pool, &every("m", 60, CATCH_UP), start).await;
    let mut lost = db.pool.begin().await.unwrap();
    let ran = schedules::run_due_at(&mut lost, at("2026-11-21T00:01:00Z")).await.unwrap();
    assert_eq!(ran.jobs.len(), 1);
    // Meanwhile the others leave it alone, and wait for nothing.
    assert!(look_at(&db.pool, at("2026-11-21T00:01:00Z")).await.jobs.is_empty());
    let pid: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *lost).await.unwrap();
    let _killed: bool = sqlx::query_scalar("select pg_terminate_backend($1)")
        .bind(pid)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    eventually_async("another one makes the tick", async || {
        !look_at(&db.pool, at("2026-11-21T00:01:02Z")).await.jobs.is_empty()
    })
    .await;
    assert_eq!(ticks(&db.pool, "m").await.len(), 1);
    assert_each_tick_has_its_own_job(&db.pool).await;
}

async fn pause_between_looks() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..4))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schedule_that_is_edited_while_it_is_due_ticks_each_time_once() {
    let db = TestDb::new().await;
    // All by the real clock: two definitions, which take turns, tick at the same seconds.
    let first = every("s", 1, CATCH_UP);
    let second = super::cron("s", "* * * * * *", "Australia/Lord_Howe", CATCH_UP);
    put(&db.pool, &first).await;
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (pool, stop) = (db.pool.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.is_cancelled() {
                let mut conn = pool.acquire().await.unwrap();
                let ran = schedules::run_due(&mut conn).await.unwrap();
                assert!(ran.failed.is_empty(), "{:?}", ran.failed);
                pause_between_looks().await;
            }
        }));
    }
    let editor = {
        let (pool, stop) = (db.pool.clone(), stop.clone());
        tokio::spawn(async move {
            let mut edits = 0;
            while !stop.is_cancelled() {
                for schedule in [&second, &first] {
                    edits += usize::from(put(&pool, schedule).await == Put::Changed);
                }
                pause_between_looks().await;
            }
            edits
        })
    };
    eventually_async("five ticks", async || ticks(&db.pool, "s").await.len() >= 5).await;
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(editor.await.unwrap() > 10);
    let (run, missed) = run_and_missed(&db.pool, "s").await;
    assert!(is_every_second(&run), "{run:?}");
    assert!(missed.is_empty(), "{missed:?}");
    assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_define_a_schedule_one_makes_it() {
    let db = TestDb::new().await;
    for round in 0..10 {
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let pool = db.pool.clone();
                tokio::spawn(
                    async move { put(&pool, &every(&format!("s{round}"), 60, CATCH_UP)).await },
                )
            })
            .collect();
        let mut created = 0;
        for task in tasks {
            match task.await.unwrap() {
                Put::Created => created += 1,
                Put::Unchanged => {}
                Put::Changed => panic!("they are the same"),
            }
        }
        assert_eq!(created, 1);
    }
}

fn start_worker(pool: &PgPool) -> (tokio::task::JoinHandle<()>, CancellationToken) {
    let worker = Worker::new(pool.clone(), registry(), WorkerSettings::default()).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let run = tokio::spawn(async move {
        worker.run(stopped).await;
    });
    (run, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_side_by_side_run_each_second_once_and_at_once() {
    let db = TestDb::new().await;
    for n in 0..5 {
        put(&db.pool, &every(&format!("s{n}"), 1, CATCH_UP)).await;
    }
    let workers: Vec<_> = (0..3).map(|_| start_worker(&db.pool)).collect();
    eventually_async("five ticks", async || ticks(&db.pool, "s4").await.len() >= 5).await;
    for (run, stop) in workers {
        stop.cancel();
        run.await.unwrap();
    }
    for n in 0..5 {
        let (run, missed) = run_and_missed(&db.pool, &format!("s{n}")).await;
        assert!(is_every_second(&run) && missed.is_empty(), "{run:?} {missed:?}");
    }
    assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test]
async fn ticks_go_on_through_the_kill_of_a_worker_process() {
    let db = TestDb::new().await;
    for n in 0..5 {
        put(&db.pool, &every(&format!("s{n}"), 1, CATCH_UP)).await;
    }
    let work = || App::command(["work"]).env("DATABASE_URL", &db.url).spawn();
    let mut victim = work();
    let mut other = work();
    for kills in 1..=4 {
        let enough = 2 * kills;
        eventually_async("ticks", async || ticks(&db.pool, "s0").await.len() >= enough).await;
        victim.kill().await;
        victim = work();
    }
    // With nobody left for a while, and then one again, who catches up.
    victim.kill().await;
    other.kill().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let so_far = ticks(&db.pool, "s0").await.len();
    let mut last = work();
    eventually_async("ticks", async || ticks(&db.pool, "s0").await.len() >= so_far + 4).await;
    last.kill().await;
    for n in 0..5 {
        let (run, missed) = run_and_missed(&db.pool, &format!("s{n}")).await;
        assert!(is_every_second(&run) && missed.is_empty(), "{run:?} {missed:?}");
    }
    assert_each_tick_has_its_own_job(&db.pool).await;
}
