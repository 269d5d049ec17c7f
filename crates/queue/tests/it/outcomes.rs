//! What becomes of a job when its run completes, fails, panics, times out, snoozes, cancels.

use std::time::Duration;

use surety_postgres::connect;
use surety_queue::{JobState, NewJob, WorkerSettings, enqueue, testing};

use super::kinds::{
    Act, Batched, End, Gates, Hang, attempts_of, count, database, effects, enqueue_job,
    enqueue_new, eventually, idle_worker, job, state_of, wake_with, worker,
};

#[tokio::test]
async fn a_completed_job_moves_to_the_history_together_with_its_effect() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    assert_eq!(state_of(&db.pool, id).await, "available");

    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(summary.completed, 1);
    assert_eq!(state_of(&db.pool, id).await, "completed");
    assert_eq!(effects(&db.pool).await, ["a"]);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    assert_eq!(attempts_of(&db.pool, id).await, [(1, "completed".into(), None)]);
}

#[tokio::test]
async fn a_job_enqueued_in_a_transaction_that_rolls_back_does_not_exist() {
    let db = database().await;
    let mut tx = db.pool.begin().await.unwrap();
    enqueue(&mut tx, NewJob::new(&Act::new("a", End::Complete)).unwrap()).await.unwrap();
    tx.rollback().await.unwrap();

    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 0);
    assert!(effects(&db.pool).await.is_empty());
}

#[tokio::test]
async fn a_failing_job_is_retried_then_discarded_and_keeps_every_error() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Fail)).await;

    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!((summary.failed, summary.discarded, summary.completed), (3, 1, 0));
    assert_eq!(state_of(&db.pool, id).await, "discarded");
    let error = Some("a failed: inner cause".to_owned());
    assert_eq!(
        attempts_of(&db.pool, id).await,
        [1, 2, 3].map(|n| (n, "failed".to_owned(), error.clone()))
    );
    assert!(effects(&db.pool).await.is_empty(), "what a failed run wrote is rolled back");
}

#[tokio::test]
async fn to_wait_for_a_connection_costs_no_attempt() {
    let db = database().await;
    let pool = connect(&db.url, 1, "test").await.unwrap();
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    // As other runs would, and for longer than the pool lets anybody wait.
    let taken = pool.acquire().await.unwrap();
    let run = tokio::spawn(async move { idle_worker(&pool).run_until_idle().await });
    let is_running = async || state_of(&db.pool, id).await == "running";
    eventually("it is claimed", is_running).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(is_running().await);
    drop(taken);
    run.await.unwrap().unwrap();
    assert_eq!(attempts_of(&db.pool, id).await, [(1, "completed".into(), None)]);
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_costs_no_other_job() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Panic)).await;
    enqueue_job(&db.pool, &Act::new("b", End::Complete)).await;

    idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(state_of(&db.pool, id).await, "discarded");
    let (_, outcome, error) = attempts_of(&db.pool, id).await.remove(0);
    assert_eq!(outcome, "failed");
    assert_eq!(error.unwrap(), "the handler panicked: the handler of a panics");
    assert_eq!(effects(&db.pool).await, ["b"]);
}

#[tokio::test]
async fn a_run_beyond_its_timeout_is_stopped_and_counts_as_timed_out() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Hang {}).await;

    idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(state_of(&db.pool, id).await, "discarded");
    assert_eq!(attempts_of(&db.pool, id).await[0].1, "timed_out");
}

#[tokio::test]
async fn a_discard_ends_the_job_at_its_first_attempt() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "discarded");
    assert_eq!(
        attempts_of(&db.pool, id).await,
        [(1, "discarded".into(), Some("can never succeed".into()))]
    );
}

#[tokio::test]
async fn a_job_that_cancels_itself_is_kept_as_cancelled() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Cancel)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "cancelled");
    assert!(effects(&db.pool).await.is_empty());
}

#[tokio::test]
async fn a_snooze_costs_no_attempt_and_leaves_no_trace() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Snooze)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(state_of(&db.pool, id).await, "scheduled");
    assert!(attempts_of(&db.pool, id).await.is_empty());
    let attempt: i16 = sqlx::query_scalar("select attempt from queue.jobs where id = $1")
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(attempt, 0);
}

