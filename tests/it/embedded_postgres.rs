//! The private PostgreSQL: it starts after any kind of end of the one before, and never twice.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use sqlx::{Connection as _, PgConnection};
use surety_postgres::embedded::{
    Access, Cluster, ClusterError, ClusterSettings, Durability, Lifetime,
};

use crate::support::{
    Signal, TestCluster, TestDb, eventually, is_root, migrated, scratch_dir, send_signal, throwaway,
};

#[tokio::test]
async fn a_test_database_has_the_schema_and_no_rows() {
    let db = TestDb::new().await;
    let (migrations, jobs): (i64, i64) = sqlx::query_as(
        "select (select count(*) from surety.schema_migrations), (select count(*) from queue.jobs)",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!(migrations > 0);
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn test_databases_do_not_see_each_other() {
    let (one, other) = tokio::join!(TestDb::new(), TestDb::new());
    sqlx::query("create table here ()").execute(&one.pool).await.unwrap();
    sqlx::query("create table here ()").execute(&other.pool).await.unwrap();
}

#[tokio::test]
async fn a_cluster_keeps_what_was_committed_over_an_immediate_stop() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "app").await;
    sqlx::query("create table kept as select 42 as answer").execute(&pool).await.unwrap();
    cluster.stop_immediate().await;
    sqlx::query("select 1").execute(&pool).await.expect_err("the server is gone");
    cluster.start_again().await;
    let answer: i32 = sqlx::query_scalar("select answer from kept").fetch_one(&pool).await.unwrap();
    assert_eq!(answer, 42);
}

#[tokio::test]
async fn a_durable_cluster_syncs_and_asks_for_a_password_over_tcp_only() {
    let dir = scratch_dir();
    let settings = ClusterSettings {
        durability: Durability::Durable,
        access: Access::SocketAndLoopback,
        ..settings(&dir.join("c"))
    };
    let cluster = Cluster::start(settings).await.unwrap();
    let pasted = cluster.tcp_url("postgres").unwrap();
    let (fsync, checksums): (String, String) =
        sqlx::query_as("select current_setting('fsync'), current_setting('data_checksums')")
            .fetch_one(&mut PgConnection::connect(&pasted).await.unwrap())
            .await
            .unwrap();
    assert_eq!((fsync.as_str(), checksums.as_str()), ("on", "on"));

    let password = cluster.data_dir().join("password");
    let known = std::fs::read_to_string(&password).unwrap();
    let without = pasted.replace(&known, "guessed");
    PgConnection::connect(&without).await.expect_err("the password is wrong");
    PgConnection::connect(&cluster.url("postgres")).await.expect("the socket needs none");
    assert_eq!(mode(&password), 0o600);
    assert_eq!(mode(&cluster.log()), 0o600);
    assert_eq!(mode(&cluster.data_dir().join("socket")), 0o700);
    cluster.stop().await;
}

#[tokio::test]
async fn the_tcp_port_and_the_password_stay_the_same_over_starts() {
    let dir = scratch_dir();
    let settings =
        ClusterSettings { access: Access::SocketAndLoopback, ..settings(&dir.join("c")) };
    let cluster = Cluster::start(settings.clone()).await.unwrap();
    let first = cluster.tcp_url("postgres");
    cluster.stop().await;
    let cluster = Cluster::start(settings.clone()).await.unwrap();
    assert_eq!(cluster.tcp_url("postgres"), first);
    cluster.stop().await;

    // Unless somebody has taken the port.
    let port: u16 =
        std::fs::read_to_string(settings.data_dir.join("port")).unwrap().parse().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let cluster = Cluster::start(settings).await.unwrap();
    let url = cluster.tcp_url("postgres").unwrap();
    assert_ne!(Some(&url), first.as_ref());
    PgConnection::connect(&url).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_left_behind_is_ended_and_its_data_kept() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    let orphan = ClusterSettings { lifetime: Lifetime::UntilStopped, ..settings.clone() };
    let cluster = Cluster::start(orphan).await.unwrap();
    let mut conn = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::query("create table kept ()").execute(&mut conn).await.unwrap();
    let orphan_pid = cluster.pid();
    // Gives up the lock and leaves the server running, as the death of the process would.
    drop(cluster);
    assert!(is_alive(orphan_pid));

    let cluster = Cluster::start(settings).await.unwrap();
    assert!(!is_alive(orphan_pid));
    assert_ne!(cluster.pid(), orphan_pid);
    let mut conn = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::query("select from kept").execute(&mut conn).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    Cluster::start(settings.clone()).await.unwrap().stop().await;
    let mut stranger = command_as_owner_of("sleep", &pgdata(&settings));
    let mut stranger = Killed(stranger.arg("600").spawn().unwrap());
    write_pid_file(&settings, stranger.0.id());

    let cluster = Cluster::start(settings).await.unwrap();
    assert!(stranger.0.try_wait().unwrap().is_none(), "the stranger was left alone");
    cluster.stop().await;
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_zombie_is_no_obstacle() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    Cluster::start(settings.clone()).await.unwrap().stop().await;
    let mut zombie = command_as_owner_of("true", &pgdata(&settings));
    let zombie = Killed(zombie.spawn().unwrap());
    write_pid_file(&settings, zombie.0.id());
    Cluster::start(settings).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_killed_server_starts_again_once_its_last_session_is_gone() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    let cluster = Cluster::start(settings.clone()).await.unwrap();
    let mut conn = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::query("create table kept ()").execute(&mut conn).await.unwrap();
    let session: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
    // A session that does not notice the end of its server holds on to the shared memory.
    send_signal(session, Signal::Stop);
    let log = cluster.log();
    send_signal(cluster.pid(), Signal::Kill);
    cluster.exited().await;
    drop(cluster);

    let start = tokio::spawn(Cluster::start(settings));
    eventually("the start meets the session", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("pre-existing shared memory"))
    })
    .await;
    send_signal(session, Signal::Continue);
    let cluster = start.await.unwrap().unwrap();
    let mut conn = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::query("select from kept").execute(&mut conn).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn half_an_initdb_is_cleared_away() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    let half = settings.data_dir.join("postgres.new-1");
    std::fs::create_dir_all(&half).unwrap();
    open_to_server(&settings.data_dir);
    std::fs::write(half.join("PG_VERSION"), "15").unwrap();
    let cluster = Cluster::start(settings).await.unwrap();
    assert!(!half.exists());
    cluster.stop().await;
}

