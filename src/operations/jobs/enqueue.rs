//! New jobs, with the queue, priority and bounds of their kind.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{JobId, JobsError, known_kinds};
use crate::audit::{self, Subject};
use crate::jobs::ResolveBankOrder;
use crate::operations::Identity;
use crate::queue::commits::commit;
use crate::queue::enqueue::kinds::{self, KindDeclaration};
use crate::queue::{
    InvalidJob, Job as _, JsonText, NewJob, QueueError, Unique, enqueue as enqueue_job,
};

/// Priorities, from the one that is claimed first.
pub const PRIORITIES: std::ops::RangeInclusive<i16> = 1..=4;

/// The bounds of `max_attempts`.
pub const MAX_ATTEMPTS: std::ops::RangeInclusive<i16> = 1..=1000;

/// A job to be enqueued. A field that is none has the value of the kind.
#[derive(Clone, Debug)]
pub struct EnqueueJob {
    /// The kind.
    pub kind: String,
    /// The arguments.
    pub args: JsonText,
    /// The queue.
    pub queue: Option<String>,
    /// The priority, one of [`PRIORITIES`].
    pub priority: Option<i16>,
    /// The time at which it is due.
    pub due: Due,
    /// The key.
    pub key: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The number of failed attempts after which it is discarded, one of [`MAX_ATTEMPTS`].
    pub max_attempts: Option<i16>,
    /// Jobs that it must not repeat.
    pub uniqueness: Option<Uniqueness>,
    /// True to enqueue a kind that this program does not know: with the values that the program
    /// which knows it has declared, if it has.
    pub allow_unknown_kind: bool,
}

/// The time at which a new job is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// At once.
    Now,
    /// After this long.
    After(Duration),
    /// At this moment.
    At(OffsetDateTime),
}

/// The jobs that a new one must not repeat: unfinished ones, or with `window` all that were
/// enqueued within it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uniqueness {
    /// Fields of the arguments whose values must differ; all arguments if there are none.
    pub fields: Vec<String>,
    /// The time for which one repeats another.
    pub window: Option<Duration>,
}

/// A job that could not be enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// A kind that this program does not know.
    #[error("this program does not know the kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// The kinds that it knows.
        known: Vec<&'static str>,
    },
    /// Jobs of this kind are enqueued by the discard of another job only.
    #[error("jobs of kind {kind} only ever follow up a discarded one")]
    FollowUpOnly {
        /// The kind.
        kind: String,
    },
    /// No job of this kind has such arguments.
    #[error("arguments of kind {kind} cannot be these")]
    Args {
        /// The kind.
        kind: String,
        /// The error of the arguments.
        source: serde_json::Error,
    },
    /// The priority is none of [`PRIORITIES`].
    #[error("a priority is a number from {} to {}", PRIORITIES.start(), PRIORITIES.end())]
    Priority,
    /// `max_attempts` is none of [`MAX_ATTEMPTS`].
    #[error("a job has {} to {} attempts", MAX_ATTEMPTS.start(), MAX_ATTEMPTS.end())]
    MaxAttempts,
    /// The arguments have more JSON than the queue takes.
    #[error("{0}")]
    TooLong(QueueError),
    /// The job does not keep to the bounds of the queue.
    #[error("{0}")]
    Invalid(InvalidJob),
    /// The arguments are sealed, which needs the keys.
    #[error("{0}")]
    Sealed(QueueError),
    /// The arguments of this kind, which another program has declared, are sealed.
    #[error("the arguments of {kind} jobs are sealed")]
    SealedElsewhere {
        /// The kind.
        kind: String,
    },
    /// The database refused or did not answer.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

impl From<sqlx::Error> for EnqueueError {
    fn from(error: sqlx::Error) -> Self {
        Self::Jobs(error.into())
    }
}

/// A job that was enqueued, or the one that it would have repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct EnqueuedJob {
    /// The job.
    pub id: JobId,
    /// True if this call enqueued it.
    pub is_new: bool,
}

