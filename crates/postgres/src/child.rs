//! Children that do not outlive their parent.

#[cfg(target_os = "linux")]
use std::io;
use std::process::Command;

/// Has the kernel send the child `signal` when the *thread* that spawns it ends, which `kill -9` of
/// us includes. So the caller spawns from a thread that lives as long as the child may.
///
/// Only Linux can do this. Elsewhere a child survives `kill -9` of its parent.
pub fn end_with_parent(command: &mut Command, signal: i32) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;

        let parent = std::process::id();
        // SAFETY: the closure runs in the forked child before exec and calls only prctl and
        // getppid, which are async-signal-safe; it allocates nothing (the error is made from a
        // number).
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have ended between the fork and the line above; then no signal
                // will ever come.
                if libc::getppid().cast_unsigned() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (command, signal);
}
