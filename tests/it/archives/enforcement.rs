//! The database refuses what is no archive, whoever asks.

use super::{age, archive_all, settled};
use crate::support::TestDb;

/// An archive of everything, written by hand, by a clock that is a year ahead.
const FORGED: &str = "
    insert into payments.archives
      (number, dated_before, transfers, file_name, file_sha256, made_at)
    values
      (8, now() + interval '1 day', 1, 'x', sha256('x'), now() + interval '1 year'),
      (9, now() + interval '1 day', 1, 'x', sha256('x'), now() + interval '1 year');
    insert into payments.archived_transactions (first, last, archive) values (1, 100, 9);";

/// What each account carries forward, by hand.
macro_rules! carried {
    ($where:literal) => {
        concat!(
            "insert into payments.carried_forward
             select distinct on (account_id) account_id, account_version, balance_after, 9
             from payments.entries where ",
            $where,
            " order by account_id, account_version desc;"
        )
    };
}

/// What is refused, on a ledger with four old transfers and four young ones, and the reason.
const REFUSED: [(&str, &str); 14] = [
    ("delete from payments.entries", "what has happened stays"),
    ("delete from payments.transfers", "what has happened stays"),
    ("truncate payments.entries", "what has happened stays"),
    ("truncate payments.transfers, payments.entries", "what has happened stays"),
    (
        "insert into payments.carried_forward
         select account_id, 1, balance_after + 1, 9 from payments.entries
         where account_version = 1",
        "is the balance after one of its entries",
    ),
    (
        // With an archive that is not the newest.
        "insert into payments.carried_forward
         select account_id, 1, balance_after, 8 from payments.entries where account_version = 1",
        "is the balance after one of its entries",
    ),
    (
        // A wallet's.
        "update payments.accounts
         set kind = 'wallet', owner_id = id, external_ref = null, floor = 0",
        "what has happened stays",
    ),
    (
        // What is young, whatever the archive says.
        concat!(carried!("true"), "delete from payments.entries"),
        "what has happened stays",
    ),
    (
        // One side.
        concat!(
            carried!("created_at < now() - interval '40 days'"),
            "delete from payments.entries
             where created_at < now() - interval '40 days' and amount > 0"
        ),
        "both sides of a transfer go",
    ),
    (
        // Not all that is carried forward.
        concat!(
            carried!("created_at < now() - interval '40 days'"),
            "delete from payments.entries
             where transfer_id = (select id from payments.transfers order by id limit 1)"
        ),
        "are in the ledger",
    ),
    (
        // All entries that are old, and no transfer.
        concat!(
            carried!("created_at < now() - interval '40 days'"),
            "delete from payments.entries where created_at < now() - interval '40 days'"
        ),
        "transfers of archive 9 are in the ledger",
    ),
    (
        // The entries stay.
        "delete from payments.transfers where created_at < now() - interval '40 days'",
        "what has happened stays",
    ),
    (
        "insert into payments.archived_transactions (first, last, archive) values (100, 101, 8)",
        "archived_transactions_are_in_one_archive",
    ),
    ("update payments.archives set file_sha256 = sha256('y')", "what has happened stays"),
];

#[tokio::test]
async fn an_archive_of_what_is_young_is_refused() {
    let db = TestDb::new().await;
    let young = "
        insert into payments.archives (number, dated_before, transfers, file_name, file_sha256)
        values (1, now() - interval '30 days', 1, 'x', sha256('x'))";
    let refused = sqlx::query(young).execute(&db.pool).await.unwrap_err().to_string();
    assert!(refused.contains("archives_are_of_what_is_old"), "{refused}");
}

#[tokio::test]
async fn what_is_no_whole_archive_is_refused() {
    let db = TestDb::new().await;
    settled(&db.pool, 4).await;
    age(&db.pool, 100).await;
    settled(&db.pool, 4).await;
    for (statements, reason) in REFUSED {
        let all = format!("begin; {FORGED} {statements}; commit");
        let mut conn = db.pool.acquire().await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(&mut *conn).await;
        sqlx::raw_sql("rollback").execute(&mut *conn).await.unwrap();
        let refused = done.expect_err(statements).to_string();
        assert!(refused.contains(reason), "{statements}: {refused}");
    }
    // Without a word to the database, nothing at all is deleted.
    for table in ["entries", "transfers"] {
        let delete = format!("delete from payments.{table}");
        sqlx::query(sqlx::AssertSqlSafe(delete)).execute(&db.pool).await.unwrap_err();
    }
}

#[tokio::test]
async fn what_is_carried_forward_only_goes_forward() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 4).await;
    age(&db.pool, 100).await;
    archive_all(&db.pool, folder.path(), 100).await;
    settled(&db.pool, 4).await;
    for refused in [
        "delete from payments.archives",
        "delete from payments.archived_transactions",
        "update payments.archived_transactions set last = last + 1",
        "update payments.carried_forward set version = version - 1",
        "update payments.carried_forward set balance = 0, archive = archive",
        "update payments.carried_forward set version = version + 1, archive = archive",
        "delete from payments.carried_forward",
        "truncate payments.carried_forward",
    ] {
        let refused = sqlx::query(refused).execute(&db.pool).await.unwrap_err();
        assert!(refused.to_string().contains("what has happened stays"), "{refused}");
    }
}
