//! A primary that is demoted and keeps its connections, which is what a planned switchover does.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgPool};

use super::standby::Standby;
use crate::support::load::serve;
use crate::support::load::{assert_verified, count, wait_until_settled};
use crate::support::prober::{
    Prober, RECOVERY, SETTLED, assert_stored, outage, settled_again, work,
};
use crate::support::{Proxy, TestCluster, migrated};

async fn execute(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.unwrap();
}

/// Transactions to come are read-only, on connections that are open, too.
async fn demote(primary: &PgPool) {
    execute(primary, "alter system set default_transaction_read_only = on").await;
    execute(primary, "select pg_reload_conf()").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_at_the_new_primary_although_the_old_one_keeps_its_connections() {
    let cluster = TestCluster::start().await;
    let url = cluster.url("surety");
    let old = migrated(&cluster, "surety").await;
    let standby = Standby::of(&url).await;
    let network = Proxy::start(&url).await;
    let server = serve(&network.url(&url), None).await;
    let worker = work(&network.url(&url), &[]);
    let prober = Prober::start(server.address);
    settled_again(&old, Instant::now()).await;

    demote(&old).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    standby.take_over_from(&old).await;
    let switched_at = Instant::now();
    network.lead_to(&standby.url);
    let settled = settled_again(&standby.pool, switched_at).await;
    tokio::time::sleep(RECOVERY).await;
    let answers = prober.stop().await;

    let accepted = outage(&answers, switched_at);
    eprintln!("settled again after {settled:?}, accepted after {accepted:?}");
    assert!(settled < RECOVERY, "settled again after {settled:?}\n{}", worker.output());
    assert!(accepted < RECOVERY, "accepted again after {accepted:?}\n{}", server.app.output());
    assert!(answers.iter().any(|answer| !answer.accepted), "it was never read-only");
    let taken = count(&standby.pool, "select count(*) from payments.transactions").await;
    wait_until_settled(&standby.pool, taken).await;
    assert_stored(&standby.pool, &answers).await;
    assert_verified(&standby.url).await;
    wait_until_unused(&old).await;
}

/// Waits until nobody has used the old primary for a second but us. What a pool kept there is found
/// out when it is next used, which for what is used once a few seconds is a few seconds later.
async fn wait_until_unused(old: &PgPool) {
    let in_use = "select count(*) from pg_stat_activity
         where datname = current_database() and application_name like 'surety%'
           and backend_type = 'client backend' and state_change > now() - interval '1 second'";
    let since = Instant::now();
    while count(old, in_use).await > 0 {
        assert!(since.elapsed() < Duration::from_secs(15), "some still use the old primary");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_read_only_for_a_while_is_written_to_again() {
    let cluster = TestCluster::start().await;
    let url = cluster.url("surety");
    let pool = migrated(&cluster, "surety").await;
    let server = serve(&url, None).await;
    let worker = work(&url, &[]);
    let prober = Prober::start(server.address);
    settled_again(&pool, Instant::now()).await;

    demote(&pool).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let began = Instant::now();
    execute(&pool, "alter system reset default_transaction_read_only").await;
    execute(&pool, "select pg_reload_conf()").await;
    let settled = settled_again(&pool, began).await;
    let answers = prober.stop().await;

    assert!(settled < RECOVERY, "settled again after {settled:?}\n{}", worker.output());
    assert!(answers.iter().any(|answer| !answer.accepted), "it was never read-only");
    let taken = count(&pool, "select count(*) from payments.transactions").await;
    wait_until_settled(&pool, taken).await;
    assert_eq!(count(&pool, SETTLED).await, taken);
    assert_verified(&url).await;
}
