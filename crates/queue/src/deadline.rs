//! Limits on waiting for the database. A connection can be cut off without a word, and then a
//! question asked over it is never answered, which nobody who must go on may wait for. Handlers put
//! the statements of a transaction [`within`] the same time.

use std::time::Duration;

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
    match timeout(ANSWER_WITHIN, work).await {
        Ok(done) => done,
        Err(_elapsed) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}
