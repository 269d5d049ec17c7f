//! Lists of jobs, newest first, over millions of them.
//!
//! A list goes by id, which the indexes of both tables give in order, so nothing is sorted but what
//! is shown, and each list costs the same whatever the history weighs. What the filter asks beyond
//! that is looked at job by job; a page ends when it is full, or when [`MAX_EXAMINED`] jobs were
//! looked at: then it may be short, even empty, and says where to go on.

use serde::Serialize;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::failures::Fingerprint;
use super::filter::JobFilter;
use crate::QueueError;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::moments;
use crate::state::JobState;

/// The most jobs of one page.
pub const MAX_LISTED: u32 = 1_000;

/// The most jobs that are looked at for one page; half as many by their failures, which are looked
/// up for each.
pub const MAX_EXAMINED: i64 = 20_000;

/// The most jobs that one statement looks at.
const MAX_WINDOW: i64 = 10_000;

/// A job's id is drawn at most so long before its `enqueued_at` is read from the clock: between
/// them, a unique job may wait for another transaction.
const ENQUEUE_TAKES: Duration = Duration::HOUR;

/// A job in a list.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct JobSummary {
    /// Its number.
    pub id: JobId,
    /// The queue that it is in.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: JobState,
    /// 1 (claimed first) to 4 (last).
    pub priority: i16,
    /// Attempts begun.
    pub attempt: i16,
    /// After so many failed attempts it is discarded.
    pub max_attempts: i16,
    /// The moment at which it is due, or was when it last ran.
    #[serde(with = "time::serde::rfc3339")]
    pub run_at: OffsetDateTime,
    /// The moment at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// The moment at which it was finished; null if it is not.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// The key that it was enqueued with.
    pub key: Option<String>,
    /// The words that it can be found by; null for none.
    pub tags: Option<Vec<String>>,
    /// The batch that it belongs to.
    pub batch_id: Option<i64>,
    /// Its arguments, as operators may see them.
    pub args: JsonText,
    /// The error of its last ended attempt, or why an operator discarded it; null if there is none,
    /// or retention has dropped it.
    pub error: Option<String>,
    /// The moment at which it was discarded, or its last attempt failed; null if neither was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failed_at: Option<OffsetDateTime>,
    /// The fingerprint of its last failure; null if it has not failed, has ended otherwise, or
    /// somebody has decided over it since.
    pub fingerprint: Option<Fingerprint>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<JobSummary>,
    /// The job before which the next page begins. None when this was the last page.
    pub next: Option<JobId>,
}

/// The jobs that match, newest first: those before `before`, or from the newest on. At most
/// `limit`, which is capped at [`MAX_LISTED`]. With [`ids`](JobFilter::ids), which should be no
/// more than that either, all that match are one page.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> Result<Page, QueueError> {
    if filter.is_impossible() {
        return Ok(Page { jobs: Vec::new(), next: None });
    }
    let limit = i64::from(limit.clamp(1, MAX_LISTED));
    let (lowest, end) = match &filter.ids {
        Some(ids) => {
            let jobs = matching(conn, filter, (0, i64::MAX), ids.len() as i64).await?;
            return Ok(Page { jobs, next: None });
        }
        None => bounds(conn, filter).await?,
    };
    let mut end = before.map_or(end, |before| before.0.min(end));
    // Where all match, so many make the page.
    let mut window: i64 = if filter.is_selective() { (4 * limit).min(MAX_WINDOW) } else { limit };
    let most = if filter.is_about_failures() { MAX_EXAMINED / 2 } else { MAX_EXAMINED };
    let mut examined = 0;
    let mut jobs = Vec::new();
    loop {
        let start = page_start(conn, filter, (lowest, end), window).await?;
        let wanted = limit - jobs.len() as i64;
        let found = matching(conn, filter, (start.unwrap_or(lowest), end), wanted).await?;
        let is_full = found.len() as i64 == wanted;
        jobs.extend(found);
        let Some(start) = start else {
            // There was no more to look at, unless this stopped before the end of it.
            let last = jobs.last().filter(|_| is_full);
            return Ok(Page { next: last.map(|job: &JobSummary| job.id), jobs });
        };
        examined += window;
        if is_full {
            return Ok(Page { next: jobs.last().map(|job| job.id), jobs });
        }
        if examined >= most {
            return Ok(Page { next: Some(JobId(start)), jobs });
        }
        end = start;
        window = (4 * window).min(MAX_WINDOW);
    }
}

