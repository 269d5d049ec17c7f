//! A process of ours, from its settings to its exit code: what the binaries share.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::report;
use crate::telemetry::{self, TelemetrySettings};

/// Time for tasks that nobody waits for when everything else is done.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Reads `.env`, lets `parse` read the command line, runs the command that it gives, and says on
/// stderr when that failed.
pub fn run<C>(parse: impl FnOnce() -> (TelemetrySettings, C)) -> ExitCode
where
    C: Future<Output = anyhow::Result<ExitCode>>,
{
    try_run(parse).unwrap_or_else(|error| report::error(&error))
}

fn try_run<C>(parse: impl FnOnce() -> (TelemetrySettings, C)) -> anyhow::Result<ExitCode>
where
    C: Future<Output = anyhow::Result<ExitCode>>,
{
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            return Err(error).context("the file .env cannot be read");
        }
        _ => {}
    }
    read_url_files()?;
    let (settings, command) = parse();
    let telemetry = telemetry::init(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the process cannot be started")?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(STRAGGLERS);
    // Last, because everything before it may still make spans; and outside the runtime, because it
    // blocks.
    telemetry.shutdown();
    result
}

/// The password in a database URL is a secret, so the URL can be in a file as well, which
/// `DATABASE_URL_FILE` names.
fn read_url_files() -> anyhow::Result<()> {
    for variable in ["DATABASE_URL", "APP_DATABASE_DIRECT_URL"] {
        let by_file = format!("{variable}_FILE");
        let (None, Some(file)) = (std::env::var_os(variable), std::env::var_os(&by_file)) else {
            continue;
        };
        let url = std::fs::read_to_string(&file).with_context(|| {
            format!("{by_file} names {}, which cannot be read", file.to_string_lossy())
        })?;
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(variable, url.trim()) };
    }
    Ok(())
}
