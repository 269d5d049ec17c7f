//! `app schedules`, by the real binary.

use std::time::Duration;

use serde_json::{Value, json};
use surety::queue::schedules::{self, MissedPolicy};

use super::{at, count_jobs, cron, every, find, look_at, put, put_at, ticks};
use crate::support::{App, Binary as _, TestDb};

/// Runs `app schedules` on this database: the exit code, and what it said.
async fn run(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    let command = App::command([&["schedules"], args].concat());
    let (status, output) = command.env("DATABASE_URL", &db.url).env("USER", "ada").run().await;
    (status.code(), output)
}

/// The same of a command that must succeed and prints JSON.
async fn run_json(db: &TestDb, args: &[&str]) -> Value {
    let (code, output) = run(db, &[args, &["-o", "json"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[tokio::test]
async fn a_preview_needs_no_database_and_shows_the_change_of_the_clocks() {
    let preview = async |args: &[&str]| {
        let command = App::command([&["schedules", "preview"], args].concat());
        let (status, output) = command.run().await;
        (status.code(), output)
    };
    let paris = ["0 9 * * 1-5", "--tz", "Europe/Paris", "--after", "2027-10-28T12:00:00Z"];
    let (code, output) = preview(&paris).await;
    assert_eq!(code, Some(0), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[1], "Friday     2027-10-29T09:00:00+02:00  2027-10-29T07:00:00Z");
    assert_eq!(lines[2], "Monday     2027-11-01T09:00:00+01:00  2027-11-01T08:00:00Z");

    let (code, output) = preview(&[&paris[..], &["-n", "1", "-o", "json"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(
        serde_json::from_str::<Value>(&output).unwrap(),
        json!([{ "tick_at": "2027-10-29T07:00:00Z", "local": "2027-10-29T09:00:00+02:00" }])
    );
    let (_, output) = preview(&[&paris[..], &["-n", "3", "-o", "jsonl"]].concat()).await;
    assert_eq!(output.lines().count(), 3);

    for args in [
        &["0 9 * *"][..],
        &["0 0 30 2 *"],
        &["0 9 * * *", "--tz", "Mars/Olympus"],
        &["0 9 * * *", "-n", "0"],
        &["0 9 * * *", "--after", "yesterday"],
        &[],
    ] {
        let (code, output) = preview(args).await;
        assert_eq!(code, Some(2), "{args:?}: {output}");
        assert!(output.contains("error:"), "{output}");
    }
}

#[tokio::test]
async fn what_is_added_is_shown_listed_and_ticks() {
    let db = TestDb::new().await;
    let add = [
        "add",
        "nightly",
        "--cron",
        "0 3 * * *",
        "--tz",
        "Europe/Paris",
        "--kind",
        "report",
        "--args",
        r#"{"recipient": "ada"}"#,
        "--queue",
        "reports",
        "--priority",
        "1",
        "--max-attempts",
        "3",
        "--key",
        "k",
        "--tag",
        "a",
        "--tag",
        "b",
        "--policy",
        "catch-up",
        "--max",
        "7",
        "--max-age",
        "2d",
    ];
    let (code, output) = run(&db, &[&add[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("not done"), "{output}");
    assert_eq!(run_json(&db, &["list"]).await, json!([]));

    let added = run_json(&db, &add).await;
    assert_eq!((&added["schedule"], &added["result"]), (&json!("nightly"), &json!("created")));
    let shown = run_json(&db, &["show", "nightly"]).await;
    for (field, value) in [
        ("cron", json!("0 3 * * *")),
        ("time_zone", json!("Europe/Paris")),
        ("kind", json!("report")),
        ("args", json!({ "recipient": "ada" })),
        ("queue", json!("reports")),
        ("priority", json!(1)),
        ("max_attempts", json!(3)),
        ("key", json!("k")),
        ("tags", json!(["a", "b"])),
        ("policy", json!({ "name": "catch_up", "max": 7, "max_age_secs": 172_800 })),
        ("defined_by", json!("cli:ada")),
        ("pause", Value::Null),
        ("ticks", json!([])),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(shown["next_tick_at"], added["next_tick_at"]);
    let upcoming = shown["upcoming"].as_array().unwrap();
    assert_eq!((upcoming.len(), &upcoming[0]), (5, &added["next_tick_at"]));

    // The library reads what the command wrote.
    let next = at(added["next_tick_at"].as_str().unwrap());
    assert_eq!(look_at(&db.pool, next).await.jobs.len(), 1);
    let shown = run_json(&db, &["show", "nightly"]).await;
    assert_eq!(shown["ticks"][0]["tick_at"], added["next_tick_at"]);
    let (code, output) = run(&db, &["list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("0 3 * * * Europe/Paris  report  catch up with 7"), "{output}");
    let (_, output) = run(&db, &["show", "nightly"]).await;
    assert!(output.contains("T03:00:00+0") && output.contains("tags: a, b"), "{output}");
    let (_, output) = run(&db, &["list", "-o", "jsonl"]).await;
    assert_eq!(output.lines().count(), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_given_another_meaning_by_accident() {
    let db = TestDb::new().await;
    put(&db.pool, &every("s", 60, MissedPolicy::Coalesce)).await;
    let add = ["add", "s", "--every", "1h 30m", "--kind", "other"];
    let (code, output) = run(&db, &add).await;
    assert_eq!(code, Some(5), "{output}");
    assert!(output.contains("--replace"), "{output}");
    assert_eq!(find(&db.pool, "s").await.every_secs, Some(60));

    let changed = run_json(&db, &[&add[..], &["--replace"]].concat()).await;
    assert_eq!(changed["result"], "changed");
    assert_eq!(find(&db.pool, "s").await.every_secs, Some(5400));
    let unchanged = run_json(&db, &[&add[..], &["--replace"]].concat()).await;
    assert_eq!(unchanged["result"], "unchanged");
}

#[tokio::test]
async fn a_pause_names_who_and_why_until_it_is_resumed() {
    let db = TestDb::new().await;
    put(&db.pool, &every("s", 60, MissedPolicy::Coalesce)).await;
    let pause = ["pause", "s", "--reason", "the source is wrong"];
    let (code, _) = run(&db, &[&pause[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, find(&db.pool, "s").await.pause), (Some(0), None));

    let (code, output) = run(&db, &pause).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("app schedules resume s"), "{output}");
    let pause_of = find(&db.pool, "s").await.pause.unwrap();
    assert_eq!(
        (pause_of.by.as_str(), pause_of.reason.as_str()),
        ("cli:ada", "the source is wrong")
    );
    let (code, output) = run(&db, &["pause", "s", "--reason", "x", "--by", "grace"]).await;
    assert_eq!(code, Some(5), "{output}");
    assert!(output.contains("by cli:ada: the source is wrong"), "{output}");
    let (_, output) = run(&db, &["list"]).await;
    assert!(output.contains("paused by cli:ada"), "{output}");
    assert_eq!(run_json(&db, &["show", "s"]).await["next_tick_at"], Value::Null);

    let (code, _) = run(&db, &["resume", "s", "--dry-run"]).await;
    assert!(code == Some(0) && find(&db.pool, "s").await.pause.is_some());
    assert_eq!(run_json(&db, &["resume", "s"]).await["result"], "resumed");
    assert_eq!(find(&db.pool, "s").await.pause, None);
    let (code, output) = run(&db, &["resume", "s"]).await;
    assert_eq!(code, Some(5), "{output}");
}

#[tokio::test]
async fn a_run_by_hand_says_which_job_it_is() {
    let db = TestDb::new().await;
    put(&db.pool, &every("s", 3600, MissedPolicy::Coalesce)).await;
    let dry = run_json(&db, &["run", "s", "--dry-run"]).await;
    assert_eq!((&dry["dry_run"], &dry["job_id"]), (&json!(true), &Value::Null));
    assert_eq!(count_jobs(&db.pool).await, 0);
    let ran = run_json(&db, &["run", "s", "--by", "grace"]).await;
    let tick = &ticks(&db.pool, "s").await[0];
    assert_eq!(tick.requested_by.as_deref(), Some("cli:grace"));
    assert_eq!(ran["job_id"], json!(tick.job_id));
    assert_eq!(count_jobs(&db.pool).await, 1);
}

#[tokio::test]
async fn nothing_is_removed_without_consent() {
    let db = TestDb::new().await;
    put(&db.pool, &every("s", 3600, MissedPolicy::Coalesce)).await;
    let (code, output) = run(&db, &["remove", "s"]).await;
    assert_eq!(code, Some(2), "{output}");
    let (code, output) = run(&db, &["remove", "s", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(find(&db.pool, "s").await.name, "s");

    sqlx::query("update queue.schedules set defined_by = $1")
        .bind(schedules::CODE)
        .execute(&db.pool)
        .await
        .unwrap();
    let (code, output) = run(&db, &["remove", "s", "--yes"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("pause it instead"), "{output}");
    assert_eq!(run_json(&db, &["list"]).await, json!([]));
}

#[tokio::test]
async fn an_overdue_schedule_and_one_that_cannot_be_read_are_told() {
    let db = TestDb::new().await;
    let hour = Duration::from_secs(3600);
    let policy = MissedPolicy::Skip { grace: hour };
    let status = {
        put(&db.pool, &every("late", 60, policy)).await;
        find(&db.pool, "late").await
    };
    put_at(&db.pool, &every("late", 60, policy), status.as_of - hour).await;
    put(&db.pool, &cron("strange", "0 0 * * *", "Europe/Paris", policy)).await;
    sqlx::query("update queue.schedules set time_zone = 'Mars/Olympus' where name = 'strange'")
        .execute(&db.pool)
        .await
        .unwrap();
    let (code, output) = run(&db, &["list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("overdue: does a worker run?"), "{output}");
    assert!(output.contains("0 0 * * * Mars/Olympus (unknown)"), "{output}");
    let (code, output) = run(&db, &["show", "strange"]).await;
    assert_eq!(code, Some(0), "{output}");
}

#[tokio::test]
async fn what_is_not_there_and_what_makes_no_sense_have_exit_codes_of_their_own() {
    let db = TestDb::new().await;
    for (args, expected) in [
        (&["show", "none"][..], 3),
        (&["pause", "none", "--reason", "why"], 3),
        (&["resume", "none"], 3),
        (&["run", "none"], 3),
        (&["remove", "none", "--yes"], 3),
        (&["pause", "none"], 2),
        (&["pause", "none", "--reason", " "], 2),
        (&["add", "s", "--kind", "k"], 2),
        (&["add", "s", "--kind", "k", "--every", "1h", "--cron", "@daily"], 2),
        (&["add", "s", "--kind", "k", "--every", "1h", "--tz", "UTC"], 2),
        (&["add", "s", "--kind", "k", "--every", "100ms"], 2),
        (&["add", "s", "--kind", "k", "--cron", "0 0 30 2 *"], 2),
        (&["add", "s", "--kind", "k", "--cron", "@daily", "--tz", "Paris"], 2),
        (&["add", "s", "--kind", "k", "--cron", "@daily", "--args", "{"], 2),
        (&["add", "s", "--kind", "k", "--cron", "@daily", "--priority", "5"], 2),
        (&["add", "s", "--kind", "k", "--cron", "@daily", "--policy", "catch-up"], 2),
        (
            &[
                "add",
                "s",
                "--kind",
                "k",
                "--cron",
                "@daily",
                "--policy",
                "catch-up",
                "--max",
                "0",
                "--max-age",
                "1h",
            ],
            2,
        ),
        (&["add", "a b", "--kind", "k", "--cron", "@daily"], 2),
        (&["add", "s", "--cron", "@daily"], 2),
    ] {
        let (code, output) = run(&db, args).await;
        assert_eq!(code, Some(expected), "{args:?}: {output}");
        assert!(output.contains("error:"), "{output}");
    }
    assert_eq!(run_json(&db, &["list"]).await, json!([]));
    let command = App::command(["schedules", "list"]);
    let unreachable = "postgres://nobody@127.0.0.1:1/none";
    let (status, output) = command.env("DATABASE_URL", unreachable).run().await;
    assert_eq!(status.code(), Some(7), "{output}");
    let empty = TestDb::without_schema().await;
    assert_eq!(run(&empty, &["list"]).await.0, Some(8));
}
