//! Stub.

use std::process::ExitCode;

/// Writes the OpenAPI document.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Does what `args` ask for.
///
/// # Errors
///
/// Always, for now.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("'app openapi' is not built yet")
}
