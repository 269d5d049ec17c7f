//! A job kind of one's own: its arguments, its run, an attempt that fails, and the one after it.
//!
//! `DATABASE_URL=postgres://… cargo run -p surety-queue --example own_job`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use surety_queue::{
    CancellationToken, Committed, Job, JobContext, JobError, NewJob, Registry, Worker,
    WorkerSettings, enqueue,
};

/// Resizes a picture. Its fields are the arguments, stored as JSON.
#[derive(Serialize, Deserialize)]
struct ResizePicture {
    path: String,
    width: u32,
}

/// The services that every run gets: here, what ends the program.
#[derive(Clone)]
struct Services {
    done: CancellationToken,
}

impl Job for ResizePicture {
    const KIND: &'static str = "resize_picture";
    const QUEUE: &'static str = "pictures";
    const MAX_ATTEMPTS: i16 = 3;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type State = Services;

    async fn run(self, services: &Services, cx: JobContext) -> Result<Committed, JobError> {
        if cx.attempt() == 1 {
            // `?` on any error does the same, after the backoff of the kind.
            let error = anyhow::anyhow!("{} is not there yet", self.path);
            return Err(JobError::retry_after(Duration::from_millis(50), error));
        }
        println!("attempt {}: {} is {} pixels wide", cx.attempt(), self.path, self.width);
        services.done.cancel();
        // It has written nothing to the database, so its completion may share a commit.
        cx.with_output(&serde_json::json!({ "bytes": 4711 }))?.complete_without_effects().await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;

    let mut conn = pool.acquire().await?;
    let picture = ResizePicture { path: "cat.png".into(), width: 640 };
    let job = enqueue(&mut conn, NewJob::new(&picture)?.tag("cats")).await?.id();
    println!("job {job} is enqueued");

    let done = CancellationToken::new();
    let registry = Registry::new(Services { done: done.clone() }).register::<ResizePicture>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    // A program that serves cancels the token when it is told to stop.
    let summary = worker.run(done).await;
    println!("{} failed, {} completed", summary.failed, summary.completed);
    Ok(())
}
