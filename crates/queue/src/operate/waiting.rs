//! Waiting until jobs have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;

use super::interventions::standings;
use crate::QueueError;
use crate::ids::JobId;
use crate::state::JobState;

/// The first look is soon repeated, as many jobs take no longer; the later ones are not.
const INTERVALS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// The result of waiting for jobs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Waited {
    /// Jobs that have ended, with their states.
    pub ended: BTreeMap<JobId, JobState>,
    /// Jobs that had not ended when the time was over.
    pub unfinished: BTreeSet<JobId>,
    /// Jobs that do not exist; or were completed before, of a kind that keeps no history.
    pub unknown: BTreeSet<JobId>,
}

/// Waits until all these jobs have ended, at most for `timeout`; for ever without. Looks once a
/// second, and more often at first. A job that is redriven meanwhile has not ended.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn wait(
    pool: &PgPool,
    ids: &[JobId],
    timeout: Option<Duration>,
) -> Result<Waited, QueueError> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let [mut interval, longest] = INTERVALS;
    let mut waited = Waited { unfinished: ids.iter().copied().collect(), ..Waited::default() };
    let mut keep_no_history = BTreeSet::new();
    loop {
        let asked: Vec<JobId> = waited.unfinished.iter().copied().collect();
        let found = standings(&mut *pool.acquire().await?, &asked).await?;
        for id in asked {
            let Some(standing) = found.get(&id) else {
                waited.unfinished.remove(&id);
                match keep_no_history.contains(&id) {
                    true => drop(waited.ended.insert(id, JobState::Completed)),
                    false => drop(waited.unknown.insert(id)),
                }
                continue;
            };
            if !standing.keeps_history {
                keep_no_history.insert(id);
            }
            if !standing.state.is_unfinished() {
                waited.unfinished.remove(&id);
                waited.ended.insert(id, standing.state);
            }
        }
        if waited.unfinished.is_empty() || deadline.is_some_and(|at| Instant::now() >= at) {
            return Ok(waited);
        }
        let next = Instant::now() + interval;
        tokio::time::sleep_until(deadline.map_or(next, |at| at.min(next))).await;
        interval = (interval * 2).min(longest);
    }
}
