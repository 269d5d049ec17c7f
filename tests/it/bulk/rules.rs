//! What an operation counts and changes.

use serde_json::json;
use surety::ids::OrderId;
use surety::jobs::{RunBulkOperation, SettleTransaction};
use surety::operations::bulk::{BulkError, BulkState, Skipped};
use surety::payments::orders::Instruction;
use surety::queue::operate::discarded::{self, Decision};
use surety::queue::operate::{cancel, interventions};
use surety::queue::{JobId, NewJob, enqueue};

use super::*;
use crate::support::TestDb;
use crate::support::ledger::{money, settle, transaction};
use crate::support::money::{discard_job, discarded_job, open_wallet, take, taken};

const BY: Decision<'_> = Decision { by: "cli:eve", reason: "before" };

async fn add(pool: &PgPool, job: NewJob) -> JobId {
    enqueue(&mut pool.acquire().await.unwrap(), job).await.unwrap().id()
}

fn plain() -> NewJob {
    NewJob::raw("other", json!({}))
}

fn later() -> NewJob {
    plain().delay(std::time::Duration::from_secs(3600))
}

/// Ends what a worker has claimed, or leaves it with that worker.
async fn claimed(pool: &PgPool, id: JobId) {
    sqlx::query(
        "update queue.jobs
         set running = true, attempt = attempt + 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = clock_timestamp(),
           lease_expires_at = clock_timestamp() + interval '1 hour'
         where id = $1",
    )
    .bind(id)
    .execute(pool)
    .await
    .unwrap();
}

