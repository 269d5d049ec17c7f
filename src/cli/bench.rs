//! Stub.

use std::process::ExitCode;

/// Measures this machine.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Does what `args` ask for.
///
/// # Errors
///
/// Always, for now.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("'app bench' is not built yet")
}
