//! Settlement: every accepted transaction gets its outcome and its money exactly once (G3), alone
//! or in a batch.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use surety::ids::TransactionId;
use surety::jobs::SettleTransaction;
use surety::payments::settlement::Settled;
use surety::payments::transfers::TransferRefusal;
use surety::queue::{NewJob, enqueue};

use crate::support::ledger::{
    accepted, balance, count, external, outcome, run_jobs, settle, settle_in, transaction,
};
use crate::support::{TestDb, wait_for_locks};

async fn new_transaction(
    pool: &PgPool,
    source: &str,
    destination: &str,
    money: &str,
) -> TransactionId {
    transaction(&mut pool.acquire().await.unwrap(), source, destination, money).await
}

#[tokio::test]
async fn a_settled_transaction_is_completed_with_one_transfer_between_accounts_made_on_first_sight()
{
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "12.50 USD").await;

    assert_eq!(settle(&db.pool, &[id]).await, [Settled::Completed]);

    assert_eq!(outcome(&db.pool, id).await, ("COMPLETED".into(), None, true));
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 2);
    let (alice, shop) =
        (external(&db.pool, "alice", "USD").await, external(&db.pool, "shop", "USD").await);
    assert_eq!(balance(&db.pool, alice).await, ("-12.5000".into(), 1));
    assert_eq!(balance(&db.pool, shop).await, ("12.5000".into(), 1));
    let settled: i64 = sqlx::query_scalar("select transaction_id from payments.transfers")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(settled, id.0);
}

#[tokio::test]
async fn settling_again_changes_nothing() {
    let db = TestDb::new().await;
    let good = new_transaction(&db.pool, "alice", "shop", "12.50 USD").await;
    let bad = new_transaction(&db.pool, "alice", "alice", "12.50 USD").await;
    settle(&db.pool, &[good, bad]).await;
    let before = everything(&db.pool).await;

    let again = settle(&db.pool, &[bad, good]).await;

    assert_eq!(again, [Settled::AlreadySettled, Settled::AlreadySettled]);
    assert_eq!(everything(&db.pool).await, before);
}

#[tokio::test]
async fn an_id_given_twice_is_settled_once() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "12.50 USD").await;
    assert_eq!(settle(&db.pool, &[id, id]).await, [Settled::Completed, Settled::AlreadySettled]);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 1);
}

#[tokio::test]
async fn a_transaction_from_an_account_to_itself_fails_and_leaves_no_ledger_row() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "alice", "1 USD").await;

    assert_eq!(settle(&db.pool, &[id]).await, [Settled::Failed(TransferRefusal::SameAccount)]);

    assert_eq!(outcome(&db.pool, id).await, ("FAILED".into(), Some("same-account".into()), true));
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 0);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 0);
    assert_eq!(count(&db.pool, "select count(*) from payments.entries").await, 0);
}

#[tokio::test]
async fn transactions_that_break_a_rule_fail_and_the_rest_of_the_batch_completes() {
    let db = TestDb::new().await;
    let full = external(&db.pool, "full", "USD").await;
    let floored = external(&db.pool, "floored", "USD").await;
    sqlx::query("update payments.accounts set balance = 999999999999999999999999 where id = $1")
        .bind(full)
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query("update payments.accounts set floor = 0 where id = $1")
        .bind(floored)
        .execute(&db.pool)
        .await
        .unwrap();
    let mut ids = Vec::new();
    for (source, destination) in
        [("a", "b"), ("a", "full"), ("b", "b"), ("floored", "a"), ("b", "a")]
    {
        ids.push(new_transaction(&db.pool, source, destination, "1 USD").await);
    }

    let settled = settle(&db.pool, &ids).await;

    assert_eq!(
        settled,
        [
            Settled::Completed,
            Settled::Failed(TransferRefusal::BalanceOutOfRange),
            Settled::Failed(TransferRefusal::SameAccount),
            Settled::Failed(TransferRefusal::InsufficientFunds),
            Settled::Completed,
        ]
    );
    let reason = outcome(&db.pool, ids[1]).await;
    assert_eq!(reason, ("FAILED".into(), Some("balance-out-of-range".into()), true));
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 2);
    assert_eq!(balance(&db.pool, full).await.1, 0);
}

