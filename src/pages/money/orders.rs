//! The list of users' orders, with a filter that is in its URL.

use std::sync::Arc;

use askama::Template;
use sqlx::PgConnection;

use super::{currency_of, status_of, status_tag, status_word};
use crate::http::wire::problem::Problem;
use crate::http::wire::spreadsheet::rfc3339;
use crate::operations::database_now;
use crate::operations::orders::{self, AccountId, Order, OrderFilter, OrderId, OrderKind, UserId};
use crate::operations::users::{self, UserRef};
use crate::pages::filters::{self, FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;

/// The orders of one page.
const SHOWN: u16 = 50;

const FILTERS: Filters = Filters {
    path: "/ui/orders",
    parts: &[
        ("status", "Status"),
        ("user", "User"),
        ("account", "Wallet"),
        ("currency", "Currency"),
        ("since", "Given since"),
        ("until", "Given until"),
    ],
    tabs: &["kind"],
    one: Some("Order id"),
};

const TABS: [(&str, &str); 5] = [
    ("", "All"),
    ("deposit", "Deposits"),
    ("withdrawal", "Withdrawals"),
    ("transfer", "Transfers"),
    ("refund", "Refunds"),
];

const KINDS: [OrderKind; 4] =
    [OrderKind::Deposit, OrderKind::Withdrawal, OrderKind::Transfer, OrderKind::Refund];

#[derive(Template)]
#[template(path = "orders.html", config = "src/pages/askama.toml")]
struct OrdersPage {
    frame: Frame,
    tabs: Vec<Tab>,
    filter: FilterBar,
    rows: Vec<Row>,
    pager: Pager,
}

struct Row {
    order: Order,
    kind: String,
    status: (&'static str, &'static str),
    /// Whatever there is to say: the reason of a failure, or the payer's words.
    words: String,
}

impl From<Order> for Row {
    fn from(order: Order) -> Self {
        let said = order.failure_reason.as_ref().or(order.description.as_ref());
        Self {
            kind: words::capital(order.kind.as_str()),
            status: status_tag(order.status),
            words: said.map(|said| words::line(said, 140)).unwrap_or_default(),
            order,
        }
    }
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let before = query.parsed("before", "must be the id of an order")?.map(OrderId);
    let filter = filter(&mut *visit.connect().await?, query).await?;
    let mut conn = visit.connect_to_list().await?;
    let page = orders::list(&mut conn, &filter, before, SHOWN).await.map_err(Problem::from)?;
    Answer::page(&OrdersPage {
        frame: visit.frame("Orders"),
        tabs: FILTERS.tabs(query, "kind", &TABS),
        filter: FILTERS.bar(query),
        rows: page.rows.into_iter().map(Row::from).collect(),
        pager: FILTERS.pager(query, page.next),
    })
}

async fn filter(conn: &mut PgConnection, query: &Pairs) -> Result<OrderFilter, Refusal> {
    let now = database_now(&mut *conn).await?;
    Ok(OrderFilter {
        kind: kind_of(query)?,
        status: status_of(query)?,
        currency: currency_of(query)?,
        account: query.parsed("account", "must be the id of a wallet")?.map(AccountId),
        user: user_of(conn, query).await?,
        created_from: filters::moment(query, "since", now)?,
        created_before: filters::moment(query, "until", now)?,
    })
}

const COLUMNS: [&str; 13] = [
    "order_id",
    "kind",
    "status",
    "failure_reason",
    "amount",
    "currency",
    "user_id",
    "source_account_id",
    "destination_account_id",
    "description",
    "bank_reference",
    "created_at",
    "finished_at",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    FILTERS.check(&visit.query)?;
    let filter = Arc::new(filter(&mut *visit.connect().await?, &visit.query).await?);
    download(visit, "orders", &COLUMNS, move |mut conn, before| {
        let filter = Arc::clone(&filter);
        async move {
            let page = orders::list(&mut conn, &filter, before, ROWS_AT_ONCE).await;
            let page = page.map_err(Problem::from)?;
            Ok((page.rows.into_iter().map(cells).collect(), page.next))
        }
    })
    .await
}

fn cells(order: Order) -> Vec<String> {
    vec![
        order.id.to_string(),
        order.kind.as_str().to_owned(),
        status_word(order.status).to_owned(),
        order.failure_reason.unwrap_or_default(),
        order.money.amount_text(),
        order.money.currency().code().to_owned(),
        order.owner.to_string(),
        order.source.to_string(),
        order.destination.to_string(),
        order.description.unwrap_or_default(),
        order.bank_reference.unwrap_or_default(),
        rfc3339(order.created_at),
        order.finished_at.map(rfc3339).unwrap_or_default(),
    ]
}

fn kind_of(query: &Pairs) -> Result<Option<OrderKind>, Problem> {
    let Some(text) = query.one("kind") else { return Ok(None) };
    let found = KINDS.into_iter().find(|kind| kind.as_str() == text);
    let wrong = || Problem::parameter("kind", "must be deposit, withdrawal, transfer or refund");
    Ok(Some(found.ok_or_else(wrong)?))
}

/// The user of the filter, by id or by address.
pub(super) async fn user_of(
    conn: &mut PgConnection,
    query: &Pairs,
) -> Result<Option<UserId>, Refusal> {
    let expected = "must be the id or the address of a user";
    let Some(user) = query.parsed::<UserRef>("user", expected)? else { return Ok(None) };
    let found = users::find(conn, &user).await.map_err(Problem::from)?;
    let wrong = || Problem::parameter("user", "There is no such user.");
    Ok(Some(found.ok_or_else(wrong)?.id))
}
