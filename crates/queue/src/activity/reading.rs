//! Stored activity, for charts.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::counting::ALL;
use super::{Histogram, Outcome, Step};
use crate::QueueError;

/// The most waiting jobs of a queue that are counted: of more there is this many.
pub const DEPTH_CAP: i64 = 50_000;

/// The most points that one read gives.
pub const MAX_POINTS: u16 = 1_000;

/// The attempts that ended within one step.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The beginning of the step, by the database's clock.
    pub at: OffsetDateTime,
    /// Attempts by [outcome](Outcome::ALL).
    pub jobs: [i64; Outcome::ALL.len()],
    /// The times from when jobs were due to their claim.
    pub wait: Histogram,
    /// The times from their claim to the end of the attempt.
    pub run: Histogram,
}

impl Bucket {
    /// The attempts that ended so.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> i64 {
        self.jobs[outcome as usize]
    }
}

/// The jobs that waited within one step: the most that were seen at one of its minutes.
#[derive(Clone, Debug, Serialize)]
pub struct Depth {
    /// The beginning of the step, by the database's clock.
    pub at: OffsetDateTime,
    /// Due jobs that nobody ran, counted up to [`DEPTH_CAP`] in each queue.
    pub waiting: i64,
    /// The age of the oldest of them in seconds; `None` when none waited.
    pub oldest_secs: Option<f64>,
}

/// The last `points` steps, the one that goes on included, oldest first and without gaps: of one
/// queue, one kind, both, or all. At most [`MAX_POINTS`].
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn jobs(
    conn: &mut PgConnection,
    (step, points): (Step, u16),
    queue: Option<&str>,
    kind: Option<&str>,
) -> Result<Vec<Bucket>, QueueError> {
    let of_all = (queue.is_none() && kind.is_none()).then_some(ALL);
    let rows = sqlx::query_file!(
        "src/sql/activity.sql",
        step as Step,
        step.secs() as f64,
        i32::from(points.min(MAX_POINTS)),
        queue.or(of_all),
        kind.or(of_all),
    )
    .fetch_all(conn)
    .await?;
    let mut buckets: Vec<Bucket> = Vec::new();
    for row in rows {
        if buckets.last().is_none_or(|last| last.at != row.at) {
            let (wait, run) = Default::default();
            buckets.push(Bucket { at: row.at, jobs: Default::default(), wait, run });
        }
        let (Some(bucket), Some(outcome)) = (buckets.last_mut(), row.outcome) else { continue };
        bucket.jobs[outcome as usize] += row.jobs.unwrap_or(0);
        bucket.wait.merge(&Histogram::of_counts(&row.wait.unwrap_or_default()));
        bucket.run.merge(&Histogram::of_counts(&row.run.unwrap_or_default()));
    }
    Ok(buckets)
}

/// The last `points` steps, as [`jobs`] gives them: of one queue, or of all together.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn depths(
    conn: &mut PgConnection,
    (step, points): (Step, u16),
    queue: Option<&str>,
) -> Result<Vec<Depth>, QueueError> {
    let depths = sqlx::query_file_as!(
        Depth,
        "src/sql/depths.sql",
        step as Step,
        step.secs() as f64,
        i32::from(points.min(MAX_POINTS)),
        queue.unwrap_or(ALL),
    )
    .fetch_all(conn)
    .await?;
    Ok(depths)
}
