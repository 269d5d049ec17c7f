//! What operators do with discarded jobs: list, redrive, dismiss.

use std::time::Duration;

use sqlx::PgPool;
use surety_queue::operate::discarded::{self, Decision, DiscardedJob, Filter, Position, Resolved};
use surety_queue::operate::inspect::{ResolutionKind, find_job};
use surety_queue::{AttemptOutcome, JobId, JobState, NewJob, enqueue_many};

use super::kinds::{
    Act, Batched, End, Gates, Pay, assert_invariants_hold, count, database, effects, enqueue_job,
    idle_worker, job, let_lease_run_out, unattended, wake_with, worker,
};

const BY_ADA: Decision<'static> = Decision { by: "ada", reason: "the bank is back" };

async fn redrive(pool: &PgPool, id: JobId) -> Resolved {
    let mut conn = pool.acquire().await.unwrap();
    discarded::redrive(&mut conn, id, BY_ADA).await.unwrap()
}

async fn dismiss(pool: &PgPool, id: JobId) -> Resolved {
    let mut conn = pool.acquire().await.unwrap();
    discarded::dismiss(&mut conn, id, Decision { by: "bob", reason: "paid by hand" }).await.unwrap()
}

async fn list(pool: &PgPool, filter: &Filter, before: Option<Position>) -> Vec<DiscardedJob> {
    let mut conn = pool.acquire().await.unwrap();
    discarded::list(&mut conn, filter, before, 2).await.unwrap()
}

async fn open(pool: &PgPool) -> Vec<JobId> {
    list(pool, &Filter::default(), None).await.iter().map(|job| job.id).collect()
}

/// A job that has failed in all of its three attempts.
async fn failed_job(pool: &PgPool) -> JobId {
    let id = enqueue_job(pool, &Act::new("a", End::Fail)).await;
    idle_worker(pool).run_until_idle().await.unwrap();
    assert_eq!(job(pool, id).await.state, JobState::Discarded);
    id
}

#[tokio::test]
async fn a_redriven_job_runs_again_under_its_number_and_its_attempts_are_numbered_on() {
    let db = database().await;
    let id = failed_job(&db.pool).await;

    assert_eq!(redrive(&db.pool, id).await, Resolved::Done);

    let waiting = job(&db.pool, id).await;
    assert_eq!(waiting.state, JobState::Available);
    assert_eq!((waiting.attempt, waiting.max_attempts), (3, 6), "three more");
    assert_eq!(open(&db.pool).await, []);
    assert_invariants_hold(&db.pool).await;

    wake_with(&db.pool, id, &Act::new("a", End::Complete)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();

    let done = job(&db.pool, id).await;
    assert_eq!(done.state, JobState::Completed);
    let attempts: Vec<_> = done.attempts.iter().map(|a| (a.attempt, a.outcome)).collect();
    use AttemptOutcome::{Completed, Failed};
    assert_eq!(attempts, [(1, Failed), (2, Failed), (3, Failed), (4, Completed)]);
    assert_eq!(done.attempts[0].error.as_deref(), Some("a failed: inner cause"));
    assert_eq!(effects(&db.pool).await, ["a"]);
    let decided = &done.resolutions[..];
    assert_eq!(decided.len(), 1);
    assert_eq!((decided[0].attempt, decided[0].resolution), (3, ResolutionKind::Redriven));
    assert_eq!((&*decided[0].resolved_by, &*decided[0].reason), ("ada", "the bank is back"));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn each_redrive_gives_the_first_number_of_attempts_once_more() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    for round in 1..=3 {
        assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
        idle_worker(&db.pool).run_until_idle().await.unwrap();
        let failed = job(&db.pool, id).await;
        assert_eq!(failed.state, JobState::Discarded);
        assert_eq!(failed.attempts.len(), 3 + 3 * round);
        assert_eq!(open(&db.pool).await, [id], "it is open again");
    }
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_redrive_in_a_transaction_that_rolls_back_changes_nothing() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    let mut tx = db.pool.begin().await.unwrap();
    assert_eq!(discarded::redrive(&mut tx, id, BY_ADA).await.unwrap(), Resolved::Done);
    tx.rollback().await.unwrap();
    assert_eq!(open(&db.pool).await, [id]);
    assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
}

#[tokio::test]
async fn a_job_that_was_run_a_thousand_times_is_not_redriven() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    let run = "update queue.finished_jobs set attempt = $1, max_attempts = 999";
    sqlx::query(run).bind(1000).execute(&db.pool).await.unwrap();
    assert_eq!(redrive(&db.pool, id).await, Resolved::NotOpen);
    sqlx::query(run).bind(999).execute(&db.pool).await.unwrap();
    assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
    assert_eq!(job(&db.pool, id).await.max_attempts, 1000);
}