async fn given_up(pool: &PgPool, id: JobId) {
    claimed(pool, id).await;
    let ended: i64 = sqlx::query_scalar(
        "select ended.id
         from queue.jobs,
           queue.end_jobs(
             array[jobs.id], array[fence], 'discarded', 'discarded', array['given up']
           ) as ended
         where jobs.id = $1",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(ended, id.0);
}

/// A discarded job about a transaction, which has its outcome or not.
async fn settlement_given_up(pool: &PgPool, is_settled: bool) -> JobId {
    let mut conn = pool.acquire().await.unwrap();
    let id = transaction(&mut conn, "alice", "shop", "1 USD").await;
    drop(conn);
    let job = add(pool, NewJob::new(&SettleTransaction { transaction: id }).unwrap()).await;
    given_up(pool, job).await;
    if is_settled {
        settle(pool, &[id]).await;
    }
    job
}

/// A discarded job about an order without an outcome.
async fn order_given_up(pool: &PgPool) -> (OrderId, JobId) {
    let owner = surety::ids::UserId(uuid::Uuid::now_v7());
    let wallet = open_wallet(pool, owner, "USD").await;
    let instruction = Instruction::Deposit { wallet, money: money("5 USD") };
    let key = uuid::Uuid::new_v4().to_string();
    let order = taken(take(pool, owner, &key, instruction).await);
    let job = discard_job(&mut pool.acquire().await.unwrap(), order).await;
    (order, job)
}

/// Jobs in all states, of money and of none, decided over and not.
async fn all_sorts(pool: &PgPool) {
    add(pool, plain()).await;
    add(pool, later()).await;
    claimed(pool, add(pool, plain()).await).await;
    let cancelled = add(pool, plain()).await;
    cancel(&mut pool.acquire().await.unwrap(), cancelled, "ada", "why").await.unwrap();
    for _ in 0..3 {
        discarded_job(pool).await;
    }
    let mut conn = pool.acquire().await.unwrap();
    let dismissed = discarded_job(pool).await;
    let _ = discarded::dismiss(&mut conn, dismissed, BY).await.unwrap();
    let redriven = discarded_job(pool).await;
    let _ = discarded::redrive(&mut conn, redriven, BY).await.unwrap();
    let by_hand = add(pool, later()).await;
    interventions::discard(&mut conn, &[by_hand], BY).await.unwrap();
    settlement_given_up(pool, true).await;
    settlement_given_up(pool, true).await;
    settlement_given_up(pool, false).await;
    order_given_up(pool).await;
    let transaction = transaction(&mut conn, "alice", "shop", "1 USD").await;
    let settle = NewJob::new(&SettleTransaction { transaction }).unwrap();
    add(pool, settle.delay(std::time::Duration::from_secs(3600))).await;
}

fn sorted(mut skipped: Vec<Skipped>) -> Vec<(String, u64)> {
    skipped.sort_by(|a, b| a.reason.cmp(&b.reason));
    skipped.into_iter().map(|it| (it.reason, it.jobs)).collect()
}

#[tokio::test]
async fn a_dry_run_counts_what_is_then_done() {
    for action in JobAction::ALL {
        let db = TestDb::new().await;
        all_sorts(&db.pool).await;
        let states: Vec<JobState> =
            JobState::ALL.into_iter().filter(|state| action.states(&[*state]).is_ok()).collect();
        let selection = in_states(&states);
        let dry = new(action, selection.clone(), Mode::DryRun);
        let planned = bulk::start(&db.pool, dry, &actor()).await.unwrap();
        assert_eq!((planned.state, planned.id, planned.done), (BulkState::Planned, None, 0));
        assert!(planned.eligible > 0, "{action:?}");
        let operations = "select count(*) from operations.bulk_operations";
        assert_eq!(count(&db.pool, operations).await, 0, "{action:?}");

        let id = start(&db.pool, action, selection).await;
        let done = carry_out(&db.pool, id).await;
        assert_eq!(done.state, BulkState::Completed, "{action:?}: {done:?}");
        assert_eq!((done.done, done.failed), (planned.eligible, 0), "{action:?}: {done:?}");
        assert_eq!(sorted(done.skipped), sorted(planned.skipped), "{action:?}");
    }
}

#[tokio::test]
async fn what_would_come_to_nothing_is_not_counted_as_eligible() {
    let db = TestDb::new().await;
    for _ in 0..3 {
        settlement_given_up(&db.pool, true).await;
    }
    let dry = new(JobAction::Retry, in_states(&[JobState::Discarded]), Mode::DryRun);
    let planned = bulk::start(&db.pool, dry, &actor()).await.unwrap();
    let nothing = vec![("nothing-to-redrive".to_owned(), 3)];
    assert_eq!((planned.eligible, sorted(planned.skipped)), (0, nothing));
    let new = new(JobAction::Retry, in_states(&[JobState::Discarded]), Mode::Commit);
    let refused = bulk::start(&db.pool, new, &actor()).await;
    assert!(matches!(refused, Err(BulkError::NothingEligible(_))), "{refused:?}");
}

#[tokio::test]
async fn what_arrives_or_fails_after_the_start_is_left_alone() {
    let db = TestDb::new().await;
    let fails_later = add(&db.pool, later()).await;
    give_up(&db.pool, 3).await;
    let id = start(&db.pool, JobAction::Redrive, in_states(&[JobState::Discarded])).await;
    give_up(&db.pool, 2).await;
    given_up(&db.pool, fails_later).await;

    let done = carry_out(&db.pool, id).await;

    assert_eq!((done.state, done.eligible, done.done), (BulkState::Completed, 3, 3));
    assert_eq!(done.skipped, []);
    let left = "select count(*) from queue.finished_jobs where state = 'discarded'";
    assert_eq!(count(&db.pool, left).await, 3);
}

#[tokio::test]
async fn each_job_is_changed_by_whoever_asked_for_it_and_says_so() {
    let db = TestDb::new().await;
    give_up(&db.pool, 2).await;
    let (_, order) = order_given_up(&db.pool).await;
    let id = start(&db.pool, JobAction::WriteOff, in_states(&[JobState::Discarded])).await;
    assert_eq!(carry_out(&db.pool, id).await.done, 3);

    let decided: Vec<(i64, String, String)> =
        sqlx::query_as("select job_id, resolved_by, reason from queue.resolutions")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert!(decided.iter().any(|(job, ..)| *job == order.0));
    assert!(
        decided.iter().all(|(_, by, why)| (by.as_str(), why.as_str()) == ("cli:ada", "case 1"))
    );
    let audited: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "select action, actor, (data::jsonb ->> 'operation')::bigint
         from audit.entries
         where subject_kind = 'job'",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let expected = ("dead_letter.write_off".to_owned(), "cli:ada".to_owned(), Some(id.0));
    assert_eq!(audited, vec![expected; 3]);
    let about_it: Vec<String> = sqlx::query_scalar(
        "select action from audit.entries where subject_kind = 'bulk_operation' order by seq",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(about_it, ["bulk_operation.start", "bulk_operation.complete"]);
}

#[tokio::test]
async fn one_job_that_cannot_be_changed_does_not_keep_the_others_from_it() {
    let db = TestDb::new().await;
    let spoilt = settlement_given_up(&db.pool, false).await;
    settlement_given_up(&db.pool, false).await;
    give_up(&db.pool, 4).await;
    // As somebody could who owns the database: the ledger itself refuses it.
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    sqlx::query(
        "update payments.transactions set currency = 'none'
         where id = (
           select (args ->> 'transaction')::bigint from queue.finished_jobs where id = $1
         )",
    )
    .bind(spoilt)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let id = start(&db.pool, JobAction::WriteOff, in_states(&[JobState::Discarded])).await;

    let done = carry_out(&db.pool, id).await;

    assert_eq!((done.state, done.done, done.failed), (BulkState::Completed, 5, 1), "{done:?}");
    assert!(done.last_error.unwrap().starts_with(&format!("job {spoilt}: ")));
    let undecided = "select count(*) from queue.finished_jobs as job
                     where state = 'discarded' and not exists (
                       select from queue.resolutions where job_id = job.id
                     )";
    assert_eq!(count(&db.pool, undecided).await, 1);
}

#[tokio::test]
async fn no_operation_changes_the_job_of_another() {
    let db = TestDb::new().await;
    give_up(&db.pool, 1).await;
    let first = start(&db.pool, JobAction::Redrive, in_states(&[JobState::Discarded])).await;
    add(&db.pool, later()).await;
    let unfinished = in_states(&JobState::UNFINISHED);
    let dry = new(JobAction::Cancel, unfinished.clone(), Mode::DryRun);
    let planned = bulk::start(&db.pool, dry, &actor()).await.unwrap();
    assert_eq!(
        (planned.eligible, sorted(planned.skipped)),
        (1, vec![("bulk-operation".into(), 1)])
    );
    let second = start(&db.pool, JobAction::Cancel, unfinished).await;
    run_jobs(&db.pool).await;
    let (first, second) = (find(&db.pool, first).await, find(&db.pool, second).await);
    assert_eq!((first.state, first.done), (BulkState::Completed, 1));
    assert_eq!(second.state, BulkState::Completed);
    let kind = <RunBulkOperation as surety::queue::Job>::KIND;
    let ended: i64 = sqlx::query_scalar(
        "select count(*) from queue.finished_jobs where kind = $1 and state = 'completed'",
    )
    .bind(kind)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(ended, 2);
}

#[tokio::test]
async fn a_limit_takes_the_newest_and_a_filter_is_needed() {
    let db = TestDb::new().await;
    give_up(&db.pool, 5).await;
    let few = NewBulk {
        limit: Some(2),
        ..new(JobAction::Redrive, in_states(&[JobState::Discarded]), Mode::Commit)
    };
    let id = bulk::start(&db.pool, few, &actor()).await.unwrap().id.unwrap();
    assert_eq!(carry_out(&db.pool, id).await.done, 2);
    let redriven: Vec<i64> =
        sqlx::query_scalar("select id from queue.jobs where kind = 'other' order by id")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let newest_left: i64 =
        sqlx::query_scalar("select max(id) from queue.finished_jobs where state = 'discarded'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert!(redriven.len() == 2 && redriven[0] > newest_left, "{redriven:?} {newest_left}");
    let all = new(JobAction::Cancel, JobSelection::default(), Mode::DryRun);
    assert!(matches!(bulk::start(&db.pool, all, &actor()).await, Err(BulkError::NoFilter)));
}
