//! Every command that lists: what a pipe, a script and a program that parses meet.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use surety_postgres::testing::inherit_nothing_foreign;

use crate::support::TestDb;

/// Commands that print what they find, each with `-o json` and `-o jsonl`. What they find here is
/// in [`database`], or nothing.
const LISTINGS: [&[&str]; 19] = [
    &["jobs", "list", "--limit", "1000"],
    &["queues", "list"],
    &["queues", "blocked", "mail"],
    &["workers", "list"],
    &["schedules", "list"],
    &["dead-letters", "list"],
    &["conflicts", "list"],
    &["endpoints", "list"],
    &["keys", "list"],
    &["users", "list"],
    &["audit", "list"],
    &["operations", "list"],
    &["failures", "list"],
    &["doctor"],
    &["verify"],
    &["migrate", "status"],
    &["jobs", "show", "1"],
    &["queues", "show", "mail"],
    &["schedules", "preview", "0 9 * * mon-fri"],
];

/// A database with more jobs than a pipe holds lines of.
async fn database() -> TestDb {
    let db = TestDb::new().await;
    sqlx::query("select queue.enqueue('greet', '{}', 'mail') from generate_series(1, 1000)")
        .execute(&db.pool)
        .await
        .unwrap();
    db
}

fn command(db: &TestDb, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app"));
    inherit_nothing_foreign(&mut command);
    command.args(args).env("DATABASE_URL", &db.url).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(db: &TestDb, args: &[&str]) -> Output {
    command(db, args).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let db = database().await;
    for args in LISTINGS {
        let whole = output(&db, args);
        // The reader is gone before the first line comes, as `| head -0` is.
        let mut app = command(&db, args).spawn().unwrap();
        drop(app.stdout.take());
        let cut = app.wait_with_output().unwrap();
        // `doctor` and `verify` tell by it what they found.
        assert_eq!(cut.status.code(), whole.status.code(), "{args:?}");
        let said = String::from_utf8_lossy(&cut.stderr);
        assert_eq!(said, String::from_utf8_lossy(&whole.stderr), "{args:?}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_value_and_jsonl_is_one_value_a_line() {
    let db = database().await;
    for args in LISTINGS {
        let [json, jsonl] = ["json", "jsonl"].map(|format| {
            let output = output(&db, &[args, &["-o", format]].concat());
            let (said, text) = (
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8(output.stdout).unwrap(),
            );
            // 2 is a mistake in the arguments.
            assert_ne!(output.status.code(), Some(2), "{args:?} -o {format}: {said}");
            text
        });
        let whole: Value = serde_json::from_str(&json)
            .unwrap_or_else(|error| panic!("{args:?} -o json: {error}: {json}"));
        let lines: Vec<Value> = jsonl
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{args:?} -o jsonl: {error}: {line}"))
            })
            .collect();
        if let Some(items) = whole.as_array() {
            assert_eq!(lines.len(), items.len(), "{args:?}");
        }
    }
    let jobs = output(&db, &["jobs", "list", "--limit", "1000", "-o", "jsonl"]).stdout;
    assert_eq!(String::from_utf8(jobs).unwrap().lines().count(), 1000);
}

/// A shell's `head` between a command and its pipe, with the status of the command.
#[tokio::test(flavor = "multi_thread")]
async fn head_ends_a_listing_quietly() {
    let db = database().await;
    let mut shell = Command::new("sh");
    inherit_nothing_foreign(&mut shell);
    let app = env!("CARGO_BIN_EXE_app");
    let script = format!(
        "('{app}' jobs list --limit 1000 -o jsonl; echo \"ended with $?\" >&2) | head -n 1"
    );
    shell.args(["-c", &script]).env("DATABASE_URL", &db.url);
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ended with 0\n");
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
}
