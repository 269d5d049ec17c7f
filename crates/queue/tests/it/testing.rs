//! The helpers for tests of programs that use the queue.

use std::time::Duration;

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use surety_queue::operate::queues::{self, Limits};
use surety_queue::testing::{self, Ended, TestingError};
use surety_queue::{
    AttemptOutcome, Committed, Enqueued, Job, JobContext, JobError, JobState, NewJob, Unique,
    WorkerSettings, enqueue,
};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, Batched, End, Gates, attempts_of, count, database, effects, enqueue_job, enqueue_new,
    eventually, idle_worker, job, state_of, unattended, worker,
};
use crate::support::TestDb;

const HOUR: Duration = Duration::from_secs(3600);

/// What a test that expects `Act` jobs would be told.
async fn panic_of(asserted: impl Future) -> String {
    let Err(panic) = std::panic::AssertUnwindSafe(asserted).catch_unwind().await else {
        panic!("it should not hold");
    };
    *panic.downcast::<String>().expect("the panic has a message")
}

#[tokio::test]
async fn what_a_transaction_enqueues_is_seen_in_it_with_its_arguments() {
    let db = database().await;
    let mut tx = db.pool.begin().await.unwrap();
    let job = NewJob::new(&Act::new("a", End::Complete)).unwrap();
    let job = job.queue("q").priority(3).key("k").tag("t").delay(HOUR).max_attempts(7);
    let id = enqueue(&mut tx, job).await.unwrap().id();

    let found = testing::assert_enqueued::<Act>(&mut tx, |job| job.args.name == "a").await;

    assert_eq!((found.id, found.queue.as_str(), found.priority), (id, "q", 3));
    assert_eq!((found.attempt, found.max_attempts), (0, 7));
    assert_eq!((found.key.as_deref(), found.tags.as_slice()), (Some("k"), &["t".to_owned()][..]));
    assert_eq!(found.state, JobState::Scheduled);
    assert!(found.run_at > time::OffsetDateTime::now_utc() + HOUR / 2);
    testing::refute_enqueued::<Act>(&mut tx, |job| job.args.name == "b").await;
    testing::refute_enqueued::<Batched>(&mut tx, |_| true).await;
    tx.rollback().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(testing::enqueued::<Act>(&mut conn).await.unwrap().is_empty());
}

