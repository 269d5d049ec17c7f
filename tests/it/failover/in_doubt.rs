//! Commits that wait for a synchronous standby which is away: what is acknowledged survives it, and
//! what is given up leaves connections for others.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;

use super::standby::Standby;
use crate::support::load::{post, serve, webhook};
use crate::support::prober::{Prober, assert_stored};
use crate::support::{TestCluster, eventually_async, migrated};

async fn set(pool: &PgPool, setting: &str) {
    for statement in [&format!("alter system {setting}"), "select pg_reload_conf()"] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_while_the_waiting_for_a_standby_is_ended_survives_a_failover() {
    let cluster = TestCluster::start().await;
    let url = cluster.url("surety");
    let primary = migrated(&cluster, "surety").await;
    let standby = Standby::of(&url).await;
    set(&primary, "set synchronous_standby_names = '*'").await;
    eventually_async("the standby is a synchronous one", async || {
        let sync = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        sqlx::query_scalar(sync).fetch_one(&primary).await.unwrap()
    })
    .await;
    let server = serve(&url, None).await;
    let prober = Prober::start(server.address);
    tokio::time::sleep(Duration::from_millis(500)).await;

    // It follows no more, and somebody ends what waits for it, as operators do who see it hang.
    set(&standby.pool, "set primary_conninfo = ''").await;
    let until = Instant::now() + Duration::from_secs(3);
    let mut ended = 0;
    while Instant::now() < until {
        let end = "select count(pg_cancel_backend(pid)) from pg_stat_activity
                   where wait_event = 'SyncRep'";
        ended += sqlx::query_scalar::<_, i64>(end).fetch_one(&primary).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers = prober.stop().await;
    let promoted: bool =
        sqlx::query_scalar("select pg_promote()").fetch_one(&standby.pool).await.unwrap();

    assert!(promoted && ended > 10, "ended the waiting of {ended} commits");
    let refused = answers.iter().filter(|answer| !answer.accepted).count();
    assert!(refused > 10, "of {} only {refused} were refused", answers.len());
    assert!(answers.iter().any(|answer| answer.accepted), "none was accepted before");
    assert_stored(&standby.pool, &answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_given_up_leave_connections_for_others() {
    let cluster = TestCluster::start().await;
    let url = cluster.url("surety");
    let pool = migrated(&cluster, "surety").await;
    let server = serve(&url, None).await;
    assert_eq!(post(server.address, &webhook("before")).await.0, 202);
    set(&pool, "set synchronous_standby_names = 'nobody'").await;
    // The server takes it up a moment later.
    eventually_async("commits wait for a standby", async || {
        post(server.address, &webhook("while it is taken up")).await.0 != 202
    })
    .await;

    let began = Instant::now();
    let mut posting = JoinSet::new();
    for sender in 0..8 {
        let address = server.address;
        posting.spawn(async move {
            let mut accepted = Vec::new();
            while began.elapsed() < Duration::from_secs(25) {
                let id = format!("{sender} after {:?}", began.elapsed());
                if post(address, &webhook(&id)).await.0 == 202 {
                    accepted.push(id);
                }
            }
            accepted
        });
    }
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(24) {
        let backends =
            "select count(*) from pg_stat_activity where backend_type = 'client backend'";
        most = most.max(sqlx::query_scalar::<_, i64>(backends).fetch_one(&pool).await.unwrap());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    while let Some(accepted) = posting.join_next().await {
        assert_eq!(accepted.unwrap(), [""; 0], "acknowledged while nothing is on a standby");
    }
    assert!(most < 20, "{most} backends");

    set(&pool, "reset synchronous_standby_names").await;
    eventually_async("webhooks are accepted again", async || {
        post(server.address, &webhook("after")).await.0 == 202
    })
    .await;
}
