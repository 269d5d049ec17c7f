//! SIGINT and SIGTERM of a process that runs until it is told to stop: the first asks it to end in
//! good order, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code that a shell expects of a process that SIGINT ended.
const EXIT_ON_SIGINT: i32 = 130;
/// The exit code that a shell expects of a process that SIGTERM ended.
const EXIT_ON_SIGTERM: i32 = 143;

/// A token that the first signal cancels. From here on, signals no longer end the process by
/// themselves.
///
/// # Errors
///
/// When the system refuses to deliver signals.
pub fn shutdown() -> io::Result<CancellationToken> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        next(&mut interrupts, &mut terminations).await;
        first.cancel();
        let code = next(&mut interrupts, &mut terminations).await;
        // Nothing is flushed and nobody is waited for: that is what a second signal asks for.
        std::process::exit(code);
    });
    Ok(token)
}

/// Waits for either signal and gives the exit code that belongs to it.
async fn next(interrupts: &mut Signal, terminations: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupts.recv() => EXIT_ON_SIGINT,
        _ = terminations.recv() => EXIT_ON_SIGTERM,
    }
}
