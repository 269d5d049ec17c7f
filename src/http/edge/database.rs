//! The database as operations use it: within a bound of time, because a client has better things to
//! do than to wait, and its request something better to be answered than nothing.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::http::wire::problem::{Code, Problem, is_about_the_data};
use crate::payments::LedgerError;
use crate::queue::commits::commit;

/// The longest that an operation waits for the database.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// Uses a connection.
///
/// # Errors
///
/// [`Code::Unavailable`] when it takes too long, and whatever `work` fails with.
pub async fn within_seconds<T>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Problem>,
) -> Result<T, Problem> {
    within(WITHIN, async {
        let mut conn = pool.acquire().await?;
        work(&mut conn).await
    })
    .await
}

/// Waits no longer than that.
pub(super) async fn within<T>(
    limit: Duration,
    working: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    timeout(limit, working).await.unwrap_or_else(|_| Err(Problem::new(Code::Unavailable)))
}

/// Does all of `work` in one database transaction, which is committed when it succeeds.
///
/// # Errors
///
/// [`Code::Unavailable`] when it takes too long, in which case nobody knows whether it was
/// committed, and whatever `work` fails with.
pub async fn in_transaction<T>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Problem>,
) -> Result<T, Problem> {
    within_seconds(pool, async |conn| {
        let mut tx = conn.begin().await?;
        let done = work(&mut tx).await?;
        commit(tx).await?;
        Ok(done)
    })
    .await
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let code = match is_about_the_data(&error) {
            true => Code::InternalError,
            false => Code::Unavailable,
        };
        Problem::new(code).cause(error)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Database(error) => Self::from(error),
            other => Self::new(Code::InternalError).cause(other),
        }
    }
}