#[tokio::test]
async fn of_fifty_redrives_at_once_one_wins_and_the_job_runs_once() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    for _ in 0..5 {
        let redrives: Vec<_> = (0..50)
            .map(|_| {
                let pool = db.pool.clone();
                tokio::spawn(async move { redrive(&pool, id).await })
            })
            .collect();
        let mut won = 0;
        for redrive in redrives {
            won += usize::from(redrive.await.unwrap() == Resolved::Done);
        }
        assert_eq!(won, 1);
        assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 1);
        assert_eq!(count(&db.pool, "select count(*) from queue.finished_jobs").await, 0);
        idle_worker(&db.pool).run_until_idle().await.unwrap();
    }
    assert_eq!(job(&db.pool, id).await.attempts.len(), 18);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_redrive_that_waits_for_a_dismissal_loses_to_it() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    let mut tx = db.pool.begin().await.unwrap();
    let by_bob = Decision { by: "bob", reason: "paid by hand" };
    assert_eq!(discarded::dismiss(&mut tx, id, by_bob).await.unwrap(), Resolved::Done);
    let late = tokio::spawn({
        let pool = db.pool.clone();
        async move { redrive(&pool, id).await }
    });
    crate::support::wait_for_locks(&db.pool, 1).await;
    tx.commit().await.unwrap();
    assert_eq!(late.await.unwrap(), Resolved::NotOpen);
    assert_eq!(job(&db.pool, id).await.state, JobState::Discarded);
}

#[tokio::test]
async fn only_discarded_jobs_are_open() {
    let db = database().await;
    let completed = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let cancelled = enqueue_job(&db.pool, &Act::new("b", End::Cancel)).await;
    let waiting = enqueue_job(&db.pool, &Act::new("c", End::Snooze)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    for id in [completed, cancelled, waiting, JobId(4711)] {
        assert_eq!(redrive(&db.pool, id).await, Resolved::NotOpen);
        assert_eq!(dismiss(&db.pool, id).await, Resolved::NotOpen);
    }
    assert_eq!(open(&db.pool).await, []);
    assert_eq!(count(&db.pool, "select count(*) from queue.resolutions").await, 0);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 1);
}

#[tokio::test]
async fn a_dismissed_job_stays_in_the_history_and_is_open_no_more() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    assert_eq!(open(&db.pool).await, [id]);

    assert_eq!(dismiss(&db.pool, id).await, Resolved::Done);

    assert_eq!(open(&db.pool).await, []);
    let dismissed = job(&db.pool, id).await;
    assert_eq!(dismissed.state, JobState::Discarded);
    assert_eq!(dismissed.attempts.len(), 3);
    assert_eq!(dismissed.resolutions[0].resolution, ResolutionKind::Dismissed);
    assert_eq!(dismissed.resolutions[0].resolved_by, "bob");
    assert_eq!(dismiss(&db.pool, id).await, Resolved::NotOpen);
    assert_eq!(redrive(&db.pool, id).await, Resolved::NotOpen);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_redriven_job_may_lose_as_many_workers_as_a_new_one() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::gated("killer", End::Complete)).await;
    for _ in 0..2 {
        for _ in 0..5 {
            let gates = Gates::new();
            let lost = worker(&db.pool, &gates, unattended());
            let run = tokio::spawn(async move { lost.run_until_idle().await });
            gates.wait_begun().await;
            run.abort();
            let_lease_run_out(&db.pool, id).await;
        }
        idle_worker(&db.pool).run_until_idle().await.unwrap();
        assert_eq!(job(&db.pool, id).await.state, JobState::Discarded);
        assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
    }
    let redriven = job(&db.pool, id).await;
    assert_eq!((redriven.attempt, redriven.max_attempts, redriven.crash_count), (10, 13, 0));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_redriven_job_begins_its_waits_anew() {
    let db = database().await;
    let id = failed_job(&db.pool).await;
    sqlx::query(
        "update queue.finished_jobs set kind = 'batched', attempt = 900, max_attempts = 900",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
    wake_with(&db.pool, id, &Batched { name: "poison".into() }).await;

    // `batched` waits as long as the default: up to 2 s after the first attempt, an hour after 900.
    idle_worker(&db.pool).run_until_idle().await.unwrap();

    let waiting = job(&db.pool, id).await;
    assert_eq!(waiting.attempt, 901);
    let wait = waiting.run_at - waiting.attempts.last().unwrap().ended_at;
    assert!(wait <= Duration::from_secs(3), "{wait}");
}

#[tokio::test]
async fn a_redriven_job_keeps_its_follow_up() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Pay(Act::new("a", End::Discard))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(redrive(&db.pool, id).await, Resolved::Done);
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let release = format!("released pay {id} \"a\"");
    assert_eq!(effects(&db.pool).await, [&*release, &*release], "one for each discard");
}

