//! History that is kept for longer than retention says: days that are not dropped because the clock
//! is in doubt, and discarded jobs that nobody has decided over.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Finding, Fix, Level, span};

pub(super) const RETENTION: &str = "retention";
pub(super) const UNDECIDED: &str = "undecided-jobs";

/// A discarded job that waits for a decision for longer than this is worth a warning: a weekend.
const DECISION_PATIENCE: Duration = Duration::from_secs(3 * 86_400);

/// The most undecided jobs that are counted.
const MAX_COUNTED: i64 = 1_000;

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

/// Discarded jobs that have waited for a decision for days.
pub(super) async fn undecided(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let oldest = sqlx::query_file!(
        "src/sql/health_undecided.sql",
        DECISION_PATIENCE.as_secs_f64(),
        MAX_COUNTED,
    )
    .fetch_optional(conn)
    .await?;
    let Some(oldest) = oldest else {
        return Ok(vec![Finding::ok(UNDECIDED, "no discarded job waits for a decision for days")]);
    };
    let jobs = match oldest.jobs {
        MAX_COUNTED.. => format!("{MAX_COUNTED} or more"),
        jobs => jobs.to_string(),
    };
    Ok(vec![Finding::new(
        UNDECIDED,
        Level::Warn,
        format!(
            "discarded jobs that nobody has decided over for days: {jobs}, the first for {}, job \
             {} of kind {}; they are kept until somebody does",
            span(oldest.age_secs),
            oldest.id,
            oldest.kind
        ),
        Fix::DecideDiscarded,
    )])
}
