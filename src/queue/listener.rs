//! Wakes the worker when jobs were enqueued. Only a hint: polling is the truth, and a listener that
//! cannot listen costs at most a poll interval.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use super::notifier::CHANNEL;

const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Listens for ever, through lost connections and failovers.
pub(super) async fn listen(pool: PgPool, wake: Arc<Notify>) {
    loop {
        if let Err(error) = listen_once(&pool, &wake).await {
            tracing::debug!(%error, "cannot listen for new jobs, polling goes on");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn listen_once(pool: &PgPool, wake: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    loop {
        // None: the connection was lost, and with it whatever was sent meanwhile. It is made again
        // by the next call.
        let _notification = listener.try_recv().await?;
        wake.notify_one();
    }
}
