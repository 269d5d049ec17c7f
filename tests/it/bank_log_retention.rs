//! Calls to the bank leave the log long after their orders are finished, and no others do.

use sqlx::PgPool;
use surety::jobs::history_keeper::{HistoryKeeper, HistoryRetention};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::{RETENTION, TestDb, doubt_the_clock, trust_the_clock};

const KEEP_DAYS: u16 = 100;

async fn prune(pool: &PgPool) -> u64 {
    prune_after(pool, KEEP_DAYS).await
}

async fn prune_after(pool: &PgPool, days: u16) -> u64 {
    let retention = HistoryRetention { bank_log_days: Some(days), ..RETENTION };
    HistoryKeeper { pool: pool.clone(), retention }.prune().await.unwrap().bank_calls
}

/// A call to the bank so many days ago, for an order that was finished then, or never was.
async fn call(pool: &PgPool, called: i32, finished: Option<i32>) -> i64 {
    call_for(pool, Uuid::now_v7(), called, finished).await
}

async fn call_for(pool: &PgPool, order: Uuid, called: i32, finished: Option<i32>) -> i64 {
    let insert = "
        insert into payments.orders
          (id, kind, owner_id, source_account_id, destination_account_id, amount, currency, status,
           created_at, finished_at)
        select $1, 'deposit', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 10, 'EUR',
          (case when $3::int is null then 'PROCESSING' else 'COMPLETED' end)
            ::payments.transaction_status,
          now() - make_interval(days => $2), now() - make_interval(days => $3)";
    sqlx::query(insert).bind(order).bind(called).bind(finished).execute(pool).await.unwrap();
    call_under(pool, &format!("surety-{order}"), called).await
}

async fn call_under(pool: &PgPool, effect_key: &str, called: i32) -> i64 {
    let insert = "
        insert into bank.calls
          (effect_key, operation, direction, amount, currency, started_at, ended_at, outcome,
           bank_reference)
        select $1, 'send', 'deposit', 10, 'EUR', at, at, 'booked', 'b-1'
        from (select now() - make_interval(days => $2)) as it (at)
        returning id";
    sqlx::query_scalar(insert).bind(effect_key).bind(called).fetch_one(pool).await.unwrap()
}

/// The latest end of an order whose calls may be missing, days ago; none where none is missing.
async fn missing_until(pool: &PgPool) -> Option<i32> {
    let until = "select extract(day from now() - nullif(finished_until, '-infinity'))::int
                 from bank.dropped_calls";
    sqlx::query_scalar(until).fetch_one(pool).await.unwrap()
}

async fn left(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("select id from bank.calls order by id").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn calls_of_orders_that_were_finished_long_ago_are_dropped() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    call(pool, 400, Some(399)).await;
    let of_unfinished = call(pool, 400, None).await;
    let of_finished_lately = call(pool, 400, Some(50)).await;
    let of_nothing = call_under(pool, "surety-1", 400).await;
    let dated_ahead = call(pool, -400, Some(-400)).await;
    call(pool, 101, Some(101)).await;
    let young = call(pool, 99, Some(99)).await;
    let behind = call(pool, 400, Some(400)).await;

    assert_eq!(prune(pool).await, 2);
    let kept = [of_unfinished, of_finished_lately, of_nothing, dated_ahead, young, behind];
    assert_eq!(left(pool).await, kept);
    assert_eq!(prune(pool).await, 0);
    assert_eq!(left(pool).await, kept);
    assert_eq!(missing_until(pool).await, Some(101));
}

