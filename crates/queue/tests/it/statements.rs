//! The statements of the queue, as its files have them: for tests that play a worker which does not
//! keep to what the library lets it do, such as writing with the fence of a claim that is over.

use serde_json::Value;
use sqlx::{PgConnection, Row as _};
use surety_queue::AttemptOutcome;
use uuid::Uuid;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../src/sql/", $name, ".sql"))
    };
}

/// The number of a job, and the fence of one of its claims.
pub(super) type Claim = (i64, i64);

#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "queue.finished_state", rename_all = "snake_case")]
pub(super) enum FinishedState {
    Cancelled,
    Discarded,
}

/// What `claim.sql` says of a job.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) id: i64,
    pub(super) fence: i64,
    pub(super) attempt: i16,
    pub(super) max_attempts: i16,
    pub(super) crash_count: i16,
    pub(super) prior_attempts: i16,
    pub(super) checkpoint: Option<Value>,
}

impl Claimed {
    pub(super) fn claim(&self) -> Claim {
        (self.id, self.fence)
    }
}

/// All due jobs of these kinds and queues, from the first moment on.
pub(super) async fn claim(
    conn: &mut PgConnection,
    queues: &[String],
    kinds: &[String],
    limit: i32,
    worker: Uuid,
    lease_secs: f64,
    max_bytes: i64,
) -> Vec<Claimed> {
    let lanes: Vec<(String, i16)> = (1..=4)
        .flat_map(|priority| queues.iter().map(move |queue| (queue.clone(), priority)))
        .collect();
    let (queues, priorities): (Vec<String>, Vec<i16>) = lanes.into_iter().unzip();
    let floors = vec![time::OffsetDateTime::UNIX_EPOCH; queues.len()];
    let own_slots = vec![0; queues.len()];
    let rows = sqlx::query(file!("claim"))
        .bind(queues)
        .bind(priorities)
        .bind(floors)
        .bind(kinds)
        .bind(limit)
        .bind(worker)
        .bind(lease_secs)
        .bind(false)
        .bind(0_i64)
        .bind(max_bytes)
        .bind(own_slots)
        .bind(limit)
        .bind(true)
        .fetch_all(conn)
        .await
        .unwrap();
    let of_a_job = rows.iter().filter(|row| row.get::<Option<i64>, _>("id?").is_some());
    of_a_job
        .map(|row| Claimed {
            id: row.get("id?"),
            fence: row.get("fence?"),
            attempt: row.get("attempt?"),
            max_attempts: row.get("max_attempts?"),
            crash_count: row.get("crash_count?"),
            prior_attempts: row.get("prior_attempts?"),
            checkpoint: row.get("checkpoint?: Json<Box<RawValue>>"),
        })
        .collect()
}

/// The jobs that were completed.
pub(super) async fn complete(
    conn: &mut PgConnection,
    claims: &[Claim],
    output: Option<&Value>,
) -> Vec<i64> {
    let (ids, fences): (Vec<i64>, Vec<i64>) = claims.iter().copied().unzip();
    let outputs = output.map(|output| vec![output.clone(); claims.len()]);
    sqlx::query_scalar(
        "select id from queue.end_jobs($1, $2, 'completed', 'completed', outputs => $3)",
    )
    .bind(ids)
    .bind(fences)
    .bind(outputs)
    .fetch_all(conn)
    .await
    .unwrap()
}

/// None when nothing was changed; otherwise, whether the job is to be cancelled now.
pub(super) async fn retry(
    conn: &mut PgConnection,
    claim: Claim,
    delay_secs: f64,
    outcome: AttemptOutcome,
) -> Option<bool> {
    sqlx::query_scalar(file!("retry"))
        .bind(claim.0)
        .bind(claim.1)
        .bind(delay_secs)
        .bind(outcome)
        .bind("it failed")
        .bind(None::<String>)
        .fetch_optional(conn)
        .await
        .unwrap()
}

/// Whether the job was finished.
pub(super) async fn finish(
    conn: &mut PgConnection,
    claim: Claim,
    state: FinishedState,
    outcome: AttemptOutcome,
    follow_up: bool,
) -> bool {
    let id: Option<i64> = sqlx::query_scalar(
        "select id
         from queue.end_jobs(
           array[$1], array[$2], $3, $4, array['it is over'], follow_up => $5
         )",
    )
    .bind(claim.0)
    .bind(claim.1)
    .bind(state)
    .bind(outcome)
    .bind(follow_up)
    .fetch_optional(conn)
    .await
    .unwrap();
    id.is_some()
}

