//! Files that are damaged, changed, missing or of somebody else.

use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::{age, archive_all, files_in, problems, settled};
use crate::support::TestDb;

fn lines_of(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(path: &Path, lines: &[Value]) {
    let mut file = GzEncoder::new(std::fs::File::create(path).unwrap(), Default::default());
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    file.finish().unwrap();
}

/// A change of the lines of a file, and the word with which it is found without a database.
type Change = (&'static str, fn(&mut Vec<Value>));

const CHANGES: [Change; 15] = [
    ("no end", |lines| drop(lines.pop())),
    ("line 1 ", |lines| drop(lines.remove(0))),
    ("line 11", |lines| drop(lines.remove(1))),
    ("the file says", |lines| lines.last_mut().unwrap()["end"]["transfers"] = 9.into()),
    ("line 15", |lines| lines.push(lines[0].clone())),
    ("line 2 ", |lines| lines.insert(1, lines[0].clone())),
    ("line 2:", |lines| lines[1] = serde_json::json!({ "transfer": { "id": 7 } })),
    ("line 2:", |lines| lines[1] = Value::from("x".repeat(100_000))),
    ("transfer ", |lines| lines[2] = lines[1].clone()),
    ("transfer ", |lines| lines[1]["transfer"]["amount"] = "-1".into()),
    ("account ", |lines| lines[1]["transfer"]["amount"] = "1.00".into()),
    ("transfer ", |lines| lines[1]["transfer"]["currency"] = "EUR".into()),
    ("transfer ", |lines| lines[0]["header"]["dated_before"] = "1999-01-01T00:00:00Z".into()),
    ("account ", |lines| lines[1]["transfer"]["source"]["version"] = i64::MAX.into()),
    ("account ", |lines| {
        let account = lines.iter_mut().find(|line| line.get("account").is_some()).unwrap();
        account["account"]["closing"]["balance"] = "79228162514264337593543950335".into();
    }),
];

#[tokio::test]
async fn whatever_is_changed_in_a_file_is_found_without_a_database() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 4).await;
    age(&db.pool, 100).await;
    archive_all(&db.pool, folder.path(), 100).await;
    let file = files_in(folder.path()).remove(0);
    let good = lines_of(&file);
    assert_eq!(good.len(), 14, "a header, four transfers, eight accounts, an end");
    let other = folder.path().join("changed");
    for (word, change) in CHANGES {
        let mut lines = good.clone();
        change(&mut lines);
        write(&other, &lines);
        let mut prover = surety::operations::archives::Prover::default();
        let proof = prover.prove(&other, None).await.unwrap();
        assert!(proof.problems.iter().any(|it| it.contains(word)), "{word}: {proof:?}");
    }
    let bytes = std::fs::read(&file).unwrap();
    let twice = bytes.repeat(2);
    let more = [&bytes, b"more".as_slice()].concat();
    for bad in [&bytes[..bytes.len() / 2], &bytes[..0], b"not gzip", &twice, &more] {
        std::fs::write(&other, bad).unwrap();
        let mut prover = surety::operations::archives::Prover::default();
        assert_eq!(prover.prove(&other, None).await.unwrap().problems.len(), 1);
    }
}

#[tokio::test]
async fn a_file_that_adds_up_but_is_another_is_found_by_the_database_and_the_audit_log() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 8).await;
    age(&db.pool, 100).await;
    archive_all(&db.pool, folder.path(), 4).await;
    let files = files_in(folder.path());
    assert_eq!(problems(&db.pool, &files).await, [""; 0]);

    // Another transaction, which no balance tells.
    let good = std::fs::read(&files[0]).unwrap();
    let mut lines = lines_of(&files[0]);
    lines[1]["transfer"]["transaction_id"] = "another".into();
    write(&files[0], &lines);
    let found = problems(&db.pool, &files).await.join("\n");
    for words in [
        "archive 1 of the database has the hash",
        "the audit log does not know this file of archive 1",
        "is not its transaction's",
        "archive 1 had another file when this was made",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    std::fs::write(&files[0], good).unwrap();

    // A part of them is proved as far as it goes.
    assert_eq!(problems(&db.pool, &files[1..]).await, [""; 0]);
    assert_eq!(problems(&db.pool, &files[..1]).await, [""; 0]);
    let other = TestDb::new().await;
    let found = problems(&other.pool, &files[..1]).await.join("\n");
    assert!(found.contains("the database has no archive 1"), "{found}");
}

#[tokio::test]
async fn what_the_database_says_of_an_archive_is_compared_with_its_file() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 8).await;
    age(&db.pool, 100).await;
    archive_all(&db.pool, folder.path(), 100).await;
    let files = files_in(folder.path());
    for spoil in [
        "update payments.archived_transactions set last = last - 1",
        "update payments.archived_transactions set last = last + 2",
        "update payments.archives set transfers = transfers + 1",
    ] {
        let spoil = format!(
            "begin; set local session_replication_role = replica; {spoil}; set local \
             session_replication_role = origin; commit"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(spoil)).execute(&db.pool).await.unwrap();
        let found = problems(&db.pool, &files).await;
        assert_eq!(found, ["archive 1 of the database has other transactions"]);
    }
    assert!(super::broken(&db.pool).await.contains(&"archives-add-up"));
}

#[tokio::test]
async fn a_balance_that_is_carried_forward_is_compared_with_the_files() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 8).await;
    age(&db.pool, 100).await;
    archive_all(&db.pool, folder.path(), 100).await;
    let spoil = "
        begin;
        set local session_replication_role = replica;
        update payments.carried_forward set balance = balance + 1
        where account_id = (select account_id from payments.carried_forward limit 1);
        commit";
    sqlx::raw_sql(spoil).execute(&db.pool).await.unwrap();
    let found = problems(&db.pool, &files_in(folder.path())).await;
    assert!(found[0].contains("carries another balance forward"), "{found:?}");
    let broken = super::broken(&db.pool).await;
    for name in ["balances-are-sums-of-entries", "archives-add-up"] {
        assert!(broken.contains(&name), "{broken:?}");
    }
}
