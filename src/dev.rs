//! `app dev`: everything in one process, with a PostgreSQL of its own.

use tokio_util::sync::CancellationToken;

/// Runs everything in one process, with a PostgreSQL of its own: for trying out and developing.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

/// `app dev`.
///
/// # Errors
///
/// Always, for now.
pub async fn run_command(_args: Args, _shutdown: CancellationToken) -> anyhow::Result<()> {
    anyhow::bail!("'app dev' is not built yet")
}
