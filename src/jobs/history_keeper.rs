//! The keeper of the history of what was told: drops events, deliveries with their attempts,
//! records of mails and bulk operations when they are older than they are kept for. Runs beside the
//! worker of each process.
//!
//! No schedule and no leader: every process looks every ten minutes, as workers do for the history
//! of jobs. Each step is a transaction of its own that looks at a bounded number of rows, in the
//! order of the primary key, from the oldest on; so a look that finds nothing to drop reads the
//! rows that are kept beyond their time, and one step more. Several processes at once drop nothing
//! twice.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bulk_operations::pruning as operations;
use crate::deliveries::outgoing::DeliveryKey;
use crate::deliveries::pruning as deliveries;
use crate::events::pruning as events;
use crate::ids::{EndpointId, EventId, UserId};
use crate::notices::{MailKey, mails};
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
                Some(Ok(Pruned { deliveries, mails, events, operations })) => {
                    tracing::info!(deliveries, mails, events, operations, "old history was dropped")
                }
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
        // Events after deliveries, which keep them.
        Ok(Pruned {
            deliveries: self.prune_deliveries().await?,
            mails: self.prune_mails().await?,
            events: self.prune_events().await?,
            operations: self.prune_operations().await?,
        })
    }

    async fn prune_deliveries(&self) -> sqlx::Result<i64> {
        let mut pruned = 0;
        let mut after = DeliveryKey { event: 0, endpoint: EndpointId(Uuid::nil()) };
        loop {
            let mut conn = self.pool.acquire().await?;
            let days = self.retention.deliveries_days;
            let step = within(deliveries::prune(&mut conn, days, after, STEP)).await?;
            pruned += step.pruned;
            let Some(last) = step.last else { return Ok(pruned) };
            after = last;
        }
    }

    async fn prune_mails(&self) -> sqlx::Result<i64> {
        let mut pruned = 0;
        let mut after = MailKey { event: EventId(Uuid::nil()), user: UserId(Uuid::nil()) };
        loop {
            let mut conn = self.pool.acquire().await?;
            let days = self.retention.mails_days;
            let step = within(mails::prune(&mut conn, days, after, STEP)).await?;
            pruned += step.pruned;
            let Some(last) = step.last else { return Ok(pruned) };
            after = last;
        }
    }

    async fn prune_events(&self) -> sqlx::Result<i64> {
        let (mut pruned, mut after) = (0, 0);
        loop {
            let mut conn = self.pool.acquire().await?;
            let days = self.retention.events_days;
            let step = within(events::prune(&mut conn, days, after, STEP)).await?;
            pruned += step.pruned;
            let Some(last) = step.last else { return Ok(pruned) };
            after = last;
        }
    }

    async fn prune_operations(&self) -> sqlx::Result<u64> {
        let mut pruned = 0;
        loop {
            let mut conn = self.pool.acquire().await?;
            let days = self.retention.operations_days;
            let step = within(operations::prune(&mut conn, days, STEP)).await?;
            pruned += step;
            if step < u64::from(STEP) {
                return Ok(pruned);
            }
        }
    }
}
