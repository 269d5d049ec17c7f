//! The consequences of a job's end for dependent jobs and batches, settled after its commit.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deadline::within;
use crate::enqueue::Notifier;
use crate::ids::JobId;
use crate::{QueueError, chain};

/// The most ended jobs that are resolved at once.
const MAX_RESOLVED: usize = 1000;

/// The most waiting jobs that one transaction releases or cancels: few enough to be done long
/// before a statement of the engine's times out.
const MAX_SETTLED: i32 = 300;

/// Dependencies and held jobs that one sweep looks at; of batches it is a tenth.
const MAX_SWEPT: i32 = 500;

/// The time between two sweeps, and a random part so that workers do not sweep in step.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1000);
const SWEEP_JITTER: Duration = Duration::from_millis(500);

/// The positions from which the next sweep goes on, see `queue.sweep_groups`.
type Cursors = Vec<i64>;
const CURSORS: usize = 5;

fn from_the_start() -> Cursors {
    vec![0; CURSORS]
}

/// Resolves the ends of a worker's jobs: all that gather while one statement runs are resolved by
/// the next.
pub(crate) struct Resolver {
    pool: PgPool,
    notifier: Notifier,
    ended: Mutex<Vec<JobId>>,
    /// Told when there is something in `ended`.
    has_ended: Notify,
}

impl Resolver {
    /// Inside a Tokio runtime.
    pub(crate) fn new(pool: PgPool) -> Arc<Self> {
        Arc::new(Self {
            notifier: Notifier::start(&pool),
            pool,
            ended: Mutex::default(),
            has_ended: Notify::new(),
        })
    }

    /// These jobs have ended, and that is committed. Never blocks and never fails: what gets lost
    /// is found by the sweep.
    pub(crate) fn resolve_soon(&self, ids: impl IntoIterator<Item = JobId>) {
        let mut ended = self.lock();
        ended.extend(ids);
        if !ended.is_empty() {
            self.has_ended.notify_one();
        }
    }

    /// Resolves and sweeps for ever. `wake` is told when jobs may run.
    pub(crate) async fn run(&self, wake: &Notify) {
        let mut cursors = from_the_start();
        let mut next_sweep = Instant::now();
        loop {
            let resolved = tokio::select! {
                () = self.has_ended.notified() => self.resolve_all().await,
                () = tokio::time::sleep_until(next_sweep) => {
                    next_sweep = Instant::now()
                        + SWEEP_INTERVAL
                        + SWEEP_JITTER.mul_f64(fastrand::f64());
                    self.sweep(&mut cursors).await
                }
            };
            match resolved {
                Ok(0) => {}
                Ok(_woken) => {
                    wake.notify_one();
                    // They may be of kinds that only others know.
                    self.notifier.notify();
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        error,
                        "ended jobs could not be resolved, a sweep will find them"
                    );
                }
            }
        }
    }

    /// Resolves all that has ended, and what that ends in turn. Returns how many jobs may run now.
    pub(crate) async fn resolve_all(&self) -> Result<u64, QueueError> {
        let mut woken = 0;
        let mut ids: Vec<i64> = Vec::new();
        loop {
            let room = MAX_RESOLVED.saturating_sub(ids.len());
            {
                let mut ended = self.lock();
                let taken = ended.len().min(room);
                ids.extend(ended.drain(..taken).map(|id| id.0));
            }
            if ids.is_empty() {
                return Ok(woken);
            }
            let resolving = sqlx::query!(
                r#"
                select cancelled as "cancelled!", woken as "woken!", has_more as "has_more!"
                from queue.resolve($1, $2)
                "#,
                &ids,
                MAX_SETTLED,
            )
            .fetch_one(&self.pool);
            let done = within::<_, QueueError>(async { Ok(resolving.await?) }).await?;
            woken += u64::try_from(done.woken).unwrap_or_default();
            if !done.has_more {
                ids.clear();
            }
            ids.extend(done.cancelled);
        }
    }

    /// Looks at all that waits, from the very start, and resolves what can be. Returns how many
    /// jobs may run now. For tests and for whoever cannot wait for the next sweep.
    pub(crate) async fn catch_up(&self) -> Result<u64, QueueError> {
        let mut woken = self.resolve_all().await?;
        let mut cursors = from_the_start();
        let mut seen_whole = [false; CURSORS];
        while seen_whole.contains(&false) {
            woken += self.sweep(&mut cursors).await?;
            for (seen, cursor) in seen_whole.iter_mut().zip(&cursors) {
                *seen |= *cursor == 0;
            }
        }
        Ok(woken)
    }

    async fn sweep(&self, cursors: &mut Cursors) -> Result<u64, QueueError> {
        let sweeping = sqlx::query!(
            r#"
            select
              next_cursors as "next_cursors!", cancelled as "cancelled!", woken as "woken!"
            from queue.sweep_groups($1, $2)
            "#,
            &*cursors,
            MAX_SWEPT,
        )
        .fetch_one(&self.pool);
        let swept = within::<_, QueueError>(async { Ok(sweeping.await?) }).await?;
        *cursors = swept.next_cursors;
        self.lock().extend(swept.cancelled.into_iter().map(JobId));
        Ok(u64::try_from(swept.woken).unwrap_or_default() + self.resolve_all().await?)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JobId>> {
        self.ended.lock().expect("no code panics while it holds this lock")
    }
}
