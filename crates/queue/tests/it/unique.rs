//! Unique jobs: how two are the same, for how long one counts and in which states, and that of
//! several at once exactly one is enqueued.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use surety_queue::operate::cancel;
use surety_queue::{Enqueued, JobId, JobState, NewJob, Unique, enqueue, enqueue_many};

use super::kinds::{
    Act, End, Gates, attempts_of, count, database, enqueue_job, enqueue_new, idle_worker, state_of,
    unattended, wake_with, worker,
};
use crate::support::PATIENCE;

const JOBS: &str = "select count(*) from queue.jobs";
const HOUR: Duration = Duration::from_secs(3600);

async fn try_enqueue(pool: &PgPool, job: NewJob) -> Enqueued {
    let mut conn = pool.acquire().await.unwrap();
    enqueue(&mut conn, job).await.unwrap()
}

fn mail(to: &str, subject: &str) -> NewJob {
    NewJob::raw("mail", json!({"to": to, "subject": subject}))
}

fn act(name: &str, end: End, unique: Unique) -> NewJob {
    NewJob::new(&Act::new(name, end)).unwrap().unique(unique)
}

/// What the second of two jobs is told.
async fn second_of(pool: &PgPool, first: NewJob, second: NewJob) -> bool {
    sqlx::raw_sql("truncate queue.jobs, queue.unique_keys").execute(pool).await.unwrap();
    let first = try_enqueue(pool, first).await;
    let second = try_enqueue(pool, second).await;
    assert!(!first.is_existing());
    match second {
        Enqueued::Existing(id) => assert_eq!(id, first.id(), "the one that is there is named"),
        Enqueued::New(id) => assert_ne!(id, first.id()),
    }
    let jobs = if second.is_existing() { 1 } else { 2 };
    assert_eq!(count(pool, JOBS).await, jobs);
    second.is_existing()
}

#[tokio::test]
async fn jobs_are_the_same_by_arguments_fields_or_a_value_and_by_their_kind() {
    let db = database().await;
    let by_args = || Unique::by_args();
    let by_to = || Unique::by_fields(&["to"]);
    let by_value = |value: i64| Unique::by_value(value);
    let one = || mail("ada", "hello");
    let same = [
        (one().unique(by_args()), one().unique(by_args())),
        (one().unique(by_to()), mail("ada", "bye").unique(by_to())),
        (one().unique(by_value(1)), mail("bob", "bye").unique(by_value(1))),
        // A field that is missing equals null.
        (
            NewJob::raw("mail", json!({"to": null})).unique(by_to()),
            NewJob::raw("mail", json!({})).unique(by_to()),
        ),
        // Where it is enqueued, and how, does not matter.
        (one().unique(by_args()), one().queue("other").priority(4).tag("x").unique(by_args())),
    ];
    for (number, (first, second)) in same.into_iter().enumerate() {
        assert!(second_of(&db.pool, first, second).await, "pair {number} is the same");
    }
    let different = [
        (one().unique(by_args()), mail("ada", "bye").unique(by_args())),
        (one().unique(by_to()), mail("bob", "hello").unique(by_to())),
        (one().unique(by_value(1)), one().unique(by_value(2))),
        (
            one().unique(by_args()),
            NewJob::raw("letter", json!({"to": "ada", "subject": "hello"})).unique(by_args()),
        ),
        // Only who asks is told.
        (one(), one().unique(by_args())),
        (one().unique(by_args()), one()),
    ];
    for (number, (first, second)) in different.into_iter().enumerate() {
        assert!(!second_of(&db.pool, first, second).await, "pair {number} is not the same");
    }
}

