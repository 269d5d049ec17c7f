//! The stream of events: each is taken once, in order, however late it is committed.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use surety::events::reader::{self, Peeked, Start};
use surety::events::{self, EventType, NewEvent};
use surety::ids::EventId;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::rows_read;
use crate::support::{TestDb, eventually_async as eventually};

const READER: &str = "test";

async fn record(conn: &mut PgConnection, subject: &str) {
    let event = NewEvent {
        id: EventId(Uuid::now_v7()),
        event_type: EventType::TransactionCompleted,
        subject: subject.to_owned(),
        body: "{}".to_owned(),
        occurred_at: OffsetDateTime::now_utc(),
        trace_context: None,
    };
    events::record(conn, &[event]).await.unwrap();
}

async fn take(pool: &PgPool, limit: u16) -> Vec<String> {
    let mut tx = pool.begin().await.unwrap();
    let taken = events::take(&mut tx, READER, limit).await.unwrap();
    tx.commit().await.unwrap();
    taken.into_iter().map(|event| event.subject).collect()
}

/// A database with a reader that has nothing before it.
async fn with_reader() -> TestDb {
    let db = TestDb::new().await;
    assert!(take(&db.pool, 1).await.is_empty());
    db
}

#[tokio::test]
async fn what_is_committed_late_is_taken_late_and_never_passed_over() {
    let db = with_reader().await;
    let mut late = db.pool.begin().await.unwrap();
    record(&mut late, "late").await;
    record(&mut db.pool.acquire().await.unwrap(), "early").await;

    assert_eq!(take(&db.pool, 10).await, ["early"]);
    assert!(take(&db.pool, 10).await.is_empty());
    late.commit().await.unwrap();
    record(&mut db.pool.acquire().await.unwrap(), "later").await;
    assert_eq!(take(&db.pool, 10).await, ["late", "later"]);
    assert!(take(&db.pool, 10).await.is_empty());
}

#[tokio::test]
async fn a_take_that_is_not_full_leaves_nothing_that_was_there_before_it() {
    let db = with_reader().await;
    for subject in ["1", "2", "3"] {
        record(&mut db.pool.acquire().await.unwrap(), subject).await;
    }
    assert_eq!(take(&db.pool, 2).await, ["1", "2"]);
    // Not in the snapshot that is half taken.
    record(&mut db.pool.acquire().await.unwrap(), "4").await;

    assert_eq!(take(&db.pool, 10).await, ["3", "4"]);

    for subject in ["5", "6"] {
        record(&mut db.pool.acquire().await.unwrap(), subject).await;
    }
    assert_eq!(take(&db.pool, 2).await, ["5", "6"]);
    record(&mut db.pool.acquire().await.unwrap(), "7").await;
    assert_eq!(take(&db.pool, 10).await, ["7"]);
}

