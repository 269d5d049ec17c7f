//! Jobs that wait for too long, leases that nobody takes back, and whether anybody works.

use super::execute;
use crate::support::{App, Binary as _, TestDb, eventually_async};

const WAITING: &str = "oldest-available-job";

#[tokio::test]
async fn a_job_that_nobody_runs_is_named_with_its_queue_and_the_time_it_waits() {
    let db = TestDb::new().await;
    assert_eq!(db.doctor(&[]).await.levels(WAITING), ["ok"]);
    execute(
        &db.pool,
        "insert into queue.jobs (queue, kind, priority, run_at) values
           ('mails', 'send_mail', 4, now() - interval '3 minutes'),
           ('mails', 'send_mail', 1, now() - interval '2 minutes'),
           ('payments', 'settle', 2, now() - interval '15 minutes'),
           ('payments', 'settle', 2, now()),
           ('quiet', 'settle', 2, now() - interval '2 seconds'),
           ('future', 'settle', 2, now() + interval '1 hour')",
    )
    .await;

    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(WAITING), ["warn", "fail"]);
    let [_, found, fix] = answer.about(WAITING, "queue mails");
    assert_eq!(found, "queue mails: job 1 of kind send_mail has been due for 3 min");
    assert!(fix.contains("app jobs show 1") && fix.contains("--queues mails"), "{fix}");
    assert!(answer.about(WAITING, "queue payments")[1].contains("15 min"));

    // A queue whose jobs may wait.
    let answer = db.doctor(&["--max-wait", "1h"]).await;
    assert_eq!(answer.levels(WAITING), ["ok"]);
    assert!(answer.about(WAITING, "")[1].contains("15 min"), "{:?}", answer.of_check(WAITING));
}

#[tokio::test]
async fn a_lease_that_is_over_for_long_is_a_failure_and_one_that_just_ended_is_not() {
    let db = TestDb::new().await;
    let running = |seconds: u32| {
        format!(
            "insert into queue.jobs
               (kind, running, fence, worker_id, started_at, lease_expires_at, attempt)
             values ('settle', true, nextval('queue.fence'), gen_random_uuid(),
                     now() - interval '10 minutes', now() - interval '{seconds} seconds', 1)"
        )
    };
    execute(&db.pool, running(20)).await;
    let answer = db.doctor(&[]).await;
    let [level, found, _] = answer.about("expired-leases", "");
    assert_eq!((level, found), ("warn", "jobs of lost workers, about to be taken back: 1"));

    execute(&db.pool, running(300)).await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("expired-leases", "");
    assert_eq!(level, "fail");
    assert!(found.contains("takes back: 2, job 1") && found.contains("5 min ago"), "{found}");
    assert!(fix.contains("app work"), "{fix}");
}

/// Keys have their own place in the index, and so have jobs that wait for their time.
#[tokio::test]
async fn jobs_with_keys_and_jobs_that_nobody_let_go_are_found_as_well() {
    let db = TestDb::new().await;
    execute(
        &db.pool,
        "insert into queue.jobs (queue, kind, key, run_at)
           select 'keyed', 'settle', 'key ' || n, now() - n * interval '1 second'
           from generate_series(1, 130) as n;
         insert into queue.jobs (queue, kind, key, hold, run_at) values
           ('held', 'settle', 'k', 'until_due', now() - interval '2 minutes'),
           ('dependent', 'settle', null, 'dependencies', now() - interval '2 minutes')",
    )
    .await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(WAITING), ["warn", "warn"]);
    answer.about(WAITING, "queue held: job 131 of kind settle has been due for 2 min");
    answer.about(WAITING, "queue keyed: job 130 of kind settle has been due for 2 min");
}