#[tokio::test]
async fn without_a_window_a_job_counts_until_it_is_finished() {
    let db = database().await;
    let gates = Gates::new();
    let worker = worker(&db.pool, &gates, unattended());
    let unique = || Unique::by_value("x");
    let job = NewJob::new(&Act::gated("a", End::FailUnlessLast)).unwrap().unique(unique());
    let id = try_enqueue(&db.pool, job.clone().delay(HOUR)).await.id();
    let again = async || try_enqueue(&db.pool, job.clone()).await;
    assert_eq!(again().await, Enqueued::Existing(id), "it is scheduled");

    wake_with(&db.pool, id, &Act::gated("a", End::Fail)).await;
    assert_eq!(again().await, Enqueued::Existing(id), "it is available");
    sqlx::query("update queue.jobs set max_attempts = 2").execute(&db.pool).await.unwrap();
    let run = tokio::spawn(async move { worker.run_until_idle().await });
    gates.wait_begun().await;
    assert_eq!(again().await, Enqueued::Existing(id), "it is running");
    gates.go_on.add_permits(1);
    gates.wait_begun().await;
    assert_eq!(attempts_of(&db.pool, id).await.len(), 1);
    assert_eq!(again().await, Enqueued::Existing(id), "it is running again");
    gates.go_on.add_permits(1);
    run.await.unwrap().unwrap();
    assert_eq!(state_of(&db.pool, id).await, "discarded");

    let Enqueued::New(next) = again().await else { panic!("the first is over") };
    assert_eq!(again().await, Enqueued::Existing(next), "the latest is the one that counts");
}

