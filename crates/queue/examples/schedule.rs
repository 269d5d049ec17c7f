//! Jobs by the clock: a schedule in the program's code, which every worker defines at its start
//! and whose ticks make their job once, however many workers look.
//!
//! `DATABASE_URL=postgres://… cargo run -p surety-queue --features schedules --example schedule`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use surety_queue::schedules::{self, MissedPolicy, Schedule};
use surety_queue::{
    CancellationToken, Committed, Job, JobContext, JobError, Registry, Worker, WorkerSettings,
};

/// Reads the exchange rates of a currency.
#[derive(Serialize, Deserialize)]
struct RefreshRates {
    base: String,
}

impl Job for RefreshRates {
    const KIND: &'static str = "refresh_rates";
    type State = CancellationToken;

    async fn run(self, done: &CancellationToken, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        // The moment for which it runs, which may be long past after an outage.
        if let Some(tick) = schedules::find_tick(&mut tx, cx.id()).await? {
            println!("the rates of {} as of {}", self.base, tick.tick_at);
            done.cancel();
        }
        cx.complete(tx).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;

    let job = RefreshRates { base: "EUR".into() };
    let nightly = Schedule::cron("rates-nightly", "0 3 * * *")
        .time_zone("Europe/Paris")
        // After an outage of a week: once, not seven times.
        .policy(MissedPolicy::Coalesce)
        .job(&job)?;
    let often = Schedule::every("rates-often", Duration::from_secs(1)).job(&job)?;

    let done = CancellationToken::new();
    let registry =
        Registry::new(done.clone()).register::<RefreshRates>().schedule(nightly).schedule(often);
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    // Ends with the first tick.
    worker.run(done).await;

    let mut conn = pool.acquire().await?;
    for schedule in schedules::list(&mut conn).await? {
        println!("{} next ticks at {:?}", schedule.name, schedule.next_tick_at);
    }
    // What a program defines stays defined until somebody removes it.
    schedules::remove(&mut conn, "rates-often").await?;
    schedules::remove(&mut conn, "rates-nightly").await?;
    Ok(())
}
