//! Activity: the attempts that workers have ended, and the jobs that waited, by time, in tables
//! that charts are drawn from.
//!
//! - [`histogram`]: times in buckets, so that those of many workers can be added and percentiles be
//!   read off the sum.
//! - [`counting`]: the counts of one worker, in memory: a lock and some additions per attempt.
//! - `recording`: sends them, a batch every ten seconds, to the rows of their time.
//! - [`reading`]: the rows of a span of time, complete: what has none is zero.
//!
//! Guaranteed: no statement per job; a batch whose answer was lost is not added twice; times are by
//! the database's clock (G8). What a worker that dies had not sent yet, ten seconds at most, is
//! missing; its jobs are in `queue.attempts` all the same.
//!
//! Deliberately absent: jobs that nobody ran, such as those that an operator cancelled while they
//! waited.

pub mod counting;
pub mod histogram;
pub mod reading;
mod recording;

pub use counting::{Activity, EngineFigures, OTHER, Totals};
pub use histogram::Histogram;
pub use reading::{Bucket, DEPTH_CAP, Depth, depths, jobs};
pub(crate) use recording::{Unsent, keep, prune, record};

use serde::Serialize;

/// The outcome of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "queue.activity_outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The job is done.
    Completed,
    /// The attempt failed, and there will be another one.
    Retried,
    /// The attempt failed, and it was the last one.
    Discarded,
    /// The job was no longer wanted.
    Cancelled,
    /// The job waits on, and the attempt does not count.
    Snoozed,
    /// The worker was lost; another one has taken the job back.
    Lost,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::Retried,
        Self::Discarded,
        Self::Cancelled,
        Self::Snoozed,
        Self::Lost,
    ];

    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried => "retried",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
            Self::Snoozed => "snoozed",
            Self::Lost => "lost",
        }
    }
}

/// The time that one stored row stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "queue.activity_step", rename_all = "snake_case")]
pub enum Step {
    /// Kept for two days.
    Minute,
    /// A quarter of an hour; kept for two weeks.
    Quarter,
    /// Kept for sixty days.
    Hour,
    /// A day of UTC; kept for two years.
    Day,
}

impl Step {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Quarter, Self::Hour, Self::Day];

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Quarter => 900,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}
