//! Way in: jobs are enqueued in the caller's database transaction, so that they exist exactly when
//! the rows that they are about exist.
//!
//! - [`enqueue`] and [`enqueue_many`]: one statement, whatever the number.
//! - [`enqueue_by_copy`]: for thousands at once.
//! - `queue.enqueue(kind, args, …)` in SQL: for other languages and for triggers.
//!
//! # Unique jobs
//!
//! ```
//! # use std::time::Duration;
//! # use serde::{Deserialize, Serialize};
//! # use surety_queue::{QueueError, enqueue::{Enqueued, NewJob, Unique, enqueue}};
//! # async fn example(conn: &mut sqlx::PgConnection, job: NewJob) -> Result<(), QueueError> {
//! // At most one such job for the same customer in an hour, completed ones included.
//! let unique = Unique::by_fields(&["customer"]).lasting(Duration::from_secs(3600));
//! match enqueue(conn, job.unique(unique)).await? {
//!     Enqueued::New(id) => println!("job {id}"),
//!     Enqueued::Existing(id) => println!("job {id} does that already"),
//! }
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::QueueError;
use super::groups::{self, IfFailed};
use super::job::{FollowUp, Job, JobId};
use super::sealing::PlainArgs;
use super::spans::EnqueueSpan;
use super::store;
use super::trace_context::TraceContext;
pub use super::unique::Unique;

/// A job that is about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(super) queue: Cow<'static, str>,
    pub(super) kind: Cow<'static, str>,
    pub(super) priority: i16,
    pub(super) max_attempts: i16,
    pub(super) delay: Duration,
    pub(super) args: Value,
    /// What is sealed in `args`, for as long as it must be known what the job is unique by.
    pub(super) plain_args: Option<PlainArgs>,
    pub(super) extras: Extras,
    pub(super) unique: Option<Unique>,
    /// The jobs that it waits for.
    pub(super) after: Vec<JobId>,
    pub(super) if_failed: IfFailed,
    pub(super) trace_context: Option<TraceContext>,
}

/// What most jobs do without. The statement gets it as one JSON object, or null.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Extras {
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) run_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_discard: Option<FollowUp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_history: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch_id: Option<i64>,
    /// It waits for other jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args_key: Option<String>,
}

impl NewJob {
    /// A job with these arguments, due at once, with the queue, priority, bounds and
    /// follow-up of its kind, and continuing the trace of the current span.
    ///
    /// # Errors
    ///
    /// [`QueueError::Args`] when the arguments are no JSON; [`QueueError::MustBeSealed`]
    /// when jobs of this kind are [sealed](Job::SEALED): for these there is [`Self::sealed`].
    pub fn new<J: Job>(args: &J) -> Result<Self, QueueError> {
        if J::SEALED {
            return Err(QueueError::MustBeSealed { kind: J::KIND });
        }
        Self::in_plain(args)
    }

    pub(super) fn in_plain<J: Job>(args: &J) -> Result<Self, QueueError> {
        Ok(Self {
            queue: Cow::Borrowed(J::QUEUE),
            kind: Cow::Borrowed(J::KIND),
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
            delay: Duration::ZERO,
            args: serde_json::to_value(args)
                .map_err(|source| QueueError::Args { kind: J::KIND, source })?,
            plain_args: None,
            extras: Extras {
                on_discard: J::ON_DISCARD,
                no_history: !J::KEEPS_HISTORY,
                ..Extras::default()
            },
            unique: None,
            after: Vec::new(),
            if_failed: IfFailed::default(),
            trace_context: TraceContext::current(),
        })
    }

    /// A job of a kind that this program need not know, in the queue `default`, with priority 2 and
    /// ten attempts. If the kind is [sealed](Job::SEALED), the next rotation of keys seals it.
    pub fn raw(kind: impl Into<String>, args: Value) -> Self {
        Self {
            queue: Cow::Borrowed("default"),
            kind: Cow::Owned(kind.into()),
            priority: 2,
            max_attempts: 10,
            delay: Duration::ZERO,
            args,
            plain_args: None,
            extras: Extras::default(),
            unique: None,
            after: Vec::new(),
            if_failed: IfFailed::default(),
            trace_context: TraceContext::current(),
        }
    }

    /// Another queue than that of the kind. Workers claim from the queues of the kinds that they
    /// know, and from those that they are told.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Cow::Owned(queue.into());
        self
    }

    /// Due after this long, by the database's clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self.extras.run_at = None;
        self
    }

    /// Due at this moment, by the database's clock; at once if it has passed.
    #[must_use]
    pub fn run_at(mut self, moment: OffsetDateTime) -> Self {
        self.delay = Duration::ZERO;
        self.extras.run_at = Some(moment);
        self
    }

    /// Another priority than that of the kind: 1 (claimed first) to 4 (last).
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Another bound than that of the kind: discarded after so many failed attempts, 1 to 1000.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: i16) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Whom the job is for: jobs of one key share the limits per key of their queue, take fair
    /// turns with those of other keys, and run one after another where the queue is ordered. 1 to
    /// 200 characters.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.extras.key = Some(key.into());
        self
    }

    /// A word to find the job by. It may have several.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.extras.tags.push(tag.into());
        self
    }

    /// Enqueued only if there is no other such job, see [`Unique`].
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Continues this trace instead of the current span's.
    #[must_use]
    pub fn trace_context(mut self, context: Option<TraceContext>) -> Self {
        self.trace_context = context;
        self
    }
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueued {
    /// It was enqueued under this number.
    New(JobId),
    /// There is such a job already; see [`Unique`]. Nothing was enqueued.
    Existing(JobId),
}

