//! Failures by fingerprint: what counts as one, and when it is dealt with.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety::operations::failures::{self, FailureView, Fingerprint};
use surety::queue::operate::discarded::{self, Decision};
use surety::queue::operate::{JobFilter, cancel, interventions, list};
use surety::queue::{
    Backoff, Committed, Job, JobContext, JobError, JobId, NewJob, Registry, Worker, WorkerSettings,
    enqueue,
};

use crate::support::TestDb;

const BY: Decision<'_> = Decision { by: "cli:ada", reason: "why" };

/// Fails with this text, once or for good.
#[derive(Serialize, Deserialize)]
struct Failing {
    text: String,
    for_good: bool,
}

impl Job for Failing {
    const KIND: &'static str = "failing";
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(3600),
        factor: 1,
        max: Duration::from_secs(3600),
        jitter: 0.0,
    };
    type State = ();

    async fn run(self, _state: &(), _cx: JobContext) -> Result<Committed, JobError> {
        let error = anyhow::anyhow!(self.text);
        Err(if self.for_good { JobError::Discard(error) } else { JobError::from(error) })
    }
}

async fn fail(pool: &PgPool, text: &str, for_good: bool) -> JobId {
    let job = NewJob::new(&Failing { text: text.to_owned(), for_good }).unwrap();
    let id = enqueue(&mut pool.acquire().await.unwrap(), job).await.unwrap().id();
    run(pool).await;
    id
}

async fn run(pool: &PgPool) {
    let registry = Registry::new(()).register::<Failing>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap();
    worker.run_until_idle().await.unwrap();
}

async fn listed(pool: &PgPool) -> Vec<FailureView> {
    failures::list(&mut pool.acquire().await.unwrap(), 50).await.unwrap()
}

