//! Pages about the money: transactions, orders, the ledger and conflicts.
//!
//! - [`transactions`], [`transaction`]: providers' payment events. [`orders`], [`order`]: users'.
//! - [`ledger`], [`account`]: who holds what, and whether it holds. [`conflicts`], [`conflict`].
//! - [`timeline`]: what happened to one of them. [`holders`]: accounts by names that people know.
//! - [`dead_letters`]: jobs about them that wait for a decision.

pub(super) mod account;
pub(super) mod conflict;
pub(super) mod conflicts;
pub(super) mod dead_letters;
pub(super) mod holders;
pub(super) mod ledger;
pub(super) mod order;
pub(super) mod orders;
pub(super) mod timeline;
pub(super) mod transaction;
pub(super) mod transactions;

use crate::http::wire::problem::Problem;
use crate::operations::transactions::{Currency, Status};
use crate::pages::visit::Pairs;

/// The statuses of transactions and orders, as they are written.
const STATUSES: [(&str, Status); 4] = [
    ("PENDING", Status::Pending),
    ("PROCESSING", Status::Processing),
    ("COMPLETED", Status::Completed),
    ("FAILED", Status::Failed),
];

/// A status in a word, and the class of that.
pub(super) fn status_tag(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Pending => ("Pending", "idle"),
        Status::Processing => ("Processing", "run"),
        Status::Completed => ("Completed", "ok"),
        Status::Failed => ("Failed", "bad"),
    }
}

/// A status as it is written.
fn status_word(status: Status) -> &'static str {
    STATUSES.iter().find(|(_, known)| *known == status).map_or("", |(name, _)| *name)
}

fn status_of(query: &Pairs) -> Result<Option<Status>, Problem> {
    let Some(text) = query.one("status") else { return Ok(None) };
    let found = STATUSES.iter().find(|(name, _)| *name == text);
    let wrong = || Problem::parameter("status", "must be PENDING, PROCESSING, COMPLETED or FAILED");
    Ok(Some(found.ok_or_else(wrong)?.1))
}

fn currency_of(query: &Pairs) -> Result<Option<Currency>, Problem> {
    let parse = |code: &str| {
        let code = code.to_ascii_uppercase();
        Currency::from_stored(&code)
            .map_err(|_| Problem::parameter("currency", "must be a code of ISO 4217, such as USD"))
    };
    query.one("currency").map(parse).transpose()
}
