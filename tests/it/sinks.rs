//! Where output goes: disks that are full, terminals that are gone.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::{App, Binary as _, Signal, TestDb, scratch_dir};

/// Commands that print and end by themselves, with what they need.
const COMMANDS: [&[&str]; 22] = [
    &["--help"],
    &["--version"],
    &["serve", "--help"],
    &["jobs", "list"],
    &["jobs", "list", "-o", "json"],
    &["jobs", "enqueue", "unheard_of", "{}", "--allow-unknown-kind"],
    &["queues", "list"],
    &["queues", "pause", "bank", "--reason", "why"],
    &["queues", "limits", "bank"],
    &["workers", "list"],
    &["dead-letters", "list"],
    &["schedules", "list"],
    &["schedules", "preview", "0 9 * * 1-5"],
    &["users", "list"],
    &["users", "create", "ada@example.com"],
    &["keys", "list"],
    &["migrate", "status"],
    &["migrate", "run"],
    &["verify"],
    &["verify", "--json"],
    &["doctor"],
    &["doctor", "-o", "jsonl"],
];

fn app(args: &[&str], url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app"));
    command.args(args).current_dir("/").env("DATABASE_URL", url).env("USER", "ada");
    command.stdin(Stdio::null());
    command
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_could_not_be_written_is_an_error_of_every_command() {
    let db = TestDb::new().await;
    for args in COMMANDS {
        let output = app(args, &db.url).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code().is_some_and(|code| code != 0 && code != 101), "{args:?}");
        assert!(said.contains("No space left on device"), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        // Neither output takes anything.
        let status = app(args, &db.url).stdout(full()).stderr(full()).status().unwrap();
        assert!(status.code().is_some_and(|code| code != 0 && code != 101), "{args:?}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let db = TestDb::new().await;
    for args in [&["verify"][..], &["users", "list"], &["migrate", "status"], &["jobs", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = app(args, &db.url).stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("panicked"), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn the_end_of_the_terminal_lets_long_commands_end_in_good_order() {
    let db = TestDb::new().await;
    let scratch = scratch_dir();
    let data_dir = scratch.join("data");
    let listen = ["--listen", "127.0.0.1:0"];
    let dev = ["dev", "--no-download", "--data-dir", data_dir.to_str().unwrap()];
    // 'app serve' and 'app work' read their settings again: `configuration::reload`.
    for (args, ready) in
        [([&["bank"][..], &listen].concat(), "http://"), ([&dev[..], &listen].concat(), "Ready in")]
    {
        let mut app = App::command(&args).env("DATABASE_URL", &db.url).spawn();
        app.wait_for_line(ready).await;
        app.signal(Signal::Hangup);
        let status = app.wait_for_exit().await;
        assert!(status.success(), "{args:?}: {status}: {}", app.output());
    }
}

#[tokio::test]
async fn who_was_started_to_outlive_the_terminal_does() {
    let db = TestDb::new().await;
    let args = ["-c", "trap '' HUP; exec \"$0\" work", env!("CARGO_BIN_EXE_app")];
    let mut app = App::command_of("sh", args).env("DATABASE_URL", &db.url).spawn();
    app.wait_for_line("working").await;
    app.signal(Signal::Hangup);
    let stopped = tokio::time::timeout(std::time::Duration::from_millis(500), app.wait_for_exit());
    assert!(stopped.await.is_err(), "{}", app.output());
    app.signal(Signal::Terminate);
    assert!(app.wait_for_exit().await.success());
}
