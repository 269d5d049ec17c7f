//! A worker that is a process of its own: `app work`, for one queue.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use surety_postgres::end_with_parent;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::stage::Stage;
use crate::terminal::footer::{self, Stream};

/// The lease of its claims: short, so that a recovery can be waited for.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The time to end in good order.
const GRACE: Duration = Duration::from_secs(5);
/// Its log: what becomes of its jobs, and not that it starts.
const LOG: &str = "info,surety::telemetry=warn,surety::work=error,opentelemetry=warn";
/// The most bytes of one of its lines that are shown.
const MAX_LINE_BYTES: usize = 4_096;

/// The worker. Killed when this is dropped.
pub(super) struct WorkerProcess {
    pub(super) pid: u32,
    child: Child,
}

impl WorkerProcess {
    /// Starts it.
    pub(super) fn start(stage: &Stage, queue: &str) -> anyhow::Result<Self> {
        let app = std::env::current_exe().context("the program does not find itself")?;
        let mut command = Command::new(app);
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        command
            .args(["--log-format", "console", "work", "--queues", queue])
            .args(["--lease", &seconds(LEASE), "--heartbeat", &seconds(HEARTBEAT)])
            .args(["--grace", &seconds(GRACE)])
            .env("DATABASE_URL", stage.private_url()?)
            // A context would lead to another database.
            .env("APP_CONTEXT", "")
            .env("APP_BANK_URL", stage.simulated_bank()?.url())
            .env("APP_LOG", std::env::var("APP_LOG").unwrap_or_else(|_| LOG.to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C is for us alone.
            .process_group(0);
        for variable in ["DATABASE_URL_FILE", "APP_DATABASE_DIRECT_URL"] {
            command.env_remove(variable);
        }
        // The thread is one of the runtime's, which live as long as we do.
        end_with_parent(command.as_std_mut(), libc::SIGKILL);
        let mut child = command.spawn().context("no further worker can be started")?;
        let pid = child.id().context("the worker ended at once")?;
        if let Some(lines) = child.stderr.take() {
            tokio::spawn(show(lines));
        }
        Ok(Self { pid, child })
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the worker cannot be killed")?;
        let status = self.child.wait().await?;
        anyhow::ensure!(status.signal() == Some(libc::SIGKILL), "the worker ended: {status}");
        Ok(())
    }

    /// Ends it in good order, or else at all.
    pub(super) async fn stop(mut self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            // SAFETY: the call takes two numbers and touches no memory of ours; the process is
            // ours, and not yet waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = tokio::time::timeout(GRACE * 2, self.child.wait()).await;
    }

    /// Fails if it has ended by itself.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the worker ended by itself: {status}"),
        }
    }
}

/// Shows its log among ours.
async fn show(lines: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(lines).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        line.truncate(MAX_LINE_BYTES);
        line.push(b'\n');
        // With nowhere to write to there is nobody to tell either.
        let _ = footer::write(Stream::Error, &line);
    }
}
