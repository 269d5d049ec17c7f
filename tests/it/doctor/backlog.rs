//! Jobs that wait for too long, and leases that nobody takes back.

use super::execute;
use crate::support::TestDb;

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
    assert_eq!((level, found), ("ok", "1 jobs of lost workers are about to be taken back"));

    execute(&db.pool, running(300)).await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("expired-leases", "");
    assert_eq!(level, "fail");
    assert!(found.contains("2 running jobs") && found.contains("5 min ago"), "{found}");
    assert!(fix.contains("app work"), "{fix}");
}
