//! Jobs that wait for too long, and leases that nobody takes back.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Finding, Level, judge, span};

pub(super) const OLDEST_AVAILABLE: &str = "oldest-available-job";
pub(super) const EXPIRED_LEASES: &str = "expired-leases";

/// A rescue comes within a third of the lease; who runs workers with a longer lease than the
/// default knows why.
const RESCUE_PATIENCE: Duration = Duration::from_secs(60);

/// One line for each queue whose oldest due job has waited for too long.
pub(super) async fn oldest_available(
    conn: &mut PgConnection,
    limit: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let queues =
        sqlx::query_file!("src/queue/sql/health_oldest_available.sql").fetch_all(conn).await?;
    let too_long: Vec<Finding> = queues
        .iter()
        .filter(|oldest| judge(oldest.waited_secs, limit) != Level::Ok)
        .map(|oldest| {
            let waited = span(oldest.waited_secs);
            Finding::new(
                OLDEST_AVAILABLE,
                judge(oldest.waited_secs, limit),
                format!(
                    "queue {}: job {} of kind {} has been due for {waited}",
                    oldest.queue, oldest.id, oldest.kind
                ),
                format!(
                    "'app jobs show {}' says why; more workers: 'app work --queues {}'",
                    oldest.id, oldest.queue
                ),
            )
        })
        .collect();
    if !too_long.is_empty() {
        return Ok(too_long);
    }
    let longest = queues.iter().map(|oldest| oldest.waited_secs).reduce(f64::max);
    let found = match longest {
        None => "no job is due".to_owned(),
        Some(secs) => format!("the oldest due job has waited {}", span(secs)),
    };
    Ok(vec![Finding::ok(OLDEST_AVAILABLE, found)])
}

/// Whether jobs of lost workers are taken back.
pub(super) async fn expired_leases(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let leases =
        sqlx::query_file!("src/queue/sql/health_expired_leases.sql").fetch_one(conn).await?;
    let (expired, longest) = (leases.expired, leases.longest_secs.unwrap_or(0.0));
    let Some(first_id) = leases.first_id else {
        return Ok(vec![Finding::ok(EXPIRED_LEASES, "no lease is over")]);
    };
    if longest < RESCUE_PATIENCE.as_secs_f64() {
        let found = format!("{expired} jobs of lost workers are about to be taken back");
        return Ok(vec![Finding::ok(EXPIRED_LEASES, found)]);
    }
    Ok(vec![Finding::new(
        EXPIRED_LEASES,
        Level::Fail,
        format!(
            "{expired} running jobs lost their worker and nobody takes them back, job {first_id} \
             among them; the first lease was over {} ago",
            span(longest)
        ),
        "every worker rescues such jobs: start one that reaches this database, 'app work'",
    )])
}
