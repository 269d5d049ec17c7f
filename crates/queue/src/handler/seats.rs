//! Seats: how many batches of a kind are at work at once, over all workers.
//!
//! Where batches write the same rows, more of them at once are slower: each waits for those before
//! it, with a transaction open that holds back claims and vacuum. So a kind may have seats, and a
//! transaction of its batches begins by taking one. Whoever finds none comes again a little later,
//! and keeps nothing of the database's meanwhile.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::engine::Engine;
use super::run_transaction::RunTransaction;
use crate::deadline::within;

/// The first pause before the seats are looked at again, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(40)];

/// After so long it is said that a batch waits for a seat.
const LONG: Duration = Duration::from_secs(30);

/// The seats of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seats {
    pub(crate) kind: &'static str,
    pub(crate) count: u16,
}

/// The way of a run to its transactions.
#[derive(Clone, Default)]
pub(crate) struct Turn {
    /// Those of a batch's kind, if it has any; most runs have none.
    seated: Option<Seated>,
}

#[derive(Clone)]
struct Seated {
    seats: Seats,
    /// A transaction that was begun before the run, for its first one.
    begun: Arc<Mutex<Option<RunTransaction>>>,
}

impl Turn {
    /// The way of a batch whose kind has these seats.
    pub(crate) fn of(seats: Option<Seats>) -> Self {
        Self { seated: seats.map(|seats| Seated { seats, begun: Arc::default() }) }
    }

    /// The way of a run of the same kind, with nothing begun.
    pub(crate) fn of_another(&self) -> Self {
        Self::of(self.seated.as_ref().map(|it| it.seats))
    }

    /// Waits for a seat, if the kind has any, and keeps it for the first transaction of the run.
    pub(crate) async fn take_seat(&self, engine: &Engine) -> Result<(), sqlx::Error> {
        if let Some(seated) = &self.seated {
            let begun = seated.seats.begin(engine).await?;
            *seated.begun() = Some(begun);
        }
        Ok(())
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self, engine: &Engine) -> Result<RunTransaction, sqlx::Error> {
        let Some(seated) = &self.seated else { return engine.begin().await };
        let begun = seated.begun().take();
        match begun {
            Some(begun) => Ok(begun),
            None => seated.seats.begin(engine).await,
        }
    }
}

impl Seated {
    fn begun(&self) -> MutexGuard<'_, Option<RunTransaction>> {
        self.begun.lock().expect("no code panics while it holds this lock")
    }
}

impl Seats {
    async fn begin(self, engine: &Engine) -> Result<RunTransaction, sqlx::Error> {
        let (since, [mut pause, longest]) = (Instant::now(), PAUSES);
        let mut is_said = false;
        loop {
            let mut tx = engine.begin().await?;
            let seats = i32::from(self.count);
            let taken = sqlx::query_file_scalar!("src/sql/take_seat.sql", self.kind, seats);
            if within(taken.fetch_one(&mut *tx)).await? {
                return Ok(tx);
            }
            within(tx.rollback()).await?;
            if since.elapsed() >= LONG && !is_said {
                let (kind, seats) = (self.kind, self.count);
                tracing::warn!(kind, seats, "a batch has waited for a seat for {LONG:?}");
                is_said = true;
            }
            // Jittered, so that those who wait do not come in step.
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(longest);
        }
    }
}
