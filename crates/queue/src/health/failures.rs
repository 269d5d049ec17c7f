//! Kinds whose jobs fail.

use sqlx::PgConnection;

use super::{Finding, Fix, Level};
use crate::QueueError;
use crate::operate::failing;

pub(super) const FAILING_KINDS: &str = "failing-kinds";

/// The most kinds that are named.
const MAX_NAMED: u32 = 10;

/// The most characters of an error that are told.
const MAX_ERROR_CHARS: usize = 200;

/// One line for each kind in each queue whose jobs failed and wait to be tried again.
pub(super) async fn failing_kinds(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let kinds = failing::kinds(conn, MAX_NAMED).await.map_err(|error| match error {
        QueueError::Database(error) => error,
        other => sqlx::Error::Protocol(other.to_string()),
    })?;
    if kinds.is_empty() {
        let found = "no job that failed waits to be tried again";
        return Ok(vec![Finding::ok(FAILING_KINDS, found)]);
    }
    let finding = |failing: &failing::FailingKind| {
        let error = failing.error.as_deref().and_then(|error| error.lines().next());
        let error: String = error.unwrap_or("none is kept").chars().take(MAX_ERROR_CHARS).collect();
        Finding::new(
            FAILING_KINDS,
            Level::Warn,
            format!(
                "queue {}: jobs of kind {} that failed and wait to be tried again: {}, job {} \
                 among them; its last error: {error}",
                failing.queue, failing.kind, failing.jobs, failing.sample_job
            ),
            Fix::ReviewFailures { job: failing.sample_job, kind: failing.kind.clone() },
        )
    };
    Ok(kinds.iter().map(finding).collect())
}
