//! Stub.

use std::net::SocketAddr;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Serves the API until told to stop.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The address and port to listen on.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
}

/// What serving the API needs.
#[derive(Debug)]
pub struct ServeSettings {
    /// From [`bind`].
    pub listener: tokio::net::TcpListener,
    /// The database.
    pub pool: PgPool,
}

/// What was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServeSummary {
    /// Webhooks answered 202 for the first time.
    pub accepted: u64,
}

/// `app serve`.
///
/// # Errors
///
/// Always, for now.
pub async fn run_command(_args: Args, _shutdown: CancellationToken) -> anyhow::Result<()> {
    anyhow::bail!("'app serve' is not built yet")
}

/// Takes the address, so that a busy port is reported before anything else is done.
///
/// # Errors
///
/// When the address is taken, or not ours to take.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    Ok(tokio::net::TcpListener::bind(listen).await?)
}

/// Serves the API until told to stop.
///
/// # Errors
///
/// When the listener fails.
pub async fn run(
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> anyhow::Result<ServeSummary> {
    let acceptor = poem::listener::TcpAcceptor::from_tokio(settings.listener)?;
    poem::Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(
            poem::endpoint::make_sync(|_| "stub"),
            shutdown.cancelled_owned(),
            None,
        )
        .await?;
    Ok(ServeSummary::default())
}
