//! The database transactions of runs.
//!
//! A pool looks at each connection before it hands it out and when it is given back, which is two
//! round trips beside the three or so of a transaction. So connections go from one run to the
//! next without the pool while runs come fast. The `BEGIN` is the look at them: nothing has been
//! asked for before it, so where it fails, another connection will do. Who runs one statement after
//! another keeps one connection (`kept_connection.rs`).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, PgConnection, PgPool, Postgres};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::commits::confirmed;
use crate::deadline::{ACQUIRE_WITHIN, within};

/// The driver's way to keep count of what is open, so that a transaction inside is a savepoint.
type Manager = <Postgres as Database>::TransactionManager;

/// A connection that rested for so long is not used again without the pool, which has it back after
/// twice that at the latest.
const RESTS_FOR: Duration = Duration::from_millis(50);

/// After so long a connection goes back to the pool however often it is used: the pool finds out
/// that a server may no longer be written to.
const KEPT_FOR: Duration = Duration::from_millis(250);

/// A connection that rested answers within this time, or is given up for another.
const KEPT_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The connections of a pool, as runs share them.
pub(crate) struct RunConnections {
    pool: PgPool,
    /// As many as the pool has connections: unless others use the pool, too, whoever has a place
    /// finds a connection that rests, or the pool can make one.
    places: Arc<Semaphore>,
    resting: Arc<Resting>,
}

/// The connections that rest between two runs.
#[derive(Default)]
struct Resting(Mutex<AtRest>);

#[derive(Default)]
struct AtRest {
    /// In the order in which they came to rest.
    connections: Vec<Rested>,
    /// A task gives back those that rest for too long.
    is_looked_after: bool,
}

struct Rested {
    connection: PoolConnection<Postgres>,
    /// The moment at which the pool has handed it out.
    kept_since: Instant,
    rests_since: Instant,
}

impl Rested {
    fn is_fresh(&self) -> bool {
        self.rests_since.elapsed() < RESTS_FOR && self.kept_since.elapsed() < KEPT_FOR
    }
}

impl RunConnections {
    pub(crate) fn of(pool: PgPool) -> Self {
        let places = pool.options().get_max_connections() as usize;
        Self { pool, places: Arc::new(Semaphore::new(places)), resting: Arc::default() }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// [`sqlx::Error::PoolTimedOut`] when no connection was to be had for 2 s, and those of
    /// [`within`].
    pub(crate) async fn begin(&self) -> Result<RunTransaction, sqlx::Error> {
        let deadline = Instant::now() + ACQUIRE_WITHIN;
        let timed_out = |_elapsed| sqlx::Error::PoolTimedOut;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(timed_out)?.map_err(|_closed| sqlx::Error::PoolClosed)?;
        let transaction = |connection, kept_since| RunTransaction {
            open: Some(Open { connection, kept_since, _place: place }),
            resting: Arc::clone(&self.resting),
        };
        if let Some(Rested { mut connection, kept_since, .. }) = self.rested() {
            let begun = timeout(KEPT_ANSWERS_WITHIN, Manager::begin(&mut connection, None)).await;
            if matches!(begun, Ok(Ok(()))) {
                return Ok(transaction(connection, kept_since));
            }
            connection.close_on_drop();
        }
        let connection = timeout_at(deadline, self.pool.acquire()).await;
        let mut connection = connection.map_err(timed_out)??;
        within(Manager::begin(&mut connection, None)).await?;
        Ok(transaction(connection, Instant::now()))
    }

    fn rested(&self) -> Option<Rested> {
        self.resting.take().filter(|_| !self.pool.is_closed())
    }
}

impl Resting {
    /// The one that rests for the shortest time, if it is still of use.
    fn take(&self) -> Option<Rested> {
        let last = self.lock().connections.pop();
        last.filter(Rested::is_fresh)
    }

    fn put(self: &Arc<Self>, connection: PoolConnection<Postgres>, kept_since: Instant) {
        let rested = Rested { connection, kept_since, rests_since: Instant::now() };
        if !rested.is_fresh() {
            return;
        }
        let mut at_rest = self.lock();
        at_rest.connections.push(rested);
        if !at_rest.is_looked_after {
            at_rest.is_looked_after = true;
            tokio::spawn(Self::look_after(Arc::downgrade(self)));
        }
    }

    /// Gives back what is not fresh any more, for as long as anything rests.
    async fn look_after(resting: Weak<Self>) {
        loop {
            sleep(RESTS_FOR).await;
            let Some(resting) = resting.upgrade() else { return };
            let mut at_rest = resting.lock();
            at_rest.connections.retain(Rested::is_fresh);
            if at_rest.connections.is_empty() {
                at_rest.is_looked_after = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, AtRest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database transaction of a run, which [`JobContext::begin`](super::JobContext::begin) and
/// [`BatchContext::begin`](super::BatchContext::begin) give: a [`PgConnection`] to all that writes
/// in it. Dropped, it is rolled back. [`sqlx::Connection::begin`] begins a part of it, a savepoint;
/// to end it by SQL is a mistake.
pub struct RunTransaction {
    /// None once it has ended.
    open: Option<Open>,
    resting: Arc<Resting>,
}

struct Open {
    connection: PoolConnection<Postgres>,
    kept_since: Instant,
    /// Given up after the connection.
    _place: OwnedSemaphorePermit,
}

impl RunTransaction {
    /// Commits it.
    ///
    /// # Errors
    ///
    /// As [`confirmed`]; and [`sqlx::Error::Protocol`] when there is no telling what would be
    /// committed: the beginning of a part was given up, or a part is still open.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.require_whole()?;
        confirmed(Manager::commit(&mut self)).await?;
        self.put_to_rest();
        Ok(())
    }

    /// Undoes what was written in it.
    ///
    /// # Errors
    ///
    /// Those of the database; it is undone in any case, if need be when the connection is given
    /// back.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        if self.require_whole().is_ok() {
            Manager::rollback(&mut self).await?;
            self.put_to_rest();
        }
        Ok(())
    }

    /// Makes sure that what comes next is said inside it, and inside no part of it.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    pub(super) fn require_whole(&self) -> Result<(), sqlx::Error> {
        match Manager::get_transaction_depth(self) {
            1 => Ok(()),
            0 => Err(sqlx::Error::Protocol(
                "the transaction is over: the beginning of a part of it was given up".to_owned(),
            )),
            _ => Err(sqlx::Error::Protocol("a part of the transaction is open".to_owned())),
        }
    }

    /// Leaves the connection, over which all is said, to the next one.
    fn put_to_rest(mut self) {
        if let Some(Open { connection, kept_since, _place }) = self.open.take() {
            self.resting.put(connection, kept_since);
        }
    }
}

impl Deref for RunTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.open.as_ref().expect("it is open until it is consumed").connection
    }
}

impl DerefMut for RunTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.open.as_mut().expect("it is open until it is consumed").connection
    }
}

impl Drop for RunTransaction {
    fn drop(&mut self) {
        let is_in_a_part = self.open.is_some() && Manager::get_transaction_depth(self) > 1;
        if let Some(open) = &mut self.open {
            // Sent when the pool takes the connection back.
            Manager::start_rollback(&mut open.connection);
            if is_in_a_part {
                open.connection.close_on_drop();
            }
        }
    }
}

impl fmt::Debug for RunTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunTransaction").finish_non_exhaustive()
    }
}
