//! A session that alone may change the schemas of its database.
//!
//! Two processes must not do it at once, and one that does must not hold up the others: a statement
//! that waits for `access exclusive` makes everybody after it wait, too. So there is a lock between
//! processes, waits for locks on tables are short, and what did not get one is tried again.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::sleep;

use super::SchemaError;

/// Between two tries to get a lock: time for those who queued behind the last one.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The times for which a change of the schema may wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one lock on a table. Everybody who comes after waits behind it, so this is short, and
    /// the change is tried again a little later.
    pub lock_timeout: Duration,
    /// In all: for another process that changes a schema, and for locks over all tries.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lock_timeout: Duration::from_secs(3), total: Duration::from_secs(60) }
    }
}

/// A connection that alone may change schemas. The lock ends with it, whatever happens.
pub(super) struct Session {
    pub(super) conn: PgConnection,
    patience: Patience,
    deadline: Instant,
}

impl Session {
    pub(super) async fn begin(pool: &PgPool, patience: Patience) -> Result<Self, SchemaError> {
        let mut conn = pool.acquire().await?.detach();
        // A migration may take as long as it needs and read whole tables, unlike the statements of
        // a request. Functions may name others that come after them.
        sqlx::query(
            "select set_config('statement_timeout', '0', false),
                    set_config('idle_in_transaction_session_timeout', '0', false),
                    set_config('enable_seqscan', 'on', false),
                    set_config('check_function_bodies', 'off', false),
                    set_config('client_min_messages', 'warning', false),
                    set_config('lock_timeout', $1, false)",
        )
        .bind(format!("{}ms", patience.lock_timeout.as_millis()))
        .execute(&mut conn)
        .await?;
        let deadline = Instant::now() + patience.total;
        // To wait inside a statement would keep a snapshot, which a `create index concurrently` of
        // the other process waits for: so we ask, and sleep, and ask again.
        while !try_lock(&mut conn).await? {
            if Instant::now() >= deadline {
                return Err(SchemaError::Locked { waited: patience.total });
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(Self { conn, patience, deadline })
    }

    /// Lets others go on.
    pub(super) async fn end(self) -> Result<(), SchemaError> {
        self.conn.close().await?;
        Ok(())
    }

    /// Waits a little when a lock was not to be had and there is time left; fails otherwise.
    pub(super) async fn wait_for_lock(&self, error: SchemaError) -> Result<(), SchemaError> {
        if !error.is_lock_timeout() {
            return Err(error);
        }
        if Instant::now() >= self.deadline {
            return Err(SchemaError::Locked { waited: self.patience.total });
        }
        sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

/// Takes the lock that one process of a database holds, if nobody else has it.
async fn try_lock(conn: &mut PgConnection) -> Result<bool, SchemaError> {
    let lock = "select pg_try_advisory_lock(hashtext('surety.migrations'))";
    Ok(sqlx::query_scalar(lock).fetch_one(conn).await?)
}
