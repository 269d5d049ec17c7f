//! Output formats, and the way of all that is printed to a terminal.
//!
//! What jobs, their errors and their tags say may come from anywhere. A terminal would act on the
//! control characters in it: it could be made to show what is not there, or nothing. So whatever
//! the command line prints by `print!`, `println!`, `eprint!` and `eprintln!` goes through
//! [`plain`], by the macros of these names below. What cannot be written is an error: [`stdout`].

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use crate::operations::span;
use crate::stdout;

/// `print!`, without control characters.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::to_stdout(format_args!($($text)*)) };
}

/// `println!`, without control characters in the line.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::cli::output::to_stdout(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// `eprint!`, without control characters.
macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::to_stderr(format_args!($($text)*)) };
}

/// `eprintln!`, without control characters in the line.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::cli::output::to_stderr(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Prints text, its control characters escaped.
pub(crate) fn to_stdout(text: fmt::Arguments<'_>) {
    stdout::write(format_args!("{}", plain(&text.to_string())));
}

/// Prints text to stderr, its control characters escaped.
pub(crate) fn to_stderr(text: fmt::Arguments<'_>) {
    stdout::write_error(format_args!("{}", plain(&text.to_string())));
}

/// Text with its control characters escaped, but for the ends of lines, and those that turn the
/// direction of writing: as in JSON, so that JSON stays what it is.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_acted_on(c))
}

/// Text from data in one line.
pub(crate) fn in_one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_acted_on)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_escaped(c) {
            true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Tells whether a terminal does something else with the character than show it: what
/// `queue.plain_text` refuses in names.
fn is_acted_on(c: char) -> bool {
    let turns_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || turns_direction
}

/// For people, or for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Output {
    /// Columns, for people.
    Table,
    /// One JSON value, for programs.
    Json,
    /// One JSON value per line, for programs that read while this one writes.
    Jsonl,
}

/// Prints a list for programs: as one JSON array, or one JSON value per line.
///
/// # Errors
///
/// When a value cannot be JSON.
pub(crate) fn print_values<T: Serialize>(listed: &[T], output: Output) -> serde_json::Result<()> {
    if output != Output::Jsonl {
        println!("{}", serde_json::to_string(listed)?);
        return Ok(());
    }
    for value in listed {
        println!("{}", serde_json::to_string(value)?);
    }
    Ok(())
}

/// Rows under their header, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let rows: Vec<_> =
        rows.iter().map(|row| row.each_ref().map(|cell| in_one_line(cell).into_owned())).collect();
    let lines = || std::iter::once(&header).chain(&rows);
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A time to the second, as people and programs read it; `-` where there is none.
pub(crate) fn moment(at: Option<OffsetDateTime>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_the_rest_is_not() {
        assert!(matches!(plain("é ✉ 1\n2"), Cow::Borrowed("é ✉ 1\n2")));
        let escaped = plain("a\u{1b}[2Jb\r\u{9b}c\u{7f}\u{202e}d\u{2066}\u{8}");
        assert_eq!(escaped, "a\\u001b[2Jb\\u000d\\u009bc\\u007f\\u202ed\\u2066\\u0008");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b} \u{7f} \u{2028} \n é" });
        let printed = plain(&value.to_string()).into_owned();
        assert!(!printed.chars().any(is_acted_on), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn a_cell_is_one_line() {
        let rows = [["x\ny".to_owned()], ["z".to_owned()]];
        assert_eq!(table(["A"], &rows), "A\nx\\u000ay\nz\n");
    }
}
