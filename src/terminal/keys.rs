//! Keys as they are pressed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::decoding::Decoder;
use super::{footer, mode};

/// The interval between two looks at whether keys are still wanted.
const POLL: Duration = Duration::from_millis(100);
/// Keys that wait to be acted on; further ones are not heard.
const MAX_WAITING: usize = 8;
/// The most bytes of one read: a key, the sequence of a special one, or what somebody pastes.
const MAX_BYTES: usize = 256;

/// The keys of the terminal, while this value lives.
#[derive(Debug)]
pub struct Keys {
    pressed: mpsc::Receiver<char>,
    is_wanted: Arc<AtomicBool>,
}

impl Keys {
    /// Listens to the keyboard. Within a runtime.
    ///
    /// # Errors
    ///
    /// When standard input is no terminal, or the system refuses a signal or a thread.
    pub fn listen() -> io::Result<Self> {
        // First what can be refused without a trace.
        let stops = signal(SignalKind::from_raw(libc::SIGTSTP))?;
        let goings_on = signal(SignalKind::from_raw(libc::SIGCONT))?;
        let resizes = signal(SignalKind::window_change())?;
        mode::enter()?;
        let (sender, pressed) = mpsc::channel(MAX_WAITING);
        let is_wanted = Arc::new(AtomicBool::new(true));
        let keys = Self { pressed, is_wanted: Arc::clone(&is_wanted) };
        let is_heard = Arc::clone(&is_wanted);
        let read = move || read_keys(&sender, &is_heard);
        std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
        begin_panics_on_a_line_of_their_own();
        tokio::spawn(stop_and_go_on(stops, goings_on, is_wanted));
        tokio::spawn(follow_the_size(resizes));
        Ok(keys)
    }

    /// The next key; none when the terminal is gone.
    pub async fn next(&mut self) -> Option<char> {
        self.pressed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
        footer::hide();
        mode::leave();
    }
}

/// Reads until keys are no longer wanted. A thread of its own, as a read cannot be given up.
fn read_keys(sender: &mpsc::Sender<char>, is_wanted: &AtomicBool) {
    let (mut bytes, mut decoder) = ([0_u8; MAX_BYTES], Decoder::default());
    while is_wanted.load(Ordering::Relaxed) {
        if !mode::is_in_foreground() {
            // Whoever reads in the background is stopped by the system.
            std::thread::sleep(POLL);
            continue;
        }
        if !is_readable() {
            continue;
        }
        // SAFETY: the pointer and the length are those of a live array, which the call writes.
        let count =
            unsafe { libc::read(libc::STDIN_FILENO, bytes.as_mut_ptr().cast(), bytes.len()) };
        match usize::try_from(count) {
            Ok(0) => return,
            Ok(count) => {
                for letter in bytes[..count].iter().filter_map(|byte| decoder.letter_of(*byte)) {
                    // Keys that nobody can act on in time are not kept for later.
                    let _ = sender.try_send(letter);
                }
            }
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Waits a moment for a key.
fn is_readable() -> bool {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live value, as the count says.
    unsafe { libc::poll(&raw mut input, 1, POLL.as_millis() as i32) > 0 }
}

fn begin_panics_on_a_line_of_their_own() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        footer::erase();
        before(info);
    }));
}

/// On Ctrl-Z: gives the terminal to the shell and stops. Takes it again when this goes on in the
/// foreground.
async fn stop_and_go_on(mut stops: Signal, mut goings_on: Signal, is_wanted: Arc<AtomicBool>) {
    loop {
        tokio::select! {
            _ = stops.recv() => {
                footer::pause();
                mode::leave();
                // SAFETY: the call takes two numbers and touches no memory of ours.
                unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
            }
            _ = goings_on.recv() => {
                if is_wanted.load(Ordering::Relaxed) && mode::is_in_foreground() {
                    let _ = mode::enter();
                    footer::resume();
                }
            }
        }
    }
}

async fn follow_the_size(mut resizes: Signal) {
    while resizes.recv().await.is_some() {
        footer::redraw();
    }
}
