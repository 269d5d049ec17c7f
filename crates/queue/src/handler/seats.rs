//! Seats: how many batches of a kind are at work at once, over all workers.
//!
//! Where batches write the same rows, more of them at once are slower: each waits for those before
//! it, with a transaction open that holds back claims and vacuum. So a kind may have seats, and a
//! transaction of its batches begins by taking one. Whoever waits for a seat has written nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction};
use tokio::time::timeout;

use super::context::Engine;

/// A connection that was cut off is never answered: after so long the wait begins anew, by another.
const WAIT: Duration = Duration::from_secs(10);

/// A run that waits by itself gives up after so many waits.
const WAITS: usize = 5;

/// The seats of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seats {
    pub(crate) kind: &'static str,
    pub(crate) count: u16,
}

/// The way of a run to its transactions.
#[derive(Clone, Default)]
pub(crate) struct Turn {
    seats: Option<Seats>,
    /// The first one, if it was begun before the run.
    begun: Arc<Mutex<Option<Transaction<'static, Postgres>>>>,
}

impl Turn {
    /// The way of a run whose kind has these seats.
    pub(crate) fn of(seats: Option<Seats>) -> Self {
        Self { seats, begun: Arc::default() }
    }

    /// Waits for a seat, if the kind has any, and keeps it for the first transaction of the run.
    pub(crate) async fn take_seat(&self, engine: &Engine) -> Result<(), sqlx::Error> {
        if let Some(seats) = self.seats {
            let seated = loop {
                match seats.begin(engine).await {
                    Err(error) if is_late(&error) => {}
                    begun => break begun?,
                }
            };
            *self.begun() = Some(seated);
        }
        Ok(())
    }

    /// Begins a transaction.
    pub(super) async fn begin(
        &self,
        engine: &Engine,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let begun = self.begun().take();
        match (begun, self.seats) {
            (Some(begun), _) => Ok(begun),
            (None, None) => engine.begin().await,
            (None, Some(seats)) => {
                for _ in 1..WAITS {
                    match seats.begin(engine).await {
                        Err(error) if is_late(&error) => {}
                        begun => return begun,
                    }
                }
                seats.begin(engine).await
            }
        }
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Option<Transaction<'static, Postgres>>> {
        self.begun.lock().expect("no code panics while it holds this lock")
    }
}

impl Seats {
    async fn begin(self, engine: &Engine) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut tx = engine.begin().await?;
        match timeout(WAIT, self.take(&mut tx)).await {
            Ok(taken) => taken.map(|()| tx),
            Err(_elapsed) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn take(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query_file!("src/sql/take_seat.sql", self.kind, i32::from(self.count))
            .fetch_optional(conn)
            .await
            .map(drop)
    }
}

fn is_late(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}
