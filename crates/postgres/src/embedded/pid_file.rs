//! `postmaster.pid`: where a server says that it runs, and whether that is still true.
//!
//! PostgreSQL believes the file whenever *some* process of the same user has that number: after a
//! crash the number may have gone to anybody, and in a container whose process 1 does not reap, a
//! dead server stays as a zombie. Both make it refuse to start for ever. So we look closer, and
//! delete a file that speaks of no server of ours.

use std::io;
use std::path::{Path, PathBuf};

/// The contents of `postmaster.pid`.
#[derive(Debug)]
pub(super) struct PidFile {
    /// The server's process.
    pub(super) pid: i32,
    port: Option<u16>,
    socket_dir: Option<PathBuf>,
    /// True when the server takes connections.
    pub(super) ready: bool,
}

impl PidFile {
    /// Reads the file of the cluster in `pgdata`; `None` when there is none, or none that names a
    /// process.
    pub(super) fn read(pgdata: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path(pgdata)).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number - 1).copied().filter(|line| !line.is_empty());
        Some(Self {
            // A standalone backend writes its number with a minus.
            pid: line(1)?.parse::<i32>().ok().map(i32::abs).filter(|pid| *pid > 1)?,
            port: line(4).and_then(|port| port.parse().ok()),
            socket_dir: line(5).map(PathBuf::from),
            ready: line(8) == Some("ready"),
        })
    }

    /// The process, if it is alive and really a server on `pgdata`.
    pub(super) fn live_server(&self, pgdata: &Path) -> Option<i32> {
        is_server_on(self.pid, pgdata).then_some(self.pid)
    }

    /// Deletes the file and the lock file of its socket, once it is known to be stale.
    pub(super) fn delete(&self, pgdata: &Path) -> io::Result<()> {
        remove_if_there(&path(pgdata))?;
        if let (Some(dir), Some(port)) = (&self.socket_dir, self.port) {
            remove_if_there(&dir.join(format!(".s.PGSQL.{port}.lock")))?;
        }
        Ok(())
    }
}

fn path(pgdata: &Path) -> PathBuf {
    pgdata.join("postmaster.pid")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tells whether process `pid` is a living server on `pgdata`.
///
/// The command line comes first, because everybody may read it: the working directory of another
/// user's process is hidden even from a container's root. A zombie has neither.
#[cfg(target_os = "linux")]
pub(super) fn is_server_on(pid: i32, pgdata: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;

    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let args: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    // Sessions and helpers of a server rename themselves; only the server proper keeps its
    // arguments.
    if args[0].is_empty() || args[0].starts_with(b"postgres: ") {
        return false;
    }
    let named_in_args =
        args.windows(2).any(|pair| pair[0] == b"-D" && pair[1] == pgdata.as_os_str().as_bytes());
    let works_in = std::fs::read_link(format!("/proc/{pid}/cwd"));
    named_in_args || works_in.is_ok_and(|dir| pgdata.canonicalize().is_ok_and(|data| data == dir))
}

/// Tells whether process `pid` is a living server on `pgdata`.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_server_on(pid: i32, pgdata: &Path) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "stat=,command=", "-p", &pid.to_string()])
        .output();
    output.is_ok_and(|output| {
        let line = String::from_utf8_lossy(&output.stdout);
        let line = line.trim();
        !line.starts_with('Z') && line.contains(&format!("-D {}", pgdata.display()))
    })
}
