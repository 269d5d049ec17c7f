//! Real processes, killed, frozen and cut off while they work: what was acknowledged is there, and
//! nothing happened twice.

use std::time::Duration;

use sqlx::PgPool;

use crate::support::load::{
    self, Load, assert_all_stored, assert_verified, count, post, serve, wait_until_settled, webhook,
};
use crate::support::{App, Binary as _, Signal, TestCluster, TestDb, migrated};

/// Leases short enough for a test to wait for, long enough for a busy machine.
const SHORT_LEASE: [&str; 6] = ["--lease", "2s", "--heartbeat", "500ms", "--poll", "100ms"];

fn work(database_url: &str) -> App {
    App::command(["work"].into_iter().chain(SHORT_LEASE)).env("DATABASE_URL", database_url).spawn()
}

/// In one statement, since the server may still be committing what its last clients sent.
async fn assert_every_transaction_has_its_job(pool: &PgPool) {
    let difference = "select (select count(*) from payments.transactions)
                           - (select count(*) from queue.jobs)";
    assert_eq!(count(pool, difference).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_lose_nothing_and_settle_nothing_twice() {
    const WEBHOOKS: usize = 5_000;
    let db = TestDb::new().await;
    let server = serve(&db.url, None).await;
    let load = Load::start(server.address, 16, Some(WEBHOOKS));

    let mut workers = [work(&db.url), work(&db.url)];
    for kill in 0..12 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let victim = &mut workers[kill % 2];
        victim.kill().await;
        *victim = work(&db.url);
    }
    let accepted = load.finish().await;
    assert_eq!(accepted.len(), WEBHOOKS);
    wait_until_settled(&db.pool, WEBHOOKS as i64).await;

    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, WEBHOOKS as i64);
    let moved: rust_decimal::Decimal =
        sqlx::query_scalar("select sum(balance) from payments.accounts where balance > 0")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(moved, load::total_of(&accepted));
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_killed_server_acknowledged_is_in_the_database() {
    let db = TestDb::new().await;
    let mut server = serve(&db.url, None).await;
    let load = Load::start(server.address, 16, None);
    for _ in 0..5 {
        load.wait_for_more_accepted(40).await;
        server.app.kill().await;
        server = serve(&db.url, Some(server.address)).await;
    }
    load.wait_for_more_accepted(40).await;
    let accepted = load.stop().await;

    assert_all_stored(&db.pool, &accepted).await;
    assert_every_transaction_has_its_job(&db.pool).await;
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_database_loses_no_acknowledged_webhook_and_needs_no_restart_of_ours() {
    let mut cluster = TestCluster::start().await;
    let url = cluster.url("surety");
    migrated(&cluster, "surety").await.close().await;
    let mut server = serve(&url, None).await;
    let mut worker = work(&url);
    let load = Load::start(server.address, 16, None);

    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.stop_immediate().await;
        let (status, retry_after) = post(server.address, &webhook("while away")).await;
        assert_eq!((status, retry_after), (503, true), "while the database is away");
        cluster.start_again().await;
        load.wait_for_more_accepted(50).await;
    }
    let accepted = load.stop().await;

    let pool = surety::db::connect(&url, 5, "test").await.unwrap();
    assert_all_stored(&pool, &accepted).await;
    wait_until_settled(&pool, count(&pool, "select count(*) from payments.transactions").await)
        .await;
    assert_verified(&url).await;
    for app in [&mut server.app, &mut worker] {
        app.signal(Signal::Terminate);
        assert!(app.wait_for_exit().await.success(), "{}", app.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_frozen_in_the_middle_of_a_job_changes_nothing_when_it_goes_on() {
    let db = TestDb::new().await;
    let server = serve(&db.url, None).await;
    assert_eq!(post(server.address, &webhook("frozen")).await.0, 202);
    // The frozen worker must stand inside its database transaction: this lock makes it wait there.
    let mut lock = db.pool.begin().await.unwrap();
    sqlx::query("select 1 from payments.transactions for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    let frozen = work(&db.url);
    wait_for_count(&db.pool, "select count(*) from queue.jobs where running", 1).await;
    wait_for_count(
        &db.pool,
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'",
        1,
    )
    .await;
    frozen.signal(Signal::Stop);
    lock.rollback().await.unwrap();

    let other = work(&db.url);
    wait_until_settled(&db.pool, 1).await;
    frozen.signal(Signal::Continue);
    // Both of them work on afterwards.
    for n in 0..20 {
        assert_eq!(post(server.address, &webhook(&format!("after {n}"))).await.0, 202);
    }
    wait_until_settled(&db.pool, 21).await;

    let outcomes: Vec<String> = sqlx::query_scalar(
        "select outcome::text from queue.attempts
         where job_id = (select min(job_id) from queue.attempts) order by attempt",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(outcomes.first().map(String::as_str), Some("crashed"));
    assert_eq!(outcomes.last().map(String::as_str), Some("completed"));
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "completed").count(), 1);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 21);
    assert_verified(&db.url).await;
    drop((frozen, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_in_mid_request_leave_nothing_half_done() {
    let db = TestDb::new().await;
    let server = serve(&db.url, None).await;
    for n in 0..300 {
        load::hang_up_after_share(server.address, &webhook(&format!("hang up {n}")), n % 10).await;
    }
    // The server is as well as before, and each of the transactions is there with its job or not at
    // all.
    assert_eq!(post(server.address, &webhook("polite")).await.0, 202);
    assert_every_transaction_has_its_job(&db.pool).await;
    let connections = "select count(*) from pg_stat_activity
                       where datname = current_database() and application_name = 'surety serve'";
    assert!(count(&db.pool, connections).await <= 12, "connections pile up");
    let _worker = work(&db.url);
    let transactions = count(&db.pool, "select count(*) from payments.transactions").await;
    wait_until_settled(&db.pool, transactions).await;
    assert_verified(&db.url).await;
}

async fn wait_for_count(pool: &PgPool, sql: &'static str, wanted: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while count(pool, sql).await < wanted {
        assert!(tokio::time::Instant::now() < deadline, "not within 30 s: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
