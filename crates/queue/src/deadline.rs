//! Limits on waiting for the database. A connection can be cut off without a word, and then a
//! question asked over it is never answered, which nobody who must go on may wait for. Handlers put
//! the statements of a transaction [`within`] the same time.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// The server itself ends a statement of the engine's after this: a claim that nobody waits for any
/// more must not be committed.
pub(crate) const STATEMENT_TIMEOUT: &str = "2s";

/// Later than the above, so that only what cannot be answered goes without an answer; and soon
/// enough for a busy worker to be back within five seconds: one such wait, and a second until the
/// next connection is known to be cut off, too.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(2500);

/// The longest wait for a connection of the engine's.
pub(crate) const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// Longer than the server lets any statement of a process run, 30 s.
const SLOW_ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// Gives up what is not answered within 2.5 s: statements that take milliseconds unless their
/// connection is cut off.
///
/// # Errors
///
/// Those of `work`, and [`sqlx::Error::Io`] when the time is over. Whether it was done is then not
/// known; what was asked inside a transaction is undone with it.
pub async fn within<T, E: From<sqlx::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    answered(timeout(ANSWER_WITHIN, work).await)
}

/// [`within`] for a statement that may have to read much, and that nobody waits for: gives it up
/// after 35 s.
///
/// # Errors
///
/// As [`within`].
pub async fn within_long<T, E: From<sqlx::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    answered(timeout(SLOW_ANSWER_WITHIN, work).await)
}

fn answered<T, E: From<sqlx::Error>>(answer: Result<Result<T, E>, Elapsed>) -> Result<T, E> {
    answer.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(ErrorKind::TimedOut.into()).into()))
}

/// Begins a transaction, [`within`] the same time: the pool bounds the wait for a connection, and
/// not that for the answer to the `BEGIN`.
///
/// # Errors
///
/// [`sqlx::Error::PoolTimedOut`] when no connection was to be had, and those of [`within`].
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    within(pool.begin()).await
}
