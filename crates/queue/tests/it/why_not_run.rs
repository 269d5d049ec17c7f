//! "Why has this job not run?"

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety_queue::operate::cancel;
use surety_queue::operate::discarded::{Decision, Resolved, redrive};
use surety_queue::operate::inspect::why_not_run;
use surety_queue::operate::interventions::discard;
use surety_queue::operate::queues::{self, Limits, OnPoison, Which};
use surety_queue::{JobId, NewJob};

use super::kinds::{
    Act, End, Gates, database, enqueue_job, enqueue_new, idle_worker, let_lease_run_out,
    unattended, worker,
};

/// The sentence, and those of further causes.
async fn why(pool: &PgPool, id: JobId) -> (String, Vec<String>) {
    let mut conn = pool.acquire().await.unwrap();
    let why = why_not_run(&mut conn, id).await.unwrap().expect("the job exists");
    (why.sentence.clone(), why.also().collect())
}

async fn says(pool: &PgPool, id: JobId, parts: &[&str]) {
    let (sentence, also) = why(pool, id).await;
    for part in parts {
        assert!(sentence.contains(part), "{part:?} is not in {sentence:?}, also {also:?}");
    }
    assert!(sentence.ends_with('.') && !sentence.contains('\n'), "{sentence:?}");
}

fn raw() -> NewJob {
    NewJob::raw("act", json!({}))
}

async fn limit(pool: &PgPool, limits: Limits) {
    let mut conn = pool.acquire().await.unwrap();
    queues::set_limits(&mut conn, "default", &limits, "ada").await.unwrap();
}

