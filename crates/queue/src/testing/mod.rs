//! For tests of programs that use the queue: what was enqueued, one job run to its end, and time
//! that passes at once.
//!
//! - [`assert_enqueued`], [`refute_enqueued`], [`enqueued`]: which jobs of a kind wait, with their
//!   arguments as the kind's own type. In a transaction they see what it has enqueued, so a test
//!   need not commit.
//! - [`Worker::run_until_idle`](crate::worker::Worker::run_until_idle): runs all that is due.
//! - [`run_inline`]: enqueues one job, runs it at once by the worker's own steps, and tells how
//!   that ended.
//! - [`advance`]: makes all that is scheduled come closer, as if so much time had passed.
//!
//! All of this works on a real database: there is no queue in memory that behaves a little
//! differently, and no second executor. It is always compiled, because a test of another program
//! cannot switch on what this one has left out; a program that uses none of it carries none of it.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use surety_queue::{
//!     Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings, enqueue,
//! };
//! use surety_queue::testing::{self, Ended};
//!
//! /// Reminds somebody, but not at night.
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Remind {
//!     who: String,
//!     at_night: bool,
//! }
//!
//! impl Job for Remind {
//!     const KIND: &'static str = "remind";
//!     type State = ();
//!
//!     async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
//!         if self.at_night {
//!             return Err(JobError::snooze_because(Duration::from_secs(8 * 3600), "it is night"));
//!         }
//!         cx.complete_without_effects().await
//!     }
//! }
//!
//! # use surety_postgres::embedded::locate::{self, Download};
//! # use surety_postgres::embedded::{Access, Cluster, ClusterSettings, Durability, Lifetime};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
//! # let url = cluster.url("postgres");
//! let pool = surety_postgres::connect(&url, 5, "tests").await?;
//! surety_queue::migrate(&pool).await?;
//! testing::mark_as_test_database(&pool).await?;
//!
//! // What does the code under test enqueue? The transaction need not be committed to know.
//! let mut tx = pool.begin().await?;
//! let remind = Remind { who: "Ada".into(), at_night: false };
//! enqueue(&mut tx, NewJob::new(&remind)?.delay(Duration::from_secs(3600))).await?;
//! let job = testing::assert_enqueued::<Remind>(&mut tx, |job| job.args.who == "Ada").await;
//! assert_eq!(job.queue, "default");
//! testing::refute_enqueued::<Remind>(&mut tx, |job| job.args.who == "Bob").await;
//! tx.commit().await?;
//!
//! // It is due in an hour: now nothing is to be done, and an hour later it is.
//! let registry = Registry::new(()).register::<Remind>();
//! let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
//! assert_eq!(worker.run_until_idle().await?.completed, 0);
//! testing::advance(&pool, Duration::from_secs(3600)).await?;
//! assert_eq!(worker.run_until_idle().await?.completed, 1);
//!
//! // How does one job end?
//! let at_night = Remind { who: "Bob".into(), at_night: true };
//! let run = testing::run_inline(&pool, (), &at_night).await?;
//! assert!(matches!(run.ended, Ended::Snoozed { reason: Some(why), .. } if why == "it is night"));
//! # drop(worker);
//! # pool.close().await;
//! # cluster.stop().await;
//! # std::fs::remove_dir_all(data_dir)?;
//! # Ok(())
//! # }
//! ```

mod clock;
mod expectations;
mod inline;

pub use clock::{advance, mark_as_test_database};
#[cfg(feature = "sealing")]
pub use expectations::enqueued_sealed;
pub use expectations::{UnfinishedJob, assert_enqueued, enqueued, refute_enqueued};
pub use inline::{Ended, InlineRun, run_inline, run_inline_by};

use crate::QueueError;
use crate::ids::JobId;

/// An error of a test helper.
#[derive(Debug, thiserror::Error)]
pub enum TestingError {
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The arguments of a job are not those of its kind.
    #[error("the arguments of job {job} do not parse as those of kind {kind}")]
    Args {
        /// The number of the job.
        job: JobId,
        /// Its kind.
        kind: &'static str,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// The arguments of a job are sealed, and cannot be opened.
    #[error("the arguments of job {job} cannot be opened")]
    Sealed {
        /// The number of the job.
        job: JobId,
        /// The reason.
        #[source]
        source: crate::sealing::OpenError,
    },
    /// A unique job was to be run inline, and there is one.
    #[error("job {0} is there already")]
    Exists(JobId),
    /// A job that was to be run inline was not claimed.
    #[error("job {0} was not claimed: the worker does not know its kind, or all queues are paused")]
    NotClaimed(JobId),
    /// The database holds jobs, so it may be somebody's.
    #[error("the database holds jobs already: mark a test database before its first job")]
    InUse,
    /// The database was not marked.
    #[error("this is not known to be a test database: mark_as_test_database marks it")]
    NotMarked,
    /// A time that is out of range.
    #[error("{0:?} is more than can be passed at once, a hundred years")]
    TooLong(std::time::Duration),
}

impl From<sqlx::Error> for TestingError {
    fn from(error: sqlx::Error) -> Self {
        Self::Queue(error.into())
    }
}
