//! Jobs, as operators work on them.
//!
//! - [`selection`]: the filter language, as flags and URL queries spell it.
//! - [`reading`]: lists, one job with the reasons why it has not run, waiting for jobs to end.
//! - [`change`]: retry, early run, cancel and discard of jobs by number; `super::bulk` has that of
//!   all that match a filter.
//! - [`edit`] and [`enqueue`]: other arguments for a job, and new jobs.
//! - `about`: the jobs about a transaction or an order.
//! - [`reveal`]: arguments with what is hidden elsewhere.
//!
//! Jobs about money have rules of their own: an order or transaction waits for each of them, so
//! they are never cancelled and never edited, and a retry of a discarded one goes through
//! [`crate::jobs::dead_letters`].

pub(in crate::operations) mod about;
pub mod change;
pub mod edit;
pub mod enqueue;
pub mod reading;
pub mod reveal;
pub mod selection;

pub use self::change::{ChangeJobs, JobAction, JobChange, JobRefusal, JobResult, RefusalClass};
pub use self::selection::JobSelection;
pub use crate::jobs::changes::acting::ChangeError as JobsError;
pub use crate::jobs::dead_letters::is_about_money;
pub use crate::queue::AttemptOutcome;
pub use crate::queue::JobId;
pub use crate::queue::JobState;
pub use crate::queue::operate::ArgsMatch;
pub use crate::queue::operate::JobFilter;
pub use crate::queue::operate::failures::{Fingerprint, InvalidFingerprint};
pub use crate::queue::operate::inspect::{
    Attempt, Explanation, Intervention, JobDetails, JobTraces, ResolutionKind, traces,
};
pub use crate::queue::operate::list::{JobSummary, MAX_LISTED};

use sqlx::PgPool;

use crate::jobs::{self, Services};
use crate::queue::Registry;

/// The kinds that this program knows, to check arguments by.
pub(super) fn known_kinds(pool: &PgPool) -> Registry<Services> {
    jobs::registry(Services::of_database(pool.clone()))
}
