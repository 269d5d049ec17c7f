//! `app workers`: with real workers, of two versions.

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::support::ledger::{accepted, count};
use crate::support::{App, Binary as _, Signal, TestDb, eventually_async};

/// `app work`, once it works.
async fn work(db: &TestDb, version: &str) -> App {
    let mut worker = App::command(["work", "--poll", "50ms", "--worker-version", version])
        .env("DATABASE_URL", &db.url)
        .spawn();
    worker.wait_for_line("working").await;
    worker
}

async fn workers(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    let command = App::command([&["workers"], args].concat());
    let (status, output) = command.env("DATABASE_URL", &db.url).env("USER", "ada").run().await;
    (status.code(), output)
}

/// The ids of the workers that are listed with this version.
async fn ids(db: &TestDb, version: &str) -> Vec<String> {
    let (code, output) = workers(db, &["list", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{output}");
    let listed: Value = serde_json::from_str(&output).unwrap();
    let of_version = listed.as_array().unwrap().iter().filter(|it| it["version"] == version);
    of_version.map(|worker| worker["id"].as_str().unwrap().to_owned()).collect()
}

async fn only(db: &TestDb, version: &str) -> String {
    eventually_async("it is registered", async || ids(db, version).await.len() == 1).await;
    ids(db, version).await.remove(0)
}

const REASON: [&str; 2] = ["--reason", "2.0 is out"];

#[tokio::test]
async fn a_rolling_upgrade_under_load_loses_nothing_and_the_old_version_exits_with_0() {
    let db = TestDb::new().await;
    // Of a kind that neither version knows: it waits for one that does.
    let unknown = "insert into queue.jobs (kind) values ('of_tomorrow')";
    sqlx::query(unknown).execute(&db.pool).await.unwrap();
    let mut old = work(&db, "1.0").await;
    let old_id = only(&db, "1.0").await;
    let feed = async |from: u32| {
        for number in from..from + 60 {
            accepted(&db.pool, &format!("payer-{}", number % 7), "shop", "1 USD").await;
        }
    };
    feed(0).await;
    let mut new = work(&db, "2.0").await;
    only(&db, "2.0").await;
    let drain = [&["drain", &old_id, "--wait", "-o", "jsonl"], &REASON[..]].concat();
    let (drained, ()) = tokio::join!(workers(&db, &drain), feed(60));
    assert_eq!(drained.0, Some(0), "{}", drained.1);
    let result: Value = serde_json::from_str(&drained.1).unwrap();
    assert_eq!(result["result"], "ended");
    assert_eq!(old.wait_for_exit().await.code(), Some(0), "{}", old.output());
    assert!(old.output().contains("asked to drain"), "{}", old.output());
    assert_eq!(ids(&db, "1.0").await.len(), 0);

    feed(120).await;
    eventually_async("all is settled", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 1
    })
    .await;
    let settled = "select count(*) from payments.transactions where status = 'COMPLETED'";
    assert_eq!(count(&db.pool, settled).await, 180);
    let untouched = "select count(*) from queue.jobs where kind = 'of_tomorrow' and attempt = 0";
    assert_eq!(count(&db.pool, untouched).await, 1);
    new.signal(Signal::Terminate);
    assert_eq!(new.wait_for_exit().await.code(), Some(0), "{}", new.output());
    assert_eq!(ids(&db, "2.0").await.len(), 0);
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", &db.url).run().await;
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn all_are_drained_only_with_consent_and_waiting_has_an_end() {
    let db = TestDb::new().await;
    let mut running = [work(&db, "1.0").await, work(&db, "1.0").await];
    eventually_async("both are registered", async || ids(&db, "1.0").await.len() == 2).await;
    let (code, output) = workers(&db, &["list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("VERSION") && output.contains("0 of 1024"), "{output}");

    let all = [&["drain", "--all"], &REASON[..]].concat();
    assert_eq!(workers(&db, &all).await.0, Some(2));
    let (code, output) = workers(&db, &[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, output.matches("would be asked").count()), (Some(0), 2), "{output}");

    // Both have a job that cannot go on.
    let mut lock = PgConnection::connect(&db.url).await.unwrap();
    sqlx::raw_sql("begin; lock table payments.entries in access exclusive mode")
        .execute(&mut lock)
        .await
        .unwrap();
    accepted(&db.pool, "payer", "shop", "1 USD").await;
    eventually_async("the job runs", async || {
        count(&db.pool, "select count(*) from queue.jobs where running").await == 1
    })
    .await;
    let wait = ["--yes", "--wait", "--timeout", "1500ms"];
    let (code, output) = workers(&db, &[&all[..], &wait].concat()).await;
    assert_eq!(code, Some(6), "{output}");
    assert_eq!(output.matches("has ended").count(), 1, "{output}");
    assert_eq!(output.matches("has not ended in time").count(), 1, "{output}");
    // It is asked already: waiting again asks nobody.
    sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    let (code, output) = workers(&db, &[&all[..], &["--yes", "--wait"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    for worker in &mut running {
        assert_eq!(worker.wait_for_exit().await.code(), Some(0), "{}", worker.output());
    }
    let unsettled = "select count(*) from queue.jobs where kind = 'settle_transaction'";
    assert_eq!(count(&db.pool, unsettled).await, 0);
    let (code, output) = workers(&db, &[&all[..], &["--yes"]].concat()).await;
    assert_eq!((code, output.as_str()), (Some(0), "no worker is there"));
}

#[tokio::test]
async fn a_worker_that_is_not_there_or_lost_has_an_exit_code_of_its_own() {
    let db = TestDb::new().await;
    let mut lost = work(&db, "1.0").await;
    let id = only(&db, "1.0").await;
    lost.kill().await;
    sqlx::query("update queue.workers set last_seen_at = now() - interval '1 minute'")
        .execute(&db.pool)
        .await
        .unwrap();
    let (code, output) = workers(&db, &[&["drain", &id], &REASON[..]].concat()).await;
    assert_eq!(code, Some(5), "{output}");
    assert!(output.contains("is lost"), "{output}");
    let (_, output) = workers(&db, &["list"]).await;
    assert!(output.contains(" lost ") && output.contains(" s ago"), "{output}");

    let nobody = "019a9f3c-7d2e-7b61-a6a5-0f2d5c1b9e44";
    let (code, output) = workers(&db, &[&["drain", nobody], &REASON[..]].concat()).await;
    assert_eq!(code, Some(3), "{output}");
    assert_eq!(workers(&db, &[&["drain", "x"], &REASON[..]].concat()).await.0, Some(2));
    assert_eq!(workers(&db, &["drain", &id]).await.0, Some(2), "a reason is needed");
}
