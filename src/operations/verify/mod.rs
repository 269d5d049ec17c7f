//! Verification: checks what must hold on a live database, all in one snapshot.
//!
//! The queue and the money each know their own invariants; those that join them with each other and
//! with what clients were answered are here.
//!
//! - [`Report`]: what was found, in JSON. [`last`](last()): that of the last one, which is kept.
//! - `transactions`, `orders`: what joins them and the jobs that bring them to their outcomes.
//! - `idempotency_keys`: what joins the answers that are kept and the orders that they are about.

mod idempotency_keys;
mod last;
mod orders;
mod report;
mod transactions;

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::OffsetDateTime;

pub use self::last::{Broken, LastVerify, last, record};
pub use self::report::{FindingStatus, Report};
pub use crate::queue::health::invariants::{Finding, Invariant, Weight};

use crate::{payments, queue};

/// Memory for each sort and hash of a check: with PostgreSQL's default of 4 MB, a million rows
/// spill to disk.
const WORK_MEM: &str = "128MB";

/// A verification that could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// One invariant could not be checked, or not in time.
    #[error("checking {invariant}")]
    Check {
        /// The name of the invariant.
        invariant: &'static str,
        /// The database's refusal.
        source: sqlx::Error,
    },
    /// The database refused or did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Checks all invariants in one snapshot. Changes nothing and makes nobody wait.
///
/// # Errors
///
/// [`VerifyError`], also when one check takes longer than `timeout`.
pub async fn verify(conn: &mut PgConnection, timeout: Duration) -> Result<Report, VerifyError> {
    let began = Instant::now();
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    prepare(&mut tx, timeout).await?;
    let (database, checked_at): (String, OffsetDateTime) =
        sqlx::query_as("select current_database()::text, now()").fetch_one(&mut *tx).await?;
    let mut findings = Vec::new();
    for invariant in invariants() {
        let finding = invariant.check(&mut tx).await;
        let failed = |source| VerifyError::Check { invariant: invariant.name, source };
        findings.push(finding.map_err(failed)?);
    }
    tx.rollback().await?;
    Ok(Report { database, checked_at, findings, took: began.elapsed() })
}

/// Settings for statements that read whole tables, and a lock that keeps retention from dropping a
/// partition between the snapshot and the moment it is read. Retention does not wait for it; it
/// drops the partition the next time.
async fn prepare(conn: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let prepare = format!(
        "
        set local statement_timeout = '{}ms';
        set local work_mem = '{WORK_MEM}';
        set local enable_seqscan = on;
        lock table queue.finished_jobs, queue.attempts in access share mode
        ",
        timeout.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(conn).await?;
    Ok(())
}

/// All invariants, in the order in which they are checked and printed.
pub fn invariants() -> impl Iterator<Item = Invariant> {
    let all = [
        transactions::INVARIANTS,
        orders::INVARIANTS,
        idempotency_keys::INVARIANTS,
        payments::verify::INVARIANTS,
        payments::orders::verify::INVARIANTS,
        queue::health::verify::INVARIANTS,
    ];
    all.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = invariants().map(|invariant| invariant.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
