//! Tells all workers that jobs were enqueued.
//!
//! A NOTIFY inside a business transaction takes a lock that all notifying commits of the cluster
//! queue up for, until each has reached the disk: measured here, it costs two thirds of the
//! commits. So it is sent after the commit, by a connection of its own that does not wait for the
//! disk, and many enqueues share one. Workers of the same process are woken before, without it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;

use super::same_process::SameProcess;
use crate::deadline::within;
use crate::kept_connection::KeptConnection;

/// The channel that workers listen on.
pub(crate) const CHANNEL: &str = "surety_queue";

/// At most one notification in so long. The first is sent at once.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// A handle on the notifier's task, which ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Notifier {
    pending: Arc<Notify>,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Notifier {
    /// Starts the task, with one connection of its own to the database of this pool.
    pub fn start(pool: &PgPool) -> Self {
        let options =
            pool.connect_options().as_ref().clone().options([("synchronous_commit", "off")]);
        let own = pool.options().clone().min_connections(0).max_connections(1);
        let own = own.connect_lazy_with(options);
        let same_process = SameProcess::at(&pool.connect_options());
        let pending = Arc::new(Notify::new());
        let task = tokio::spawn(send(own, same_process, Arc::clone(&pending)));
        Self { pending, _task: Arc::new(AbortOnDrop(task.abort_handle())) }
    }

    /// Wakes the workers soon. Call it after the commit. Never blocks and never fails: workers
    /// poll, too.
    pub fn notify(&self) {
        self.pending.notify_one();
    }
}

/// Wakes the workers now: for programs that would end before a [`Notifier`] of theirs gets to it.
/// Call it after the commit. Never fails: workers poll, too.
pub async fn notify_now(pool: &PgPool) {
    let same_process = SameProcess::at(&pool.connect_options());
    notify_by(&mut KeptConnection::of(pool.clone()), &same_process).await;
}

async fn notify_by(connection: &mut KeptConnection, same_process: &SameProcess) {
    same_process.wake();
    let token = same_process.token();
    let sent = connection.with(async |own| {
        let notify = sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(token);
        notify.execute(own).await.map(drop)
    });
    let sent: Result<(), sqlx::Error> = within(sent).await;
    if let Err(error) = sent {
        tracing::debug!(%error, "workers could not be notified, they poll");
    }
}

async fn send(pool: PgPool, same_process: Arc<SameProcess>, pending: Arc<Notify>) {
    let mut connection = KeptConnection::of(pool);
    loop {
        pending.notified().await;
        notify_by(&mut connection, &same_process).await;
        tokio::time::sleep(MIN_INTERVAL).await;
    }
}