/// Moves the end of all windows into the past.
async fn let_windows_end(pool: &PgPool) {
    sqlx::query("update queue.unique_keys set expires_at = clock_timestamp()")
        .execute(pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn within_its_window_a_completed_job_counts_and_after_it_not_even_a_waiting_one() {
    let db = database().await;
    let unique = || Unique::by_args().lasting(HOUR);
    let id = enqueue_new(&db.pool, act("a", End::Complete, unique())).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    let again = async || try_enqueue(&db.pool, act("a", End::Complete, unique())).await;
    assert_eq!(again().await, Enqueued::Existing(id));
    let expires_in: f64 = sqlx::query_scalar(
        "select extract(epoch from expires_at - clock_timestamp())::float8 from queue.unique_keys",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!((3500.0..=3600.0).contains(&expires_in), "{expires_in} s");

    let_windows_end(&db.pool).await;
    let Enqueued::New(second) = again().await else { panic!("the window is over") };
    assert_eq!(state_of(&db.pool, second).await, "available");
    let_windows_end(&db.pool).await;
    assert!(matches!(again().await, Enqueued::New(_)), "though the second still waits");
}

#[tokio::test]
async fn within_its_window_a_job_that_failed_for_good_or_was_cancelled_does_not_count() {
    let db = database().await;
    for end in [End::Discard, End::Cancel] {
        let unique = || Unique::by_value(format!("{end:?}")).lasting(HOUR);
        enqueue_new(&db.pool, act("a", end, unique())).await;
        idle_worker(&db.pool).run_until_idle().await.unwrap();
        let again = try_enqueue(&db.pool, act("a", End::Complete, unique())).await;
        assert!(!again.is_existing(), "{end:?}");
    }
}

#[tokio::test]
async fn the_states_in_which_a_job_counts_can_be_chosen() {
    let db = database().await;
    let while_in = |states: &[JobState]| Unique::by_value("x").while_in(states);
    let discarded = enqueue_new(&db.pool, act("a", End::Discard, while_in(&[]))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let asked = |states: &[JobState]| mail("ada", "x").unique(while_in(states));

    let told = try_enqueue(&db.pool, act("b", End::Complete, while_in(&[JobState::Discarded])));
    assert_eq!(told.await, Enqueued::Existing(discarded));
    let told = try_enqueue(&db.pool, asked(&[JobState::Discarded])).await;
    assert!(!told.is_existing(), "it is of another kind");
    let id = told.id();
    let told = try_enqueue(&db.pool, asked(&[JobState::Running, JobState::Completed])).await;
    assert_ne!(told.id(), id, "it waits, which does not count");
}

/// A connection for each of so many at once.
async fn crowd(pool: &PgPool, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .connect_with(pool.connect_options().as_ref().clone())
        .await
        .unwrap()
}

#[tokio::test]
async fn of_fifty_at_once_one_is_enqueued_and_all_others_are_told_which() {
    let db = database().await;
    let crowd = crowd(&db.pool, 50).await;
    for round in 0..10 {
        let enqueues: Vec<_> = (0..50)
            .map(|n| {
                let pool = crowd.clone();
                tokio::spawn(async move {
                    let unique = Unique::by_fields(&["to"]);
                    let job = mail(&format!("round {round}"), &n.to_string()).unique(unique);
                    // Each in a transaction of its own that goes on for a moment.
                    let mut tx = pool.begin().await.unwrap();
                    let told = enqueue(&mut tx, job).await.unwrap();
                    sqlx::query("select count(*) from queue.jobs").execute(&mut *tx).await.unwrap();
                    tx.commit().await.unwrap();
                    told
                })
            })
            .collect();
        let (mut new, mut existing) = (Vec::new(), Vec::new());
        for told in enqueues {
            match told.await.unwrap() {
                Enqueued::New(id) => new.push(id),
                Enqueued::Existing(id) => existing.push(id),
            }
        }
        assert_eq!(new.len(), 1, "round {round}");
        assert_eq!(existing, vec![new[0]; 49]);
        assert_eq!(count(&db.pool, JOBS).await, round + 1);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_transaction_that_rolls_back_is_the_one() {
    let db = database().await;
    let job = || mail("ada", "hello").unique(Unique::by_args());
    for commits in [false, true] {
        sqlx::raw_sql("truncate queue.jobs, queue.unique_keys").execute(&db.pool).await.unwrap();
        let mut first = db.pool.begin().await.unwrap();
        let first_told = enqueue(&mut first, job()).await.unwrap();
        let second = tokio::spawn({
            let pool = db.pool.clone();
            async move { try_enqueue(&pool, job()).await }
        });
        super::kinds::eventually("the second waits", async || {
            count(
                &db.pool,
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'",
            )
            .await
                == 1
        })
        .await;
        if commits {
            first.commit().await.unwrap()
        } else {
            first.rollback().await.unwrap()
        }
        let told = second.await.unwrap();
        assert_eq!(told.is_existing(), commits);
        assert_eq!(told.id() == first_told.id(), commits);
        assert_eq!(count(&db.pool, JOBS).await, 1);
    }
}

#[tokio::test]
async fn a_savepoint_that_is_rolled_back_gives_the_reservation_free() {
    let db = database().await;
    let job = || mail("ada", "hello").unique(Unique::by_args());
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("savepoint s").execute(&mut *tx).await.unwrap();
    let first = enqueue(&mut tx, job()).await.unwrap();
    sqlx::query("rollback to s").execute(&mut *tx).await.unwrap();
    let second = enqueue(&mut tx, job()).await.unwrap();
    assert!(!second.is_existing());
    assert_ne!(first.id(), second.id());
    // The same transaction sees its own.
    assert_eq!(enqueue(&mut tx, job()).await.unwrap(), Enqueued::Existing(second.id()));
    tx.commit().await.unwrap();
    assert_eq!(count(&db.pool, JOBS).await, 1);
}

#[tokio::test]
async fn transactions_with_the_same_unique_jobs_in_any_order_do_not_wait_in_a_circle() {
    let db = database().await;
    let crowd = crowd(&db.pool, 20).await;
    let enqueues: Vec<_> = (0..20)
        .map(|n: usize| {
            let pool = crowd.clone();
            tokio::spawn(async move {
                let mut jobs: Vec<NewJob> = (0..30)
                    .map(|job| mail(&job.to_string(), "x").unique(Unique::by_args()))
                    .collect();
                jobs.rotate_left(n * 7 % 30);
                if n.is_multiple_of(2) {
                    jobs.reverse();
                }
                let mut tx = pool.begin().await.unwrap();
                let told = enqueue_many(&mut tx, &jobs).await.unwrap();
                tx.commit().await.unwrap();
                told.into_iter().filter(|told| !told.is_existing()).count()
            })
        })
        .collect();
    let mut new = 0;
    for told in enqueues {
        new += told.await.unwrap();
    }
    assert_eq!(new, 30);
    assert_eq!(count(&db.pool, JOBS).await, 30);
}

#[tokio::test]
async fn many_are_answered_in_their_order_unique_or_not() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let unique = |to: &str| mail(to, "x").unique(Unique::by_args());
    let jobs = [unique("b"), mail("plain", "1"), unique("a"), unique("b"), mail("plain", "2")];
    let told = enqueue_many(&mut conn, &jobs).await.unwrap();
    let is_existing: Vec<bool> = told.iter().map(|told| told.is_existing()).collect();
    assert_eq!(is_existing, [false, false, false, true, false]);
    assert_eq!(told[3].id(), told[0].id());
    for (job, told) in ["b", "plain", "a", "b", "plain"].iter().zip(&told) {
        let to: String = sqlx::query_scalar("select args ->> 'to' from queue.jobs where id = $1")
            .bind(told.id())
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        assert_eq!(to, *job);
    }
}

#[tokio::test]
async fn sql_and_rust_agree_on_what_is_the_same() {
    let db = database().await;
    let by_sql = async |args: serde_json::Value, by: serde_json::Value| -> (JobId, bool) {
        sqlx::query_as("select job_id, is_new from queue.enqueue('mail', $1, unique_by => $2)")
            .bind(args)
            .bind(by)
            .fetch_one(&db.pool)
            .await
            .unwrap()
    };
    let args = json!({"to": "ada \"\\ ✉ \u{1F600}\n", "n": [1, 2.5, null, true], "a": {"z": 1}});
    // The order of the fields is no difference.
    let turned = json!({"a": {"z": 1}, "n": [1, 2.5, null, true], "to": "ada \"\\ ✉ \u{1F600}\n"});
    let job = NewJob::raw("mail", args.clone());

    let told = try_enqueue(&db.pool, job.clone().unique(Unique::by_args())).await;
    assert_eq!(by_sql(turned.clone(), turned.clone()).await, (told.id(), false));

    let (id, is_new) = by_sql(json!({}), json!({"to": args["to"], "missing": null})).await;
    assert!(is_new);
    let unique = Unique::by_fields(&["missing", "to"]);
    assert_eq!(try_enqueue(&db.pool, job.clone().unique(unique)).await, Enqueued::Existing(id));

    let (id, is_new) = by_sql(json!({}), json!("a value")).await;
    assert!(is_new);
    let unique = Unique::by_value("a value");
    assert_eq!(try_enqueue(&db.pool, job.unique(unique)).await, Enqueued::Existing(id));
}

#[tokio::test]
async fn a_unique_job_has_all_that_another_one_has() {
    let db = database().await;
    let job = NewJob::new(&Act::new("a", End::Complete))
        .unwrap()
        .queue("q")
        .priority(4)
        .max_attempts(7)
        .key("k")
        .tag("one")
        .tag("two");
    let plain = enqueue_new(&db.pool, job.clone().delay(HOUR)).await;
    let unique = Unique::by_args();
    let unique = enqueue_new(&db.pool, job.clone().delay(HOUR).unique(unique)).await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' ', queue, kind, priority, max_attempts, key, tags, hold, keeps_history,
                          args, round(extract(epoch from run_at - enqueued_at)))
         from queue.jobs where id = any ($1) order by id",
    )
    .bind([plain.0, unique.0])
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(rows[0], rows[1]);
    assert!(rows[0].starts_with("q act 4 7 k {one,two} until_due t {"), "{}", rows[0]);
    assert!(rows[0].ends_with(" 3600"), "{}", rows[0]);
}

#[tokio::test]
async fn a_cancelled_job_makes_room_for_the_next() {
    let db = database().await;
    let job = || mail("ada", "x").unique(Unique::by_args());
    let id = try_enqueue(&db.pool, job()).await.id();
    let mut conn = db.pool.acquire().await.unwrap();
    cancel(&mut conn, id, "ada", "not wanted").await.unwrap();
    assert!(!try_enqueue(&db.pool, job()).await.is_existing());
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
}