#[tokio::test]
async fn what_the_ledger_refuses_in_a_batch_of_jobs_fails_and_the_rest_completes() {
    let db = TestDb::new().await;
    let full = external(&db.pool, "full", "USD").await;
    sqlx::query("update payments.accounts set balance = 999999999999999999999999 where id = $1")
        .bind(full)
        .execute(&db.pool)
        .await
        .unwrap();
    let (good, _) = accepted(&db.pool, "a", "b", "1 USD").await;
    let (refused, _) = accepted(&db.pool, "a", "full", "1 USD").await;
    run_jobs(&db.pool).await;

    assert_eq!(outcome(&db.pool, good).await, ("COMPLETED".into(), None, true));
    let reason = Some("balance-out-of-range".into());
    assert_eq!(outcome(&db.pool, refused).await, ("FAILED".into(), reason, true));
    let told = "select string_agg(type, ' ' order by seq) from events.events";
    let told: String = sqlx::query_scalar(told).fetch_one(&db.pool).await.unwrap();
    assert_eq!(told, "transaction.completed transaction.failed");
    assert_eq!(count(&db.pool, "select count(*) from audit.entries").await, 2);
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, 2, "at once");
}

#[tokio::test]
async fn one_name_in_two_currencies_is_two_accounts() {
    let db = TestDb::new().await;
    let dollars = new_transaction(&db.pool, "alice", "shop", "12.50 USD").await;
    let yen = new_transaction(&db.pool, "alice", "shop", "1500 JPY").await;

    assert_eq!(settle(&db.pool, &[dollars, yen]).await, [Settled::Completed, Settled::Completed]);

    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 4);
    let shop = external(&db.pool, "shop", "JPY").await;
    assert_eq!(balance(&db.pool, shop).await, ("1500.0000".into(), 1));
}

#[tokio::test]
async fn what_is_not_there_or_still_pending_is_left_alone() {
    let db = TestDb::new().await;
    let pending = new_transaction(&db.pool, "alice", "shop", "1 USD").await;
    sqlx::query("update payments.transactions set status = 'PENDING'")
        .execute(&db.pool)
        .await
        .unwrap();
    let good = new_transaction(&db.pool, "alice", "shop", "1 USD").await;

    let settled = settle(&db.pool, &[TransactionId(i64::MAX), pending, good]).await;

    assert_eq!(settled, [Settled::Missing, Settled::Missing, Settled::Completed]);
    assert_eq!(outcome(&db.pool, pending).await, ("PENDING".into(), None, false));
    assert!(settle(&db.pool, &[]).await.is_empty());
}

#[tokio::test]
async fn settlement_that_is_not_committed_leaves_nothing() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "1 USD").await;
    let before = everything(&db.pool).await;
    let mut tx = db.pool.begin().await.unwrap();

    settle_in(&mut tx, &[id], &HashMap::new()).await;
    tx.rollback().await.unwrap();

    assert_eq!(everything(&db.pool).await, before);
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 0);
}

#[tokio::test]
async fn of_two_at_once_the_second_waits_and_finds_it_settled() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "1 USD").await;
    let mut first = db.pool.begin().await.unwrap();
    settle_in(&mut first, &[id], &HashMap::new()).await;

    let pool = db.pool.clone();
    let second = tokio::spawn(async move { settle(&pool, &[id]).await });
    wait_for_locks(&db.pool, 1).await;
    first.commit().await.unwrap();

    assert_eq!(second.await.unwrap(), [Settled::AlreadySettled]);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 1);
}

