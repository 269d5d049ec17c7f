//! What operators do to jobs, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety_queue::operate::discarded::{self, Decision, Resolved};
use surety_queue::operate::inspect::Intervention;
use surety_queue::operate::interventions::{
    ArgsChange, Each, Edited, InterventionRefusal, Retried, discard, edit, retry, run_now,
};
use surety_queue::operate::queues::{self, Limits, OnPoison};
use surety_queue::operate::waiting;
use surety_queue::{JobId, JobState, NewJob};

use super::kinds::{
    Act, End, Gates, Pay, assert_invariants_hold, count, database, effects, enqueue_job,
    enqueue_new, eventually, idle_worker, job, state_of, unattended, wake_with, worker,
};

const ADA: Decision<'static> = Decision { by: "ada", reason: "case 4711" };

async fn retried(pool: &PgPool, ids: &[JobId]) -> Each<Retried> {
    let mut tx = pool.begin().await.unwrap();
    let each = retry(&mut tx, ids, ADA).await.unwrap();
    tx.commit().await.unwrap();
    each
}

async fn discards(pool: &PgPool, id: JobId) -> Result<(), InterventionRefusal> {
    let mut tx = pool.begin().await.unwrap();
    let each = discard(&mut tx, &[id], ADA).await.unwrap();
    tx.commit().await.unwrap();
    each[0].1
}

async fn edits(pool: &PgPool, id: JobId, new: Value) -> Result<Edited, InterventionRefusal> {
    let mut tx = pool.begin().await.unwrap();
    let edited = edit(&mut tx, id, ArgsChange::Replace(new.into()), ADA).await.unwrap();
    tx.commit().await.unwrap();
    edited
}

fn later(kind: &str) -> NewJob {
    NewJob::raw(kind, json!({})).delay(Duration::from_secs(3600))
}

/// A job in each state that retry, discard and edit refuse, with why.
async fn untouchable(pool: &PgPool) -> Vec<(JobId, InterventionRefusal)> {
    let completed = enqueue_job(pool, &Act::new("a", End::Complete)).await;
    let cancelled = enqueue_job(pool, &Act::new("b", End::Cancel)).await;
    idle_worker(pool).run_until_idle().await.unwrap();
    let running = enqueue_job(pool, &Act::new("c", End::Complete)).await;
    sqlx::query(
        "update queue.jobs set running = true, attempt = 1, fence = 1, started_at = now(),
           worker_id = gen_random_uuid(), lease_expires_at = now() + interval '1 h'
         where id = $1",
    )
    .bind(running)
    .execute(pool)
    .await
    .unwrap();
    vec![
        (completed, InterventionRefusal::Completed),
        (cancelled, InterventionRefusal::Cancelled),
        (running, InterventionRefusal::Running),
        (JobId(4711), InterventionRefusal::NotFound),
    ]
}

/// Action, who and why, of what is kept of a job.
async fn kept(pool: &PgPool, id: JobId) -> Vec<(String, String, String)> {
    let told = |it: Intervention| (it.action, it.made_by, it.reason);
    job(pool, id).await.interventions.into_iter().map(told).collect()
}

fn by_ada(action: &str) -> (String, String, String) {
    (action.into(), "ada".into(), "case 4711".into())
}