#[tokio::test]
async fn of_two_starts_at_once_one_runs_and_the_other_says_who_has_the_folder() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    let (one, other) =
        tokio::join!(Cluster::start(settings.clone()), Cluster::start(settings.clone()));
    let (winner, loser) = match (one, other) {
        (Ok(winner), Err(loser)) | (Err(loser), Ok(winner)) => (winner, loser),
        (Ok(_), Ok(_)) => panic!("two servers on one folder"),
        (Err(one), Err(other)) => panic!("{one}; {other}"),
    };
    assert!(matches!(loser, ClusterError::InUse { .. }), "{loser}");
    winner.stop().await;
    Cluster::start(settings).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_folder_too_deep_for_a_socket_has_it_elsewhere() {
    let dir = scratch_dir();
    let deep = dir.join("a-rather-long-name-for-a-folder".repeat(4));
    let cluster = Cluster::start(settings(&deep)).await.unwrap();
    assert!(!deep.join("socket").exists());
    PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_cancelled_start_leaves_no_server() {
    let dir = scratch_dir();
    let settings = settings(&dir.join("c"));
    Cluster::start(settings.clone()).await.unwrap().stop().await;
    // Cancelled at several moments; one of them is while the server recovers.
    for millis in [1, 5, 20, 50] {
        let moment = std::time::Duration::from_millis(millis);
        let _ = tokio::time::timeout(moment, Cluster::start(settings.clone())).await;
        // One that was interrupted before it could handle signals leaves its file behind, which
        // the next start clears away.
        let pid_file = pgdata(&settings).join("postmaster.pid");
        eventually("the server is gone", || {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            text.lines().next().is_none_or(|pid| !Path::new("/proc").join(pid).exists())
        })
        .await;
    }
    Cluster::start(settings).await.unwrap().stop().await;
}

#[tokio::test]
async fn root_hands_the_server_to_another_user() {
    let dir = scratch_dir();
    if !is_root() {
        return;
    }
    let cluster = Cluster::start(settings(&dir.join("c"))).await.unwrap();
    let owner = std::fs::metadata(format!("/proc/{}", cluster.pid())).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(cluster.pgdata().metadata().unwrap().uid(), owner);
    cluster.stop().await;
}

#[tokio::test]
async fn root_is_told_which_folder_keeps_the_server_out() {
    if !is_root() {
        return;
    }
    let dir = scratch_dir();
    let closed = dir.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = Cluster::start(settings(&closed.join("c"))).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&format!("cannot enter {}", closed.display())), "{said}");
    assert!(!closed.join("c").exists(), "nothing is left behind");
    assert!(said.contains("--data-dir"), "{said}");
}

fn settings(data_dir: &Path) -> ClusterSettings {
    throwaway(data_dir.to_owned(), Lifetime::OfThisProcess)
}

fn pgdata(settings: &ClusterSettings) -> PathBuf {
    settings.data_dir.join("postgres")
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// A folder that the test makes in place of the cluster must let the server's user through, as the
/// cluster's does.
fn open_to_server(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).unwrap();
}

/// What a server leaves when it is killed: its file, with a number that may be anybody's by now.
fn write_pid_file(settings: &ClusterSettings, pid: u32) {
    let pgdata = pgdata(settings);
    let socket_dir = settings.data_dir.join("socket");
    let text = format!(
        "{pid}\n{}\n1700000000\n5432\n{}\n\n  1 2\nready   \n",
        pgdata.display(),
        socket_dir.display()
    );
    std::fs::write(pgdata.join("postmaster.pid"), text).unwrap();
    std::fs::write(socket_dir.join(".s.PGSQL.5432.lock"), format!("{pid}\n")).unwrap();
}

/// PostgreSQL takes only processes of its own user for its predecessor.
fn command_as_owner_of(program: &str, path: &Path) -> Command {
    let owner = path.metadata().unwrap();
    let mut command = Command::new(program);
    command.current_dir("/");
    if is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command
}

fn is_alive(pid: i32) -> bool {
    let status = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).trim().to_owned();
    !status.is_empty() && !status.starts_with('Z')
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
