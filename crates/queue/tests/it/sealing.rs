//! Jobs whose arguments nobody who reads the database may know.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use surety_queue::operate::discarded::{self, Decision, Resolved};
use surety_queue::sealing::Keyring;
use surety_queue::sealing::rotation::{KeyUse, Resealed, keys_in_use, reseal};
use surety_queue::testing::{self, Ended};
use surety_queue::{
    Backoff, BatchContext, BatchJob, Committed, FollowUp, Job, JobContext, JobError, JobId,
    JobState, NewJob, QueueError, Registry, Unique, Worker, WorkerSettings, enqueue_many,
};
use tokio::sync::Semaphore;

use super::kinds::{
    assert_invariants_hold, attempts_of, count, effects, enqueue_job, enqueue_new, eventually, job,
    make_effects_table, state_of,
};
use crate::support::TestDb;

/// What no test may find in the database.
const PIN: &str = "pin-of-ada-4711";

pub(super) const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(super) const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub(super) fn ring(keys: &[&str]) -> Keyring {
    keys.join(",").parse().unwrap()
}

/// Writes its name as an effect, and fails if it is called so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SetPin {
    pub(super) name: String,
    pub(super) pin: String,
}

impl SetPin {
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.into(), pin: PIN.into() }
    }

    async fn write(&self, conn: &mut sqlx::PgConnection) -> Result<(), JobError> {
        assert_eq!(self.pin, PIN);
        sqlx::query(
            "insert into effects (name, xid) values ($1, pg_current_xact_id()::text::bigint)",
        )
        .bind(&self.name)
        .execute(conn)
        .await?;
        if self.name.starts_with("fail") { Err(anyhow::anyhow!("failed").into()) } else { Ok(()) }
    }
}

impl BatchJob for SetPin {
    const KIND: &'static str = "set_pin";
    const MAX_ATTEMPTS: i16 = 2;
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<TellPin>());
    const SEALED: bool = true;
    type State = Gate;

    async fn run_batch(
        jobs: Vec<Self>,
        gate: &Gate,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        if jobs.iter().any(|job| job.name == "gated") {
            gate.0.acquire().await?.forget();
        }
        let mut tx = cx.begin().await?;
        for job in &jobs {
            job.write(&mut tx).await?;
        }
        cx.complete(tx).await
    }
}

/// Follows a discarded [`SetPin`]. Not sealed itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TellPin {
    job: JobId,
    kind: String,
    args: SetPin,
}

impl Job for TellPin {
    const KIND: &'static str = "tell_pin";
    type State = Gate;

    async fn run(self, _gate: &Gate, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        SetPin { name: format!("told of {}", self.args.name), ..self.args }.write(&mut tx).await?;
        cx.complete(tx).await
    }
}

/// As [`SetPin`] before it was sealed.
#[derive(Serialize, Deserialize)]
struct SetPinInPlain {
    name: String,
    pin: String,
}

impl Job for SetPinInPlain {
    const KIND: &'static str = "set_pin";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

#[derive(Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

async fn database() -> TestDb {
    let db = TestDb::new().await;
    make_effects_table(&db.pool).await;
    db
}

fn registry(gate: &Gate) -> Registry<Gate> {
    Registry::new(gate.clone()).register::<SetPin>().register::<TellPin>()
}

fn settings(keys: &[&str]) -> WorkerSettings {
    WorkerSettings { keyring: Some(ring(keys)), ..WorkerSettings::default() }
}

pub(super) fn sealed_worker(pool: &PgPool, keys: &[&str]) -> Worker<Gate> {
    Worker::new(pool.clone(), registry(&Gate::closed()), settings(keys)).unwrap()
}

pub(super) async fn enqueue_sealed(pool: &PgPool, name: &str, keys: &[&str]) -> JobId {
    enqueue_new(pool, NewJob::sealed(&SetPin::of(name), &ring(keys)).unwrap()).await
}

/// Looks for the PIN in every table of the queue.
async fn assert_nothing_in_plain(pool: &PgPool) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'queue'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 5, "{tables:?}");
    for table in tables {
        let sql = format!("select count(*) from {table} as t where t::text like '%{PIN}%'");
        let found: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
        assert_eq!(found, 0, "{table}");
    }
}

