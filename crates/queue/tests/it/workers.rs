//! The registry of workers: who is in it, who is told to drain, and that nothing depends on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::operate::workers::{self, WorkerInfo, WorkerState};
use surety_queue::{
    Committed, Job, JobContext, JobError, Registry, Worker, WorkerSettings, WorkerSummary,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::kinds::{
    Act, End, Gates, assert_invariants_hold, count, database, effects, enqueue_job, eventually,
    state_of, worker,
};

fn settings() -> WorkerSettings {
    WorkerSettings {
        poll: Duration::from_millis(20),
        heartbeat: Duration::from_millis(200),
        concurrency: 7,
        ..WorkerSettings::default()
    }
}

fn start<S: Clone + Send + Sync + 'static>(
    worker: Arc<Worker<S>>,
) -> (JoinHandle<WorkerSummary>, CancellationToken) {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    (tokio::spawn(async move { worker.run(stopped).await }), stop)
}

async fn list(pool: &PgPool) -> Vec<WorkerInfo> {
    workers::list(pool).await.unwrap()
}

/// The only worker, once it has registered.
async fn only_worker(pool: &PgPool) -> WorkerInfo {
    eventually("it is registered", async || list(pool).await.len() == 1).await;
    list(pool).await.remove(0)
}

#[tokio::test]
async fn a_worker_is_listed_with_what_it_is_and_does_until_it_ends() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings { version: "1.2.3".into(), ..settings() };
    let (run, stop) = start(worker(&db.pool, &gates, settings));
    enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    gates.wait_begun().await;
    eventually("its job is seen", async || only_worker(&db.pool).await.running == 1).await;

    let seen = only_worker(&db.pool).await;
    assert_eq!((seen.version.as_str(), seen.slots), ("1.2.3", 7));
    assert_eq!(seen.pid, std::process::id().cast_signed());
    assert_eq!(seen.kinds, ["act", "batched", "hang", "linger", "pay", "release"]);
    assert_eq!(seen.queues, ["default", "releases"]);
    assert_eq!(seen.state, WorkerState::Working);
    assert!(!seen.host.is_empty() && seen.last_seen_at >= seen.started_at);
    eventually("its heartbeat is seen", async || {
        only_worker(&db.pool).await.last_seen_at > seen.last_seen_at
    })
    .await;

    // A worker that its own process stops drains, too.
    stop.cancel();
    eventually("it is seen to drain", async || {
        only_worker(&db.pool).await.state == WorkerState::Draining
    })
    .await;
    assert_eq!(only_worker(&db.pool).await.drain_requested_by, None);
    gates.go_on.add_permits(1);
    assert_eq!(run.await.unwrap().completed, 1);
    assert_eq!(list(&db.pool).await.len(), 0);
}

#[tokio::test]
async fn a_worker_asked_to_drain_claims_no_more_within_a_second_and_finishes_what_it_runs() {
    let db = database().await;
    let gates = Gates::new();
    let (run, stop) = start(worker(&db.pool, &gates, settings()));
    let first = enqueue_job(&db.pool, &Act::gated("first", End::Complete)).await;
    gates.wait_begun().await;
    let id = only_worker(&db.pool).await.id;

    let asked_at = Instant::now();
    let asked = workers::request_drain(&db.pool, &[id], "ada", "2.0 is out").await.unwrap();
    assert_eq!(asked, [id]);
    eventually("it drains", async || only_worker(&db.pool).await.draining_at.is_some()).await;
    let took = asked_at.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let seen = only_worker(&db.pool).await;
    assert_eq!(seen.drain_requested_by.as_deref(), Some("ada"));
    assert_eq!(seen.drain_reason.as_deref(), Some("2.0 is out"));
    // Once is enough.
    let again = workers::request_drain(&db.pool, &[id], "bob", "me, too").await.unwrap();
    assert!(again.is_empty());

    let second = enqueue_job(&db.pool, &Act::new("second", End::Complete)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gates.go_on.add_permits(1);
    assert_eq!(run.await.unwrap().completed, 1);
    assert!(!stop.is_cancelled(), "others that share the signal work on");
    assert_eq!(state_of(&db.pool, first).await, "completed");
    assert_eq!(state_of(&db.pool, second).await, "available");
    assert_eq!(list(&db.pool).await.len(), 0);
}

#[tokio::test]
async fn what_a_drained_worker_does_not_finish_within_its_grace_is_handed_back() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings { grace: Duration::from_millis(50), ..settings() };
    let (run, _stop) = start(worker(&db.pool, &gates, settings));
    let job = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    gates.wait_begun().await;
    let id = only_worker(&db.pool).await.id;
    workers::request_drain(&db.pool, &[id], "ada", "why").await.unwrap();
    assert_eq!(run.await.unwrap().handed_back, 1);
    assert_eq!(state_of(&db.pool, job).await, "available");
}

