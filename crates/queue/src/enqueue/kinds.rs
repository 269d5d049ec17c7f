//! Declared kinds: the facts about each kind of job that are stored in the database, for programs
//! that show jobs, or enqueue them without the Rust types.
//!
//! Each worker declares its kinds when it starts, before it claims anything. Programs that enqueue
//! and run no worker can [declare] them, too, so that no job of a kind is ever shown before it is
//! known what of it is secret.
//!
//! During an upgrade two versions declare the same kind. The fields that either of them redacts are
//! redacted, and a kind that either of them seals counts as sealed: an older binary that starts
//! last lays nothing open. To show a field again, it must be taken out of `queue.kinds` by hand, or
//! the kind be [forgotten](forget) once no old binary runs. Queue, priority, bound and follow-up
//! are what was declared last: they are defaults for statements that enqueue, and no worker reads
//! them.

use std::time::Duration;

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use tokio::sync::OnceCell;

use super::new_job::NewJob;
use crate::QueueError;
use crate::handler::{FollowUp, Job};
use crate::json::JsonText;

/// The facts about a kind that a program declares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KindDeclaration {
    kind: &'static str,
    queue: &'static str,
    priority: i16,
    max_attempts: i16,
    sealed: bool,
    redacted: &'static [&'static str],
    on_discard: Option<FollowUp>,
    keeps_history: bool,
}

impl KindDeclaration {
    /// The declaration of `J`, from its constants.
    #[must_use]
    pub const fn of<J: Job>() -> Self {
        Self {
            kind: J::KIND,
            queue: J::QUEUE,
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
            sealed: J::SEALED,
            redacted: J::REDACTED,
            on_discard: J::ON_DISCARD,
            keeps_history: J::KEEPS_HISTORY,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The queue that its jobs go to.
    #[must_use]
    pub const fn queue(&self) -> &'static str {
        self.queue
    }

    /// Tells whether the arguments are encrypted.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// A job of this kind, whose type the caller need not know, with the queue, priority, bounds
    /// and follow-up of the kind.
    ///
    /// # Errors
    ///
    /// [`QueueError::MustBeSealed`].
    pub fn job(&self, args: impl Into<JsonText>) -> Result<NewJob, QueueError> {
        if self.sealed {
            return Err(QueueError::MustBeSealed { kind: self.kind });
        }
        let mut job = NewJob::raw(self.kind, args)
            .queue(self.queue)
            .priority(self.priority)
            .max_attempts(self.max_attempts);
        job.extras.on_discard = self.on_discard.clone();
        job.extras.no_history = !self.keeps_history;
        Ok(job)
    }
}

/// Makes these kinds known.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn declare(
    executor: impl PgExecutor<'_>,
    kinds: &[KindDeclaration],
) -> Result<(), QueueError> {
    sqlx::query_file!("src/sql/declare_kinds.sql", Json(kinds) as _).execute(executor).await?;
    Ok(())
}

/// Between two tries to make declarations while the database is away.
const PAUSE: Duration = Duration::from_secs(2);

/// The declarations of a worker, made once.
#[derive(Debug)]
pub(crate) struct Declarations {
    kinds: Vec<KindDeclaration>,
    made: OnceCell<()>,
}

impl Declarations {
    pub(crate) fn new(kinds: Vec<KindDeclaration>) -> Self {
        Self { kinds, made: OnceCell::new() }
    }

    /// Makes them, unless they have been made.
    pub(crate) async fn make(&self, pool: &PgPool) -> Result<(), QueueError> {
        self.made.get_or_try_init(|| declare(pool, &self.kinds)).await.copied()
    }

    /// Makes them, however long the database is away.
    pub(crate) async fn make_at_last(&self, pool: &PgPool) {
        while let Err(error) = self.make(pool).await {
            let error = crate::chain(&error);
            tracing::warn!(error, "the job kinds could not be declared, trying on");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A kind that somebody has declared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Kind {
    /// Its name.
    pub kind: String,
    /// The fields of its arguments that nobody is shown.
    pub redacted: Vec<String>,
    /// True when its arguments are encrypted.
    pub sealed: bool,
    /// The queue that its jobs go to.
    pub queue: String,
    /// 1 (claimed first) to 4 (last).
    pub priority: i16,
    /// After so many failed attempts a job is discarded.
    pub max_attempts: i16,
    /// The follow-up that is enqueued when a job is discarded and its handler has not seen to that:
    /// kind, queue, priority and bound; null for none.
    pub on_discard: Option<serde_json::Value>,
    /// The last start of a program that knows the kind.
    #[serde(with = "time::serde::rfc3339")]
    pub seen_at: OffsetDateTime,
}

/// All kinds that were declared, in the order of their names.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Kind>, QueueError> {
    let kinds = sqlx::query_as!(
        Kind,
        "
        select kind, redacted, sealed, queue, priority, max_attempts, on_discard, seen_at
        from queue.kinds
        order by kind
        "
    )
    .fetch_all(conn)
    .await?;
    Ok(kinds)
}

/// Forgets what was declared of a kind, until the next program that knows it starts. False when
/// nothing was.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn forget(conn: &mut PgConnection, kind: &str) -> Result<bool, QueueError> {
    let forgotten = sqlx::query!("delete from queue.kinds where kind = $1", kind)
        .execute(conn)
        .await?
        .rows_affected();
    Ok(forgotten > 0)
}