#[tokio::test]
async fn finished_jobs_are_not_enqueued_any_more_and_those_that_run_are() {
    let db = database().await;
    enqueue_job(&db.pool, &Act::new("done", End::Complete)).await;
    enqueue_job(&db.pool, &Act::new("gone", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let gates = Gates::new();
    let running = enqueue_job(&db.pool, &Act::gated("runs", End::Complete)).await;
    let busy = worker(&db.pool, &gates, unattended());
    let run = tokio::spawn(async move { busy.run_until_idle().await.unwrap() });
    gates.wait_begun().await;
    let waiting = enqueue_job(&db.pool, &Act::new("waits", End::Complete)).await;

    let mut conn = db.pool.acquire().await.unwrap();
    let found = testing::enqueued::<Act>(&mut conn).await.unwrap();

    let found: Vec<_> = found.iter().map(|job| (job.id, job.state)).collect();
    assert_eq!(found, [(running, JobState::Running), (waiting, JobState::Available)]);
    gates.go_on.add_permits(1);
    run.await.unwrap();
}

#[tokio::test]
async fn an_assertion_that_fails_tells_what_there_is() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let told = panic_of(testing::assert_enqueued::<Act>(&mut conn, |_| true)).await;
    assert_eq!(told, "no act job is as expected; there are none");

    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let told = panic_of(testing::assert_enqueued::<Act>(&mut conn, |job| job.attempt > 0)).await;
    assert!(told.contains(&format!("job {id} {{\"name\":\"a\"")), "{told}");
    assert!(told.contains("in queue default, Available"), "{told}");
    let told = panic_of(testing::refute_enqueued::<Act>(&mut conn, |_| true)).await;
    assert!(told.starts_with("a act job is there that should not be"), "{told}");
    assert!(told.contains(&format!("job {id} ")), "{told}");

    sqlx::query("update queue.jobs set args = '{}'").execute(&db.pool).await.unwrap();
    let told = panic_of(testing::assert_enqueued::<Act>(&mut conn, |_| true)).await;
    assert!(told.contains("do not parse as those of kind act: missing field"), "{told}");
}

#[tokio::test]
async fn a_job_that_is_run_inline_ends_as_with_any_worker_and_tells_how() {
    let db = database().await;
    let bystander = enqueue_job(&db.pool, &Act::new("bystander", End::Complete)).await;
    for end in [
        End::Complete,
        End::CompleteWithoutEffects,
        End::Fail,
        End::Panic,
        End::Discard,
        End::DiscardInTx,
        End::Cancel,
        End::CancelInTx,
        End::Snooze,
        End::SnoozeBecause,
    ] {
        let name = format!("{end:?}");
        let act = Act::new(&name, end);
        let run = testing::run_inline(&db.pool, Gates::new(), &act).await.unwrap();

        let is_as_expected = match (end, &run.ended) {
            (End::Complete | End::CompleteWithoutEffects, Ended::Completed { output: None }) => {
                true
            }
            (End::Fail, Ended::Failed { outcome: AttemptOutcome::Failed, error, .. }) => {
                error == "Fail failed: inner cause"
            }
            (End::Panic, Ended::Failed { error, .. }) => error.contains("panics"),
            (End::Discard, Ended::Discarded { error }) => error == "can never succeed",
            (End::DiscardInTx, Ended::Discarded { error }) => error == "declined: no money",
            (End::Cancel, Ended::Cancelled { reason }) => reason == "no longer wanted",
            (End::CancelInTx, Ended::Cancelled { reason }) => reason == "the order is gone",
            (End::Snooze, Ended::Snoozed { reason: None, until }) => {
                *until > time::OffsetDateTime::now_utc() + HOUR / 2
            }
            (End::SnoozeBecause, Ended::Snoozed { reason: Some(reason), .. }) => {
                reason.starts_with("the bank is")
            }
            _ => false,
        };
        assert!(is_as_expected, "{end:?}: {:?}", run.ended);
        let attempts = attempts_of(&db.pool, run.job).await.len();
        let is_snoozed = matches!(end, End::Snooze | End::SnoozeBecause);
        assert_eq!(attempts, usize::from(!is_snoozed), "{end:?}");
    }
    assert_eq!(effects(&db.pool).await, ["CancelInTx", "Complete", "DiscardInTx"]);
    assert_eq!(state_of(&db.pool, bystander).await, "available");
}

/// Leaves nothing behind; and runs one at a time if it has a key.
#[derive(Serialize, Deserialize)]
struct Trackless {}

impl Job for Trackless {
    const KIND: &'static str = "trackless";
    const KEEPS_HISTORY: bool = false;
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

#[tokio::test]
async fn jobs_of_every_shape_can_be_run_inline() {
    let db = database().await;
    let run = testing::run_inline(&db.pool, (), &Trackless {}).await.unwrap();
    assert_eq!(run.ended, Ended::Completed { output: None });
    assert_eq!(count(&db.pool, "select count(*) from queue.all_jobs").await, 0);

    // Of a batch kind, with a key, and of the future, which is now.
    let all = idle_worker(&db.pool);
    let batched = NewJob::new(&Batched { name: "b".into() }).unwrap().key("k").delay(HOUR);
    let run = testing::run_inline_by(&all, batched).await.unwrap();
    assert_eq!(run.ended, Ended::Completed { output: None });
    assert_eq!(effects(&db.pool).await, ["b"]);

    let unique = NewJob::new(&Act::new("u", End::Snooze)).unwrap().unique(Unique::by_args());
    let first = testing::run_inline_by(&all, unique.clone()).await.unwrap();
    let second = testing::run_inline_by(&all, unique).await.unwrap_err();
    assert!(matches!(second, TestingError::Exists(id) if id == first.job), "{second}");
    let unknown = NewJob::raw("unknown", serde_json::json!({}));
    let refused = testing::run_inline_by(&all, unknown).await.unwrap_err();
    assert!(matches!(refused, TestingError::NotClaimed(_)), "{refused}");
}

#[tokio::test]
async fn time_that_passes_makes_scheduled_and_retryable_jobs_due() {
    let db = database().await;
    let worker = idle_worker(&db.pool);
    let act = || NewJob::new(&Act::new("a", End::Complete)).unwrap();
    let soon = enqueue_new(&db.pool, act().delay(HOUR)).await;
    let keyed = enqueue_new(&db.pool, act().key("k").delay(HOUR)).await;
    let late = enqueue_new(&db.pool, act().delay(3 * HOUR)).await;
    let snoozed = enqueue_job(&db.pool, &Act::new("s", End::Snooze)).await;
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 0);
    let before = job(&db.pool, late).await;

    testing::advance(&db.pool, HOUR / 2).await.unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 0);
    testing::advance(&db.pool, HOUR / 2).await.unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 2);

    for id in [soon, keyed] {
        assert_eq!(state_of(&db.pool, id).await, "completed");
    }
    let after = job(&db.pool, late).await;
    assert_eq!(
        (before.run_at - after.run_at, before.enqueued_at - after.enqueued_at),
        (time::Duration::HOUR, time::Duration::HOUR)
    );
    // It ran once more, and snoozed once more.
    let snoozed = job(&db.pool, snoozed).await;
    assert!(snoozed.run_at > time::OffsetDateTime::now_utc() + HOUR / 2);
}

