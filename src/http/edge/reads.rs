//! Reads that may be a little behind, for those whom that does not mislead: lists, pages and
//! reports of operators, which then say how old they may be. Never decisions, nor what callers read
//! of their own money, nor lists that promise to be final.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use surety_postgres::Replica;
use tokio::time::timeout;

use super::database::within;
use crate::http::wire::problem::Problem;

/// The header that says how old what is shown may be, in seconds.
pub const DATA_AGE: &str = "Data-Age";

/// The longest that a standby may take, as the primary may have to be asked after it.
const REPLICA_WITHIN: Duration = Duration::from_secs(3);

/// The places to read from.
#[derive(Clone, Debug)]
pub struct Reads {
    primary: PgPool,
    replica: Option<Replica>,
}

/// The greatest age of what was read; shown as seconds with one decimal, rounded up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DataAge(Duration);

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

    /// A connection to the standby, while that is of use.
    pub async fn replica(&self) -> Option<(PoolConnection<Postgres>, DataAge)> {
        let connected = self.replica.as_ref()?.connection().await?;
        Some((connected.conn, DataAge(connected.age)))
    }
}

/// Uses a connection to a standby, if one is of use, or else to the primary: for lists and reports
/// that may be a little behind. With what was found comes the age that it has at most; none when it
/// is the primary's.
///
/// # Errors
///
/// As [`within_seconds`]. What the standby fails with is asked of the primary: it may give up a
/// read that is in the way of what it replays.
///
/// [`within_seconds`]: super::database::within_seconds
pub async fn read_recent<T, F: Future<Output = Result<T, Problem>>>(
    reads: &Reads,
    work: impl Fn(PoolConnection<Postgres>) -> F,
) -> Result<(T, Option<DataAge>), Problem> {
    if let Some((conn, age)) = reads.replica().await
        && let Ok(Ok(found)) = timeout(REPLICA_WITHIN, work(conn)).await
    {
        return Ok((found, Some(age)));
    }
    let found = within(async { work(reads.primary().acquire().await?).await });
    Ok((found.await?, None))
}

impl DataAge {
    /// In seconds, rounded up to a tenth.
    pub fn seconds(self) -> f64 {
        self.tenths() as f64 / 10.0
    }

    fn tenths(self) -> u128 {
        self.0.as_millis().div_ceil(100)
    }
}

impl std::fmt::Display for DataAge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}", self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_shown_as_less_than_it_is() {
        for (millis, shown) in [(0, "0.0"), (1, "0.1"), (100, "0.1"), (101, "0.2"), (9_999, "10.0")]
        {
            assert_eq!(DataAge(Duration::from_millis(millis)).to_string(), shown);
        }
    }
}