#[tokio::test]
async fn a_kind_that_no_worker_knows_and_a_queue_that_none_takes_are_named() {
    let db = TestDb::new().await;
    let answer = db.doctor(&[]).await;
    let [level, _, fix] = answer.about("workers", "0 working");
    assert_eq!((level, fix), ("warn", "start one: 'app work'"));
    let mut worker = App::command(["work", "--queues", "default"])
        .env("DATABASE_URL", &db.url)
        .env("APP_WORKER_VERSION", "2.0")
        .spawn();
    worker.wait_for_line("working").await;
    execute(
        &db.pool,
        "insert into queue.jobs (queue, kind, key, run_at) values
           ('default', 'of_tomorrow', null, now() - interval '2 minutes'),
           ('default', 'of_tomorrow', null, now() - interval '3 minutes'),
           ('default', 'of_today', null, now()),
           ('elsewhere', 'settle_transaction', 'k', now() - interval '2 minutes')",
    )
    .await;
    eventually_async("the worker is registered", async || {
        db.doctor(&[]).await.levels("workers") == ["ok"]
    })
    .await;
    let answer = db.doctor(&[]).await;
    let found = "1 working, 0 draining; versions 2.0";
    assert_eq!(answer.of_check("workers"), [["ok", found, ""]]);
    assert_eq!(answer.levels("unserved-kinds"), ["warn", "warn"]);
    let [_, found, fix] = answer.about("unserved-kinds", "of_tomorrow");
    assert!(found.contains("2 or more jobs") && found.contains("wait for 3 min"), "{found}");
    // Workers of this program would leave it alone, whatever queue they take.
    assert!(fix.contains("do not know kind of_tomorrow") && !fix.contains("app work"), "{fix}");
    let [_, _, fix] = answer.about("unserved-kinds", "queue elsewhere");
    assert!(fix.contains("--queues elsewhere"), "{fix}");
}

#[tokio::test]
async fn what_is_held_up_on_purpose_is_said_to_be_and_is_not_late() {
    let db = TestDb::new().await;
    execute(
        &db.pool,
        "insert into queue.limits (queue, ordered, set_by) values ('ordered', true, 'ada');
         insert into queue.jobs (queue, kind, key, run_at)
           select 'ordered', 'settle', 'k', now() + n * interval '1 hour'
           from generate_series(1, -2, -1) as n;
         insert into queue.jobs (queue, kind, key, run_at)
           values ('ordered', 'settle', 'blocked', now() - interval '2 hours');
         insert into queue.blocked_keys (queue, key, job_id, cause, since)
           values ('ordered', 'blocked', 5, 'parked', now() - interval '2 hours');
         insert into queue.jobs (queue, kind, run_at)
           values ('paused', 'settle', now() - interval '1 hour');
         insert into queue.pauses (queue, paused_by, reason, paused_at)
           values ('paused', 'ada', 'the bank is down', now() - interval '3 hours')",
    )
    .await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(WAITING), ["ok"], "{:?}", answer.of_check(WAITING));
    let [level, found, fix] = answer.about("paused-queues", "queue paused");
    assert_eq!(level, "warn");
    assert_eq!(found, "queue paused is paused for 3 h by ada: the bank is down");
    assert_eq!(fix, "app queues resume paused");
    let [level, found, fix] = answer.about("blocked-keys", "queue ordered");
    assert_eq!(level, "warn");
    assert!(found.contains("queue ordered: 1, the first for 2 h"), "{found}");
    assert!(fix.contains("app queues blocked ordered"), "{fix}");

    execute(
        &db.pool,
        "update queue.pauses set queue = '*';
         delete from queue.blocked_keys",
    )
    .await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(WAITING), ["ok"]);
    assert_eq!(answer.about("paused-queues", "every queue is")[2], "app queues resume --all");
    execute(&db.pool, "delete from queue.pauses").await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(WAITING), ["fail", "fail"]);
    // The one that is not held up: the others are behind the head of their key.
    let [_, found, fix] = answer.about(WAITING, "queue ordered");
    assert!(found.contains("job 5 "), "{found}");
    assert!(fix.contains("app queues limits ordered"), "{fix}");
    assert_eq!(answer.levels("blocked-keys"), ["ok"]);
}

#[tokio::test]
async fn a_job_that_waits_for_much_longer_than_those_before_it_is_told() {
    let db = TestDb::new().await;
    execute(
        &db.pool,
        "insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
           select 1000 + n, 'mails', 'send', 2, 1, 1, 0, 'completed', now() - interval '10 ms',
             now() - interval '1 minute', '{}'
           from generate_series(1, 30) as n;
         insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome)
           select 1000 + n, 1, n, gen_random_uuid(), now(), 'completed'
           from generate_series(1, 30) as n;
         insert into queue.jobs (queue, kind, run_at)
           values ('mails', 'send', now() - interval '3 seconds'),
                  ('others', 'send', now() - interval '30 seconds')",
    )
    .await;
    assert_eq!(db.doctor(&[]).await.levels("unusual-waits"), ["ok"]);
    execute(
        &db.pool,
        "insert into queue.jobs (queue, kind, run_at)
           values ('mails', 'send', now() - interval '30 seconds')",
    )
    .await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("unusual-waits", "queue mails");
    assert_eq!(level, "warn");
    assert!(found.contains("95 of 100 before it had waited 0.0 s at most"), "{found}");
    assert!(fix.contains("app work --queues mails"), "{fix}");
    assert_eq!(answer.levels("oldest-available-job"), ["ok"]);
}
