//! `app dev`, as a newcomer meets it: the real binary, real signals.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use sqlx::{Connection as _, PgConnection};
use surety_postgres::embedded::{Access, Cluster, ClusterSettings, Lifetime};

use crate::support::{
    App, AppCommand, Binary as _, ScratchDir, Signal, TestDb, eventually, is_root, scratch_dir,
    send_signal, throwaway,
};

/// The user `nobody` of every Linux.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn the_first_start_says_where_everything_is() {
    let data_dir = data_dir();
    let began = Instant::now();
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    eprintln!("ready after {:?}", began.elapsed());
    let answer = reqwest::get(api_of(&app)).await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
    sqlx::query("select from queue.jobs").execute(&mut conn).await.unwrap();
    let said = app.output();
    for what in ["Swagger UI", "/docs", "curl -i http://127.0.0.1:"] {
        assert!(said.contains(what), "{what:?} is missing in:\n{said}");
    }
}

#[tokio::test]
async fn commands_that_are_told_of_no_database_find_that_of_the_running_app_dev() {
    let data_dir = data_dir();
    let jobs = || {
        let list = App::command(["jobs", "list", "-o", "json"]);
        list.env("APP_DATA_DIR", data_dir.to_str().unwrap()).run()
    };
    let (status, said) = jobs().await;
    assert!(!status.success() && !said.contains("using the database"), "{said}");
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let url = database_of(&app);
    assert!(app.output().contains(&format!("export DATABASE_URL={url}")), "{}", app.output());
    let (status, said) = jobs().await;
    assert!(status.success(), "{said}");
    let found = format!("using the database of 'app dev' in {}", data_dir.display());
    assert!(said.contains(&found), "{said}");
    // One that is named counts.
    let other = TestDb::without_schema().await;
    let named = App::command(["jobs", "list"]).env("APP_DATA_DIR", data_dir.to_str().unwrap());
    let (status, said) = named.env("DATABASE_URL", &other.url).run().await;
    assert!(!status.success() && !said.contains("using the database"), "{said}");

    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success(), "{}", app.output());
    let (status, said) = jobs().await;
    assert!(!status.success() && !said.contains("using the database"), "{said}");
}

#[tokio::test]
async fn ctrl_c_drains_stops_postgresql_and_says_what_was_done() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let server = server_pid(&data_dir).unwrap();
    assert_ne!(ps("pgid", server), ps("pgid", app.pid()), "Ctrl-C must not reach the server");
    // As a terminal does it: the whole group gets the signal.
    app.signal_group(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success(), "{}", app.output());
    let said = app.output();
    assert!(said.contains("webhooks accepted") && said.contains("jobs done"), "{said}");
    assert!(!is_running(server));
    assert_eq!(server_pid(&data_dir), None, "a clean stop leaves no postmaster.pid");
    let log = std::fs::read_to_string(data_dir.join("server.log")).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
}

#[tokio::test]
async fn what_is_not_settled_yet_is_counted_at_the_end_and_settled_after_the_next_start() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir).env("APP_SETTLE_DELAY", "1h").spawn();
    app.wait_for_line("Ready in").await;
    let webhook = r#"{"transaction_id": "txn_1", "source_account": "a", "destination_account": "b",
        "amount": "15.00", "currency": "EUR"}"#;
    let url = word_after(&app, "API ");
    let request = reqwest::Client::new().post(url).header("content-type", "application/json");
    assert_eq!(request.body(webhook).send().await.unwrap().status(), 202);
    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success());
    let said = app.wait_for_line("Stopped after").await;
    assert!(said.contains("1 webhooks accepted, 0 jobs done, 1 jobs waiting"), "{said}");

    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
    sqlx::query("update queue.jobs set run_at = now()").execute(&mut conn).await.unwrap();
    app.wait_for_line("done in").await;
    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success());
    let said = app.wait_for_line("Stopped after").await;
    // The settlement, and maybe the job that tells others.
    let done = ["1 jobs done", "2 jobs done"];
    assert!(
        done.iter().any(|done| said.contains(done)) && said.contains("The data stays"),
        "{said}"
    );
}

