//! The operator's verbs: find jobs among millions, look at them, and intervene.
//!
//! - [`list`](list::list) finds jobs by a [`JobFilter`];
//!   [`why_not_run`](inspect::why_not_run) says of one in a sentence what it waits for.
//! - [`interventions`] make a waiting job due, [redrive](discarded) a discarded one, discard
//!   one that waits, change its arguments; [`cancel`](cancel()) stops one wherever it is. Each
//!   keeps who did it and why in `queue.interventions`, redrives in `queue.resolutions`.
//! - [`failures`] groups what has failed by what the errors say.
//! - [`wait`](waiting::wait) waits until jobs have ended.
//!
//! ```
//! # use surety_queue::QueueError;
//! use surety_queue::JobState;
//! use surety_queue::operate::{JobFilter, interventions, list};
//! use surety_queue::operate::discarded::Decision;
//!
//! # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), QueueError> {
//! // All that failed because the mail server was away runs again, a hundred at a time.
//! let filter = JobFilter {
//!     states: vec![JobState::Retryable, JobState::Discarded],
//!     kinds: vec!["send_mail".into()],
//!     error: Some("connection refused".into()),
//!     ..JobFilter::default()
//! };
//! let by_ada = Decision { by: "ada", reason: "the mail server is back" };
//! let mut before = None;
//! loop {
//!     let page = list::list(conn, &filter, before, 100).await?;
//!     let ids: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
//!     for (id, retried) in interventions::retry(conn, &ids, by_ada).await? {
//!         match retried {
//!             Ok(what) => println!("job {id}: {what}"),
//!             Err(refusal) => println!("job {id}: {refusal}"),
//!         }
//!     }
//!     before = page.next;
//!     if before.is_none() {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod blocked_keys;
mod cancel;
pub mod discarded;
pub mod failing;
pub mod failures;
mod filter;
pub mod inspect;
pub mod interventions;
pub mod known_names;
pub mod list;
pub mod queues;
mod standing;
pub mod waiting;
pub mod workers;

pub use cancel::{CancelOutcome, cancel, cancel_waiting};
pub use filter::{ArgsMatch, JobFilter};
