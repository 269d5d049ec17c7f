//! Workers: which there are, and ending them in good order from anywhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

pub use crate::queue::operate::workers::{RunningJob, WorkerInfo, WorkerState};

use super::{Actor, Mode, database_now};
use crate::audit::{self, Subject};
use crate::queue::QueueError;
use crate::queue::commits::commit;
use crate::queue::operate::workers;

/// The interval between two looks at workers that drain.
const POLL: Duration = Duration::from_millis(200);

/// The most running jobs that are shown, of all workers together.
pub const MAX_RUNNING_SHOWN: u32 = 1_000;

/// A worker with the jobs that it has in progress.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// The worker, as it was last seen.
    #[serde(flatten)]
    pub worker: WorkerInfo,
    /// The jobs, the longest running first; of all workers together at most
    /// [`MAX_RUNNING_SHOWN`].
    pub jobs: Vec<RunningJob>,
}

/// The workers that were seen within the last day.
#[derive(Clone, Debug)]
pub struct WorkerList {
    /// The workers, the oldest first.
    pub workers: Vec<WorkerView>,
    /// The moment of the list, by the database's clock.
    pub as_of: OffsetDateTime,
}

/// Lists the workers that were seen within the last day, with what each runs.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(conn: &mut PgConnection) -> Result<WorkerList, QueueError> {
    let seen = workers::list(&mut *conn).await?;
    Ok(WorkerList { workers: views(conn, seen).await?, as_of: database_now(conn).await? })
}

/// The workers that were seen within the last day by number, after this one or from the first on;
/// at most `limit`.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn page(
    conn: &mut PgConnection,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<WorkerView>, QueueError> {
    // Each is a process of the last day: there are never too many to be read.
    let mut seen = workers::list(&mut *conn).await?;
    seen.retain(|worker| after.is_none_or(|after| worker.id > after));
    seen.sort_by_key(|worker| worker.id);
    seen.truncate(limit as usize);
    views(conn, seen).await
}

/// Workers with what each runs.
async fn views(
    conn: &mut PgConnection,
    seen: Vec<WorkerInfo>,
) -> Result<Vec<WorkerView>, QueueError> {
    let mut running: BTreeMap<Uuid, Vec<RunningJob>> = BTreeMap::new();
    for job in workers::running(conn, None, MAX_RUNNING_SHOWN).await? {
        running.entry(job.worker_id).or_default().push(job);
    }
    let view = |worker: WorkerInfo| {
        let jobs = running.remove(&worker.id).unwrap_or_default();
        WorkerView { worker, jobs }
    };
    Ok(seen.into_iter().map(view).collect())
}

/// The worker of this number with what it runs; none if it was not seen within the last day.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<WorkerView>, QueueError> {
    let all = workers::list(&mut *conn).await?;
    let Some(worker) = all.into_iter().find(|worker| worker.id == id) else { return Ok(None) };
    let jobs = workers::running(conn, Some(id), MAX_RUNNING_SHOWN).await?;
    Ok(Some(WorkerView { worker, jobs }))
}

/// A request to workers to finish their jobs and end.
#[derive(Clone, Debug)]
pub struct DrainWorkers {
    /// The workers.
    pub scope: WorkerScope,
    /// The mode: workers are asked, or it is tried out.
    pub mode: Mode,
    /// The time to wait until they have ended; none not to wait.
    pub wait: Option<Duration>,
}

/// Workers by number, or all that are not lost.
#[derive(Clone, Debug)]
pub enum WorkerScope {
    /// Workers by number.
    These(Vec<Uuid>),
    /// All that are not lost.
    All,
}

/// The result of a drain for one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerDrain {
    /// The worker would be asked, were it no dry run.
    WouldBeAsked,
    /// The worker was asked.
    Requested,
    /// Somebody had asked the worker before.
    AlreadyDraining,
    /// The worker has ended.
    Ended,
    /// The job had not ended when the time was over.
    NotInTime,
    /// The worker was not seen for longer than its lease, and was not asked.
    Lost,
    /// The worker was lost while it drained: others take its jobs back.
    LostMeanwhile,
    /// There is no such worker.
    NotFound,
}

