//! Executes a user's transfer, or its refund: money from one wallet to another.

use std::collections::HashMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::announcements::announce;
use super::{LEDGER_BATCHES, Services};
use crate::ids::OrderId;
use crate::payments::orders::{self, Executed, Execution};
use crate::payments::outcomes::{Outcome, Outcomes};
use crate::queue::deadline::within;
use crate::queue::telemetry::TraceContext;
use crate::queue::{BatchContext, BatchJob, Committed, JobError};

/// Posts the transfer of an order, releases what it holds, and moves it from `PENDING` to its
/// outcome.
///
/// Enqueued once per order, by whoever places it, in the same database transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecuteTransfer {
    /// The order, a transfer or a refund.
    pub order: OrderId,
}

/// The actor in the audit log.
const BY: &str = "job:execute_transfer";

impl BatchJob for ExecuteTransfer {
    const KIND: &'static str = "execute_transfer";
    const MAX_BATCH: usize = 200;
    // As of settlements.
    const MAX_AT_ONCE: usize = 2;
    const MAX_AT_ONCE_OVERALL: Option<NonZeroU16> = Some(LEDGER_BATCHES);
    type State = Services;

    async fn run_batch(
        jobs: Vec<Self>,
        _state: &Services,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let contexts: HashMap<OrderId, Option<TraceContext>> =
            jobs.iter().map(|job| job.order).zip(cx.trace_contexts()).collect();
        let mut tx = cx.begin().await?;
        let (executed, outcomes) = within(execute(&mut tx, &jobs)).await?;
        let context_of = |outcome: &Outcome| match outcome {
            Outcome::Order(order) => contexts.get(&order.id).cloned().flatten(),
            Outcome::Transaction(_) => None,
        };
        within(announce(&mut tx, &outcomes, BY, context_of)).await?;
        let committed = cx.complete(tx).await?;
        log(&jobs, &executed);
        Ok(committed)
    }
}

/// A job without its order can never succeed: it is discarded. In a batch this undoes the batch,
/// whose jobs then run one by one.
async fn execute(
    conn: &mut sqlx::PgConnection,
    jobs: &[ExecuteTransfer],
) -> Result<(Vec<Executed>, Outcomes), JobError> {
    let executions: Vec<Execution> =
        jobs.iter().map(|job| Execution { order: job.order, bank_reference: None }).collect();
    let (executed, outcomes) = orders::execute_many(conn, &executions).await?;
    match executed.iter().position(|executed| *executed == Executed::Missing) {
        Some(position) => Err(JobError::discard(MissingOrder(jobs[position].order))),
        None => Ok((executed, outcomes)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no order {0} to be executed")]
pub(super) struct MissingOrder(pub(super) OrderId);

/// One line per order, once the outcome is committed.
fn log(jobs: &[ExecuteTransfer], executed: &[Executed]) {
    for (ExecuteTransfer { order }, executed) in jobs.iter().zip(executed) {
        match executed {
            Executed::Completed => tracing::debug!(%order, "transfer {order} completed"),
            Executed::Failed(refusal) => {
                let reason = refusal.code();
                tracing::warn!(%order, reason, "transfer {order} failed: {refusal}");
            }
            Executed::AlreadyFinished => {
                tracing::info!(%order, "transfer {order} was finished before");
            }
            // Never committed.
            Executed::Missing => {}
        }
    }
}
