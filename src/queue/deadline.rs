//! How long the engine waits for the database. A connection can be cut off without a word, and
//! what is asked by it is then never answered: nobody who must go on may wait for that.

use std::time::Duration;

use tokio::time::timeout;

/// The server itself ends a statement of the engine's after this: a claim that nobody waits for any
/// more must not be committed.
pub(super) const STATEMENT_TIMEOUT: &str = "3s";

/// Later than the above, so that only what cannot be answered goes without an answer; and soon
/// enough for a worker to be back within five seconds.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The longest wait for a connection of the engine's.
pub(super) const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// Gives up what is not answered in time. Whether it was done is then not known.
pub(super) async fn within<T, E: From<sqlx::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match timeout(ANSWER_WITHIN, work).await {
        Ok(done) => done,
        Err(_elapsed) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}
