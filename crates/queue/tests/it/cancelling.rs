//! Cancelling jobs, waiting and running, from another connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::operate::{CancelOutcome, cancel};
use surety_queue::{
    BatchContext, BatchJob, Committed, Job, JobContext, JobError, JobId, NewJob, Registry, Worker,
    WorkerSettings,
};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, End, Gates, assert_invariants_hold, attempts_of, count, database, effects, enqueue_job,
    enqueue_new, eventually, idle_worker, let_lease_run_out, state_of, unattended, wake_with,
    worker,
};

async fn by_ada(pool: &PgPool, id: JobId) -> Option<CancelOutcome> {
    let mut conn = pool.acquire().await.unwrap();
    cancel(&mut conn, id, "ada", "not wanted").await.unwrap()
}

async fn interventions(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s %s %s %s', job_id, action, made_by, reason)
         from queue.interventions order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// What a [`Told`] does when its token says that it must stop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum WhenTold {
    Ignore,
    GiveUp,
    Complete,
    Fail,
    Snooze,
    Panic,
}

/// Waits for its token.
#[derive(Serialize, Deserialize)]
struct Told {
    when_told: WhenTold,
}

impl Job for Told {
    const KIND: &'static str = "told";
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        gates.begun.add_permits(1);
        cx.stopped().cancelled().await;
        gates.go_on.add_permits(1);
        match self.when_told {
            WhenTold::Ignore => std::future::pending().await,
            WhenTold::GiveUp => Err(JobError::Cancel("as told".to_owned())),
            WhenTold::Complete => {
                let mut tx = cx.begin().await?;
                sqlx::query("insert into effects (name) values ('completed')")
                    .execute(&mut *tx)
                    .await?;
                cx.complete(tx).await
            }
            WhenTold::Fail => Err(anyhow::anyhow!("interrupted").into()),
            WhenTold::Snooze => Err(JobError::snooze(Duration::ZERO)),
            WhenTold::Panic => panic!("interrupted"),
        }
    }
}

/// A batch that waits at the gate, once it has written its effects.
#[derive(Serialize, Deserialize)]
struct Together {
    name: String,
}

impl Together {
    async fn write(&self, conn: &mut sqlx::PgConnection) -> Result<(), JobError> {
        sqlx::query("insert into effects (name) values ($1)")
            .bind(&self.name)
            .execute(conn)
            .await?;
        Ok(())
    }
}

impl BatchJob for Together {
    const KIND: &'static str = "together";
    type State = Gates;

    async fn run_batch(
        jobs: Vec<Self>,
        gates: &Gates,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        for job in &jobs {
            job.write(&mut tx).await?;
        }
        gates.begun.add_permits(1);
        gates.go_on.acquire().await?.forget();
        cx.complete(tx).await
    }

    async fn run_alone(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        self.write(&mut tx).await?;
        cx.complete(tx).await
    }
}

fn stoppable(pool: &PgPool, gates: &Gates) -> Arc<Worker<Gates>> {
    let registry = Registry::new(gates.clone()).register::<Told>().register_batch::<Together>();
    Arc::new(Worker::new(pool.clone(), registry, unattended()).unwrap())
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_who_wanted_it_is_kept() {
    let db = database().await;
    let act = || NewJob::new(&Act::new("a", End::Complete)).unwrap();
    let available = enqueue_new(&db.pool, act()).await;
    let scheduled = enqueue_new(&db.pool, act().delay(Duration::from_secs(3600))).await;
    let snoozed = enqueue_job(&db.pool, &Act::new("b", End::Snooze)).await;
    sqlx::query("update queue.jobs set run_at = now() + interval '1 h' where id <> $1")
        .bind(snoozed)
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    for id in [available, scheduled, snoozed] {
        assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Cancelled));
        assert_eq!(state_of(&db.pool, id).await, "cancelled");
        assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Finished));
    }
    let expected = [available, scheduled, snoozed].map(|id| format!("{id} cancel ada not wanted"));
    assert_eq!(interventions(&db.pool).await, expected);
    assert!(attempts_of(&db.pool, available).await.is_empty());
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert!(effects(&db.pool).await.is_empty());
    assert_eq!(by_ada(&db.pool, JobId(1_000_000)).await, None);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_cancel_that_is_rolled_back_changes_nothing() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let mut tx = db.pool.begin().await.unwrap();
    let outcome = cancel(&mut tx, id, "ada", "not wanted").await.unwrap();
    assert_eq!(outcome, Some(CancelOutcome::Cancelled));
    tx.rollback().await.unwrap();
    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 1);
    assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Finished));
    assert_eq!(interventions(&db.pool).await, [""; 0]);
}

