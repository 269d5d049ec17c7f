//! The workers of a measurement: in this process, or in processes of their own that can be killed.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handling::Handling;
use super::journal::{Journal, Pen};
use super::kinds;
use super::worker_process::{WorkerProcess, WorkerTask};
use surety::db;
use surety::jobs::{self, Services};
use surety_queue::Registry;
use surety_queue::{Worker, WorkerSettings, WorkerSummary};

/// Connections of each worker's handlers, as `app work` has.
pub(crate) const HANDLER_CONNECTIONS: u32 = 10;
/// The application name of workers in their connections.
pub(crate) const APPLICATION_NAME: &str = "surety-bench-worker";

/// The kinds that workers run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// Jobs that do nothing.
    Noop(Handling),
    /// Jobs that move money, by the registry of `app work`.
    Money,
}

/// The number of workers, and their settings.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Workers")]
pub(crate) struct WorkerArgs {
    /// Workers at once [default: 1; with --chaos 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Option<u32>,
    /// The most jobs in progress at once in each worker [default: as app work]
    #[arg(long, value_name = "JOBS")]
    pub(crate) concurrency: Option<usize>,
    /// The time that a claim is valid without a heartbeat; a heartbeat comes three times in it.
    #[arg(long, value_name = "DURATION", default_value = "30s",
          value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// The time between two looks of an idle worker for due jobs.
    #[arg(long, value_name = "DURATION", default_value = "1s",
          value_parser = humantime::parse_duration)]
    pub(crate) poll: Duration,
}

impl WorkerArgs {
    pub(crate) fn settings(&self) -> WorkerSettings {
        let default = WorkerSettings::default();
        WorkerSettings {
            concurrency: self.concurrency.unwrap_or(default.concurrency),
            lease: self.lease,
            heartbeat: self.lease / 3,
            poll: self.poll,
            ..default
        }
    }
}

/// The workers of one measurement.
pub(crate) enum Workers {
    /// Tasks of this process.
    Here { working: Vec<JoinHandle<WorkerSummary>>, stop: CancellationToken },
    /// Processes, shared with whoever kills them.
    Processes(Arc<Mutex<Crew>>),
}

/// Worker processes.
pub(crate) struct Crew {
    task: WorkerTask,
    journal: Journal,
    at_work: Vec<WorkerProcess>,
    paused: Vec<WorkerProcess>,
}

impl Workers {
    /// Starts so many workers in this process.
    pub(crate) async fn start_here(
        url: &str,
        count: u32,
        work: Work,
        settings: &WorkerSettings,
        journal: &Journal,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut working = Vec::new();
        for _ in 0..count {
            let pool = db::connect(url, HANDLER_CONNECTIONS, APPLICATION_NAME).await?;
            working.push(match work {
                Work::Noop(handling) => {
                    let registry = kinds::registry(handling, Pen::Journal(journal.clone()), false);
                    start(pool, registry, settings, &stop)?
                }
                Work::Money => {
                    let registry =
                        jobs::registry(Services { pool: pool.clone(), bank: None, mailer: None });
                    start(pool, registry, settings, &stop)?
                }
            });
        }
        Ok(Self::Here { working, stop })
    }

    /// Starts so many workers, each a process, whose handlers write effects if they can.
    pub(crate) fn start_processes(
        count: u32,
        task: WorkerTask,
        journal: &Journal,
    ) -> anyhow::Result<Self> {
        let mut crew =
            Crew { task, journal: journal.clone(), at_work: Vec::new(), paused: Vec::new() };
        crew.add(count as usize)?;
        Ok(Self::Processes(Arc::new(Mutex::new(crew))))
    }

    /// Has them finish what they have begun, and waits for their end.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Here { working, stop } => {
                stop.cancel();
                for worker in working {
                    worker.await?;
                }
            }
            Self::Processes(crew) => {
                let mut crew = crew.lock().await;
                let Crew { at_work, paused, .. } = &mut *crew;
                for worker in at_work.drain(..).chain(paused.drain(..)) {
                    worker.stop().await?;
                }
            }
        }
        Ok(())
    }
}

/// Starts a worker that ends by `stop`.
fn start<S: Clone + Send + Sync + 'static>(
    pool: PgPool,
    registry: Registry<S>,
    settings: &WorkerSettings,
    stop: &CancellationToken,
) -> anyhow::Result<JoinHandle<WorkerSummary>> {
    let worker = Worker::new(pool.clone(), registry, settings.clone())?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        let summary = worker.run(stop).await;
        pool.close().await;
        summary
    }))
}

impl Crew {
    fn add(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.at_work.push(WorkerProcess::start(&self.task, self.journal.clone())?);
        }
        Ok(())
    }

    /// `kill -9`, all of them. Gives how many they were.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<usize> {
        let killed = self.at_work.len();
        // At one moment, and only then waited for.
        for worker in &mut self.at_work {
            worker.kill()?;
        }
        for worker in self.at_work.drain(..) {
            worker.ended().await?;
        }
        Ok(killed)
    }

    /// Freezes all of them where they stand. Gives how many they were.
    pub(crate) fn pause(&mut self) -> anyhow::Result<usize> {
        for worker in &self.at_work {
            worker.pause()?;
        }
        let paused = self.at_work.len();
        self.paused.append(&mut self.at_work);
        Ok(paused)
    }

    /// Lets the frozen ones go on, beside those that came after them.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        for worker in &self.paused {
            worker.resume()?;
        }
        self.at_work.append(&mut self.paused);
        Ok(())
    }

    /// Starts so many in their place.
    pub(crate) fn replace(&mut self, count: usize) -> anyhow::Result<()> {
        self.add(count)
    }
}
