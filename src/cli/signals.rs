//! SIGINT, SIGTERM and SIGHUP of a process that runs until it is told to stop: the first asks it to
//! end in good order, the second ends it at once.
//!
//! SIGHUP comes when the terminal or the connection is gone. Whoever started the process under
//! `nohup` wants it to go on, and then it does. Of a process that [reads its settings
//! again](shutdown_or_reload), it is the wish for that, unless its terminal is gone.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::reload::Hangups;

/// The exit code that a shell expects of a process that SIGINT ended.
const EXIT_ON_SIGINT: i32 = 130;
/// The exit code that a shell expects of a process that SIGHUP ended.
const EXIT_ON_SIGHUP: i32 = 129;
/// The exit code that a shell expects of a process that SIGTERM ended.
const EXIT_ON_SIGTERM: i32 = 143;

/// A token that the first signal cancels. From here on, signals no longer end the process by
/// themselves.
///
/// # Errors
///
/// When the system refuses to deliver signals.
pub fn shutdown() -> io::Result<CancellationToken> {
    let hangups = match is_ignored(libc::SIGHUP) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(cancelled_by(Signals::new(hangups)?))
}

/// The same, for a process that SIGHUP has read its settings again. The end of its terminal still
/// stops it, unless it was to outlive it.
///
/// # Errors
///
/// When the system refuses to deliver signals.
pub fn shutdown_or_reload() -> io::Result<(CancellationToken, Hangups)> {
    let outlives_terminal = is_ignored(libc::SIGHUP);
    let had_terminal = has_terminal();
    let mut hangups = signal(SignalKind::hangup())?;
    let token = cancelled_by(Signals::new(None)?);
    let (wish, wishes) = tokio::sync::mpsc::channel(1);
    let stop = token.clone();
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            if had_terminal && !outlives_terminal && !has_terminal() {
                stop.cancel();
                return;
            }
            // When it is full, a reload is about to begin, and will see what there is now.
            let _asked = wish.try_send(());
        }
    });
    Ok((token, wishes))
}

/// Tells whether the process has a terminal that can still be opened.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

fn cancelled_by(mut signals: Signals) -> CancellationToken {
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        // Whoever holds the token may have asked for the same by other means.
        tokio::select! {
            _ = signals.next() => first.cancel(),
            () = first.cancelled() => {}
        }
        let code = signals.next().await;
        // Nothing is flushed and nobody is waited for: that is what a second signal asks for.
        std::process::exit(code);
    });
    token
}

struct Signals {
    interrupts: Signal,
    terminations: Signal,
    /// None when they do not end the process.
    hangups: Option<Signal>,
}

impl Signals {
    fn new(hangups: Option<Signal>) -> io::Result<Self> {
        Ok(Self {
            hangups,
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for any of them and gives the exit code that belongs to it.
    async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupts.recv() => EXIT_ON_SIGINT,
            _ = self.terminations.recv() => EXIT_ON_SIGTERM,
            _ = hangup => EXIT_ON_SIGHUP,
        }
    }
}

/// Tells whether whoever started the process has it ignore this signal.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: an action of zeros is a valid one to be written over, and with no new action the call
    // only reads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