#[tokio::test]
async fn a_second_start_keeps_the_data() {
    let data_dir = data_dir();
    leave_a_mark(&data_dir, Signal::Terminate).await;
    assert_marked(&data_dir).await;
}

#[tokio::test]
async fn a_start_after_kill_9_keeps_the_data() {
    let data_dir = data_dir();
    leave_a_mark(&data_dir, Signal::Kill).await;
    assert_marked(&data_dir).await;
}

#[tokio::test]
async fn fresh_deletes_what_was_before_with_consent_only() {
    let data_dir = data_dir();
    leave_a_mark(&data_dir, Signal::Terminate).await;
    std::fs::write(data_dir.join("bank.jsonl"), "").unwrap();

    let (status, output) = fresh(&data_dir, &[]).run().await;
    assert!(!status.success() && output.contains("add --yes to do it"), "{output}");
    let elsewhere = ["dev", "--fresh", "--yes", "--database-url", "postgres://x/y"];
    let listen = ["--listen", "127.0.0.1:0"];
    let (status, output) = App::command([&elsewhere[..], &listen].concat()).run().await;
    assert!(!status.success() && output.contains("leave out --database-url"), "{output}");
    assert!(data_dir.join("bank.jsonl").exists());
    assert_marked(&data_dir).await;

    let mut app = fresh(&data_dir, &["--yes"]).spawn();
    app.wait_for_line("Ready in").await;
    let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
    let is_marked: bool = sqlx::query_scalar("select to_regclass('mark') is not null")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(!is_marked);
    sqlx::query("select from queue.jobs").execute(&mut conn).await.unwrap();
}

#[tokio::test]
async fn data_of_before_the_first_release_is_named_and_fresh_begins_anew() {
    let data_dir = data_dir();
    let cluster = Cluster::start(throwaway(data_dir.to_owned(), Lifetime::OfThisProcess));
    let cluster = cluster.await.unwrap();
    cluster.ensure_database("surety").await.unwrap();
    let mut conn = PgConnection::connect(&cluster.url("surety")).await.unwrap();
    let old = "create schema queue; create table queue.jobs (id bigint)";
    sqlx::raw_sql(old).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    cluster.stop().await;

    let (status, output) = dev(&data_dir).run().await;
    assert_eq!(status.code(), Some(8), "{output}");
    assert!(output.contains("start 'app dev --fresh'"), "{output}");
    let mut app = fresh(&data_dir, &["--yes"]).spawn();
    app.wait_for_line("Ready in").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn kill_9_of_the_app_ends_its_server() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let server = server_pid(&data_dir).unwrap();
    app.kill().await;
    eventually("the server ends", || !is_running(server)).await;
}

#[tokio::test]
async fn a_start_beside_an_orphaned_server_takes_over_its_data() {
    let data_dir = data_dir();
    leave_a_mark(&data_dir, Signal::Terminate).await;
    let orphan = Cluster::start(ClusterSettings {
        access: Access::SocketAndLoopback,
        ..throwaway(data_dir.to_owned(), Lifetime::UntilStopped)
    });
    let orphan_pid = orphan.await.unwrap().pid();
    assert!(is_running(orphan_pid));
    assert_marked(&data_dir).await;
    assert!(!is_running(orphan_pid));
}

