//! The number of connections that the process can have open.

/// Beside the connections of clients, a process needs file descriptors for the database, the log
/// and the like.
const RESERVED_FILES: u64 = 64;

/// As many of the wanted connections as the process may have file descriptors for, after it asked
/// for more of them: without any left, not even the database could be reached again.
pub fn affordable_connections(wanted: u32) -> usize {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let files = raise_file_limit();
    let affordable = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    if affordable < wanted {
        tracing::warn!(
            "only {affordable} connections will be served at once, as the process may open \
             {files} files (ulimit -n)"
        );
    }
    wanted.min(affordable)
}

/// Raises the soft limit of open files to the hard one, and gives what then holds.
fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read and write the struct that they are given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return u64::MAX;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            limit.rlim_cur = before;
        }
    }
    limit.rlim_cur
}
