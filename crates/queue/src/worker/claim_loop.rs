//! The loop that claims jobs for the free slots of a worker.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Worker;
use super::claim::{ClaimTurns, ClaimedJob};
use super::pace::{Found, Pace};
use super::slots::Slots;
use crate::telemetry::engine_spans::{Claimed, record_claim};

/// The longest pause between claims while the database is away.
const MAX_CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// A claim that is under way when the worker is told to stop may take so long.
const LAST_CLAIM_TIME: Duration = Duration::from_secs(2);

impl<S: Clone + Send + Sync + 'static> Worker<S> {
    /// Claims as many jobs as there are free slots for, and starts them, until told to stop.
    pub(super) async fn claim_until(
        &self,
        turns: &mut ClaimTurns,
        stop: &CancellationToken,
        slots: &Slots,
        wake: &Notify,
        tasks: &TaskTracker,
    ) {
        let mut failures = 0u32;
        let mut pace = Pace::new();
        while stop.run_until_cancelled(slots.wait_for_some()).await.is_some() {
            let (since, began_at) = (Instant::now(), SystemTime::now());
            // A claim that is under way is not given up: its jobs would be nobody's until their
            // leases are over, and be taken for jobs that cost a worker.
            let claimed = tokio::select! {
                claimed = turns.claim(slots.rooms()) => claimed,
                () = late(stop) => return,
            };
            match claimed {
                Ok(claim) => {
                    failures = 0;
                    self.activity().engine().claimed(claim.jobs.len(), since.elapsed());
                    let found = found_by(&claim.jobs);
                    record_claim(began_at, self.id, claim.jobs.iter().map(of_claim));
                    self.dispatcher.dispatch(claim.jobs, since, slots, tasks);
                    if !claim.has_more {
                        let lull = pace.lull_after(since, found);
                        let waiting = async {
                            tokio::select! {
                                () = self.wait_for_work(wake, lull, claim.again_in) => {}
                                // More may be due there than there was room for.
                                () = slots.wait_for_room(&claim.full) => {}
                            }
                        };
                        stop.run_until_cancelled(waiting).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.activity().engine().failed_claims.add(1);
                    if failures == 1 {
                        let error = crate::chain(&error);
                        tracing::warn!(error, "cannot claim jobs, trying on");
                    }
                    let pause = Duration::from_millis(50) * 2u32.pow(failures.min(6));
                    let pause = tokio::time::sleep(pause.min(MAX_CLAIM_PAUSE));
                    stop.run_until_cancelled(pause).await;
                }
            }
        }
    }

    /// Waits for the moment to claim again. Wakings within `lull` are followed after it, but for
    /// those by the end of a job of this worker's, which others wait for.
    async fn wait_for_work(&self, wake: &Notify, lull: Duration, again_in: Option<Duration>) {
        // Jittered, so that idle workers do not poll in step.
        let poll = self.settings.poll.mul_f64(0.9 + 0.1 * fastrand::f64());
        let poll = poll.min(again_in.unwrap_or(poll));
        let waking = async {
            tokio::time::sleep(lull).await;
            wake.notified().await;
        };
        tokio::select! {
            () = waking => {}
            () = self.executor.next_of_key.notified() => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

fn found_by(jobs: &[ClaimedJob]) -> Found {
    match jobs {
        [] => Found::Nothing,
        jobs if jobs.iter().any(|job| job.by_key) => Found::JobsOfKeys,
        _ => Found::Jobs,
    }
}

fn of_claim(job: &ClaimedJob) -> Claimed<'_> {
    Claimed {
        job_id: job.id,
        queue: &job.queue,
        kind: &job.kind,
        trace_context: job.trace_context.as_ref(),
    }
}

/// Ends a while after the worker was told to stop.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_CLAIM_TIME).await;
}