#[tokio::test]
async fn a_job_of_the_future_says_until_when_and_why() {
    let db = database().await;
    let hour = Duration::from_secs(3600);
    let scheduled = enqueue_new(&db.pool, raw().delay(hour)).await;
    let snoozed = enqueue_job(&db.pool, &Act::new("s", End::SnoozeBecause)).await;
    let failed = enqueue_job(&db.pool, &Act::new("f", End::Fail)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let bob = Decision { by: "bob", reason: "once more" };
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(redrive(&mut conn, failed, bob).await.unwrap(), Resolved::Done);
    sqlx::query("update queue.jobs set run_at = now() + interval '5 min' where id = $1")
        .bind(failed)
        .execute(&db.pool)
        .await
        .unwrap();
    says(&db.pool, scheduled, &["It is scheduled for 20", "(in 59 min 5"]).await;
    says(&db.pool, snoozed, &["put it off until 20", "away"]).await;
    let failure = ["waits for its retry at 20", "(in 4 min 5", "attempt 3 of 6 failed: f failed"];
    says(&db.pool, failed, &failure).await;
}

/// A worker that is alive as far as the database knows.
async fn register(pool: &PgPool, kind: &str, queue: &str) {
    sqlx::query(
        "insert into queue.workers (id, host, pid, version, queues, kinds, slots, lease)
         values (gen_random_uuid(), 'h', 1, 'v', array[$2], array[$1], 1, interval '1 h')",
    )
    .bind(kind)
    .bind(queue)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn that_no_worker_is_there_for_it_is_told() {
    let db = database().await;
    let id = enqueue_new(&db.pool, raw()).await;
    says(&db.pool, id, &["No worker is alive"]).await;
    register(&db.pool, "other", "default").await;
    says(&db.pool, id, &["None of the 1 workers knows the kind act"]).await;
    register(&db.pool, "act", "elsewhere").await;
    says(&db.pool, id, &["No worker that knows the kind act claims from the queue default"]).await;
    register(&db.pool, "act", "default").await;
    says(&db.pool, id, &["nothing keeps it"]).await;
}

#[tokio::test]
async fn a_due_job_says_how_many_are_ahead_or_that_nothing_keeps_it() {
    let db = database().await;
    register(&db.pool, "act", "default").await;
    let first = enqueue_new(&db.pool, raw()).await;
    let second = enqueue_new(&db.pool, raw()).await;
    let urgent = enqueue_new(&db.pool, raw().priority(1)).await;
    says(&db.pool, urgent, &["nothing keeps it"]).await;
    says(&db.pool, first, &["1 job is ahead of it"]).await;
    says(&db.pool, second, &["2 jobs are ahead of it"]).await;
    sqlx::query(
        "insert into queue.jobs (kind, priority) select 'x', 1 from generate_series(1, 1200)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    says(&db.pool, second, &["more than 1000 jobs are ahead of it"]).await;
}

#[tokio::test]
async fn pauses_say_who_and_why_beside_what_must_happen_first() {
    let db = database().await;
    let due = enqueue_new(&db.pool, raw()).await;
    let later = enqueue_new(&db.pool, raw().delay(Duration::from_secs(60))).await;
    let mut conn = db.pool.acquire().await.unwrap();
    queues::pause(&mut conn, Which::One("default"), "bob", "the disk is full").await.unwrap();
    says(&db.pool, due, &["Its queue default is paused since", "by bob: the disk is full"]).await;
    let (sentence, also) = why(&db.pool, later).await;
    assert!(sentence.contains("is scheduled for"), "{sentence}");
    assert!(also[0].contains("Its queue default is paused"), "{also:?}");
    queues::pause(&mut conn, Which::All, "eve", "moving house").await.unwrap();
    says(&db.pool, due, &["All queues are paused", "by eve: moving house"]).await;
}

#[tokio::test]
async fn limits_say_which_of_them_is_reached() {
    let db = database().await;
    let gates = Gates::new();
    let gated = NewJob::new(&Act::gated("a", End::Complete)).unwrap().key("k");
    enqueue_new(&db.pool, gated).await;
    let working = worker(&db.pool, &gates, unattended());
    let running = tokio::spawn(async move { working.run_until_idle().await });
    gates.wait_begun().await;
    let of_key = enqueue_new(&db.pool, raw().key("k").queue("default")).await;
    // The worker that waits at the gate must not take them.
    sqlx::query("update queue.jobs set kind = 'nobodys' where not running")
        .execute(&db.pool)
        .await
        .unwrap();
    limit(&db.pool, Limits { max_running: Some(1), ..Limits::default() }).await;
    says(&db.pool, of_key, &["1 jobs of its queue default run, and no more than 1 may"]).await;
    limit(&db.pool, Limits { max_running_per_key: Some(1), ..Limits::default() }).await;
    says(&db.pool, of_key, &["1 jobs of its key k run, and no more than 1 may"]).await;
    limit(&db.pool, Limits { ordered: Some(OnPoison::Block), ..Limits::default() }).await;
    says(&db.pool, of_key, &["of its key k is ahead of it, and runs"]).await;
    gates.go_on.add_permits(1);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_rate_that_is_used_up_and_a_blocked_key_are_told() {
    let db = database().await;
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        rate: Some(1),
        rate_period: hour,
        ordered: Some(OnPoison::Block),
        ..Limits::default()
    };
    limit(&db.pool, limits).await;
    let act = |end| NewJob::new(&Act::new("a", end)).unwrap().key("k");
    let poison = enqueue_new(&db.pool, act(End::Discard)).await;
    let behind = enqueue_new(&db.pool, act(End::Complete)).await;
    let other = enqueue_new(&db.pool, raw()).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    says(
        &db.pool,
        behind,
        &["Its key k is blocked since 20", &format!("by job {poison}, which was discarded")],
    )
    .await;
    says(&db.pool, other, &["no more than 1 jobs in 1 h, and has", "may start in"]).await;
}

#[tokio::test]
async fn a_held_job_names_those_it_waits_for() {
    let db = database().await;
    let [one, two, held] = [
        enqueue_new(&db.pool, raw()).await,
        enqueue_new(&db.pool, raw()).await,
        enqueue_new(&db.pool, raw()).await,
    ];
    sqlx::query("update queue.jobs set hold = 'dependencies' where id = $1")
        .bind(held)
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query("insert into queue.dependencies (job_id, depends_on) values ($1, $2), ($1, $3)")
        .bind(held)
        .bind(one)
        .bind(two)
        .execute(&db.pool)
        .await
        .unwrap();
    says(&db.pool, held, &[&format!("It waits for jobs {one}, {two} to end")]).await;
}

#[tokio::test]
async fn a_running_job_says_where_and_since_when_and_what_is_wanted_of_it() {
    let db = database().await;
    let gates = Gates::new();
    let id = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    let working = worker(&db.pool, &gates, unattended());
    let running = tokio::spawn(async move { working.run_until_idle().await });
    gates.wait_begun().await;
    sqlx::query("update queue.jobs set progress = 40, progress_text = 'pages'")
        .execute(&db.pool)
        .await
        .unwrap();
    says(&db.pool, id, &["It is running on worker ", "attempt 1 of 3, 40 % done (pages)"]).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let_lease_run_out(&db.pool, id).await;
    says(&db.pool, id, &["was lost", "takes it back soon"]).await;
    cancel(&mut conn, id, "ada", "not wanted").await.unwrap();
    says(&db.pool, id, &["was asked to stop it by ada: not wanted"]).await;
    gates.go_on.add_permits(1);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_job_that_has_ended_says_how() {
    let db = database().await;
    let completed = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let failed = enqueue_job(&db.pool, &Act::new("b", End::Fail)).await;
    let by_handler = enqueue_job(&db.pool, &Act::new("c", End::Cancel)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let [by_hand, put_away] =
        [enqueue_new(&db.pool, raw()).await, enqueue_new(&db.pool, raw()).await];
    let mut conn = db.pool.acquire().await.unwrap();
    cancel(&mut conn, by_hand, "ada", "not wanted").await.unwrap();
    let bob = Decision { by: "bob", reason: "wrong address" };
    discard(&mut conn, &[put_away], bob).await.unwrap();

    says(&db.pool, completed, &["It is completed since 20", "by attempt 1"]).await;
    says(&db.pool, failed, &["It was discarded at 20", "after 3 attempts: b failed"]).await;
    says(&db.pool, by_handler, &["It was cancelled at 20", ": no longer wanted"]).await;
    says(&db.pool, by_hand, &["It was cancelled at 20", "by ada: not wanted"]).await;
    says(&db.pool, put_away, &["bob discarded it at 20", ": wrong address"]).await;
    assert!(why_not_run(&mut conn, JobId(4711)).await.unwrap().is_none());
}
