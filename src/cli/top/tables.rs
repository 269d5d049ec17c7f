//! Lists as lines of a terminal: as many columns as fit, the important ones first.

use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};

use crate::cli::output::in_one_line;

/// Between two columns.
const GAP: usize = 2;
/// A column that is cut is at least so wide, or left out.
const MIN_CUT: usize = 8;

/// A column of a list.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand at the right.
    pub(super) is_number: bool,
}

/// A column of text.
pub(super) const fn text(title: &'static str) -> Column {
    Column { title, is_number: false }
}

/// A column of numbers.
pub(super) const fn number(title: &'static str) -> Column {
    Column { title, is_number: true }
}

/// A list in so many columns of the terminal: its header, and its rows, each with its style.
pub(super) fn lines(
    columns: &[Column],
    rows: &[(Vec<String>, Style)],
    width: usize,
) -> (Line<'static>, Vec<Line<'static>>) {
    let rows: Vec<(Vec<String>, Style)> = rows
        .iter()
        .map(|(cells, style)| {
            (cells.iter().map(|it| in_one_line(it).into_owned()).collect(), *style)
        })
        .collect();
    let widths = widths(columns, &rows, width);
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(columns).zip(&widths);
        let cells = cells.map(|((cell, column), width)| fitted(cell, *width, column.is_number));
        let cells: Vec<String> = cells.collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let header = Line::from(line(&titles)).bold();
    (header, rows.iter().map(|(cells, style)| Line::styled(line(cells), *style)).collect())
}

/// The widths of the columns that fit; the last of them may be cut.
fn widths(columns: &[Column], rows: &[(Vec<String>, Style)], width: usize) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut left = width;
    for (place, column) in columns.iter().enumerate() {
        let cells = rows.iter().filter_map(|(cells, _)| cells.get(place));
        let wanted = cells.map(|cell| width_of(cell)).max().unwrap_or(0);
        let wanted = wanted.max(width_of(column.title));
        let gap = if place == 0 { 0 } else { GAP };
        let room = left.saturating_sub(gap);
        if room < wanted.min(MIN_CUT) || (column.is_number && room < wanted) {
            break;
        }
        widths.push(wanted.min(room));
        left = room.saturating_sub(wanted);
    }
    widths
}

/// The text in exactly so many columns.
fn fitted(text: &str, width: usize, at_the_right: bool) -> String {
    let cut = cut(text, width);
    let padding = " ".repeat(width.saturating_sub(width_of(&cut)));
    if at_the_right { format!("{padding}{cut}") } else { format!("{cut}{padding}") }
}

/// The text, or its beginning and a mark that there is more.
pub(super) fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if width_of(&cut) + width_of(c.encode_utf8(&mut [0; 4])) >= width {
            break;
        }
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// The columns that a text takes.
pub(super) fn width_of(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [text("QUEUE"), number("WAITING"), text("PAUSED BY")];

    fn shown(width: usize) -> Vec<String> {
        let row = |cells: [&str; 3]| (cells.map(str::to_owned).to_vec(), Style::new());
        let rows = [row(["bank", "12", "ada"]), row(["a\u{1b}[2Jb", "10000+", "-"])];
        let (header, lines) = lines(&COLUMNS, &rows, width);
        std::iter::once(header).chain(lines).map(|line| line.to_string()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_cells_and_numbers_stand_at_the_right() {
        let expected = [
            "QUEUE        WAITING  PAUSED BY",
            "bank              12  ada",
            "a\\u001b[2Jb   10000+  -",
        ];
        assert_eq!(shown(80), expected);
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out_from_the_right() {
        assert_eq!(shown(22)[1], "bank              12");
        assert_eq!(shown(12)[2], "a\\u001b[2Jb");
        assert_eq!(shown(9)[2], "a\\u001b[…");
        for width in 0..40 {
            let widest = shown(width).iter().map(|line| width_of(line)).max();
            assert!(widest <= Some(width), "{width}: {:?}", shown(width));
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 0), "");
    }
}