#[tokio::test]
async fn a_running_handler_is_told_within_a_second_and_what_it_makes_of_that_holds() {
    for (when_told, state) in [
        (WhenTold::GiveUp, "cancelled"),
        (WhenTold::Complete, "completed"),
        (WhenTold::Fail, "cancelled"),
        (WhenTold::Snooze, "cancelled"),
        (WhenTold::Panic, "cancelled"),
        (WhenTold::Ignore, "cancelled"),
    ] {
        let db = database().await;
        let gates = Gates::new();
        let worker = stoppable(&db.pool, &gates);
        let id = enqueue_job(&db.pool, &Told { when_told }).await;
        let run = tokio::spawn(async move { worker.run_until_idle().await });
        gates.wait_begun().await;

        let asked = Instant::now();
        assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Requested));
        assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Requested), "once more");
        gates.go_on.acquire().await.unwrap().forget();
        let told_after = asked.elapsed();
        let summary = run.await.unwrap().unwrap();

        // The poll is every 500 ms; the rest is for a busy machine.
        assert!(told_after < Duration::from_secs(1), "{when_told:?}: told after {told_after:?}");
        if when_told == WhenTold::Ignore {
            let stopped_after = asked.elapsed();
            let grace = Duration::from_secs(2)..Duration::from_secs(5);
            assert!(grace.contains(&stopped_after), "stopped after {stopped_after:?}");
        }
        assert_eq!(state_of(&db.pool, id).await, state, "{when_told:?}");
        let attempts = attempts_of(&db.pool, id).await;
        let reason = (state == "cancelled").then(|| "not wanted".to_owned());
        assert_eq!(attempts, [(1, state.to_owned(), reason)], "{when_told:?}");
        assert_eq!(summary.completed, u64::from(when_told == WhenTold::Complete));
        assert_eq!(interventions(&db.pool).await.len(), 1, "{when_told:?}: asked twice, kept once");
        assert_invariants_hold(&db.pool).await;
    }
}

