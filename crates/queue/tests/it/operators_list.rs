//! Lists of jobs: every filter, every page, and what a page costs.

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use surety_queue::operate::list::{MAX_EXAMINED, Page, list};
use surety_queue::operate::{ArgsMatch, JobFilter};
use surety_queue::{JobId, JobState, NewJob};
use time::{Duration, OffsetDateTime};

use super::kinds::{Act, End, Pay, database, enqueue_job, enqueue_new, idle_worker, job};

async fn page(pool: &PgPool, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Page {
    list(&mut pool.acquire().await.unwrap(), filter, before, limit).await.unwrap()
}

/// All that match, in pages of this size.
async fn all(pool: &PgPool, filter: &JobFilter, limit: u32) -> Vec<JobId> {
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let page = page(pool, filter, before, limit).await;
        assert!(page.jobs.len() <= limit as usize);
        ids.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            return ids;
        }
    }
}

fn states(states: &[JobState]) -> JobFilter {
    JobFilter { states: states.to_vec(), ..JobFilter::default() }
}

#[tokio::test]
async fn pages_hold_every_job_once_newest_first_whatever_their_size() {
    let db = database().await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let end = [End::Complete, End::Fail, End::Cancel][number % 3];
        expected.push(enqueue_job(&db.pool, &Act::new(&format!("{number}"), end)).await);
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    for _ in 0..9 {
        let later = NewJob::raw("later", json!({})).delay(std::time::Duration::from_secs(600));
        expected.push(enqueue_new(&db.pool, later).await);
    }
    expected.reverse();
    for size in [1, 2, 5, 21, 100] {
        assert_eq!(all(&db.pool, &JobFilter::default(), size).await, expected, "{size}");
    }
    let of_states = async |wanted: &[JobState]| all(&db.pool, &states(wanted), 2).await;
    assert_eq!(of_states(&[JobState::Scheduled]).await, expected[..9]);
    assert_eq!(of_states(&[JobState::Completed]).await.len(), 4);
    let ended = of_states(&[JobState::Cancelled, JobState::Discarded]).await;
    assert_eq!(ended.len(), 8);
    assert!(ended.is_sorted_by(|a, b| a > b), "{ended:?}");
    assert_eq!(of_states(&[JobState::Running, JobState::Available]).await, []);
}

