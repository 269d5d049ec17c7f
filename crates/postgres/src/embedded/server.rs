//! The server process: start it, wait until it is ready, stop it.
//!
//! A thread of its own spawns the server and waits for its end. That reaps it, and it is what ties
//! the server's life to ours: the kernel's "interrupt when the parent ends" follows the *thread*
//! that spawned, so it must not be one of the runtime's, which come and go.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::Lifetime;
use super::error::ClusterError;
use super::folder::Folder;
use super::initdb::last_words;
use super::pid_file::{PidFile, is_server_on};
use super::process::{self, Signal};
use crate::child::end_with_parent;

/// The longest that a start may take. Crash recovery is part of it, which takes minutes where much
/// was written, and to give it up would only have it begin anew.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest that a fast shutdown may take before an immediate one is asked for.
const FAST_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that an immediate shutdown may take before we leave the server alone.
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Fast, then immediate; never SIGKILL, which leaves the sessions running.
const STOP_STEPS: [(Signal, Duration); 2] =
    [(Signal::Interrupt, FAST_STOP_TIMEOUT), (Signal::Quit, IMMEDIATE_STOP_TIMEOUT)];
/// The time between two looks. PostgreSQL tells nobody that it is ready, except by its file.
const POLL: Duration = Duration::from_millis(5);

/// A server that we started. Dropped without [`stop`](Self::stop), it is stopped all the same,
/// while the caller waits, unless it was told to outlive us.
#[derive(Debug)]
pub(super) struct Server {
    pid: i32,
    lifetime: Lifetime,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Server {
    /// Starts `command` and returns once the server takes connections.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Start`] with what it said last, [`ClusterError::Spawn`] and
    /// [`ClusterError::Folder`].
    pub(super) async fn start(
        mut command: Command,
        folder: &Folder,
        lifetime: Lifetime,
    ) -> Result<Self, ClusterError> {
        let log = folder.log();
        // It quotes statements that fail, and so what people pay.
        let log_file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&log)
            .map_err(ClusterError::folder(&log))?;
        let log_file_too = log_file.try_clone().map_err(ClusterError::folder(&log))?;
        command.stdout(log_file).stderr(log_file_too);
        if lifetime == Lifetime::OfThisProcess {
            end_with_parent(&mut command, libc::SIGINT);
        }
        let server = Self::spawn(command, lifetime)?;
        server.wait_until_ready(folder).await?;
        Ok(server)
    }

    /// Blocks for the moment that a fork takes. To wait for it asynchronously would be a point
    /// where the caller can be cancelled, with a server running that nobody knows of.
    fn spawn(mut command: Command, lifetime: Lifetime) -> Result<Self, ClusterError> {
        let program = command.get_program().into();
        let (spawned_tx, spawned_rx) = mpsc::sync_channel(1);
        let (exit_tx, exit) = watch::channel(None);
        let keeper = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(spawned_tx.send(Err(error))),
            };
            let _ = spawned_tx.send(Ok(child.id().cast_signed()));
            if let Ok(status) = child.wait() {
                exit_tx.send_replace(Some(status));
            }
        };
        let source = match std::thread::Builder::new().name("postgres".into()).spawn(keeper) {
            Ok(_) => match spawned_rx.recv().expect("the thread answers before it ends") {
                Ok(pid) => return Ok(Self { pid, lifetime, exit }),
                Err(error) => error,
            },
            Err(error) => error,
        };
        Err(ClusterError::Spawn { program, source })
    }

    async fn wait_until_ready(&self, folder: &Folder) -> Result<(), ClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let said = if self.has_exited() {
                last_words(&std::fs::read_to_string(folder.log()).unwrap_or_default())
            } else if Instant::now() > deadline {
                format!("it was not ready within {} s", READY_TIMEOUT.as_secs())
            } else {
                // The file may still be the one of a server before us.
                let file = PidFile::read(&folder.pgdata());
                if file.is_some_and(|file| file.ready && file.pid == self.pid) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
                continue;
            };
            return Err(ClusterError::Start { said, log: folder.log() });
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Returns when the server has ended, for whatever reason.
    pub(super) async fn exited(&self) {
        let mut exit = self.exit.clone();
        // An error means that the thread is gone, and it goes only after the server.
        let _ = exit.wait_for(Option::is_some).await;
    }

    /// Asks the server to end, without waiting for it.
    pub(super) fn ask_to_stop(&self) {
        // While the keeper has not seen its end, the number is the server's; an error means that it
        // is just ending.
        if !self.has_exited() {
            let _ = process::send(self.pid, Signal::Interrupt);
        }
    }

    /// Stops the server: fast, and if that takes too long, immediately. Never by SIGKILL, which
    /// leaves its sessions running.
    pub(super) async fn stop(&self) {
        stop_gently(self.pid, || self.has_exited()).await;
    }

    /// Stops the server as a crash would: nothing is written, the next start recovers.
    pub(super) async fn stop_immediately(&self) {
        if !self.has_exited() {
            let _ = process::send(self.pid, Signal::Quit);
            wait_until(IMMEDIATE_STOP_TIMEOUT, || self.has_exited()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::UntilStopped {
            return;
        }
        // A fast shutdown that is asked for while the server is still starting up has been seen
        // to hang: hence the second signal here as well.
        for (signal, timeout) in STOP_STEPS {
            if self.has_exited() {
                return;
            }
            let _ = process::send(self.pid, signal);
            let deadline = std::time::Instant::now() + timeout;
            while !self.has_exited() && std::time::Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Ends a server on `pgdata` that an earlier process of ours left behind, and clears away a
/// `postmaster.pid` that speaks of no server. An orphan is ended rather than adopted: there is then
/// only one way in which a server of ours can be running, with the settings of this start and tied
/// to this process.
///
/// # Errors
///
/// [`ClusterError::Orphan`] and [`ClusterError::Folder`].
pub(super) async fn end_orphan(data_dir: &Path, pgdata: &Path) -> Result<(), ClusterError> {
    let Some(file) = PidFile::read(pgdata) else { return Ok(()) };
    if let Some(pid) = file.live_server(pgdata) {
        stop_gently(pid, || !is_server_on(pid, pgdata)).await;
        if is_server_on(pid, pgdata) {
            return Err(ClusterError::Orphan { data_dir: data_dir.to_owned(), pid });
        }
    }
    file.delete(pgdata).map_err(ClusterError::folder(pgdata))
}

async fn stop_gently(pid: i32, has_ended: impl Fn() -> bool) {
    for (signal, timeout) in STOP_STEPS {
        if has_ended() {
            return;
        }
        // An error means that it is just ending, or not ours to end: the wait tells which.
        let _ = process::send(pid, signal);
        wait_until(timeout, &has_ended).await;
    }
}

async fn wait_until(timeout: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
}
