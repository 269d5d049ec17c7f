//! The shared commit of inbound webhooks: each transaction that is new, with the job that settles
//! it (G2).

use std::time::Duration;

use sqlx::PgConnection;

use crate::http::edge::shared_commit::{CommitError, Work};
use crate::jobs::SettleTransaction;
use crate::payments::transactions::{self, NewTransaction, Recorded};
use crate::queue::telemetry::TraceContext;
use crate::queue::{NewJob, enqueue_many};

/// Records transactions.
#[derive(Clone, Copy, Debug)]
pub struct RecordTransactions {
    /// The time from acceptance to settlement of a transaction.
    pub settle_delay: Duration,
}

/// A transaction that a provider sent.
#[derive(Clone, Debug)]
pub struct ReceivedTransaction {
    transaction: NewTransaction,
    trace_context: Option<TraceContext>,
}

impl ReceivedTransaction {
    /// Wraps a transaction, whose job will continue the trace of the current span.
    pub fn new(transaction: NewTransaction) -> Self {
        Self { transaction, trace_context: TraceContext::current() }
    }
}

impl Work for RecordTransactions {
    const NAME: &'static str = "webhooks";
    type Item = ReceivedTransaction;
    type Output = Recorded;

    async fn write(
        &self,
        conn: &mut PgConnection,
        received: &[ReceivedTransaction],
    ) -> Result<Vec<Recorded>, CommitError> {
        let new: Vec<&NewTransaction> = received.iter().map(|it| &it.transaction).collect();
        let outcomes = transactions::record_many(&mut *conn, &new).await?;
        let mut jobs = Vec::with_capacity(outcomes.len());
        for (outcome, received) in outcomes.iter().zip(received) {
            match outcome {
                Recorded::New(transaction) => jobs.push(
                    NewJob::new(&SettleTransaction { transaction: *transaction })?
                        .delay(self.settle_delay)
                        .trace_context(received.trace_context.clone()),
                ),
                Recorded::Duplicate | Recorded::Conflict => {}
            }
        }
        enqueue_many(conn, &jobs).await?;
        Ok(outcomes)
    }
}
