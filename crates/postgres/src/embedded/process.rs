//! The few system calls that the standard library does not wrap. All `unsafe` of this module tree
//! is here.

use std::io;
use std::process::Command;

/// The signals that PostgreSQL gives a meaning to, as far as we send them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// "Fast" shutdown: sessions are cut, everything is written, a clean end.
    Interrupt,
    /// "Immediate" shutdown: nothing is written, the next start recovers from the log.
    Quit,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Quit => libc::SIGQUIT,
        }
    }
}

/// Tells whether we run as root, which PostgreSQL refuses to.
pub(super) fn is_root() -> bool {
    effective_uid() == 0
}

/// The user that our files will belong to.
pub(super) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no arguments, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() }
}

/// Sends `signal` to one process.
pub(super) fn send(pid: i32, signal: Signal) -> io::Result<()> {
    assert!(pid > 1, "0 and negative numbers name process groups, and 1 is init");
    // SAFETY: kill takes two numbers and touches no memory of ours; the pid names one process
    // (asserted above).
    match unsafe { libc::kill(pid, signal.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel send the child SIGINT when the *thread* that spawns it ends, which `kill -9` of
/// us includes. So the caller spawns from a thread that lives as long as the child may.
///
/// Only Linux can do this. Elsewhere a server survives `kill -9` of its parent, and the next start
/// ends it.
pub(super) fn interrupt_when_parent_ends(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;

        let parent = std::process::id();
        // SAFETY: the closure runs in the forked child before exec and calls only prctl and
        // getppid, which are async-signal-safe; it allocates nothing (the error is made from a
        // number).
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
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
    let _ = command;
}