/// Writes events by so many transactions, a hundred by each.
async fn write_hundreds(pool: &PgPool, transactions: usize) {
    let write = "
        insert into events.events (id, type, subject, body, occurred_at)
        select gen_random_uuid(), 'transaction.completed', n::text, '{}', now()
        from generate_series(1, 100) as n";
    for _ in 0..transactions {
        sqlx::query(write).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn the_cost_of_a_take_does_not_grow_with_what_waits() {
    let db = with_reader().await;
    sqlx::query("alter table events.events set (autovacuum_enabled = off)")
        .execute(&db.pool)
        .await
        .unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    reader::begin(&mut conn, "relay:test", Start::Now).await.unwrap();
    let held = reader::hold(&mut conn, "relay:test", Duration::from_secs(600)).await.unwrap();
    let held = held.unwrap();
    // A piece is what came between two snapshots that were kept, and of each way one is read.
    let cheap_takes = async || {
        let mut tx = db.pool.begin().await.unwrap();
        let before = rows_read(&mut tx, "events.events").await;
        assert_eq!(events::take(&mut tx, READER, 50).await.unwrap().len(), 50);
        let Peeked::Events(peeked) = held.peek(&mut tx, 50).await.unwrap() else {
            panic!("it is held");
        };
        assert!(held.move_on(&mut tx, peeked.last().unwrap().seq).await.unwrap());
        let read = rows_read(&mut tx, "events.events").await - before;
        assert!((100..=2_500).contains(&read), "{read} rows were read");
        tx.commit().await.unwrap();
    };
    write_hundreds(&db.pool, 200).await;
    for _ in 0..20 {
        cheap_takes().await;
    }
    sqlx::query("analyze events.events").execute(&db.pool).await.unwrap();
    for _ in 0..20 {
        cheap_takes().await;
    }
    assert_eq!(take(&db.pool, 30_000).await.len(), 18_000);
}

#[tokio::test]
async fn snapshots_of_before_a_dump_was_restored_are_not_followed() {
    let db = with_reader().await;
    let ahead = "
        insert into events.snapshots
        select n, format('%1$s:%1$s:', 9000000000 + n)::pg_snapshot
        from generate_series(1, 10) as n";
    sqlx::query(ahead).execute(&db.pool).await.unwrap();
    record(&mut db.pool.acquire().await.unwrap(), "1").await;

    assert_eq!(take(&db.pool, 10).await, ["1"]);
    let left: i64 = sqlx::query_scalar("select count(*) from events.snapshots")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// Transactions that have their number long before they write, and commit long after it, or never.
async fn write_in_disorder(pool: PgPool, name: usize) -> Vec<String> {
    let mut committed = Vec::new();
    let pause = async || tokio::time::sleep(Duration::from_micros(fastrand::u64(..5000))).await;
    for number in 0..60 {
        let mut tx = pool.begin().await.unwrap();
        if fastrand::bool() {
            sqlx::query("select pg_current_xact_id()").execute(&mut *tx).await.unwrap();
        }
        pause().await;
        let subjects: Vec<String> =
            (0..fastrand::usize(1..4)).map(|part| format!("{name} {number} {part}")).collect();
        for subject in &subjects {
            record(&mut tx, subject).await;
            pause().await;
        }
        match fastrand::u8(..10) {
            0 => tx.rollback().await.unwrap(),
            _ => {
                tx.commit().await.unwrap();
                committed.extend(subjects);
            }
        }
    }
    committed.sort();
    committed
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_write_in_disorder_each_event_is_read_once() {
    let db = with_reader().await;
    // Many more snapshots than otherwise, so that readers stop at many of them.
    let often = "
        create or replace trigger events_keep_snapshots after insert on events.events
        for each row when (new.seq % 3 = 0) execute function events.keep_snapshot()";
    sqlx::query(often).execute(&db.pool).await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(reader::begin(&mut conn, "relay:test", Start::Now).await.unwrap());
    let held = reader::hold(&mut conn, "relay:test", Duration::from_secs(600)).await.unwrap();
    let held = held.unwrap();
    let writers: Vec<_> =
        (0..5).map(|name| tokio::spawn(write_in_disorder(db.pool.clone(), name))).collect();

    let (mut taken, mut peeked) = (Vec::new(), Vec::new());
    loop {
        let is_over = writers.iter().all(JoinHandle::is_finished);
        let before = taken.len() + peeked.len();
        taken.extend(take(&db.pool, fastrand::u16(1..8)).await);
        let Peeked::Events(events) = held.peek(&mut conn, fastrand::u16(1..8)).await.unwrap()
        else {
            panic!("it is held");
        };
        let seen = events.len().min(fastrand::usize(1..8));
        if let Some(last) = events[..seen].last() {
            assert!(held.move_on(&mut conn, last.seq).await.unwrap());
        }
        peeked.extend(events.into_iter().take(seen).map(|event| event.subject));
        if is_over && taken.len() + peeked.len() == before {
            break;
        }
    }
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    for read in [&mut taken, &mut peeked, &mut written] {
        read.sort();
    }
    assert_eq!(taken, written);
    assert_eq!(peeked, written);
}

#[tokio::test]
async fn a_take_that_is_rolled_back_has_taken_nothing() {
    let db = with_reader().await;
    record(&mut db.pool.acquire().await.unwrap(), "1").await;
    let mut tx = db.pool.begin().await.unwrap();
    assert_eq!(events::take(&mut tx, READER, 10).await.unwrap().len(), 1);
    tx.rollback().await.unwrap();

    assert_eq!(take(&db.pool, 10).await, ["1"]);
}

#[tokio::test]
async fn a_database_that_was_restored_from_a_dump_goes_on_behind_what_was_taken() {
    let db = with_reader().await;
    record(&mut db.pool.acquire().await.unwrap(), "before").await;
    assert_eq!(take(&db.pool, 10).await, ["before"]);
    // It counts transactions anew, so that what was seen lies in the future.
    sqlx::query("update events.readers set seen = '9000000000:9000000000:' where name = $1")
        .bind(READER)
        .execute(&db.pool)
        .await
        .unwrap();
    record(&mut db.pool.acquire().await.unwrap(), "after").await;

    // One of before, whose transaction had a number that is still to come.
    sqlx::query(
        "insert into events.events (id, type, subject, body, occurred_at, xid)
         select gen_random_uuid(), 'transaction.completed', 'old', '{}', now(),
           ((pg_current_xact_id()::text::bigint) + 20)::text::xid8",
    )
    .execute(&db.pool)
    .await
    .unwrap();

    let mut late = db.pool.begin().await.unwrap();
    record(&mut late, "late").await;
    record(&mut db.pool.acquire().await.unwrap(), "last").await;

    let taken = take(&db.pool, 10).await;
    assert!(taken.contains(&"after".to_owned()) && taken.contains(&"old".to_owned()), "{taken:?}");
    let mut again = Vec::new();
    for _ in 0..40 {
        sqlx::query("select pg_current_xact_id()").execute(&db.pool).await.unwrap();
        again.extend(take(&db.pool, 10).await);
    }
    // The old number may be given to a transaction that another test has open at the moment.
    assert!(again.is_empty() || again == ["old"], "told again: {again:?}");
    late.commit().await.unwrap();
    record(&mut db.pool.acquire().await.unwrap(), "new").await;
    assert_eq!(take(&db.pool, 10).await, ["late", "new"]);
}

#[tokio::test]
async fn an_event_that_got_its_number_first_is_not_passed_over_by_who_reads_from_the_beginning() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    events::reader::begin(&mut conn, READER, events::reader::Start::Beginning).await.unwrap();
    // The first number of a sequence, and each 32nd after it, comes with a transaction's number.
    record(&mut conn, "first").await;
    // It has its number, and nothing else yet, when the next one is there and taken.
    let slow = sqlx::query(
        "insert into events.events (id, type, subject, body, occurred_at)
         values (
           case when pg_sleep(1.5)::text is not null then gen_random_uuid() end,
           'transaction.completed', 'slow', '{}', now()
         )",
    );
    let slow = tokio::spawn({
        let pool = db.pool.clone();
        async move { slow.execute(&pool).await }
    });
    eventually("it has its number", async || {
        let used = "select last_value = 2 from events.events_seq_seq";
        sqlx::query_scalar(used).fetch_one(&db.pool).await.unwrap()
    })
    .await;
    record(&mut conn, "quick").await;

    assert_eq!(take(&db.pool, 10).await, ["first", "quick"]);
    assert!(take(&db.pool, 10).await.is_empty());
    slow.await.unwrap().unwrap();
    assert_eq!(take(&db.pool, 10).await, ["slow"]);
}

#[tokio::test]
async fn what_was_told_stays() {
    let db = with_reader().await;
    record(&mut db.pool.acquire().await.unwrap(), "1").await;
    for statement in [
        "update events.events set body = '[]'",
        "delete from events.events",
        "truncate events.events",
    ] {
        let refused = sqlx::query(statement).execute(&db.pool).await.unwrap_err();
        assert!(refused.to_string().contains("what was told stays"), "{refused}");
    }
}
