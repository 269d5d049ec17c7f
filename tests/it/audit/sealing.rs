//! Every entry that commits is sealed once, whoever commits late, dies, or seals at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;
use surety::audit::sealing::Seal;
use surety::audit::{log_transaction, record};
use surety::jobs::audit_keeper::{seal, seal_all};

use super::{NewEntry, Subject, listed, sealed, verify, write};
use crate::support::ledger::count;
use crate::support::{App, Binary as _, TestDb, eventually_async};

async fn unsealed(db: &TestDb) -> i64 {
    count(&db.pool, "select count(*) from audit.unsealed()").await
}

#[tokio::test]
async fn an_entry_that_commits_late_is_sealed_later_and_never_skipped() {
    let db = TestDb::new().await;
    let late =
        |id: &str| [NewEntry::new("system", "transaction.completed", Subject::transaction(id))];
    let mut first = db.pool.begin().await.unwrap();
    record(&mut first, &late("late_1")).await.unwrap();
    write(&db.pool, 0, 5).await;
    let mut second = db.pool.begin().await.unwrap();
    record(&mut second, &late("late_2")).await.unwrap();
    write(&db.pool, 5, 5).await;
    // Sealed beyond both, more than once.
    for _ in 0..3 {
        seal_all(&db.pool).await.unwrap();
    }
    assert_eq!(verify(&db, &[]).await.sealed, 10);
    second.commit().await.unwrap();
    seal_all(&db.pool).await.unwrap();
    write(&db.pool, 10, 1).await;
    for _ in 0..3 {
        seal_all(&db.pool).await.unwrap();
    }
    first.commit().await.unwrap();
    seal_all(&db.pool).await.unwrap();

    let report = verify(&db, &[]).await;
    assert_eq!((report.sealed, report.unsealed, report.violations), (13, 0, 0));
    let order: Vec<i64> =
        sqlx::query_scalar("select entry_seq from audit.leaves order by position")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(order, [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 7, 13, 1]);
}

#[tokio::test]
async fn the_gap_of_a_transaction_that_was_rolled_back_is_given_up() {
    let db = TestDb::new().await;
    let mut undone = db.pool.begin().await.unwrap();
    log_transaction(&mut undone, "never", &json!({})).await.unwrap();
    write(&db.pool, 0, 1).await;
    seal_all(&db.pool).await.unwrap();
    let gaps = "select cardinality(gap_first)::bigint from audit.sealer";
    assert_eq!(count(&db.pool, gaps).await, 1);
    undone.rollback().await.unwrap();
    // Other databases of the server have transactions, too, and they count.
    eventually_async("the gap is closed", async || {
        seal_all(&db.pool).await.unwrap();
        count(&db.pool, gaps).await == 0
    })
    .await;
    assert_eq!(seal(&db.pool).await.unwrap(), Seal::Nothing);
    assert_eq!(verify(&db, &[]).await.violations, 0);
}

/// The planner takes each gap for a ninth of the table, and would rather read all of it in order.
#[tokio::test]
async fn gaps_among_many_entries_are_looked_into_by_index() {
    let db = TestDb::new().await;
    // While this is open, no gap is given up.
    let mut late = db.pool.begin().await.unwrap();
    log_transaction(&mut late, "late", &json!({})).await.unwrap();
    let many = "
        insert into audit.entries (actor, action, subject_kind, subject_id, data)
        select 'db:x', 'transaction.logged', 'transaction', n::text, '{}'
        from generate_series(1, 20000) as n
        where n % 100 > 0 or nextval('audit.entry_numbers') > 0";
    sqlx::query(many).execute(&db.pool).await.unwrap();
    seal_all(&db.pool).await.unwrap();
    let gaps = count(&db.pool, "select cardinality(gap_first)::bigint from audit.sealer").await;
    assert_eq!(gaps, 201);
    sqlx::query("analyze audit.entries").execute(&db.pool).await.unwrap();
    late.commit().await.unwrap();

    let mut tx = db.pool.begin().await.unwrap();
    let before = entries_read(&mut tx).await;
    let Seal::Sealed { entries, .. } = surety::audit::sealing::seal(&mut tx).await.unwrap() else {
        panic!("the late one is there");
    };
    assert_eq!(entries, 1);
    let read = entries_read(&mut tx).await - before;
    assert!(read < 100, "it read {read} rows");
}