impl Enqueued {
    /// The job that is there now, new or not.
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }

    /// Whether it was there before.
    pub fn is_existing(self) -> bool {
        matches!(self, Self::Existing(_))
    }
}

/// Enqueues one job in the caller's transaction.
///
/// A worker learns of it at its next poll, or at once if
/// [`Notifier::notify`](super::notifier::Notifier::notify) is called after the commit.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn enqueue(conn: &mut PgConnection, job: NewJob) -> Result<Enqueued, QueueError> {
    let enqueued = enqueue_many(conn, std::slice::from_ref(&job)).await?;
    enqueued.first().copied().ok_or(QueueError::Database(sqlx::Error::RowNotFound))
}

/// Enqueues many jobs in the caller's transaction by one statement, and one for each unique job.
/// The answers are in the order of the jobs.
///
/// # Errors
///
/// [`QueueError::Database`]; then none is enqueued.
pub async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, QueueError> {
    if groups::belongs_to_others(jobs) {
        return groups::enqueue_many(conn, jobs).await;
    }
    enqueue_all(conn, jobs).await
}

/// All that [`enqueue_many`] does for jobs that belong to no others.
pub(super) async fn enqueue_all(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, QueueError> {
    let (unique, plain): (Vec<_>, Vec<_>) =
        (0..jobs.len()).partition(|&position| jobs[position].unique.is_some());
    let mut enqueued = vec![None; jobs.len()];
    if !plain.is_empty() {
        let plain_jobs: Vec<&NewJob> = plain.iter().map(|&position| &jobs[position]).collect();
        let (spans, contexts) = start_spans(&plain_jobs);
        let ids = store::enqueue(conn, &plain_jobs, contexts).await?;
        end_spans(spans, &ids);
        for (position, id) in plain.into_iter().zip(ids) {
            enqueued[position] = Some(Enqueued::New(id));
        }
    }
    for (position, value) in in_lock_order(jobs, unique) {
        enqueued[position] = Some(enqueue_unique(conn, &jobs[position], value).await?);
    }
    Ok(enqueued.into_iter().flatten().collect())
}

/// The unique jobs in an order that is the same for everybody, so that two transactions that
/// enqueue the same ones do not wait for each other in a circle.
fn in_lock_order(jobs: &[NewJob], unique: Vec<usize>) -> Vec<(usize, Value)> {
    let mut values: Vec<_> = unique
        .into_iter()
        .filter_map(|position| Some((position, jobs[position].unique_value()?)))
        .collect();
    values.sort_by_cached_key(|(position, value)| {
        (jobs[*position].kind.clone().into_owned(), value.to_string())
    });
    values
}

async fn enqueue_unique(
    conn: &mut PgConnection,
    job: &NewJob,
    value: Value,
) -> Result<Enqueued, QueueError> {
    let span = EnqueueSpan::start(&job.queue, &job.kind, job.trace_context.as_ref());
    let enqueued = store::enqueue_unique(conn, job, value, span.trace_context().cloned()).await?;
    if let Enqueued::New(id) = enqueued {
        span.enqueued(id);
    }
    Ok(enqueued)
}

/// Enqueues thousands of jobs in the caller's transaction by COPY. The ids are in the order of the
/// jobs.
///
/// # Errors
///
/// [`QueueError::UniqueByCopy`] when one of them is unique; [`QueueError::Database`]. Then none is
/// enqueued.
pub async fn enqueue_by_copy(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<JobId>, QueueError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    if jobs.iter().any(|job| job.unique.is_some()) {
        return Err(QueueError::UniqueByCopy);
    }
    if groups::belongs_to_others(jobs) {
        return groups::enqueue_by_copy(conn, jobs).await;
    }
    copy_all(conn, jobs).await
}

/// All that [`enqueue_by_copy`] does for jobs that belong to no others.
pub(super) async fn copy_all(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<JobId>, QueueError> {
    let jobs: Vec<&NewJob> = jobs.iter().collect();
    let (spans, contexts) = start_spans(&jobs);
    let ids = super::copy::enqueue(conn, &jobs, &contexts).await?;
    end_spans(spans, &ids);
    Ok(ids)
}

fn start_spans(jobs: &[&NewJob]) -> (Vec<EnqueueSpan>, Vec<Option<TraceContext>>) {
    let spans: Vec<EnqueueSpan> = jobs
        .iter()
        .map(|job| EnqueueSpan::start(&job.queue, &job.kind, job.trace_context.as_ref()))
        .collect();
    let contexts = spans.iter().map(|span| span.trace_context().cloned()).collect();
    (spans, contexts)
}

fn end_spans(spans: Vec<EnqueueSpan>, ids: &[JobId]) {
    for (span, id) in spans.into_iter().zip(ids) {
        span.enqueued(*id);
    }
}
