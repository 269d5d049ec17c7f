//! Every statement that a worker sends for a job that it has, under a fence that is not the job's
//! any more: it changes nothing, and says so (G4). And none is added that does not ask the fence.

use std::path::Path;

use serde_json::json;
use sqlx::{PgConnection, PgPool};
use surety_queue::AttemptOutcome;
use uuid::Uuid;

use super::kinds::database;
use super::statements::{self, Claim, Claimed, FinishedState};

/// The writes of a worker: all but those of [`WRITE_WITHOUT_FENCE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Write {
    Complete,
    CompleteWithOutput,
    /// In one statement with a job that is the worker's.
    CompleteAmongOthers,
    Retry,
    /// A retry with the attempts used up.
    DiscardLast,
    Discard,
    DiscardInTx,
    Cancel,
    Snooze,
    HandBack,
    Progress,
    Checkpoint,
    Heartbeat,
    HeartbeatAmongOthers,
    RequireLease,
    AskOutcome,
}

const WRITES: [Write; 16] = [
    Write::Complete,
    Write::CompleteWithOutput,
    Write::CompleteAmongOthers,
    Write::Retry,
    Write::DiscardLast,
    Write::Discard,
    Write::DiscardInTx,
    Write::Cancel,
    Write::Snooze,
    Write::HandBack,
    Write::Progress,
    Write::Checkpoint,
    Write::Heartbeat,
    Write::HeartbeatAmongOthers,
    Write::RequireLease,
    Write::AskOutcome,
];

impl Write {
    /// Whether it was told that the job is its own. `other` is a claim that is current.
    async fn send(self, conn: &mut PgConnection, claim: Claim, other: Claim) -> bool {
        use FinishedState::{Cancelled, Discarded};
        use statements as send;
        match self {
            Self::Complete => !send::complete(conn, &[claim], None).await.is_empty(),
            Self::CompleteWithOutput => {
                !send::complete(conn, &[claim], Some(&json!("done"))).await.is_empty()
            }
            Self::CompleteAmongOthers => {
                send::complete(conn, &[claim, other], None).await.contains(&claim.0)
            }
            Self::Retry => send::retry(conn, claim, 0.0, AttemptOutcome::Failed).await.is_some(),
            Self::DiscardLast => {
                send::finish(conn, claim, Discarded, AttemptOutcome::Failed, true).await
            }
            Self::Discard => {
                send::finish(conn, claim, Discarded, AttemptOutcome::Discarded, true).await
            }
            Self::DiscardInTx => {
                send::finish(conn, claim, Discarded, AttemptOutcome::Discarded, false).await
            }
            Self::Cancel => {
                send::finish(conn, claim, Cancelled, AttemptOutcome::Cancelled, true).await
            }
            Self::Snooze => send::hand_back(conn, claim, 60.0, Some("later")).await.is_some(),
            Self::HandBack => send::hand_back(conn, claim, 0.0, None).await.is_some(),
            Self::Progress => send::record_progress(conn, claim, Some((50, "half")), None).await,
            Self::Checkpoint => send::record_progress(conn, claim, None, Some(&json!(7))).await,
            Self::Heartbeat => !send::heartbeat(conn, &[claim], 3600.0).await.is_empty(),
            Self::HeartbeatAmongOthers => {
                send::heartbeat(conn, &[claim, other], 3600.0).await.contains(&claim.0)
            }
            Self::RequireLease => send::lock_lease(conn, claim).await,
            Self::AskOutcome => {
                let outcome = send::attempt_outcome(conn, claim).await;
                outcome == Some(AttemptOutcome::Completed)
            }
        }
    }
}

/// What has become of a job since the claim whose fence is stale.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// It waits again: its worker was thought lost.
    Rescued,
    /// Another worker has it.
    ClaimedByAnother,
    /// The same worker has it again.
    ClaimedAgain,
    /// The worker has handed it back itself, so that the attempt has the same number again.
    HandedBackAndClaimed,
    FinishedByAnother,
    DiscardedByAnother,
    RedrivenAndClaimed,
}

const SINCE: [Since; 7] = [
    Since::Rescued,
    Since::ClaimedByAnother,
    Since::ClaimedAgain,
    Since::HandedBackAndClaimed,
    Since::FinishedByAnother,
    Since::DiscardedByAnother,
    Since::RedrivenAndClaimed,
];

const HOUR: f64 = 3600.0;

async fn enqueue_one(conn: &mut PgConnection) -> i64 {
    let follow_up = json!({"kind": "f", "queue": "q", "priority": 1, "max_attempts": 1});
    let extras = Some(json!({"on_discard": follow_up}));
    statements::enqueue(conn, "fenced", "fenced", 2, 3, 0.0, extras).await
}

async fn claim_by(conn: &mut PgConnection, worker: Uuid) -> Claimed {
    let (queues, kinds) = (["fenced".to_owned()], ["fenced".to_owned()]);
    statements::claim(conn, &queues, &kinds, 1, worker, HOUR, i64::MAX).await.remove(0)
}