#[tokio::test]
async fn of_two_at_once_the_second_settles_when_the_first_gives_up() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "1 USD").await;
    let mut first = db.pool.begin().await.unwrap();
    settle_in(&mut first, &[id], &HashMap::new()).await;

    let pool = db.pool.clone();
    let second = tokio::spawn(async move { settle(&pool, &[id]).await });
    wait_for_locks(&db.pool, 1).await;
    first.rollback().await.unwrap();

    assert_eq!(second.await.unwrap(), [Settled::Completed]);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 1);
}

#[tokio::test]
async fn a_conflicting_webhook_is_recorded_while_its_transaction_is_being_settled() {
    let db = TestDb::new().await;
    let id = new_transaction(&db.pool, "alice", "shop", "1 USD").await;
    let mut settling = db.pool.begin().await.unwrap();
    settle_in(&mut settling, &[id], &HashMap::new()).await;

    let mut recording = db.pool.begin().await.unwrap();
    sqlx::raw_sql("set local lock_timeout = '1s'").execute(&mut *recording).await.unwrap();
    sqlx::raw_sql(
        "insert into payments.transaction_conflicts (transaction_id, body, body_sha256)
         select transaction_id, 'other', sha256('other') from payments.transactions",
    )
    .execute(&mut *recording)
    .await
    .expect("it does not wait for the settlement");
    recording.commit().await.unwrap();
    settling.commit().await.unwrap();
}

#[tokio::test]
async fn settling_reads_by_index_however_small_the_tables_are() {
    let db = TestDb::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(new_transaction(&db.pool, "alice", "shop", "1 USD").await);
    }
    sqlx::raw_sql("vacuum analyze payments.transactions").execute(&db.pool).await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();

    settle_in(&mut tx, &ids, &HashMap::new()).await;

    let (scans, lookups): (i64, i64) = sqlx::query_as(
        "select sum(seq_scan)::bigint, sum(idx_scan)::bigint from pg_stat_xact_user_tables
         where schemaname = 'payments'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(scans, 0, "a plan that reads whole tables would be kept when they have grown");
    assert!(lookups > 0);
}

/// The number of jobs that told others: one for each commit of outcomes.
async fn announced(db: &TestDb) -> u64 {
    let commits = "select count(distinct xid) from events.events";
    u64::try_from(count(&db.pool, commits).await).unwrap()
}

#[tokio::test]
async fn jobs_settle_in_batches_and_every_transaction_exactly_once() {
    let db = TestDb::new().await;
    let mut ids = Vec::new();
    for number in 0..450 {
        let (source, destination) =
            (format!("payer-{}", number % 7), format!("shop-{}", number % 3));
        ids.push(accepted(&db.pool, &source, &destination, "1.25 USD").await.0);
    }

    let summary = run_jobs(&db.pool).await;

    assert_eq!((summary.completed - announced(&db).await, summary.failed), (450, 0));
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 450);
    let completed = "select count(*) from payments.transactions where status = 'COMPLETED'";
    assert_eq!(count(&db.pool, completed).await, 450);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    assert_eq!(count(&db.pool, "select count(*) from queue.finished_jobs").await, 450);
    // Every write of a batch bears the number of its database transaction.
    let commits =
        count(&db.pool, "select count(distinct xmin::text) from payments.transfers").await;
    assert!(commits <= 3, "{commits} commits: they were settled one by one");
    assert_eq!(run_jobs(&db.pool).await.completed, 0);
}