#[tokio::test]
async fn what_waits_is_due_now_and_what_was_discarded_runs_again() {
    let db = database().await;
    let scheduled = enqueue_new(&db.pool, later("act")).await;
    let keyed = enqueue_new(&db.pool, later("act").key("k")).await;
    let snoozed = enqueue_job(&db.pool, &Act::new("s", End::SnoozeBecause)).await;
    let discarded = enqueue_job(&db.pool, &Act::new("d", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let due = enqueue_new(&db.pool, NewJob::raw("act", json!({}))).await;

    let ids = [scheduled, keyed, snoozed, discarded, due];
    let each = retried(&db.pool, &ids).await;
    let expected =
        [Retried::DueNow, Retried::DueNow, Retried::DueNow, Retried::Redriven, Retried::AlreadyDue];
    assert_eq!(each, ids.into_iter().zip(expected.map(Ok)).collect::<Vec<_>>());
    for id in ids {
        assert_eq!(state_of(&db.pool, id).await.replace("retryable", "available"), "available");
    }
    assert_eq!(kept(&db.pool, scheduled).await, [by_ada("retry")]);
    assert!(kept(&db.pool, due).await.is_empty(), "nothing was done to it");
    assert_eq!(job(&db.pool, discarded).await.resolutions[0].resolved_by, "ada");
    assert_eq!(job(&db.pool, snoozed).await.wait_reason, None);

    // They do not parse as what they are, and so fail: all that counts is that they were run.
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    for id in [scheduled, keyed] {
        assert!(job(&db.pool, id).await.attempt > 0, "job {id} was claimed");
    }
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn what_runs_has_ended_or_waits_for_others_is_refused() {
    let db = database().await;
    let mut cases = untouchable(&db.pool).await;
    for (id, refusal) in &cases {
        assert_eq!(discards(&db.pool, *id).await, Err(*refusal));
        assert_eq!(edits(&db.pool, *id, json!({})).await, Err(*refusal));
    }
    let held = enqueue_new(&db.pool, NewJob::raw("act", json!({}))).await;
    sqlx::query("update queue.jobs set hold = 'dependencies' where id = $1")
        .bind(held)
        .execute(&db.pool)
        .await
        .unwrap();
    cases.push((held, InterventionRefusal::Held));
    let ids: Vec<JobId> = cases.iter().map(|(id, _)| *id).collect();
    let expected: Vec<_> = cases.into_iter().map(|(id, refusal)| (id, Err(refusal))).collect();
    assert_eq!(retried(&db.pool, &ids).await, expected);
    assert_eq!(count(&db.pool, "select count(*) from queue.interventions").await, 0);
}

#[tokio::test]
async fn a_discarded_job_is_left_to_whoever_can_redrive_it_and_decided_over_once() {
    let db = database().await;
    let [left, dismissed] = [
        enqueue_job(&db.pool, &Act::new("a", End::Discard)).await,
        enqueue_job(&db.pool, &Act::new("b", End::Discard)).await,
    ];
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(discarded::dismiss(&mut conn, dismissed, ADA).await.unwrap(), Resolved::Done);
    let each = run_now(&mut conn, &[left, dismissed], ADA).await.unwrap();
    assert_eq!(
        each,
        [
            (left, Err(InterventionRefusal::Discarded)),
            (dismissed, Err(InterventionRefusal::Decided))
        ]
    );
    assert_eq!(state_of(&db.pool, left).await, "discarded");
    drop(conn);
    let each = retried(&db.pool, &[left, dismissed]).await;
    assert_eq!(
        each,
        [(left, Ok(Retried::Redriven)), (dismissed, Err(InterventionRefusal::Decided))]
    );
}

#[tokio::test]
async fn a_parked_key_goes_on_with_the_retry_of_its_head() {
    let db = database().await;
    let limits = Limits { ordered: Some(OnPoison::Park), ..Limits::default() };
    let mut conn = db.pool.acquire().await.unwrap();
    queues::set_limits(&mut conn, "default", &limits, "ada").await.unwrap();
    drop(conn);
    let act = |end| NewJob::new(&Act::new("k", end)).unwrap().key("k");
    let head = enqueue_new(&db.pool, act(End::Fail)).await;
    let behind = enqueue_new(&db.pool, act(End::Complete)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(job(&db.pool, head).await.attempt, 1, "it is parked");

    wake_with(&db.pool, head, &Act::new("k", End::Complete)).await;
    assert_eq!(retried(&db.pool, &[head]).await, [(head, Ok(Retried::DueNow))]);
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, behind).await, "completed");
}

#[tokio::test]
async fn a_waiting_job_is_discarded_with_who_and_why_and_can_be_redriven() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::Complete))).await;
    assert_eq!(discards(&db.pool, id).await, Ok(()));

    let discarded = job(&db.pool, id).await;
    assert_eq!((discarded.state, discarded.attempt), (JobState::Discarded, 0));
    assert_eq!(kept(&db.pool, id).await, [by_ada("discard")]);
    assert_invariants_hold(&db.pool).await;
    let open = discarded::list(
        &mut db.pool.acquire().await.unwrap(),
        &discarded::Filter::default(),
        None,
        10,
    )
    .await
    .unwrap();
    assert_eq!(open[0].error.as_deref(), Some("discarded by ada: case 4711"));
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, [format!("released pay {id} \"a\"")], "followed up");

    assert_eq!(discards(&db.pool, id).await, Err(InterventionRefusal::Discarded));
    assert_eq!(retried(&db.pool, &[id]).await, [(id, Ok(Retried::Redriven))]);
    // One decision for each attempt: from a second discard here nobody could get it back.
    assert_eq!(discards(&db.pool, id).await, Err(InterventionRefusal::Redriven));
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_discarded_job_that_tells_nobody_why_is_found() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    discards(&db.pool, id).await.unwrap();
    sqlx::query("delete from queue.interventions").execute(&db.pool).await.unwrap();
    let invariants = surety_queue::health::verify::INVARIANTS;
    let tell_why = invariants.iter().find(|it| it.name == "discarded-jobs-tell-why").unwrap();
    let finding = tell_why.check(&mut db.pool.acquire().await.unwrap()).await.unwrap();
    assert_eq!(finding.samples, [format!("job {id}")]);
}

