//! `app_ledger_imbalance`: every transfer since the last verification, and what that one found.

use sqlx::PgPool;
use surety::metrics::{Family, Value};
use surety::operations::figures::{self, LedgerMark};

use crate::support::{App, Binary as _, TestDb};

/// Writes so many transfers of one unit of EUR, as of so many seconds ago, whose entries leave out
/// a part. The triggers and constraints that forbid it are off.
async fn write(pool: &PgPool, count: i32, secs_ago: i32, missing: &str) {
    let statement = "
        with made as (
          insert into payments.transfers
            (id, source_account_id, destination_account_id, amount, currency)
          select
            (payments.order_id_prefix(now() - make_interval(secs => $2))
              || '8' || lpad(to_hex(number), 15, '0'))::uuid,
            gen_random_uuid(), gen_random_uuid(), 1, 'EUR'
          from generate_series(1, $1) as number
          returning id, source_account_id, destination_account_id
        )
        insert into payments.entries
          (account_id, account_version, transfer_id, amount, balance_after, created_at)
        select source_account_id, 1, id, -1, -1, now() from made
        union all
        select destination_account_id, 1, id, 1 - $3::numeric, 1, now() from made";
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    let written =
        sqlx::query(statement).bind(count).bind(f64::from(secs_ago)).bind(missing.to_owned());
    written.execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

/// The value of a figure; none when it is not there.
async fn figure(pool: &PgPool, mark: &mut LedgerMark, name: &str) -> Option<f64> {
    let mut conn = pool.acquire().await.unwrap();
    let families = figures::sample(&mut conn, mark).await.unwrap();
    let family: Family = families.into_iter().find(|it| it.instrument.name == name)?;
    match &family.points.first()?.value {
        Value::Number(number) => Some(*number),
        Value::Distribution { .. } => None,
    }
}

const IMBALANCE: &str = "app.ledger.imbalance";

#[tokio::test]
async fn a_broken_transfer_is_seen_however_many_came_after_it_and_stays_seen() {
    let db = TestDb::new().await;
    write(&db.pool, 1, 600, "0.25").await;
    write(&db.pool, 12_000, 300, "0").await;
    let mut mark = LedgerMark::default();
    for look in 1..=3 {
        let seen = figure(&db.pool, &mut mark, IMBALANCE).await;
        assert_eq!(seen, Some(-0.25), "look {look}");
    }
    assert_eq!(figure(&db.pool, &mut mark, "app.ledger.checked.lag").await, Some(0.0));

    // Of what was added up once, nothing is added up again; and of what is new, everything.
    write(&db.pool, 1, 120, "0.5").await;
    write(&db.pool, 1, 0, "1").await;
    assert_eq!(figure(&db.pool, &mut mark, IMBALANCE).await, Some(-1.75));
    assert_eq!(figure(&db.pool, &mut mark, IMBALANCE).await, Some(-1.75));
}

#[tokio::test]
async fn a_verification_answers_for_what_was_before_it_with_what_it_found() {
    let db = TestDb::new().await;
    write(&db.pool, 1, 600, "0.25").await;
    let verify = async || App::command(["verify"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(verify().await.0.code(), Some(1));

    let mut mark = LedgerMark::default();
    assert_eq!(figure(&db.pool, &mut mark, IMBALANCE).await, Some(-0.25));
    let undone = "
        begin;
        set local session_replication_role = replica;
        truncate payments.transfers, payments.entries;
        commit";
    sqlx::raw_sql(undone).execute(&db.pool).await.unwrap();
    assert!(verify().await.0.success());
    write(&db.pool, 1, 0, "0").await;
    assert_eq!(figure(&db.pool, &mut mark, IMBALANCE).await, Some(0.0));
}