/// The ids between which the jobs of the filter's time are: from the first on, to before the
/// second.
async fn bounds(conn: &mut PgConnection, filter: &JobFilter) -> Result<(i64, i64), QueueError> {
    let takes = filter.ids_drawn_within.unwrap_or(ENQUEUE_TAKES);
    let lowest = match filter.since {
        Some(since) => ids_around(conn, moments::nearest(since) - takes).await?.0,
        None => 0,
    };
    let end = match filter.until {
        Some(until) => ids_around(conn, moments::nearest(until) + takes).await?.1,
        None => i64::MAX,
    };
    Ok((lowest, end))
}

async fn ids_around(
    conn: &mut PgConnection,
    moment: OffsetDateTime,
) -> Result<(i64, i64), QueueError> {
    let ids = sqlx::query!(
        r#"
        select last_before as "last_before!", first_after as "first_after!"
        from queue.ids_around($1)
        "#,
        moment,
    )
    .fetch_one(conn)
    .await?;
    Ok((ids.last_before, ids.first_after))
}

/// The id down to which `window` jobs are in one of the filter's tables; none if there are fewer.
async fn page_start(
    conn: &mut PgConnection,
    filter: &JobFilter,
    (lowest, end): (i64, i64),
    window: i64,
) -> Result<Option<i64>, QueueError> {
    let start = sqlx::query_scalar!(
        r#"
        select queue.page_start(
          before => $1, lowest => $2, jobs => $3, unfinished => $4,
          states => $5::text[]::queue.finished_state[],
          since => coalesce($6::timestamptz, '-infinity')
        )
        "#,
        end,
        lowest,
        i32::try_from(window).unwrap_or(i32::MAX),
        !filter.unfinished().is_empty(),
        &filter.finished(),
        filter.since.map(filter_moment),
    )
    .fetch_one(conn)
    .await?;
    Ok(start)
}

async fn matching(
    conn: &mut PgConnection,
    filter: &JobFilter,
    (start, end): (i64, i64),
    limit: i64,
) -> Result<Vec<JobSummary>, QueueError> {
    let (one, other): (Vec<JsonText>, Vec<JsonText>) =
        filter.args.iter().map(|wanted| wanted.wanted()).unzip();
    let ids: Option<Vec<i64>> = filter.ids.as_ref().map(|ids| ids.iter().map(|id| id.0).collect());
    let jobs = sqlx::query_file_as!(
        JobSummary,
        "src/sql/list_jobs.sql",
        end,
        start,
        limit,
        &filter.unfinished(),
        &filter.finished(),
        some(&filter.kinds),
        some(&filter.queues),
        some(&filter.tags),
        some(&filter.keys),
        filter.error,
        filter.min_attempt,
        filter.since.map(filter_moment),
        filter.until.map(filter_moment),
        &one as _,
        &other as _,
        ids.as_deref(),
        filter.failed_since,
        filter.failed_until,
        filter.decided,
        filter.fingerprint.map(|failure| failure.0),
        filter.unchanged_since,
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs)
}

/// A moment of a filter as the database compares with it.
fn filter_moment(moment: OffsetDateTime) -> OffsetDateTime {
    moments::to_the_microsecond(moments::nearest(moment))
}

/// None where nothing is asked for.
fn some(values: &[String]) -> Option<&[String]> {
    (!values.is_empty()).then_some(values)
}
