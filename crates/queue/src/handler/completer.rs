//! Completes jobs that wrote nothing else: those that are done at the same moment share one
//! statement and one commit.
//!
//! No delay is added to make them meet. While one statement runs, the next completions gather, so
//! the busier the worker, the larger the groups. A run waits for the commit of its own completion:
//! nothing is done but not recorded.

use std::collections::HashMap;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::transitions::{self, Completion};
use crate::deadline::within;
use crate::ids::JobId;

/// The most completions in one statement.
const MAX_GROUP: usize = 1000;

/// How a shared completion ended for one job.
#[derive(Debug)]
pub(crate) enum SharedCompletion {
    /// Committed; and whether others wait for the job.
    Done { wakes: bool },
    /// The job belongs to another worker by now.
    LeaseLost,
    /// The database refused, or its answer was lost.
    Unknown,
}

struct Request {
    completion: Completion,
    answer: oneshot::Sender<SharedCompletion>,
}

/// A handle on the completer's task, which ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Completer {
    requests: mpsc::Sender<Request>,
}

impl Completer {
    pub(crate) fn start(pool: PgPool) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_GROUP);
        tokio::spawn(complete_groups(pool, waiting));
        Self { requests }
    }

    /// Waits until the completion is committed.
    pub(crate) async fn complete(&self, completion: Completion) -> SharedCompletion {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request { completion, answer }).await.is_err() {
            return SharedCompletion::Unknown;
        }
        answered.await.unwrap_or(SharedCompletion::Unknown)
    }
}

async fn complete_groups(pool: PgPool, mut waiting: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        complete_group(&pool, &mut group).await;
    }
}

async fn complete_group(pool: &PgPool, group: &mut Vec<Request>) {
    // In id order, as every statement that locks several jobs.
    group.sort_unstable_by_key(|request| request.completion.id);
    let (completions, answers): (Vec<Completion>, Vec<_>) =
        group.drain(..).map(|request| (request.completion, request.answer)).unzip();
    let done = within(transitions::complete(pool, &completions)).await;
    if let Err(error) = &done {
        let error = crate::chain(error);
        tracing::warn!(error, jobs = completions.len(), "jobs could not be completed");
    }
    let done: Option<HashMap<JobId, bool>> =
        done.ok().map(|done| done.into_iter().map(|job| (job.id, job.wakes)).collect());
    for (completion, answer) in completions.into_iter().zip(answers) {
        let ended = match &done {
            None => SharedCompletion::Unknown,
            Some(done) => match done.get(&completion.id) {
                Some(&wakes) => SharedCompletion::Done { wakes },
                None => SharedCompletion::LeaseLost,
            },
        };
        // Nobody waits any more when the run was stopped meanwhile; its outcome is settled by the
        // fence.
        let _ = answer.send(ended);
    }
}
