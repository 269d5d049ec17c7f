//! Bodies of inbound webhooks are dropped after their time, and their hashes stay.

use bytes::Bytes;
use sqlx::PgPool;
use surety::jobs::history_keeper::{HistoryKeeper, HistoryRetention};
use surety::money::{Amount, Currency, Money};
use surety::operations::conflicts::{self, ConflictId};
use surety::payments::transactions::{self, Body, NewTransaction, Recorded};

use crate::support::{RETENTION, TestDb, doubt_the_clock, trust_the_clock};

const KEEP_DAYS: u16 = 100;

async fn prune(pool: &PgPool) -> u64 {
    let retention = HistoryRetention { bodies_days: Some(KEEP_DAYS), ..RETENTION };
    HistoryKeeper { pool: pool.clone(), retention }.prune().await.unwrap().bodies
}

/// A transaction that was received so many days ago, with its id as its body.
async fn received(pool: &PgPool, id: &str, days: i32, status: &str) {
    let insert = "
        insert into payments.transactions
          (transaction_id, source_account, destination_account, amount, currency, body, created_at,
           status, processed_at, failure_reason)
        select $1, 'acc_anna', 'acc_ben', 10, 'EUR', $1::bytea, now() - make_interval(days => $2),
          $3::payments.transaction_status,
          case when $3 in ('COMPLETED', 'FAILED') then now() end,
          case when $3 = 'FAILED' then 'same_account' end";
    sqlx::query(insert).bind(id).bind(days).bind(status).execute(pool).await.unwrap();
}

/// A later content of the transaction, and the decision over it, if there is one.
async fn conflict(pool: &PgPool, id: &str, resolution: Option<&str>) -> ConflictId {
    let insert = "
        insert into payments.transaction_conflicts
          (transaction_id, body, body_sha256, resolution, resolved_by, resolve_reason, resolved_at)
        select $1, 'other', sha256('other'), $2, by.who, by.who,
          case when $2 is not null then now() end
        from (select case when $2 is not null then 'ada' end as who) as by
        returning id";
    ConflictId(sqlx::query_scalar(insert).bind(id).bind(resolution).fetch_one(pool).await.unwrap())
}

/// The ids of those that have their body.
async fn with_body(pool: &PgPool) -> Vec<String> {
    let ids = "select transaction_id from payments.transactions where body is not null order by id";
    sqlx::query_scalar(ids).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn bodies_of_what_is_old_and_final_are_dropped_and_their_hashes_stay() {
    let db = TestDb::new().await;
    let pool = &db.pool;
    received(pool, "completed", 400, "COMPLETED").await;
    received(pool, "unfinished", 400, "PROCESSING").await;
    received(pool, "failed", 400, "FAILED").await;
    received(pool, "open", 400, "COMPLETED").await;
    let open = conflict(pool, "open", None).await;
    received(pool, "decided", 400, "COMPLETED").await;
    let decided = conflict(pool, "decided", Some("kept")).await;
    received(pool, "dated ahead", -400, "COMPLETED").await;
    received(pool, "after it", 400, "COMPLETED").await;
    received(pool, "young", 99, "COMPLETED").await;
    received(pool, "behind", 400, "COMPLETED").await;

    assert_eq!(prune(pool).await, 4);
    let kept = ["unfinished", "open", "dated ahead", "young", "behind"];
    assert_eq!(with_body(pool).await, kept);
    assert_eq!(prune(pool).await, 0);

    let mut conn = pool.acquire().await.unwrap();
    let hash: Vec<u8> =
        sqlx::query_scalar("select sha256('failed')").fetch_one(&mut *conn).await.unwrap();
    let body = transactions::body_of(&mut conn, "failed").await.unwrap();
    assert_eq!(body, Some(Body::Dropped(hash)));
    let body = transactions::body_of(&mut conn, "young").await.unwrap();
    assert_eq!(body, Some(Body::Kept(b"young".to_vec())));
    let view = conflicts::find(&mut conn, open).await.unwrap().unwrap();
    assert_eq!((view.ours.body.as_str(), view.our_dropped_body_sha256), ("open", None));
    let view = conflicts::find(&mut conn, decided).await.unwrap().unwrap();
    let hash = view.our_dropped_body_sha256.expect("it was dropped");
    assert!(view.ours.body.is_empty() && hash.len() == 64, "{hash}");
}

#[tokio::test]
async fn what_comes_again_after_its_body_was_dropped_is_told_by_its_content() {
    let db = TestDb::new().await;
    received(&db.pool, "txn_1", 400, "COMPLETED").await;
    assert_eq!(prune(&db.pool).await, 1);
    let again = |amount: &str| NewTransaction {
        transaction_id: "txn_1".to_owned(),
        source_account: "acc_anna".to_owned(),
        destination_account: "acc_ben".to_owned(),
        money: Money::new(Amount::parse(amount).unwrap(), Currency::parse("EUR").unwrap()).unwrap(),
        body: Bytes::from_static(b"{}"),
    };
    let (same, other) = (again("10.00"), again("11"));
    let mut conn = db.pool.acquire().await.unwrap();
    let recorded = transactions::record_many(&mut conn, &[&same, &other]).await.unwrap();
    assert_eq!(recorded, [Recorded::Duplicate, Recorded::Conflict]);
}

#[tokio::test]
async fn more_than_a_step_is_dropped_and_none_while_the_clock_is_in_doubt() {
    let db = TestDb::new().await;
    let many = "
        insert into payments.transactions
          (transaction_id, source_account, destination_account, amount, currency, body, created_at,
           status, processed_at)
        select n::text, 'a', 'b', 1, 'EUR', '{}', now() - interval '400 days', 'COMPLETED', now()
        from generate_series(1, 2500) as n";
    sqlx::query(many).execute(&db.pool).await.unwrap();
    doubt_the_clock(&db.pool).await;
    assert_eq!(prune(&db.pool).await, 0);
    assert_eq!(with_body(&db.pool).await.len(), 2_500);

    trust_the_clock(&db.pool).await;
    assert_eq!(prune(&db.pool).await, 2_500);
    assert!(with_body(&db.pool).await.is_empty());
}

#[tokio::test]
async fn nothing_else_changes_or_drops_a_body() {
    let db = TestDb::new().await;
    received(&db.pool, "old", 400, "COMPLETED").await;
    received(&db.pool, "young", 29, "COMPLETED").await;
    received(&db.pool, "unfinished", 400, "PROCESSING").await;
    for (id, change) in [
        ("old", "body = 'other'"),
        ("old", "body = null, body_sha256 = sha256('other')"),
        ("old", "body = null"),
        ("old", "body_sha256 = sha256(body)"),
        ("young", "body = null, body_sha256 = sha256(body)"),
        ("unfinished", "body = null, body_sha256 = sha256(body)"),
    ] {
        let update =
            format!("update payments.transactions set {change} where transaction_id = '{id}'");
        let refused = sqlx::query(sqlx::AssertSqlSafe(update)).execute(&db.pool).await.unwrap_err();
        assert!(
            refused.to_string().contains("what has happened stays"),
            "{id} {change}: {refused}"
        );
    }
    assert_eq!(prune(&db.pool).await, 1);
    let back = "update payments.transactions set body = 'old', body_sha256 = null where id = 1";
    let refused = sqlx::query(back).execute(&db.pool).await.unwrap_err();
    assert!(refused.to_string().contains("what has happened stays"), "{refused}");
    assert_eq!(with_body(&db.pool).await, ["young", "unfinished"]);
}
