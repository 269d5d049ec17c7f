//! The real binary as a child process.

use std::ffi::OsStr;

use surety_postgres::testing::{Process, ProcessCommand};

/// The binary, running. Killed when this value is dropped.
pub(crate) type App = Process;
/// The binary, to be started.
pub(crate) type AppCommand = ProcessCommand;

/// Gives [`App`] the binary of this build.
pub(crate) trait Binary {
    /// The binary with these arguments. It sees no `.env`, and none of our settings from the
    /// environment.
    fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> AppCommand;
}

impl Binary for App {
    fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> AppCommand {
        Process::command_of(env!("CARGO_BIN_EXE_app"), args)
    }
}
