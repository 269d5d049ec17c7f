//! The live screen: keys, signals, the clock, and giving the terminal back.

use std::io::{IsTerminal as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::drawing;
use super::screen::{Screen, View, Wish};
use super::snapshot::Snapshot;
use crate::cli::output::in_one_line;

/// The time for one look.
const PATIENCE: Duration = Duration::from_secs(10);
/// The interval between two looks at the keyboard for whether it is still wanted.
const KEY_POLL: Duration = Duration::from_millis(100);
/// The exit code that a shell expects of a process that SIGTERM ended.
const EXIT_ON_SIGTERM: u8 = 143;

/// Shows the screen until somebody quits.
pub(super) async fn run(pool: PgPool, mut screen: Screen) -> anyhow::Result<ExitCode> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        bail!("there is no terminal to show it on: --once prints one picture");
    }
    let mut terminations = signal(SignalKind::terminate())?;
    let (pace, paced) = watch::channel(Pace { is_paused: false, looks: 0 });
    let mut snapshots = look(pool, paced, screen.interval);
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let mut keys = keys();
    let end = loop {
        if let Err(error) = draw(&mut terminal, &mut screen) {
            break Err(error);
        }
        tokio::select! {
            _ = terminations.recv() => break Ok(ExitCode::from(EXIT_ON_SIGTERM)),
            Some(read) = snapshots.recv() => screen.take(read),
            event = keys.recv() => match event {
                // The terminal is gone.
                None => break Ok(ExitCode::SUCCESS),
                Some(event) => match Command::of(&event) {
                    Some(Command::Quit) => break Ok(ExitCode::SUCCESS),
                    Some(Command::Suspend) => suspend(&mut terminal)?,
                    Some(Command::Look) => pace.send_modify(|pace| pace.looks += 1),
                    Some(Command::Wish(wish)) => {
                        screen.fulfil(wish);
                        pace.send_modify(|pace| pace.is_paused = screen.is_paused);
                    }
                    None => {}
                },
            },
        }
    };
    ratatui::try_restore().context("the terminal cannot be given back")?;
    end
}

fn draw(terminal: &mut DefaultTerminal, screen: &mut Screen) -> anyhow::Result<()> {
    screen.keep_within(drawing::lines(screen));
    terminal.draw(|frame| drawing::draw(frame, screen)).context("the terminal takes no more")?;
    Ok(())
}

/// Gives the terminal to the shell, stops, and goes on when the shell says so.
fn suspend(terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
    ratatui::try_restore()?;
    // SAFETY: the call takes a number and touches no memory of ours.
    unsafe { libc::raise(libc::SIGTSTP) };
    *terminal = ratatui::try_init()?;
    Ok(())
}

/// The times at which to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pace {
    is_paused: bool,
    /// Grows with every look that is asked for.
    looks: u64,
}

/// Looks at every interval and when asked to; a database that is away is asked again.
fn look(
    pool: PgPool,
    mut pace: watch::Receiver<Pace>,
    interval: Duration,
) -> mpsc::Receiver<Result<Snapshot, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let read = tokio::time::timeout(PATIENCE, Snapshot::read(&pool)).await;
            let read = match read {
                Ok(Ok(snapshot)) => Ok(snapshot),
                Ok(Err(error)) => Err(in_one_line(&format!("{error:#}")).into_owned()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            if sender.send(read).await.is_err() || !is_next(&mut pace, interval).await {
                return;
            }
        }
    });
    receiver
}

/// Waits for the next look. False when nobody looks any more.
async fn is_next(pace: &mut watch::Receiver<Pace>, interval: Duration) -> bool {
    let before = pace.borrow_and_update().looks;
    let is_due = tokio::time::sleep(interval);
    tokio::pin!(is_due);
    let mut is_over = false;
    loop {
        let Pace { is_paused, looks } = *pace.borrow_and_update();
        if looks != before || (is_over && !is_paused) {
            return true;
        }
        tokio::select! {
            () = &mut is_due, if !is_over => is_over = true,
            changed = pace.changed() => if changed.is_err() {
                return false;
            },
        }
    }
}

/// Events of the keyboard and of the terminal's size. They have a thread of their own, as a read
/// cannot be given up.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(KEY_POLL) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => drop(sender.blocking_send(event)),
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The meaning of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Command {
    Quit,
    Suspend,
    Look,
    Wish(Wish),
}

impl Command {
    /// None for what means nothing here; the screen is drawn anew in any case, which is all that a
    /// new size asks for.
    fn of(event: &Event) -> Option<Self> {
        let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return None };
        if *kind == KeyEventKind::Release {
            return None;
        }
        if modifiers.contains(KeyModifiers::CONTROL) {
            return match code {
                KeyCode::Char('c' | 'd') => Some(Self::Quit),
                KeyCode::Char('z') => Some(Self::Suspend),
                _ => None,
            };
        }
        Some(match code {
            KeyCode::Char('q') | KeyCode::Esc => Self::Quit,
            KeyCode::Char('r') => Self::Look,
            KeyCode::Char('p' | ' ') => Self::Wish(Wish::Pause),
            KeyCode::Char('1' | 'o') => Self::Wish(Wish::Show(View::Overview)),
            KeyCode::Char('2') => Self::Wish(Wish::Show(View::Queues)),
            KeyCode::Char('3' | 'f') => Self::Wish(Wish::Show(View::Failures)),
            KeyCode::Char('4' | 'w') => Self::Wish(Wish::Show(View::Workers)),
            KeyCode::Tab => Self::Wish(Wish::NextView),
            KeyCode::Up | KeyCode::Char('k') => Self::Wish(Wish::Up),
            KeyCode::Down | KeyCode::Char('j') => Self::Wish(Wish::Down),
            KeyCode::PageUp => Self::Wish(Wish::PageUp),
            KeyCode::PageDown => Self::Wish(Wish::PageDown),
            KeyCode::Home => Self::Wish(Wish::Top),
            _ => return None,
        })
    }
}
