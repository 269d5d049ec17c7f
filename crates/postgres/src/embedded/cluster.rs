//! One private cluster, from nothing to a database URL.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::error::ClusterError;
use super::folder::Folder;
use super::initdb;
use super::locate::Binaries;
use super::server::{self, Server};
use super::server_user::ServerUser;

/// The port in the socket's name when there is no TCP.
const SOCKET_PORT: u16 = 5432;
/// Attempts at a start when somebody took the port, or when sessions of a killed server are not
/// gone yet.
const START_ATTEMPTS: u32 = 40;
/// Between two of them.
const START_RETRY: std::time::Duration = std::time::Duration::from_millis(250);

/// The promise of the cluster for a loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Commits survive: `fsync` is on, as in production.
    Durable,
    /// Nothing: `fsync` off, for tests. A crash of processes alone still loses nothing.
    Throwaway,
}

/// The way in which the cluster can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// By a unix socket in a closed folder only; takes no port.
    Socket,
    /// By that socket, and by TCP on the loopback address with a password, for programs of any
    /// user.
    SocketAndLoopback,
}

/// The time for which the server runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// It ends with this process (on Linux also after `kill -9`) or with the [`Cluster`], whichever
    /// is first.
    OfThisProcess,
    /// It runs until somebody stops it.
    UntilStopped,
}

/// The settings of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The folder of all files; made when missing.
    pub data_dir: PathBuf,
    /// The programs to run, from [`find_or_fetch`](super::locate::find_or_fetch).
    pub binaries: Binaries,
    /// Survives a power cut or not.
    pub durability: Durability,
    /// Socket, or TCP too.
    pub access: Access,
    /// Ends with this process or not.
    pub lifetime: Lifetime,
    /// Upper bound of connections.
    pub max_connections: u32,
}

/// A running private cluster.
#[derive(Debug)]
pub struct Cluster {
    // The server is declared, and so dropped, before the folder with its lock: nobody else gets in
    // while it ends.
    server: Server,
    folder: Folder,
    binaries: Binaries,
    port: u16,
    password: Option<String>,
}

impl Cluster {
    /// Starts the cluster in the data folder, after making it if need be, and after clearing up
    /// whatever an earlier process left there. Cancelling the future stops what was started.
    ///
    /// # Errors
    ///
    /// Any [`ClusterError`] but those about finding binaries.
    pub async fn start(settings: ClusterSettings) -> Result<Self, ClusterError> {
        let user = ServerUser::of(&super::folder::pgdata_of(&settings.data_dir))?;
        let folder = Folder::open(&settings.data_dir, &user)?;
        initdb::create_if_missing(&folder, &settings.binaries, &user, settings.durability).await?;
        server::end_orphan(folder.dir(), &folder.pgdata()).await?;
        let (server, port) = start_server(&settings, &folder, &user).await?;
        let mut cluster =
            Self { server, folder, binaries: settings.binaries, port, password: None };
        if settings.access == Access::SocketAndLoopback {
            cluster.set_password().await?;
        }
        Ok(cluster)
    }

    /// The URL of a database in this cluster, by the unix socket: faster than TCP, and the folder
    /// of the socket is the only authentication it needs. For our own processes.
    pub fn url(&self, database: &str) -> String {
        socket_url(self.folder.socket_dir(), self.port, database)
    }

