//! A PgBouncer of one's own.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;

use super::is_root;
use super::process::Process;
use super::shared_cluster::{ScratchDir, scratch_dir};

/// A PgBouncer in transaction mode on a free port of this machine, in front of one server. It ends
/// with this value.
pub struct PgBouncer {
    /// The same database as behind it.
    pub url: String,
    process: Process,
    config: PathBuf,
    /// The user that runs it: the owner of the server's socket, if we are root.
    user: Option<(u32, u32)>,
    _dir: ScratchDir,
}

/// The settings that a test wants to differ from the defaults.
#[derive(Clone, Copy, Default)]
pub struct PgBouncerSettings {
    /// Connections to the server, for all clients. None: 3.
    pub servers: Option<u32>,
    /// Parameters that are dropped without a word instead of being refused.
    pub ignored_parameters: &'static str,
}

impl PgBouncer {
    /// Starts one in front of the server of this URL, whose socket is in a folder.
    pub async fn start(database_url: &str, settings: PgBouncerSettings) -> Self {
        let behind = PgConnectOptions::from_str(database_url).unwrap();
        let folder = behind.get_socket().expect("the tests' servers have sockets").clone();
        let dir = scratch_dir();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.join("pgbouncer.ini");
        std::fs::write(&config, config_of(&behind, &folder, port, settings)).unwrap();
        // It refuses to run as root, and the socket is its owner's.
        let owner = folder.metadata().unwrap();
        let user = is_root().then(|| (owner.uid(), owner.gid()));
        let process = run(&config, user).await;
        let (role, database) = (behind.get_username(), behind.get_database().unwrap());
        Self {
            url: format!("postgres://{role}@127.0.0.1:{port}/{database}?sslmode=disable"),
            process,
            config,
            user,
            _dir: dir,
        }
    }

    /// `kill -9`, and another one in its place.
    pub async fn kill_and_start_again(&mut self) {
        self.process.kill().await;
        self.process = run(&self.config, self.user).await;
    }

    /// Everything that it has said so far.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

async fn run(config: &Path, user: Option<(u32, u32)>) -> Process {
    let mut command = Process::command_of(program(), [config]);
    if let Some((uid, gid)) = user {
        command = command.user(uid, gid);
    }
    let mut process = command.spawn();
    process.wait_for_line("process up").await;
    process
}

fn config_of(
    behind: &PgConnectOptions,
    folder: &Path,
    port: u16,
    settings: PgBouncerSettings,
) -> String {
    let mut config = String::new();
    let (user, server_port) = (behind.get_username(), behind.get_port());
    let folder = folder.display();
    let servers = settings.servers.unwrap_or(3);
    let ignored = settings.ignored_parameters;
    write!(
        config,
        "[databases]
         * = host={folder} port={server_port} user={user}
         [pgbouncer]
         listen_addr = 127.0.0.1
         listen_port = {port}
         unix_socket_dir =
         auth_type = any
         pool_mode = transaction
         default_pool_size = {servers}
         max_client_conn = 1000
         ignore_startup_parameters = {ignored}
         log_connections = 0
         log_disconnections = 0
         log_stats = 0
         "
    )
    .unwrap();
    // Its parser knows no indentation.
    config.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// The program, as the distribution's package installs it.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .expect("these tests need PgBouncer, which is not installed: apt-get install pgbouncer")
}
