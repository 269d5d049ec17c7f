//! What one transfer may do, and that it decides for itself alone.

use surety::ids::{AccountId, TransactionId};
use surety::payments::LedgerError;
use surety::payments::accounts;
use surety::payments::transfers::{self, NewTransfer, Reason, TransferRefusal};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::ledger::{
    balance, count, external, in_dollars, money, post, transaction, transfer, wallet,
};

#[tokio::test]
async fn a_transfer_moves_money_by_two_entries() {
    let db = TestDb::new().await;
    let (a, b) = (external(&db.pool, "a", "USD").await, external(&db.pool, "b", "USD").await);

    let posted = post(&db.pool, &[transfer(a, b, "12.50 USD")]).await.unwrap();

    let id = posted[0].unwrap();
    let entries: Vec<(Uuid, i64, String, String)> = sqlx::query_as(
        "select account_id, account_version, amount::text, balance_after::text
         from payments.entries where transfer_id = $1 order by amount",
    )
    .bind(id)
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let text = str::to_owned;
    assert_eq!(
        entries,
        [(a.0, 1, text("-12.5000"), text("-12.5000")), (b.0, 1, text("12.5000"), text("12.5000"))]
    );
    assert_eq!(balance(&db.pool, a).await, (text("-12.5000"), 1));
    assert_eq!(balance(&db.pool, b).await, (text("12.5000"), 1));
}

#[tokio::test]
async fn a_transfer_below_the_floor_is_refused_and_the_rest_of_the_batch_is_posted() {
    let db = TestDb::new().await;
    let outside = external(&db.pool, "outside", "USD").await;
    let (mine, yours) = (wallet(&db.pool, "USD").await, wallet(&db.pool, "USD").await);

    let outcomes = post(
        &db.pool,
        &[
            transfer(mine, yours, "1 USD"),
            transfer(outside, mine, "10 USD"),
            transfer(mine, yours, "10.01 USD"),
            transfer(mine, yours, "10 USD"),
            transfer(mine, yours, "0.01 USD"),
            transfer(yours, outside, "4 USD"),
        ],
    )
    .await
    .unwrap();

    let refusals: Vec<Option<TransferRefusal>> = outcomes.into_iter().map(Result::err).collect();
    let low = Some(TransferRefusal::InsufficientFunds);
    assert_eq!(refusals, [low, None, low, None, low, None]);
    assert_eq!(balance(&db.pool, mine).await, ("0.0000".into(), 2));
    assert_eq!(balance(&db.pool, yours).await, ("6.0000".into(), 2));
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 3);
}

#[tokio::test]
async fn a_refused_transfer_leaves_no_row() {
    let db = TestDb::new().await;
    let dollars = external(&db.pool, "a", "USD").await;
    let euros = external(&db.pool, "a", "EUR").await;
    let nobody = AccountId(Uuid::now_v7());

    let outcomes = post(
        &db.pool,
        &[
            transfer(dollars, dollars, "1 USD"),
            transfer(dollars, euros, "1 USD"),
            transfer(euros, dollars, "1 USD"),
            transfer(dollars, nobody, "1 USD"),
            transfer(nobody, dollars, "1 USD"),
        ],
    )
    .await
    .unwrap();

    let refusals: Vec<TransferRefusal> = outcomes.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(
        refusals,
        [
            TransferRefusal::SameAccount,
            TransferRefusal::CurrencyMismatch,
            TransferRefusal::CurrencyMismatch,
            TransferRefusal::AccountNotFound,
            TransferRefusal::AccountNotFound,
        ]
    );
    assert_eq!(balance(&db.pool, dollars).await, ("0.0000".into(), 0));
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 0);
    assert_eq!(count(&db.pool, "select count(*) from payments.entries").await, 0);
}