async fn keys(pool: &PgPool) -> Vec<(Option<String>, [i64; 4])> {
    let part = |it: KeyUse| (it.key, [it.waiting, it.running, it.discarded, it.history]);
    keys_in_use(pool).await.unwrap().into_iter().map(part).collect()
}

fn of(key: &str, parts: [i64; 4]) -> (Option<String>, [i64; 4]) {
    (Some(key.to_owned()), parts)
}

#[test]
fn a_job_of_a_sealed_kind_cannot_be_made_in_plain() {
    let refused = NewJob::new(&SetPin::of("a")).unwrap_err();
    assert!(matches!(refused, QueueError::MustBeSealed { kind: "set_pin" }), "{refused}");
    let sealed = NewJob::sealed(&SetPin::of("a"), &ring(&[OLD])).unwrap();
    assert!(!format!("{sealed:?}").contains(PIN));
}

#[tokio::test]
async fn a_sealed_job_runs_and_is_nowhere_in_plain_however_it_ends() {
    let db = database().await;
    let done = enqueue_sealed(&db.pool, "done", &[OLD]).await;
    let failed = enqueue_sealed(&db.pool, "fail", &[OLD]).await;
    assert_nothing_in_plain(&db.pool).await;
    let shown = json!({ "sealed": true, "key": "old" });
    assert_eq!(job(&db.pool, done).await.args, shown);

    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();

    assert_eq!(effects(&db.pool).await, ["done", "told of fail"]);
    assert_nothing_in_plain(&db.pool).await;
    for (id, state) in [(done, JobState::Completed), (failed, JobState::Discarded)] {
        let found = job(&db.pool, id).await;
        assert_eq!(found.state, state);
        assert_eq!(found.args, shown);
        assert_eq!(found.stored_args.parse::<SetPin>(), None);
    }
    let follow_up: Value = sqlx::query_scalar(
        "select queue.shown_args(kind, args, args_key) from queue.finished_jobs
         where kind = 'tell_pin'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(follow_up, json!({ "job": failed, "kind": "set_pin", "args": shown }));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn jobs_enqueued_together_and_unique_ones_are_sealed_alike() {
    let db = database().await;
    let keyring = ring(&[OLD]);
    let jobs: Vec<NewJob> = (0..10)
        .map(|n| NewJob::sealed(&SetPin::of(&format!("together {n}")), &keyring).unwrap())
        .collect();
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_many(&mut conn, &jobs).await.unwrap();
    // The same arguments are sealed differently each time, and are the same arguments.
    let unique =
        |name| NewJob::sealed(&SetPin::of(name), &keyring).unwrap().unique(Unique::by_args());
    let first = enqueue_new(&db.pool, unique("u")).await;
    assert_eq!(enqueue_new(&db.pool, unique("u")).await, first);
    assert_ne!(enqueue_new(&db.pool, unique("v")).await, first);
    let by_name = |pin: &str| {
        let args = SetPin { pin: pin.into(), ..SetPin::of("w") };
        NewJob::sealed(&args, &keyring).unwrap().unique(Unique::by_fields(&["name"]))
    };
    let first = enqueue_new(&db.pool, by_name(PIN)).await;
    assert_eq!(enqueue_new(&db.pool, by_name("another")).await, first);

    assert_nothing_in_plain(&db.pool).await;
    let summary = sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();
    assert_eq!(summary.completed, 13);
}

#[tokio::test]
async fn a_job_whose_key_is_not_known_waits_for_a_worker_that_knows_it_at_no_cost() {
    let db = database().await;
    let id = enqueue_sealed(&db.pool, "a", &[NEW]).await;

    let summary = sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();

    assert_eq!((summary.failed, summary.discarded, summary.completed), (0, 0, 0));
    let found = job(&db.pool, id).await;
    assert_eq!((found.state, found.attempt), (JobState::Scheduled, 0));
    let reason = found.wait_reason.unwrap();
    assert_eq!(reason, "its arguments are sealed: key new is not known here");
    assert!(found.attempts.is_empty());

    testing::advance(&db.pool, Duration::from_secs(15)).await.unwrap();
    sealed_worker(&db.pool, &[OLD, NEW]).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    assert_eq!(attempts_of(&db.pool, id).await.len(), 1);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn what_a_newer_binary_sealed_waits_for_it() {
    let db = database().await;
    let id = enqueue_sealed(&db.pool, "a", &[OLD]).await;
    // The first byte says the format.
    sqlx::query(
        "update queue.jobs
         set args = jsonb_set(args, '{sealed}', to_jsonb('C' || substr(args ->> 'sealed', 2)))",
    )
    .execute(&db.pool)
    .await
    .unwrap();

    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();

    let found = job(&db.pool, id).await;
    assert_eq!((found.state, found.attempt), (JobState::Scheduled, 0));
    assert!(found.wait_reason.unwrap().contains("in the format 9"));
}

#[tokio::test]
async fn altered_arguments_and_those_of_another_kind_fail_and_say_so() {
    let db = database().await;
    let altered = enqueue_sealed(&db.pool, "a", &[OLD]).await;
    // Not at the end: there, some letters are no base64.
    sqlx::query(
        "update queue.jobs
         set args = jsonb_set(args, '{sealed}', to_jsonb(overlay(
           args ->> 'sealed'
           placing case when substr(args ->> 'sealed', 20, 1) = 'A' then 'B' else 'A' end
           from 20 for 1
         )))",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    // Sealed as those of another kind.
    let keyring = ring(&[OLD]);
    let stored = serde_json::to_value(keyring.seal("refund", &SetPin::of("b")).unwrap()).unwrap();
    let moved = enqueue_new(&db.pool, NewJob::raw("set_pin", stored).max_attempts(1)).await;
    sqlx::query("update queue.jobs set args_key = 'old' where id = $1")
        .bind(moved)
        .execute(&db.pool)
        .await
        .unwrap();
    // Marked as sealed, and in plain.
    let plain = enqueue_job(&db.pool, &SetPinInPlain { name: "c".into(), pin: PIN.into() }).await;
    sqlx::query("update queue.jobs set args_key = 'old', max_attempts = 1 where id = $1")
        .bind(plain)
        .execute(&db.pool)
        .await
        .unwrap();

    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();

    assert!(effects(&db.pool).await.is_empty());
    for (id, attempts, words) in [
        (altered, 2, "key old does not open them: they were altered"),
        (
            moved,
            1,
            "key old does not open them: they were altered, belong to a job of another kind",
        ),
        (plain, 1, "not in the form of sealed arguments"),
    ] {
        assert_eq!(state_of(&db.pool, id).await, "discarded");
        let ended = attempts_of(&db.pool, id).await;
        assert_eq!(ended.len(), attempts);
        let error = ended[0].2.as_deref().unwrap();
        assert!(error.starts_with("its sealed arguments do not open: "), "{error}");
        assert!(error.contains(words) && !error.contains(PIN), "{error}");
    }
    // Not even by people who are shown what it says of itself.
    assert_eq!(job(&db.pool, plain).await.args, json!({ "sealed": true, "key": "old" }));
}

/// Of a kind that is not sealed, with arguments that look as if they were.
#[derive(Serialize, Deserialize)]
struct Lookalike {
    sealed: String,
    key: String,
}

impl Job for Lookalike {
    const KIND: &'static str = "lookalike";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

#[tokio::test]
async fn arguments_that_only_look_sealed_are_what_they_are() {
    let db = TestDb::new().await;
    let args = Lookalike { sealed: "with a kiss".into(), key: "of the house".into() };
    let run = testing::run_inline(&db.pool, (), &args).await.unwrap();
    assert_eq!(run.ended, Ended::Completed { output: None });
    assert_eq!(job(&db.pool, run.job).await.args, serde_json::to_value(&args).unwrap());
    assert_eq!(keys(&db.pool).await, []);
}

#[tokio::test]
async fn jobs_that_waited_when_their_kind_became_sealed_run_and_are_shown_to_nobody() {
    let db = database().await;
    let plain = SetPinInPlain { name: "a".into(), pin: PIN.into() };
    let id = enqueue_job(&db.pool, &plain).await;
    let later = NewJob::new(&plain).unwrap().delay(Duration::from_secs(60));
    let later = enqueue_new(&db.pool, later).await;

    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();

    assert_eq!(effects(&db.pool).await, ["a"]);
    for id in [id, later] {
        let hidden = json!({ "name": "[redacted]", "pin": "[redacted]" });
        assert_eq!(job(&db.pool, id).await.args, hidden);
    }
    assert_eq!(keys(&db.pool).await, [(None, [1, 0, 0, 1])]);
    // What can still run is sealed by a rotation.
    let done = reseal(&db.pool, &ring(&[OLD]), 100).await.unwrap();
    assert_eq!(done, Resealed { resealed: 1, skipped: 0, unopened: 0 });
    assert_eq!(keys(&db.pool).await, [of("old", [1, 0, 0, 0]), (None, [0, 0, 0, 1])]);
    testing::advance(&db.pool, Duration::from_secs(60)).await.unwrap();
    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["a", "a"]);
}

#[tokio::test]
async fn a_batch_of_sealed_jobs_commits_at_once_and_one_without_its_key_costs_no_other() {
    let db = database().await;
    let registry = Registry::new(Gate::closed()).register_batch::<SetPin>();
    let worker = Worker::new(db.pool.clone(), registry, settings(&[OLD])).unwrap();
    for n in 0..5 {
        enqueue_sealed(&db.pool, &format!("a{n}"), &[OLD]).await;
    }
    worker.run_until_idle().await.unwrap();
    assert_eq!(count(&db.pool, "select count(distinct xid) from effects").await, 1);

    let missing = enqueue_sealed(&db.pool, "b", &[NEW]).await;
    for n in 0..5 {
        enqueue_sealed(&db.pool, &format!("c{n}"), &[OLD]).await;
    }
    let summary = worker.run_until_idle().await.unwrap();

    assert_eq!((summary.completed, summary.failed), (5, 0));
    assert_eq!(state_of(&db.pool, missing).await, "scheduled");
}

#[tokio::test]
async fn a_worker_of_a_sealed_kind_without_keys_does_not_start() {
    let db = TestDb::new().await;
    let settings = WorkerSettings::default();
    let refused = Worker::new(db.pool.clone(), registry(&Gate::closed()), settings);
    let refused = refused.err().expect("it cannot work").to_string();
    assert!(refused.contains("no keys"), "{refused}");
}

#[tokio::test]
async fn a_sealed_job_is_run_inline_and_found_by_tests() {
    let db = database().await;
    let keyring = ring(&[OLD]);
    let worker = sealed_worker(&db.pool, &[OLD]);
    let sealed = NewJob::sealed(&SetPin::of("a"), &keyring).unwrap();
    let run = testing::run_inline_by(&worker, sealed).await.unwrap();
    assert_eq!(run.ended, Ended::Completed { output: None });

    enqueue_sealed(&db.pool, "b", &[OLD]).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let found = testing::enqueued_sealed::<SetPin>(&mut conn, &keyring).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].args, SetPin::of("b"));
    let unopened = testing::enqueued::<SetPin>(&mut conn).await.unwrap_err();
    assert!(matches!(unopened, testing::TestingError::Sealed { .. }), "{unopened}");
}

#[tokio::test]
async fn a_rotation_reseals_all_that_may_run_and_tells_of_the_rest() {
    let db = database().await;
    enqueue_sealed(&db.pool, "done", &[OLD]).await;
    let failed = enqueue_sealed(&db.pool, "fail", &[OLD]).await;
    let only_pins = Registry::new(Gate::closed()).register::<SetPin>();
    let worker = Worker::new(db.pool.clone(), only_pins, settings(&[OLD])).unwrap();
    worker.run_until_idle().await.unwrap();
    // The follow-up of the second one waits. So do these; the first one runs.
    let running = enqueue_sealed(&db.pool, "gated", &[OLD]).await;
    let gate = Gate::closed();
    let only_pins = Registry::new(gate.clone()).register::<SetPin>();
    let gated = Arc::new(Worker::new(db.pool.clone(), only_pins, settings(&[OLD])).unwrap());
    let run = tokio::spawn({
        let gated = Arc::clone(&gated);
        async move { gated.run_until_idle().await.unwrap() }
    });
    eventually("it runs", async || state_of(&db.pool, running).await == "running").await;
    for n in 0..5 {
        enqueue_sealed(&db.pool, &format!("waits {n}"), &[OLD]).await;
    }
    let locked = enqueue_sealed(&db.pool, "locked", &[OLD]).await;
    enqueue_sealed(&db.pool, "new already", &[NEW, OLD]).await;
    assert_eq!(keys(&db.pool).await, [of("new", [1, 0, 0, 0]), of("old", [7, 1, 1, 1])]);
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("select from queue.jobs where id = $1 for update")
        .bind(locked)
        .execute(&mut *tx)
        .await
        .unwrap();

    // Two at a time, so that it takes several rounds.
    let done = reseal(&db.pool, &ring(&[NEW, OLD]), 2).await.unwrap();

    assert_eq!(done, Resealed { resealed: 7, skipped: 1, unopened: 0 });
    assert_eq!(keys(&db.pool).await, [of("new", [7, 0, 1, 0]), of("old", [1, 1, 0, 1])]);
    tx.rollback().await.unwrap();
    gate.0.add_permits(1);
    run.await.unwrap();
    // Nothing is left to do once that has ended.
    let done = reseal(&db.pool, &ring(&[NEW, OLD]), 2).await.unwrap();
    assert_eq!((done.skipped, done.unopened), (0, 0));
    assert!(keys(&db.pool).await.iter().all(|(key, [waiting, running, discarded, _])| {
        key.as_deref() == Some("new") || waiting + running + discarded == 0
    }));

    // All of it opens without the old key.
    let mut conn = db.pool.acquire().await.unwrap();
    let decision = Decision { by: "ada", reason: "again" };
    let redriven = discarded::redrive(&mut conn, failed, decision).await.unwrap();
    assert_eq!(redriven, Resolved::Done);
    // The gated worker, which had the old key only, has handed back what it met.
    testing::advance(&db.pool, Duration::from_secs(15)).await.unwrap();
    sealed_worker(&db.pool, &[NEW]).run_until_idle().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    let told = "select count(*) from effects where name = 'told of fail'";
    assert_eq!(count(&db.pool, told).await, 2);
    assert_nothing_in_plain(&db.pool).await;
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_rotation_leaves_what_it_cannot_open_as_it_is() {
    let db = database().await;
    let unknown = enqueue_sealed(&db.pool, "a", &[OLD]).await;
    let before: Value =
        sqlx::query_scalar("select args from queue.jobs").fetch_one(&db.pool).await.unwrap();

    let done = reseal(&db.pool, &ring(&[NEW]), 100).await.unwrap();

    assert_eq!(done, Resealed { resealed: 0, skipped: 0, unopened: 1 });
    let after: Value =
        sqlx::query_scalar("select args from queue.jobs").fetch_one(&db.pool).await.unwrap();
    assert_eq!(before, after);
    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, unknown).await, "completed");
}

#[tokio::test]
async fn a_rotation_beside_busy_workers_loses_nothing_and_runs_nothing_twice() {
    let db = database().await;
    let keyring = ring(&[OLD]);
    let jobs: Vec<NewJob> = (0..1000)
        .map(|n| NewJob::sealed(&SetPin::of(&format!("a{n}")), &keyring).unwrap())
        .collect();
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_many(&mut conn, &jobs).await.unwrap();
    let few = WorkerSettings { concurrency: 20, ..settings(&[OLD, NEW]) };
    let worker = Worker::new(db.pool.clone(), registry(&Gate::closed()), few).unwrap();

    let both = ring(&[NEW, OLD]);
    let (summary, done) = tokio::join!(worker.run_until_idle(), reseal(&db.pool, &both, 50));

    let done = done.unwrap();
    assert!(done.resealed > 0 && done.unopened == 0, "{done:?}");
    // What was locked at the moment of its claim is found by the next one.
    let rest = worker.run_until_idle().await.unwrap();
    assert_eq!(summary.unwrap().completed + rest.completed, 1000);
    assert_eq!(count(&db.pool, "select count(distinct name) from effects").await, 1000);
    assert_eq!(count(&db.pool, "select count(*) from effects").await, 1000);
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, 1000);
    assert_invariants_hold(&db.pool).await;
}
