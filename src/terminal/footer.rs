//! The line at the foot of the terminal, and what is written above it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{columns, is_colored};

/// Goes to the beginning of the line and empties it.
const ERASE: &str = "\r\u{1b}[2K";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";
/// Between two entries.
const GAP: &str = "  ";

static FOOT: Mutex<Foot> = Mutex::new(Foot { footer: None, is_paused: false });

/// The foot of the terminal.
struct Foot {
    footer: Option<Footer>,
    /// The terminal is somebody else's at the moment, whether or not there is a line.
    is_paused: bool,
}

/// The line, and the streams that lead to its terminal.
struct Footer {
    entries: Vec<Entry>,
    is_colored: bool,
    stderr_is_terminal: bool,
}

/// A key and what it does, in full and in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: char,
    /// Its effect.
    pub long: &'static str,
    /// Its effect in one word, where there is little room.
    pub short: &'static str,
}

/// An output of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Shows the line, or another in its place.
pub fn show(entries: Vec<Entry>) {
    let stderr_is_terminal = io::stderr().is_terminal();
    let mut foot = lock();
    foot.footer = Some(Footer { entries, is_colored: is_colored(), stderr_is_terminal });
    foot.draw();
}

/// Shows the line anew: the terminal has another width, or others have written to it.
pub(super) fn redraw() {
    lock().draw();
}

/// Leaves the terminal to others, until [`resume`].
pub(super) fn pause() {
    let mut foot = lock();
    foot.is_paused = true;
    if foot.footer.is_some() {
        let _ = write_now(Stream::Out, ERASE.as_bytes());
    }
}

/// Shows the line again.
pub(super) fn resume() {
    let mut foot = lock();
    foot.is_paused = false;
    foot.draw();
}

/// Takes the line away.
pub fn hide() {
    if lock().footer.take().is_some() {
        let _ = write_now(Stream::Out, ERASE.as_bytes());
    }
}

/// Empties the line for a panic that writes past us; it comes back with the next line. Waits for
/// nobody, as whoever panics may be here.
pub(super) fn erase() {
    if FOOT.try_lock().is_ok_and(|foot| foot.footer.is_some()) {
        let _ = write_now(Stream::Out, ERASE.as_bytes());
    }
}

/// Writes whole lines to a stream, above the footer if the stream leads to its terminal.
///
/// # Errors
///
/// When the stream takes no more.
pub fn write(stream: Stream, text: &[u8]) -> io::Result<()> {
    let foot = lock();
    let is_above = |it: &&Footer| stream == Stream::Out || it.stderr_is_terminal;
    let above = foot.footer.as_ref().filter(is_above).filter(|_| !foot.is_paused);
    let Some(footer) = above else { return write_to(stream, text) };
    let mut all = Vec::with_capacity(text.len() + 128);
    all.extend_from_slice(ERASE.as_bytes());
    all.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        all.push(b'\n');
    }
    all.extend_from_slice(footer.line(columns()).as_bytes());
    write_now(stream, &all)
}

impl Foot {
    fn draw(&self) {
        let Some(footer) = self.footer.as_ref().filter(|_| !self.is_paused) else { return };
        let line = format!("{ERASE}{}", footer.line(columns()));
        // Nobody is left to tell when that fails.
        let _ = write_now(Stream::Out, line.as_bytes());
    }
}

fn write_to(stream: Stream, text: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Out => io::stdout().lock().write_all(text),
        Stream::Error => io::stderr().lock().write_all(text),
    }
}

fn write_now(stream: Stream, text: &[u8]) -> io::Result<()> {
    write_to(stream, text)?;
    match stream {
        Stream::Out => io::stdout().lock().flush(),
        Stream::Error => Ok(()),
    }
}

fn lock() -> MutexGuard<'static, Foot> {
    FOOT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Footer {
    /// The line, which fits into so many columns: in full, in short, or its keys alone.
    fn line(&self, columns: usize) -> String {
        let forms: [fn(&Entry) -> &'static str; 3] = [|it| it.long, |it| it.short, |_| ""];
        // The last column stays free: some terminals break the line after it.
        let fits = |words: &&fn(&Entry) -> &'static str| self.width(**words) < columns;
        let Some(words) = forms.iter().find(fits) else { return String::new() };
        let mut line = String::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let gap = if number == 0 { "" } else { GAP };
            let key = entry.key;
            let _ = match self.is_colored {
                true => write!(line, "{gap}{BOLD}{key}{PLAIN}"),
                false => write!(line, "{gap}{key}"),
            };
            let words = words(entry);
            if !words.is_empty() {
                let _ = write!(line, " {words}");
            }
        }
        line
    }

    fn width(&self, words: fn(&Entry) -> &'static str) -> usize {
        let gaps = GAP.len() * self.entries.len().saturating_sub(1);
        let width = |entry: &Entry| match words(entry) {
            "" => 1,
            words => 2 + words.chars().count(),
        };
        gaps + self.entries.iter().map(width).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(is_colored: bool) -> Footer {
        let entries = vec![
            Entry { key: 't', long: "sends a transaction", short: "send" },
            Entry { key: 'q', long: "quits", short: "quit" },
        ];
        Footer { entries, is_colored, stderr_is_terminal: true }
    }

    #[test]
    fn the_line_fits_into_any_width() {
        let footer = footer(false);
        assert_eq!(footer.line(80), "t sends a transaction  q quits");
        assert_eq!(footer.line(31), "t sends a transaction  q quits");
        assert_eq!(footer.line(30), "t send  q quit");
        assert_eq!(footer.line(14), "t  q");
        assert_eq!(footer.line(4), "");
        for columns in 0..100 {
            assert!(footer.line(columns).len() < columns.max(1), "{columns}");
        }
    }

    #[test]
    fn keys_are_bold_where_that_is_welcome() {
        assert_eq!(footer(true).line(15), "\u{1b}[1mt\u{1b}[0m send  \u{1b}[1mq\u{1b}[0m quit");
    }
}
