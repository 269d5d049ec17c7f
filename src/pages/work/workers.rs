//! Workers, and ending them in good order.

use std::sync::Arc;

use askama::Template;
use uuid::Uuid;

use crate::operations::Mode;
use crate::operations::workers::{
    self, DrainWorkers, RunningJob, WorkerDrain, WorkerInfo, WorkerScope, WorkerState, WorkerView,
};
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The jobs that are shown of each worker.
const JOBS_SHOWN: usize = 5;

#[derive(Template)]
#[template(path = "workers.html", config = "src/pages/askama.toml")]
struct WorkersPage {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    worker: WorkerInfo,
    /// The jobs that it runs, the longest running first.
    jobs: Vec<RunningRow>,
    /// The state in words, and the class of that.
    state: (&'static str, &'static str),
    /// The share of its slots that are in use, in hundredths.
    used: i32,
    queues: String,
    up_for: String,
}

struct RunningRow {
    job: RunningJob,
    for_how_long: String,
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let listed = workers::list(&mut *visit.connect().await?).await?;
    let running = |job: RunningJob| RunningRow {
        for_how_long: words::between(job.started_at, listed.as_of),
        job,
    };
    let row = |WorkerView { worker, jobs }: WorkerView| Row {
        jobs: jobs.into_iter().take(JOBS_SHOWN).map(running).collect(),
        state: state(&worker),
        used: (worker.running * 100 / worker.slots.max(1)).clamp(0, 100),
        queues: worker.queues.join(", "),
        up_for: words::between(worker.started_at, listed.as_of),
        worker,
    };
    Answer::page(&WorkersPage {
        frame: visit.frame("Workers"),
        rows: listed.workers.into_iter().map(row).collect(),
    })
}

fn state(worker: &WorkerInfo) -> (&'static str, &'static str) {
    match worker.state {
        WorkerState::Working if worker.running > 0 => ("Working", "run"),
        WorkerState::Working => ("Idle", "ok"),
        WorkerState::Draining => ("Draining", "warn"),
        WorkerState::Lost => ("Lost", "bad"),
    }
}

/// Asks one to finish its jobs and end.
pub(in crate::pages) async fn drain(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id: Uuid = visit.parsed("id")?;
    let actor = visit.actor()?;
    let scope = WorkerScope::These(vec![id]);
    let request = DrainWorkers { scope, mode: Mode::Commit, wait: None };
    let drained = workers::drain(&visit.site.pool, request, &actor).await?;
    let result = drained.first().map_or(WorkerDrain::NotFound, |worker| worker.result);
    match result {
        WorkerDrain::NotFound => Err(not_found("such worker: it has ended")),
        WorkerDrain::AlreadyDraining => Ok(visit.done("The worker drains already.")),
        WorkerDrain::Lost | WorkerDrain::LostMeanwhile => {
            Ok(visit.done("The worker is lost: others take its jobs back."))
        }
        WorkerDrain::WouldBeAsked
        | WorkerDrain::Requested
        | WorkerDrain::Ended
        | WorkerDrain::NotInTime => Ok(visit
            .done("The worker was asked to finish its jobs and end. Another one takes its place.")),
    }
}
