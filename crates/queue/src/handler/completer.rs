//! Completes jobs that wrote nothing else: those that are done at the same moment share one
//! statement and one commit.
//!
//! A run waits for the commit of its own completion: nothing is done but not recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sqlx::PgPool;

use super::transitions::{self, Completion};
use crate::activity::Activity;
use crate::batcher::{Batcher, Limits, Processor, Request};
use crate::deadline::within;
use crate::ids::JobId;
use crate::telemetry::engine_spans::record_completion;

/// The most completions that wait, and the most in one statement.
const LIMITS: Limits = Limits { waiting: 1000, batch: 1000 };

/// The end of a shared completion for one job.
#[derive(Debug)]
pub(crate) enum SharedCompletion {
    /// Committed; and whether others wait for the job.
    Done { wakes: bool },
    /// The job belongs to another worker by now.
    LeaseLost,
    /// The database refused, or its answer was lost.
    Unknown,
}

/// A handle on the completer's task, which ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Completer(Batcher<Completion, SharedCompletion>);

impl Completer {
    pub(crate) fn start(pool: PgPool, activity: Arc<Activity>) -> Self {
        let (batcher, mut task) = Batcher::start(LIMITS, [Completions { pool, activity }]);
        task.detach_all();
        Self(batcher)
    }

    /// Waits until the completion is committed.
    pub(crate) async fn complete(&self, completion: Completion) -> SharedCompletion {
        self.0.ask(completion).await.unwrap_or(SharedCompletion::Unknown)
    }
}

/// Completes a group of jobs by one statement.
struct Completions {
    pool: PgPool,
    activity: Arc<Activity>,
}

impl Processor for Completions {
    type Item = Completion;
    type Answer = SharedCompletion;

    async fn process(&mut self, mut group: Vec<Request<Completion, SharedCompletion>>) {
        // In id order, as every statement that locks several jobs.
        group.sort_unstable_by_key(|request| request.item.id);
        let (completions, replies): (Vec<Completion>, Vec<_>) =
            group.into_iter().map(Request::into_parts).unzip();
        let (began, began_at) = (Instant::now(), SystemTime::now());
        let done = within(transitions::complete(&self.pool, &completions)).await;
        let runs = completions.iter().map(|run| (run.id, run.traceparent.as_deref()));
        record_completion(began_at, runs, done.is_ok());
        match &done {
            Ok(done) => self.count(completions.len(), done.len(), began.elapsed()),
            Err(error) => {
                self.activity.engine().failed_completions.add(1);
                let error = crate::chain(error);
                tracing::warn!(error, jobs = completions.len(), "jobs could not be completed");
            }
        }
        let done: Option<HashMap<JobId, bool>> =
            done.ok().map(|done| done.into_iter().map(|job| (job.id, job.wakes)).collect());
        for (completion, reply) in completions.into_iter().zip(replies) {
            // A run that was stopped meanwhile does not hear it; its outcome is settled by the
            // fence.
            reply.send(match &done {
                None => SharedCompletion::Unknown,
                Some(done) => match done.get(&completion.id) {
                    Some(&wakes) => SharedCompletion::Done { wakes },
                    None => SharedCompletion::LeaseLost,
                },
            });
        }
    }
}

impl Completions {
    fn count(&self, asked: usize, done: usize, took: Duration) {
        let engine = self.activity.engine();
        engine.completed(done, took);
        engine.writes_refused.add(asked - done);
    }
}
