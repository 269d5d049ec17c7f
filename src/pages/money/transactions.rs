//! The list of providers' transactions, with a filter that is in its URL.

use std::sync::Arc;

use askama::Template;

use super::{currency_of, status_of, status_tag};
use crate::http::wire::problem::Problem;
use crate::operations::database_now;
use crate::operations::transactions::{self, Transaction, TransactionFilter, TransactionId};
use crate::pages::filters::{self, FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit, segment};

/// The transactions of one page.
const SHOWN: u16 = 50;

const FILTERS: Filters = Filters {
    path: "/ui/transactions",
    parts: &[
        ("account", "Account"),
        ("currency", "Currency"),
        ("since", "Received since"),
        ("until", "Received until"),
    ],
    tabs: &["status"],
    one: Some("Transaction id"),
};

const TABS: [(&str, &str); 4] =
    [("", "All"), ("PROCESSING", "Processing"), ("COMPLETED", "Completed"), ("FAILED", "Failed")];

#[derive(Template)]
#[template(path = "transactions.html", config = "src/pages/askama.toml")]
struct TransactionsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    filter: FilterBar,
    rows: Vec<Row>,
    pager: Pager,
}

struct Row {
    transaction: Transaction,
    url: String,
    status: (&'static str, &'static str),
}

impl From<Transaction> for Row {
    fn from(transaction: Transaction) -> Self {
        let (url, status) = (url(&transaction.transaction_id), status_tag(transaction.status));
        Self { transaction, url, status }
    }
}

/// The page of a transaction.
pub(in crate::pages) fn url(transaction_id: &str) -> String {
    format!("{}/{}", FILTERS.path, segment(transaction_id))
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let before = query.parsed("before", "must be the number of a transaction")?;
    let mut conn = visit.connect().await?;
    let now = database_now(&mut conn).await?;
    let filter = TransactionFilter {
        status: status_of(query)?,
        currency: currency_of(query)?,
        account: query.one("account").map(str::to_owned),
        created_from: filters::moment(query, "since", now)?,
        created_before: filters::moment(query, "until", now)?,
    };
    let page = transactions::list(&mut conn, &filter, before.map(TransactionId), SHOWN).await;
    let page = page.map_err(Problem::from)?;
    Answer::page(&TransactionsPage {
        frame: visit.frame("Transactions"),
        tabs: FILTERS.tabs(query, "status", &TABS),
        filter: FILTERS.bar(query),
        rows: page.rows.into_iter().map(Row::from).collect(),
        pager: FILTERS.pager(query, page.next),
    })
}
