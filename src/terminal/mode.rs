//! The mode of the terminal: keys come as they are pressed and are not shown. Signals stay what
//! they are, so that Ctrl-C and Ctrl-Z do what they always do.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::decoding::{ASK_FOR_MARKS, NO_MORE_MARKS};

/// The mode before ours; set while ours holds.
static BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);
/// The way back is registered for the end of the process.
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Has keys come one by one, until [`leave`].
///
/// # Errors
///
/// When standard input is no terminal, or belongs to others at the moment.
pub(super) fn enter() -> io::Result<()> {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_some() {
        return Ok(());
    }
    let present = present()?;
    let mut ours = present;
    ours.c_lflag &= !(libc::ICANON | libc::ECHO);
    ours.c_cc[libc::VMIN] = 1;
    ours.c_cc[libc::VTIME] = 0;
    // Its core dump would come without the terminal being given back.
    ours.c_cc[libc::VQUIT] = libc::_POSIX_VDISABLE;
    if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the function takes nothing, returns nothing and does not unwind.
        unsafe { libc::atexit(leave_at_exit) };
    }
    set(&ours)?;
    tell(ASK_FOR_MARKS);
    *before = Some(present);
    Ok(())
}

/// Gives the terminal back as it was, if it is ours.
pub(super) fn leave() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        give_back(&before);
    }
}

/// The last thing that the process does, however it comes to its end by itself.
extern "C" fn leave_at_exit() {
    // Whoever holds the lock may be gone, and must not keep the process.
    if let Ok(mut before) = BEFORE.try_lock()
        && let Some(before) = before.take()
    {
        give_back(&before);
    }
}

fn give_back(before: &libc::termios) {
    tell(NO_MORE_MARKS);
    // Nobody is left to tell when that fails.
    let _ = set(before);
}

/// Sends the terminal a command, past all that is kept back or locked.
fn tell(command: &str) {
    // SAFETY: the pointer and the length are those of a live text, which the call reads.
    unsafe { libc::write(libc::STDOUT_FILENO, command.as_ptr().cast(), command.len()) };
}

/// True if the terminal is ours at the moment, and not that of another job of the shell.
pub(super) fn is_in_foreground() -> bool {
    // SAFETY: neither touches memory of ours.
    unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) == libc::getpgrp() }
}

fn present() -> io::Result<libc::termios> {
    // SAFETY: `termios` is plain data that may be all zeroes, and the pointer is to a live value of
    // this frame, which the call writes.
    unsafe {
        let mut present: libc::termios = std::mem::zeroed();
        match libc::tcgetattr(libc::STDIN_FILENO, &raw mut present) {
            0 => Ok(present),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn set(mode: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live value, which the call reads.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
