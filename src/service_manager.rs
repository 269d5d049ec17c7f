//! A service manager is told that the process is ready, that it is alive, and that it stops:
//! systemd with `Type=notify`, by `sd_notify(3)`. Where there is none, nobody is told.

use std::future::pending;

use sd_notify::NotifyState;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Says that the process is ready; then, for as long as the guard is there, that it is alive, and
/// once `shutdown` is cancelled that it stops. Must be called inside a Tokio runtime: what is alive
/// are its threads.
#[must_use]
pub fn ready(shutdown: CancellationToken) -> DropGuard {
    tell(NotifyState::Ready);
    let ended = CancellationToken::new();
    tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
        tokio::join!(stay_alive(), async {
            shutdown.cancelled().await;
            tell(NotifyState::Stopping);
        })
    }));
    ended.drop_guard()
}

/// Twice in each interval of the watchdog, if there is one.
async fn stay_alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        tell(NotifyState::Watchdog);
        tokio::time::sleep(within / 2).await;
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
