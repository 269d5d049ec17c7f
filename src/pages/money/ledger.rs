//! The ledger: accounts by name, owner or currency, and whether everything holds.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use tokio::time::timeout;

use super::currency_of;
use super::holders;
use super::orders::user_of;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::ledger::{self, Account, AccountFilter, AccountId, AccountKind};
use crate::operations::verify::{self, LastVerify};
use crate::pages::filters::{FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;

/// The accounts of one page.
const SHOWN: u16 = 50;
/// The time that somebody waits for a verification; a larger ledger is for the command line.
const VERIFY_WITHIN: Duration = Duration::from_secs(6);

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
    let filter = AccountFilter {
        kind: kind_of(query)?,
        name: query.one("name").map(str::to_owned),
        owner: user_of(&mut conn, query).await?,
        currency: currency_of(query)?,
    };
    let page = ledger::list(&mut conn, &filter, after, SHOWN).await.map_err(Problem::from)?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for account in page.rows {
        let name = holders::name(&mut conn, &account).await?;
        rows.push(Row { name, entries: words::count(account.entries), account });
    }
    Answer::page(&LedgerPage {
        frame: visit.frame("Ledger"),
        verified: verify::last(&mut conn).await?.map(Verified::from),
        tabs: FILTERS.tabs(query, "kind", &TABS),
        filter: FILTERS.bar(query),
        kind: filter.kind.as_str(),
        rows,
        pager: FILTERS.pager(query, page.next),
    })
}

fn kind_of(query: &Pairs) -> Result<AccountKind, Problem> {
    let Some(text) = query.one("kind") else {
        // Only wallets have users.
        return Ok(match query.one("user") {
            Some(_) => AccountKind::Wallet,
            None => AccountKind::External,
        });
    };
    let found = AccountKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| Problem::parameter("kind", "must be external, wallet or bank"))
}

/// Checks every guarantee now, and keeps the result.
pub(in crate::pages) async fn verify_now(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let mut conn = visit.connect().await?;
    let checking = timeout(VERIFY_WITHIN, verify::verify(&mut conn, VERIFY_WITHIN));
    let Ok(Ok(report)) = checking.await else {
        let words = "Not everything could be checked within seconds; 'app verify' takes the time \
                     that it needs.";
        return Err(Problem::new(Code::Unavailable).detail(words).into());
    };
    verify::record(&mut conn, &report).await?;
    let took = words::span(report.took.as_secs_f64());
    let failed = report.findings().iter().filter(|finding| finding.is_failure()).count() as i64;
    Ok(visit.done(match report.holds() {
        true => format!("All {} guarantees hold, checked in {took}.", report.findings().len()),
        false => format!("{} broken: see below.", words::counted(failed, "guarantee")),
    }))
}
