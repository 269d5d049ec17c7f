//! A durable job queue on PostgreSQL alone, for any Rust program: jobs are enqueued in the caller's
//! database transaction, and a handler's writes commit together with the completion of its job.
//!
//! # Nouns
//!
//! | module | holds |
//! |---|---|
//! | [`handler`] | a kind of job and its runs: [`Job`], [`JobContext`], [`JobError`] |
//! | [`enqueue`](mod@enqueue) | new jobs: one, many; unique jobs, keys, tags; declared kinds |
//! | [`worker`] | claiming and running: [`Registry`], [`Worker`], [`RunHooks`], leases, rescue |
//! | [`groups`] | jobs that belong together: batches with callbacks, dependencies, graphs |
//! | [`schedules`] | jobs by the clock: cron in a time zone, intervals, missed ticks |
//! | [`sealing`] | arguments that are encrypted before they are stored, and changes of keys |
//! | [`operate`] | the operator's verbs: find, explain, cancel, retry, edit, pause, limit, drain |
//! | [`health`] | findings about a queue in operation, and the invariants that always hold |
//! | [`telemetry`] | spans, trace contexts and the log line of each run |
//! | [`activity`] | counts and times of ended attempts, and of what waited, stored by time |
//! | [`schema`] | migrations, functions and views, and how they come to a database: [`migrate`] |
//! | `testing` (feature) | tests of programs that use the queue: inline runs, a clock that moves |
//!
//! [`batcher`], [`deadline`] and [`moments`] are tools that an application may use, too. The
//! everyday types are here at the root. Dependencies point one way: `testing`, `operate` and
//! `worker` use `groups`, `schedules` and `sealing`; these use `enqueue`; that uses `handler`.
//!
//! # A job's life
//!
//! ```text
//!            enqueue                 claim                    complete
//!  (none) ───────────▶ available ───────────▶ running ─────────────────────▶ completed
//!            ▲  run_at reached  ▲                │ │ │
//!        scheduled          retryable ◀── fail ──┘ │ └── discard, attempts used up ─▶ discarded
//!            ▲                                     │
//!            └──────── snooze, hand back ──────────┘── cancel ──▶ cancelled
//!                      (the attempt does not count)
//!
//!                              redrive, by an operator
//!                available ◀──────────────────────────── discarded
//! ```
//!
//! A running job whose lease runs out is *rescued*: available again before all others, its attempt
//! recorded as crashed; a job that has taken [`MAX_CRASHES`](worker::MAX_CRASHES) workers
//! down is discarded. In the database, a waiting job is one row of `queue.jobs` with
//! `running = false`; whether people call it scheduled, available or retryable follows from
//! `run_at` and `attempt`. A finished job is a row of `queue.finished_jobs`, every ended attempt
//! one of `queue.attempts`.
//!
//! A worker *claims* due jobs in one short transaction: each gets a *lease* (the right to run until
//! then), a *fence* (the number of this claim) and its attempt counted. The executor runs the
//! handler that the registry names, and settles its outcome. The lease keeper renews leases, and
//! stops handlers whose lease it cannot renew or whose job is cancelled. Notifications make new
//! jobs start sooner; polling finds every job without them.
//!
//! # What is guaranteed
//!
//! - At-least-once execution; exactly-once database effects, for what a handler writes in the
//!   transaction that it completes the job with (G3).
//! - Every write that a worker makes for a job compares the claim's fence (G4). A worker that was
//!   stopped for too long, cut off or thought dead changes nothing when it comes back.
//! - A lost worker's jobs run again within 45 s by default, and never while the worker still works
//!   (G5).
//! - Only the database's clock decides when a job is due or a lease over (G8).
//! - A claim reads a small constant number of pages, whatever the history weighs, however many jobs
//!   are scheduled, and while another transaction keeps vacuum from cleaning up (G10).
//!
//! # What is absent on purpose
//!
//! No leader, no lock that outlives a statement, no transaction that stays open while a handler
//! runs, no trigger that enqueues or completes would fire, no NOTIFY inside the caller's
//! transaction.
//!
//! # Example
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use surety_queue::{
//!     Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings, enqueue,
//! };
//!
//! /// Greets somebody.
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Job for Greet {
//!     const KIND: &'static str = "greet";
//!     type State = ();
//!
//!     async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
//!         let mut tx = cx.begin().await?;
//!         sqlx::query("insert into greetings (name) values ($1)")
//!             .bind(&self.name)
//!             .execute(&mut *tx)
//!             .await?;
//!         cx.complete(tx).await
//!     }
//! }
//!
//! # use surety_postgres::embedded::locate::{self, Download};
//! # use surety_postgres::embedded::{Access, Cluster, ClusterSettings, Durability, Lifetime};
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let data_dir = std::env::temp_dir().join(format!("surety-doc-{}", std::process::id()));
//! # let cluster = Cluster::start(ClusterSettings {
//! #     binaries: locate::find_or_fetch(&data_dir, Download::Allowed, |line| println!("{line}"))
//! #         .await?,
//! #     data_dir: data_dir.clone(),
//! #     durability: Durability::Throwaway,
//! #     access: Access::Socket,
//! #     lifetime: Lifetime::OfThisProcess,
//! #     max_connections: 50,
//! # })
//! # .await?;
//! # // Nothing else runs yet.
//! # unsafe { std::env::set_var("DATABASE_URL", cluster.url("postgres")) };
//!     let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
//!     surety_queue::migrate(&pool).await?;
//!     sqlx::query("create table greetings (name text)").execute(&pool).await?;
//!
//!     // In the same transaction as whatever the job is about.
//!     let mut tx = pool.begin().await?;
//!     enqueue(&mut tx, NewJob::new(&Greet { name: "world".into() })?).await?;
//!     tx.commit().await?;
//!
//!     let registry = Registry::new(()).register::<Greet>();
//!     let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
//!     let summary = worker.run_until_idle().await?; // in production: worker.run(shutdown).await
//!     assert_eq!(summary.completed, 1);
//!
//!     let greeted: Vec<String> =
//!         sqlx::query_scalar("select name from greetings").fetch_all(&pool).await?;
//!     assert_eq!(greeted, ["world"]);
//! # pool.close().await;
//! # cluster.stop().await;
//! # std::fs::remove_dir_all(data_dir)?;
//!     Ok(())
//! }
//! ```
//!
//! # Example: a call to others
//!
//! A call cannot be undone, so its job must know each way to end: by an effect that is committed
//! with it, later for a reason that whoever asks can read, or, when it never got to say so, by a
//! [`FollowUp`].
//!
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use surety_queue::{Committed, FollowUp, Job, JobContext, JobError, JobId};
//! # #[derive(Clone)]
//! # struct Bank;
//! # enum Answer { Booked, Declined(String), Away }
//! # impl Bank {
//! #     async fn pay(&self, _order: i64, _key: &str) -> Result<Answer, std::io::Error> {
//! #         Ok(Answer::Booked)
//! #     }
//! # }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Pay {
//!     order: i64,
//! }
//!
//! impl Job for Pay {
//!     const KIND: &'static str = "pay";
//!     const MAX_ATTEMPTS: i16 = 4;
//!     // When all attempts have failed, or Pay took its workers down.
//!     const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<AskAboutPayment>());
//!     type State = Bank;
//!
//!     async fn run(self, bank: &Bank, cx: JobContext) -> Result<Committed, JobError> {
//!         // No database transaction is open here.
//!         let answer = bank.pay(self.order, &cx.effect_key()).await?;
//!         let mut tx = cx.begin().await?;
//!         let set_status = sqlx::query("update orders set status = $2 where id = $1");
//!         match answer {
//!             Answer::Booked => {
//!                 set_status.bind(self.order).bind("paid").execute(&mut *tx).await?;
//!                 cx.complete(tx).await
//!             }
//!             Answer::Declined(reason) => {
//!                 set_status.bind(self.order).bind("declined").execute(&mut *tx).await?;
//!                 cx.discard(tx, anyhow::anyhow!(reason)).await
//!             }
//!             // Costs no attempt.
//!             Answer::Away => {
//!                 Err(JobError::snooze_because(Duration::from_secs(60), "the bank is away"))
//!             }
//!         }
//!     }
//! }
//!
//! /// Its arguments are what every follow-up gets.
//! #[derive(Serialize, Deserialize)]
//! struct AskAboutPayment {
//!     job: JobId,
//!     kind: String,
//!     args: serde_json::Value,
//! }
//!
//! impl Job for AskAboutPayment {
//!     const KIND: &'static str = "ask_about_payment";
//!     type State = Bank;
//!
//!     async fn run(self, _bank: &Bank, cx: JobContext) -> Result<Committed, JobError> {
//!         let tx = cx.begin().await?;
//!         // Settles what is known to be safe.
//!         cx.complete(tx).await
//!     }
//! }
//! ```

// The documentation of a release says of each item which feature brings it.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod activity;
pub mod batcher;
pub mod commits;
pub mod deadline;
pub mod enqueue;
mod error;
pub mod groups;
pub mod handler;
pub mod health;
mod ids;
mod json;
mod kept_connection;
pub mod moments;
pub mod operate;
mod retention;
#[cfg(feature = "schedules")]
pub mod schedules;
pub mod schema;
pub mod sealing;
mod state;
mod storable_json;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod worker;

pub use enqueue::bounds::InvalidJob;
pub use enqueue::{Enqueued, NewJob, Notifier, Unique, enqueue, enqueue_many};
pub use error::{QueueError, chain};
pub use handler::{
    AttemptOutcome, Backoff, BatchContext, BatchJob, Committed, FollowUp, Job, JobContext,
    JobError, RunTransaction, Waker,
};
pub use ids::{Fence, JobId};
pub use json::{JsonText, JsonTextError};
pub use retention::Retention;
pub use schema::migrate;
pub use state::JobState;
pub use storable_json::NotStorable;
// What calls of this crate take, in the versions that it takes.
pub use time;
pub use tokio_util::sync::CancellationToken;
pub use worker::{Registry, RunHooks, Worker, WorkerSettings, WorkerSummary};
