//! Limits over all workers: how many jobs of a queue and of a key run at once, and jobs of one key
//! in their order.
//!
//! `DATABASE_URL=postgres://… cargo run -p surety-queue --example limits`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use surety_queue::operate::queues::{self, Limits, OnPoison};
use surety_queue::{
    Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings, enqueue_many,
};

const CUSTOMERS: u32 = 5;
const JOBS_EACH: u32 = 4;

/// Sends one notice of a customer's.
#[derive(Serialize, Deserialize)]
struct SendNotice {
    customer: u32,
    number: u32,
}

/// Watched over all runs of this process.
#[derive(Default)]
struct Watched {
    running: usize,
    most_running: usize,
    numbers: BTreeMap<u32, Vec<u32>>,
}

type State = Arc<Mutex<Watched>>;

impl Job for SendNotice {
    const KIND: &'static str = "send_notice";
    const QUEUE: &'static str = "notices";
    type State = State;

    async fn run(self, state: &State, cx: JobContext) -> Result<Committed, JobError> {
        {
            let mut watched = state.lock().unwrap_or_else(PoisonError::into_inner);
            watched.running += 1;
            watched.most_running = watched.most_running.max(watched.running);
            watched.numbers.entry(self.customer).or_default().push(self.number);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        state.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
        cx.complete_without_effects().await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;

    let mut tx = pool.begin().await?;
    // Held by the database for all workers of all processes, from this commit on.
    let limits =
        Limits { max_running: Some(3), ordered: Some(OnPoison::SkipAfter(3)), ..Limits::default() };
    queues::set_limits(&mut tx, "notices", &limits, "example").await?;
    let mut jobs = Vec::new();
    for number in 0..JOBS_EACH {
        for customer in 0..CUSTOMERS {
            let notice = SendNotice { customer, number };
            jobs.push(NewJob::new(&notice)?.key(format!("customer-{customer}")));
        }
    }
    enqueue_many(&mut tx, &jobs).await?;
    tx.commit().await?;

    let state = State::default();
    let registry = Registry::new(Arc::clone(&state)).register::<SendNotice>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    let summary = worker.run_until_idle().await?;

    let watched = state.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} completed, {} at once at most", summary.completed, watched.most_running);
    assert!(watched.most_running <= 3, "the limit holds");
    for (customer, numbers) in &watched.numbers {
        assert!(numbers.is_sorted(), "the notices of customer {customer} came in their order");
    }
    Ok(())
}
