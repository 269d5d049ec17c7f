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

/// The address of the API cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error("{0} is in use by another program: stop that, or choose another address with --listen")]
    Busy(SocketAddr),
    /// Ports below 1024 are for root.
    #[error("port {} is for root only: choose one above 1023 with --listen", .0.port())]
    Privileged(SocketAddr),
    /// No interface of this machine has it.
    #[error("{0} is no address of this machine: choose another with --listen")]
    NotOurs(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {0}: choose another address with --listen")]
    Other(SocketAddr, #[source] std::io::Error),
}

/// Takes the address, so that a busy port is reported before anything else is done.
///
/// # Errors
///
/// When the address is taken, or not ours to take.
pub async fn bind(listen: SocketAddr) -> Result<tokio::net::TcpListener, BindError> {
    use std::io::ErrorKind;

    tokio::net::TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => BindError::Busy(listen),
        ErrorKind::PermissionDenied => BindError::Privileged(listen),
        ErrorKind::AddrNotAvailable => BindError::NotOurs(listen),
        _ => BindError::Other(listen, error),
    })
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
