//! The shared commit of inbound webhooks: each transaction that is new, with the job that settles
//! it (G2).

use std::collections::HashMap;
use std::time::Duration;

use sqlx::types::Json;
use sqlx::{Executor as _, PgConnection, raw_sql};

use crate::http::edge::shared_commit::{self, CommitError, Work};
use crate::ids::TransactionId;
use crate::jobs::SettleTransaction;
use crate::payments::transactions::{Inserted, NewTransaction, Recorded, Recording};
use crate::queue::commits::confirmed;
use crate::queue::telemetry::{EnqueueSpan, TraceContext};
use crate::queue::{BatchJob, FollowUp, JobId};

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

    /// One statement and one round trip where all are new. It commits those that are, and nobody
    /// has to wait with them for those that are known.
    async fn commit(
        &self,
        conn: &mut PgConnection,
        received: &[ReceivedTransaction],
    ) -> Result<Vec<Recorded>, CommitError> {
        let new: Vec<&NewTransaction> = received.iter().map(|it| &it.transaction).collect();
        let recording = Recording::of(&new);
        let inserted = self.insert(&mut *conn, &recording, received).await?;
        if let Some(outcomes) = recording.outcomes_if_new(&inserted) {
            return Ok(outcomes);
        }
        conn.execute(raw_sql("begin")).await?;
        let outcomes = recording.outcomes(&mut *conn, &inserted).await;
        shared_commit::end(conn, outcomes.map_err(CommitError::from)).await
    }
}

/// `api.record_transactions` knows nothing of these.
const _: () = {
    const FOLLOW_UP: &Option<FollowUp> = &SettleTransaction::ON_DISCARD;
    assert!(SettleTransaction::KEEPS_HISTORY && !SettleTransaction::SEALED && FOLLOW_UP.is_none());
};

impl RecordTransactions {
    /// Inserts those that are not known, each with its job, and commits them.
    async fn insert(
        &self,
        conn: &mut PgConnection,
        recording: &Recording<'_>,
        received: &[ReceivedTransaction],
    ) -> Result<Inserted, CommitError> {
        let columns = recording.columns();
        let mut contexts = HashMap::with_capacity(received.len());
        for ReceivedTransaction { transaction, trace_context } in received {
            contexts.entry(transaction.transaction_id.as_str()).or_insert(trace_context.as_ref());
        }
        let (queue, kind) = (SettleTransaction::QUEUE, SettleTransaction::KIND);
        let start = |id: &&str| EnqueueSpan::start(queue, kind, contexts[*id]);
        let mut spans: HashMap<&str, EnqueueSpan> =
            columns.transaction_ids.iter().map(|id| (*id, start(id))).collect();
        let context_of = |id: &&str| spans[*id].trace_context().cloned().map(Json);
        let trace_contexts: Vec<Option<Json<TraceContext>>> =
            columns.transaction_ids.iter().map(context_of).collect();
        let rows = sqlx::query!(
            r#"
            select
              transaction_id as "transaction_id!", id as "id!: TransactionId", job_id as "job_id!"
            from api.record_transactions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            "#,
            &columns.transaction_ids as &[&str],
            &columns.source_accounts as &[&str],
            &columns.destination_accounts as &[&str],
            &columns.amounts,
            &columns.currencies as &[&str],
            &columns.bodies as &[&[u8]],
            &trace_contexts as &[Option<Json<TraceContext>>],
            queue,
            kind,
            SettleTransaction::PRIORITY,
            SettleTransaction::MAX_ATTEMPTS,
            self.settle_delay.as_secs_f64(),
        );
        let rows = confirmed(rows.fetch_all(conn)).await?;
        for row in &rows {
            if let Some(span) = spans.remove(row.transaction_id.as_str()) {
                span.enqueued(JobId(row.job_id));
            }
        }
        spans.into_values().for_each(EnqueueSpan::not_needed);
        Ok(rows.into_iter().map(|row| (row.transaction_id, row.id)).collect())
    }
}
