//! The few system calls that the standard library does not wrap. All `unsafe` of this module tree
//! is here.

use std::io;

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
