//! Tests of an application: what its code enqueues, time that passes at once, and one job run to
//! its end, on a real database of the tests' own.
//!
//! In a program the two tests stand under `#[test]`; here `main` calls them, so that this can be
//! run like the other examples. Each needs a database that has never had a job.
//!
//! `DATABASE_URL=postgres://… \
//!   cargo run -p surety-queue --features testing --example tested_application`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use surety_queue::testing::{self, Ended};
use surety_queue::{
    Committed, Job, JobContext, JobError, NewJob, QueueError, Registry, Worker, WorkerSettings,
    enqueue,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Asks a new user how things are going.
#[derive(Debug, Serialize, Deserialize)]
struct AskNewUser {
    address: String,
}

impl Job for AskNewUser {
    const KIND: &'static str = "ask_new_user";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        if !self.address.contains('@') {
            return Err(JobError::discard(anyhow::anyhow!("{} is no address", self.address)));
        }
        cx.complete_without_effects().await
    }
}

/// The code under test: whoever signs up is asked after a week.
async fn sign_up(tx: &mut PgConnection, address: &str) -> Result<(), QueueError> {
    let ask = AskNewUser { address: address.into() };
    enqueue(tx, NewJob::new(&ask)?.delay(Duration::from_secs(7 * 24 * 60 * 60))).await?;
    Ok(())
}

async fn a_new_user_is_asked_after_a_week(pool: &PgPool) -> Result<()> {
    let mut tx = pool.begin().await?;
    sign_up(&mut tx, "ada@example.com").await?;
    testing::assert_enqueued::<AskNewUser>(&mut tx, |job| job.args.address == "ada@example.com")
        .await;
    tx.commit().await?;

    let registry = Registry::new(()).register::<AskNewUser>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    assert_eq!(worker.run_until_idle().await?.completed, 0, "not yet");
    testing::advance(pool, Duration::from_secs(7 * 24 * 60 * 60)).await?;
    assert_eq!(worker.run_until_idle().await?.completed, 1, "a week later");
    Ok(())
}

async fn a_wrong_address_is_given_up(pool: &PgPool) -> Result<()> {
    let ask = AskNewUser { address: "nowhere".into() };
    let run = testing::run_inline(pool, (), &ask).await?;
    assert_eq!(run.ended, Ended::Discarded { error: "nowhere is no address".into() });
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;
    // Refused where there are jobs: no mistake in a URL moves the times of somebody's work.
    testing::mark_as_test_database(&pool).await?;

    a_new_user_is_asked_after_a_week(&pool).await?;
    a_wrong_address_is_given_up(&pool).await?;
    println!("2 passed");
    Ok(())
}
