//! Schedules tick on behind a pooler.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety::queue::NewJob;
use surety::queue::schedules::{self, MissedPolicy, Schedule, Tick};

use crate::support::{App, Binary as _, PgBouncer, PgBouncerSettings, TestDb, eventually_async};

/// The ticks of the schedule, oldest first.
async fn ticks(pool: &PgPool) -> Vec<Tick> {
    let mut conn = pool.acquire().await.unwrap();
    let mut ticks = schedules::list_ticks(&mut conn, "s", 1000).await.unwrap();
    ticks.reverse();
    ticks
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_that_shares_connections_everything_goes_on_as_without() {
    let db = TestDb::new().await;
    let catch_up = MissedPolicy::CatchUp { max: 1000, max_age: Duration::from_secs(3600) };
    let draft = Schedule::every("s", Duration::from_secs(1)).policy(catch_up);
    // Of a kind that nobody runs, so that it stays where it is.
    let schedule = draft.new_job(NewJob::raw("nobodys", json!({}))).unwrap();
    schedules::put(&mut db.pool.acquire().await.unwrap(), &schedule, "test").await.unwrap();

    let pooler = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let _workers =
        [(); 2].map(|()| App::command(["work"]).env("DATABASE_URL", &pooler.url).spawn());
    eventually_async("ticks", async || ticks(&db.pool).await.len() >= 5).await;

    let made = ticks(&db.pool).await;
    let are_in_step =
        made.windows(2).all(|pair| pair[1].tick_at - pair[0].tick_at == Duration::from_secs(1));
    let mut jobs: Vec<_> = made.iter().map(|tick| tick.job_id.expect("none is missed")).collect();
    jobs.dedup();
    assert!(are_in_step && jobs.len() == made.len(), "{made:?}");
}
