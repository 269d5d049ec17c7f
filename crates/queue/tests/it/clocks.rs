//! A worker whose clock is far off the database's: only the database's decides (G8).

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use surety_postgres::connect;
use surety_queue::{NewJob, WorkerSettings, enqueue_many};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, End, Gates, attempts_of, count, enqueue_job, enqueue_new, eventually, make_effects_table,
    state_of, worker,
};
use crate::support::TestDb;

/// A database whose clocks are so many hours ahead of ours, for everybody who connects.
async fn database_ahead_by(hours: i32) -> (TestDb, PgPool) {
    let db = TestDb::new().await;
    for clock in ["clock_timestamp", "statement_timestamp", "transaction_timestamp", "now"] {
        let sql = format!(
            "create schema if not exists other_clock;
             create function other_clock.{clock}() returns timestamptz language sql volatile
               as $$ select pg_catalog.{clock}() + interval '{hours} h' $$"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&db.pool).await.unwrap();
    }
    // What is found first is taken.
    sqlx::raw_sql(
        "do $$ begin
           execute format(
             'alter database %I set search_path = other_clock, pg_catalog, public',
             current_database());
         end $$",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let pool = connect(&db.url, 10, "test").await.unwrap();
    make_effects_table(&pool).await;
    let ahead: i32 = sqlx::query_scalar(
        "select round(
           extract(epoch from clock_timestamp() - pg_catalog.clock_timestamp()) / 3600)::int",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(ahead, hours);
    (db, pool)
}

async fn a_job_runs_when_it_is_due_and_keeps_its_lease(hours: i32) {
    let (_db, pool) = database_ahead_by(hours).await;
    let gates = Gates::new();
    let settings = WorkerSettings {
        lease: Duration::from_millis(900),
        heartbeat: Duration::from_millis(100),
        poll: Duration::from_millis(20),
        ..WorkerSettings::default()
    };
    let busy = worker(&pool, &gates, settings.clone());
    let idle = worker(&pool, &gates, settings);
    let stop = CancellationToken::new();
    let runs = [busy, idle].map(|worker| {
        let stop = stop.clone();
        tokio::spawn(async move { worker.run(stop).await })
    });
    let act = |name: &str| NewJob::new(&Act::new(name, End::Complete)).unwrap();
    let half_an_hour = Duration::from_secs(1800);
    let later = enqueue_new(&pool, act("later").delay(half_an_hour)).await;
    let mut conn = pool.acquire().await.unwrap();
    let two =
        enqueue_many(&mut conn, &[act("now"), act("then").delay(half_an_hour)]).await.unwrap();
    let long = enqueue_job(&pool, &Act::gated("long", End::Complete)).await;
    gates.wait_begun().await;

    // Several leases long: its worker renews it, and nobody else takes it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(state_of(&pool, long).await, "running");
    assert!(
        attempts_of(&pool, long).await.is_empty(),
        "{hours} h: {:?}",
        attempts_of(&pool, long).await
    );
    gates.go_on.add_permits(1);
    eventually("it is done", async || state_of(&pool, long).await == "completed").await;

    let attempts = attempts_of(&pool, long).await;
    assert_eq!(attempts, [(1, "completed".to_owned(), None)], "{hours} h ahead");
    assert_eq!(state_of(&pool, two[0].id()).await, "completed", "it was due at once");
    for id in [later, two[1].id()] {
        let due_in: f64 = sqlx::query_scalar(
            "select extract(epoch from run_at - clock_timestamp())::float8
             from queue.jobs where id = $1",
        )
        .bind(id)
        .fetch_one(&pool)
        .await
        .unwrap();
        assert!((1700.0..=1800.0).contains(&due_in), "{hours} h ahead: due in {due_in} s");
    }
    assert_eq!(count(&pool, "select count(*) from queue.jobs").await, 2);
    stop.cancel();
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn a_database_whose_clock_is_ahead_of_ours_decides() {
    a_job_runs_when_it_is_due_and_keeps_its_lease(3).await;
}

#[tokio::test]
async fn a_database_whose_clock_is_behind_ours_decides() {
    a_job_runs_when_it_is_due_and_keeps_its_lease(-3).await;
}

#[tokio::test]
async fn a_lost_workers_job_runs_again_in_time_by_the_databases_clock() {
    for hours in [3, -3] {
        let (_db, pool) = database_ahead_by(hours).await;
        let gates = Gates::new();
        let settings = WorkerSettings {
            lease: Duration::from_millis(900),
            heartbeat: Duration::from_millis(300),
            ..WorkerSettings::default()
        };
        let lost = worker(&pool, &gates, settings.clone());
        let id = enqueue_job(&pool, &Act::gated("a", End::Complete)).await;
        let run = tokio::spawn(async move { lost.run_until_idle().await });
        gates.wait_begun().await;
        run.abort();
        let _ended = run.await;
        let other_gates = Gates::new();
        other_gates.go_on.add_permits(1);
        let other = worker(&pool, &other_gates, settings);
        eventually("it is run again", async || {
            other.run_until_idle().await.unwrap();
            state_of(&pool, id).await == "completed"
        })
        .await;
        let outcomes: Vec<_> = attempts_of(&pool, id).await.into_iter().map(|it| it.1).collect();
        assert_eq!(outcomes, ["crashed", "completed"], "{hours} h ahead");
    }
}
