//! Carries out bulk operations: one action on all jobs that matched a filter when it was asked for.
//!
//! - Here: the job, which goes through the scope in chunks.
//! - `chunk`: what one transaction does.
//! - [`store`]: the rows of operations.
//!
//! Guaranteed: each chunk commits together with how far the operation got, under the lock of the
//! operation and only with the lease of the job. So wherever the process is killed, no job is acted
//! on twice, every count is right, and whoever goes on begins after the last chunk; and a cancel
//! takes hold between two chunks.

mod chunk;
pub mod pruning;
pub mod store;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use self::chunk::is_about_data;
use self::store::Running;
use super::Services;
use crate::audit::{self, NewEntry, Subject};
use crate::ids::BulkOperationId;
use crate::queue::{Backoff, Committed, Job, JobContext, JobError, RunTransaction};

/// The longest that one transaction may take: others wait for the jobs that it locks.
const CHUNK_WITHIN: Duration = Duration::from_secs(15);

/// The time from one report of progress to the next.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Carries out a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunBulkOperation {
    /// The operation.
    pub operation: BulkOperationId,
}

impl Job for RunBulkOperation {
    const KIND: &'static str = "run_bulk_operation";
    const QUEUE: &'static str = "bulk_operations";
    // Where it failed it goes on, so many failures are no reason to give up.
    const MAX_ATTEMPTS: i16 = 100;
    const BACKOFF: Backoff = Backoff { max: Duration::from_secs(60), ..Backoff::DEFAULT };
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type State = Services;

    async fn run(self, _state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let mut told_at = Instant::now();
        loop {
            let (tx, operation) = match timeout(CHUNK_WITHIN, self.next_chunk(&cx)).await {
                Ok(done) => done?,
                Err(_elapsed) => return Err(JobError::from(ChunkTookTooLong)),
            };
            if operation.is_done() {
                return finish(cx, tx, &operation).await;
            }
            tx.commit().await?;
            cx.waker().wake();
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                cx.progress(operation.percent(), &in_words(&operation)).await?;
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a chunk took longer than {} s", CHUNK_WITHIN.as_secs())]
struct ChunkTookTooLong;

impl RunBulkOperation {
    /// Does the next part, and keeps how far the operation is with it, in a transaction that is to
    /// be committed.
    async fn next_chunk(self, cx: &JobContext) -> Result<(RunTransaction, Running), JobError> {
        let (mut tx, mut operation) = self.begin(cx).await?;
        let part = operation.next_part(&mut tx).await?;
        let before = operation.clone();
        if let Err(error) = operation.act(&mut tx, &part).await {
            if !is_about_data(&error) {
                return Err(error.into());
            }
            tx.rollback().await?;
            // Nobody else goes on with it while this run has the lease, which is looked at below.
            (tx, _) = self.begin(cx).await?;
            operation = before;
            operation.put_aside(part, &error);
        }
        store::keep(&mut tx, &operation).await?;
        // Last, because it locks the job: its lease, and those beside it, cannot be renewed until
        // the commit.
        cx.require_lease(&mut tx).await?;
        Ok((tx, operation))
    }

    async fn begin(self, cx: &JobContext) -> Result<(RunTransaction, Running), JobError> {
        let mut tx = cx.begin().await?;
        match store::lock(&mut tx, self.operation).await? {
            Some(operation) => Ok((tx, operation)),
            None => {
                tx.rollback().await?;
                let reason = format!("operation {} is cancelled or unknown", self.operation);
                Err(JobError::Cancel(reason))
            }
        }
    }
}

/// Completes the job with the last chunk.
async fn finish(
    cx: JobContext,
    mut tx: RunTransaction,
    operation: &Running,
) -> Result<Committed, JobError> {
    let skipped = &operation.tally.skipped;
    let counts = json!({
        "done": operation.tally.changed, "failed": operation.failed, "skipped": skipped,
    });
    let subject = Subject::new("bulk_operation", operation.id);
    let by = format!("job:{}", RunBulkOperation::KIND);
    let entry = NewEntry::new(&by, "bulk_operation.complete", subject).data(&counts);
    audit::record(&mut tx, &[entry]).await?;
    let waker = cx.waker();
    let committed = cx.with_output(&counts)?.complete(tx).await?;
    waker.wake();
    Ok(committed)
}

fn in_words(operation: &Running) -> String {
    let skipped: u64 = operation.tally.skipped.values().sum();
    format!("{} done, {skipped} skipped, {} failed", operation.tally.changed, operation.failed)
}