#[tokio::test]
async fn a_second_job_for_a_transaction_changes_nothing() {
    let db = TestDb::new().await;
    let (id, _) = accepted(&db.pool, "alice", "shop", "1 USD").await;
    run_jobs(&db.pool).await;
    let before = everything(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let second = NewJob::new(&SettleTransaction { transaction: id }).unwrap();
    enqueue(&mut conn, second).await.unwrap();

    assert_eq!(run_jobs(&db.pool).await.completed, 1);

    assert_eq!(everything(&db.pool).await, before);
}

#[tokio::test]
async fn a_job_without_its_transaction_is_discarded_and_the_others_of_its_batch_settle() {
    let db = TestDb::new().await;
    for _ in 0..3 {
        accepted(&db.pool, "alice", "shop", "1 USD").await;
    }
    let mut conn = db.pool.acquire().await.unwrap();
    let lost = NewJob::new(&SettleTransaction { transaction: TransactionId(i64::MAX) }).unwrap();
    let lost = enqueue(&mut conn, lost).await.unwrap().id();

    let summary = run_jobs(&db.pool).await;

    assert_eq!((summary.completed - announced(&db).await, summary.discarded), (3, 1));
    let error: String = sqlx::query_scalar("select error from queue.attempts where job_id = $1")
        .bind(lost)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert!(error.contains("there is no transaction 9223372036854775807"), "{error}");
    let completed = "select count(*) from payments.transactions where status = 'COMPLETED'";
    assert_eq!(count(&db.pool, completed).await, 3);
}

#[tokio::test]
async fn a_transaction_that_cannot_be_read_costs_the_others_of_its_batch_nothing() {
    let db = TestDb::new().await;
    for _ in 0..3 {
        accepted(&db.pool, "alice", "shop", "1 USD").await;
    }
    // As an older binary finds it, that does not know a currency yet.
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::raw_sql(
        "set local session_replication_role = replica;
         update payments.transactions set currency = 'QQQ' where id = 2",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();

    let summary = run_jobs(&db.pool).await;

    // Its next attempt may be due at once: the backoff is jittered down to nothing.
    assert_eq!(summary.completed - announced(&db).await, 2);
    assert!(summary.failed >= 1);
    assert_eq!(outcome(&db.pool, TransactionId(2)).await, ("PROCESSING".into(), None, false));
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 1, "it is tried again");
}

#[test]
fn a_batch_settles_like_one_by_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let amount = prop::sample::select(vec!["1 USD", "2.50 USD", "100 USD", "7 JPY"]);
    let payments = prop::collection::vec((name(), name(), amount), 1..25);
    TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() })
        .run(&payments, |payments| {
            let (batch, single) = runtime.block_on(async {
                let (batch, single) = tokio::join!(TestDb::new(), TestDb::new());
                let mut outcomes = Vec::new();
                for db in [&batch, &single] {
                    floor_of_100_dollars(&db.pool, "a").await;
                    let mut ids = Vec::new();
                    for (source, destination, money) in &payments {
                        ids.push(new_transaction(&db.pool, source, destination, money).await);
                    }
                    outcomes.push(ids);
                }
                let mut one_by_one = Vec::new();
                for id in &outcomes[1] {
                    one_by_one.extend(settle(&single.pool, &[*id]).await);
                }
                let together = settle(&batch.pool, &outcomes[0]).await;
                (
                    (together, everything(&batch.pool).await),
                    (one_by_one, everything(&single.pool).await),
                )
            });
            prop_assert_eq!(batch, single);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// So that some payments of this account break a rule.
async fn floor_of_100_dollars(pool: &PgPool, external_ref: &str) {
    let account = external(pool, external_ref, "USD").await;
    sqlx::query("update payments.accounts set floor = -100 where id = $1")
        .bind(account)
        .execute(pool)
        .await
        .unwrap();
}

/// All outcomes and all entries, without ids and times.
async fn everything(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "(select format('%s %s %s', id, status, failure_reason)
          from payments.transactions order by id)
         union all
         (select format('%s %s %s: %s for %s makes %s', external_ref, account.currency, version,
                 account_version, entry.amount, balance_after)
          from payments.accounts as account
          left join payments.entries as entry on entry.account_id = account.id
          order by external_ref, account.currency, account_version)",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}