/// None when nothing was changed; otherwise, whether the job is to be cancelled now.
pub(super) async fn hand_back(
    conn: &mut PgConnection,
    claim: Claim,
    delay_secs: f64,
    reason: Option<&str>,
) -> Option<bool> {
    sqlx::query_scalar(file!("hand_back"))
        .bind(claim.0)
        .bind(claim.1)
        .bind(delay_secs)
        .bind(reason)
        .fetch_optional(conn)
        .await
        .unwrap()
}

/// Whether it was kept.
pub(super) async fn record_progress(
    conn: &mut PgConnection,
    claim: Claim,
    progress: Option<(i16, &str)>,
    checkpoint: Option<&Value>,
) -> bool {
    let (percent, text) = progress.unzip();
    let row = sqlx::query(file!("record_progress"))
        .bind(claim.0)
        .bind(claim.1)
        .bind(percent)
        .bind(text)
        .bind(checkpoint)
        .fetch_optional(conn)
        .await
        .unwrap();
    row.is_some()
}

/// The jobs whose lease was renewed.
pub(super) async fn heartbeat(
    conn: &mut PgConnection,
    claims: &[Claim],
    lease_secs: f64,
) -> Vec<i64> {
    let (ids, fences): (Vec<i64>, Vec<i64>) = claims.iter().copied().unzip();
    sqlx::query_scalar(file!("heartbeat"))
        .bind(ids)
        .bind(fences)
        .bind(lease_secs)
        .fetch_all(conn)
        .await
        .unwrap()
}

/// Whether the job is the claim's, and cannot become another's before the transaction ends.
pub(super) async fn lock_lease(conn: &mut PgConnection, claim: Claim) -> bool {
    let row = sqlx::query(file!("lock_lease"))
        .bind(claim.0)
        .bind(claim.1)
        .fetch_optional(conn)
        .await
        .unwrap();
    row.is_some()
}

/// How the claim ended, if that is known.
pub(super) async fn attempt_outcome(
    conn: &mut PgConnection,
    claim: Claim,
) -> Option<AttemptOutcome> {
    sqlx::query_scalar(file!("attempt_outcome"))
        .bind(claim.0)
        .bind(claim.1)
        .fetch_optional(conn)
        .await
        .unwrap()
}

/// The jobs that were taken back, and whether each was discarded.
pub(super) async fn rescue(
    conn: &mut PgConnection,
    limit: i64,
    max_crashes: i32,
) -> Vec<(i64, bool)> {
    sqlx::query_as("select id, poison from queue.rescue($1, $2)")
        .bind(limit)
        .bind(max_crashes)
        .fetch_all(conn)
        .await
        .unwrap()
}

/// The worker's claims that are to be cancelled.
pub(super) async fn cancel_requests(conn: &mut PgConnection, worker: Uuid) -> Vec<Claim> {
    let rows = sqlx::query(file!("cancel_requests")).bind(worker).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| (row.get("id"), row.get("fence!"))).collect()
}

/// How many were cancelled.
pub(super) async fn cancel_left_over(conn: &mut PgConnection) -> usize {
    let cancelled: Vec<bool> =
        sqlx::query_scalar(file!("cancel_left_over")).fetch_all(conn).await.unwrap();
    cancelled.into_iter().filter(|cancelled| *cancelled).count()
}

/// Whether the job runs again.
pub(super) async fn redrive(conn: &mut PgConnection, id: i64) -> bool {
    decide(conn, id, file!("redrive")).await
}

/// Whether the job was written off.
pub(super) async fn dismiss(conn: &mut PgConnection, id: i64) -> bool {
    decide(conn, id, file!("dismiss")).await
}

async fn decide(conn: &mut PgConnection, id: i64, statement: &'static str) -> bool {
    let decided = sqlx::query(statement).bind(vec![id]).bind("ada").bind("the bank is back");
    decided.fetch_optional(conn).await.unwrap().is_some()
}

/// By `enqueue_many`: one job in a queue.
pub(super) async fn enqueue(
    conn: &mut PgConnection,
    queue: &str,
    kind: &str,
    priority: i16,
    max_attempts: i16,
    delay_secs: f64,
    extras: Option<Value>,
) -> i64 {
    let ids: Vec<i64> = sqlx::query_scalar(file!("enqueue_many"))
        .bind(vec![queue])
        .bind(vec![kind])
        .bind(vec![priority])
        .bind(vec![max_attempts])
        .bind(vec![delay_secs])
        .bind(vec![serde_json::json!({})])
        .bind(vec![None::<Value>])
        .bind(vec![extras])
        .fetch_one(conn)
        .await
        .unwrap();
    ids[0]
}