#[tokio::test]
async fn other_arguments_are_those_that_run_and_both_are_kept() {
    let db = database().await;
    let waiting = enqueue_new(&db.pool, later("act")).await;
    let discarded = enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let new = |name: &str| serde_json::to_value(Act::new(name, End::Complete)).unwrap();

    let Edited { old, new: now } = edits(&db.pool, waiting, new("w")).await.unwrap();
    assert!(old == json!({}) && now == new("w"), "{old} {now}");
    let old = job(&db.pool, discarded).await.args;
    assert!(edits(&db.pool, discarded, new("d")).await.is_ok());
    assert_eq!(kept(&db.pool, discarded).await, [by_ada("edit")]);
    let detail = job(&db.pool, discarded).await.interventions[0].detail.clone().unwrap();
    assert_eq!(detail, json!({ "old": old, "new": new("d") }));

    retried(&db.pool, &[waiting, discarded]).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["d", "w"]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn sealed_arguments_and_decided_jobs_are_not_edited() {
    let db = database().await;
    let sealed = enqueue_new(&db.pool, later("act")).await;
    sqlx::query("update queue.jobs set args_key = 'k1'").execute(&db.pool).await.unwrap();
    let dismissed = enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(discarded::dismiss(&mut conn, dismissed, ADA).await.unwrap(), Resolved::Done);
    drop(conn);
    assert_eq!(edits(&db.pool, sealed, json!({})).await, Err(InterventionRefusal::Sealed));
    assert_eq!(edits(&db.pool, dismissed, json!({})).await, Err(InterventionRefusal::Decided));
}

#[tokio::test]
async fn many_redrives_of_the_same_jobs_at_once_redrive_each_once() {
    let db = database().await;
    let mut ids = Vec::new();
    for number in 0..50 {
        ids.push(enqueue_job(&db.pool, &Act::new(&number.to_string(), End::Discard)).await);
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let redrive = |mut ids: Vec<JobId>, reverse: bool| {
        let pool = db.pool.clone();
        async move {
            if reverse {
                ids.reverse();
            }
            let mut tx = pool.begin().await.unwrap();
            let moved = discarded::redrive_many(&mut tx, &ids, ADA).await.unwrap();
            tx.commit().await.unwrap();
            moved.len()
        }
    };
    let (one, other) = tokio::join!(redrive(ids.clone(), false), redrive(ids.clone(), true));
    assert_eq!(one + other, 50);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn waiting_ends_with_the_jobs_and_tells_how() {
    let db = database().await;
    let gates = Gates::new();
    let ended = enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let gated = enqueue_job(&db.pool, &Act::gated("b", End::Complete)).await;
    let traceless = enqueue_job(&db.pool, &Act::gated("c", End::Complete)).await;
    sqlx::query("update queue.jobs set keeps_history = false where id = $1")
        .bind(traceless)
        .execute(&db.pool)
        .await
        .unwrap();

    let ids = [ended, gated, traceless, JobId(4711)];
    let short = Some(Duration::from_millis(50));
    let waited = waiting::wait(&db.pool, &ids, short).await.unwrap();
    assert_eq!(waited.ended.into_iter().collect::<Vec<_>>(), [(ended, JobState::Discarded)]);
    assert_eq!(waited.unfinished.into_iter().collect::<Vec<_>>(), [gated, traceless]);
    assert_eq!(waited.unknown.into_iter().collect::<Vec<_>>(), [JobId(4711)]);

    let waiting = tokio::spawn({
        let pool = db.pool.clone();
        async move { waiting::wait(&pool, &[gated, traceless], None).await.unwrap() }
    });
    gates.go_on.add_permits(2);
    // It has looked once, and knows that one of them leaves no trace.
    eventually("it waits", async || !waiting.is_finished()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker(&db.pool, &gates, unattended()).run_until_idle().await.unwrap();
    let waited = waiting.await.unwrap();
    let completed = [(gated, JobState::Completed), (traceless, JobState::Completed)];
    assert_eq!(waited.ended.into_iter().collect::<Vec<_>>(), completed);
}
