//! The ledger before and after.

use surety::ids::TransactionId;
use surety::operations::timeline;
use surety::payments::LedgerError;
use surety::payments::settlement::Settled;
use surety::payments::transfers::{NewTransfer, Reason};

use time::Duration;

use super::{KEEP, age, archive_all, archive_older, broken, files_in, problems, settled};
use crate::support::ledger::{balance, count, external, money, post, settle, transaction, wallet};
use crate::support::{TestDb, doubt_the_clock};

const ENTRIES: &str = "select count(*) from payments.entries";
const TRANSFERS: &str = "select count(*) from payments.transfers";

#[tokio::test]
async fn what_is_old_goes_into_files_and_the_ledger_adds_up_without_it() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let folder = tempfile::tempdir().unwrap();
    settled(pool, 40).await;
    age(pool, 100).await;
    settled(pool, 10).await;
    let shop = external(pool, "shop-0", "USD").await;
    let before = balance(pool, shop).await;

    let made = archive_older(pool, folder.path(), 15, Duration::days(90)).await;

    assert_eq!(made.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(made.iter().map(|it| it.transfers).collect::<Vec<_>>(), [15, 15, 10]);
    assert_eq!(count(pool, TRANSFERS).await, 10);
    assert_eq!(count(pool, ENTRIES).await, 20);
    assert_eq!(balance(pool, shop).await, before);
    assert_eq!(broken(pool).await, [""; 0]);
    let files = files_in(folder.path());
    assert_eq!(files.len(), 3);
    assert_eq!(problems(pool, &files).await, [""; 0]);

    // The ledger goes on, and the next archive from where the last one ended.
    settled(pool, 20).await;
    assert_eq!(broken(pool).await, [""; 0]);
    age(pool, 60).await;
    let made = archive_all(pool, folder.path(), 100).await;
    assert_eq!(made.iter().map(|it| (it.number, it.transfers)).collect::<Vec<_>>(), [(4, 30)]);
    assert_eq!(count(pool, ENTRIES).await, 0);
    assert_eq!(broken(pool).await, [""; 0]);
    assert_eq!(problems(pool, &files_in(folder.path())).await, [""; 0]);
}

#[tokio::test]
async fn many_of_one_date_stay_together_and_a_small_number_ends_all_the_same() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(transaction(&mut conn, "payer", "shop", "1 USD").await);
    }
    settle(&db.pool, &ids).await;
    settled(&db.pool, 3).await;
    age(&db.pool, 100).await;
    let made = archive_all(&db.pool, folder.path(), 1).await;
    assert_eq!(made.iter().map(|it| it.transfers).collect::<Vec<_>>(), [7, 1, 1, 1]);
    assert_eq!(problems(&db.pool, &files_in(folder.path())).await, [""; 0]);
}

#[tokio::test]
async fn nothing_young_and_nothing_of_users_is_taken() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let folder = tempfile::tempdir().unwrap();
    settled(pool, 4).await;
    age(pool, 39).await;
    assert!(archive_all(pool, folder.path(), 10).await.is_empty());

    // Wallets that an order has moved money between, and one that it was moved to by itself.
    let (one, other) = (wallet(pool, "USD").await, wallet(pool, "USD").await);
    sqlx::query("update payments.accounts set floor = -100 where kind = 'wallet'")
        .execute(pool)
        .await
        .unwrap();
    let between = NewTransfer {
        reason: Reason::Unrecorded,
        source: one,
        destination: other,
        money: money("5 USD"),
    };
    post(pool, &[between]).await.unwrap();
    age(pool, 2).await;
    let made = archive_all(pool, folder.path(), 4).await;
    assert_eq!(made.iter().map(|it| it.transfers).sum::<i64>(), 4);
    assert_eq!(count(pool, TRANSFERS).await, 1);
    assert_eq!(balance(pool, other).await, ("5.0000".into(), 1));
}

#[tokio::test]
async fn an_account_that_also_moves_money_of_users_is_refused_as_a_whole() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let folder = tempfile::tempdir().unwrap();
    settled(pool, 4).await;
    let payer = external(pool, "payer-1", "USD").await;
    let wallet = wallet(pool, "USD").await;
    let paid_out = NewTransfer {
        reason: Reason::Unrecorded,
        source: payer,
        destination: wallet,
        money: money("5 USD"),
    };
    post(pool, &[paid_out]).await.unwrap();
    settled(pool, 4).await;
    age(pool, 100).await;
    let refused = super::archive(pool, folder.path(), 10, KEEP).await.unwrap_err();
    assert!(refused.to_string().contains(&payer.to_string()), "{refused}");
    assert_eq!(count(pool, TRANSFERS).await, 9);
    assert_eq!(broken(pool).await, [""; 0]);
}

#[tokio::test]
async fn none_is_made_while_the_clock_is_in_doubt() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 4).await;
    age(&db.pool, 100).await;
    doubt_the_clock(&db.pool).await;
    let refused = super::archive(&db.pool, folder.path(), 10, KEEP).await.unwrap_err();
    assert!(refused.to_string().contains("clock"), "{refused}");
    assert_eq!(count(&db.pool, TRANSFERS).await, 4);
}

#[tokio::test]
async fn an_archived_transaction_is_known_told_of_and_settled_no_second_time() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let folder = tempfile::tempdir().unwrap();
    let ids = settled(pool, 5).await;
    age(pool, 100).await;
    archive_all(pool, folder.path(), 100).await;

    assert_eq!(settle(pool, &[ids[2]]).await, [Settled::AlreadySettled]);
    let account = |name| external(pool, name, "USD");
    let again = NewTransfer {
        reason: Reason::Transaction(ids[2]),
        source: account("payer-2").await,
        destination: account("shop-0").await,
        money: money("12.50 USD"),
    };
    let refused = post(pool, &[again]).await.unwrap_err();
    assert!(matches!(refused, LedgerError::TransactionHasTransfer(_)), "{refused}");

    let (known, event, details) = archived_event(pool, ids[2]).await;
    assert_eq!(event, "archived", "{known}");
    assert_eq!(details["archive"], 1);
    let file = files_in(folder.path()).remove(0);
    assert_eq!(details["file"], file.file_name().unwrap().to_str().unwrap());
}

/// The provider's id of a transaction, and the last event of its timeline.
async fn archived_event(
    pool: &sqlx::PgPool,
    id: TransactionId,
) -> (String, String, serde_json::Value) {
    let known = "select transaction_id from payments.transactions where id = $1";
    let known: String = sqlx::query_scalar(known).bind(id).fetch_one(pool).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let events = timeline::of_transaction(&mut conn, &known).await.unwrap().unwrap();
    let last = events.last().unwrap();
    (known, last.event.clone(), last.details.clone())
}
