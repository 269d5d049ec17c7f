//! Jobs that wait for too long, leases that nobody takes back, and what is held up on purpose.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Finding, Fix, Level, judge, span};
use crate::ids::JobId;

pub(super) const OLDEST_AVAILABLE: &str = "oldest-available-job";
pub(super) const UNUSUAL_WAITS: &str = "unusual-waits";
pub(super) const EXPIRED_LEASES: &str = "expired-leases";
pub(super) const PAUSES: &str = "paused-queues";
pub(super) const BLOCKED_KEYS: &str = "blocked-keys";

/// A rescue comes within a third of the lease; who runs workers with a longer lease than the
/// default knows why.
const RESCUE_PATIENCE: Duration = Duration::from_secs(60);

/// The oldest due job of a queue.
struct OldestDue {
    queue: String,
    id: i64,
    kind: String,
    waited_secs: f64,
    is_limited: bool,
}

impl OldestDue {
    async fn of_each_queue(conn: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        sqlx::query_file_as!(Self, "src/sql/health_oldest_available.sql").fetch_all(conn).await
    }

    fn found(&self) -> String {
        let Self { queue, id, kind, .. } = self;
        format!(
            "queue {queue}: job {id} of kind {kind} has been due for {}",
            span(self.waited_secs)
        )
    }

    fn fix(&self) -> Fix {
        let (job, queue) = (JobId(self.id), self.queue.clone());
        match self.is_limited {
            false => Fix::AddWorkers { job, queue },
            true => Fix::ReviewLimits { job, queue },
        }
    }
}

/// One line for each queue whose oldest due job has waited for too long.
pub(super) async fn oldest_available(
    conn: &mut PgConnection,
    limit: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let queues = OldestDue::of_each_queue(conn).await?;
    let too_long: Vec<Finding> = queues
        .iter()
        .map(|oldest| (judge(oldest.waited_secs, limit), oldest))
        .filter(|(level, _)| *level != Level::Ok)
        .map(|(level, it)| Finding::new(OLDEST_AVAILABLE, level, it.found(), it.fix()))
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

/// A wait of a queue is unusual beyond this, if it is also many times as long as usual.
const UNUSUAL_AFTER: Duration = Duration::from_secs(10);
const UNUSUAL_FACTOR: f64 = 10.0;

/// The wait that 95 of the last 100 jobs of a queue did not exceed.
struct UsualWait {
    queue: String,
    secs: f64,
}

/// One line for each queue whose oldest due job has waited for much longer than is usual there.
pub(super) async fn unusual_waits(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let queues = OldestDue::of_each_queue(&mut *conn).await?;
    let usual = sqlx::query_file_as!(UsualWait, "src/sql/health_usual_waits.sql");
    let usual = usual.fetch_all(conn).await?;
    let finding = |oldest: &OldestDue| {
        let usual = usual.iter().find(|usual| usual.queue == oldest.queue)?;
        let bound = UNUSUAL_AFTER.as_secs_f64().max(usual.secs * UNUSUAL_FACTOR);
        let found = || {
            let usual = span(usual.secs);
            format!("{}; 95 of 100 before it had waited {usual} at most", oldest.found())
        };
        (oldest.waited_secs > bound)
            .then(|| Finding::new(UNUSUAL_WAITS, Level::Warn, found(), oldest.fix()))
    };
    let findings: Vec<Finding> = queues.iter().filter_map(finding).collect();
    if findings.is_empty() {
        let found = "no job waits for much longer than those before it";
        return Ok(vec![Finding::ok(UNUSUAL_WAITS, found)]);
    }
    Ok(findings)
}

struct Pause {
    queue: String,
    paused_by: String,
    reason: String,
    paused_secs: f64,
}

struct Blocked {
    queue: String,
    keys: i64,
    longest_secs: f64,
}

/// Queues that somebody has paused, lest it be forgotten.
pub(super) async fn pauses(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let pauses = sqlx::query_file_as!(Pause, "src/sql/health_pauses.sql").fetch_all(conn).await?;
    if pauses.is_empty() {
        return Ok(vec![Finding::ok(PAUSES, "none")]);
    }
    let finding = |pause: &Pause| {
        let Pause { queue, paused_by, reason, paused_secs } = pause;
        let (what, queue) = match queue.as_str() {
            "*" => ("every queue is".to_owned(), None),
            name => (format!("queue {name} is"), Some(name.to_owned())),
        };
        Finding::new(
            PAUSES,
            Level::Warn,
            format!("{what} paused for {} by {paused_by}: {reason}", span(*paused_secs)),
            Fix::Resume { queue },
        )
    };
    Ok(pauses.iter().map(finding).collect())
}

/// Keys of ordered queues that wait for somebody to decide.
pub(super) async fn blocked_keys(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let queues =
        sqlx::query_file_as!(Blocked, "src/sql/health_blocked_keys.sql").fetch_all(conn).await?;
    if queues.is_empty() {
        return Ok(vec![Finding::ok(BLOCKED_KEYS, "none")]);
    }
    let finding = |blocked: &Blocked| {
        let Blocked { queue, keys, longest_secs } = blocked;
        Finding::new(
            BLOCKED_KEYS,
            Level::Warn,
            format!(
                "blocked keys of queue {queue}: {keys}, the first for {}; they wait for somebody \
                 to decide",
                span(*longest_secs)
            ),
            Fix::UnblockKeys { queue: queue.clone() },
        )
    };
    Ok(queues.iter().map(finding).collect())
}

/// Checks that jobs of lost workers are taken back.
pub(super) async fn expired_leases(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let leases = sqlx::query_file!("src/sql/health_expired_leases.sql").fetch_one(conn).await?;
    let (expired, longest) = (leases.expired, leases.longest_secs.unwrap_or(0.0));
    let Some(first_id) = leases.first_id else {
        return Ok(vec![Finding::ok(EXPIRED_LEASES, "no lease is over")]);
    };
    if longest < RESCUE_PATIENCE.as_secs_f64() {
        let found = format!("jobs of lost workers, about to be taken back: {expired}");
        let fix = "wait a minute: any worker takes them back by itself";
        return Ok(vec![Finding::new(EXPIRED_LEASES, Level::Warn, found, fix)]);
    }
    Ok(vec![Finding::new(
        EXPIRED_LEASES,
        Level::Fail,
        format!(
            "running jobs that lost their worker and that nobody takes back: {expired}, job \
             {first_id} among them; the first lease was over {} ago",
            span(longest)
        ),
        Fix::StartRescuer,
    )])
}
