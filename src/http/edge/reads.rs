//! Reads that may be a little behind, for those whom that does not mislead: lists, pages and
//! reports of operators, which then say how old they may be. Never decisions, nor what callers read
//! of their own money, nor lists that promise to be final.

use std::fmt;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use surety_postgres::{Replica, ReplicaUse};
use tokio::time::timeout;

use super::database::{WITHIN, within};
use crate::http::wire::problem::Problem;
use crate::metrics::instruments::{REPLICA_AGE, REPLICA_READ};
use crate::metrics::{Family, Metrics, Point};

/// The longest that a read of a standby may take, as the primary may have to be asked after it.
const REPLICA_WITHIN: Duration = Duration::from_secs(2);

/// The places to read from. Its clones share them.
#[derive(Clone, Debug)]
pub struct Reads {
    primary: PgPool,
    replica: Option<Replica>,
}

/// The greatest age of what was read, which rises until it is shown: as seconds with one decimal,
/// rounded up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataAge {
    as_of: Instant,
}

impl Reads {
    /// Reads by the primary alone.
    pub fn of_primary(primary: PgPool) -> Self {
        Self::new(primary, None)
    }

    /// Reads by the standby, if there is one and while it is of use, and else by the primary.
    pub fn new(primary: PgPool, replica: Option<Replica>) -> Self {
        Self { primary, replica }
    }

    /// The primary, for what must not be behind.
    pub fn primary(&self) -> &PgPool {
        &self.primary
    }

    /// Shows the use that is made of the standby, if there is one.
    pub fn show(&self, metrics: &Metrics) {
        let Some(replica) = self.replica.clone() else { return };
        metrics.collect(move || {
            let ReplicaUse { is_read, last_age } = replica.usage();
            let age = last_age.map(|age| Point::of(&[], age.as_secs_f64()));
            vec![
                Family::new(&REPLICA_READ, vec![Point::of(&[], f64::from(u8::from(is_read)))]),
                Family::new(&REPLICA_AGE, age.into_iter().collect()),
            ]
        });
    }

    /// A connection to the standby, while that is of use.
    pub async fn replica(&self) -> Option<(PoolConnection<Postgres>, DataAge)> {
        let connected = self.replica.as_ref()?.connection().await?;
        Some((connected.conn, DataAge { as_of: connected.as_of }))
    }

    /// Keeps readers from the standby for a moment, as a read failed there. What it does not have
    /// yet, it is no worse for.
    pub fn failed_at_replica(&self, problem: &Problem) {
        if problem.code().status() >= 500 {
            self.distrust_replica(problem.inside());
        }
    }

    fn distrust_replica(&self, reason: String) {
        if let Some(replica) = &self.replica {
            replica.distrust(reason);
        }
    }

    /// The time after which no read by the standby misses what was written before; none without a
    /// standby.
    pub fn caught_up_after(&self) -> Option<Duration> {
        self.replica.as_ref().map(Replica::max_age)
    }
}

/// Uses a connection to a standby, if one is of use, or else to the primary: for lists and reports
/// that may be a little behind. With what was found comes the age that it has at most, in seconds,
/// for the header `Data-Age`; none when it is the primary's.
///
/// # Errors
///
/// As [`within_seconds`], and within the same time. What the standby fails with is asked of the
/// primary: it may give up a read that is in the way of what it replays.
///
/// [`within_seconds`]: super::database::within_seconds
pub async fn read_recent<T, F: Future<Output = Result<T, Problem>>>(
    reads: &Reads,
    work: impl Fn(PoolConnection<Postgres>) -> F,
) -> Result<(T, Option<f64>), Problem> {
    let begun = Instant::now();
    if let Some((conn, age)) = reads.replica().await {
        match timeout(REPLICA_WITHIN, work(conn)).await {
            Ok(Ok(found)) => return Ok((found, Some(age.seconds()))),
            Ok(Err(problem)) => reads.failed_at_replica(&problem),
            Err(_elapsed) => reads.distrust_replica("it took too long".to_owned()),
        }
    }
    let rest = WITHIN.saturating_sub(begun.elapsed());
    let found = within(rest, async { work(reads.primary().acquire().await?).await });
    Ok((found.await?, None))
}

impl DataAge {
    /// In seconds, rounded up to a tenth.
    fn seconds(self) -> f64 {
        in_tenths(self.as_of.elapsed())
    }
}

fn in_tenths(age: Duration) -> f64 {
    age.as_millis().div_ceil(100) as f64 / 10.0
}

impl fmt::Display for DataAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_shown_as_less_than_it_is() {
        for (millis, shown) in [(0, 0.0), (1, 0.1), (100, 0.1), (101, 0.2), (9_999, 10.0)] {
            assert_eq!(in_tenths(Duration::from_millis(millis)), shown);
        }
    }
}
