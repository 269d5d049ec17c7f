//! Contexts: whose database a command acts on, and who is asked first.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::{App, Binary as _, ScratchDir, Terminal, TestDb, USUAL, scratch_dir};

const MARKER: &str = "Hunter2Marker";

/// A file of contexts with this text, and this mode.
fn file_of(text: &str, mode: u32) -> (ScratchDir, PathBuf) {
    let dir = scratch_dir();
    let file = dir.join("contexts.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    (dir, file)
}

fn two_contexts(db: &TestDb) -> (ScratchDir, PathBuf) {
    let url = &db.url;
    file_of(
        &format!(
            "[prod]\nproduction = true\ndatabase_url = \"{url}\"\n\n\
             [test]\ndatabase_url = \"{url}\"\n"
        ),
        0o600,
    )
}

async fn run(file: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let app = App::command(args).env("APP_CONTEXTS", file);
    // Another database, that nobody must use.
    let app = app.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let app = app.env("APP_DATABASE_DIRECT_URL", "postgres://nobody@127.0.0.1:1/none");
    let (status, said) = app.run().await;
    (status.code(), said)
}

async fn paused(db: &TestDb) -> i64 {
    let paused = "select count(*) from queue.pauses";
    sqlx::query_scalar(paused).fetch_one(&db.pool).await.unwrap()
}

const PAUSE: [&str; 5] = ["queues", "pause", "payouts", "--reason", "the bank is down"];

#[tokio::test(flavor = "multi_thread")]
async fn a_command_acts_on_the_database_of_its_context_and_says_so() {
    let db = TestDb::new().await;
    let (_dir, file) = two_contexts(&db);
    let (code, said) = run(&file, &["--context", "test", "users", "list"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("in context 'test': postgres://"), "{said}");
    let (code, said) = run(&file, &["migrate", "status", "--context", "test"]).await;
    assert_eq!(code, Some(0), "{said}");
    let by_variable = App::command(["verify"]).env("APP_CONTEXTS", &file);
    let (status, said) = by_variable.env("APP_CONTEXT", "prod").run().await;
    assert!(status.success() && said.contains("in production context 'prod'"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_production_needs_its_name_and_nothing_less() {
    let db = TestDb::new().await;
    let (_dir, file) = two_contexts(&db);
    let (code, said) = run(&file, &[&["--context", "prod"], &PAUSE[..]].concat()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--confirm prod") && said.contains("nothing was done"), "{said}");
    let other = [&["--context", "prod", "--confirm", "test"], &PAUSE[..]].concat();
    let (code, said) = run(&file, &other).await;
    assert_eq!(code, Some(2), "{said}");
    let cancel = ["--context", "prod", "jobs", "cancel", "1", "--yes", "--reason", "x"];
    let (code, said) = run(&file, &cancel).await;
    assert_eq!(code, Some(2), "--yes is of other databases: {said}");
    assert_eq!(paused(&db).await, 0);

    let named = [&["--context", "prod", "--confirm", "prod"], &PAUSE[..]].concat();
    let (code, said) = run(&file, &named).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(paused(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_would_migrate_production_needs_its_name_too() {
    let db = TestDb::without_schema().await;
    let (_dir, file) = two_contexts(&db);
    for command in ["serve", "work"] {
        let (code, said) = run(&file, &["--context", "prod", command, "--migrate"]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--confirm prod") && said.contains("nothing was done"), "{said}");
    }
    let schemas = "select count(*) from pg_namespace where nspname in ('queue', 'payments')";
    let schemas: i64 = sqlx::query_scalar(schemas).fetch_one(&db.pool).await.unwrap();
    assert_eq!(schemas, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_and_where_nothing_is_done_nobody_is_asked() {
    let db = TestDb::new().await;
    let (_dir, file) = two_contexts(&db);
    let dry = ["--context", "prod", "jobs", "cancel", "--all-matching", "--all", "--dry-run"];
    let (code, said) = run(&file, &[&dry[..], &["--reason", "x"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&file, &[&["--context", "test"], &PAUSE[..]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(paused(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_name_is_asked_for() {
    let db = TestDb::new().await;
    let (_dir, file) = two_contexts(&db);
    let variables = [("APP_CONTEXTS", file.to_str().unwrap()), ("APP_CONTEXT", "prod")];
    for (answer, code, count) in [("yes\r", 2, 0), ("prod\r", 0, 1)] {
        let mut terminal = Terminal::start(PAUSE, &variables, USUAL);
        terminal.wait_for("Type prod to go on: ").await;
        terminal.press(answer);
        let status = terminal.wait_for_exit().await;
        assert_eq!(status.code(), Some(code), "{answer:?}: {}", terminal.text());
        assert_eq!(paused(&db).await, count, "{answer:?}");
    }
}

#[tokio::test]
async fn flags_that_name_two_databases_are_refused() {
    let (_dir, file) = file_of("[a]\ndatabase_url = \"postgres://me@127.0.0.1:1/a\"\n", 0o600);
    let two = ["--context", "a", "verify", "--database-url", "postgres://127.0.0.1:1/b"];
    for args in [&two[..], &["--context", "a", "openapi"], &["--confirm", "a", "verify"]] {
        let (code, said) = run(&file, args).await;
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains("fix:"), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_others_may_change_or_read_passwords_of_is_refused() {
    let with_password = format!("[a]\ndatabase_url = \"postgres://me:{MARKER}@127.0.0.1:1/a\"\n");
    let without = "[a]\ndatabase_url = \"postgres://me@127.0.0.1:1/a\"\n";
    for (text, mode, words) in [
        (with_password.as_str(), 0o644, Some("chmod 600")),
        (&with_password, 0o640, Some("chmod 600")),
        (without, 0o664, Some("chmod go-w")),
        (without, 0o644, None),
        (&with_password, 0o600, None),
    ] {
        let (_dir, file) = file_of(text, mode);
        let (code, said) = run(&file, &["--context", "a", "migrate", "status"]).await;
        assert!(!said.contains(MARKER), "{said}");
        match words {
            Some(words) => {
                assert_eq!(code, Some(78), "{mode:o}: {said}");
                assert!(said.contains(words), "{mode:o}: {said}");
            }
            None => assert_eq!(code, Some(7), "nobody listens there: {mode:o}: {said}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_told_without_what_is_in_it() {
    for (text, words) in [
        (format!("[a]\ndatabase_url = {MARKER}"), "line 2 of the file of contexts"),
        (format!("[a]\ndatabase_url = 1 # {MARKER}"), "database_url is no text"),
        ("[a]\ndatabase_ulr = \"x\"".to_owned(), "database_ulr is no key"),
        ("[a]\nproduction = true".to_owned(), "neither database_url nor"),
        ("[a]\nproduction = \"yes\"".to_owned(), "neither true nor false"),
        ("[b]\ndatabase_url = \"postgres://h/d\"".to_owned(), "it has b"),
        ("[a]\ndatabase_url_file = \"/nowhere\"".to_owned(), "cannot be read"),
    ] {
        let (_dir, file) = file_of(&text, 0o600);
        let (code, said) = run(&file, &["--context", "a", "verify"]).await;
        assert_eq!(code, Some(78), "{text}: {said}");
        assert!(said.contains(words) && !said.contains(MARKER), "{text}: {said}");
    }
}

#[tokio::test]
async fn contexts_are_listed_without_their_passwords() {
    let text = format!(
        "[prod]\nproduction = true\ndatabase_url = \"postgres://me:{MARKER}@db.example/surety\"\n\
         [test]\ndatabase_url_file = \"/run/secrets/url\"\n"
    );
    let (_dir, file) = file_of(&text, 0o600);
    let (code, said) = run(&file, &["--context", "test", "config", "contexts"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("prod     production  postgres://db.example/surety"), "{said}");
    assert!(said.contains("*  test") && !said.contains(MARKER), "{said}");
    let (_, said) = run(&file, &["config", "contexts", "-o", "json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(listed[0]["production"], true, "{said}");
}

#[tokio::test]
async fn without_a_file_there_are_no_contexts_unless_one_is_named() {
    let home = scratch_dir();
    let list = || App::command(["config", "contexts", "-o", "json"]).env("HOME", &*home);
    let (status, said) = list().run().await;
    assert!(status.success(), "{said}");
    assert!(said.contains("[]") && said.contains("surety/contexts.toml is not there"), "{said}");

    let missing = home.join("missing.toml");
    let (status, said) = list().env("APP_CONTEXTS", &missing).run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("missing.toml cannot be read"), "{said}");
}