/// The rows of the log that this session has read, as far as it has not told the server's
/// statistics of them yet.
async fn entries_read(conn: &mut PgConnection) -> i64 {
    let read = "
        select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables
        where relid = 'audit.entries'::regclass";
    sqlx::query_scalar(read).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn many_sealers_and_writers_at_once_seal_each_entry_once() {
    let db = TestDb::new().await;
    let writers = (0..4).map(|writer| {
        let pool = db.pool.clone();
        tokio::spawn(async move {
            for batch in 0..25 {
                let mut tx = pool.begin().await.unwrap();
                let id = format!("w{writer}b{batch}");
                log_transaction(&mut tx, &id, &json!({ "n": 1 })).await.unwrap();
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..8))).await;
                log_transaction(&mut tx, &id, &json!({ "n": 2 })).await.unwrap();
                match batch % 5 {
                    0 => tx.rollback().await.unwrap(),
                    _ => tx.commit().await.unwrap(),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let sealers: Vec<_> = (0..4)
        .map(|_| {
            let pool = db.pool.clone();
            tokio::spawn(async move {
                let mut sealed = 0;
                for _ in 0..80 {
                    if let Seal::Sealed { entries, .. } = seal(&pool).await.unwrap() {
                        sealed += entries;
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                sealed
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut by_sealers = 0;
    for sealer in sealers {
        by_sealers += sealer.await.unwrap();
    }
    seal_all(&db.pool).await.unwrap();
    let report = verify(&db, &[]).await;
    assert_eq!((report.sealed, report.unsealed, report.violations), (160, 0, 0));
    assert!(by_sealers > 0);
}

#[tokio::test]
async fn a_sealer_that_is_killed_leaves_a_log_that_the_next_one_goes_on_with() {
    let db = TestDb::new().await;
    let mut written = 0;
    for _ in 0..3 {
        let mut worker = App::command(["work"]).env("DATABASE_URL", &db.url).spawn();
        worker.wait_for_line("working").await;
        let before = count(&db.pool, "select count(*) from audit.leaves").await;
        // Until it has begun to seal, and then while it does: there is enough for many steps, but
        // no more than is sealed in time at the end, however late it begins.
        let enough = written + 4_000;
        while count(&db.pool, "select count(*) from audit.leaves").await == before {
            if written < enough {
                write(&db.pool, written, 200).await;
                written += 200;
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        worker.kill().await;
        let report = verify(&db, &[]).await;
        assert_eq!(report.findings, []);
    }
    let mut worker = App::command(["work"]).env("DATABASE_URL", &db.url).spawn();
    worker.wait_for_line("working").await;
    eventually_async("all is sealed", async || unsealed(&db).await == 0).await;
    let report = verify(&db, &[]).await;
    assert_eq!((report.sealed as usize, report.violations), (written, 0));
    worker.kill().await;
}

#[tokio::test]
async fn a_log_that_was_restored_elsewhere_goes_on_without_skipping_any() {
    let db = TestDb::new().await;
    let mut undone = db.pool.begin().await.unwrap();
    log_transaction(&mut undone, "never", &json!({})).await.unwrap();
    sealed(&db, 2).await;
    seal_all(&db.pool).await.unwrap();
    undone.rollback().await.unwrap();
    // As after a dump: the numbers of transactions have begun anew, and are far below the bound.
    let far = "update audit.sealer set gap_bound = array[9000000000000000000]";
    sqlx::query(far).execute(&db.pool).await.unwrap();
    write(&db.pool, 20, 10).await;
    seal_all(&db.pool).await.unwrap();
    let report = verify(&db, &[]).await;
    assert_eq!((report.sealed, report.unsealed, report.violations), (30, 0, 0));
}

#[tokio::test]
async fn rows_of_the_log_are_neither_changed_nor_removed() {
    let db = TestDb::new().await;
    sealed(&db, 30).await;
    for table in ["entries", "leaves", "subtrees", "heads"] {
        let column = match table {
            "entries" => "action",
            "leaves" => "leaf_hash",
            "subtrees" => "hash",
            _ => "root",
        };
        for statement in [
            format!("update audit.{table} set {column} = {column}"),
            format!("delete from audit.{table} where false"),
            format!("truncate audit.{table}"),
        ] {
            let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()));
            let refused = refused.execute(&db.pool).await.expect_err(&statement);
            let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
            assert_eq!(code, "23001", "{statement}");
        }
    }
    assert_eq!(verify(&db, &[]).await.sealed, 300);
}

#[tokio::test]
async fn sql_and_rust_log_a_transaction_and_what_is_no_entry_is_refused() {
    let db = TestDb::new().await;
    let by_sql = "select audit.log_transaction('txn_1', '{\"a\": 1.50}')";
    sqlx::query(by_sql).execute(&db.pool).await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    log_transaction(&mut conn, "txn_1", &json!({ "b": 2 })).await.unwrap();
    let entries = listed(&db).await;
    let subjects: BTreeSet<&str> =
        entries.iter().map(|entry| entry["subject_id"].as_str().unwrap()).collect();
    assert_eq!((entries.len(), subjects), (2, BTreeSet::from(["txn_1"])));
    assert_eq!(entries[0]["data"].to_string(), "{\"a\":1.5}");
    assert!(entries[0]["actor"].as_str().unwrap().starts_with("db:"));
    assert_eq!((&entries[1]["actor"], &entries[1]["data"]), (&json!("system"), &json!({"b": 2})));

    for wrong in ["'', 'a.b', 'k', 'i'", "'a', 'A.b', 'k', 'i'", "'a', 'a.b', 'k', ''"] {
        let insert = format!(
            "insert into audit.entries (actor, action, subject_kind, subject_id) values ({wrong})"
        );
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&db.pool).await;
        assert!(refused.is_err(), "{wrong}");
    }
}