async fn take_back(conn: &mut PgConnection, id: i64) {
    sqlx::query("update queue.jobs set lease_expires_at = now() - interval '1 s' where id = $1")
        .bind(id)
        .execute(&mut *conn)
        .await
        .unwrap();
    assert_eq!(statements::rescue(conn, 10, 5).await, [(id, false)]);
}

/// Makes a claim stale.
async fn go_by(conn: &mut PgConnection, claimed: &Claimed, since: Since, worker: Uuid) {
    let another = Uuid::new_v4();
    if matches!(since, Since::HandedBackAndClaimed) {
        assert_eq!(statements::hand_back(conn, claimed.claim(), 0.0, None).await, Some(false));
        assert_eq!(claim_by(conn, worker).await.attempt, claimed.attempt);
        return;
    }
    take_back(conn, claimed.id).await;
    match since {
        Since::Rescued => {}
        Since::HandedBackAndClaimed => unreachable!("returned above"),
        Since::ClaimedByAnother => _ = claim_by(conn, another).await,
        Since::ClaimedAgain => _ = claim_by(conn, worker).await,
        Since::FinishedByAnother => {
            let current = claim_by(conn, another).await.claim();
            assert_eq!(statements::complete(conn, &[current], None).await, [claimed.id]);
        }
        Since::DiscardedByAnother | Since::RedrivenAndClaimed => {
            let current = claim_by(conn, another).await.claim();
            let state = FinishedState::Discarded;
            let outcome = AttemptOutcome::Discarded;
            assert!(statements::finish(conn, current, state, outcome, false).await);
            if matches!(since, Since::RedrivenAndClaimed) {
                assert!(statements::redrive(conn, claimed.id).await);
                claim_by(conn, another).await;
            }
        }
    }
}

/// All that the queue has written down, of every job but `other`, and which version of each row it
/// is. Read by its own transaction, so what another has not committed is not in it.
async fn all_rows(pool: &PgPool, other: i64) -> Vec<String> {
    let mut rows = Vec::new();
    for (table, id) in [
        ("jobs", "id"),
        ("finished_jobs", "id"),
        ("attempts", "job_id"),
        ("resolutions", "job_id"),
        ("interventions", "job_id"),
        ("unique_keys", "job_id"),
    ] {
        let sql = format!(
            "select format('{table} %s %s', t.xmin, t) from queue.{table} as t
             where {id} <> $1 order by 1"
        );
        let of_table: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(other).fetch_all(pool).await.unwrap();
        rows.extend(of_table);
    }
    rows
}

