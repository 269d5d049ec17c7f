//! Settles a transaction that a provider told us of.

use std::collections::HashMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::announcements::prepare;
use super::{LEDGER_BATCHES, Services};
use crate::ids::TransactionId;
use crate::payments::outcomes::Outcome;
use crate::payments::settlement::{self, Posted, Settled};
use crate::queue::deadline::within;
use crate::queue::telemetry::TraceContext;
use crate::queue::{BatchContext, BatchJob, Committed, JobError};

/// Posts the transfer of a transaction and moves the transaction from `PROCESSING` to its outcome.
///
/// Enqueued once per transaction, by whoever records it, in the same database transaction (G2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettleTransaction {
    /// The transaction.
    pub transaction: TransactionId,
}

/// The actor in the audit log.
const BY: &str = "job:settle_transaction";

impl BatchJob for SettleTransaction {
    const KIND: &'static str = "settle_transaction";
    // Twice as many would save a tenth of the time per transaction, and hold the locks of busy
    // accounts twice as long.
    const MAX_BATCH: usize = 200;
    // They write to the same accounts, and a batch that waits grows.
    const MAX_AT_ONCE: usize = 2;
    const MAX_AT_ONCE_OVERALL: Option<NonZeroU16> = Some(LEDGER_BATCHES);
    type State = Services;

    async fn run_batch(
        jobs: Vec<Self>,
        _state: &Services,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let transactions: Vec<TransactionId> = jobs.iter().map(|job| job.transaction).collect();
        let contexts: HashMap<TransactionId, Option<TraceContext>> =
            transactions.iter().copied().zip(cx.trace_contexts()).collect();
        let context_of = |outcome: &Outcome| match outcome {
            Outcome::Transaction(transaction) => contexts.get(&transaction.id).cloned().flatten(),
            Outcome::Order(_) => None,
        };
        let mut refused = HashMap::new();
        loop {
            let mut tx = cx.begin().await?;
            let settling = within(settlement::decide(&mut tx, &transactions, &refused)).await?;
            require_all_found(settling.settled())?;
            let outcomes = settling.outcomes();
            let announcement = within(prepare(&mut tx, outcomes, BY, context_of)).await?;
            match within(settling.post(&mut tx)).await? {
                Posted::All(settled) => {
                    within(announcement.write(&mut tx)).await?;
                    let committed = cx.complete(tx).await?;
                    log(&settled);
                    return Ok(committed);
                }
                Posted::Refused(now) => {
                    within(tx.rollback()).await?;
                    refused.extend(now);
                }
            }
        }
    }
}

/// A job without its transaction can never succeed: it is discarded, and kept for an operator to
/// look at. In a batch this undoes the batch, whose jobs then run one by one.
fn require_all_found(settled: &[(TransactionId, Settled)]) -> Result<(), JobError> {
    match settled.iter().find(|(_, settled)| *settled == Settled::Missing) {
        Some((id, _)) => Err(JobError::discard(MissingTransaction(*id))),
        None => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no transaction {0} to be settled")]
struct MissingTransaction(TransactionId);

/// One line per transaction, once the outcome is committed.
fn log(settled: &[(TransactionId, Settled)]) {
    for (id, settled) in settled {
        let transaction = id.0;
        match settled {
            Settled::Completed => tracing::debug!(transaction, "transaction {id} completed"),
            Settled::Failed(refusal) => {
                tracing::info!(
                    transaction,
                    reason = refusal.code(),
                    "transaction {id} failed: {refusal}"
                );
            }
            Settled::AlreadySettled => {
                tracing::info!(transaction, "transaction {id} was settled before");
            }
            // Never committed.
            Settled::Missing => {}
        }
    }
}
