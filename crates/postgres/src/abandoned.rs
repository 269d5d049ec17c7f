//! Connections that were given up while the server was still at work for them.
//!
//! Closing a connection does not end what its backend waits for: a commit that waits for a standby
//! which is away keeps its backend, and whoever gives such commits up and connects anew again and
//! again uses up `max_connections`, until nobody can connect, an operator neither. So those who
//! share an [`Abandoned`] leave a few backends behind, and no more until the server says that none
//! of them waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

/// The most connections that may be given up.
const MAX_ABANDONED: usize = 8;
/// The interval at which the server is asked about them.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The time that the server has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The count of the connections that were given up. Clones share it.
#[derive(Clone, Debug)]
pub struct Abandoned {
    count: Arc<AtomicUsize>,
    server: PgConnectOptions,
}

impl Abandoned {
    /// None yet, of connections to this server.
    pub fn new(server: PgConnectOptions) -> Self {
        Self { count: Arc::new(AtomicUsize::new(0)), server }
    }

    /// Tells if so many were given up that no more may be, nor a connection made for what may have
    /// to be given up.
    pub fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= MAX_ABANDONED
    }

    /// Counts a connection that is given up. The first one has the server asked from now on, until
    /// it says that no backend waits for a standby any more. Needs a Tokio runtime.
    pub fn count_one(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            let (count, server) = (Arc::clone(&self.count), self.server.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(ASK_EVERY).await;
                    if let Ok(Ok(0)) = timeout(ANSWER_WITHIN, waiting_backends(&server)).await {
                        count.store(0, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    }
}

/// The number of backends of this role that have waited for a standby for so long that they may be
/// among those given up. Where a standby is well, commits wait for it all the time, but briefly.
async fn waiting_backends(server: &PgConnectOptions) -> Result<i64, sqlx::Error> {
    let mut conn = PgConnection::connect_with(server).await?;
    let waiting = "select count(*) from pg_stat_activity
                   where usename = current_user and wait_event = 'SyncRep'
                     and query_start < clock_timestamp() - interval '1 second'";
    let waiting = sqlx::query_scalar(waiting).fetch_one(&mut conn).await?;
    conn.close().await?;
    Ok(waiting)
}
