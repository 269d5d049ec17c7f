//! How things stand: the overview, verifications and the health report.

use serde_json::{Value, json};
use surety::operations::overview;

use super::{Desk, refused};
use crate::support::ledger::run_jobs;
use crate::support::money::discarded_job;
use crate::support::{App, Binary as _, event, event_of, eventually_async};

/// The titles of what needs a person.
fn titles(overview: &Value) -> Vec<String> {
    let all = overview["needs_attention"].as_array().unwrap().iter();
    all.map(|attention| attention["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_overview_tells_the_pace_and_whatever_needs_a_person() {
    let desk = Desk::new().await;
    let calm = desk.read("/v1/overview").await;
    assert_eq!(titles(&calm), ["No worker works", "The ledger was never verified"]);
    assert_eq!(calm["sources"], json!([]));

    for id in ["txn_1", "txn_2"] {
        assert_eq!(desk.api.post(event(id)).await.status, 202);
    }
    run_jobs(desk.pool()).await;
    assert_eq!(desk.api.post(event_of("txn_1", "99.00")).await.status, 409);
    late_job(&desk).await;
    discarded_job(desk.pool()).await;
    desk.execute(
        "insert into queue.jobs (queue, kind, attempt, run_at)
           select 'mail', 'send', 2, now() + interval '1 minute' from generate_series(1, 3);
         insert into queue.attempts
           (job_id, attempt, fence, worker_id, started_at, outcome, error)
           select id, 2, 1, gen_random_uuid(), now(), 'failed', e'no such mailbox\\nbecause'
           from queue.jobs where kind = 'send';
         insert into queue.pauses (queue, paused_by, reason) values ('bank', 'ada', 'it moves');
         insert into queue.blocked_keys (queue, key, job_id, cause)
           values ('bank', 'k', 1, 'discarded');
         insert into bank.breakers (name, failures, opened_at, open_until)
           values ('bank', 5, now() - interval '1 minute', now() + interval '1 minute');
         insert into queue.workers
           (id, host, pid, version, queues, kinds, slots, lease, last_seen_at)
           values (gen_random_uuid(), 'h', 1, '1', '{}', '{}', 1, '1 second',
                   now() - interval '2 minutes')",
    )
    .await;
    let overview = desk.read("/v1/overview").await;
    assert_eq!(overview["pace"]["accepted_per_minute"], 2.0);
    assert_eq!(overview["pace"]["settled_per_minute"], 2.0);
    assert_eq!(overview["jobs"]["oldest_due_queue"], "late");
    assert_eq!(overview["failing"][0]["jobs"], 3);
    assert_eq!(overview["dead_letters"]["open"], 1);
    let titles = titles(&overview);
    for title in [
        "No worker works",
        "A worker was lost",
        "Queue late is late",
        "The bank does not answer",
        "send fails",
        "1 dead letter waits for a decision",
        "1 transaction came again with other content",
        "Queue bank is paused",
        "Queue bank has blocked keys",
        "The ledger was never verified",
    ] {
        assert!(titles.iter().any(|it| it == title), "{title}: {titles:#?}");
    }
    let severities: Vec<&str> = overview["needs_attention"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["severity"].as_str().unwrap())
        .collect();
    assert!(
        severities.is_sorted_by_key(|it| ["fail", "warn", "note"].iter().position(|of| of == it))
    );
    let mut all = overview["needs_attention"].as_array().unwrap().iter();
    let failing = all.find(|it| it["subject_kind"] == "job_kind").unwrap();
    assert_eq!(failing["subject_id"], "send");
    assert!(failing["detail"].as_str().unwrap().contains("no such mailbox."), "{failing}");
}

/// A job that has been due for longer than anybody tolerates.
async fn late_job(desk: &Desk) {
    desk.execute(
        "insert into queue.jobs (queue, kind, run_at)
         values ('late', 'report', now() - interval '1 hour')",
    )
    .await;
}

/// Rows that all scans of the database have read so far.
async fn rows_read(desk: &Desk) -> i64 {
    let mut conn = desk.pool().acquire().await.unwrap();
    sqlx::query("select pg_stat_force_next_flush()").execute(&mut *conn).await.unwrap();
    sqlx::query_scalar(
        "select (sum(seq_tup_read) + sum(coalesce(idx_tup_fetch, 0)))::int8
         from pg_stat_user_tables",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_overview_reads_a_bounded_number_of_rows_however_many_there_are() {
    let desk = Desk::new().await;
    desk.execute(
        "insert into queue.jobs (queue, kind, attempt, run_at)
           select 'default', 'report', n % 2, now() + (n % 3 - 1) * interval '1 hour'
           from generate_series(1, 150000) as n;
         insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
           select 1000000 + n, 'default', 'report', 2, 1, 1, 0,
             case when n % 2 = 0 then 'completed' else 'discarded' end::queue.finished_state,
             now(), now(), '{}'
           from generate_series(1, 100000) as n;
         insert into audit.entries (actor, action, subject_kind, subject_id)
           select 'system', 'transaction.completed', 'transaction', n::text
           from generate_series(1, 100000) as n;
         analyze",
    )
    .await;
    let mut conn = desk.pool().acquire().await.unwrap();
    let before = rows_read(&desk).await;
    let read = overview::read(&mut conn).await.unwrap();
    sqlx::query("select pg_stat_force_next_flush()").execute(&mut *conn).await.unwrap();
    let rows = rows_read(&desk).await - before;
    assert!(read.jobs.is_more && read.dead_letters.is_more, "{read:?}");
    assert!(rows < 60_000, "{rows} rows were read");
}

#[tokio::test]
async fn a_verification_runs_in_the_background_and_its_result_is_kept() {
    let desk = Desk::new().await;
    let start = async || desk.post("/v1/verifications").await;
    let ended = async |path: &str| {
        eventually_async("it ends", async || desk.read(path).await["state"] != "running").await;
        desk.read(path).await
    };
    let started = start().await;
    assert_eq!(started.status, 202, "{started:?}");
    let path = started.header("location").to_owned();
    let passed = ended(&path).await;
    assert_eq!((&passed["state"], &passed["violations"]), (&json!("passed"), &json!(0)));
    assert!(passed["report"]["invariants"].as_array().unwrap().len() > 10);
    assert_eq!(passed["requested_by"], format!("user:{}", desk.operator.id));
    assert_eq!(desk.read("/v1/overview").await["ledger"]["ok"], true);

    // A settled transaction whose job somebody has deleted.
    assert_eq!(desk.api.post(event("txn_1")).await.status, 202);
    desk.execute("delete from queue.jobs").await;
    let failed = ended(start().await.header("location")).await;
    assert_eq!(failed["state"], "failed");
    assert!(failed["violations"].as_i64().unwrap() > 0);
    let overview = desk.read("/v1/overview").await;
    assert_eq!(titles(&overview)[0], "A guarantee is broken");

    let page = desk.read("/v1/verifications?limit=1").await;
    assert_eq!(page["verifications"][0]["id"], failed["id"]);
    assert_eq!(page["verifications"][0]["report"], Value::Null);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = desk.read(&format!("/v1/verifications?limit=1&cursor={cursor}")).await;
    assert_eq!(next["verifications"][0]["id"], passed["id"]);
    for id in ["999999", &i64::MAX.to_string()] {
        let none = desk.get(&format!("/v1/verifications/{id}")).await;
        assert_eq!(refused(&none), (404, "verification-not-found".to_owned()));
    }
    let entries = desk.audited("verification.start").await;
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn of_two_verifications_at_once_the_second_is_the_first_and_a_dead_one_is_no_hindrance() {
    let desk = Desk::new().await;
    let under_way = "insert into audit.verifications (requested_by, started_at)
                     values ('test', now() - interval '1 minute') returning id";
    let first: i64 = sqlx::query_scalar(under_way).fetch_one(desk.pool()).await.unwrap();
    let second = desk.post("/v1/verifications").await;
    assert_eq!((second.status, &second.json()["id"]), (200, &json!(first)));
    desk.execute("update audit.verifications set started_at = now() - interval '1 day'").await;
    let path = format!("/v1/verifications/{first}");
    assert_eq!(desk.read(&path).await["state"], "unfinished");
    assert_eq!(desk.post("/v1/verifications").await.status, 202);
    assert!(desk.read(&path).await["error"].as_str().unwrap().contains("process"));
}

#[tokio::test]
async fn a_verification_by_the_command_line_is_kept_as_well() {
    let desk = Desk::new().await;
    let url = &desk.api.db.as_ref().unwrap().url;
    let verify = App::command(["verify", "--by", "ada"]).env("DATABASE_URL", url);
    let (status, output) = verify.run().await;
    assert!(status.success(), "{output}");
    let page = desk.read("/v1/verifications").await;
    let listed = &page["verifications"][0];
    assert_eq!((&listed["state"], &listed["requested_by"]), (&json!("passed"), &json!("cli:ada")));
}

#[tokio::test]
async fn the_health_report_has_the_lines_of_the_doctor_and_sees_what_fails() {
    let desk = Desk::new().await;
    assert_eq!(desk.api.post(event("txn_1")).await.status, 202);
    assert_eq!(desk.api.post(event_of("txn_1", "99.00")).await.status, 409);
    discarded_job(desk.pool()).await;
    desk.execute(
        "insert into queue.jobs (queue, kind, attempt, run_at)
           values ('mail', 'send', 2, now() + interval '1 minute');
         insert into queue.workers
           (id, host, pid, version, queues, kinds, slots, lease, last_seen_at)
           values (gen_random_uuid(), 'h', 1, '1', '{}', '{}', 1, '1 second',
                   now() - interval '2 minutes')",
    )
    .await;
    let report = desk.read("/v1/health-report").await;
    let about = |check: &str| -> Vec<Value> {
        let findings = report["findings"].as_array().unwrap().iter();
        findings.filter(|it| it["check"] == check).cloned().collect()
    };
    for (check, level, words) in [
        ("failing-kinds", "warn", "jobs of kind send"),
        ("undecided-jobs", "warn", "decided over: 1, the first for"),
        ("conflicts", "warn", "with other content: 1"),
        ("verification", "ok", "none yet"),
    ] {
        let findings = about(check);
        assert_eq!(findings[0]["level"], level, "{findings:?}");
        assert!(findings[0]["found"].as_str().unwrap().contains(words), "{findings:?}");
        assert_eq!(findings[0]["fix"].is_null(), level == "ok", "{findings:?}");
    }
    assert!(
        about("workers")[1]["found"].as_str().unwrap().contains("lost within the last hour: 1")
    );

    let url = &desk.api.db.as_ref().unwrap().url;
    let doctor = App::command(["doctor", "-o", "json"]).env("DATABASE_URL", url);
    let (_, output) = doctor.run().await;
    let doctor: Value = serde_json::from_str(&output).unwrap();
    let checks = |report: &Value| -> Vec<String> {
        let findings = report["findings"].as_array().unwrap().iter();
        findings.map(|it| it["check"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(checks(&report), checks(&doctor));
}
