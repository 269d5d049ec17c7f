//! Verification: checks what must hold on a live database, all in one snapshot.
//!
//! The queue and the money each know their own invariants; those that join them with each other and
//! with what clients were answered are here.
//!
//! - [`Report`]: what was found, in JSON.
//! - [`records`]: what was found each time, and the last time. `background`: a verification that
//!   nobody waits for.
//! - `transactions`, `orders`: what joins them and the jobs that bring them to their outcomes.
//! - `deliveries`: what joins them and the jobs that make them.
//! - `idempotency_keys`: what joins the answers that are kept and the orders that they are about.

mod background;
mod deliveries;
mod idempotency_keys;
mod orders;
pub mod records;
mod report;
mod transactions;

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::OffsetDateTime;

pub use self::background::{Started, start};
pub use self::records::{Broken, LastVerify, VerificationState, VerificationView, last};
pub use self::report::{FindingStatus, Report};
pub use crate::queue::health::invariants::{Finding, Invariant, Recent, Scope, Weight};

use super::Identity;
use crate::{payments, queue};

/// Memory for each sort and hash of a check: with PostgreSQL's default of 4 MB, a million rows
/// spill to disk.
const WORK_MEM: &str = "128MB";

/// The time before a verification in which a row may be dated that was committed after it: by a
/// transaction that stayed open, or by the clock of a process that is behind.
const OVERLAP: time::Duration = time::Duration::hours(1);

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
    /// The time for all checks together was over.
    #[error("not all was checked within {} s", .0.as_secs())]
    Late(Duration),
    /// The database refused or did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl VerifyError {
    /// The error with its cause.
    fn in_one_line(&self) -> String {
        match self {
            Self::Check { invariant, source } => format!("checking {invariant}: {source}"),
            Self::Late(_) | Self::Database(_) => self.to_string(),
        }
    }
}

/// Checks all invariants of these rows in one snapshot. Changes nothing and makes nobody wait.
///
/// # Errors
///
/// [`VerifyError`], also when one check takes longer than `timeout`.
pub async fn verify(
    conn: &mut PgConnection,
    scope: Scope,
    timeout: Duration,
) -> Result<Report, VerifyError> {
    let began = Instant::now();
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    prepare(&mut tx, timeout).await?;
    let (database, checked_at): (String, OffsetDateTime) =
        sqlx::query_as("select current_database()::text, now()").fetch_one(&mut *tx).await?;
    let (mut findings, mut left_out) = (Vec::new(), Vec::new());
    for invariant in invariants() {
        let finding = invariant.check_in(&mut tx, scope).await;
        let failed = |source| VerifyError::Check { invariant: invariant.name, source };
        match finding.map_err(failed)? {
            Some(finding) => findings.push(finding),
            None => left_out.push(invariant),
        }
    }
    tx.rollback().await?;
    Ok(Report { database, checked_at, scope, findings, left_out, took: began.elapsed() })
}

/// Checks all invariants as [`verify`] does, of everything or [since the last](since_last), and
/// keeps the result, unless this role or this server keeps nothing. What was kept thus proves all
/// that was written before it.
///
/// # Errors
///
/// As [`verify`].
pub async fn verify_and_record(
    conn: &mut PgConnection,
    scope: Scope,
    timeout: Duration,
    by: &Identity,
) -> Result<Report, VerifyError> {
    let report = verify(conn, scope, timeout).await?;
    match records::record(conn, by.as_str(), &report).await {
        Err(error) if !may_not_write(&error) => {
            tracing::warn!("the result of the verification is not kept: {error}");
        }
        Ok(()) | Err(_) => {}
    }
    Ok(report)
}

/// The rows since the last verification in which every guarantee held, and an hour before it;
/// everything, if there was none yet.
///
/// # Errors
///
/// When the database refuses.
pub async fn since_last(conn: &mut PgConnection) -> Result<Scope, VerifyError> {
    let proved = records::last_that_held(conn).await?;
    let since = proved.and_then(|at| at.checked_sub(OVERLAP));
    Ok(since.map_or(Scope::Everything, Scope::Since))
}

/// Insufficient privilege, or a transaction that only reads, as on a standby.
fn may_not_write(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    matches!(code.as_deref(), Some("42501" | "25006"))
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
        deliveries::INVARIANTS,
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

    #[test]
    fn queries_have_no_comments_but_whole_ones_that_narrow_them() {
        for Invariant { name, violations, recent, .. } in invariants() {
            let count = |part| violations.matches(part).count();
            assert_eq!([count("/*"), count("*/")], [count("/*new"); 2], "{name}");
            assert_eq!(count("new*/"), count("/*new"), "{name}");
            assert!(matches!(recent, Recent::Same) || count("/*") == 0, "{name}: nobody reads it");
        }
    }
}