#[tokio::test]
async fn each_filter_finds_what_it_names_and_nothing_else() {
    let db = database().await;
    let pool = &db.pool;
    let hour = std::time::Duration::from_secs(3600);
    let plain = enqueue_new(pool, NewJob::raw("mail", json!({"to": 42}))).await;
    let marked = NewJob::raw("call", json!({"to": "42", "how": {"fast": true, "loud": false}}))
        .queue("phones")
        .key("ada")
        .tag("night")
        .tag("vip")
        .delay(hour);
    let marked = enqueue_new(pool, marked).await;
    let failed = enqueue_job(pool, &Act::new("x", End::Fail)).await;
    idle_worker(pool).run_until_idle().await.unwrap();
    sqlx::query("update queue.jobs set enqueued_at = now() - interval '3 days' where id = $1")
        .bind(plain)
        .execute(pool)
        .await
        .unwrap();

    let any = JobFilter::default;
    let text = |text: &str| vec![text.to_owned()];
    let now = OffsetDateTime::now_utc();
    let wanted = |field: &str, value: &str| vec![ArgsMatch::new(field, value)];
    let cases = [
        (JobFilter { kinds: text("mail"), ..any() }, vec![plain]),
        (JobFilter { kinds: vec!["mail".into(), "call".into()], ..any() }, vec![marked, plain]),
        (JobFilter { queues: text("phones"), ..any() }, vec![marked]),
        (JobFilter { keys: text("ada"), ..any() }, vec![marked]),
        (JobFilter { tags: vec!["vip".into(), "night".into()], ..any() }, vec![marked]),
        (JobFilter { tags: vec!["vip".into(), "day".into()], ..any() }, vec![]),
        (JobFilter { error: Some("INNER cause".into()), ..any() }, vec![failed]),
        (JobFilter { error: Some("no such".into()), ..any() }, vec![]),
        (JobFilter { min_attempt: Some(3), ..any() }, vec![failed]),
        (JobFilter { since: Some(now - Duration::DAY), ..any() }, vec![failed, marked]),
        (JobFilter { until: Some(now - Duration::DAY), ..any() }, vec![plain]),
        (JobFilter { args: wanted("to", "42"), ..any() }, vec![marked, plain]),
        (JobFilter { args: wanted("how", r#"{"fast":true}"#), ..any() }, vec![marked]),
        (JobFilter { args: wanted("how", "fast"), ..any() }, vec![]),
        (JobFilter { ids: Some(vec![failed, plain, JobId(4711)]), ..any() }, vec![failed, plain]),
        (JobFilter { ids: Some(vec![failed, plain]), kinds: text("mail"), ..any() }, vec![plain]),
    ];
    for (filter, expected) in cases {
        assert_eq!(all(pool, &filter, 50).await, expected, "{filter:?}");
    }
    let shown = page(pool, &JobFilter { kinds: text("act"), ..any() }, None, 1).await.jobs;
    let told = job(pool, failed).await.attempts.last().unwrap().error.clone();
    assert_eq!(shown[0].error, told);
    assert_eq!((shown[0].state, shown[0].attempt), (JobState::Discarded, 3));
}

#[tokio::test]
async fn times_go_by_ids_and_still_miss_nobody() {
    let db = database().await;
    // A job a minute for a week, so that no page is near the beginning.
    sqlx::query(
        "insert into queue.jobs (kind, enqueued_at)
         select 'minutely', now() - n * interval '1 minute'
         from generate_series(7 * 24 * 60, 1, -1) as n",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let now: OffsetDateTime = sqlx::query_scalar("select now()").fetch_one(&db.pool).await.unwrap();
    let window = JobFilter {
        since: Some(now - Duration::days(3)),
        until: Some(now - Duration::days(3) + Duration::hours(2)),
        ..JobFilter::default()
    };
    let found = all(&db.pool, &window, 50).await.len();
    // The clock goes on while this test runs.
    assert!((119..=121).contains(&found), "{found}");
}

#[tokio::test]
async fn a_page_that_looked_at_enough_is_short_and_says_where_to_go_on() {
    let db = database().await;
    let first = enqueue_job(&db.pool, &Pay(Act::new("first", End::Complete))).await;
    sqlx::query("insert into queue.jobs (kind) select 'other' from generate_series(1, $1)")
        .bind(MAX_EXAMINED + 5_000)
        .execute(&db.pool)
        .await
        .unwrap();
    let filter = JobFilter { kinds: vec!["pay".into()], ..JobFilter::default() };
    let empty = page(&db.pool, &filter, None, 10).await;
    assert_eq!(empty.jobs, []);
    let by_error = JobFilter { error: Some("none".into()), ..JobFilter::default() };
    let by_error = page(&db.pool, &by_error, None, 10).await;
    assert_eq!(by_error.jobs, []);
    assert!(by_error.next > empty.next, "a job's failure costs more to look at");
    let last = page(&db.pool, &filter, empty.next, 10).await;
    assert_eq!((last.jobs[0].id, last.next), (first, None));
}

/// How many rows of the queue's tables the current transaction has read.
async fn rows_read(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(coalesce(idx_tup_fetch, 0) + seq_tup_read), 0)::bigint
         from pg_stat_xact_all_tables where schemaname = 'queue'",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_page_of_a_long_history_reads_no_more_than_it_shows() {
    let db = database().await;
    sqlx::raw_sql(
        "insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
         select n, 'default', 'old', 2, 1, 10, 0,
           (case when n % 100 = 0 then 'discarded' else 'completed' end)::queue.finished_state,
           now(), now(), '{}'
         from generate_series(1, 50000) as n;
         analyze queue.finished_jobs;",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    sqlx::query("begin").execute(&mut *conn).await.unwrap();
    for filter in [JobFilter::default(), states(&[JobState::Discarded])] {
        let before = rows_read(&mut conn).await;
        let page = list(&mut conn, &filter, Some(JobId(40_000)), 50).await.unwrap();
        assert_eq!(page.jobs.len(), 50);
        let after = rows_read(&mut conn).await;
        assert!(after - before < 1_000, "{} rows for a page of 50", after - before);
    }
}