/// Time goes on between looks, here by what is kept.
#[tokio::test]
async fn all_calls_of_an_order_leave_together_or_none() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let order = Uuid::now_v7();
    let key = format!("surety-{order}");
    let mut calls = vec![call_for(pool, order, 108, Some(102)).await];
    for days in [105, 103] {
        calls.push(call_under(pool, &key, days).await);
    }
    let late = Uuid::now_v7();
    let of_late = call_for(pool, late, 108, None).await;
    for (days, dropped) in [(110, 0), (107, 0), (104, 0), (103, 0), (101, 3)] {
        assert_eq!(prune_after(pool, days).await, dropped, "{days}");
        calls.truncate(if dropped == 0 { 3 } else { 0 });
        assert_eq!(left(pool).await, [&calls[..], &[of_late]].concat(), "{days}");
    }
    assert_eq!(missing_until(pool).await, Some(102));

    let last_of_late = call_under(pool, &format!("surety-{late}"), 100).await;
    let finish = "update payments.orders set status = 'COMPLETED', finished_at = $2 where id = $1";
    let finished_at = OffsetDateTime::now_utc() - time::Duration::days(100);
    sqlx::query(finish).bind(late).bind(finished_at).execute(pool).await.unwrap();
    assert_eq!(prune_after(pool, 50).await, 0, "its first call was passed before it was finished");
    assert_eq!(left(pool).await, [of_late, last_of_late]);
}

#[tokio::test]
async fn an_order_with_a_call_that_is_dated_ahead_holds_up_no_other() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let order = Uuid::now_v7();
    let first = call_for(pool, order, 102, Some(101)).await;
    let dated_ahead = call_under(pool, &format!("surety-{order}"), -400).await;
    call(pool, 101, Some(101)).await;
    assert_eq!(prune(pool).await, 1);
    assert_eq!(left(pool).await, [first, dated_ahead]);
}

#[tokio::test]
async fn where_all_are_kept_none_is_said_to_be_missing() {
    let db = TestDb::new().await;
    let of_unfinished = call(&db.pool, 400, None).await;
    assert_eq!(prune(&db.pool).await, 0);
    assert_eq!(left(&db.pool).await, [of_unfinished]);
    assert_eq!(missing_until(&db.pool).await, None);
}

#[tokio::test]
async fn more_than_a_step_is_dropped_and_none_while_the_clock_is_in_doubt() {
    let db = TestDb::new().await;
    call(&db.pool, 400, Some(400)).await;
    let many = "
        insert into bank.calls
          (effect_key, operation, direction, amount, currency, started_at, ended_at, outcome)
        select effect_key, 'enquire', direction, amount, currency, started_at, ended_at, 'pending'
        from bank.calls, generate_series(1, 2500)";
    sqlx::query(many).execute(&db.pool).await.unwrap();
    doubt_the_clock(&db.pool).await;
    assert_eq!(prune(&db.pool).await, 0);
    assert_eq!(left(&db.pool).await.len(), 2_501);

    trust_the_clock(&db.pool).await;
    assert_eq!(prune(&db.pool).await, 2_501);
    assert!(left(&db.pool).await.is_empty());
}

#[tokio::test]
async fn the_database_refuses_to_drop_any_other_call() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    let kept = [
        call(pool, 400, None).await,
        call(pool, 400, Some(30)).await,
        call(pool, 30, Some(30)).await,
        call(pool, 30, Some(400)).await,
        call_under(pool, "surety-1", 400).await,
        call_under(pool, &format!("surety-{}", Uuid::now_v7()), 400).await,
    ];
    let old = call(pool, 400, Some(32)).await;
    for id in kept {
        let delete = sqlx::query("delete from bank.calls where id = any ($1)");
        let refused = delete.bind([id, old]).execute(pool).await.unwrap_err();
        assert!(refused.to_string().contains("what has happened stays"), "{id}: {refused}");
    }
    let refused = sqlx::query("truncate bank.calls").execute(pool).await.unwrap_err();
    assert!(refused.to_string().contains("what has happened stays"), "{refused}");

    let delete = sqlx::query("delete from bank.calls where id = $1").bind(old);
    assert_eq!(delete.execute(pool).await.unwrap().rows_affected(), 1);
    assert_eq!(left(pool).await, kept);
    assert_eq!(missing_until(pool).await, Some(32), "whoever dropped it");
}
