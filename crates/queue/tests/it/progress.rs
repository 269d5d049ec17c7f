//! What a handler tells of its job: how far it is, where the next attempt may go on, what came of
//! it.

use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use surety_queue::{Backoff, Committed, Job, JobContext, JobError, JobId, Registry, Worker};

use super::kinds::{
    Gates, assert_invariants_hold, attempts_of, database, effects, enqueue_job, eventually,
    let_lease_run_out, state_of, unattended, wake_with,
};

/// Counts its steps by checkpoints, and ends each attempt but the last as told.
#[derive(Clone, Serialize, Deserialize)]
struct Steps {
    /// How the attempts end; the one after them completes.
    ends: Vec<StepEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum StepEnd {
    Fail,
    Snooze,
    /// Waits for ever, for its worker to be lost.
    Hang,
    /// Tells something that cannot be kept.
    TooMuch,
    NoJson,
    Nul,
}

impl Job for Steps {
    const KIND: &'static str = "steps";
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = Gates;

    async fn run(self, gates: &Gates, mut cx: JobContext) -> Result<Committed, JobError> {
        let done: usize = cx.last_checkpoint()?.unwrap_or(0);
        let percent = u8::try_from(done * 100).unwrap_or(u8::MAX);
        cx.progress(percent, &format!("step {done}")).await?;
        cx.checkpoint(&(done + 1)).await?;
        assert_eq!(cx.last_checkpoint::<usize>()?, Some(done + 1), "its own counts as well");
        match self.ends.get(done) {
            Some(StepEnd::Fail) => Err(anyhow!("step {done} failed").into()),
            Some(StepEnd::Snooze) => Err(JobError::snooze(Duration::ZERO)),
            Some(StepEnd::Hang) => {
                gates.begun.add_permits(1);
                gates.go_on.acquire().await?.forget();
                // Too late: another has it.
                cx.checkpoint(&1000).await?;
                unreachable!("the checkpoint was refused")
            }
            Some(StepEnd::TooMuch) => {
                cx.checkpoint(&"x".repeat(64 * 1024)).await?;
                unreachable!("the checkpoint was refused")
            }
            Some(StepEnd::NoJson) => {
                let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
                cx.checkpoint(&no_json).await?;
                unreachable!("the checkpoint was refused")
            }
            Some(StepEnd::Nul) => {
                cx.checkpoint(&"a\0b").await?;
                unreachable!("the checkpoint was refused")
            }
            None => {
                let mut tx = cx.begin().await?;
                sqlx::query("insert into effects (name) values ($1)")
                    .bind(format!("{done}"))
                    .execute(&mut *tx)
                    .await?;
                cx.complete(tx).await
            }
        }
    }
}

/// Completes with what it is given.
#[derive(Serialize, Deserialize)]
struct Brings {
    output: Value,
    /// So many more bytes of it.
    bytes: usize,
    in_tx: bool,
}

impl Job for Brings {
    const KIND: &'static str = "brings";
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        let output = match self.bytes {
            0 => self.output,
            bytes => json!("x".repeat(bytes)),
        };
        let cx = cx.with_output(&output)?;
        if self.in_tx {
            let tx = cx.begin().await?;
            cx.complete(tx).await
        } else {
            cx.complete_without_effects().await
        }
    }
}

fn worker(pool: &PgPool, gates: &Gates) -> Worker<Gates> {
    let registry = Registry::new(gates.clone()).register::<Steps>().register::<Brings>();
    Worker::new(pool.clone(), registry, unattended()).unwrap()
}

/// Percent, text, checkpoint, output.
type Recorded = (Option<i16>, Option<String>, Option<Value>, Option<Value>);

