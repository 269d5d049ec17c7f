//! Health of the queue, read before anything has gone wrong: [`check`] changes nothing.
//!
//! - `finding`: the result of a look, with its level.
//! - `fix`: remedies, which each application words in its own commands.
//! - `backlog`: jobs that wait for too long, leases that nobody takes back, and what somebody holds
//!   up on purpose.
//! - `workers`: whether there are workers, and for every kind one that knows it.
//! - `failures`: kinds whose jobs fail.
//! - `history`: days that retention holds back, and discarded jobs that wait for a decision.
//! - [`figures`]: the queue in numbers.
//! - `storage`: partitions, indexes, storage settings, dead rows.
//!
//! [`compare_relations`] and [`dead_rows`] can be asked of the tables of other schemas, too.
//!
//! ```
//! use surety_queue::health::{self, Level, Limits};
//!
//! # async fn doc(pool: sqlx::PgPool) -> Result<(), sqlx::Error> {
//! let mut conn = pool.acquire().await?;
//! for finding in health::check(&mut conn, &Limits::default()).await? {
//!     if finding.level == Level::Fail {
//!         eprintln!("{}: {}", finding.check, finding.found);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backlog;
mod failures;
pub mod figures;
mod finding;
mod fix;
mod history;
pub mod invariants;
mod storage;
pub mod verify;
mod workers;

use std::time::Duration;

use sqlx::PgConnection;

pub use finding::{Finding, Level, look, span};
pub use fix::Fix;
pub use storage::{ExpectedRelations, compare_relations, dead_rows};

/// The bounds beyond which something is worth a warning; beyond [`FAIL_FACTOR`] times as much it is
/// a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest that a due job may wait for a worker.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wait: Duration::from_secs(60) }
    }
}

/// The multiple of a limit beyond which a warning becomes a failure.
pub const FAIL_FACTOR: f64 = 10.0;

/// The severity of `secs` that have passed where `limit` is tolerated.
pub fn judge(secs: f64, limit: Duration) -> Level {
    match secs / limit.as_secs_f64() {
        ..1.0 => Level::Ok,
        ..FAIL_FACTOR => Level::Warn,
        _ => Level::Fail,
    }
}

/// Looks at everything that can be wrong with the queue. Reads only, each look within seconds.
///
/// # Errors
///
/// When the connection breaks. What the database refuses to tell is a finding.
pub async fn check(conn: &mut PgConnection, limits: &Limits) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    findings.extend(
        look(conn, backlog::OLDEST_AVAILABLE, async |conn| {
            backlog::oldest_available(conn, limits.wait).await
        })
        .await?,
    );
    findings.extend(look(conn, backlog::UNUSUAL_WAITS, backlog::unusual_waits).await?);
    findings.extend(look(conn, backlog::EXPIRED_LEASES, backlog::expired_leases).await?);
    findings.extend(look(conn, backlog::PAUSES, backlog::pauses).await?);
    findings.extend(look(conn, backlog::BLOCKED_KEYS, backlog::blocked_keys).await?);
    findings.extend(look(conn, workers::WORKERS, workers::workers).await?);
    findings.extend(
        look(conn, workers::UNSERVED_KINDS, async |conn| {
            workers::unserved_kinds(conn, limits.wait).await
        })
        .await?,
    );
    findings.extend(look(conn, failures::FAILING_KINDS, failures::failing_kinds).await?);
    findings.extend(look(conn, history::UNDECIDED, history::undecided).await?);
    findings.extend(look(conn, history::RETENTION, history::retention).await?);
    findings.extend(look(conn, storage::PARTITIONS, storage::partitions).await?);
    findings.extend(
        look(conn, storage::RELATIONS, async |conn| {
            compare_relations(conn, storage::EXPECTED).await
        })
        .await?,
    );
    findings.extend(
        look(conn, storage::DEAD_ROWS, async |conn| dead_rows(conn, &["queue"]).await).await?,
    );
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_is_a_warning_and_ten_times_beyond_it_a_failure() {
        let limit = Duration::from_secs(60);
        let levels = [59.9, 60.0, 599.0, 600.0].map(|secs| judge(secs, limit));
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Warn, Level::Fail]);
    }

    /// Others spawn it, so it must be `Send`.
    #[allow(dead_code)]
    fn a_check_can_be_spawned(conn: &'static mut PgConnection, limits: &'static Limits) {
        fn is_send(_: impl Send) {}
        is_send(check(conn, limits));
    }
}