impl WorkerDrain {
    /// The stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::WouldBeAsked => "would-drain",
            Self::Requested => "requested",
            Self::AlreadyDraining => "already-draining",
            Self::Ended => "ended",
            Self::NotInTime => "not-in-time",
            Self::Lost => "lost",
            Self::LostMeanwhile => "lost-meanwhile",
            Self::NotFound => "not-found",
        }
    }

    fn is_under_way(self) -> bool {
        matches!(self, Self::Requested | Self::AlreadyDraining)
    }

    /// The result that a request would have at this moment.
    fn expected(id: Uuid, workers: &[WorkerInfo]) -> Self {
        let worker = workers.iter().find(|worker| worker.id == id);
        match worker.map(|worker| worker.state) {
            None => Self::NotFound,
            Some(WorkerState::Working) => Self::WouldBeAsked,
            Some(WorkerState::Draining) => Self::AlreadyDraining,
            Some(WorkerState::Lost) => Self::Lost,
        }
    }
}

impl Serialize for WorkerDrain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// A worker and the result of its drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DrainedWorker {
    /// The worker.
    pub worker: Uuid,
    /// The result.
    pub result: WorkerDrain,
}

/// Asks workers to finish their jobs and end, and waits for it if that is wanted.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn drain(
    pool: &PgPool,
    request: DrainWorkers,
    actor: &Actor,
) -> Result<Vec<DrainedWorker>, QueueError> {
    let seen = workers::list(pool).await?;
    let ids: Vec<Uuid> = match request.scope {
        WorkerScope::These(ids) => ids,
        WorkerScope::All => {
            let alive = seen.iter().filter(|worker| worker.state != WorkerState::Lost);
            alive.map(|worker| worker.id).collect()
        }
    };
    let expected =
        |id: &Uuid| DrainedWorker { worker: *id, result: WorkerDrain::expected(*id, &seen) };
    let mut drained: Vec<DrainedWorker> = ids.iter().map(expected).collect();
    if request.mode == Mode::DryRun {
        return Ok(drained);
    }
    let asked = ask(pool, &ids, actor).await?;
    for DrainedWorker { worker, result } in &mut drained {
        // One that has begun to drain since the list was read is asked in vain, and drains.
        if *result == WorkerDrain::WouldBeAsked {
            let was_asked = asked.contains(worker);
            *result = if was_asked { WorkerDrain::Requested } else { WorkerDrain::AlreadyDraining };
        }
    }
    if let Some(timeout) = request.wait {
        wait(pool, &mut drained, timeout).await?;
    }
    Ok(drained)
}

/// Asks workers to end, and returns those that nobody had asked before.
async fn ask(pool: &PgPool, ids: &[Uuid], actor: &Actor) -> Result<Vec<Uuid>, QueueError> {
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let mut tx = pool.begin().await?;
    let asked = workers::request_drain(&mut *tx, ids, by, reason).await?;
    let entry = |id: &Uuid| {
        let entry = actor.entry("worker.drain", Subject::new("worker", id));
        entry.before(&json!({ "draining": false })).after(&json!({ "draining": true }))
    };
    audit::record(&mut tx, &asked.iter().map(entry).collect::<Vec<_>>()).await?;
    commit(tx).await?;
    Ok(asked)
}

/// Waits until all that drain have removed their rows.
async fn wait(
    pool: &PgPool,
    drained: &mut [DrainedWorker],
    timeout: Duration,
) -> Result<(), QueueError> {
    let deadline = Instant::now() + timeout;
    loop {
        let seen = workers::list(pool).await?;
        for DrainedWorker { worker, result } in &mut *drained {
            if result.is_under_way() {
                match WorkerDrain::expected(*worker, &seen) {
                    WorkerDrain::NotFound => *result = WorkerDrain::Ended,
                    WorkerDrain::Lost => *result = WorkerDrain::LostMeanwhile,
                    _ if Instant::now() >= deadline => *result = WorkerDrain::NotInTime,
                    _ => {}
                }
            }
        }
        if !drained.iter().any(|it| it.result.is_under_way()) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