#[tokio::test]
async fn discarded_jobs_are_listed_newest_first_page_by_page_and_by_filter() {
    let db = database().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let id = if n % 2 == 0 {
            enqueue_job(&db.pool, &Act::new(&n.to_string(), End::Discard)).await
        } else {
            enqueue_job(&db.pool, &Batched { name: "poison".into() }).await
        };
        idle_worker(&db.pool).run_until_idle().await.unwrap();
        ids.insert(0, id);
    }
    // Two of one moment: the number decides.
    sqlx::query("update queue.finished_jobs set finished_at = now()")
        .execute(&db.pool)
        .await
        .unwrap();
    let all = Filter::default();
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = list(&db.pool, &all, before).await;
        let Some(last) = page.last() else { break };
        before = Some(last.position());
        listed.extend(page);
    }
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    assert_eq!(listed[0].error.as_deref(), Some("can never succeed"));
    assert_eq!(listed[1].error.as_deref(), Some("poison"));
    assert_eq!(listed[0].args.fields()["name"].get(), "\"4\"");

    let batched = Filter { kind: Some("batched".into()), ..Filter::default() };
    let found: Vec<_> = list(&db.pool, &batched, None).await.iter().map(|job| job.id).collect();
    assert_eq!(found, [ids[1], ids[3]]);
    let elsewhere = Filter { queue: Some("other".into()), ..Filter::default() };
    assert!(list(&db.pool, &elsewhere, None).await.is_empty());
}

#[tokio::test]
async fn a_page_of_discarded_jobs_is_read_from_an_index_however_many_there_are() {
    let db = database().await;
    sqlx::query(
        "insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, finished_at, args)
         select n, 'default', 'act', 2, 1, 1, 0, 'discarded', now(), now(),
           now() - n * interval '1 us', '{}'
         from generate_series(1, 50000) n",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query("vacuum (analyze) queue.finished_jobs").execute(&db.pool).await.unwrap();
    let explained = concat!("explain ", include_str!("../../src/sql/list_discarded.sql"));
    let plan: Vec<String> = sqlx::query_scalar(explained)
        .bind(None::<String>)
        .bind(None::<String>)
        .bind(None::<time::OffsetDateTime>)
        .bind(None::<i64>)
        .bind(50i64)
        .fetch_all(&db.pool)
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan Backward using finished_jobs_discarded"), "{plan}");
    // The days are merged. What operators did to a single job is sorted, which is nothing.
    let sorted: Vec<&str> = plan.split("Sort  (cost").skip(1).collect();
    assert!(sorted.iter().all(|sort| sort.contains("Sort Key: told.id")), "{plan}");
}

#[tokio::test]
async fn a_job_that_is_not_there_is_not_found() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(find_job(&mut conn, JobId(1)).await.unwrap().is_none());
    let job = NewJob::new(&Act::new("a", End::Complete)).unwrap();
    let ids = enqueue_many(&mut conn, &[job]).await.unwrap();
    let found = find_job(&mut conn, ids[0].id()).await.unwrap().unwrap();
    assert_eq!((found.state, found.args.fields()["name"].get()), (JobState::Available, "\"a\""));
    assert!(found.attempts.is_empty() && found.resolutions.is_empty());
}
