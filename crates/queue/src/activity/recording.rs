//! The way of counts from memory to the tables, and the look at what waits.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::counting::Activity;
use super::reading::DEPTH_CAP;
use crate::QueueError;
use crate::deadline::within;

/// The time between two batches.
const EVERY: Duration = Duration::from_secs(10);
/// The rows that one statement drops, of each step and table.
const PRUNE_LIMIT: i64 = 5_000;

/// A batch that is not known to be stored.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    last: i64,
    unsent: Option<Box<RawValue>>,
}

/// Stores what is counted, and looks once a minute at what waits, for ever.
pub(crate) async fn keep(pool: PgPool, worker_id: Uuid, activity: &Activity, batches: &Unsent) {
    let mut has_failed = false;
    loop {
        // Spread out, so that workers that started together do not write the same rows together.
        tokio::time::sleep(EVERY.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        let kept = async {
            record(&pool, worker_id, activity, batches).await?;
            sample_depths(&pool).await
        };
        match (kept.await, has_failed) {
            (Ok(()), _) => has_failed = false,
            (Err(error), false) => {
                let error = crate::chain(&error);
                tracing::warn!(error, "activity cannot be stored, trying on");
                has_failed = true;
            }
            (Err(_), true) => {}
        }
    }
}

/// The batches of a worker, of which one is sent at a time.
pub(crate) type Unsent = tokio::sync::Mutex<Batches>;

/// Stores what was counted since the last time. A batch whose answer was lost is sent again by the
/// next call, and added once.
pub(crate) async fn record(
    pool: &PgPool,
    worker_id: Uuid,
    activity: &Activity,
    batches: &Unsent,
) -> Result<(), QueueError> {
    let mut batches = batches.lock().await;
    loop {
        if batches.unsent.is_none() {
            let rows = activity.take_rows();
            if rows.is_empty() {
                return Ok(());
            }
            let rows = serde_json::value::to_raw_value(&rows);
            batches.unsent = Some(rows.expect("names, numbers and words are JSON"));
            batches.last += 1;
        }
        let sending = async {
            sqlx::query_scalar!(
                r#"select queue.record_activity($1, $2, $3) as "is_new!""#,
                worker_id,
                batches.last,
                batches.unsent.as_ref().map(Json) as _,
            )
            .fetch_one(pool)
            .await
            .map_err(QueueError::from)
        };
        within(sending).await?;
        batches.unsent = None;
    }
}

/// Looks how many jobs wait, unless another worker has done so in this minute.
pub(crate) async fn sample_depths(pool: &PgPool) -> Result<(), QueueError> {
    let sampling = async {
        sqlx::query_scalar!("select queue.sample_depths($1)", DEPTH_CAP)
            .fetch_one(pool)
            .await
            .map_err(QueueError::from)
    };
    within(sampling).await?;
    Ok(())
}

/// Drops rows that are older than they are kept for.
pub(crate) async fn prune(pool: &PgPool) -> Result<(), QueueError> {
    sqlx::query_scalar!("select queue.prune_activity($1)", PRUNE_LIMIT).fetch_one(pool).await?;
    Ok(())
}
