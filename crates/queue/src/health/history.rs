//! History that is kept for longer than retention says: days that are not dropped because the clock
//! is in doubt, and discarded jobs that nobody has decided over.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Finding, Fix, Level, span};
use crate::QueueError;
use crate::operate::discarded;

pub(super) const RETENTION: &str = "retention";
pub(super) const UNDECIDED: &str = "undecided-jobs";

/// Tables of which more days are too old than retention drops at once.
pub(super) async fn retention(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let held_back = sqlx::query_file!("src/sql/health_held_back.sql").fetch_all(conn).await?;
    if held_back.is_empty() {
        return Ok(vec![Finding::ok(RETENTION, "no days are held back")]);
    }
    let findings = held_back.iter().map(|table| {
        Finding::new(
            RETENTION,
            Level::Warn,
            format!(
                "{} has {} days that are too old by the database's clock, which says {}: too many \
                 to be dropped at once, and kept for {} by now",
                table.history,
                table.held_back,
                table.now,
                span(table.held_back_secs)
            ),
            "see to it that the database's clock is right; if it is, and no worker has run for \
             days or the retention was shortened, they are dropped after three days",
        )
    });
    Ok(findings.collect())
}

/// Discarded jobs that wait for a decision.
pub(super) async fn undecided(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let open = discarded::count_open(&mut *conn).await.map_err(|error| match error {
        QueueError::Database(error) => error,
        other => sqlx::Error::Protocol(other.to_string()),
    })?;
    let now: OffsetDateTime =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(conn).await?;
    let Some((job, since)) = open.oldest_job.zip(open.oldest_at) else {
        return Ok(vec![Finding::ok(UNDECIDED, "no discarded job waits for a decision")]);
    };
    let more = if open.is_more { " or more" } else { "" };
    Ok(vec![Finding::new(
        UNDECIDED,
        Level::Warn,
        format!(
            "discarded jobs that nobody has decided over: {}{more}, the first for {}, job {job}; \
             they are kept until somebody does",
            open.jobs,
            span((now - since).as_seconds_f64()),
        ),
        Fix::DecideDiscarded,
    )])
}
