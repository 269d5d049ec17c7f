//! `app queues`: with the real binary, and real workers that must obey.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::ledger::{accepted, count};
use crate::support::{App, Binary as _, TestDb, eventually_async};

async fn queues(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    let command = App::command([&["queues"], args].concat());
    let (status, output) = command.env("DATABASE_URL", &db.url).env("USER", "ada").run().await;
    (status.code(), output)
}

/// The same for a command that must succeed, as JSON.
async fn asked(db: &TestDb, args: &[&str]) -> Value {
    let (code, output) = queues(db, &[args, &["-o", "json"]].concat()).await;
    assert_eq!(code, Some(0), "{args:?}: {output}");
    serde_json::from_str(&output).unwrap()
}

async fn work(db: &TestDb) -> App {
    let mut worker = App::command(["work", "--poll", "50ms"]).env("DATABASE_URL", &db.url).spawn();
    worker.wait_for_line("working").await;
    worker
}

async fn execute(db: &TestDb, statements: &'static str) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&db.pool).await.unwrap();
}

async fn settled(db: &TestDb) -> i64 {
    count(&db.pool, "select count(*) from payments.transactions where status = 'COMPLETED'").await
}

const REASON: [&str; 2] = ["--reason", "the bank moves"];

#[tokio::test]
async fn the_list_shows_what_waits_where_and_since_when() {
    let db = TestDb::new().await;
    // The one that has rules from the beginning.
    let listed = asked(&db, &["list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["queue"], "webhooks_ordered");
    execute(
        &db,
        "insert into queue.jobs (queue, kind, run_at, attempt) values
           ('mails', 'send', now() - interval '5 minutes', 0),
           ('mails', 'send', now() + interval '1 hour', 0),
           ('mails', 'send', now() + interval '1 hour', 2);
         insert into queue.jobs (queue, kind, key, run_at)
           values ('keyed', 'send', 'k', now() - interval '2 minutes');
         insert into queue.jobs
           (queue, kind, running, attempt, fence, worker_id, started_at, lease_expires_at)
           values ('mails', 'send', true, 1, nextval('queue.fence'), gen_random_uuid(), now(),
                   now() + interval '1 minute');
         insert into queue.jobs (queue, kind)
           select 'many', 'send' from generate_series(1, 10001)",
    )
    .await;
    queues(&db, &[&["pause", "idle"], &REASON[..]].concat()).await;
    queues(&db, &["limits", "mails", "--rate", "100/1m"]).await;

    let listed = asked(&db, &["list"]).await;
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|queue| queue["queue"].as_str().unwrap()).collect();
    assert_eq!(names, ["idle", "keyed", "mails", "many", "webhooks_ordered"]);
    let mails = &listed[2];
    let counts = ["available", "running", "retryable", "scheduled"].map(|key| &mails[key]);
    assert_eq!(counts, [1, 1, 1, 1]);
    assert_eq!(mails["limits"]["rate"], 100);
    assert_eq!(listed[0]["pause"]["paused_by"], "cli:ada");
    assert_eq!(listed[0]["pause"]["reason"], "the bank moves");
    assert_eq!(
        (&listed[3]["available"], &listed[3]["counts_capped_at"]),
        (&10000.into(), &10000.into())
    );

    let (_, output) = queues(&db, &["list"]).await;
    let line = |name: &str| output.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("many").contains(" 10000+ "), "{output}");
    assert!(line("mails").contains(" 5 min ") && line("mails").ends_with("100/1m"), "{output}");
    assert!(line("idle").contains("cli:ada"), "{output}");

    let (code, output) = queues(&db, &["show", "mails"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("1 available (the oldest for 5 min), 1 running"), "{output}");
    assert!(output.contains("not paused") && output.contains("limits: 100/1m"), "{output}");
    assert_eq!(asked(&db, &["show", "idle"]).await["pause"]["reason"], "the bank moves");
    let (code, output) = queues(&db, &["show", "nowhere"]).await;
    assert_eq!(code, Some(3), "{output}");
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_until_it_is_resumed_and_so_do_all() {
    let db = TestDb::new().await;
    let _worker = work(&db).await;
    for (pause, resume) in [
        (&["pause", "default"][..], &["resume", "default"][..]),
        (&["pause", "--all"], &["resume", "--all"]),
    ] {
        let before = settled(&db).await;
        let pause = [pause, &REASON[..]].concat();
        let (code, output) = queues(&db, &pause).await;
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains("is paused") && output.contains("app queues resume"), "{output}");
        assert_eq!(queues(&db, &pause).await.0, Some(5), "it is paused already");
        accepted(&db.pool, "payer", "shop", "1 USD").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(settled(&db).await, before);

        let (code, output) = queues(&db, resume).await;
        assert_eq!(code, Some(0), "{output}");
        eventually_async("it is settled", async || settled(&db).await == before + 1).await;
        assert_eq!(queues(&db, resume).await.0, Some(5), "it is not paused any more");
    }

    // A queue that was paused by itself stays paused, and it is said.
    queues(&db, &[&["pause", "default"], &REASON[..]].concat()).await;
    queues(&db, &["pause", "--all", "--reason", "night", "--by", "grace"]).await;
    let resumed = asked(&db, &["resume", "--all"]).await;
    assert_eq!((&resumed["result"], &resumed["stays_paused"]), (&"resumed".into(), &true.into()));
    queues(&db, &["pause", "--all", "--reason", "night", "--by", "grace"]).await;
    let (_, output) = queues(&db, &["resume", "default"]).await;
    assert!(output.contains("but every queue stays paused, by cli:grace"), "{output}");

    let (_, output) = queues(&db, &["list"]).await;
    assert!(output.contains("every queue is paused since"), "{output}");
    assert!(output.contains("by cli:grace: night"), "{output}");

    for wrong in [&["pause", "default"][..], &["pause", "--reason", "why"], &["resume"]] {
        assert_eq!(queues(&db, wrong).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_drain_waits_until_nothing_runs_and_says_when_that_takes_too_long() {
    let db = TestDb::new().await;
    let _worker = work(&db).await;
    let mut lock = PgConnection::connect(&db.url).await.unwrap();
    let held = "begin; lock table payments.entries in access exclusive mode";
    sqlx::raw_sql(held).execute(&mut lock).await.unwrap();
    accepted(&db.pool, "payer", "shop", "1 USD").await;
    eventually_async("the job runs", async || {
        count(&db.pool, "select count(*) from queue.jobs where running").await == 1
    })
    .await;
    let drain = [&["drain", "default", "--timeout", "1200ms"], &REASON[..]].concat();
    let (code, output) = queues(&db, &drain).await;
    assert_eq!(code, Some(6), "{output}");
    assert!(output.contains("is paused, but 1 of its jobs still run"), "{output}");

    let finish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    };
    let drain = [&["drain", "default"], &REASON[..]].concat();
    let (drained, ()) = tokio::join!(asked(&db, &drain), finish);
    assert_eq!(drained["result"], "drained");
    assert_eq!(settled(&db).await, 1);
    accepted(&db.pool, "payer", "shop", "1 USD").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(settled(&db).await, 1, "it stays paused");
    queues(&db, &["resume", "default"]).await;
    eventually_async("it goes on", async || settled(&db).await == 2).await;
}

#[tokio::test]
async fn limits_are_shown_changed_one_by_one_and_cleared() {
    let db = TestDb::new().await;
    let (code, output) = queues(&db, &["limits", "letters"]).await;
    assert_eq!(code, Some(3), "{output}");
    let (code, output) =
        queues(&db, &["limits", "letters", "--max-running", "20", "--rate", "100/1m"]).await;
    let words =
        "warning: nobody knows a queue letters\nqueue letters: 20 at once, 100/1m, from now on";
    assert_eq!((code, output.as_str()), (Some(0), words));
    queues(&db, &["limits", "letters", "--max-running-per-key", "1", "--rate-per-key", "5/m"])
        .await;
    queues(&db, &["limits", "letters", "--max-running", "off", "--ordered", "skip_after=3"]).await;
    let shown = asked(&db, &["limits", "letters"]).await;
    assert_eq!(
        shown["limits"],
        json!({
            "max_running": null,
            "max_running_per_key": 1,
            "rate": 100,
            "rate_per_key": 5,
            "rate_period_secs": 60.0,
            "ordered": "skip_after=3",
        })
    );
    let by: String = sqlx::query_scalar("select set_by from queue.limits where queue = 'letters'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(by, "cli:ada");
    for (wrong, right) in [
        (&["--rate", "5/1s"][..], "one period"),
        (&["--rate", "many"], "such as 100/1s"),
        (&["--max-running", "0"], "pause the queue"),
        (&["--ordered", "fifo"], "skip_after=N"),
        (&["--clear", "--rate", "off"], "cannot be used with"),
    ] {
        let (code, output) = queues(&db, &[&["limits", "letters"], wrong].concat()).await;
        assert_eq!(code, Some(2), "{wrong:?}: {output}");
        assert!(output.contains(right), "{wrong:?}: {output}");
    }
    for (code, words) in [(0, "has no limits any more"), (5, "had no limits")] {
        let (ended, output) = queues(&db, &["limits", "letters", "--clear"]).await;
        assert_eq!(ended, Some(code), "{output}");
        assert!(output.contains(words), "{output}");
    }
}

#[tokio::test]
async fn a_blocked_key_is_named_with_its_head_and_goes_on_when_it_is_unblocked() {
    let db = TestDb::new().await;
    asked(&db, &["limits", "default", "--ordered", "block"]).await;
    // No handler can read these arguments.
    execute(
        &db,
        "select queue.enqueue('settle_transaction', args, key => 'customer-17', max_attempts => 1)
         from (values ('{\"first\": 1}'::jsonb), ('{\"second\": 2}')) as it (args)",
    )
    .await;
    let _worker = work(&db).await;
    let blocked = async || asked(&db, &["blocked", "default"]).await;
    eventually_async("the key is blocked", async || blocked().await != json!([])).await;
    let keys = blocked().await;
    assert_eq!((&keys[0]["key"], &keys[0]["cause"]), (&"customer-17".into(), &"discarded".into()));
    assert_eq!((&keys[0]["job_id"], &keys[0]["waiting"]), (&1.into(), &1.into()));
    let (_, output) = queues(&db, &["show", "default"]).await;
    assert!(output.contains("blocked keys: 1"), "{output}");
    assert!(output.contains("customer-17") && output.contains("discarded"), "{output}");

    let unblock = |key| [&["unblock", "default", key], &REASON[..]].concat();
    let (code, output) = queues(&db, &unblock("customer-17")).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("goes on; job 1 was at its head"), "{output}");
    // The second one fails as the first did.
    eventually_async("the second is at the head", async || {
        blocked().await.pointer("/0/job_id") == Some(&2.into())
    })
    .await;
    assert_eq!(queues(&db, &unblock("customer-18")).await.0, Some(3));
    let made_by = "select count(*) from queue.interventions where made_by = 'cli:ada'";
    assert_eq!(count(&db.pool, made_by).await, 1);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_with_the_nearest_one() {
    let db = TestDb::new().await;
    let run = async |args: &[&str]| {
        let command = App::command(args).env("DATABASE_URL", &db.url).env("USER", "ada");
        command.run().await
    };
    for (args, doubt) in [
        (&["queues", "pause", "bnak", "--reason", "why"][..], "a queue bnak: did you mean bank?"),
        (&["queues", "drain", "defualt", "--reason", "why"], "did you mean default?"),
        (&["queues", "limits", "nowhere", "--max-running", "2"], "nobody knows a queue nowhere"),
        (&["jobs", "list", "--kind", "setle_transaction"], "did you mean settle_transaction?"),
        (&["jobs", "list", "--queue", "defult"], "did you mean def"),
        (&["jobs", "cancel", "--all-matching", "--kind", "x", "--reason", "y"], "a kind x"),
        (&["dead-letters", "list", "--kind", "execute_bank_ordr"], "execute_bank_order?"),
    ] {
        let (_, said) = run(args).await;
        assert!(said.contains("warning: nobody knows") && said.contains(doubt), "{args:?}: {said}");
    }
    for args in [
        &["queues", "pause", "bank", "--reason", "why"][..],
        &["queues", "pause", "--all", "--reason", "why"],
        // By now it has a pause.
        &["queues", "resume", "bnak"],
        &["jobs", "list", "--kind", "settle_transaction,execute_transfer"],
    ] {
        let (status, said) = run(args).await;
        assert!(status.success() && !said.contains("warning"), "{args:?}: {said}");
    }
    let work = App::command(["work", "--queues", "bank,defaultt"]);
    let mut worker = work.env("DATABASE_URL", &db.url).spawn();
    worker.wait_for_line("nobody knows a queue defaultt: did you mean default?").await;
    assert!(!worker.output().contains("a queue bank"), "{}", worker.output());
}
