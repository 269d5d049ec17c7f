//! The ledger: accounts by name, owner or currency, and whether everything holds.

use std::sync::Arc;

use askama::Template;
use sqlx::PgConnection;

use super::currency_of;
use super::holders;
use super::orders::user_of;
use crate::http::wire::problem::Problem;
use crate::http::wire::spreadsheet::rfc3339;
use crate::operations::ledger::{self, Account, AccountFilter, AccountId, AccountKind};
use crate::operations::verify::{self, LastVerify, Started, VerificationState, records};
use crate::pages::filters::{FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;

/// The accounts of one page.
const SHOWN: u16 = 50;

const FILTERS: Filters = Filters {
    path: "/ui/ledger",
    parts: &[("name", "Name begins with"), ("user", "User"), ("currency", "Currency")],
    tabs: &["kind"],
    one: Some("Account id"),
};

const TABS: [(&str, &str); 3] =
    [("", "Providers' accounts"), ("wallet", "Wallets"), ("bank", "Bank")];

#[derive(Template)]
#[template(path = "ledger.html", config = "src/pages/askama.toml")]
struct LedgerPage {
    frame: Frame,
    verified: Option<Verified>,
    /// A verification is under way.
    is_verifying: bool,
    tabs: Vec<Tab>,
    filter: FilterBar,
    kind: &'static str,
    rows: Vec<Row>,
    pager: Pager,
}

struct Row {
    account: Account,
    name: String,
    entries: String,
}

/// The last verification in words.
pub(in crate::pages) struct Verified {
    pub(in crate::pages) last: LastVerify,
    pub(in crate::pages) took: String,
    pub(in crate::pages) broken: String,
}

impl From<LastVerify> for Verified {
    fn from(last: LastVerify) -> Self {
        let broken = last.broken.iter().map(|it| format!("{} ({})", it.invariant, it.rows));
        Self {
            took: words::span(last.took.as_secs_f64()),
            broken: broken.collect::<Vec<_>>().join(", "),
            last,
        }
    }
}

/// The accounts, and the badge of the last verification.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let after = query.parsed("before", "must be the id of an account")?.map(AccountId);
    let mut conn = visit.connect().await?;
    let filter = filter(&mut conn, query).await?;
    let page = ledger::list(&mut conn, &filter, after, SHOWN).await.map_err(Problem::from)?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for account in page.rows {
        let name = holders::name(&mut conn, &account).await?;
        rows.push(Row { name, entries: words::count(account.entries), account });
    }
    let newest = records::list(&mut conn, None, 1).await?;
    Answer::page(&LedgerPage {
        frame: visit.frame("Ledger"),
        verified: verify::last(&mut conn).await?.map(Verified::from),
        is_verifying: newest.iter().any(|it| it.state == VerificationState::Running),
        tabs: tabs(query, filter.kind),
        filter: FILTERS.bar(query),
        kind: filter.kind.as_str(),
        rows,
        pager: FILTERS.pager(query, page.next),
    })
}

async fn filter(conn: &mut PgConnection, query: &Pairs) -> Result<AccountFilter, Refusal> {
    Ok(AccountFilter {
        kind: kind_of(query)?,
        name: query.one("name").map(str::to_owned),
        owner: user_of(conn, query).await?,
        currency: currency_of(query)?,
    })
}

const COLUMNS: [&str; 11] = [
    "account_id",
    "kind",
    "name",
    "user_id",
    "balance",
    "held",
    "available",
    "currency",
    "entries",
    "created_at",
    "closed_at",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    FILTERS.check(&visit.query)?;
    let filter = Arc::new(filter(&mut *visit.connect().await?, &visit.query).await?);
    download(visit, "accounts", &COLUMNS, move |mut conn, after| {
        let filter = Arc::clone(&filter);
        async move {
            let page = ledger::list(&mut conn, &filter, after, ROWS_AT_ONCE).await;
            let page = page.map_err(Problem::from)?;
            Ok((page.rows.into_iter().map(cells).collect(), page.next))
        }
    })
    .await
}

fn cells(account: Account) -> Vec<String> {
    vec![
        account.id.to_string(),
        account.kind.as_str().to_owned(),
        account.external_ref.unwrap_or_default(),
        account.owner.map(|owner| owner.to_string()).unwrap_or_default(),
        account.balance.amount_text(),
        account.held.amount_text(),
        account.available.amount_text(),
        account.balance.currency().code().to_owned(),
        account.entries.to_string(),
        rfc3339(account.created_at),
        account.closed_at.map(rfc3339).unwrap_or_default(),
    ]
}

/// A tab for each sort of account, without the parts of the filter that only one of them knows.
fn tabs(query: &Pairs, kind: AccountKind) -> Vec<Tab> {
    let rest = query.without_all("name").without_all("user").without_all("kind");
    let current = match kind {
        AccountKind::External => rest,
        AccountKind::Wallet | AccountKind::Bank => rest.with("kind", kind.as_str()),
    };
    FILTERS.tabs(&current, "kind", &TABS)
}

/// The sort of account that is asked for. A part of the filter that it knows nothing of must not
/// widen the list.
fn kind_of(query: &Pairs) -> Result<AccountKind, Problem> {
    let kind = match (query.one("kind"), query.one("user")) {
        (None, None) => AccountKind::External,
        (None, Some(_)) => AccountKind::Wallet,
        (Some(text), _) => {
            let found = AccountKind::ALL.into_iter().find(|kind| kind.as_str() == text);
            let wrong = || Problem::parameter("kind", "must be external, wallet or bank");
            found.ok_or_else(wrong)?
        }
    };
    if query.one("name").is_some() && kind != AccountKind::External {
        return Err(Problem::parameter("name", "Only providers' accounts have names."));
    }
    if query.one("user").is_some() && kind != AccountKind::Wallet {
        return Err(Problem::parameter("user", "Only wallets are users'."));
    }
    Ok(kind)
}

/// Begins to check every guarantee; the result is kept.
pub(in crate::pages) async fn verify_now(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let started =
        verify::start(&visit.site.pool, &visit.identity()).await.map_err(Problem::from)?;
    Ok(visit.done(match started {
        Started::New(_) => "The verification has begun; its result stands here when it is done.",
        Started::UnderWay(_) => "A verification is under way, and would find the same.",
    }))
}
