//! Standard output of commands, whose failures are not lost.
//!
//! The standard macros panic when a terminal or a disk takes nothing more, and results that are
//! dropped end in exit code 0 with half a report in a file. Here the first failure is kept, nothing
//! is written after it, and the process ends with it as an error ([`finish`]). A reader that has
//! seen enough, such as `head`, is none.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::terminal::footer::{self, Stream};

static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

/// Standard output took not all that was printed. What the command did stands.
#[derive(Debug, thiserror::Error)]
#[error("not all of the output could be written; what the command did stands")]
pub struct OutputLost(#[source] io::Error);

/// Writes to standard output, unless that has failed before.
pub fn write(text: fmt::Arguments<'_>) {
    keep(|| footer::write(Stream::Out, text.to_string().as_bytes()));
}

/// Writes to standard error. Nobody is left to tell when that fails.
pub fn write_error(text: fmt::Arguments<'_>) {
    let _ = footer::write(Stream::Error, text.to_string().as_bytes());
}

/// Writes what is still kept back, so that it can be seen by now.
pub fn flush() {
    keep(|| io::stdout().lock().flush());
}

/// Ends the output.
///
/// # Errors
///
/// [`OutputLost`], when any of it could not be written.
pub fn finish() -> Result<(), OutputLost> {
    flush();
    match FAILURE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputLost(error)),
        _ => Ok(()),
    }
}

fn keep(step: impl FnOnce() -> io::Result<()>) {
    let mut failure = FAILURE.lock().unwrap_or_else(PoisonError::into_inner);
    if failure.is_none() {
        *failure = step().err();
    }
}
