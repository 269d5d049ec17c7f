//! The list of providers' transactions, with a filter that is in its URL.

use std::sync::Arc;

use askama::Template;
use sqlx::PgConnection;

use super::{currency_of, status_of, status_tag, status_word};
use crate::http::wire::problem::Problem;
use crate::http::wire::spreadsheet::rfc3339;
use crate::operations::database_now;
use crate::operations::transactions::{self, Transaction, TransactionFilter, TransactionId};
use crate::pages::filters::{self, FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Pairs, Visit, segment};

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
    let filter = filter(&mut *visit.connect().await?, query).await?;
    let mut conn = visit.connect_to_list().await?;
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

async fn filter(conn: &mut PgConnection, query: &Pairs) -> Result<TransactionFilter, Refusal> {
    let now = database_now(conn).await?;
    Ok(TransactionFilter {
        status: status_of(query)?,
        currency: currency_of(query)?,
        account: query.one("account").map(str::to_owned),
        created_from: filters::moment(query, "since", now)?,
        created_before: filters::moment(query, "until", now)?,
    })
}

const COLUMNS: [&str; 9] = [
    "transaction_id",
    "status",
    "failure_reason",
    "amount",
    "currency",
    "source_account",
    "destination_account",
    "created_at",
    "processed_at",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    FILTERS.check(&visit.query)?;
    let filter = Arc::new(filter(&mut *visit.connect().await?, &visit.query).await?);
    download(visit, "transactions", &COLUMNS, move |mut conn, before| {
        let filter = Arc::clone(&filter);
        async move {
            let page = transactions::list(&mut conn, &filter, before, ROWS_AT_ONCE).await;
            let page = page.map_err(Problem::from)?;
            Ok((page.rows.iter().map(cells).collect(), page.next))
        }
    })
    .await
}

fn cells(transaction: &Transaction) -> Vec<String> {
    vec![
        transaction.transaction_id.clone(),
        status_word(transaction.status).to_owned(),
        transaction.failure_reason.clone().unwrap_or_default(),
        transaction.money.amount_text(),
        transaction.money.currency().code().to_owned(),
        transaction.source_account.clone(),
        transaction.destination_account.clone(),
        rfc3339(transaction.created_at),
        transaction.processed_at.map(rfc3339).unwrap_or_default(),
    ]
}