#[tokio::test]
async fn time_that_passes_ends_leases_windows_and_what_a_rate_counts() {
    let db = database().await;
    // The lease of a worker that does not renew it.
    let gates = Gates::new();
    let id = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    let lost = worker(&db.pool, &gates, unattended());
    let run = tokio::spawn(async move { lost.run_until_idle().await.unwrap() });
    gates.wait_begun().await;
    testing::advance(&db.pool, unattended().lease).await.unwrap();
    let other = worker(&db.pool, &gates, unattended());
    let (summary, ()) = tokio::join!(other.run_until_idle(), async {
        gates.wait_begun().await;
        gates.go_on.add_permits(2);
    });
    assert_eq!(summary.unwrap().completed, 1);
    assert_eq!(run.await.unwrap().lease_lost, 1);
    assert_eq!(attempts_of(&db.pool, id).await[0].1, "crashed");

    // The window of a unique job.
    let unique = || {
        let by = Unique::by_args().lasting(HOUR);
        NewJob::new(&Act::new("u", End::Complete)).unwrap().unique(by)
    };
    let mut conn = db.pool.acquire().await.unwrap();
    let first = enqueue(&mut conn, unique()).await.unwrap().id();
    other.run_until_idle().await.unwrap();
    assert_eq!(enqueue(&mut conn, unique()).await.unwrap(), Enqueued::Existing(first));
    testing::advance(&db.pool, HOUR).await.unwrap();
    assert!(!enqueue(&mut conn, unique()).await.unwrap().is_existing());
    other.run_until_idle().await.unwrap();

    // Two in an hour.
    let limits = Limits { rate: Some(2), rate_period: HOUR, ..Limits::default() };
    queues::set_limits(&mut conn, "default", &limits, "test").await.unwrap();
    for _ in 0..5 {
        enqueue_job(&db.pool, &Act::new("r", End::Complete)).await;
    }
    for expected in [2, 2, 1] {
        assert_eq!(other.run_until_idle().await.unwrap().completed, expected);
        assert_eq!(other.run_until_idle().await.unwrap().completed, 0);
        testing::advance(&db.pool, HOUR + HOUR / 10).await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_is_running_finds_what_has_become_due_within_its_next_sweep() {
    let db = database().await;
    let worker = worker(&db.pool, &Gates::new(), WorkerSettings::default());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(shutdown).await }
    });
    let act = NewJob::new(&Act::new("a", End::Complete)).unwrap().delay(HOUR);
    let id = enqueue_new(&db.pool, act).await;
    // So that it has something to remember.
    enqueue_job(&db.pool, &Act::new("b", End::Complete)).await;
    eventually("it works", async || !effects(&db.pool).await.is_empty()).await;

    testing::advance(&db.pool, HOUR).await.unwrap();

    let found = async || state_of(&db.pool, id).await == "completed";
    crate::support::eventually_async("it finds the job", found).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn time_passes_in_test_databases_only_and_only_empty_ones_become_that() {
    let db = TestDb::without_schema().await;
    surety_queue::migrate(&db.pool).await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let act = NewJob::new(&Act::new("a", End::Complete)).unwrap().delay(HOUR);
    let id = enqueue(&mut conn, act).await.unwrap().id();
    let due = job(&db.pool, id).await.run_at;

    let refused = testing::advance(&db.pool, HOUR).await.unwrap_err();
    assert!(matches!(refused, TestingError::NotMarked), "{refused}");
    let refused = testing::mark_as_test_database(&db.pool).await.unwrap_err();
    assert!(matches!(refused, TestingError::InUse), "{refused}");
    let refused = testing::advance(&db.pool, HOUR).await.unwrap_err();
    assert!(matches!(refused, TestingError::NotMarked), "{refused}");
    assert_eq!(job(&db.pool, id).await.run_at, due);

    sqlx::query("delete from queue.jobs").execute(&db.pool).await.unwrap();
    testing::mark_as_test_database(&db.pool).await.unwrap();
    testing::advance(&db.pool, HOUR).await.unwrap();
    let refused = testing::advance(&db.pool, Duration::MAX).await.unwrap_err();
    assert!(matches!(refused, TestingError::TooLong(_)), "{refused}");
}