async fn recorded(pool: &PgPool, id: JobId) -> Recorded {
    sqlx::query_as(
        "select progress, progress_text, checkpoint, output from queue.all_jobs where id = $1",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_handed_to_the_next_attempt_however_the_last_one_ended() {
    let db = database().await;
    let steps = Steps { ends: vec![StepEnd::Fail, StepEnd::Snooze, StepEnd::Fail] };
    let id = enqueue_job(&db.pool, &steps).await;
    worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    assert_eq!(effects(&db.pool).await, ["3"]);
    // 300 % are 100 %.
    let text = Some("step 3".to_owned());
    assert_eq!(recorded(&db.pool, id).await, (Some(100), text, Some(json!(4)), None));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_checkpoint_survives_the_worker_and_a_late_one_is_refused() {
    let db = database().await;
    let gates = Gates::new();
    let lost = worker(&db.pool, &gates);
    let id = enqueue_job(&db.pool, &Steps { ends: vec![StepEnd::Hang, StepEnd::Fail] }).await;
    let late_run = tokio::spawn(async move { lost.run_until_idle().await });
    gates.wait_begun().await;
    // Whoever looks sees it while the job runs.
    let text = Some("step 0".to_owned());
    assert_eq!(recorded(&db.pool, id).await, (Some(0), text, Some(json!(1)), None));
    let_lease_run_out(&db.pool, id).await;
    worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    let before = recorded(&db.pool, id).await;
    assert_eq!(before.2, Some(json!(3)));

    gates.go_on.add_permits(1);
    let late = late_run.await.unwrap().unwrap();
    assert_eq!((late.lease_lost, late.completed, late.failed), (1, 0, 0));
    assert_eq!(recorded(&db.pool, id).await, before);
    assert_eq!(effects(&db.pool).await, ["2"]);
}

#[tokio::test]
async fn a_late_checkpoint_does_not_reach_the_run_that_another_worker_is_in() {
    let db = database().await;
    let (gates_a, gates_b) = (Gates::new(), Gates::new());
    let (a, b) = (worker(&db.pool, &gates_a), worker(&db.pool, &gates_b));
    let id = enqueue_job(&db.pool, &Steps { ends: vec![StepEnd::Hang, StepEnd::Hang] }).await;
    let run_a = tokio::spawn(async move { a.run_until_idle().await });
    gates_a.wait_begun().await;
    let_lease_run_out(&db.pool, id).await;
    let run_b = tokio::spawn(async move { b.run_until_idle().await });
    gates_b.wait_begun().await;
    gates_a.go_on.add_permits(1);
    assert_eq!(run_a.await.unwrap().unwrap().lease_lost, 1);
    assert_eq!(recorded(&db.pool, id).await.2, Some(json!(2)), "that of b");
    assert_eq!(state_of(&db.pool, id).await, "running");
    run_b.abort();
}

#[tokio::test]
async fn what_cannot_be_kept_as_a_checkpoint_ends_the_job_and_says_so() {
    let db = database().await;
    for (end, why) in [
        (StepEnd::TooMuch, "the checkpoint has 65538 bytes of JSON, at most 65536 are kept"),
        (StepEnd::NoJson, "key must be a string"),
        (StepEnd::Nul, "the checkpoint contains a NUL character"),
    ] {
        let id = enqueue_job(&db.pool, &Steps { ends: vec![end] }).await;
        worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
        assert_eq!(state_of(&db.pool, id).await, "discarded", "{end:?}");
        let error = attempts_of(&db.pool, id).await.remove(0).2.unwrap();
        assert!(error.contains(why), "{end:?}: {error}");
        assert_eq!(recorded(&db.pool, id).await.2, Some(json!(1)), "the one before is kept");
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_job_cannot_read_is_a_failed_attempt() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Steps { ends: vec![] }).await;
    sqlx::query("update queue.jobs set checkpoint = '\"x\"', max_attempts = 1")
        .execute(&db.pool)
        .await
        .unwrap();
    worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
    let attempts = attempts_of(&db.pool, id).await;
    assert_eq!(attempts[0].1, "failed");
    assert!(attempts[0].2.as_ref().unwrap().contains("invalid type"), "{attempts:?}");
}

#[tokio::test]
async fn an_output_is_kept_with_the_completed_job() {
    let db = database().await;
    let outputs = [json!({"rows": [1, 2]}), json!(null), json!("✉ \\u0001"), json!(12.5)];
    let mut ids = Vec::new();
    for output in &outputs {
        for in_tx in [true, false] {
            let job = Brings { output: output.clone(), bytes: 0, in_tx };
            ids.push((enqueue_job(&db.pool, &job).await, output));
        }
    }
    // At most 256 KiB with the quotes.
    let job = Brings { output: json!(null), bytes: 256 * 1024 - 2, in_tx: true };
    let largest = enqueue_job(&db.pool, &job).await;
    worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
    for (id, output) in ids {
        assert_eq!(state_of(&db.pool, id).await, "completed");
        assert_eq!(recorded(&db.pool, id).await.3.as_ref(), Some(output));
    }
    assert_eq!(state_of(&db.pool, largest).await, "completed");
    assert!(recorded(&db.pool, largest).await.3.is_some());
}

#[tokio::test]
async fn too_large_an_output_discards_the_job_and_says_so() {
    let db = database().await;
    for in_tx in [true, false] {
        let job = Brings { output: json!(null), bytes: 256 * 1024 - 1, in_tx };
        let id = enqueue_job(&db.pool, &job).await;
        worker(&db.pool, &Gates::new()).run_until_idle().await.unwrap();
        assert_eq!(state_of(&db.pool, id).await, "discarded");
        let error = attempts_of(&db.pool, id).await.remove(0).2.unwrap();
        assert_eq!(error, "the output has 262145 bytes of JSON, at most 262144 are kept");
    }
}

#[tokio::test]
async fn a_long_progress_text_is_cut_and_a_nul_in_it_replaced() {
    #[derive(Serialize, Deserialize)]
    struct Tells {}
    impl Job for Tells {
        const KIND: &'static str = "tells";
        type State = ();
        async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
            cx.progress(255, &format!("\0 {}", "é".repeat(400))).await?;
            cx.complete_without_effects().await
        }
    }
    let db = database().await;
    let id = enqueue_job(&db.pool, &Tells {}).await;
    let registry = Registry::new(()).register::<Tells>();
    Worker::new(db.pool.clone(), registry, unattended()).unwrap().run_until_idle().await.unwrap();
    let (percent, text, ..) = recorded(&db.pool, id).await;
    let text = text.unwrap();
    assert_eq!(percent, Some(100));
    assert!(text.starts_with("\u{fffd} ééé") && text.ends_with("é…"), "{text}");
    assert!(text.len() <= 510, "{} bytes", text.len());
}

#[tokio::test]
async fn what_was_told_is_there_again_after_a_redrive() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Steps { ends: vec![StepEnd::TooMuch] }).await;
    let worker = worker(&db.pool, &Gates::new());
    worker.run_until_idle().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let by = surety_queue::operate::discarded::Decision { by: "ada", reason: "again" };
    let _done = surety_queue::operate::discarded::redrive(&mut conn, id, by).await.unwrap();
    eventually("it waits", async || state_of(&db.pool, id).await == "available").await;
    wake_with(&db.pool, id, &Steps { ends: vec![] }).await;
    worker.run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["1"], "it went on where it was");
}
