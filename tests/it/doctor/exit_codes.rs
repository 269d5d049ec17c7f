//! What a script learns from the exit code, and what people read.

use surety::db;
use surety_postgres::embedded::{Cluster, ClusterSettings, Durability, Lifetime};

use super::{Answer, execute};
use crate::support::{App, Binary as _, TestDb, eventually_async, scratch_dir, throwaway};

#[tokio::test]
async fn a_healthy_database_passes_and_a_warning_fails_only_under_strict() {
    let dir = scratch_dir();
    let settings = ClusterSettings {
        durability: Durability::Durable,
        ..throwaway(dir.join("c"), Lifetime::OfThisProcess)
    };
    let cluster = Cluster::start(settings).await.unwrap();
    cluster.ensure_database("app").await.unwrap();
    let url = cluster.url("app");
    let pool = db::connect(&url, 1, "test").await.unwrap();
    db::migrate(&pool).await.unwrap();

    let mut worker = App::command(["work"]).env("DATABASE_URL", &url).spawn();
    worker.wait_for_line("working").await;
    eventually_async("all is well", async || Answer::of(&url, &[]).await.report["level"] == "ok")
        .await;

    let answer = Answer::of(&url, &["--strict"]).await;
    assert_eq!((answer.code, &answer.report["level"]), (Some(0), &"ok".into()));
    assert_eq!(answer.levels("server-settings"), ["ok"]);

    execute(&pool, "alter table queue.jobs set (fillfactor = 100)").await;
    let answer = Answer::of(&url, &[]).await;
    assert_eq!((answer.code, &answer.report["level"]), (Some(0), &"warn".into()));
    assert_eq!(Answer::of(&url, &["--strict"]).await.code, Some(1));
    execute(&pool, "drop index queue.jobs_waiting").await;
    assert_eq!(Answer::of(&url, &[]).await.code, Some(1));
    worker.kill().await;
    pool.close().await;
    cluster.stop().await;
}

#[tokio::test]
async fn people_read_one_line_per_finding_and_its_fix_below() {
    let db = TestDb::new().await;
    let (status, output) = App::command(["doctor"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    let at = lines.iter().position(|line| line.contains("fsync is off")).unwrap();
    assert!(lines[at].starts_with("FAIL  server-settings "), "{output}");
    assert!(lines[at + 1].trim().starts_with("fix: start the server"), "{output}");
    assert!(lines.last().unwrap().contains(" 2 fail, "), "{output}");

    let command = App::command(["doctor", "-o", "jsonl"]).env("DATABASE_URL", &db.url);
    let (_, output) = command.run().await;
    for line in output.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(finding["check"].is_string() && finding["found"].is_string(), "{line}");
        assert_eq!(finding["fix"].is_null(), finding["level"] == "ok", "{line}");
    }
}

#[tokio::test]
async fn an_unreachable_server_and_another_schema_have_exit_codes_of_their_own() {
    let command = App::command(["doctor"]).env("DATABASE_URL", "postgres://x@127.0.0.1:1/none");
    let (status, output) = command.run().await;
    assert_eq!(status.code(), Some(7), "{output}");

    let db = TestDb::without_schema().await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.code, Some(8));
    let [level, found, fix] = answer.about("migrations", "");
    assert_eq!((level, fix), ("fail", "app migrate run"), "{found}");
    // The server is looked at all the same.
    assert_eq!(answer.about("server-settings", "fsync is off")[0], "fail");
    assert_eq!(answer.of_check("oldest-available-job").len(), 0);

    let db = TestDb::new().await;
    execute(
        &db.pool,
        "insert into surety.schema_migrations (version, name, checksum, applied_by)
         values (9999, 'of tomorrow', '', '9.0.0')",
    )
    .await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.code, Some(8));
    assert_eq!(answer.about("migrations", "newer")[2], "upgrade this binary");

    for wrong in [&["--max-wait", "0s"][..], &["--max-transaction-age", "soon"]] {
        let (status, output) = App::command([&["doctor"], wrong].concat()).run().await;
        assert_eq!(status.code(), Some(2), "{output}");
    }
}
