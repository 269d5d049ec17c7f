//! The settings of a worker.

use std::time::Duration;

use crate::QueueError;
use crate::retention::Retention;
use crate::sealing::Keyring;

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The most jobs in progress at once. At least 1. A claim brings up to 500: with twice as many
    /// in progress, the next ones are claimed while the last ones run.
    ///
    /// With several queues, a quarter of these slots are shared out among them as their own, one at
    /// least for each: however many queues hang, the others go on. A queue that is busy alone has
    /// all slots but those of the others. With fewer slots than queues, none is anybody's own.
    pub concurrency: usize,
    /// The time that a claim is valid without a heartbeat. A dead worker's jobs run again after
    /// this long.
    pub lease: Duration,
    /// The time between renewals of leases; at most a third of the lease.
    pub heartbeat: Duration,
    /// The time between two looks of an idle worker for due jobs, without having been notified.
    pub poll: Duration,
    /// The time that jobs in progress may go on after the worker was told to stop.
    pub grace: Duration,
    /// The queues to claim from; empty means all queues of the registered kinds.
    pub queues: Vec<String>,
    /// Retention of finished jobs.
    pub retention: Retention,
    /// The keys that the arguments of sealed jobs are opened with. Needed where the registry has a
    /// [sealed](crate::handler::Job::SEALED) kind.
    #[cfg(feature = "sealing")]
    pub keyring: Option<Keyring>,
    /// The version of the program, for the registry of workers: its own
    /// `env!("CARGO_PKG_VERSION")`.
    pub version: String,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            concurrency: 1024,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(25),
            queues: Vec::new(),
            retention: Retention::default(),
            #[cfg(feature = "sealing")]
            keyring: None,
            version: "unknown".to_owned(),
        }
    }
}

impl WorkerSettings {
    #[cfg(feature = "sealing")]
    pub(super) fn keyring(&self) -> Option<Keyring> {
        self.keyring.clone()
    }

    #[cfg(not(feature = "sealing"))]
    pub(super) fn keyring(&self) -> Option<Keyring> {
        None
    }

    /// Fails when they cannot work, as a worker with them does at its start.
    ///
    /// # Errors
    ///
    /// [`QueueError::Settings`].
    pub fn check(&self) -> Result<(), QueueError> {
        let problem = if self.concurrency == 0 {
            "the concurrency must be at least 1"
        } else if self.lease < Duration::from_millis(200) {
            "the lease must be at least 200 ms"
        } else if self.heartbeat.is_zero() || self.heartbeat > self.lease / 3 {
            "the heartbeat must be at most a third of the lease"
        } else if self.poll.is_zero() {
            "the poll interval must be longer than nothing"
        } else {
            return Ok(());
        };
        Err(QueueError::Settings(problem))
    }
}
