//! Output formats.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use crate::operations::span;

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

/// Rows under their header, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows);
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