    /// The URL by TCP with its password, for people and other programs; `None` when the cluster has
    /// no TCP.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let password = self.password.as_deref()?;
        Some(format!("postgres://postgres:{password}@127.0.0.1:{}/{database}", self.port))
    }

    /// The folder that holds everything.
    pub fn data_dir(&self) -> &Path {
        self.folder.dir()
    }

    /// The data folder of the server (PGDATA).
    pub fn pgdata(&self) -> PathBuf {
        self.folder.pgdata()
    }

    /// The log of the server.
    pub fn log(&self) -> PathBuf {
        self.folder.log()
    }

    /// The server's process.
    pub fn pid(&self) -> i32 {
        self.server.pid()
    }

    /// The binaries that it runs from.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Makes a database, unless it exists.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Database`].
    pub async fn ensure_database(&self, name: &str) -> Result<(), ClusterError> {
        if self.has_database(name).await? {
            return Ok(());
        }
        self.administer(format!("create database {}", quoted(name))).await
    }

    /// True if there is such a database.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Database`].
    pub async fn has_database(&self, name: &str) -> Result<bool, ClusterError> {
        let mut conn = PgConnection::connect(&self.url("postgres")).await?;
        let exists =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut conn)
                .await?;
        conn.close().await?;
        Ok(exists)
    }

    /// Deletes a database if it exists, and ends all connections to it.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Database`].
    pub async fn drop_database(&self, name: &str) -> Result<(), ClusterError> {
        self.administer(format!("drop database if exists {} with (force)", quoted(name))).await
    }

    async fn administer(&self, statement: String) -> Result<(), ClusterError> {
        let mut conn = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Returns when the server has ended, for whatever reason.
    pub async fn exited(&self) {
        self.server.exited().await;
    }

    /// Asks the server to end, without waiting: for the last moment before an exit.
    pub fn ask_to_stop(&self) {
        self.server.ask_to_stop();
    }

    /// Stops the server and gives the folder free.
    pub async fn stop(self) {
        self.server.stop().await;
    }

    /// Stops the server as a crash would; the next start on the folder recovers.
    pub async fn stop_immediately(self) {
        self.server.stop_immediately().await;
    }

    /// The password is set at every start, so that the file is right even after it was deleted or a
    /// start was cut short.
    async fn set_password(&mut self) -> Result<(), ClusterError> {
        let password = self.folder.password()?;
        let mut conn = PgConnection::connect(&self.url("postgres")).await?;
        // Utility statements take no parameters; the password is hexadecimal, `Folder::password`
        // sees to that.
        let alter = format!("alter role postgres password '{password}'");
        sqlx::query(AssertSqlSafe(alter)).execute(&mut conn).await?;
        conn.close().await?;
        self.password = Some(password);
        Ok(())
    }
}

/// The URL of a database by the unix socket in `socket_dir`.
/// An identifier as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn socket_url(socket_dir: &Path, port: u16, database: &str) -> String {
    let mut host = String::new();
    for byte in socket_dir.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                host.push(char::from(*byte));
            }
            _ => host.push_str(&format!("%{byte:02X}")),
        }
    }
    // A PGSSLMODE in our environment would ask the socket for TLS, which it cannot do.
    format!("postgres://postgres@{host}:{port}/{database}?sslmode=disable")
}

async fn start_server(
    settings: &ClusterSettings,
    folder: &Folder,
    user: &ServerUser,
) -> Result<(Server, u16), ClusterError> {
    let mut attempt = 1;
    loop {
        let port = match settings.access {
            Access::Socket => SOCKET_PORT,
            Access::SocketAndLoopback => folder.free_port()?,
        };
        let command = server_command(settings, folder, user, port);
        match Server::start(command, folder, settings.lifetime).await {
            Ok(server) => return Ok((server, port)),
            Err(ClusterError::Start { .. })
                if attempt < START_ATTEMPTS && failure_may_pass(folder) =>
            {
                attempt += 1;
                tokio::time::sleep(START_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Tells whether the server failed for a reason that goes away by itself: somebody took the port
/// between our look and its bind, or sessions of a server that was killed have not noticed yet.
fn failure_may_pass(folder: &Folder) -> bool {
    let log = std::fs::read_to_string(folder.log()).unwrap_or_default();
    log.contains("could not create any TCP/IP sockets")
        || log.contains("pre-existing shared memory block")
}

fn server_command(
    settings: &ClusterSettings,
    folder: &Folder,
    user: &ServerUser,
    port: u16,
) -> Command {
    let mut command = user.command(&settings.binaries.program("postgres"), folder.dir());
    let mut socket_dirs = OsString::from("unix_socket_directories=");
    socket_dirs.push(quoted_list_item(folder.socket_dir()));
    let listen = match settings.access {
        Access::Socket => "listen_addresses=",
        Access::SocketAndLoopback => "listen_addresses=127.0.0.1",
    };
    command.arg("-D").arg(folder.pgdata()).arg("-c").arg(socket_dirs);
    let mut set = |setting: &str| {
        command.args(["-c", setting]);
    };
    set(listen);
    set(&format!("port={port}"));
    set(&format!("max_connections={}", settings.max_connections));
    set("logging_collector=off");
    set("log_destination=stderr");
    if settings.durability == Durability::Throwaway {
        set("fsync=off");
        set("full_page_writes=off");
    }
    command
}

/// A path as one item of a list setting, in which commas and spaces mean something.
fn quoted_list_item(path: &Path) -> OsString {
    let mut quoted = OsString::from("\"");
    quoted.push(path.as_os_str().to_string_lossy().replace('"', "\"\""));
    quoted.push("\"");
    quoted
}