/// Enqueues a job, if its kind can have such arguments.
///
/// # Errors
///
/// [`EnqueueError`]; nothing was enqueued then.
pub async fn enqueue(
    pool: &PgPool,
    request: EnqueueJob,
    by: &Identity,
) -> Result<EnqueuedJob, EnqueueError> {
    // Without the arguments, which may be secret.
    let after = json!({ "kind": request.kind, "queue": request.queue, "key": request.key });
    let mut tx = pool.begin().await?;
    let job = request.into_job(pool, &mut tx).await?;
    let enqueued = enqueue_job(&mut tx, job).await.map_err(|error| match error {
        QueueError::ArgsTooLong { .. } => EnqueueError::TooLong(error),
        QueueError::InvalidJob(problem) => EnqueueError::Invalid(problem),
        _ => EnqueueError::Jobs(error.into()),
    })?;
    if !enqueued.is_existing() {
        let entry = by.entry("job.enqueue", Subject::new("job", enqueued.id()));
        audit::record(&mut tx, &[entry.before(&Value::Null).after(&after)]).await?;
    }
    commit(tx).await?;
    Ok(EnqueuedJob { id: enqueued.id(), is_new: !enqueued.is_existing() })
}

impl EnqueueJob {
    async fn into_job(
        self,
        pool: &PgPool,
        conn: &mut PgConnection,
    ) -> Result<NewJob, EnqueueError> {
        if self.priority.is_some_and(|priority| !PRIORITIES.contains(&priority)) {
            return Err(EnqueueError::Priority);
        }
        if self.max_attempts.is_some_and(|attempts| !MAX_ATTEMPTS.contains(&attempts)) {
            return Err(EnqueueError::MaxAttempts);
        }
        let job = self.of_kind(pool, conn).await?;
        Ok(self.with_own_values(job))
    }

    /// A job with these arguments, and the rest as its kind has it.
    async fn of_kind(
        &self,
        pool: &PgPool,
        conn: &mut PgConnection,
    ) -> Result<NewJob, EnqueueError> {
        let (kind, args) = (&self.kind, &self.args);
        let registry = known_kinds(pool);
        let declarations = registry.declarations();
        let Some(known) = declarations.iter().find(|known| known.kind() == kind) else {
            if self.allow_unknown_kind {
                return self.of_other_program(conn).await;
            }
            let known = declarations.iter().map(KindDeclaration::kind).collect();
            return Err(EnqueueError::UnknownKind { kind: kind.clone(), known });
        };
        if kind == ResolveBankOrder::KIND {
            return Err(EnqueueError::FollowUpOnly { kind: kind.clone() });
        }
        registry
            .check_args(kind, args)
            .map_err(|source| EnqueueError::Args { kind: kind.clone(), source })?;
        known.job(args.clone()).map_err(EnqueueError::Sealed)
    }

    /// A job of a kind that another program has declared, or nobody.
    async fn of_other_program(&self, conn: &mut PgConnection) -> Result<NewJob, EnqueueError> {
        let job = NewJob::raw(self.kind.clone(), self.args.clone());
        let declared = kinds::list(conn).await.map_err(JobsError::from)?;
        match declared.into_iter().find(|declared| declared.kind == self.kind) {
            None => Ok(job),
            Some(declared) if declared.sealed => {
                Err(EnqueueError::SealedElsewhere { kind: declared.kind })
            }
            Some(declared) => {
                let job = job.queue(declared.queue).priority(declared.priority);
                Ok(job.max_attempts(declared.max_attempts))
            }
        }
    }

    fn with_own_values(self, mut job: NewJob) -> NewJob {
        if let Some(queue) = self.queue {
            job = job.queue(queue);
        }
        if let Some(priority) = self.priority {
            job = job.priority(priority);
        }
        if let Some(max_attempts) = self.max_attempts {
            job = job.max_attempts(max_attempts);
        }
        job = match self.due {
            Due::Now => job,
            Due::After(delay) => job.delay(delay),
            Due::At(moment) => job.run_at(moment),
        };
        if let Some(key) = self.key {
            job = job.key(key);
        }
        for tag in self.tags {
            job = job.tag(tag);
        }
        match self.uniqueness {
            None => job,
            Some(uniqueness) => job.unique(uniqueness.into_unique()),
        }
    }
}

impl Uniqueness {
    fn into_unique(self) -> Unique {
        let fields: Vec<&str> = self.fields.iter().map(String::as_str).collect();
        let unique = match fields.is_empty() {
            true => Unique::by_args(),
            false => Unique::by_fields(&fields),
        };
        match self.window {
            None => unique,
            Some(window) => unique.lasting(window),
        }
    }
}
