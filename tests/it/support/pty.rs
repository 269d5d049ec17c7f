//! The real binary on a terminal: a pseudo-terminal of the system, and a screen that shows what a
//! person would see on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use surety_postgres::end_with_parent;
use surety_postgres::testing::inherit_nothing_foreign;

use super::eventually;

/// Lines above the screen that can be looked at.
const SCROLLBACK: usize = 5_000;

/// The binary on a terminal of its own, as its session's leader. Killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Shown>>,
}

/// All that the terminal was sent.
struct Shown {
    screen: vt100::Parser,
    text: String,
    has_ended: bool,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

pub(crate) const USUAL: Size = Size { rows: 24, columns: 80 };

impl Terminal {
    /// Starts the binary with these arguments and variables.
    pub(crate) fn start<S: AsRef<OsStr>>(
        args: impl IntoIterator<Item = S>,
        variables: &[(&str, &str)],
        size: Size,
    ) -> Self {
        let (keyboard, terminal) = open(size);
        let child = spawn(args, variables, terminal);
        let shown = Arc::new(Mutex::new(Shown {
            screen: vt100::Parser::new(cells(size.rows), cells(size.columns), SCROLLBACK),
            text: String::new(),
            has_ended: false,
        }));
        show(keyboard.try_clone().unwrap(), Arc::clone(&shown));
        Self { child, keyboard, shown }
    }

    /// Presses keys, one after another, each heard before the next.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that was sent to the terminal so far, its control sequences included.
    pub(crate) fn text(&self) -> String {
        self.shown.lock().unwrap().text.clone()
    }

    /// The rows of the screen, as a person sees them at the moment.
    pub(crate) fn rows(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap();
        let screen = shown.screen.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    /// All rows, those above the screen included, oldest first.
    pub(crate) fn all_rows(&self) -> Vec<String> {
        let mut shown = self.shown.lock().unwrap();
        let screen = shown.screen.screen_mut();
        let (_, columns) = screen.size();
        let row = |row: String| row.trim_end().to_owned();
        let mut all = Vec::new();
        for offset in (1..=screen.scrollback_len()).rev() {
            screen.set_scrollback(offset);
            all.extend(screen.rows(0, columns.get()).next().map(row));
        }
        screen.set_scrollback(0);
        all.extend(screen.rows(0, columns.get()).map(row));
        all
    }

    /// Waits until the terminal was sent this text, and gives all that came.
    pub(crate) async fn wait_for(&self, text: &str) -> String {
        self.wait_for_count(text, 1).await
    }

    /// The same for so many times.
    pub(crate) async fn wait_for_count(&self, text: &str, count: usize) -> String {
        eventually(&format!("the terminal shows {text:?}"), || {
            let shown = self.shown.lock().unwrap();
            let is_there = shown.text.matches(text).count() >= count;
            assert!(is_there || !shown.has_ended, "it ended without {text:?}:\n{}", shown.text);
            is_there
        })
        .await;
        self.text()
    }

    /// Waits until the screen satisfies a condition.
    pub(crate) async fn wait_until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        eventually(what, || is_so(&self.rows())).await;
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, size: Size) {
        let mut shown = self.shown.lock().unwrap();
        shown.screen.set_size(cells(size.rows), cells(size.columns));
        drop(shown);
        let size = winsize(size);
        // SAFETY: the pointer is to a live value, which the call reads.
        let done =
            unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
    }

    /// True while lines are edited and shown by the terminal, as a shell wants it.
    pub(crate) fn is_given_back(&self) -> bool {
        // SAFETY: `termios` is plain data, and the pointer is to a live value of this frame.
        let mode = unsafe {
            let mut mode: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.keyboard.as_raw_fd(), &raw mut mode), 0);
            mode
        };
        let of_lines = libc::ICANON | libc::ECHO | libc::ISIG;
        mode.c_lflag & of_lines == of_lines && mode.c_oflag & libc::OPOST != 0
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until the process has ended and all that it wrote is shown.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap().is_some()).await;
        eventually("all is shown", || self.shown.lock().unwrap().has_ended).await;
        self.child.wait().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary on a terminal that is taken away once it has shown `ready`; how it ended.
pub(crate) async fn until_hung_up(
    args: &[&str],
    variables: &[(&str, &str)],
    ready: &str,
) -> ExitStatus {
    let (mut ours, theirs) = open(USUAL);
    let mut child = spawn(args, variables, theirs);
    let ready = ready.to_owned();
    let seen = tokio::task::spawn_blocking(move || {
        let (mut text, mut bytes) = (String::new(), [0; 8_192]);
        while !text.contains(&ready) {
            let count = ours.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "it ended without {ready:?}:\n{text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    seen.await.unwrap();
    eventually("the process ends", || child.try_wait().unwrap().is_some()).await;
    child.wait().unwrap()
}

/// Starts the binary as the leader of a session on this terminal.
fn spawn<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    variables: &[(&str, &str)],
    terminal: OwnedFd,
) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app"));
    command.args(args).current_dir("/").env("TERM", "xterm-256color").env_remove("NO_COLOR");
    inherit_nothing_foreign(&mut command);
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command.stdin(terminal.try_clone().unwrap());
    command.stdout(terminal.try_clone().unwrap());
    command.stderr(terminal);
    end_with_parent(&mut command, libc::SIGKILL);
    lead_a_session(&mut command);
    command.spawn().unwrap()
}

/// The two ends of a new terminal: ours, and the program's.
fn open(size: Size) -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = winsize(size);
    // SAFETY: the pointers are to live values, or null where the call allows it.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open, and nobody else's.
    unsafe {
        libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has at least one")
}

fn winsize(Size { rows, columns }: Size) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Has the child lead a session of its own on the terminal that is its standard input.
fn lead_a_session(command: &mut Command) {
    // SAFETY: the calls are async-signal-safe, and the closure does nothing else.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Shows what comes until the last program has closed the terminal.
fn show(mut terminal: File, shown: Arc<Mutex<Shown>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 8_192];
        loop {
            let count = terminal.read(&mut bytes).unwrap_or(0);
            let mut shown = shown.lock().unwrap();
            if count == 0 {
                shown.has_ended = true;
                return;
            }
            shown.screen.process(&bytes[..count]);
            shown.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}
