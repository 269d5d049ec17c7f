//! One PostgreSQL for a whole test run.
//!
//! The first process that needs it starts it; processes beside it join (`cargo nextest` runs one
//! per test). It lives in memory where there is room, with fsync off.
//!
//! Who stops it? The processes may end in any order and by any signal. So each holds the write end
//! of a named pipe, and a small shell script reads the other: the system closes a dead process's
//! end, whatever it died of, and the script sees the end of the file when the last one is gone. It
//! waits a while for successors, then removes the pipe, so that nobody can join any more, waits for
//! whoever slipped in before that, and stops the server.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::process::SERVER_ENV;
use crate::embedded::locate::{self, Download};
use crate::embedded::{Access, Binaries, Cluster, ClusterSettings, Durability, Lifetime};
use sha2::{Digest as _, Sha256};

/// The memory that a run may need: the cluster, its log, and a dozen databases.
const ROOM_NEEDED_KIB: u64 = 1024 * 1024;

/// Argument 1 is the folder of the run. It ends about ten seconds after its last user.
const REAPER: &str = r#"
trap '' INT HUP TERM
exec 3<"$1/users"
idle=0
while [ $idle -lt 10 ]; do
  if [ -n "$(cat <&3)" ]; then idle=0; else idle=$((idle + 1)); sleep 1; fi
done
rm -f "$1/users"
cat <&3 >/dev/null
pid_file="$1/cluster/postgres/postmaster.pid"
kill -INT "$(head -n 1 "$pid_file")"
tries=0
while [ -e "$pid_file" ] && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
rm -rf "$1"
"#;

/// This process's share of the run.
pub(super) struct SharedCluster {
    dir: PathBuf,
    /// With `DATABASE` in place of the database.
    url: String,
    /// Held, not used: the process counts as a user while it is open.
    _membership: File,
}

impl SharedCluster {
    /// Joins the run or begins it. Blocks the thread, also against other processes.
    pub(super) fn join() -> Self {
        let base = base_dir();
        let _lock = lock(&base);
        let current = base.join("current");
        if let Ok(dir) = std::fs::read_to_string(&current) {
            let dir = PathBuf::from(dir);
            if let (Some(membership), Ok(url)) =
                (enter(&dir), std::fs::read_to_string(dir.join("url")))
            {
                return Self { dir, url, _membership: membership };
            }
        }
        remove_abandoned_runs(&base);
        let dir = make_run_dir(&base);
        std::fs::write(&current, dir.as_os_str().as_bytes()).unwrap();
        let membership = start_reaper(&dir);
        let url = start_server(&dir.join("cluster"));
        std::fs::write(dir.join("url"), &url).unwrap();
        Self { dir, url, _membership: membership }
    }

    /// The URL of a database.
    pub(super) fn url(&self, database: &str) -> String {
        self.url.replace("DATABASE", database)
    }

    /// Keeps other processes out while it is held.
    pub(super) fn lock(&self) -> File {
        lock(self.dir.parent().unwrap())
    }
}

/// The share of this process, made at the first call.
pub(super) fn shared() -> &'static SharedCluster {
    static SHARED: OnceLock<SharedCluster> = OnceLock::new();
    SHARED.get_or_init(SharedCluster::join)
}

/// A folder of one test; removed with this value, or at the latest when the test run ends.
pub struct ScratchDir(PathBuf);

impl Deref for ScratchDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // A server that is just ending may be writing; what is left then goes at the end of the
        // run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A new empty folder that any user can pass through, in memory where there is room.
pub fn scratch_dir() -> ScratchDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = shared().dir.join(format!("s{}-{number}", std::process::id()));
    DirBuilder::new().mode(0o711).create(&dir).unwrap();
    ScratchDir(dir)
}

/// The binaries that the tests run PostgreSQL from.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let no_cluster_yet = Path::new("/nonexistent");
        let found =
            locate::find_or_fetch(no_cluster_yet, Download::Allowed, |line| eprintln!("{line}"));
        runtime().block_on(found).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Settings for a cluster that must be fast and may be lost.