#[tokio::test]
async fn a_snoozed_job_tells_why_it_waits_until_it_is_claimed() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::SnoozeBecause)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let waiting = job(&db.pool, id).await;
    // PostgreSQL stores no NUL.
    assert_eq!(waiting.wait_reason.as_deref(), Some("the bank is \u{fffd} away"));
    assert_eq!((waiting.state, waiting.attempt), (JobState::Scheduled, 0));
    assert!(waiting.attempts.is_empty());

    let gates = Gates::new();
    let worker = worker(&db.pool, &gates, WorkerSettings::default());
    wake_with(&db.pool, id, &Act::gated("a", End::Snooze)).await;
    let run = tokio::spawn(async move { worker.run_until_idle().await });
    gates.wait_begun().await;
    assert_eq!(job(&db.pool, id).await.wait_reason, None);
    gates.go_on.add_permits(1);
    run.await.unwrap().unwrap();
    assert_eq!(job(&db.pool, id).await.wait_reason, None, "this snooze gave none");
}

#[tokio::test]
async fn a_run_knows_whether_it_is_the_last() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::FailUnlessLast)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|a| a.1).collect();
    assert_eq!(outcomes, ["failed", "failed", "completed"]);

    // Attempts whose worker was lost do not count.
    let id = enqueue_job(&db.pool, &Act::new("b", End::FailUnlessLast)).await;
    sqlx::query("update queue.jobs set attempt = 2, crash_count = 2")
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let outcomes: Vec<_> =
        attempts_of(&db.pool, id).await.into_iter().map(|a| (a.0, a.1)).collect();
    assert_eq!(outcomes, [(3, "failed".into()), (4, "failed".into()), (5, "completed".into())]);
}

#[tokio::test]
async fn a_delayed_job_waits_until_it_is_due() {
    let db = database().await;
    let job = NewJob::new(&Act::new("a", End::Complete)).unwrap().delay(Duration::from_secs(3600));
    let id = enqueue_new(&db.pool, job).await;

    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "scheduled");

    testing::advance(&db.pool, Duration::from_secs(3600)).await.unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
}

#[tokio::test]
async fn a_batch_is_one_transaction() {
    let db = database().await;
    for n in 0..10 {
        enqueue_job(&db.pool, &Batched { name: n.to_string() }).await;
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await.len(), 10);
    assert_eq!(count(&db.pool, "select count(distinct xid) from effects").await, 1);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
}

#[tokio::test]
async fn a_poison_job_costs_the_others_of_its_batch_nothing() {
    let db = database().await;
    for name in ["a", "b", "poison", "c"] {
        enqueue_job(&db.pool, &Batched { name: name.into() }).await;
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["a", "b", "c"]);
    assert_eq!(
        count(&db.pool, "select count(*) from queue.finished_jobs where state = 'discarded'").await,
        1
    );
    assert_eq!(count(&db.pool, "select max(attempt)::bigint from queue.attempts").await, 1);
}

#[tokio::test]
async fn arguments_that_do_not_parse_fail_their_own_job_only() {
    let db = database().await;
    let bad = enqueue_job(&db.pool, &Batched { name: "a".into() }).await;
    enqueue_job(&db.pool, &Batched { name: "b".into() }).await;
    sqlx::query("update queue.jobs set args = '{\"unexpected\": 1}' where id = $1")
        .bind(bad)
        .execute(&db.pool)
        .await
        .unwrap();

    idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(state_of(&db.pool, bad).await, "discarded");
    assert!(attempts_of(&db.pool, bad).await[0].2.as_ref().unwrap().contains("do not parse"));
    assert_eq!(effects(&db.pool).await, ["b"]);
}

#[tokio::test]
async fn an_error_text_that_postgresql_cannot_store_is_stored_all_the_same() {
    let db = database().await;
    let name = format!("nul \u{0} and {}", "long ".repeat(10_000));
    // NUL cannot be in the arguments either, so it comes from the handler's panic.
    let id = enqueue_job(&db.pool, &Act::new(&name.replace('\0', ""), End::Panic)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let error = attempts_of(&db.pool, id).await.remove(0).2.unwrap();
    assert!(error.len() <= 8 * 1024 + 3, "{} bytes", error.len());
}

#[tokio::test]
async fn a_completion_that_cannot_be_committed_completes_nothing() {
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
    let single = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let batched = [
        enqueue_job(&db.pool, &Batched { name: "b".into() }).await,
        enqueue_job(&db.pool, &Batched { name: "c".into() }).await,
    ];

    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(summary.completed, 0);
    let outcomes: Vec<_> = attempts_of(&db.pool, single).await.into_iter().map(|a| a.1).collect();
    assert_eq!(outcomes, ["failed", "failed", "failed"]);
    for id in batched {
        let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|a| a.1).collect();
        assert_eq!(outcomes, ["failed"]);
    }
    assert!(effects(&db.pool).await.is_empty());
}
