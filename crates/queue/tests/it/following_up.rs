//! What follows a discard: what the handler commits with it, or a job if it could not.

use std::time::Duration;

use sqlx::PgPool;
use surety_queue::{JobId, JobState, Registry, Worker, WorkerSettings};

use super::kinds::{
    Act, Batched, End, Gates, Pay, assert_invariants_hold, attempts_of, count, database, effects,
    enqueue_job, idle_worker, job, let_lease_run_out, unattended, worker,
};

const FOLLOW_UPS: &str = "select count(*) from queue.all_jobs where kind = 'release'";

/// A worker that knows neither `pay` nor `release`.
fn stranger(pool: &PgPool) -> Worker<Gates> {
    let registry = Registry::new(Gates::new()).register_batch::<Batched>();
    Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap()
}

#[tokio::test]
async fn a_discard_in_the_handlers_transaction_commits_what_the_handler_wrote() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::DiscardInTx))).await;

    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!((summary.discarded, summary.completed, summary.failed), (1, 0, 0));
    assert_eq!(job(&db.pool, id).await.state, JobState::Discarded);
    assert_eq!(
        attempts_of(&db.pool, id).await,
        [(1, "discarded".into(), Some("declined: no money".into()))]
    );
    assert_eq!(effects(&db.pool).await, ["a"]);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0, "the handler has seen to it");
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_cancel_in_the_handlers_transaction_commits_what_the_handler_wrote() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::CancelInTx))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(job(&db.pool, id).await.state, JobState::Cancelled);
    assert_eq!(
        attempts_of(&db.pool, id).await,
        [(1, "cancelled".into(), Some("the order is gone".into()))]
    );
    assert_eq!(effects(&db.pool).await, ["a"]);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0);
}

#[tokio::test]
async fn a_discard_that_cannot_be_committed_is_a_failed_attempt() {
    let db = database().await;
    // Fails at the commit, as a database that goes away then would.
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql
           as $$ begin raise 'not today'; end $$;
         create constraint trigger refuse after insert on effects
           deferrable initially deferred for each row execute function refuse()",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let id = enqueue_job(&db.pool, &Act::new("a", End::DiscardInTx)).await;

    idle_worker(&db.pool).run_until_idle().await.unwrap();

    let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|a| a.1).collect();
    assert_eq!(outcomes, ["failed", "failed", "failed"]);
    assert_eq!(job(&db.pool, id).await.state, JobState::Discarded);
    assert!(effects(&db.pool).await.is_empty());
}

#[tokio::test]
async fn attempts_that_are_used_up_are_followed_up_once_with_number_and_arguments() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::Fail))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(job(&db.pool, id).await.state, JobState::Discarded);
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} \"a\"")]);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 1);
    assert_eq!(
        count(
            &db.pool,
            "select count(*) from queue.all_jobs
             where kind = 'release' and queue = 'releases' and priority = 1 and max_attempts = 7
               and attempt = 1 and state = 'completed'"
        )
        .await,
        1,
        "it has the settings of its kind"
    );
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_discard_by_error_is_followed_up() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::Discard))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} \"a\"")]);
}

#[tokio::test]
async fn arguments_that_do_not_parse_are_followed_up_as_they_are() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::Complete))).await;
    sqlx::query("update queue.jobs set args = '{\"name\": 1}'").execute(&db.pool).await.unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} 1")]);
}

#[tokio::test]
async fn a_timeout_in_the_last_attempt_is_followed_up() {
    let db = database().await;
    // Waits at a gate that nobody opens.
    let id = enqueue_job(&db.pool, &Pay(Act::gated("a", End::Complete))).await;
    sqlx::query("update queue.jobs set max_attempts = 1").execute(&db.pool).await.unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(attempts_of(&db.pool, id).await[0].1, "timed_out");
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} \"a\"")]);
}

#[tokio::test]
async fn completed_and_cancelled_jobs_are_not_followed_up() {
    let db = database().await;
    for end in [End::Complete, End::CompleteWithoutEffects, End::Cancel, End::CancelInTx] {
        enqueue_job(&db.pool, &Pay(Act::new("a", end))).await;
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0);
}

