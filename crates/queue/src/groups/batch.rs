//! Batches: jobs that are done when all of them are.

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};

use crate::QueueError;
use crate::enqueue::{Enqueued, Extras, NewJob, enqueue_many, try_out};
use crate::ids::BatchId;
use crate::json::JsonText;
use crate::telemetry::TraceContext;

/// A batch that is about to be made.
///
/// The callbacks are ordinary jobs, each enqueued exactly once, with the arguments that it has
/// here. One that must know its batch is made with its number, see [`reserve`](Self::reserve).
#[derive(Clone, Debug, Default)]
pub struct Batch {
    id: Option<BatchId>,
    description: Option<String>,
    on_done: Option<NewJob>,
    on_completed: Option<NewJob>,
    on_failed: Option<NewJob>,
}

/// A batch that was enqueued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewBatch {
    /// The number of the batch, for [`NewJob::batch`] and
    /// [`batch_status`](super::batch_status).
    pub id: BatchId,
    /// Its first members, in the order in which they were given. A unique job that was there
    /// before is no member.
    pub members: Vec<Enqueued>,
}

impl Batch {
    /// A batch without callbacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch whose number is known before it is enqueued, for callbacks that need it:
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use surety_queue::{NewJob, QueueError};
    /// # use surety_queue::groups::Batch;
    /// # async fn example(tx: &mut sqlx::PgConnection, parts: Vec<NewJob>)
    /// #     -> Result<(), QueueError> {
    /// let (id, batch) = Batch::reserve(tx).await?;
    /// let report = NewJob::raw("report", serde_json::json!({ "batch": id }));
    /// batch.on_done(report).enqueue(tx, parts).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`].
    pub async fn reserve(conn: &mut PgConnection) -> Result<(BatchId, Self), QueueError> {
        let id = sqlx::query_scalar!(
            r#"select nextval(pg_get_serial_sequence('queue.batches', 'id')) as "id!""#
        )
        .fetch_one(conn)
        .await?;
        Ok((BatchId(id), Self { id: Some(BatchId(id)), ..Self::default() }))
    }

    /// Describes the batch for people who look at it.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The job that is enqueued when all members have ended, however they did.
    #[must_use]
    pub fn on_done(mut self, callback: NewJob) -> Self {
        self.on_done = Some(callback);
        self
    }

    /// The job that is enqueued when all members are completed; if some of them had to be redriven
    /// for that, this is later than `on_done`.
    #[must_use]
    pub fn on_completed(mut self, callback: NewJob) -> Self {
        self.on_completed = Some(callback);
        self
    }

    /// The job that is enqueued when the first member is discarded or cancelled, while the others
    /// go on.
    #[must_use]
    pub fn on_failed(mut self, callback: NewJob) -> Self {
        self.on_failed = Some(callback);
        self
    }

    /// Enqueues the batch and its members in the caller's transaction. More can be added by
    /// [`NewJob::batch`]: in this transaction, and by members until they have ended.
    ///
    /// # Errors
    ///
    /// [`QueueError::Callback`] when a callback is unique, waits for others, or is in a batch
    /// itself. [`QueueError::Database`]. Then nothing is enqueued.
    pub async fn enqueue(
        self,
        conn: &mut PgConnection,
        members: Vec<NewJob>,
    ) -> Result<NewBatch, QueueError> {
        let on_done = self.on_done.as_ref().map(StoredJob::of).transpose()?;
        let on_completed = self.on_completed.as_ref().map(StoredJob::of).transpose()?;
        let on_failed = self.on_failed.as_ref().map(StoredJob::of).transpose()?;
        // In one transaction, also when the caller has none: a batch without members would be done.
        let mut tx = conn.begin().await?;
        for callback in [&self.on_done, &self.on_completed, &self.on_failed].into_iter().flatten() {
            try_out(&mut tx, callback).await?;
        }
        let id = sqlx::query_scalar!(
            r#"
            insert into queue.batches (id, description, on_done, on_completed, on_failed)
            overriding system value
            values (
              coalesce($1, nextval(pg_get_serial_sequence('queue.batches', 'id'))), $2, $3, $4, $5
            )
            returning id as "id: BatchId"
            "#,
            self.id.map(|id| id.0),
            self.description,
            on_done.map(Json) as _,
            on_completed.map(Json) as _,
            on_failed.map(Json) as _,
        )
        .fetch_one(&mut *tx)
        .await?;
        let members: Vec<NewJob> = members.into_iter().map(|job| job.batch(id)).collect();
        let members = enqueue_many(&mut tx, &members).await?;
        tx.commit().await?;
        Ok(NewBatch { id, members })
    }
}

/// A job as `queue.batches` keeps it, see `queue.enqueue_stored`.
#[derive(Debug, Serialize)]
struct StoredJob<'a> {
    queue: &'a str,
    kind: &'a str,
    priority: i16,
    max_attempts: i16,
    delay_secs: f64,
    args: &'a JsonText,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_context: Option<&'a TraceContext>,
    #[serde(flatten)]
    extras: &'a Extras,
}

impl<'a> StoredJob<'a> {
    fn of(job: &'a NewJob) -> Result<Self, QueueError> {
        if job.unique.is_some() {
            return Err(QueueError::Callback("is unique"));
        }
        if !job.after.is_empty() {
            return Err(QueueError::Callback("waits for other jobs"));
        }
        if job.extras.batch_id.is_some() {
            return Err(QueueError::Callback("is in a batch itself"));
        }
        Ok(Self {
            queue: &job.queue,
            kind: &job.kind,
            priority: job.priority,
            max_attempts: job.max_attempts,
            delay_secs: job.delay.as_secs_f64(),
            args: &job.args,
            trace_context: job.trace_context.as_ref(),
            extras: &job.extras,
        })
    }
}
