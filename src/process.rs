//! A process of ours, from its settings to its exit code: what the binaries share.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::report;
use crate::settings::environment::{self, Wanted};
use crate::stdout;
use crate::telemetry::{self, TelemetrySettings};

/// Time for tasks that nobody waits for when everything else is done.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// The settings of a process, whatever it does.
#[derive(Clone, Copy, Debug)]
pub struct ProcessSettings {
    /// Its logs, traces and figures.
    pub telemetry: TelemetrySettings,
    /// The number of threads that its tasks run on, at least 1; as many as suit the machine if
    /// none.
    pub threads: Option<u16>,
}

/// Reads `.env`, lets `parse` read the command line, runs the command that it gives, and says on
/// stderr when that failed.
pub fn run<C>(parse: impl FnOnce() -> (ProcessSettings, C)) -> ExitCode
where
    C: Future<Output = anyhow::Result<ExitCode>>,
{
    run_in(Wanted::None, parse)
}

/// The same in a context.
pub(crate) fn run_in<C>(
    context: Wanted<'_>,
    parse: impl FnOnce() -> (ProcessSettings, C),
) -> ExitCode
where
    C: Future<Output = anyhow::Result<ExitCode>>,
{
    try_run(context, parse).unwrap_or_else(|error| report::error(&error))
}

fn try_run<C>(
    context: Wanted<'_>,
    parse: impl FnOnce() -> (ProcessSettings, C),
) -> anyhow::Result<ExitCode>
where
    C: Future<Output = anyhow::Result<ExitCode>>,
{
    // 'app config check' tells of all.
    if let Some(fault) = environment::complete(context).into_iter().next() {
        return Err(fault.into());
    }
    let (settings, command) = parse();
    let telemetry = telemetry::init(settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads.map_or_else(threads_that_suit, usize::from))
        .enable_all()
        .build()
        .context("the threads of the process cannot be started")?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(STRAGGLERS);
    // Last, because everything before it may still make spans; and outside the runtime, because it
    // blocks.
    telemetry.shutdown();
    let code = result?;
    stdout::finish()?;
    Ok(code)
}

/// Half of the processors. Most of what a process does is to wait for PostgreSQL, which takes more
/// of them than we do where both are on one machine; and threads that wake each other to look for
/// work cost both. On two cores, one thread takes a tenth more webhooks by 16 connections than two,
/// and commits a seventh more jobs one by one.
fn threads_that_suit() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}
