//! A connection for one statement after another, for who must be quick: a pool asks each connection
//! that it hands out whether it is of use, which is one more round trip.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// After so long without use, the pool is to look at the connection again.
const KEEP_FOR: Duration = Duration::from_millis(250);

/// A connection of a pool that is kept from one use to the next while these come fast.
pub(crate) struct KeptConnection {
    pool: PgPool,
    kept: Option<(PoolConnection<Postgres>, Instant)>,
}

impl KeptConnection {
    pub(crate) fn of(pool: PgPool) -> Self {
        Self { pool, kept: None }
    }

    /// Works with the connection that was kept, or else with one of the pool. It is kept when that
    /// went well; else, and when the work is given up, the pool is to see to it.
    ///
    /// # Errors
    ///
    /// Those of `work`, and when the pool has no connection to give.
    pub(crate) async fn with<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = match self.kept.take() {
            Some((connection, since)) if since.elapsed() < KEEP_FOR => connection,
            stale => {
                // First, or it would be missing in the pool.
                drop(stale);
                self.pool.acquire().await?
            }
        };
        let done = work(&mut connection).await?;
        self.kept = Some((connection, Instant::now()));
        Ok(done)
    }
}