#[tokio::test]
async fn a_worker_that_lost_its_row_or_its_connections_registers_again() {
    let db = database().await;
    let (run, stop) = start(worker(&db.pool, &Gates::new(), settings()));
    let id = only_worker(&db.pool).await.id;
    sqlx::query("delete from queue.workers").execute(&db.pool).await.unwrap();
    assert_eq!(only_worker(&db.pool).await.id, id);

    sqlx::raw_sql(
        "delete from queue.workers;
         select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    eventually("the test is connected again", async || {
        workers::list(&db.pool).await.is_ok_and(|seen| seen.len() == 1)
    })
    .await;
    // And it can be drained still.
    workers::request_drain(&db.pool, &[id], "ada", "why").await.unwrap();
    run.await.unwrap();
    drop(stop);
}

#[tokio::test]
async fn jobs_are_run_although_the_registry_cannot_be_written() {
    let db = database().await;
    let rename = |from, to| format!("alter table queue.{from} rename to {to}");
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&db.pool).await.unwrap();
    };
    execute(rename("workers", "not_there")).await;
    let (run, stop) = start(worker(&db.pool, &Gates::new(), settings()));
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    eventually("the job is done", async || effects(&db.pool).await == ["a"]).await;

    execute(rename("not_there", "workers")).await;
    only_worker(&db.pool).await;
    // Nobody waits for a registry that is locked, neither to work nor to end.
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("lock table queue.workers").execute(&mut *tx).await.unwrap();
    enqueue_job(&db.pool, &Act::new("b", End::Complete)).await;
    eventually("the job is done", async || effects(&db.pool).await == ["a", "b"]).await;
    let stopped_at = Instant::now();
    stop.cancel();
    run.await.unwrap();
    assert!(stopped_at.elapsed() < Duration::from_secs(5), "{:?}", stopped_at.elapsed());
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn lost_workers_are_listed_for_a_day_and_are_not_asked() {
    let db = database().await;
    sqlx::raw_sql(
        "insert into queue.workers
           (id, host, pid, version, queues, kinds, slots, lease, last_seen_at)
         select gen_random_uuid(), host, 1, '0.9', '{}', '{}', 1, '30 s', now() - seen
         from (values ('lost', interval '31 s'), ('long gone', '25 hours')) as it (host, seen)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let (run, stop) = start(worker(&db.pool, &Gates::new(), settings()));
    let hosts = async || -> Vec<String> {
        list(&db.pool).await.into_iter().map(|worker| worker.host).collect()
    };
    eventually("the one that is long gone is removed", async || {
        hosts().await.len() == 2 && !hosts().await.contains(&"long gone".to_owned())
    })
    .await;
    let lost = list(&db.pool).await.into_iter().find(|worker| worker.host == "lost").unwrap();
    assert_eq!(lost.state, WorkerState::Lost);
    let ids: Vec<Uuid> = list(&db.pool).await.iter().map(|worker| worker.id).collect();
    let asked = workers::request_drain(&db.pool, &ids, "ada", "all").await.unwrap();
    assert_eq!(asked.len(), 1);
    assert!(!asked.contains(&lost.id));
    run.await.unwrap();
    drop(stop);
}

/// A kind that only the new version knows.
#[derive(Serialize, Deserialize)]
struct OfTomorrow {
    name: String,
}

impl Job for OfTomorrow {
    const KIND: &'static str = "of_tomorrow";
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        Act::new(&self.name, End::Complete).run(gates, cx).await
    }
}

#[tokio::test]
async fn a_new_version_takes_over_from_the_old_one_and_no_job_is_lost_or_run_twice() {
    let db = database().await;
    let gates = Gates::new();
    let version = |version: &str| WorkerSettings {
        version: version.into(),
        poll: Duration::from_millis(20),
        concurrency: 7,
        ..WorkerSettings::default()
    };
    let (old, _stop_old) = start(worker(&db.pool, &gates, version("1.0")));
    only_worker(&db.pool).await;
    // The old version leaves alone what it does not know, however long it waits (G9).
    let of_tomorrow = OfTomorrow { name: "tomorrow".into() };
    let first_of_its_kind = enqueue_job(&db.pool, &of_tomorrow).await;
    for number in 0..100 {
        enqueue_job(&db.pool, &Act::new(&format!("before {number:03}"), End::Complete)).await;
    }
    eventually("the old version has begun", async || !effects(&db.pool).await.is_empty()).await;

    let registry = Registry::new(gates.clone()).register::<Act>().register::<OfTomorrow>();
    let new = Worker::new(db.pool.clone(), registry, version("2.0")).unwrap();
    assert_eq!(state_of(&db.pool, first_of_its_kind).await, "available");
    let (new, stop_new) = start(Arc::new(new));
    eventually("both work", async || list(&db.pool).await.len() == 2).await;
    let outdated: Vec<Uuid> = list(&db.pool)
        .await
        .iter()
        .filter(|worker| worker.version == "1.0")
        .map(|worker| worker.id)
        .collect();
    for number in 0..100 {
        enqueue_job(&db.pool, &Act::new(&format!("during {number:03}"), End::Complete)).await;
        if number == 50 {
            workers::request_drain(&db.pool, &outdated, "ada", "2.0 is out").await.unwrap();
        }
    }
    let old = old.await.unwrap();
    assert_eq!((old.handed_back, old.lease_lost, old.failed), (0, 0, 0));
    eventually("only the new version is left", async || {
        list(&db.pool).await.iter().map(|worker| worker.version.as_str()).eq(["2.0"])
    })
    .await;
    for number in 0..20 {
        enqueue_job(&db.pool, &Act::new(&format!("after {number:03}"), End::Complete)).await;
    }
    eventually("all is done", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    stop_new.cancel();
    let new = new.await.unwrap();

    let done = effects(&db.pool).await;
    let mut once = done.clone();
    once.dedup();
    assert_eq!((done.len(), once.len()), (221, 221));
    assert_eq!(old.completed + new.completed, 221);
    assert!(old.completed > 0 && new.completed >= 21, "{old:?} {new:?}");
    assert_eq!(state_of(&db.pool, first_of_its_kind).await, "completed");
    // Never claimed by a worker that does not know it: its first attempt was its only one.
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, 221);
    assert_invariants_hold(&db.pool).await;
}