#[tokio::test]
async fn no_write_of_a_worker_changes_a_row_under_a_stale_fence() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let mut violations = Vec::new();
    for write in WRITES {
        for since in SINCE {
            let worker = Uuid::new_v4();
            let id = enqueue_one(&mut conn).await;
            let claimed = claim_by(&mut conn, worker).await;
            assert_eq!(claimed.id, id);
            go_by(&mut conn, &claimed, since, worker).await;
            let other = statements::enqueue(&mut conn, "other", "o", 2, 3, 0.0, None).await;
            let (queues, kinds) = (["other".to_owned()], ["o".to_owned()]);
            let others =
                statements::claim(&mut conn, &queues, &kinds, 1, worker, HOUR, i64::MAX).await;
            assert_eq!(others[0].id, other);
            let before = all_rows(&db.pool, other).await;

            let is_ours = write.send(&mut conn, claimed.claim(), others[0].claim()).await;

            if is_ours || all_rows(&db.pool, other).await != before {
                violations.push(format!("{write:?}, since then {since:?}"));
            }
            sqlx::raw_sql("delete from queue.jobs").execute(&mut *conn).await.unwrap();
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[tokio::test]
async fn every_write_of_a_worker_has_its_effect_under_the_current_fence() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for write in WRITES {
        let id = enqueue_one(&mut conn).await;
        let claimed = claim_by(&mut conn, Uuid::new_v4()).await;
        let before = all_rows(&db.pool, 0).await;

        let is_ours = write.send(&mut conn, claimed.claim(), claimed.claim()).await;

        // Of a claim that has not ended there is nothing to say, and a lock is not written down.
        assert_eq!(is_ours, write != Write::AskOutcome, "{write:?}");
        let is_silent = [Write::AskOutcome, Write::RequireLease].contains(&write);
        assert_eq!(all_rows(&db.pool, 0).await == before, is_silent, "{write:?} of job {id}");
        sqlx::raw_sql("delete from queue.jobs").execute(&mut *conn).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_without_an_answer_is_resolved_by_its_own_fence_only() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_one(&mut conn).await;
    let stale = claim_by(&mut conn, Uuid::new_v4()).await;
    take_back(&mut conn, stale.id).await;
    let current = claim_by(&mut conn, Uuid::new_v4()).await;
    assert_eq!(statements::attempt_outcome(&mut conn, current.claim()).await, None);
    statements::complete(&mut conn, &[current.claim()], None).await;

    let outcome = statements::attempt_outcome(&mut conn, current.claim()).await;
    assert_eq!(outcome, Some(AttemptOutcome::Completed));
    let outcome = statements::attempt_outcome(&mut conn, stale.claim()).await;
    assert_eq!(outcome, Some(AttemptOutcome::Crashed));
}

/// What writes `queue.jobs` without asking a fence, and why it may.
const WRITE_WITHOUT_FENCE: [(&str, &str); 19] = [
    ("enqueue_one.sql", "makes jobs"),
    ("queue.enqueue", "makes jobs"),
    ("queue.enqueue_many", "makes jobs"),
    ("queue.enqueue_stored", "makes jobs"),
    ("hand_back_unheard.sql", "hands back claims of the worker's own by what it knows of fences"),
    ("redrive.sql", "makes waiting jobs of discarded ones; the key of resolutions lets one pass"),
    ("queue.claim", "takes jobs that nobody has, and gives out the fence"),
    ("queue.claim_by_key", "takes jobs that nobody has, and gives out the fence"),
    ("queue.rescue", "takes jobs from workers whose lease is over, by the database's clock"),
    ("queue.cancel_waiting", "ends jobs that nobody has"),
    ("queue.cancel_waiting_jobs", "ends jobs that nobody has"),
    ("unblock_key.sql", "makes jobs due that nobody has"),
    ("queue.cancel", "only leaves a request with a job that somebody has"),
    ("queue.settle_waiting", "releases or cancels jobs that wait for others, so nobody has them"),
    ("run_now.sql", "makes jobs due that nobody has"),
    ("queue.discard_waiting", "ends jobs that nobody has"),
    ("edit_args.sql", "edits jobs that it has locked while nobody has them"),
    ("reseal_waiting.sql", "seals anew the arguments of jobs that nobody has"),
    ("advance_jobs.sql", "moves the times of all jobs, for tests; a lease only becomes shorter"),
];

fn writes_jobs(sql: &str) -> bool {
    let writes = [
        "update queue.jobs",
        "delete from queue.jobs",
        "insert into queue.jobs",
        "copy queue.jobs (",
        "from queue.end_jobs(",
    ];
    writes.iter().any(|write| sql.contains(write))
}

fn asks_fence(sql: &str) -> bool {
    // The last two hand the fences on to queue.end_jobs.
    let conditions =
        ["fence = $2", "fence = mine.fence", "end_jobs( ids, fences,", "end_jobs( $1, $2,"];
    conditions.iter().any(|condition| sql.contains(condition))
}

/// One space for all white space, lower case, no comments.
fn plain(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or(""));
    let words: Vec<String> = lines.flat_map(str::split_whitespace).map(str::to_lowercase).collect();
    words.join(" ")
}

fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn whatever_writes_jobs_asks_the_fence_or_has_a_reason_not_to() {
    let db = database().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(String, String)> = Vec::new();
    for path in files(&root.join("src/sql"), "sql") {
        let name = path.strip_prefix(root.join("src/sql")).unwrap().display().to_string();
        texts.push((name, plain(&std::fs::read_to_string(&path).unwrap())));
    }
    // There are short ones in the sources, too.
    for path in files(&root.join("src"), "rs") {
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.split("\n#[cfg(test)]").next().unwrap_or("").to_owned();
        texts.push((path.strip_prefix(root).unwrap().display().to_string(), plain(&code)));
    }
    let functions: Vec<(String, String)> = sqlx::query_as(
        "select distinct 'queue.' || proname, string_agg(prosrc, ' ')
         from pg_proc where pronamespace = 'queue'::regnamespace group by proname",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    texts.extend(functions.into_iter().map(|(name, source)| (name, plain(&source))));

    let writers: Vec<&(String, String)> =
        texts.iter().filter(|(_, text)| writes_jobs(text)).collect();
    let may = |name: &str| WRITE_WITHOUT_FENCE.iter().any(|(known, _)| *known == name);
    let forgetful: Vec<&str> = writers
        .iter()
        .filter(|(name, text)| !asks_fence(text) && !may(name))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(forgetful.is_empty(), "these write jobs and ask no fence: {forgetful:?}");
    let obsolete: Vec<&str> = WRITE_WITHOUT_FENCE
        .iter()
        .map(|(name, _)| *name)
        .filter(|known| !writers.iter().any(|(name, text)| name == known && !asks_fence(text)))
        .collect();
    assert!(obsolete.is_empty(), "no longer exceptions: {obsolete:?}");
    // Were nothing found at all, this would hold as well.
    for known in
        ["retry.sql", "hand_back.sql", "heartbeat.sql", "record_progress.sql", "queue.end_jobs"]
    {
        assert!(writers.iter().any(|(name, _)| name == known), "{known} was not found");
    }
}
