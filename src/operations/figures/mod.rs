//! Figures of the whole system, for `/metrics`: read from the database in the background, so that
//! whoever asks waits for nobody.
//!
//! - Here: the [`Sampler`], which looks every ten seconds for as long as somebody asks.
//! - `work`: jobs, queues, workers, schedules.
//! - `money`: transactions, orders, the last verification. `ledger`: that entries add up.
//! - `others`: the bank, endpoints, senders of webhooks, and how far back is kept what was told.
//! - `server`: the database server.
//!
//! Guaranteed: every look is one question by index with a bound, in a transaction of its own that
//! the server ends after 1.5 s; one that fails costs its own figures and no others. While the
//! database is away, figures of before are not shown.

mod ledger;
mod money;
mod others;
mod server;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::ledger::LedgerMark;
use crate::metrics::instruments::{DATABASE_UP, SAMPLE_DURATION};
use crate::metrics::{Family, Metrics};

/// The server ends a question after this. It is answered by index: planned otherwise, because a
/// table looks small, it would read all of it once that is large.
const QUESTION_SETTINGS: &str = "
    set local statement_timeout = '1500ms';
    set local enable_seqscan = off;
    set local enable_bitmapscan = off;
    set local jit = off";
/// Nobody answers in this time: the database is away.
const LOOK_WITHIN: Duration = Duration::from_secs(8);
/// No question is begun later than that. Less than the above by what a question and a connection
/// may take.
const ASK_WITHIN: Duration = Duration::from_secs(4);
const CONNECTION_WITHIN: Duration = Duration::from_secs(2);
/// A look of before is not shown for longer than so many intervals.
const SHOWN_FOR: u32 = 4;
/// Nobody has asked for so long: there are no more looks until somebody does.
const ASKED_WITHIN: Duration = Duration::from_secs(300);

/// Looks at the database now and then, and shows what it saw.
#[derive(Debug)]
pub struct Sampler {
    pool: PgPool,
    every: Duration,
    last: Mutex<Last>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Last {
    look: Option<Look>,
    asked_at: Option<Instant>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    took: Duration,
    /// `None` when the database did not answer.
    seen: Option<Vec<Family>>,
}

impl Sampler {
    /// A sampler of this database, whose figures are shown among `metrics`. It looks while
    /// [`keep`](Self::keep) runs.
    #[must_use]
    pub fn show(pool: PgPool, every: Duration, metrics: &Metrics) -> Arc<Self> {
        let sampler =
            Arc::new(Self { pool, every, last: Mutex::default(), asked: Notify::default() });
        let shown = Arc::clone(&sampler);
        metrics.collect(move || shown.families());
        sampler
    }

    /// Looks for as long as somebody asks, until `stop` is cancelled.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut mark = LedgerMark::default();
        let looking = async {
            loop {
                self.until_asked().await;
                let began = Instant::now();
                let seen = timeout(LOOK_WITHIN, self.look(&mut mark)).await;
                let seen = match seen {
                    Ok(Ok(seen)) => Some(seen),
                    Ok(Err(error)) => {
                        tracing::debug!("the database cannot be looked at: {error}");
                        None
                    }
                    Err(_elapsed) => None,
                };
                self.lock().look = Some(Look { at: Instant::now(), took: began.elapsed(), seen });
                sleep(self.every).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    async fn until_asked(&self) {
        loop {
            // Before it is looked whether somebody has asked: who asks in between is heard.
            let asked = self.asked.notified();
            let is_asked = self.lock().asked_at.is_some_and(|at| at.elapsed() < ASKED_WITHIN);
            if is_asked {
                return;
            }
            asked.await;
        }
    }

    fn families(&self) -> Vec<Family> {
        let mut last = self.lock();
        last.asked_at = Some(Instant::now());
        self.asked.notify_one();
        let Some(look) = &last.look else { return Vec::new() };
        let up = Family::single(&DATABASE_UP, f64::from(u8::from(look.seen.is_some())));
        let took = Family::single(&SAMPLE_DURATION, look.took.as_secs_f64());
        let mut families = vec![up, took];
        if look.at.elapsed() < self.every * SHOWN_FOR + LOOK_WITHIN {
            families.extend(look.seen.iter().flatten().cloned());
        }
        families
    }

    async fn look(&self, mark: &mut LedgerMark) -> Result<Vec<Family>, sqlx::Error> {
        let mut conn = timeout(CONNECTION_WITHIN, self.pool.acquire())
            .await
            .map_err(|_elapsed| sqlx::Error::PoolTimedOut)??;
        sample(&mut conn, mark).await
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All figures of the system at this moment; those that the database refuses to tell are missing.
/// `mark` is what earlier calls have added up of the ledger.
///
/// # Errors
///
/// When the connection breaks.
pub async fn sample(
    conn: &mut PgConnection,
    mark: &mut LedgerMark,
) -> Result<Vec<Family>, sqlx::Error> {
    let began = Instant::now();
    let mut families = Vec::new();
    families.extend(ask(conn, began, "waiting jobs", work::waiting).await?);
    families.extend(ask(conn, began, "workers", work::standing).await?);
    families.extend(ask(conn, began, "transactions", money::transactions).await?);
    families.extend(ask(conn, began, "orders", money::orders).await?);
    let ledger = async |conn: &mut PgConnection| ledger::ledger(conn, mark).await;
    families.extend(ask(conn, began, "the ledger", ledger).await?);
    families.extend(ask(conn, began, "verification", money::verification).await?);
    families.extend(ask(conn, began, "inbound webhooks", others::silences).await?);
    families.extend(ask(conn, began, "the bank", others::bank).await?);
    families.extend(ask(conn, began, "endpoints", others::endpoints).await?);
    families.extend(ask(conn, began, "history", others::history).await?);
    families.extend(ask(conn, began, "sessions", server::sessions).await?);
    families.extend(ask(conn, began, "tables", server::tables).await?);
    families.extend(ask(conn, began, "the database", server::database).await?);
    Ok(families)
}

/// Asks one question. What the database refuses to tell, or cannot in time, is nothing; nor is
/// anything when those before have taken too long: a database that is slow is not away.
async fn ask(
    conn: &mut PgConnection,
    began: Instant,
    about: &'static str,
    question: impl AsyncFnOnce(&mut PgConnection) -> Result<Vec<Family>, sqlx::Error>,
) -> Result<Vec<Family>, sqlx::Error> {
    if began.elapsed() > ASK_WITHIN {
        return Ok(Vec::new());
    }
    let mut tx = conn.begin_with("begin read only").await?;
    sqlx::raw_sql(QUESTION_SETTINGS).execute(&mut *tx).await?;
    let answer = question(&mut tx).await;
    match answer {
        Ok(families) => {
            tx.commit().await?;
            Ok(families)
        }
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(about, "no figures: {error}");
            tx.rollback().await?;
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
