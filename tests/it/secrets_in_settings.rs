//! Nothing that a setting holds is in any output, however it was mistyped.

use futures_util::StreamExt as _;

use crate::support::{App, Binary as _, TestDb, scratch_dir};

/// In every value, in a form that no message of ours has.
const MARKER: &str = "Hunter2Marker";
/// Commands of every kind: long ones, those that read the database, and those that do not.
const COMMANDS: [&[&str]; 10] = [
    &["dev", "--no-download", "--listen", "127.0.0.1:0"],
    &["serve", "--listen", "127.0.0.1:0"],
    &["work"],
    &["bank", "--listen", "127.0.0.1:0"],
    &["relay", "--once"],
    &["verify"],
    &["migrate", "status"],
    &["send", "--count", "1", "--retries", "0"],
    &["reconcile"],
    &["listen", "--listen", "127.0.0.1:0"],
];
/// Settings that are places or names which people must see, and never secret.
const SHOWN: [&str; 6] = [
    "APP_BANK_SIMULATOR_DATA",
    "APP_DATA_DIR",
    "APP_PG_BIN",
    "APP_WEBHOOK_SOURCES",
    "APP_WORKER_QUEUES",
    "APP_WORKER_VERSION",
];

/// Every setting that `.env.example` lists, and the other filter of log lines.
fn settings() -> Vec<String> {
    let example = include_str!("../../.env.example");
    let lines = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let names = lines.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' '));
    let all = names.chain(["RUST_LOG".to_owned()]);
    all.filter(|name| !SHOWN.contains(&name.as_str())).collect()
}

/// What a hasty hand makes of a value.
fn rubbish() -> [String; 6] {
    [
        MARKER.to_owned(),
        format!("postgres://app:12/{MARKER}@127.0.0.1:1/none"),
        format!("postgres://app@127.0.0.1:1/none?{MARKER}={MARKER}"),
        format!("http://user:{MARKER}@127.0.0.1:1/"),
        format!("{MARKER}:{MARKER},{MARKER}:{MARKER}"),
        format!("10{MARKER}"),
    ]
}

/// The commands that take this setting as an argument; every command reads those that none has.
fn readers<'a>(setting: &str, helps: &[(&'a [&'a str], String)]) -> Vec<&'a [&'a str]> {
    let takes =
        |help: &str| help.contains(&format!("[env: {}]", setting.trim_end_matches("_FILE")));
    let readers: Vec<_> = helps.iter().filter(|(_, help)| takes(help)).collect();
    let all = if readers.is_empty() { &helps[1..3] } else { &[] };
    readers.into_iter().chain(all).map(|(command, _)| *command).take(3).collect()
}

async fn said_with(command: &[&str], setting: &str, value: &str) -> String {
    let mut app = App::command(command)
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("APP_DATA_DIR", "/proc/nowhere")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("RUST_BACKTRACE", "0")
        .env(setting, value)
        .spawn();
    // The bank is the only one that needs nothing else.
    if command[0] == "bank" {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        app.kill().await;
    } else {
        app.wait_for_exit().await;
    }
    app.output()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_setting_holds_is_in_no_output_of_any_command() {
    let mut helps = Vec::new();
    for command in COMMANDS {
        helps.push((command, App::command([command, &["--help"]].concat()).run().await.1));
    }
    let mut cases = Vec::new();
    for setting in settings() {
        // They take turns: each value is read once, and each command reads some.
        let readers = readers(&setting, &helps).into_iter().cycle();
        cases.extend(
            readers.zip(rubbish()).map(|(command, value)| (command, setting.clone(), value)),
        );
    }
    assert!(cases.len() > 500, "{}", cases.len());
    futures_util::stream::iter(cases)
        .for_each_concurrent(8, async |(command, setting, value)| {
            let said = said_with(command, &setting, &value).await;
            assert!(!said.contains(MARKER), "{command:?} {setting}={value}:\n{said}");
            assert!(!said.contains("panicked"), "{command:?} {setting}={value}:\n{said}");
        })
        .await;
}

#[tokio::test]
async fn no_help_shows_what_the_environment_holds() {
    for command in ["dev", "serve", "work", "bank", "send", "verify"] {
        let mut app = App::command([command, "--help"]);
        for setting in settings().into_iter().chain(SHOWN.map(str::to_owned)) {
            // It is read before the help is shown.
            if !setting.ends_with("_FILE") {
                app = app.env(&setting, MARKER);
            }
        }
        let (status, said) = app.run().await;
        assert!(status.success() && !said.contains(MARKER), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_line_of_an_environment_file_is_told_by_number_and_name() {
    let dir = scratch_dir();
    for (line, name) in [
        (format!("APP_WEBHOOK_SECRETS=whsec_{MARKER} {MARKER}"), "APP_WEBHOOK_SECRETS"),
        (format!("DATABASE_URL='postgres://app:{MARKER}@db/app"), "DATABASE_URL"),
        (MARKER.to_owned(), ""),
        (format!("{MARKER}= a b"), ""),
        (format!("APP_JOB_KEYS=\"{MARKER}\0\""), "APP_JOB_KEYS"),
    ] {
        std::fs::write(dir.join(".env"), format!("# settings\n{line}\n")).unwrap();
        for command in COMMANDS {
            let (status, said) = App::command(command).dir(&dir).run().await;
            assert_eq!(status.code(), Some(78), "{line:?}: {said}");
            assert!(said.contains(name) && !said.contains(MARKER), "{line:?}: {said}");
            let is_told = said.contains("line 2 of .env") || said.contains("NUL");
            assert!(is_told, "{line:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_parameter_of_the_database_url_that_nobody_knows_is_not_logged_with_its_value() {
    let db = TestDb::new().await;
    let separator = if db.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}channel_binding={MARKER}", db.url);
    let command = App::command(["verify"]).env("DATABASE_URL", url).env("APP_LOG", "trace");
    let (status, said) = command.run().await;
    assert!(status.success() && !said.contains(MARKER), "{said}");
    assert!(said.contains("has parameters that are not known here"), "{said}");
}
