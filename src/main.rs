//! The binary: settings, telemetry, one subcommand, and how it ended.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use surety::cli::{Cli, report};
use surety::telemetry;

/// A request or a job makes many small allocations, freed on another thread as often as not: what
/// this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What tasks that nobody waits for may take when everything else is done.
const STRAGGLERS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    run().unwrap_or_else(|error| report::error(&error))
}

fn run() -> anyhow::Result<ExitCode> {
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            return Err(error).context("the file .env cannot be read");
        }
        _ => {}
    }
    read_url_files()?;
    let cli = Cli::from_process();
    let telemetry = telemetry::init(cli.telemetry())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the process cannot be started")?;
    let result = runtime.block_on(cli.run());
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
