//! Activity by time, for charts: what workers did, what waited, and what inbound webhooks were
//! answered.
//!
//! All of it is read from rows that are kept for it, so a week is there after a restart, and costs
//! the same whatever the history weighs. The points of a [`Span`] are complete and in order: a time
//! without anything is zero. Times are by the database's clock.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::queue::QueueError;
use crate::queue::activity::{self, Histogram, Outcome, Step};

/// A span of time until now, and the points that it is told in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// Sixty minutes.
    Hour,
    /// Ninety-six quarters of an hour.
    Day,
    /// A hundred and sixty-eight hours.
    Week,
}

/// The text names no span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a span is 1h, 24h or 7d")]
pub struct UnknownSpan;

impl FromStr for Span {
    type Err = UnknownSpan;

    fn from_str(text: &str) -> Result<Self, UnknownSpan> {
        match text {
            "1h" => Ok(Self::Hour),
            "24h" => Ok(Self::Day),
            "7d" => Ok(Self::Week),
            _ => Err(UnknownSpan),
        }
    }
}

impl Span {
    /// The name that [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The time that one point stands for.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Hour => Step::Minute,
            Self::Day => Step::Quarter,
            Self::Week => Step::Hour,
        }
    }

    /// The number of points.
    #[must_use]
    pub const fn points(self) -> u16 {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Week => 168,
        }
    }
}

/// Activity that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// The queue's tables could not be read.
    #[error("the activity of the queue could not be read")]
    Queue(#[from] QueueError),
    /// The database refused or did not answer.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

/// The attempts that ended within one step.
#[derive(Clone, Debug, Serialize)]
pub struct JobsPoint {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Jobs that were completed.
    pub completed: i64,
    /// Attempts that failed and are tried again.
    pub retried: i64,
    /// Jobs that were discarded.
    pub discarded: i64,
    /// The times from when jobs were due to their claim.
    pub wait: Percentiles,
    /// The times from their claim to the end of the attempt.
    pub run: Percentiles,
}

/// The seconds that one half, 95 % and 99 % of all took at most, to some 20 %; `None` of none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// 95 % took at most this.
    pub p95: Option<f64>,
    /// 99 % took at most this.
    pub p99: Option<f64>,
}

impl Percentiles {
    fn of(times: &Histogram) -> Self {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| times.quantile(share));
        Self { p50, p95, p99 }
    }
}

/// Attempts by time: of one queue, one kind, both, or all. A queue or kind of which there is
/// nothing has zeros.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn jobs(
    conn: &mut PgConnection,
    span: Span,
    queue: Option<&str>,
    kind: Option<&str>,
) -> Result<Vec<JobsPoint>, ActivityError> {
    let buckets = activity::jobs(conn, (span.step(), span.points()), queue, kind).await?;
    let point = |bucket: activity::Bucket| JobsPoint {
        at: bucket.at,
        completed: bucket.of(Outcome::Completed),
        retried: bucket.of(Outcome::Retried),
        discarded: bucket.of(Outcome::Discarded),
        wait: Percentiles::of(&bucket.wait),
        run: Percentiles::of(&bucket.run),
    };
    Ok(buckets.into_iter().map(point).collect())
}

/// The jobs that waited within one step: the most that were seen at one of its minutes.
#[derive(Clone, Debug, Serialize)]
pub struct DepthPoint {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Due jobs that nobody ran, counted up to [`activity::DEPTH_CAP`] in each queue.
    pub waiting: i64,
    /// The age of the oldest of them in seconds; `None` when none waited.
    pub oldest_secs: Option<f64>,
}

/// Waiting jobs by time: of one queue, or of all together.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn depth(
    conn: &mut PgConnection,
    span: Span,
    queue: Option<&str>,
) -> Result<Vec<DepthPoint>, ActivityError> {
    let depths = activity::depths(conn, (span.step(), span.points()), queue).await?;
    let point = |depth: activity::Depth| {
        let activity::Depth { at, waiting, oldest_secs } = depth;
        DepthPoint { at, waiting, oldest_secs }
    };
    Ok(depths.into_iter().map(point).collect())
}

/// The inbound webhooks that were answered within one step.
#[derive(Clone, Debug, Serialize)]
pub struct IntakePoint {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Webhooks that brought a new transaction.
    pub accepted: i64,
    /// Webhooks whose transaction was known already.
    pub duplicate: i64,
    /// Webhooks that were refused with a 4xx, conflicts among them.
    pub refused: i64,
}

/// Inbound webhooks by time, of all sources.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn intake(
    conn: &mut PgConnection,
    span: Span,
) -> Result<Vec<IntakePoint>, ActivityError> {
    let points = sqlx::query_as!(
        IntakePoint,
        r#"
        select
          step.at as "at!",
          coalesce(sum(webhooks) filter (where outcome = 'accepted'), 0)::bigint as "accepted!",
          coalesce(sum(webhooks) filter (where outcome = 'duplicate'), 0)::bigint as "duplicate!",
          coalesce(
            sum(webhooks) filter (where outcome in ('conflict', 'refused')), 0
          )::bigint as "refused!"
        from (
          select
            date_bin(make_interval(secs => $1), statement_timestamp(), timestamptz 'epoch')
              - n * make_interval(secs => $1) as at
          from generate_series(0, $2::int - 1) as n
        ) as step
        left join api.intake on intake.step_secs = $1::float8::int and intake.at = step.at
        group by step.at
        order by step.at
        "#,
        span.step().secs() as f64,
        i32::from(span.points()),
    )
    .fetch_all(conn)
    .await?;
    Ok(points)
}

/// Inbound webhooks of one source that were answered alike, within some seconds.
#[derive(Clone, Debug, Serialize)]
pub struct IntakeCount {
    /// The age of the first of these seconds.
    pub age_secs: f64,
    /// The age of the last of the answers.
    pub last_age_secs: f64,
    /// The place where the webhooks came in.
    pub source: String,
    /// `accepted`, `duplicate`, `conflict`, `refused` or `unavailable`.
    pub outcome: &'static str,
    /// Their number.
    pub webhooks: u64,
}

/// Stores a batch of counts: once, however often it is sent. Batches of one process are numbered
/// upwards.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn record_intake(
    conn: &mut PgConnection,
    process: Uuid,
    number: i64,
    counts: &[IntakeCount],
) -> Result<(), ActivityError> {
    sqlx::query_scalar!("select api.record_intake($1, $2, $3)", process, number, Json(counts) as _)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Drops what is older than it is kept for.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn prune_intake(conn: &mut PgConnection) -> Result<(), ActivityError> {
    sqlx::query!("select api.prune_intake()").execute(conn).await?;
    Ok(())
}

/// The time since a source last brought something that was accepted or known already.
#[derive(Clone, Debug, Serialize)]
pub struct Silence {
    /// The place where the webhooks come in.
    pub source: String,
    /// The time since then.
    pub since: Duration,
}

/// The silence of each source; those that never brought anything are not among them.
///
/// # Errors
///
/// [`ActivityError`].
pub async fn silences(conn: &mut PgConnection) -> Result<Vec<Silence>, ActivityError> {
    let rows = sqlx::query!(
        r#"
        select
          source,
          extract(epoch from clock_timestamp() - max(last_at))::float8 as "secs!"
        from api.intake
        where step_secs = 86400 and outcome in ('accepted', 'duplicate')
        group by source
        "#
    )
    .fetch_all(conn)
    .await?;
    let silence = |source, secs: f64| Silence {
        source,
        since: Duration::try_from_secs_f64(secs).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(|row| silence(row.source, row.secs)).collect())
}