async fn jobs_of(pool: &PgPool, fingerprint: &str) -> Vec<JobId> {
    let fingerprint: Fingerprint = fingerprint.parse().unwrap();
    let filter = JobFilter { fingerprint: Some(fingerprint), ..JobFilter::default() };
    let mut conn = pool.acquire().await.unwrap();
    let page = list::list(&mut conn, &filter, None, 50).await.unwrap();
    page.jobs.into_iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn errors_that_differ_in_numbers_ids_addresses_and_quotes_are_one() {
    let db = TestDb::new().await;
    let text = async |error: &str| -> String {
        sqlx::query_scalar("select queue.failure_text($1)")
            .bind(error)
            .fetch_one(&db.pool)
            .await
            .unwrap()
    };
    for (error, expected) in [
        ("refused by host 7 after 1.5 s", "refused by host … after … s"),
        ("order 019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93 is gone", "order … is gone"),
        ("no key deadbeef0123 at 0x7ffe", "no key … at …"),
        ("POST https://api.bank.example/v1/pay?x=1: 503", "POST … …"),
        ("mail to ada@example.com bounced", "mail to … bounced"),
        ("10.0.0.1:5432 did not answer", "… did not answer"),
        ("[2001:db8::1]:443 did not answer", "[…::…]:… did not answer"),
        ("unknown field \"iban\" and 'bic'", "unknown field … and …"),
        ("it can't be; they're gone", "it can't be; they're gone"),
        ("at 2026-11-29T07:51:08.123Z\n\tin line 3", "at … in line …"),
        ("connection refused", "connection refused"),
        ("", ""),
    ] {
        assert_eq!(text(error).await, expected, "{error}");
    }
    let long = format!("begins {}", "x".repeat(100_000));
    assert_eq!(text(&long).await.chars().count(), 300);
    // Where a long error is cut is not decided by the length of what is left out.
    let of = |id: &str| format!("job {id}: {}", "word ".repeat(1000));
    assert_eq!(text(&of("7")).await, text(&of("701234567890")).await);
}

#[tokio::test]
async fn failures_are_grouped_by_kind_and_error_and_counted_by_state() {
    let db = TestDb::new().await;
    let first = fail(&db.pool, "refused by host 1", false).await;
    let second = fail(&db.pool, "refused by host 2", true).await;
    let other = fail(&db.pool, "no such account", false).await;

    let all = listed(&db.pool).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let (latest, earlier) = (&all[0], &all[1]);
    assert_eq!((latest.error.as_str(), latest.sample_job), ("no such account", other.0));
    assert_eq!((earlier.error.as_str(), earlier.sample_job), ("refused by host …", second.0));
    assert_eq!((earlier.jobs, earlier.waiting, earlier.discarded), (2, 1, 1));
    assert!(!earlier.jobs_capped && earlier.first_at < earlier.last_at);
    assert_eq!(jobs_of(&db.pool, &earlier.fingerprint).await, [second, first]);
    assert_eq!(jobs_of(&db.pool, &latest.fingerprint).await, [other]);
    let mut conn = db.pool.acquire().await.unwrap();
    let found = failures::find(&mut conn, earlier.fingerprint.parse().unwrap()).await.unwrap();
    assert_eq!(found.as_ref(), Some(earlier));
    assert_eq!(failures::find(&mut conn, Fingerprint(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_failure_is_dealt_with_once_its_jobs_are_written_off_cancelled_or_completed() {
    let db = TestDb::new().await;
    let waiting = fail(&db.pool, "refused by host 1", false).await;
    let given_up = fail(&db.pool, "refused by host 2", true).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let _ = discarded::dismiss(&mut conn, given_up, BY).await.unwrap();
    let left = listed(&db.pool).await;
    assert_eq!((left[0].jobs, left[0].discarded, left[0].sample_job), (1, 0, waiting.0));
    cancel(&mut conn, waiting, "ada", "why").await.unwrap();
    assert_eq!(listed(&db.pool).await, []);

    // What is redriven has not been dealt with until it succeeds.
    let again = fail(&db.pool, "refused by host 3", true).await;
    let _ = discarded::redrive(&mut conn, again, BY).await.unwrap();
    let redriven = listed(&db.pool).await;
    assert_eq!((redriven[0].waiting, redriven[0].discarded), (1, 0));
    assert_eq!(redriven[0].error, "refused by host …");
    run(&db.pool).await;
    assert_eq!(listed(&db.pool).await[0].discarded, 1);
}

#[tokio::test]
async fn lost_workers_and_operators_who_discard_are_failures_too() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let lost = enqueue(&mut conn, NewJob::raw("lost", serde_json::json!({}))).await.unwrap().id();
    sqlx::query(
        "update queue.jobs
         set running = true, attempt = 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = clock_timestamp(),
           lease_expires_at = clock_timestamp() - interval '1 s'
         where id = $1",
    )
    .bind(lost)
    .execute(&mut *conn)
    .await
    .unwrap();
    sqlx::query("select queue.rescue(10, 5)").execute(&mut *conn).await.unwrap();
    let unwanted =
        enqueue(&mut conn, NewJob::raw("unwanted", serde_json::json!({}))).await.unwrap().id();
    interventions::discard(&mut conn, &[unwanted], BY).await.unwrap();

    let all = listed(&db.pool).await;
    let errors: Vec<(&str, &str)> =
        all.iter().map(|it| (it.kind.as_str(), it.error.as_str())).collect();
    assert_eq!(errors[0], ("unwanted", "discarded by cli:ada: why"));
    assert_eq!(errors[1].0, "lost");
    assert!(errors[1].1.starts_with("worker … was lost: its lease ran out"), "{errors:?}");
}

#[tokio::test]
async fn a_list_reads_what_failed_and_not_what_succeeded() {
    let db = TestDb::new().await;
    sqlx::raw_sql(
        "insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, finished_at, args, failure)
         select number, 'default', 'other', 2, 1, 1, 0,
           (case when number % 10 = 0 then 'discarded' else 'completed' end)::queue.finished_state,
           now(), now(), now() - number * interval '1 s', '{}',
           case when number % 10 = 0 then number % 100 end
         from generate_series(1, 50000) as number;
         insert into queue.jobs (kind, run_at)
         select 'waits', now() + interval '1 hour' from generate_series(1, 20000)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    for table in ["vacuum analyze queue.finished_jobs", "vacuum analyze queue.jobs"] {
        sqlx::query(table).execute(&db.pool).await.unwrap();
    }
    let plan: Vec<String> = sqlx::query_scalar(
        "explain (analyze, buffers, timing off, costs off)
         select * from queue.failures(null, 50, 100)",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let plan = plan.join("\n");
    // 10 groups of 500, of which 101 each are counted. PostgreSQL 18 says "rows=10.00".
    assert!(plan.contains("rows=10 ") || plan.contains("rows=10.00 "), "{plan}");
    let pages: Vec<u64> = plan
        .lines()
        .filter(|line| line.contains("Buffers: shared hit="))
        .filter_map(|line| line.split("hit=").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    assert!(pages[0] < 5_000, "{plan}");
}