#[tokio::test]
async fn a_cancelled_job_of_a_running_batch_is_the_only_one_that_ends() {
    let db = database().await;
    let gates = Gates::new();
    let worker = stoppable(&db.pool, &gates);
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(enqueue_job(&db.pool, &Together { name: name.to_owned() }).await);
    }
    let run = tokio::spawn(async move { worker.run_until_idle().await });
    gates.wait_begun().await;
    assert_eq!(by_ada(&db.pool, ids[2]).await, Some(CancelOutcome::Requested));

    run.await.unwrap().unwrap();

    assert_eq!(effects(&db.pool).await, ["a", "b", "d"]);
    for (n, id) in ids.into_iter().enumerate() {
        let state = if n == 2 { "cancelled" } else { "completed" };
        assert_eq!(state_of(&db.pool, id).await, state, "job {n}");
        let attempts = attempts_of(&db.pool, id).await;
        assert_eq!(attempts.len(), 1, "no attempt is lost to the others: {attempts:?}");
        assert_eq!(attempts[0].1, state);
    }
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_whose_worker_is_lost_is_cancelled_and_not_run_again() {
    let db = database().await;
    let gates = Gates::new();
    let lost = worker(&db.pool, &gates, unattended());
    let id = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    let run = tokio::spawn(async move { lost.run_until_idle().await });
    gates.wait_begun().await;
    run.abort();
    // Without its task, the worker that was lost does not ask any more.
    let _ended = run.await;
    wake_with(&db.pool, id, &Act::new("a", End::Complete)).await;
    assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Requested));
    let_lease_run_out(&db.pool, id).await;

    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();

    assert_eq!(state_of(&db.pool, id).await, "cancelled");
    assert_eq!(summary.completed, 0);
    assert!(effects(&db.pool).await.is_empty());
    let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|it| it.1).collect();
    assert_eq!(outcomes, ["crashed"]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_that_fails_or_is_handed_back_in_the_moment_of_the_request_is_cancelled() {
    for end in [End::Fail, End::Snooze, End::Discard] {
        let db = database().await;
        let gates = Gates::new();
        let worker = worker(&db.pool, &gates, unattended());
        let id = enqueue_job(&db.pool, &Act::gated("a", end)).await;
        let run = tokio::spawn(async move { worker.run_until_idle().await });
        gates.wait_begun().await;
        assert_eq!(by_ada(&db.pool, id).await, Some(CancelOutcome::Requested));
        // At once, before the worker can have looked.
        gates.go_on.add_permits(1);
        run.await.unwrap().unwrap();
        let state = state_of(&db.pool, id).await;
        let expected = if end == End::Discard { "discarded" } else { "cancelled" };
        // Unless it had looked after all, and then it is cancelled.
        assert!(state == expected || state == "cancelled", "{end:?}: {state}");
        assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
        assert_invariants_hold(&db.pool).await;
    }
}

#[tokio::test]
async fn a_stopping_worker_cancels_what_was_to_be_cancelled_instead_of_handing_it_back() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings { grace: Duration::from_millis(50), ..unattended() };
    let worker = worker(&db.pool, &gates, settings);
    let id = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    gates.wait_begun().await;
    by_ada(&db.pool, id).await;
    stop.cancel();
    run.await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "cancelled");
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn the_maintenance_cancels_what_was_left_over() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    sqlx::query(
        "update queue.jobs set cancel_requested_by = 'ada', cancel_reason = 'x',
           run_at = now() + interval '1 h'",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let worker = worker(&db.pool, &Gates::new(), WorkerSettings::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    eventually("it is cancelled", async || state_of(&db.pool, id).await == "cancelled").await;
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn of_a_cancel_and_a_completion_at_once_exactly_one_holds() {
    const ROUNDS: usize = 200;
    let db = database().await;
    let settings = WorkerSettings { poll: Duration::from_millis(5), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let notifier = surety_queue::Notifier::start(&db.pool);
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let id = enqueue_job(&db.pool, &Act::new(&round.to_string(), End::Complete)).await;
        notifier.notify();
        // From long before it is claimed to long after it is done.
        tokio::time::sleep(Duration::from_micros(random_below(20_000))).await;
        ids.push((id, by_ada(&db.pool, id).await));
    }
    eventually("all have ended", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    stop.cancel();
    run.await.unwrap();
    let effects = effects(&db.pool).await;
    for (round, (id, told)) in ids.into_iter().enumerate() {
        let state = state_of(&db.pool, id).await;
        let is_done = effects.contains(&round.to_string());
        assert_eq!(is_done, state == "completed", "round {round}: {state}");
        match told.expect("the job exists") {
            CancelOutcome::Cancelled => assert_eq!(state, "cancelled", "round {round}"),
            CancelOutcome::Finished => assert_eq!(state, "completed", "round {round}"),
            CancelOutcome::Requested => {
                assert!(["cancelled", "completed"].contains(&&*state), "round {round}: {state}");
            }
        }
    }
    assert_eq!(effects.len(), effects.iter().collect::<std::collections::BTreeSet<_>>().len());
    assert_invariants_hold(&db.pool).await;
}

/// A different number at each call, spread over the range.
fn random_below(limit: u64) -> u64 {
    u64::from(uuid::Uuid::new_v4().as_fields().0) % limit
}
