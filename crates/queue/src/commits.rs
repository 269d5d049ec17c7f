//! Commits that count only when PostgreSQL stands by them.
//!
//! A commit that waits for a synchronous standby, and whose waiting somebody ends
//! (`pg_cancel_backend`), is answered as if all was well, with a warning (01000): it is committed
//! on this server, and lost when the standby takes over. PostgreSQL warns at the end of a
//! transaction of nothing else, so [`confirmed`] takes every warning during a commit for that.
//!
//! The driver hands warnings to `tracing` alone, with the target [`WARNINGS_TARGET`]: a program's
//! subscriber has to call [`note_warning`] for each event of it, at the level `WARN`, in the thread
//! in which it comes. Without, such a commit is taken for a good one.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use sqlx::{Postgres, Transaction};

/// The target of the events in which the driver repeats warnings of the server.
pub const WARNINGS_TARGET: &str = "sqlx::postgres::notice";

thread_local! {
    /// A warning came since this was last set to false.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Notes a warning of the server's, which came in this thread at this moment.
pub fn note_warning() {
    WARNED.set(true);
}

/// Commits the transaction.
///
/// # Errors
///
/// As [`confirmed`].
pub async fn commit(tx: Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
    confirmed(tx.commit()).await
}

/// Waits for a commit.
///
/// # Errors
///
/// Those of the commit, and [`sqlx::Error::Io`] when the server warned: then it is committed on
/// this server, and may be lost.
pub async fn confirmed<T>(
    commit: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let mut commit = pin!(commit);
    let mut is_warned = false;
    let committed = poll_fn(|context| {
        WARNED.set(false);
        let polled = commit.as_mut().poll(context);
        is_warned |= WARNED.replace(false);
        polled
    })
    .await?;
    match is_warned {
        false => Ok(committed),
        true => Err(sqlx::Error::Io(std::io::Error::other(Unconfirmed))),
    }
}

/// Tells if the error is that of a commit which the server did not stand by.
pub(crate) fn is_unconfirmed(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return false };
    error.get_ref().is_some_and(|error| error.is::<Unconfirmed>())
}

/// The server warned when it committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("committed on this server only: the waiting for its standby was ended")]
struct Unconfirmed;