#[tokio::test]
async fn a_balance_out_of_range_is_refused_and_the_rest_of_the_batch_is_posted() {
    let db = TestDb::new().await;
    let (rich, poor) = (external(&db.pool, "a", "CLF").await, external(&db.pool, "b", "CLF").await);
    let other = external(&db.pool, "c", "CLF").await;
    // As far as numeric(28, 4) goes; no history that one could write leads there.
    sqlx::query(
        "update payments.accounts
         set balance = case id when $1 then 1 when $2 then -1 end * 999999999999999999999999.9998
         where id in ($1, $2)",
    )
    .bind(rich)
    .bind(poor)
    .execute(&db.pool)
    .await
    .unwrap();

    let outcomes = post(
        &db.pool,
        &[
            transfer(poor, rich, "0.0001 CLF"),
            transfer(poor, rich, "0.0001 CLF"),
            transfer(other, rich, "99999999999999.9999 CLF"),
            transfer(poor, other, "99999999999999.9999 CLF"),
            transfer(rich, other, "99999999999999.9999 CLF"),
        ],
    )
    .await
    .unwrap();

    let refusals: Vec<Option<TransferRefusal>> = outcomes.into_iter().map(Result::err).collect();
    let out = Some(TransferRefusal::BalanceOutOfRange);
    assert_eq!(refusals, [None, out, out, out, None]);
    assert_eq!(balance(&db.pool, rich).await, ("999999999900000000000000.0000".into(), 2));
    assert_eq!(balance(&db.pool, poor).await, ("-999999999999999999999999.9999".into(), 1));
    assert_eq!(balance(&db.pool, other).await, ("99999999999999.9999".into(), 1));
}

#[tokio::test]
async fn a_transaction_has_one_transfer_at_most() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let id = transaction(&mut conn, "a", "b", "5 USD").await;
    let (a, b) = (external(&db.pool, "a", "USD").await, external(&db.pool, "b", "USD").await);
    let settling = |id: TransactionId| NewTransfer {
        reason: Reason::Transaction(id),
        source: a,
        destination: b,
        money: money("5 USD"),
    };
    post(&db.pool, &[settling(id)]).await.unwrap();

    let again = post(&db.pool, &[settling(id)]).await;

    assert!(matches!(again, Err(LedgerError::TransactionHasTransfer(_))), "{again:?}");
    assert_eq!(balance(&db.pool, b).await, ("5.0000".into(), 1));
}

#[tokio::test]
async fn a_busy_account_is_written_once_per_batch() {
    let db = TestDb::new().await;
    let (a, b) = (external(&db.pool, "a", "USD").await, external(&db.pool, "b", "USD").await);
    let batch = vec![transfer(a, b, "1 USD"); 50];
    let mut tx = db.pool.begin().await.unwrap();

    transfers::post_many(&mut tx, &batch).await.unwrap();

    let updates: i64 = sqlx::query_scalar(
        "select n_tup_upd from pg_stat_xact_user_tables
         where relid = 'payments.accounts'::regclass",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(updates, 2);
    assert_eq!(balance(&db.pool, b).await, ("50.0000".into(), 50));
}

#[tokio::test]
async fn posting_nothing_is_no_error() {
    let db = TestDb::new().await;
    assert!(post(&db.pool, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_external_account_is_one_name_in_one_currency() {
    let db = TestDb::new().await;
    let dollars = external(&db.pool, "acme", "USD").await;
    let euros = external(&db.pool, "acme", "EUR").await;
    assert_ne!(dollars, euros);
    assert_ne!(external(&db.pool, "Acme", "USD").await, dollars, "names are compared by byte");
    assert_eq!(external(&db.pool, "acme", "USD").await, dollars);
}

#[tokio::test]
async fn accounts_are_opened_in_the_order_asked_however_often() {
    let db = TestDb::new().await;
    let known = external(&db.pool, "m", "USD").await;
    let mut tx = db.pool.begin().await.unwrap();

    let ids =
        accounts::open_external(&mut tx, &["z", "m", "a", "z"].map(in_dollars)).await.unwrap();

    tx.commit().await.unwrap();
    assert_eq!(ids[1], known);
    assert_eq!(ids[0], ids[3]);
    assert_eq!(ids[0], external(&db.pool, "z", "USD").await);
    assert_eq!(ids[2], external(&db.pool, "a", "USD").await);
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 3);
}
