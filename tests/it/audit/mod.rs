//! The audit log: sealing, tampering, proofs, and the entries of what operators do.

mod exports;
mod operators;
mod proofs;
mod sealing;
mod tampering;

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use surety::audit::{NewEntry, Subject, record};
use surety::jobs::audit_keeper::seal_all;
use surety::operations::audit::{self, Finding, Head, Report};

use crate::support::{App, Binary as _, TestDb};

/// Entries about so many transactions, one commit.
async fn write(pool: &PgPool, from: usize, count: usize) {
    let mut tx = pool.begin().await.unwrap();
    let entry = |number: usize| {
        let subject = Subject::transaction(&format!("txn_{number}"));
        NewEntry::new("system", "transaction.completed", subject)
            .before(&json!({ "status": "PROCESSING" }))
            .after(&json!({ "status": "COMPLETED", "amount": "12.50 é" }))
    };
    let entries: Vec<NewEntry> = (from..from + count).map(entry).collect();
    record(&mut tx, &entries).await.unwrap();
    tx.commit().await.unwrap();
}

/// Writes and seals so many batches of ten, and returns the heads.
async fn sealed(db: &TestDb, batches: usize) -> Vec<Head> {
    let mut heads = Vec::new();
    for batch in 0..batches {
        write(&db.pool, batch * 10, 10).await;
        heads.push(seal_all(&db.pool).await.unwrap().unwrap());
    }
    heads
}

async fn verify(db: &TestDb, exported: &[Head]) -> Report {
    let mut conn = db.pool.acquire().await.unwrap();
    audit::verify(&mut conn, exported, Duration::from_secs(60)).await.unwrap()
}

async fn findings(db: &TestDb, exported: &[Head]) -> Vec<Finding> {
    verify(db, exported).await.findings
}

/// What a superuser can do to the database.
async fn tamper(db: &TestDb, statements: &str) {
    let mut conn = PgConnection::connect(&db.url).await.unwrap();
    let statements = format!("set session_replication_role = replica; {statements}");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut conn).await.unwrap();
}

/// `app` with these arguments.
async fn app(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    let command = App::command(args).env("DATABASE_URL", &db.url).env("USER", "ada");
    let (status, output) = command.run().await;
    (status.code(), output)
}

/// All entries, the oldest first, as `app audit list` gives them.
async fn listed(db: &TestDb) -> Vec<Value> {
    let mut conn = db.pool.acquire().await.unwrap();
    let entries = audit::list(&mut conn, &audit::AuditFilter::default(), None, 1000).await.unwrap();
    entries.iter().rev().map(|entry| serde_json::to_value(entry).unwrap()).collect()
}