/// Leaves a job that has taken its fifth worker down, with a lease that has run out.
async fn poison_job(pool: &PgPool) -> JobId {
    let id = enqueue_job(pool, &Pay(Act::gated("killer", End::Complete))).await;
    for crash in 1..=5 {
        let gates = Gates::new();
        // Leases that run out by themselves the last time, on the database's clock.
        let settings = if crash < 5 {
            unattended()
        } else {
            WorkerSettings {
                lease: Duration::from_millis(600),
                heartbeat: Duration::from_millis(200),
                ..WorkerSettings::default()
            }
        };
        let lost = worker(pool, &gates, settings);
        let run = tokio::spawn(async move { lost.run_until_idle().await });
        gates.wait_begun().await;
        run.abort();
        if crash < 5 {
            let_lease_run_out(pool, id).await;
        }
    }
    let expired = "select count(*) from queue.jobs where lease_expires_at < clock_timestamp()";
    super::kinds::eventually("the lease runs out", async || count(pool, expired).await == 1).await;
    id
}

#[tokio::test]
async fn a_job_that_kills_workers_is_followed_up_once_by_a_rescue_that_knows_neither_kind() {
    let db = database().await;
    let id = poison_job(&db.pool).await;

    // Eight rescuers at once.
    let rescues: Vec<_> = (0..8)
        .map(|_| {
            let stranger = stranger(&db.pool);
            tokio::spawn(async move { stranger.run_until_idle().await.unwrap() })
        })
        .collect();
    for rescue in rescues {
        rescue.await.unwrap();
    }

    let poison = job(&db.pool, id).await;
    assert_eq!((poison.state, poison.crash_count), (JobState::Discarded, 5));
    assert_eq!(count(&db.pool, FOLLOW_UPS).await, 1);
    assert!(effects(&db.pool).await.is_empty(), "nobody here knows its kind");
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} \"killer\"")]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_late_discard_enqueues_no_follow_up() {
    for end in [End::Discard, End::DiscardInTx] {
        let db = database().await;
        let gates = Gates::new();
        let a = worker(&db.pool, &gates, unattended());
        let id = enqueue_job(&db.pool, &Pay(Act::gated("late", end))).await;
        let late_run = tokio::spawn(async move { a.run_until_idle().await });
        gates.wait_begun().await;
        // Rescued, and not run again yet.
        let_lease_run_out(&db.pool, id).await;
        stranger(&db.pool).run_until_idle().await.unwrap();
        sqlx::query("update queue.jobs set run_at = now() + interval '1 h'")
            .execute(&db.pool)
            .await
            .unwrap();

        gates.go_on.add_permits(1);
        assert_eq!(late_run.await.unwrap().unwrap().completed, 0);

        assert_eq!(job(&db.pool, id).await.state, JobState::Retryable, "{end:?}");
        assert_eq!(count(&db.pool, FOLLOW_UPS).await, 0, "{end:?}");
        assert!(effects(&db.pool).await.is_empty(), "{end:?}");
    }
}

#[tokio::test]
async fn a_follow_up_that_could_not_be_enqueued_later_is_refused_at_once() {
    let db = database().await;
    for follow_up in [
        "{}",
        "{\"kind\": \"\", \"queue\": \"q\", \"priority\": 1, \"max_attempts\": 1}",
        "{\"kind\": \"k\", \"queue\": \"q\", \"priority\": 5, \"max_attempts\": 1}",
        "{\"kind\": \"k\", \"queue\": \"q\", \"priority\": 1}",
        "[]",
        "null",
    ] {
        let refused =
            sqlx::query("insert into queue.jobs (kind, on_discard) values ('x', $1::jsonb)")
                .bind(follow_up)
                .execute(&db.pool)
                .await
                .unwrap_err();
        let constraint = refused.as_database_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some("follow_up_is_a_job"), "{follow_up}: {refused}");
    }
}
