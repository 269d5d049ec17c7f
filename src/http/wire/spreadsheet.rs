//! Rows for spreadsheets: comma-separated values (RFC 4180) that no spreadsheet takes for formulas.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The media type of what [`Sheet`] writes.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// The characters that formulas begin with.
const FORMULAS: [char; 10] =
    ['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Rows that are written to memory.
#[derive(Debug)]
pub struct Sheet(csv::Writer<Vec<u8>>);

impl Default for Sheet {
    fn default() -> Self {
        let mut writer = csv::WriterBuilder::new();
        Self(writer.terminator(csv::Terminator::CRLF).from_writer(Vec::new()))
    }
}

impl Sheet {
    /// Writes a row. All rows of a sheet have the same number of cells.
    pub fn write(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(harmless);
        self.0.write_record(cells.map(String::into_bytes)).expect("memory takes every record");
    }

    /// The rows as text.
    #[must_use]
    pub fn into_text(self) -> String {
        let bytes = self.0.into_inner().expect("memory takes every record");
        String::from_utf8(bytes).expect("it was written from strings")
    }
}

/// Puts an apostrophe before text that a spreadsheet could take for a formula, which spreadsheets
/// read as: this is text. The last four are the full-width forms of the first four. A number below
/// zero is none.
fn harmless(cell: String) -> String {
    match cell.starts_with(FORMULAS) && !is_number_below_zero(&cell) {
        true => format!("'{cell}"),
        false => cell,
    }
}

fn is_number_below_zero(cell: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    cell.strip_prefix('-').is_some_and(|number| match number.split_once('.') {
        Some((whole, rest)) => is_digits(whole) && is_digits(rest),
        None => is_digits(number),
    })
}

/// A moment in RFC 3339.
#[must_use]
pub fn rfc3339(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_is_text_and_a_number_is_a_number() {
        let mut sheet = Sheet::default();
        sheet.write(
            ["=1+1", "+1", "-1+1", "-1.50", "-", "-1.", "@a", "\t=1", "a,\"b"].map(str::to_owned),
        );
        assert_eq!(sheet.into_text(), "'=1+1,'+1,'-1+1,-1.50,'-,'-1.,'@a,'\t=1,\"a,\"\"b\"\r\n");
    }
}
