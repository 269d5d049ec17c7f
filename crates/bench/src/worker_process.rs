//! A worker in a process of its own: `surety-bench worker`, a command that nobody types.
//!
//! Its stdout is the pipe of its [journal](super::journal). It works until its stdin ends, which
//! also happens when whoever started it was killed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handling::{Commit, Handler, Handling};
use super::journal::{Journal, Pen};
use super::kinds;
use super::workers::{APPLICATION_NAME, HANDLER_CONNECTIONS};
use surety::db;
use surety_queue::{Worker, WorkerSettings};

/// Longer than a worker's grace.
const STOP_TIME: Duration = Duration::from_secs(60);

/// The arguments of a worker process.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// By a batch handler.
    #[arg(long)]
    batch: bool,
    /// One by one, with such commits.
    #[arg(long, value_enum)]
    commit: Option<Commit>,
    /// A kind without history.
    #[arg(long)]
    no_history: bool,
    /// Write a row for each effect.
    #[arg(long)]
    effects: bool,
    /// The most jobs in progress at once.
    #[arg(long)]
    concurrency: usize,
    /// Milliseconds that a claim is valid.
    #[arg(long)]
    lease_ms: u64,
    /// Milliseconds between two looks of an idle worker.
    #[arg(long)]
    poll_ms: u64,
}

/// The work of worker processes.
#[derive(Clone, Debug)]
pub(crate) struct WorkerTask {
    pub(crate) url: String,
    pub(crate) handling: Handling,
    pub(crate) effects: bool,
    pub(crate) settings: WorkerSettings,
}

impl WorkerTask {
    fn args(&self) -> Vec<String> {
        let mut args = vec!["worker".to_owned()];
        match self.handling.handler {
            Handler::Batch => args.push("--batch".to_owned()),
            Handler::OneByOne(commit) => {
                let value = commit.to_possible_value();
                let name = value.map(|value| value.get_name().to_owned()).unwrap_or_default();
                args.extend(["--commit".to_owned(), name]);
            }
        }
        if !self.handling.keeps_history {
            args.push("--no-history".to_owned());
        }
        if self.effects {
            args.push("--effects".to_owned());
        }
        for (flag, value) in [
            ("--concurrency", self.settings.concurrency as u128),
            ("--lease-ms", self.settings.lease.as_millis()),
            ("--poll-ms", self.settings.poll.as_millis()),
        ] {
            args.extend([flag.to_owned(), value.to_string()]);
        }
        args
    }
}

/// Works until stdin ends.
pub(crate) async fn run(args: &Args, database_url: Option<&str>) -> anyhow::Result<()> {
    let url = database_url.context("a worker is told its database by DATABASE_URL")?;
    let handler = match (args.batch, args.commit) {
        (true, None) => Handler::Batch,
        (false, Some(commit)) => Handler::OneByOne(commit),
        (true, Some(_)) | (false, None) => bail!("a worker has either --batch or --commit"),
    };
    let handling = Handling { handler, keeps_history: !args.no_history };
    let lease = Duration::from_millis(args.lease_ms);
    let settings = WorkerSettings {
        concurrency: args.concurrency,
        lease,
        heartbeat: lease / 3,
        poll: Duration::from_millis(args.poll_ms),
        ..WorkerSettings::default()
    };
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    // A thread of its own: the runtime could not give up a read that never ends.
    std::thread::spawn(move || {
        // An error is an end, too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stopper.cancel();
    });
    let pool = db::connect(url, HANDLER_CONNECTIONS, APPLICATION_NAME).await?;
    let registry = kinds::registry(handling, Pen::pipe(), args.effects);
    Worker::new(pool, registry, settings)?.run(stop).await;
    Ok(())
}

/// A worker process, killed when dropped.
pub(crate) struct WorkerProcess {
    child: Child,
    pid: i32,
    /// Ends the worker when it is closed.
    stdin: Option<ChildStdin>,
    reading: JoinHandle<std::io::Result<()>>,
}

impl WorkerProcess {
    pub(crate) fn start(task: &WorkerTask, journal: Journal) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(task.args())
            .env("DATABASE_URL", &task.url)
            // Workers warn of each job that they take back, and taking back is what is asked for.
            .env("APP_LOG", super::log_filter_or("error"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a worker process cannot be started")?;
        let pid = child.id().context("the worker has ended already")?.cast_signed();
        let stdout = child.stdout.take().context("the worker has no stdout")?;
        let stdin = child.stdin.take();
        let reading = tokio::spawn(async move { journal.read_from(stdout).await });
        Ok(Self { child, pid, stdin, reading })
    }

    /// `kill -9`, without waiting.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.start_kill().context("a worker cannot be killed")
    }

    /// Waits for the end of a worker that was killed, and for all that it had said.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        self.child.wait().await?;
        Ok(self.reading.await??)
    }

    /// Freezes the process where it stands.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        send(self.pid, libc::SIGSTOP)
    }

    /// Lets a frozen process go on.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        send(self.pid, libc::SIGCONT)
    }

    /// Has it finish what it has begun, and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        let status = tokio::time::timeout(STOP_TIME, self.child.wait())
            .await
            .with_context(|| format!("a worker did not end within {} s", STOP_TIME.as_secs()))??;
        if !status.success() {
            bail!("a worker failed ({status}); what it said is above");
        }
        Ok(self.reading.await??)
    }
}

fn send(pid: i32, signal: libc::c_int) -> anyhow::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory of ours. The process is our child and
    // not waited for yet, so the number names nobody else.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("a worker cannot be signalled"),
    }
}
