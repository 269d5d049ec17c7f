//! Hooks: code of the program around each run.

use std::sync::{Arc, Mutex};

use surety_queue::telemetry::{Ending, Failure, Run};
use surety_queue::{NewJob, Registry, RunHooks, Worker, WorkerSettings};

use super::kinds::{
    Act, Batched, End, Gates, database, effects, enqueue_job, enqueue_new, state_of,
};

/// What was called, in order.
#[derive(Default)]
struct Calls(Mutex<Vec<String>>);

impl Calls {
    fn add(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RunHooks for Calls {
    fn before(&self, run: &Run<'_>) {
        self.add(format!("before {} {}", run.kind, run.attempt));
    }

    fn after(&self, run: &Run<'_>, ending: &Ending<'_>) {
        let ending = match ending {
            Ending::Completed => "completed",
            Ending::Retried { .. } => "retried",
            Ending::Discarded { .. } => "discarded",
            Ending::Snoozed { .. } => "snoozed",
            Ending::Cancelled { .. } => "cancelled",
            Ending::LeaseLost => "lost",
            Ending::HandedBack => "handed back",
        };
        self.add(format!("after {} {} {ending}", run.kind, run.attempt));
    }

    fn on_failure(&self, run: &Run<'_>, failure: Failure, error: &str) {
        self.add(format!("failure {} {} {failure:?}: {error}", run.kind, run.attempt));
    }
}

/// Hooks that always panic.
struct Panics;

impl RunHooks for Panics {
    fn before(&self, _: &Run<'_>) {
        panic!("before");
    }

    fn after(&self, _: &Run<'_>, _: &Ending<'_>) {
        panic!("after");
    }

    fn on_failure(&self, _: &Run<'_>, _: Failure, _: &str) {
        panic!("on_failure");
    }
}

#[tokio::test]
async fn hooks_are_called_around_every_run_whatever_its_end() {
    let db = database().await;
    let calls = Arc::new(Calls::default());
    let registry = Registry::new(Gates::new()).register::<Act>().hooks(Arc::clone(&calls));
    let worker = Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap();
    for (end, attempts, expected) in [
        (End::Complete, 1, &["before act 1", "after act 1 completed"][..]),
        (
            End::Fail,
            2,
            &[
                "before act 1",
                "failure act 1 Failed: a failed: inner cause",
                "after act 1 retried",
                "before act 2",
                "failure act 2 Failed: a failed: inner cause",
                "after act 2 discarded",
            ],
        ),
        (
            End::Panic,
            1,
            &[
                "before act 1",
                "failure act 1 Panicked: the handler panicked: the handler of a panics",
                "after act 1 discarded",
            ],
        ),
    ] {
        let job = NewJob::new(&Act::new("a", end)).unwrap().max_attempts(attempts);
        enqueue_new(&db.pool, job).await;
        worker.run_until_idle().await.unwrap();
        assert_eq!(calls.take(), expected);
    }
}

#[tokio::test]
async fn each_job_of_a_batch_has_its_hooks_called_once() {
    let db = database().await;
    let calls = Arc::new(Calls::default());
    let registry =
        Registry::new(Gates::new()).register_batch::<Batched>().hooks(Arc::clone(&calls));
    let worker = Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap();
    for name in ["a", "b", "c"] {
        enqueue_job(&db.pool, &Batched { name: name.to_owned() }).await;
    }
    worker.run_until_idle().await.unwrap();
    let calls = calls.take();
    let count = |start: &str| calls.iter().filter(|call| call.starts_with(start)).count();
    assert_eq!((count("before"), count("after"), calls.len()), (3, 3, 6), "{calls:?}");
}

#[tokio::test]
async fn a_hook_that_panics_changes_nothing() {
    let db = database().await;
    let calls = Arc::new(Calls::default());
    let registry = Registry::new(Gates::new()).register::<Act>();
    let registry = registry.hooks(Panics).hooks(Arc::clone(&calls));
    let worker = Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap();
    let done = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    worker.run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, done).await, "completed");
    assert_eq!(calls.take(), ["before act 1", "after act 1 completed"], "the others are called");
    let failing = NewJob::new(&Act::new("b", End::Fail)).unwrap().max_attempts(1);
    let failing = enqueue_new(&db.pool, failing).await;
    worker.run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, failing).await, "discarded");
    assert_eq!(effects(&db.pool).await, ["a"]);
}
