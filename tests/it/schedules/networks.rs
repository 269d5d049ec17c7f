//! Ticks go on through what lies between a worker and the database.

use std::time::Duration;

use surety::queue::schedules::MissedPolicy;

use super::{assert_each_tick_has_its_own_job, every, put, run_and_missed, ticks};
use crate::support::{App, Binary as _, Proxy, TestDb, eventually_async};

const CATCH_UP: MissedPolicy =
    MissedPolicy::CatchUp { max: 1000, max_age: Duration::from_secs(3600) };

async fn wait_for_ticks(db: &TestDb, more: usize) {
    let enough = ticks(&db.pool, "s").await.len() + more;
    eventually_async("ticks", async || ticks(&db.pool, "s").await.len() >= enough).await;
}

async fn assert_every_second_ran_once(db: &TestDb) {
    let (run, missed) = run_and_missed(&db.pool, "s").await;
    let are_in_step = run.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_secs(1));
    assert!(are_in_step && missed.is_empty(), "{run:?} {missed:?}");
    assert_each_tick_has_its_own_job(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_without_a_word_cost_five_seconds_at_most_and_no_tick() {
    let db = TestDb::new().await;
    put(&db.pool, &every("s", 1, CATCH_UP)).await;
    let network = Proxy::start(&db.url).await;
    let _worker = App::command(["work"]).env("DATABASE_URL", network.url(&db.url)).spawn();
    for _ in 0..3 {
        wait_for_ticks(&db, 2).await;
        network.cut_silently();
    }
    wait_for_ticks(&db, 2).await;
    assert_every_second_ran_once(&db).await;
    let latest_secs: f64 = sqlx::query_scalar(
        "select max(extract(epoch from made_at - tick_at))::float8 from queue.schedule_ticks",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!(latest_secs < 5.0, "{latest_secs} s");
}
