//! Workers, and jobs of kinds that none of them knows.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Finding, Fix, Level, judge, span};

pub(super) const WORKERS: &str = "workers";
pub(super) const UNSERVED_KINDS: &str = "unserved-kinds";

/// Checks that there is a worker, and that none was lost lately.
pub(super) async fn workers(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let seen = sqlx::query_file!("src/sql/health_workers.sql").fetch_one(conn).await?;
    let (working, draining, lost) = (seen.working, seen.draining, seen.lost);
    let found = format!("{working} working, {draining} draining");
    let mut findings = vec![match working {
        0 => Finding::new(WORKERS, Level::Warn, found, Fix::StartWorker),
        _ => Finding::ok(WORKERS, format!("{found}; versions {}", seen.versions)),
    }];
    if lost > 0 {
        findings.push(Finding::new(
            WORKERS,
            Level::Warn,
            format!("lost within the last hour: {lost}; others take their jobs back"),
            "see why they ended: killed, out of memory, or cut off from the database",
        ));
    }
    Ok(findings)
}

/// One line for each kind in each queue whose jobs nobody takes, which is so while a new version is
/// rolled out, but not for long.
pub(super) async fn unserved_kinds(
    conn: &mut PgConnection,
    limit: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let unserved = sqlx::query_file!("src/sql/health_unserved_kinds.sql").fetch_all(conn).await?;
    let findings: Vec<Finding> = unserved
        .iter()
        // Jobs that were enqueued a moment ago may be of a kind whose worker is just starting.
        .filter(|kind| judge(kind.waited_secs, limit) != Level::Ok)
        .map(|kind| {
            Finding::new(
                UNSERVED_KINDS,
                Level::Warn,
                format!(
                    "queue {}: {} or more jobs of kind {}, job {} among them, wait for {}, and no \
                     worker takes them",
                    kind.queue,
                    kind.jobs,
                    kind.kind,
                    kind.first_id,
                    span(kind.waited_secs)
                ),
                Fix::StartWorkerFor { kind: kind.kind.clone(), queue: kind.queue.clone() },
            )
        })
        .collect();
    if findings.is_empty() {
        return Ok(vec![Finding::ok(UNSERVED_KINDS, "no due job waits for want of a worker")]);
    }
    Ok(findings)
}
