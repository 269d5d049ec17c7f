//! The terminal in front of a person: one line at its foot that stays while other lines go by, and
//! keys that act when they are pressed.
//!
//! - [`footer`]: the line at the foot, and all that is written above it.
//! - [`keys`]: keys as they are pressed.
//! - `decoding`: letters among special keys and what is pasted.
//! - `mode`: the mode of the terminal, and giving it back.
//!
//! Guaranteed: the terminal is given back as it was, whether the process ends, panics, is
//! interrupted twice or stopped by Ctrl-Z; only `kill -9` leaves nobody who could. A line and the
//! foot are written by one call, so neither tears the other.

mod decoding;
pub mod footer;
pub mod keys;
mod mode;

use std::io::{self, IsTerminal as _, Write as _};

use self::footer::Stream;

/// Columns of a terminal that does not tell.
const USUAL_COLUMNS: usize = 80;

/// True if a person can be shown something and press keys: standard input and output are a
/// terminal that understands more than lines, and that is not another job's at the moment.
#[must_use]
pub fn is_interactive() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    !is_dumb && is_terminal && mode::is_in_foreground()
}

/// Asks whether to go on with what these words say, which only `yes` allows. Where standard input
/// is no terminal nobody is asked, and nothing is allowed.
///
/// # Errors
///
/// When the terminal cannot be read.
pub fn says_yes_to(words: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    footer::write(Stream::Error, format!("{words} Type yes to go on: ").as_bytes())?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// True if colours and weights are welcome: `NO_COLOR` is not set.
#[must_use]
pub fn is_colored() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The number of columns of the terminal, at this moment.
#[must_use]
pub fn columns() -> usize {
    // SAFETY: `winsize` is plain data that may be all zeroes, and the pointer is to a live value of
    // this frame, which the call writes.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size);
        size
    };
    match size.ws_col {
        0 => USUAL_COLUMNS,
        columns => columns.into(),
    }
}
