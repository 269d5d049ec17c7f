//! A guard that keeps a pool from handing out connections that are of no use: cut off without a
//! word, left inside somebody's transaction, or to a server that has become read-only, as a demoted
//! primary does while it keeps its connections.
//!
//! The driver would look at each connection before use and after it, too, but without end when
//! there is no answer, and without seeing more than that there is one. Pools that are made with the
//! options of a guarded one share its guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, Row as _, raw_sql};
use tokio::time::timeout;

use crate::abandoned::Abandoned;

/// A connection that does not answer within this time is given up, and so are all that were made
/// before: most likely they are cut off as well, and to find that out costs as much for each.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The longest time between two questions whether the server may be written to: a demotion is
/// noticed so much later by a busy pool, and as much later again by who keeps a connection of it
/// for several transactions.
const ROLE_CHECK_EVERY: Duration = Duration::from_millis(250);

/// The use of a pool, which decides whether connections to a read-only server serve it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Any,
    Writing,
}

struct Guard {
    purpose: Purpose,
    began: Instant,
    /// Connections that were made before this moment, in microseconds since `began`, are not used.
    distrusted_before: AtomicU64,
    /// The last moment at which a server was asked for its role, likewise.
    role_checked_at: AtomicU64,
    /// Something was wrong the last time.
    in_trouble: AtomicBool,
}

/// Options with a guard of their own.
pub(crate) fn guarded(
    options: PgPoolOptions,
    purpose: Purpose,
    abandoned: Abandoned,
) -> PgPoolOptions {
    let guard = Arc::new(Guard {
        purpose,
        began: Instant::now(),
        distrusted_before: AtomicU64::new(0),
        role_checked_at: AtomicU64::new(0),
        in_trouble: AtomicBool::new(false),
    });
    options
        .test_before_acquire(false)
        .before_acquire(move |conn, metadata| {
            let guard = Arc::clone(&guard);
            Box::pin(async move { Ok(guard.admits(conn, &metadata).await) })
        })
        // Whoever gave up waiting for an answer leaves it to us. The driver would wait for it
        // without end, and the connection count as one in use meanwhile. That it does when too many
        // were given up: the pool makes no other in its place.
        .after_release(move |conn, _| {
            let abandoned = abandoned.clone();
            Box::pin(async move {
                loop {
                    match timeout(ANSWER_WITHIN, conn.flush()).await {
                        Ok(answered) => return Ok(answered.is_ok()),
                        Err(_elapsed) if abandoned.is_full() => {}
                        Err(_elapsed) => {
                            abandoned.count_one();
                            return Ok(false);
                        }
                    }
                }
            })
        })
}

impl Guard {
    /// Decides whether a connection may be used once more.
    async fn admits(&self, conn: &mut PgConnection, metadata: &PoolConnectionMetadata) -> bool {
        let now = self.micros(Instant::now());
        let age = u64::try_from(metadata.age.as_micros()).unwrap_or(u64::MAX);
        if now.saturating_sub(age) < self.distrusted_before.load(Ordering::Relaxed) {
            return false;
        }
        let checks_role = metadata.idle_for >= ROLE_CHECK_EVERY || self.claim_role_check(now);
        let state = match checks_role {
            true => timeout(ANSWER_WITHIN, self.ask_role(conn)).await,
            false => timeout(ANSWER_WITHIN, ask_nothing(conn)).await,
        };
        match state {
            Ok(State::Good) => {
                if checks_role && self.in_trouble.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database is as it should be again");
                }
                true
            }
            Ok(State::Lost) => false,
            Ok(State::ReadOnly) => self.distrust_all(now, "the database is read-only here"),
            Err(_elapsed) => self.distrust_all(now, "the database does not answer"),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from((at - self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// From now on, connections that were there by then are not used; neither is this one. Said
    /// once, however long it lasts.
    fn distrust_all(&self, by: u64, reason: &str) -> bool {
        self.distrusted_before.fetch_max(by, Ordering::Relaxed);
        if !self.in_trouble.swap(true, Ordering::Relaxed) {
            tracing::warn!("{reason}, connecting anew");
        }
        false
    }

    /// True for one caller each time that the interval is over.
    fn claim_role_check(&self, now: u64) -> bool {
        let last = self.role_checked_at.load(Ordering::Relaxed);
        let is_due = Duration::from_micros(now.saturating_sub(last)) >= ROLE_CHECK_EVERY;
        let claim =
            self.role_checked_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        is_due && claim.is_ok()
    }

    async fn ask_role(&self, conn: &mut PgConnection) -> State {
        match ask_nothing(conn).await {
            State::Good if self.purpose == Purpose::Writing => {}
            state => return state,
        }
        match is_read_only(conn).await {
            Ok(false) => State::Good,
            Ok(true) => State::ReadOnly,
            Err(_) => State::Lost,
        }
    }
}

/// The use that a connection is fit for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Good,
    ReadOnly,
    Lost,
}

/// A round trip that costs the server nothing. It is dressed as the beginning of a transaction
/// because the driver then says whether one is open: it forgets one whose `BEGIN` was given up, and
/// what the next caller wrote would never be committed.
async fn ask_nothing(conn: &mut PgConnection) -> State {
    match conn.begin_with("").await {
        Err(sqlx::Error::BeginFailed) => State::Good,
        Err(_) | Ok(_) => State::Lost,
    }
}

/// By the simple protocol, which is safe through any pooler.
async fn is_read_only(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let value: String = raw_sql("show transaction_read_only").fetch_one(conn).await?.try_get(0)?;
    Ok(value == "on")
}

/// Tells whether this connection, which belongs to no pool, still leads to a server that may be
/// written to.
pub async fn is_writable(conn: &mut PgConnection) -> bool {
    matches!(timeout(ANSWER_WITHIN, is_read_only(conn)).await, Ok(Ok(false)))
}
