//! Programs as child processes of a test.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{PATIENCE, eventually};
use crate::child::end_with_parent;

/// Environment that must not leak from the developer's shell into a test.
const FOREIGN_ENV: [&str; 5] = ["APP_", "OTEL_", "PG", "DATABASE_URL", "RUST_LOG"];
/// The variable that says by which PostgreSQL all is tested, the private ones of programs, too.
pub(super) const SERVER_ENV: &str = "APP_PG_BIN";

/// A signal that a test sends to a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The signal of a supervisor.
    Terminate,
    /// The end of a terminal.
    Hangup,
    /// `kill -9`.
    Kill,
    /// Stops the process where it stands.
    Stop,
    /// Lets it go on.
    Continue,
}

/// A child process to be.
pub struct ProcessCommand {
    command: Command,
    stdin: Option<String>,
}

/// The binary, running. Killed when this value is dropped.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// A program with these arguments. It sees no `.env`, and none of our settings from the
    /// environment.
    pub fn command_of<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> ProcessCommand {
        let mut command = Command::new(program);
        command.args(args).current_dir("/").process_group(0);
        inherit_nothing_foreign(&mut command);
        ProcessCommand { command, stdin: None }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Everything that it has said so far, on both of its outputs.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The same in one piece.
    pub fn output(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line that contains `text` and returns it. Panics when the process ends without
    /// having said it.
    pub async fn wait_for_line(&mut self, text: &str) -> String {
        self.wait_for_line_after(0, text).await
    }

    /// The same, but only of the lines from number `skip` on.
    pub async fn wait_for_line_after(&mut self, skip: usize, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // First whether it has ended, then what it said: the other way round would miss its
            // last words.
            let ended = self.has_exited() && Arc::strong_count(&self.lines) == 1;
            if let Some(line) = self.lines().iter().skip(skip).find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(!ended, "it ended without saying {text:?}, but:\n{}", self.output());
            assert!(Instant::now() < deadline, "it does not say {text:?}, but:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a signal to the process, not to its children.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Sends a signal to the process and its group, as a terminal does on Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        send_signal(-self.pid(), signal);
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::Kill);
        self.wait_for_exit().await;
    }

    /// Waits until the process has ended and all that it said is in [`lines`](Self::lines).
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let lines = Arc::clone(&self.lines);
        eventually("the process ends", || {
            // The readers hold a share each until the outputs are closed; we hold two.
            self.has_exited() && Arc::strong_count(&lines) == 2
        })
        .await;
        self.child.try_wait().unwrap().expect("it has ended")
    }

    fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl ProcessCommand {
    /// Sets a variable of its environment.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it in this folder.
    pub fn dir(mut self, dir: &std::path::Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Removes a variable of its environment.
    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Sets the text that it can read from stdin.
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Runs it as another user; only root can.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.command.uid(uid).gid(gid);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Process {
        let Self { command, stdin } = &mut self;
        // A test that is itself killed leaves no process behind.
        end_with_parent(command, libc::SIGKILL);
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).unwrap();
        }
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), Arc::clone(&lines));
        collect(child.stderr.take().unwrap(), Arc::clone(&lines));
        Process { child, lines }
    }

    /// Runs it to its end; what it said, and how it ended.
    pub async fn run(self) -> (ExitStatus, String) {
        let mut process = self.spawn();
        let status = process.wait_for_exit().await;
        (status, process.output())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}

/// Sends a signal to a process, or with a negative number to a group.
pub fn send_signal(pid: i32, signal: Signal) {
    let number = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Hangup => libc::SIGHUP,
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    assert!(pid.abs() > 1);
    // SAFETY: kill takes two numbers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, number) };
    assert_eq!(result, 0, "kill: {}", std::io::Error::last_os_error());
}

/// Leaves out of a child's environment what a developer's shell has set for programs of ours, and
/// has it hear of the end of its terminal though `nohup` may keep us from that.
pub fn inherit_nothing_foreign(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let is_foreign = FOREIGN_ENV.iter().any(|prefix| name.starts_with(prefix));
        if is_foreign && name != SERVER_ENV {
            command.env_remove(&key);
        }
    }
    // SAFETY: signal is async-signal-safe, and the closure does nothing else.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
}
