//! The keeper of the history of what was told: drops events, deliveries with their attempts,
//! records of mails, bulk operations, bodies of inbound webhooks and calls to the bank when they
//! are older than they are kept for. Runs beside the worker of each process.
//!
//! No schedule and no leader: every process looks every ten minutes, as workers do for the history
//! of jobs. Each step is a transaction of its own that looks at a bounded number of rows, in the
//! order of the primary key, from the oldest on; so a look that finds nothing to drop reads the
//! rows that are kept beyond their time, and one step more. Several processes at once drop nothing
//! twice.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bulk_operations::pruning as operations;
use crate::deliveries::outgoing::DeliveryKey;
use crate::deliveries::pruning as deliveries;
use crate::events::pruning as events;
use crate::ids::{EndpointId, EventId, UserId};
use crate::notices::{MailKey, mails};
use crate::payments::{PruningStep, orders, transactions};
use crate::queue::deadline::within;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// The most rows that a step looks at.
const STEP: u16 = 1_000;

/// The number of days that each kind of history is kept for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryRetention {
    /// Deliveries with their attempts, from the end of the delivery.
    pub deliveries_days: u16,
    /// Records of mails, from their outcome.
    pub mails_days: u16,
    /// Events, from their outcome; and for as long as a delivery of them is kept, or a reader has
    /// not taken them.
    pub events_days: u16,
    /// Bulk operations, from their end.
    pub operations_days: u16,
    /// Bodies of inbound webhooks, from their receipt; none for good.
    pub bodies_days: Option<u16>,
    /// Calls to the bank, from the end of their order; none for good.
    pub bank_log_days: Option<u16>,
}

/// The keeper of one process.
#[derive(Clone, Debug)]
pub struct HistoryKeeper {
    /// The database.
    pub pool: PgPool,
    /// The time for which each is kept.
    pub retention: HistoryRetention,
}

/// The rows that one look dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Deliveries.
    pub deliveries: i64,
    /// Records of mails.
    pub mails: i64,
    /// Events.
    pub events: i64,
    /// Bulk operations.
    pub operations: u64,
    /// Bodies of transactions.
    pub bodies: u64,
    /// Calls to the bank.
    pub bank_calls: u64,
}

impl Pruned {
    fn log(self) {
        let Self { deliveries, mails, events, operations, bodies, bank_calls } = self;
        tracing::info!(
            deliveries,
            mails,
            events,
            operations,
            bodies,
            bank_calls,
            "old history was dropped"
        );
    }
}

impl HistoryKeeper {
    /// Prunes until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            // Not all processes at the same moment.
            let wait = INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0);
            let looking = async {
                tokio::time::sleep(wait).await;
                self.prune().await
            };
            match stop.run_until_cancelled(looking).await {
                None => return,
                Some(Ok(pruned)) if pruned == Pruned::default() => {}
                Some(Ok(pruned)) => pruned.log(),
                Some(Err(error)) => tracing::warn!("old history waits to be dropped: {error}"),
            }
        }
    }

    /// Drops all that is older than it is kept for.
    ///
    /// # Errors
    ///
    /// When the database refuses; what was dropped before stays dropped.
    pub async fn prune(&self) -> sqlx::Result<Pruned> {
        let HistoryRetention { deliveries_days, mails_days, events_days, .. } = self.retention;
        let first_delivery = DeliveryKey { event: 0, endpoint: EndpointId(Uuid::nil()) };
        let first_mail = MailKey { event: EventId(Uuid::nil()), user: UserId(Uuid::nil()) };
        let deliveries = self.go_through(first_delivery, move |mut conn, after| async move {
            deliveries::prune(&mut conn, deliveries_days, after, STEP).await
        });
        let deliveries = deliveries.await?;
        let mails = self.go_through(first_mail, move |mut conn, after| async move {
            mails::prune(&mut conn, mails_days, after, STEP).await
        });
        let mails = mails.await?;
        // After deliveries, which keep them.
        let events = self.go_through(0, move |mut conn, after| async move {
            events::prune(&mut conn, events_days, after, STEP).await
        });
        let events = events.await?;
        let snapshots = self.step_until_done(|mut conn| async move {
            events::prune_snapshots(&mut conn, STEP).await.map(all_dropped)
        });
        snapshots.await?;
        let HistoryRetention { operations_days, bodies_days, bank_log_days, .. } = self.retention;
        let operations = self.drop_older_than(Some(operations_days), |mut conn, days| async move {
            operations::prune(&mut conn, days, STEP).await.map(all_dropped)
        });
        let operations = operations.await?;
        let bodies = self.drop_older_than(bodies_days, |mut conn, days| async move {
            transactions::drop_bodies(&mut conn, days, STEP).await
        });
        let bodies = bodies.await?;
        let bank_calls = self.drop_older_than(bank_log_days, |mut conn, days| async move {
            orders::drop_bank_calls(&mut conn, days, STEP).await
        });
        let bank_calls = bank_calls.await?;
        Ok(Pruned { deliveries, mails, events, operations, bodies, bank_calls })
    }

    /// Takes one step after the other, from what stands before all, until one says that those
    /// behind it are kept. Gives the number that was dropped.
    async fn go_through<K, A>(
        &self,
        mut after: K,
        step: impl Fn(PoolConnection<Postgres>, K) -> A,
    ) -> sqlx::Result<i64>
    where
        A: Future<Output = sqlx::Result<(i64, Option<K>)>>,
    {
        let mut pruned = 0;
        loop {
            let conn = self.pool.acquire().await?;
            let (dropped, last) = within(step(conn, after)).await?;
            pruned += dropped;
            let Some(last) = last else { return Ok(pruned) };
            after = last;
        }
    }

    /// Takes one step after the other with the number of days that are kept; none where all are.
    /// Gives the number that was dropped.
    async fn drop_older_than<A>(
        &self,
        days: Option<u16>,
        step: impl Fn(PoolConnection<Postgres>, u16) -> A,
    ) -> sqlx::Result<u64>
    where
        A: Future<Output = sqlx::Result<PruningStep>>,
    {
        match days {
            Some(days) => self.step_until_done(|conn| step(conn, days)).await,
            None => Ok(0),
        }
    }

    /// Takes one step after the other, until one passes fewer than it may. Gives the number that
    /// was dropped.
    async fn step_until_done<A>(
        &self,
        step: impl Fn(PoolConnection<Postgres>) -> A,
    ) -> sqlx::Result<u64>
    where
        A: Future<Output = sqlx::Result<PruningStep>>,
    {
        let mut pruned = 0;
        loop {
            let PruningStep { passed, dropped } = within(step(self.pool.acquire().await?)).await?;
            pruned += dropped;
            if passed < u64::from(STEP) {
                return Ok(pruned);
            }
        }
    }
}

/// A step that drops whatever it looks at.
fn all_dropped(dropped: u64) -> PruningStep {
    PruningStep { passed: dropped, dropped }
}