pub fn throwaway(data_dir: PathBuf, lifetime: Lifetime) -> ClusterSettings {
    ClusterSettings {
        data_dir,
        binaries: binaries().clone(),
        durability: Durability::Throwaway,
        access: Access::Socket,
        lifetime,
        max_connections: 300,
    }
}

fn start_server(data_dir: &Path) -> String {
    let settings = throwaway(data_dir.to_owned(), Lifetime::UntilStopped);
    let cluster = runtime()
        .block_on(Cluster::start(settings))
        .unwrap_or_else(|error| panic!("the tests' PostgreSQL: {error}"));
    // Dropping a cluster that runs until it is stopped gives the folder free and leaves the server
    // alone.
    cluster.url("DATABASE")
}

/// A runtime for a thread that has none. The callers are synchronous, because they run inside
/// `OnceLock`s, and a thread that already drives a runtime may not block on a second one: so on a
/// thread of its own.
fn runtime() -> Blocking {
    Blocking
}

struct Blocking;

impl Blocking {
    fn block_on<F: Future + Send>(&self, future: F) -> F::Output
    where
        F::Output: Send,
    {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(future)
            });
            thread.join().unwrap()
        })
    }
}

/// The folder of this checkout's and this user's runs. Those by another PostgreSQL have another:
/// a cluster lives on for a moment, and must not be joined by a run that is to test another server.
fn base_dir() -> PathBuf {
    let root = if has_room("/dev/shm") { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let server = std::env::var_os(SERVER_ENV).unwrap_or_default();
    let checkout = Sha256::new()
        .chain_update(env!("CARGO_MANIFEST_DIR"))
        .chain_update([0])
        .chain_update(server.as_bytes())
        .finalize();
    let us = std::fs::metadata("/proc/self").map_or_else(|_| user_from_id(), |proc| proc.uid());
    let base = root.join(format!("surety-test-{us}-{}", hex::encode(&checkout[..4])));
    let _ = DirBuilder::new().mode(0o711).create(&base);
    let metadata = base.symlink_metadata().unwrap();
    assert!(metadata.is_dir() && metadata.uid() == us, "{} is not ours", base.display());
    base
}

fn user_from_id() -> u32 {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn has_room(dir: &str) -> bool {
    let Ok(output) = Command::new("df").args(["-Pk", dir]).stderr(Stdio::null()).output() else {
        return false;
    };
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let available = table.lines().nth(1).and_then(|row| row.split_whitespace().nth(3));
    available.and_then(|kib| kib.parse::<u64>().ok()).is_some_and(|kib| kib >= ROOM_NEEDED_KIB)
}

fn lock(base: &Path) -> File {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(base.join("lock"))
        .unwrap();
    lock.lock().unwrap();
    lock
}

/// Runs that nobody will clear away, because their script was killed. A server whose folder is gone
/// ends by itself within a minute.
fn remove_abandoned_runs(base: &Path) {
    for entry in std::fs::read_dir(base).unwrap().filter_map(Result::ok) {
        let is_run = entry.file_name().to_string_lossy().starts_with("run-");
        // A run that cannot be entered and still has its pipe has nobody at the other end of it.
        if is_run && entry.path().join("users").exists() && enter(&entry.path()).is_none() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn make_run_dir(base: &Path) -> PathBuf {
    let dir = base.join(format!("run-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]));
    DirBuilder::new().mode(0o711).create(&dir).unwrap();
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(dir.join("users")).status().unwrap();
    assert!(made.success(), "mkfifo");
    dir
}

// It is to outlive us, so nobody waits for it.
#[allow(clippy::zombie_processes)]
fn start_reaper(dir: &Path) -> File {
    Command::new("/bin/sh")
        .args(["-c", REAPER, "surety-test-reaper"])
        .arg(dir)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(membership) = enter(dir) {
            return membership;
        }
        assert!(Instant::now() < deadline, "nobody reads {}/users", dir.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Becomes a user of the run; `None` when it has ended.
fn enter(dir: &Path) -> Option<File> {
    // Without the flag, this would wait for a reader; with it, a pipe without one is an error.
    let mut users = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(dir.join("users"))
        .ok()?;
    users.write_all(b"+").ok()?;
    Some(users)
}