#[tokio::test]
async fn a_busy_port_is_one_sentence_and_touches_nothing() {
    let data_dir = data_dir();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = failure(command(&data_dir, &address)).await;
    assert!(
        said.starts_with(&format!("error: cannot listen on {address}: stop what uses it")),
        "{said}"
    );
    assert!(said.contains("Address already in use"), "{said}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_second_app_on_the_folder_is_told_who_has_it() {
    let data_dir = data_dir();
    let mut first = dev(&data_dir).spawn();
    first.wait_for_line("Ready in").await;
    let said = failure(dev(&data_dir)).await;
    assert_eq!(
        said,
        format!(
            "error: the data folder {} is in use by another 'app dev' (process {}): \
             stop that first, or choose another --data-dir",
            data_dir.display(),
            first.pid()
        )
    );
    reqwest::get(api_of(&first)).await.expect("the first one runs on");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_one_sentence() {
    let dir = scratch_dir();
    let file = dir.join("file");
    std::fs::write(&file, "").unwrap();
    let said = failure(dev(&file.join("data"))).await;
    assert!(said.starts_with("error: cannot use the data folder: "), "{said}");
    assert!(said.ends_with("make it writable, or choose another --data-dir"), "{said}");
}

#[tokio::test]
async fn a_folder_without_write_permission_is_one_sentence() {
    let dir = scratch_dir();
    std::fs::set_permissions(&*dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let said = failure(as_ordinary_user(&dir.join("data"))).await;
    assert!(said.contains(&dir.display().to_string()), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert!(said.ends_with("make it writable, or choose another --data-dir"), "{said}");
}

#[tokio::test]
async fn an_ordinary_user_runs_the_server_as_itself() {
    let dir = scratch_dir();
    if is_root() {
        chown(&*dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let data_dir = dir.join("data");
    let mut app = as_ordinary_user(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let server = server_pid(&data_dir).unwrap();
    let owner_of = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).map(|proc| proc.uid());
    if let (Ok(app), Ok(server)) = (owner_of(app.pid()), owner_of(server)) {
        assert_eq!(app, server);
        assert_ne!(server, 0);
    }
    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_folder_of_somebody_else_names_them() {
    if !is_root() {
        return;
    }
    let data_dir = data_dir();
    leave_a_mark(&data_dir, Signal::Terminate).await;
    let said = failure(as_ordinary_user(&data_dir)).await;
    assert!(said.contains("belongs to user "), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
}

#[tokio::test]
async fn a_foreign_locale_and_postgresql_variables_do_no_harm() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir)
        .env("LANG", "xx_YY.UTF-8")
        .env("LC_ALL", "xx_YY")
        .env("PGDATA", "/nonexistent")
        .env("PGPORT", "1")
        .env("PGHOST", "nowhere.invalid")
        .env("PGSSLMODE", "verify-full")
        .spawn();
    app.wait_for_line("Ready in").await;
}

#[tokio::test]
async fn a_database_is_given_by_flag_only_and_then_has_no_simulated_bank() {
    let db = TestDb::without_schema().await;
    let given = ["dev", "--listen", "127.0.0.1:0", "--database-url", &db.url];
    let mut app = App::command(given).spawn();
    app.wait_for_line("Ready in").await;
    sqlx::query("select from queue.jobs").execute(&db.pool).await.expect("it was migrated");
    let said = app.output();
    assert!(said.contains("Bank        none") && !said.contains("simulated"), "{said}");
    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success());

    let with_bank = [&given[..], &["--bank-url", "http://127.0.0.1:9"]].concat();
    let mut app = App::command(with_bank).spawn();
    app.wait_for_line("the one of APP_BANK_URL").await;
}

#[tokio::test]
async fn no_database_that_the_environment_names_is_touched() {
    let db = TestDb::without_schema().await;
    let scratch = scratch_dir();
    let dir_of = |name: &str| {
        let dir = scratch.join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    };
    let (exported, written, in_file) = (dir_of("exported"), dir_of("written"), dir_of("in_file"));
    std::fs::write(written.join(".env"), format!("DATABASE_URL={}\n", db.url)).unwrap();
    let url_file = in_file.join("url");
    std::fs::write(&url_file, &db.url).unwrap();
    let named = [
        dev(&exported.join("data")).env("DATABASE_URL", &db.url),
        dev(&written.join("data")).dir(&written),
        dev(&in_file.join("data")).env("DATABASE_URL_FILE", &url_file),
        // Whatever gives the place of the data, it is the place.
        App::command(["dev", "--no-download", "--listen", "127.0.0.1:0"])
            .env("APP_DATA_DIR", dir_of("placed").join("data"))
            .env("DATABASE_URL", &db.url)
            .env("APP_DATABASE_DIRECT_URL", &db.url),
        App::command(args(&dir_of("flagged").join("data"), "127.0.0.1:0"))
            .args(["--database-url", &db.url]),
    ];
    for command in named {
        let mut app = command.spawn();
        app.wait_for_line("Ready in").await;
        let said = app.output();
        assert!(said.contains("is not used"), "{said}");
        assert!(said.contains("simulated, with failures on purpose"), "{said}");
        let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
        sqlx::query("select from queue.jobs").execute(&mut conn).await.unwrap();
    }
    let untouched = "select to_regnamespace('queue') is null";
    let untouched: bool = sqlx::query_scalar(untouched).fetch_one(&db.pool).await.unwrap();
    assert!(untouched);
}

#[tokio::test]
async fn addresses_beyond_loopback_are_refused() {
    let data_dir = data_dir();
    let said = failure(command(&data_dir, "0.0.0.0:0")).await;
    assert!(
        said.starts_with("error: without a webhook secret 'app dev' listens on loopback"),
        "{said}"
    );
    assert!(said.contains("--listen 127.0.0.1"), "{said}");
}

#[tokio::test]
async fn the_end_of_its_server_ends_the_app_with_one_sentence() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    send_signal(server_pid(&data_dir).unwrap(), Signal::Kill);
    let status = app.wait_for_exit().await;
    assert_eq!(status.code(), Some(1));
    let said = app.output();
    assert!(said.contains("error: the private PostgreSQL ended by itself"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    dev(&data_dir).spawn().wait_for_line("Ready in").await;
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let data_dir = data_dir();
    let mut app = dev(&data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let server = server_pid(&data_dir).unwrap();
    // A server that does not end keeps the app waiting.
    send_signal(server, Signal::Stop);
    app.signal(Signal::Interrupt);
    app.wait_for_line("Stopping").await;
    let began = Instant::now();
    app.signal(Signal::Interrupt);
    let status = app.wait_for_exit().await;
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    send_signal(server, Signal::Continue);
    eventually("the server ends", || !is_running(server)).await;
}

#[tokio::test]
async fn no_binaries_and_no_download_name_the_install_command() {
    let Some(hidden) = without_binaries(&["dev", "--no-download", "--listen", "127.0.0.1:0"])
    else {
        return;
    };
    let said = failure(hidden).await;
    assert!(
        said.starts_with(
            "error: no PostgreSQL binaries were found (--no-download was given): install it"
        ),
        "{said}"
    );
}

/// Needs a machine without a network, or with a broken one; so a network of its own that leads
/// nowhere.
#[tokio::test]
async fn no_binaries_and_no_network_name_the_install_command() {
    let Some(hidden) = without_binaries(&["dev", "--listen", "127.0.0.1:0"]) else { return };
    let mut app = hidden.spawn();
    let status = app.wait_for_exit().await;
    assert!(!status.success());
    let said = app.output();
    assert!(said.contains("no PostgreSQL on this machine: fetching version"), "{said}");
    assert!(said.contains("error: cannot fetch PostgreSQL"), "{said}");
    assert!(said.contains("install it") && !said.contains("panicked"), "{said}");
    assert_eq!(said.lines().count(), 3, "what it begins, what it fetches, why it cannot:\n{said}");
}

fn dev(data_dir: &Path) -> AppCommand {
    command(data_dir, "127.0.0.1:0")
}

fn fresh(data_dir: &Path, more: &[&str]) -> AppCommand {
    let flags = ["--fresh"].iter().chain(more).map(|&flag| flag.to_owned());
    App::command(args(data_dir, "127.0.0.1:0").into_iter().chain(flags))
}

fn command(data_dir: &Path, listen: &str) -> AppCommand {
    App::command(args(data_dir, listen))
}

fn args(data_dir: &Path, listen: &str) -> Vec<String> {
    let data_dir = data_dir.to_str().unwrap();
    ["dev", "--no-download", "--data-dir", data_dir, "--listen", listen].map(String::from).into()
}

/// `app dev` as a user who is not root: as ourselves, unless we are.
fn as_ordinary_user(data_dir: &Path) -> AppCommand {
    if !is_root() {
        return dev(data_dir);
    }
    // The target folder may be closed to others. One copy for all tests, which goes when the run
    // ends.
    static COPY: LazyLock<PathBuf> = LazyLock::new(|| {
        let dir = ManuallyDrop::new(scratch_dir());
        let copy = dir.join("app");
        std::fs::copy(env!("CARGO_BIN_EXE_app"), &copy).unwrap();
        copy
    });
    App::command_of(COPY.as_path(), args(data_dir, "127.0.0.1:0")).user(NOBODY, NOBODY)
}

/// The binary where no PostgreSQL is installed and no network leads anywhere: in a namespace of its
/// own, with empty folders over the packages. `None` where that is not allowed.
fn without_binaries(args: &[&str]) -> Option<AppCommand> {
    // Nothing is made there.
    const DATA_DIR: &str = "/tmp/surety-nothing-here";
    let script = "set -e
        mount -t tmpfs none /usr/lib/postgresql
        for dir in /usr/local/bin /usr/local/pgsql /usr/bin/pg_config; do
          [ ! -d $dir ] || mount -t tmpfs none $dir
        done
        [ ! -e /usr/bin/pg_config ] || mount --bind /bin/false /usr/bin/pg_config
        exec \"$@\"";
    let unshare = ["-m", "-n", "sh", "-c", script, "sh"];
    let possible = Command::new("unshare").args(unshare).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs root and namespaces");
        return None;
    }
    let app = [env!("CARGO_BIN_EXE_app")].into_iter().chain(args.iter().copied());
    let all = unshare.into_iter().chain(app).chain(["--data-dir", DATA_DIR]);
    // Nor where the tests have theirs from.
    Some(App::command_of("unshare", all).env_remove("APP_PG_BIN"))
}

/// A data folder that does not exist yet. Removed with this value, which is made before the app and
/// so goes after it.
struct DataDir {
    path: PathBuf,
    _scratch: ScratchDir,
}

impl Deref for DataDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

fn data_dir() -> DataDir {
    let scratch = scratch_dir();
    DataDir { path: scratch.join("data"), _scratch: scratch }
}

/// Runs a command that must fail, and gives the error that it ends with.
async fn failure(command: AppCommand) -> String {
    let (status, said) = command.run().await;
    assert!(!status.success() && status.code().is_some(), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let error = said.find("error: ").unwrap_or_else(|| panic!("no error in: {said}"));
    said[error..].to_owned()
}

/// Starts the app, commits a row and ends it with a signal.
async fn leave_a_mark(data_dir: &Path, signal: Signal) {
    let mut app = dev(data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
    sqlx::query("create table mark as select 42 as answer").execute(&mut conn).await.unwrap();
    app.signal(signal);
    app.wait_for_exit().await;
}

async fn assert_marked(data_dir: &Path) {
    let mut app = dev(data_dir).spawn();
    app.wait_for_line("Ready in").await;
    let mut conn = PgConnection::connect(&database_of(&app)).await.unwrap();
    let answer: i32 =
        sqlx::query_scalar("select answer from mark").fetch_one(&mut conn).await.unwrap();
    assert_eq!(answer, 42);
}

/// The URL to paste into psql.
fn database_of(app: &App) -> String {
    word_after(app, "psql ")
}

fn api_of(app: &App) -> String {
    word_after(app, "API ").replace("/v1/webhooks/transactions", "/")
}

fn word_after(app: &App, mark: &str) -> String {
    let lines = app.lines();
    let line = lines.iter().find(|line| line.contains(mark)).unwrap();
    line.split_once(mark).unwrap().1.split_whitespace().next().unwrap().to_owned()
}

fn server_pid(data_dir: &Path) -> Option<i32> {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    file.lines().next()?.parse().ok()
}

fn is_running(pid: i32) -> bool {
    let state = ps("stat", pid);
    !state.is_empty() && !state.starts_with('Z')
}

fn ps(column: &str, pid: i32) -> String {
    let column = format!("{column}=");
    let output = Command::new("ps").args(["-o", &column, "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
