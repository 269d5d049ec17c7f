//! Stub.

use std::process::ExitCode;

/// Checks the invariants of a database.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Does what `args` ask for.
///
/// # Errors
///
/// Always, for now.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("'app verify' is not built yet")
}
