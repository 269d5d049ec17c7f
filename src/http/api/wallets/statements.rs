//! Statements: the history of a wallet as a file for spreadsheets.

use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use time::OffsetDateTime;

use crate::http::wire::spreadsheet::{self, Sheet, rfc3339};
use crate::payments::statements::Statement;

/// The columns. Money in and money out have one each, so that no number begins with a minus, which
/// a spreadsheet could take for a formula.
const COLUMNS: [&str; 8] =
    ["number", "time", "description", "in", "out", "balance", "currency", "order_id"];

/// Writes a statement that begins at this moment as CSV (RFC 4180).
pub(super) fn to_csv(statement: &Statement, from: OffsetDateTime) -> String {
    let mut sheet = Sheet::default();
    let mut write = |cells: [String; 8]| sheet.write(cells);
    let currency = statement.opening.currency().code();
    let total = |time, words: &str, balance: String| {
        let nothing = String::new;
        let cells = [nothing(), rfc3339(time), words.to_owned(), nothing(), nothing()];
        let [number, time, words, money_in, money_out] = cells;
        [number, time, words, money_in, money_out, balance, currency.to_owned(), nothing()]
    };
    write(COLUMNS.map(str::to_owned));
    write(total(from, "opening balance", statement.opening.amount_text()));
    for entry in &statement.entries {
        let amount = entry.amount.amount_text();
        let (money_in, money_out) = match amount.strip_prefix('-') {
            Some(out) => (String::new(), out.to_owned()),
            None => (amount, String::new()),
        };
        write([
            entry.number.to_string(),
            rfc3339(entry.created_at),
            entry.description.clone().unwrap_or_default(),
            money_in,
            money_out,
            entry.balance_after.amount_text(),
            currency.to_owned(),
            entry.order.map(|id| id.to_string()).unwrap_or_default(),
        ]);
    }
    write(total(statement.until, "closing balance", statement.closing.amount_text()));
    sheet.into_text()
}

/// Comma-separated values.
pub(super) struct Csv(pub(super) String);

impl Payload for Csv {
    const CONTENT_TYPE: &'static str = spreadsheet::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }
}

impl poem::IntoResponse for Csv {
    fn into_response(self) -> poem::Response {
        poem::Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}
